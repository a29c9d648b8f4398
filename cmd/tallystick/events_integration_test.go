//go:build integration && linux

package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/verify"
)

// A cable that is pulled, a serial server that dies, a meter that is exchanged:
// the signed history says each, by itself.
func TestIntegrationWhatHappensOnTheLine(t *testing.T) {
	dir := t.TempDir()
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	load := plant.ShiftPattern(1, time.Now())
	press, err := meter.NewNamed(meter.Config{Name: "press", Load: load, Clock: clock, Share: 100}, meter.Model{Name: "dlt645-2007-3ph", Address: "210000000004"})
	if err != nil {
		t.Fatal(err)
	}
	lib := profile.Builtin()
	p, err := lib.Get("eastron-sdm630")
	if err != nil {
		t.Fatal(err)
	}
	oven, err := meter.NewModbus(meter.Config{Name: "oven", Load: load, Clock: clock, Seed: 2, Share: 100}.WithProfile(p))
	if err != nil {
		t.Fatal(err)
	}
	open := func(l sim.Line) (address string, stop func()) {
		t.Helper()
		f, err := sim.Open(l)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- f.Run(ctx) }()
		return f.Lines[0].Address, func() { cancel(); <-ended }
	}
	cable := sim.Line{Kind: sim.RTU, Address: filepath.Join(dir, "cable"), Stations: []sim.Station{{Meter: press}}}
	server := sim.Line{Kind: sim.RTUOverTCP, Address: "127.0.0.1:0", Units: meter.Units{3: oven}}
	_, pull := open(cable)
	var kill func()
	server.Address, kill = open(server)

	path := put(t, filepath.Join(dir, "site.yaml"), `site: {name: plant}
lines:
  - {name: cable, port: `+cable.Address+`, serial: 9600 8E1}
  - {name: server, tcp: "`+server.Address+`"}
meters:
  - {name: press, line: cable, address: "210000000004", profile: dlt645-2007-3ph, interval: 1s, quantities: [energy_import, voltage_l1]}
  - {name: oven, line: server, protocol: modbus-rtu, address: 3, profile: eastron-sdm630, interval: 1s}
window: 2s
buffer: {directory: `+dir+`/box, sync_interval: 200ms}
`)
	ctx, stop := context.WithCancel(context.Background())
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() { ended <- run(ctx, []string{"run", "--config", path}, &bytes.Buffer{}, &errs) }()
	time.Sleep(4 * time.Second)

	pull()
	time.Sleep(3 * time.Second)
	_, pull = open(cable)
	time.Sleep(5 * time.Second)

	kill()
	time.Sleep(3 * time.Second)
	_, kill = open(server)
	time.Sleep(5 * time.Second)

	press.Replace("210000009999")
	time.Sleep(4 * time.Second)
	stop()
	if code := <-ended; code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	pull()
	kill()

	bundle := filepath.Join(dir, "x.tally")
	if code, _, stderr := command(t, dir, "log", "export", "--config", path, "--from", "0", "--to", "9999", "-o", bundle); code != 0 {
		t.Fatal(stderr)
	}
	key, _, err := keyfile.Load(filepath.Join(dir, "box", "device.key"))
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(bundle)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var got []string
	sum, err := verify.Bundle(f, verify.Policy{Pinned: []evidence.PublicKey{evidence.Ed25519PublicKey(key.Public().(ed25519.PublicKey))}}, func(r verify.Result) {
		for _, e := range r.Manifest.Events {
			got = append(got, e.Kind+" "+e.Subject)
		}
	})
	if err != nil || sum.Verdict != verify.Verified {
		t.Fatalf("%+v %v", sum, err)
	}
	want := []string{"line_lost cable", "line_restored cable", "line_lost server", "line_restored server", "meter_exchanged press"}
	got = slices.DeleteFunc(got, func(e string) bool {
		return strings.HasPrefix(e, "check_") || strings.HasPrefix(e, "meter_silent") || strings.HasPrefix(e, "meter_answers")
	})
	if !slices.Equal(got, want) {
		t.Fatalf("%q, want %q\n%s", got, want, errs.String())
	}
}
