//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers/sim"
)

func TestScanBehindASerialServer(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.RTUOverTCP, "127.0.0.1:0", 2)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"scan", "--tcp", address, "--last", "2"}, &out, &errs)
	if code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, want := range []string{`tcp: "` + address + `"`, `protocol: modbus-rtu, address: "2", profile: eastron-sdm630} # Eastron SDM630`, "frequency ", "voltage "} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if !strings.Contains(errs.String(), "● modbus-rtu 2: eastron-sdm630") {
		t.Errorf("stderr %s", errs.String())
	}
	// What it printed is part of a site file as it is.
	dir, path := site(t, "site: {name: plant}\nbuffer: {directory: DIR/box}\n"+out.String())
	if exit, _, stderr := command(t, dir, "check", "--online", "--config", path); exit != 0 {
		t.Errorf("check of\n%s\nexit %d: %s", out.String(), exit, stderr)
	}
}

func TestScanFindsNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	meters(t, sim.RTU, filepath.Join(dir, "meter"), 99)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"scan", filepath.Join(dir, "meter"), "--last", "1", "--serial", "9600 8N1"}, &out, &errs)
	same(t, "stderr", strings.ReplaceAll(errs.String()[strings.Index(errs.String(), "tallystick:"):], dir, "DIR"), `tallystick: error: E-211 nothing on DIR/meter answers at any of the settings tried
tallystick: hint: swap the wires A and B, check that the meters have power and that this is the right port; then try more: --last 247, --serial "1200 8E1"
`)
	if code != 1 || out.Len() != 0 {
		t.Errorf("exit %d, stdout %q", code, out.String())
	}
}

// What was found is printed also where the line goes away before the end.
func TestScanOfALineThatGoesAway(t *testing.T) {
	t.Parallel()
	behind, _ := meters(t, sim.RTUOverTCP, "127.0.0.1:0", 1)
	server, err := net.Listen("tcp", "127.0.0.1:0") // the serial server, which somebody pulls out
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	pulled, pull := context.WithCancel(t.Context())
	go func() {
		for {
			client, err := server.Accept()
			if err != nil {
				return
			}
			meter, err := net.Dial("tcp", behind)
			if err != nil {
				t.Error(err)
				return
			}
			context.AfterFunc(pulled, func() { server.Close(); client.Close(); meter.Close() })
			go func() { _, _ = io.Copy(meter, client) }()
			go func() { _, _ = io.Copy(client, meter) }()
		}
	}()
	var out, errs bytes.Buffer
	seen := writerFunc(func(b []byte) (int, error) {
		if bytes.ContainsRune(b, '●') {
			pull()
		}
		return errs.Write(b)
	})
	code := run(t.Context(), []string{"scan", "--tcp", server.Addr().String()}, &out, seen)
	if code != 3 || !strings.Contains(errs.String(), "tallystick: error: E-207 ") || !strings.Contains(errs.String(), "tallystick: hint: ") {
		t.Errorf("exit %d: %s", code, errs.String())
	}
	if !strings.Contains(out.String(), `address: "1", profile: eastron-sdm630`) {
		t.Errorf("what was found is lost: %q", out.String())
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// A line that is named on the command line has its faults said as one of a
// site file has.
func TestFaultsOfANamedLine(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	nobody := taken.Addr().String()
	taken.Close()
	missing, file := filepath.Join(t.TempDir(), "ttyUSB9"), put(t, filepath.Join(t.TempDir(), "file"), "no port")
	request := []string{"01", "04", "00", "00", "00", "02", "71", "CB"}
	for _, c := range []struct {
		args       []string
		exit       int
		text, hint string
	}{
		{[]string{"scan", missing}, 3, "E-201 port " + missing + " does not exist", "name one of the ports listed"},
		{append([]string{"raw", "--port", missing}, request...), 3, "E-201 port " + missing + " does not exist", "name one of the ports listed"},
		{[]string{"scan", file}, 3, "E-209 port " + file, "--serial"},
		{[]string{"scan", "--tcp", nobody}, 3, "E-207 line scan: connect to " + nobody + ": connection refused", "serial server"},
		{append([]string{"raw", "--tcp", nobody}, request...), 3, "E-207 line " + nobody + ": connect to " + nobody + ": connection refused", "serial server"},
		{append([]string{"raw", "--port", missing, "--rs485", "up"}, request...), 2, `--rs485: expected high or low, found "up"`, "manual"},
		{[]string{"scan", missing, "--rs485", "up"}, 2, `--rs485: expected high or low, found "up"`, "manual"},
		{append([]string{"decode"}, request...), 2, "--protocol is missing", "modbus-rtu, "},
		{[]string{"decode", "-p", "modbus-rtu"}, 2, "HEX is missing", "01 03"},
		{[]string{"raw", "--port", missing}, 2, "HEX is missing", "01 03"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), c.args, &out, &errs)
		text, hint, _ := strings.Cut(errs.String()[max(0, strings.Index(errs.String(), "tallystick: error: ")):], "\ntallystick: hint: ")
		if code != c.exit || !strings.Contains(text, c.text) || !strings.Contains(hint, c.hint) {
			t.Errorf("%v: exit %d\n%s", c.args, code, errs.String())
		}
	}
}

// What is watched into a file has no control characters in it.
func TestWatchIntoAFile(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.RTUOverTCP, "127.0.0.1:0", 1)
	_, path := site(t, "site: {name: plant}\nbuffer: {directory: DIR/box}\nlines:\n  - {name: a, tcp: \""+address+"\"}\nmeters:\n  - {name: m, line: a, protocol: modbus-rtu, address: 1, profile: eastron-sdm630}\n")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var out, errs bytes.Buffer
	watched := writerFunc(func(b []byte) (int, error) {
		if bytes.Contains(b, []byte("energy_import ")) && bytes.Count(out.Bytes(), []byte("energy_import ")) > 0 {
			stop()
		}
		return out.Write(b)
	})
	code := run(ctx, []string{"read", "--watch", "--every", "1ms", "--config", path}, watched, &errs)
	if code != 0 || strings.Contains(out.String(), "\x1b") || !strings.Contains(out.String(), "energy_import ") {
		t.Errorf("exit %d: %q %s", code, out.String(), errs.String())
	}
}
