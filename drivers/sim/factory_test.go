//go:build linux

package sim

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

func TestFactory(t *testing.T) {
	// Bytes that a terminal would swallow or change must come through both ways.
	m, err := meter.NewModbus(meter.Config{
		Load: even(), Clock: held(t), Base: &drivers.Decimal{Coef: 0x0D0A1103, Exp: -3},
		Registers: []drivers.Register{{
			Quantity: drivers.Quantity{Name: "energy_import", Unit: "kWh", Exp: -3}, Table: drivers.HoldingRegister, Address: 10, Type: drivers.Uint32, Scale: -3,
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "bus")
	f, err := Open(
		Line{Kind: RTU, Address: link, Units: meter.Units{3: m}},
		Line{Kind: RTUOverTCP, Address: "127.0.0.1:0", Units: meter.Units{3: m}},
		Line{Kind: TCP, Address: "127.0.0.1:0", Units: meter.Units{3: m}},
	)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()

	ask, want := rtu(3, unhex("03 000A 0002")), rtu(3, unhex("03 04 0D0A1103"))
	port, err := os.OpenFile(f.Lines[0].Address, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.Dial("tcp", f.Lines[1].Address)
	if err != nil {
		t.Fatal(err)
	}
	conn2, err := net.Dial("tcp", f.Lines[2].Address)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name      string
		rw        io.ReadWriteCloser
		ask, want []byte
	}{
		{"rtu", port, append(unhex("03 0D 0A 11 13 04 7F"), ask...), want},
		{"rtu-tcp", conn, ask, want},
		{"tcp", conn2, unhex("0007 0000 0006 03 03 000A 0002"), unhex("0007 0000 0007 03 03 04 0D0A1103")},
	} {
		if _, err := c.rw.Write(c.ask); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, len(c.want))
		if _, err := io.ReadFull(c.rw, got); err != nil || !bytes.Equal(got, c.want) {
			t.Errorf("%s: % X, %v; want % X", c.name, got, err, c.want)
		}
		defer c.rw.Close()
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Errorf("the link is still there: %v", err)
	}
}

func TestOpenFailsWhole(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	for _, bad := range []Line{
		{Kind: RTU, Address: file},
		{Kind: RTU, Address: filepath.Join(dir, "none", "link")},
		{Kind: TCP, Address: "127.0.0.1:99999"},
		{Kind: "udp", Address: "x"},
	} {
		if _, err := Open(Line{Kind: RTU, Address: link}, bad); err == nil {
			t.Errorf("%v: no error", bad)
		} else {
			t.Log(err)
		}
		if _, err := os.Lstat(link); !os.IsNotExist(err) {
			t.Errorf("%v: the first line was left open", bad)
		}
	}
	if b, _ := os.ReadFile(file); string(b) != "precious" {
		t.Error("the file was replaced")
	}
}

// A program killed while it had the line to itself does not lock it for ever.
func TestPTYForgetsExclusiveUse(t *testing.T) {
	p, err := OpenPTY("")
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	port, err := os.OpenFile(p.Path(), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer port.Close()
	if err := unix.IoctlSetInt(int(port.Fd()), unix.TIOCEXCL, 0); err != nil {
		t.Fatal(err)
	}
	for {
		exclusive, err := unix.IoctlGetInt(int(port.Fd()), unix.TIOCGEXCL)
		if err != nil {
			t.Fatal(err)
		}
		if exclusive == 0 {
			return
		}
		time.Sleep(time.Millisecond) // until the test binary's own time-out
	}
}

// A link left behind by a killed simulator is replaced, one that has been
// pointed elsewhere since is left alone.
func TestPTYLink(t *testing.T) {
	link := filepath.Join(t.TempDir(), "bus")
	if err := os.Symlink("/nowhere", link); err != nil {
		t.Fatal(err)
	}
	p, err := OpenPTY(link)
	if err != nil {
		t.Fatal(err)
	}
	if target, _ := os.Readlink(link); target != p.Device || p.Path() != link {
		t.Errorf("link to %s, device %s, path %s", target, p.Device, p.Path())
	}
	os.Remove(link)
	os.Symlink("/elsewhere", link)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}
	if target, _ := os.Readlink(link); target != "/elsewhere" {
		t.Errorf("Close removed a link that was no longer its own")
	}
}
