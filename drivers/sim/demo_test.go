//go:build linux

package sim

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// Every shipped profile can be simulated whole: each register shows something
// an ideal reader finds plausible.
func TestEveryBuiltinProfile(t *testing.T) {
	library := profile.Builtin()
	if len(library.IDs()) == 0 {
		t.Fatal("no profiles")
	}
	for _, id := range library.IDs() {
		if IsModel(id) {
			continue // no Modbus meter
		}
		t.Run(id, func(t *testing.T) {
			p, err := library.Get(id)
			if err != nil {
				t.Fatal(err)
			}
			load := plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
			m, err := New(Config{Name: id, Load: load, Clock: held(t, load), Ratio: 40}.WithProfile(p))
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range p.All() {
				v, ok := m.Reading(r.Name)
				if _, err := plant.SourceOf(r.Quantity); err != nil && r.Type != drivers.Bit {
					continue // a drive's speed, a controller's words
				}
				if !ok || v.Exp != r.Exp {
					t.Errorf("%s: %v, %v; want a value with exponent %d", r.Name, v, ok, r.Exp)
				}
				if r.Limited && (v.Coef < r.Min || v.Coef > r.Max) {
					t.Errorf("%s: %s, outside the profile's limits", r.Name, v)
				}
			}
		})
	}
}

func TestDemo(t *testing.T) {
	dir := t.TempDir()
	f, meters, err := Demo(1, dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer f.Run(ctx)
	if len(meters) != 6 || len(f.Lines) != 3 || f.Lines[0].Address != filepath.Join(dir, "hall-a") {
		t.Fatalf("%d meters on %+v", len(meters), f.Lines)
	}
	for _, m := range meters {
		if f.Lines[m.Line].Units[m.Unit] != m.Meter {
			t.Errorf("%s is not unit %d of line %d", m.Name(), m.Unit, m.Line)
		}
		if v, ok := m.Reading("power"); !ok || v.Coef <= 0 {
			t.Errorf("%s draws %v", m.Name(), v)
		}
	}
}
