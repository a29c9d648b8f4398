//go:build linux

package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// wired puts one SDM630 with settings of its own, as unit 7, and one with
// 9600 8N1, as unit 8, on a line that hears garbage where settings differ.
func wired(t *testing.T, at, settings string) {
	t.Helper()
	lib := profile.Builtin()
	p, err := lib.Get("eastron-sdm630")
	if err != nil {
		t.Fatal(err)
	}
	clock, err := plant.NewClock(1, plant.Hold{For: time.Hour}, 0)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := drivers.ParseSettings(settings)
	if err != nil {
		t.Fatal(err)
	}
	m, err := meter.NewModbus(meter.Config{Name: "m", Load: plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)), Clock: clock}.WithProfile(p))
	if err != nil {
		t.Fatal(err)
	}
	f, err := sim.Open(sim.Line{Kind: sim.RTU, Address: at, Garbage: true, Stations: []sim.Station{{Meter: meter.Units{7: m}, Serial: serial}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		<-ended
	})
}

// Mistake 9: bytes come, but none that make a frame.
func TestWrongSpeed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wired(t, filepath.Join(dir, "meter"), "19200 8E1")
	path := put(t, filepath.Join(dir, "site.yaml"), strings.ReplaceAll(goodSite, "DIR", dir))
	exit, _, stderr := command(t, dir, "read", "--config", path)
	first, hint, _ := strings.Cut(stderr, "\n")
	const want = `tallystick: error: E-205 meter "press-1" (unit 7, DIR/meter 9600 8N1): something answers, but not with a valid reply: `
	if exit != 1 || !strings.HasPrefix(first, want) || !strings.Contains(first, " bytes but no valid reply within 1s: ") {
		t.Errorf("exit %d: %s", exit, stderr)
	}
	same(t, "hint", hint, "tallystick: hint: speed or parity differ between meter and site file, or two devices share one unit number; to find out: tallystick scan DIR/meter\n")
}

// Mistake 11: the meter answers and does not have the register.
func TestIllegalRegister(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	meters(t, sim.RTU, filepath.Join(dir, "meter"), 7)
	path := put(t, filepath.Join(dir, "site.yaml"), strings.ReplaceAll(strings.Replace(goodSite, "eastron-sdm630", "acrel-adw300\n    quantities: [voltage_l1]", 1), "DIR", dir))
	exit, _, stderr := command(t, dir, "read", "--config", path)
	same(t, "stderr", stderr, `tallystick: error: E-206 meter "press-1" (unit 7, DIR/meter 9600 8N1): read holding registers 0x0014+1 from meter press-1: exception 02 illegal data address: no register for voltage_l1; it is not asked again
tallystick: hint: the meter does not have what profile acrel-adw300 reads: check the model on its plate against profile: in the site file
`)
	if exit != 1 {
		t.Errorf("exit %d, want 1", exit)
	}
}

// Mistake 12: every value is there, and none can be.
func TestWrongWordOrder(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	wired(t, filepath.Join(dir, "meter"), "9600 8N1")
	good, err := os.ReadFile("../../drivers/profile/data/eastron-sdm630.yaml")
	if err != nil {
		t.Fatal(err)
	}
	own := strings.ReplaceAll(strings.Replace(string(good), "id: eastron-sdm630", "id: my-sdm630", 1), "type: float32", "type: float32, order: CDAB")
	if err := os.Mkdir(filepath.Join(dir, "profiles"), 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "profiles", "my-sdm630.yaml"), own)
	path := put(t, filepath.Join(dir, "site.yaml"), strings.ReplaceAll(strings.Replace(goodSite, "eastron-sdm630", "my-sdm630\n    quantities: [voltage_l1, frequency]", 1)+"profiles: profiles\n", "DIR", dir))
	exit, stdout, stderr := command(t, dir, "read", "--config", path)
	if exit != 1 || !strings.Contains(stdout, "invalid") && !strings.Contains(stdout, "suspect") {
		t.Errorf("exit %d\n%s", exit, stdout)
	}
	const begin, middle = `tallystick: error: E-210 meter "press-1" (unit 7, DIR/meter 9600 8N1) answers, but voltage_l1 `, ` cannot be; the value is kept and marked; with word order ABCD it would be voltage_l1 2`
	text, hint, _ := strings.Cut(stderr, "\n")
	if !strings.HasPrefix(text, begin) || !strings.Contains(text, middle) || !strings.HasSuffix(text, " V") {
		t.Errorf("%s", stderr)
	}
	same(t, "hint", hint, "tallystick: hint: choose the profile of the model whose word order is ABCD, or copy my-sdm630 into a profile of your own with order: ABCD\n")
}
