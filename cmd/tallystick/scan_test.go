//go:build linux

package main

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers/sim"
)

func TestScanBehindASerialServer(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.RTUOverTCP, "127.0.0.1:0", 2)
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"scan", "--tcp", address, "--last", "3"}, &out, &errs)
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
