package meter

import (
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
			m, err := NewModbus(Config{Name: id, Load: load, Clock: held(t, load), Ratio: 40}.WithProfile(p))
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
