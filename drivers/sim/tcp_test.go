package sim

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// serveOn runs a server on a loopback listener until the test ends.
func serveOn(t testing.TB, serve func(context.Context, net.Listener) error) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- serve(ctx, ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute)) // only so that a broken server cannot hang the test
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v, want nil after its context ended", err)
		}
	})
	return conn
}

func TestServeTCP(t *testing.T) {
	m := meterOfConstants(t)
	for _, c := range []struct {
		name      string
		ask, want string // the connection is half-closed after ask; want is all that comes
	}{
		{"one", "0001 0000 0006 03 03 0000 0001", "0001 0000 0005 03 03 02 2EE0"},
		{"two at once", "0001 0000 0006 03 03 0000 0001 FFFF 0000 0006 03 03 0000 0001", "0001 0000 0005 03 03 02 2EE0 FFFF 0000 0005 03 03 02 2EE0"},
		{"other unit, then ours", "0001 0000 0006 04 03 0000 0001 0002 0000 0006 03 03 0000 0001", "0002 0000 0005 03 03 02 2EE0"},
		{"exception", "0001 0000 0006 03 06 0000 0001", "0001 0000 0003 03 86 01"},
		{"other protocol", "0001 0001 0006 03 03 0000 0001", ""},
		{"no function", "0001 0000 0001 03", ""},
		{"too long", "0001 0000 00FF 03 03" + strings.Repeat("00", 253), ""},
		{"cut off", "0001 0000 0006 03 03 00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := serveOn(t, func(ctx context.Context, ln net.Listener) error { return ServeTCP(ctx, ln, Units{3: m}) })
			for _, b := range unhex(c.ask) { // the server must not care how TCP cuts it
				conn.Write([]byte{b})
			}
			conn.(*net.TCPConn).CloseWrite()
			got, _ := io.ReadAll(conn) // a reset after the refusal is fine, too
			if !bytes.Equal(got, unhex(c.want)) {
				t.Errorf("% X, want %s", got, c.want)
			}
		})
	}
}

// fifty is a meter with 20 float values in 40 registers.
func fifty(t testing.TB, refresh time.Duration) *Meter {
	t.Helper()
	names := []string{"voltage_l1", "voltage_l2", "voltage_l3", "current_l1", "current_l2", "current_l3", "power_l1", "power_l2", "power_l3", "power",
		"reactive_power_l1", "reactive_power_l2", "reactive_power_l3", "reactive_power", "power_factor_l1", "power_factor_l2", "power_factor_l3", "power_factor", "frequency", "energy_import"}
	units := map[string]string{"volt": "V", "curr": "A", "powe": "W", "reac": "var", "freq": "Hz", "ener": "kWh"}
	c := Config{Load: plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)), Refresh: refresh}
	for i, n := range names {
		unit := units[n[:4]]
		if len(n) >= 12 && n[:12] == "power_factor" {
			unit = ""
		}
		c.Registers = append(c.Registers, float(n, unit, -2, drivers.InputRegister, uint16(2*i)))
	}
	var err error
	if c.Clock, err = plant.NewClock(1, plant.Hold{}, 0); err != nil {
		t.Fatal(err)
	}
	m, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Answering does not allocate: the simulator stays out of a benchmark's way.
func TestAnswersDoNotAllocate(t *testing.T) {
	m := fifty(t, time.Hour)
	var buf [maxPDU]byte
	ask := unhex("04 0000 0028")
	m.respond(buf[:], 1, ask)
	if n := testing.AllocsPerRun(100, func() {
		if r := m.respond(buf[:], 1, ask); len(r.pdu) != 82 {
			t.Fatalf("% X", r.pdu)
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkRespond(b *testing.B) {
	m := fifty(b, 100*time.Millisecond)
	var buf [maxPDU]byte
	ask := unhex("04 0000 0028")
	b.ReportAllocs()
	for b.Loop() {
		m.respond(buf[:], 1, ask)
	}
}

func BenchmarkUpdate(b *testing.B) {
	m := fifty(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		m.update()
	}
}

func BenchmarkTCP(b *testing.B) {
	m := fifty(b, 100*time.Millisecond)
	conn := serveOn(b, func(ctx context.Context, ln net.Listener) error { return ServeTCP(ctx, ln, Units{1: m}) })
	ask := unhex("0001 0000 0006 01 04 0000 0028")
	reply := make([]byte, 9+80)
	b.ReportAllocs()
	for b.Loop() {
		conn.Write(ask)
		if _, err := io.ReadFull(conn, reply); err != nil {
			b.Fatal(err)
		}
	}
}
