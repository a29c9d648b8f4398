// Package assembly puts the parts together as a site file says: profiles and
// drivers on lines, the agent, shippers on brokers. It is the one place where
// the field side and the uplink meet; cmd/tallystick and cmd/tally-demo share
// it.
package assembly

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
)

// known is what a site file may say about the profiles of lib.
func known(lib *profile.Library) (configs.Profiles, error) {
	all := configs.Profiles{}
	for _, id := range lib.IDs() {
		p, err := lib.Get(id)
		if err != nil {
			return nil, err
		}
		k := configs.Profile{Protocol: "modbus"}
		for _, r := range p.All() {
			k.Quantities = append(k.Quantities, r.Name)
		}
		all[id] = k
	}
	return all, nil
}

// Lines builds the lines of a site with the meters on them. Nothing is opened
// yet. tap, where not nil, sees every frame.
func Lines(site *configs.Site, lib *profile.Library, tap func(drivers.Frame)) ([]agent.Line, error) {
	lines := make([]agent.Line, 0, len(site.Lines))
	for i := range site.Lines {
		c := &site.Lines[i]
		cfg := line.Config{Name: string(c.Name), TCP: string(c.TCP), Tap: tap}
		if c.Port != "" {
			cfg.Serial = &line.Serial{
				Path: c.Port, Settings: drivers.Settings(c.Serial),
			}
		}
		bus := line.New(cfg)
		l := agent.Line{Name: string(c.Name), Close: bus.Close}
		for j := range site.Meters {
			m := &site.Meters[j]
			if m.Line != string(c.Name) {
				continue
			}
			meter, err := newMeter(m, lib, bus)
			if err != nil {
				return nil, fmt.Errorf("meter %s: %w", m.Name, err)
			}
			l.Meters = append(l.Meters, meter)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

func newMeter(m *configs.Meter, lib *profile.Library, bus drivers.Exchanger) (agent.Meter, error) {
	p, err := lib.Get(m.Profile)
	if err != nil {
		return agent.Meter{}, err
	}
	registers := p.Registers
	if len(m.Quantities) > 0 {
		registers = slices.DeleteFunc(slices.Clone(p.All()), func(r drivers.Register) bool {
			return !slices.Contains(m.Quantities, r.Name)
		})
	}
	framing := modbus.RTU
	if m.Protocol == configs.ModbusTCP {
		framing = modbus.TCP
	}
	unit, err := strconv.ParseUint(string(m.Address), 10, 8)
	if err != nil {
		return agent.Meter{}, err
	}
	device, err := modbus.New(modbus.Config{
		Name: string(m.Name), Unit: uint8(unit), Framing: framing,
		Registers: registers, Ranges: p.Ranges, MaxRegisters: p.MaxRegisters,
		Timeout: p.Timeout, Gap: p.Gap,
	}, bus)
	if err != nil {
		return agent.Meter{}, err
	}
	am := agent.Meter{
		Name: string(m.Name), Profile: p.ID, ProfileVersion: p.Version, ProfileHash: p.Hash,
		Interval: m.Interval, Device: device,
	}
	for _, r := range registers {
		c := agent.Column{Quantity: r.Quantity, Multiplier: drivers.Decimal{Coef: 1}}
		if p.Secondary {
			c.Multiplier = multiplier(r.Unit, m.CT, m.PT)
		}
		am.Columns = append(am.Columns, c)
	}
	return am, nil
}

// multiplier is what a reading on the secondary side of the instrument
// transformers stands for on the primary side: currents pass the current
// transformer, voltages the voltage transformer, power and energy both.
func multiplier(unit string, ct, pt configs.Ratio) drivers.Decimal {
	var r configs.Ratio
	switch unit {
	case "A":
		r = ct
	case "V":
		r = pt
	case "W", "var", "VA", "kW", "kWh", "kvarh", "kVAh":
		r = ct.Times(pt)
	default:
		return drivers.Decimal{Coef: 1}
	}
	return drivers.Decimal{Coef: r.Coef, Exp: r.Exp}
}
