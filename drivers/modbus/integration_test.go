//go:build integration

package modbus_test

import (
	"bufio"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// The slaves are other people's code: pymodbus (testdata/slave.py) and
// libmodbus (testdata/slave.c), on TCP and on a pair of ptys made by socat.
func TestForeignSlaves(t *testing.T) {
	binary := compile(t)
	for name, slave := range map[string][]string{
		"pymodbus":  {"/usr/bin/python3", "testdata/slave.py"},
		"libmodbus": {binary},
	} {
		t.Run(name+"/tcp", func(t *testing.T) {
			port := freePort(t)
			start(t, append(slave, "tcp", port)...)
			readAll(t, line.Config{Name: "tcp", TCP: "127.0.0.1:" + port}, modbus.TCP, name == "libmodbus")
		})
		t.Run(name+"/rtu", func(t *testing.T) {
			ours, theirs := ptys(t)
			start(t, append(slave, "rtu", theirs)...)
			readAll(t, line.Config{Name: "rtu", Serial: &line.Serial{Path: ours, Settings: drivers.Settings{Baud: 19200, DataBits: 8, Parity: 'N', StopBits: 1}}}, modbus.RTU, name == "libmodbus")
		})
		if name == "pymodbus" { // libmodbus knows no ASCII
			t.Run(name+"/ascii", func(t *testing.T) {
				ours, theirs := ptys(t)
				start(t, append(slave, "ascii", theirs)...)
				readAll(t, line.Config{Name: "ascii", Serial: &line.Serial{Path: ours, Settings: drivers.Settings{Baud: 19200, DataBits: 8, Parity: 'N', StopBits: 1}}}, modbus.ASCII, false)
			})
		}
		t.Run(name+"/rtu over tcp", func(t *testing.T) {
			ours, theirs := ptys(t)
			start(t, append(slave, "rtu", theirs)...)
			port := freePort(t)
			start(t, "socat", "-d", "-d", "tcp-listen:"+port+",bind=127.0.0.1,reuseaddr,fork", "file:"+ours+",raw,echo=0")
			readAll(t, line.Config{Name: "server", TCP: "127.0.0.1:" + port}, modbus.RTU, name == "libmodbus")
		})
	}
}

// The npm module modbus-serial, where NODE_PATH leads to it.
func TestForeignSlaveOfNode(t *testing.T) {
	if err := exec.Command("node", "-e", `require("modbus-serial")`).Run(); err != nil {
		t.Skip("no npm module modbus-serial in NODE_PATH")
	}
	port := freePort(t)
	start(t, "node", "testdata/slave.js", port)
	readAll(t, line.Config{Name: "tcp", TCP: "127.0.0.1:" + port}, modbus.TCP, false)
}

// What the slaves hold, see testdata/slave.py.
func holding(a int) uint16 { return uint16((a*2659 + 17) % 65536) }
func input(a int) uint16   { return uint16((a*4273 + 29) % 65536) }
func bit(a int) int64 {
	if a*a%7 == 1 {
		return 1
	}
	return 0
}

func readAll(t *testing.T, cfg line.Config, framing modbus.Framing, libmodbus bool) {
	t.Helper()
	bus := line.New(cfg)
	defer bus.Close()
	var registers []drivers.Register
	var want []int64
	add := func(table drivers.Table, kind drivers.Type, address int, value int64) {
		registers = append(registers, drivers.Register{Quantity: drivers.Quantity{Name: "q" + strconv.Itoa(len(want))}, Table: table, Type: kind, Address: uint16(address)})
		want = append(want, value)
	}
	for a := range 200 {
		add(drivers.HoldingRegister, drivers.Uint16, a, int64(holding(a)))
	}
	for a := 0; a < 200; a += 2 {
		add(drivers.InputRegister, drivers.Int32, a, int64(int32(uint32(input(a))<<16|uint32(input(a+1)))))
	}
	for a := range 64 {
		add(drivers.Coil, drivers.Bit, a, bit(a))
		add(drivers.DiscreteInput, drivers.Bit, a, bit(a))
	}
	ranges := []drivers.Range{
		{Table: drivers.HoldingRegister, Last: 199}, {Table: drivers.InputRegister, Last: 199},
		{Table: drivers.Coil, Last: 63}, {Table: drivers.DiscreteInput, Last: 63},
	}
	m, err := modbus.New(modbus.Config{Name: "m", Unit: 1, Framing: framing, Registers: registers, Ranges: ranges, Timeout: 3 * time.Second}, bus)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Requests()); n != 6 {
		t.Errorf("%d requests, want 6: %v", n, m.Requests())
	}
	dst := make([]drivers.Reading, len(registers))
	for range 20 {
		if err := m.Read(t.Context(), dst); err != nil {
			t.Fatal(err)
		}
		for i, r := range dst {
			if r != (drivers.Reading{Coef: want[i]}) {
				t.Fatalf("%v 0x%04X: %+v, the slave holds %d", registers[i].Table, registers[i].Address, r, want[i])
			}
		}
	}

	// A register that is not there: found out, named, and asked no more.
	beyond := []drivers.Register{registers[198], registers[199], {Quantity: drivers.Quantity{Name: "q200"}, Address: 200}}
	m, err = modbus.New(modbus.Config{Name: "m", Unit: 1, Framing: framing, Registers: beyond, Ranges: []drivers.Range{{Last: 250}}, Timeout: 3 * time.Second}, bus)
	if err != nil {
		t.Fatal(err)
	}
	err = m.Read(t.Context(), dst[:3])
	var refused modbus.Exception
	if !errors.As(err, &refused) || refused != 2 || !strings.Contains(err.Error(), "read holding registers 0x00C8+1 from meter m: exception 02 illegal data address: no register for q200") {
		t.Errorf("%v, want exception 02 for q200", err)
	}
	if err := m.Read(t.Context(), dst[:3]); err != nil || dst[0].Coef != want[198] || dst[1].Coef != want[199] || dst[2].Quality != drivers.Absent {
		t.Errorf("%+v, %v", dst[:3], err)
	}

	// A unit that is not there gives no value, and the one that is there can
	// be read afterwards.
	other, err := modbus.New(modbus.Config{Name: "other", Unit: 9, Framing: framing, Registers: registers[:1], Timeout: 300 * time.Millisecond}, bus)
	if err != nil {
		t.Fatal(err)
	}
	err = other.Read(t.Context(), dst[:1])
	if libmodbus && framing == modbus.TCP {
		return // on TCP it answers for every unit
	}
	if err == nil || dst[0].Quality.HasValue() {
		t.Errorf("unit 9: %+v, %v", dst[0], err)
	}
	err = m.Read(t.Context(), dst[:3])
	if libmodbus && err != nil {
		// It took our question for the reply of unit 9, which it waits for.
		err = m.Read(t.Context(), dst[:3])
	}
	if err != nil || dst[0].Coef != want[198] {
		t.Errorf("after a silent unit: %+v, %v", dst[:3], err)
	}
}

func compile(t *testing.T) string {
	t.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libmodbus").Output()
	if err != nil {
		flags = []byte("-I/usr/include/modbus -lmodbus")
	}
	binary := filepath.Join(t.TempDir(), "slave")
	args := append([]string{"-O1", "-o", binary, "testdata/slave.c"}, strings.Fields(string(flags))...)
	if out, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return binary
}

// start runs a program until the test ends, and returns when it says that it
// is ready or listening.
func start(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait(); r.Close() })
	ready := make(chan string)
	go func() {
		var said []string
		lines := bufio.NewScanner(r)
		for lines.Scan() {
			said = append(said, lines.Text())
			if s := lines.Text(); s == "ready" || strings.Contains(s, "listening on") || strings.Contains(s, "starting data transfer loop") {
				ready <- ""
				break
			}
		}
		for lines.Scan() {
		}
		select {
		case ready <- strings.Join(said, "\n"):
		default:
		}
	}()
	select {
	case said := <-ready:
		if said != "" {
			t.Fatalf("%s ended:\n%s", args[0], said)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s is not ready after 20 s", args[0])
	}
}

// ptys returns the two ends of a serial cable.
func ptys(t *testing.T) (a, b string) {
	t.Helper()
	dir := t.TempDir()
	a, b = filepath.Join(dir, "a"), filepath.Join(dir, "b")
	start(t, "socat", "-d", "-d", "pty,raw,echo=0,link="+a, "pty,raw,echo=0,link="+b)
	return a, b
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}
