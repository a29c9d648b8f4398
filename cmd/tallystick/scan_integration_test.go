//go:build integration && linux

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// Eight meters of four protocols with six settings on one pseudo-terminal, at
// the speed of the wire: the scan finds all of them, names each model, and
// what it prints passes the check unchanged.
func TestIntegrationScanFindsEverything(t *testing.T) {
	dir := t.TempDir()
	port := filepath.Join(dir, "bus")
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	bus, placed, err := sim.Mixed(port, sim.RTU, plant.ShiftPattern(1, time.Now()), clock, nil)
	if err != nil {
		t.Fatal(err)
	}
	f, err := sim.Open(bus)
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
	var out, errs bytes.Buffer
	begun := time.Now()
	if code := run(t.Context(), []string{"scan", port, "--last", "4", "--json"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	t.Logf("%v", time.Since(begun).Round(time.Second))
	type device struct {
		Address, Serial string
		Profiles        []string
		Certain         bool
	}
	found := map[string]device{}
	for dec := json.NewDecoder(&out); dec.More(); {
		var s device
		if err := dec.Decode(&s); err != nil {
			t.Fatal(err)
		}
		found[s.Address] = s
	}
	for _, p := range placed {
		s, ok := found[p.Address]
		if !ok || s.Serial != p.Serial.String() || !s.Certain || s.Profiles[0] != p.Profile {
			t.Errorf("%s %s at %v: found %+v", p.Profile, p.Address, p.Serial, s)
		}
	}
	if len(found) != len(placed) {
		t.Errorf("%d devices found, %d are there", len(found), len(placed))
	}
	out.Reset()
	if code := run(t.Context(), []string{"scan", port, "--last", "4"}, &out, &errs); code != 0 {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	path := put(t, filepath.Join(dir, "site.yaml"), "site: {name: plant}\nbuffer: {directory: "+dir+"/box}\n"+out.String())
	if exit, stdout, stderr := command(t, dir, "check", "--online", "--config", path); exit != 0 || strings.Contains(stdout, "—") {
		t.Errorf("check --online of\n%s\nexit %d: %s%s", out.String(), exit, stdout, stderr)
	}
}
