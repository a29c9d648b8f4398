//go:build linux

package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// port is the host's end of a pseudo-terminal.
type port int

func openPort(t *testing.T, path string) port {
	t.Helper()
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return port(fd)
}

// set does to the port what a serial library does.
func (p port) set(t *testing.T, s drivers.Settings) {
	t.Helper()
	tio, err := unix.IoctlGetTermios(int(p), unix.TCGETS2)
	if err != nil {
		t.Fatal(err)
	}
	tio.Cflag &^= unix.CBAUD | unix.PARENB | unix.PARODD | unix.CSTOPB
	tio.Iflag &^= unix.INPCK
	tio.Cflag |= unix.BOTHER
	tio.Ispeed, tio.Ospeed = uint32(s.Baud), uint32(s.Baud)
	if s.Parity != 'N' {
		tio.Cflag |= unix.PARENB
		tio.Iflag |= unix.INPCK
	}
	if s.Parity == 'O' {
		tio.Cflag |= unix.PARODD
	}
	if s.StopBits == 2 {
		tio.Cflag |= unix.CSTOPB
	}
	if err := unix.IoctlSetTermios(int(p), unix.TCSETS2, tio); err != nil {
		t.Fatal(err)
	}
}

// exchange sends and collects until nothing has come for the patience given.
func (p port) exchange(t *testing.T, request []byte, patience time.Duration) (reply []byte) {
	t.Helper()
	if _, err := unix.Write(int(p), request); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 256)
	for until := time.Now().Add(patience); time.Now().Before(until); {
		n, err := unix.Read(int(p), buf)
		if n > 0 {
			reply = append(reply, buf[:n]...)
			until = time.Now().Add(160 * time.Millisecond) // 16 bytes at 1200 baud and some
		} else if err != nil && err != unix.EAGAIN {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Millisecond)
	}
	return reply
}

func TestPTYKnowsTheHostsSettings(t *testing.T) {
	p, err := OpenPTY("")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	host := openPort(t, p.Path())
	for _, s := range []string{"300 8E1", "2400 8N2", "9600 8O1", "115200 8N1"} {
		host.set(t, settings(t, s))
		if got, ok := p.Settings(); !ok || got.String() != s {
			t.Errorf("set to %s, the meters' end says %s, %v", s, got, ok)
		}
	}
	// The library the agent uses. Data bits do not come through.
	for _, c := range []struct {
		mode serial.Mode
		want string
	}{
		{serial.Mode{BaudRate: 2400, DataBits: 8, Parity: serial.EvenParity}, "2400 8E1"},
		{serial.Mode{BaudRate: 300, DataBits: 7, Parity: serial.EvenParity}, "300 8E1"},
		{serial.Mode{BaudRate: 9600, DataBits: 8}, "9600 8N1"},
		{serial.Mode{BaudRate: 1200, DataBits: 8, Parity: serial.OddParity, StopBits: serial.TwoStopBits}, "1200 8O2"},
	} {
		f, err := serial.Open(p.Path(), &c.mode)
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := p.Settings(); !ok || got.String() != c.want {
			t.Errorf("the library set %+v, the meters' end says %s, %v", c.mode, got, ok)
		}
		f.Close()
	}
}

// One pseudo-terminal, eight meters of four protocols with six settings: each
// answers at its own settings and nowhere else, and every reading tells by its
// first digits whose it is.
func TestMixedLineOnAPTY(t *testing.T) {
	load := plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	line, meters, err := Mixed("", RTU, load, clock, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := Open(line)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	p := openPort(t, f.Lines[0].Address)

	// question and how to find the energy, or the volume, in the answer
	ask := func(i int) ([]byte, func([]byte) float64) {
		m := meters[i]
		bcd := func(after []byte) func([]byte) float64 {
			return func(b []byte) float64 {
				at := bytes.Index(b, after)
				if at < 0 || at+len(after)+4 > len(b) {
					return math.NaN()
				}
				v := 0.0
				for j := 3; j >= 0; j-- {
					c := b[at+len(after)+j]
					if !strings.HasPrefix(m.Profile, "cjt188") {
						c -= 0x33
					}
					v = v*100 + float64(c>>4)*10 + float64(c&15)
				}
				return v / 100
			}
		}
		switch m.Profile {
		case "dlt645-1997":
			return ask645(m.Address, 0x01, 0x10, 0x90), bcd(unhex("68 81 06 43 C3"))
		case "cjt188-water":
			if i == 7 {
				return ask188(0x10, m.Address, 0x01, 0x1F, 0x90, 9), bcd(unhex("81 16 1F 90 09"))
			}
			return ask188(0x10, m.Address, 0x01, 0x90, 0x1F, 9), bcd(unhex("81 16 90 1F 09"))
		}
		if strings.HasPrefix(m.Profile, "dlt645-2007") {
			return ask645(m.Address, 0x11, 0, 0, 1, 0), bcd(unhex("68 91 08 33 33 34 33"))
		}
		unit, _ := strconv.Atoi(m.Address)
		pr, err := profile.Builtin().Get(m.Profile)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range pr.Registers {
			if r.Name != "energy_import" {
				continue
			}
			fc := byte(3)
			if r.Table == drivers.InputRegister {
				fc = 4
			}
			return rtu(byte(unit), []byte{fc, byte(r.Address >> 8), byte(r.Address), 0, 2}), func(b []byte) float64 {
				if len(b) != 9 || b[0] != byte(unit) {
					return math.NaN()
				}
				bits := binary.BigEndian.Uint32(b[3:])
				if r.Type == drivers.Float32 {
					return float64(math.Float32frombits(bits))
				}
				return float64(bits) * math.Pow10(int(r.Scale))
			}
		}
		t.Fatalf("meter %d has no energy_import", i)
		return nil, nil
	}
	for i, m := range meters {
		request, energy := ask(i)
		for _, s := range []string{"9600 8N1", "19200 8E1", "2400 8E1", "2400 8O1", "9600 8E1", "1200 8E1", "4800 8E1"} {
			ours := m.Serial.String() == s
			if !ours && (i+len(s)+int(s[0]))%4 != 0 { // a quarter of the foreign ones is enough
				continue
			}
			p.set(t, settings(t, s))
			before := m.Meter.Requests()
			patience := 60 * time.Millisecond
			if ours {
				patience = 2 * time.Second
			}
			reply := p.exchange(t, request, patience)
			switch {
			case !ours && (len(reply) > 0 || m.Meter.Requests() != before):
				t.Errorf("%s asked at %s answered % X", m.Meter.Name(), s, reply)
			case ours && int(energy(reply)/10000) != i+1:
				t.Errorf("%s: %v in % X, want what began at %s", m.Meter.Name(), energy(reply), reply, m.Meter.Base())
			}
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
