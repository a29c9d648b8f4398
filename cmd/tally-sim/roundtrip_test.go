package main

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// The driver reads from every shipped profile, digit for digit, what the
// simulated meter says it holds. The two lay registers out with code of their
// own.
func TestDriverReadsWhatTheSimulatorHolds(t *testing.T) {
	library := profile.Builtin()
	load := plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	clock, err := plant.NewClock(1, plant.Hold{For: 1000 * time.Hour}, load.Length())
	if err != nil {
		t.Fatal(err)
	}
	units := make(meter.Units)
	for i, id := range library.IDs() {
		if meter.IsModel(id) {
			continue // no Modbus meter
		}
		p, err := library.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		units[byte(i+1)], err = meter.NewModbus(meter.Config{Name: id, Load: load, Clock: clock, Seed: uint64(i), Ratio: 40}.WithProfile(p))
		if err != nil {
			t.Fatal(err)
		}
	}
	factory, err := sim.Open(
		sim.Line{Kind: sim.TCP, Address: "127.0.0.1:0", Units: units},
		sim.Line{Kind: sim.RTUOverTCP, Address: "127.0.0.1:0", Units: units},
	)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- factory.Run(ctx) }()

	for i, framing := range []modbus.Framing{modbus.TCP, modbus.RTU} {
		bus := line.New(line.Config{Name: "bus", TCP: factory.Lines[i].Address})
		for unit, m := range units {
			p, err := library.Get(m.Name())
			if err != nil {
				t.Fatal(err)
			}
			registers := slices.DeleteFunc(p.All(), func(r drivers.Register) bool {
				_, simulated := m.Reading(r.Name)
				return !simulated
			})
			if len(registers) == 0 {
				continue
			}
			reader, err := modbus.New(modbus.Config{
				Name: m.Name(), Unit: unit, Framing: framing, Registers: registers,
				Ranges: p.Ranges, MaxRegisters: p.MaxRegisters, Timeout: 20 * time.Second,
			}, bus)
			if err != nil {
				t.Fatal(err)
			}
			got := make([]drivers.Reading, len(registers))
			if err := reader.Read(t.Context(), got); err != nil {
				t.Errorf("%s: %v", m.Name(), err)
				continue
			}
			for j, r := range registers {
				want, ok := m.Reading(r.Name)
				if read := (drivers.Decimal{Coef: got[j].Coef, Exp: r.Exp}); !ok || read != want || got[j].Quality != drivers.OK {
					t.Errorf("%s %s: read %s %s (%s), the meter holds %s", m.Name(), r.Name, read, r.Unit, got[j].Quality, want)
				}
			}
		}
		bus.Close()
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
