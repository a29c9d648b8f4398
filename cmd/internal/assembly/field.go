// Package assembly puts the parts together as a site file says: profiles and
// drivers on lines, the agent, shippers on brokers. It is the one place where
// the field side and the uplink meet; cmd/tallystick and cmd/tally-demo share
// it.
package assembly

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/iec62056"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// known is what a site file may say about the profiles of a library.
type known struct{ *profile.Library }

func (k known) Profile(id string) (configs.Profile, error) {
	p, err := k.Get(id)
	if err != nil {
		return configs.Profile{}, err
	}
	return configs.Profile{Protocol: p.Protocol, Quantities: p.Quantities()}, nil
}

// Library is the profiles a site may use: those of the program, and those in
// the directory dir, where it is not empty.
func Library(dir string) (*profile.Library, error) {
	lib := profile.Builtin()
	if dir == "" {
		return lib, nil
	}
	return lib, lib.AddDir(dir)
}

// Lines builds the lines of a site with the meters on them. Nothing is opened
// yet. tap and warn are line.Config's, and may be nil.
func Lines(site *configs.Site, lib *profile.Library, tap func(drivers.Frame), warn func(error)) ([]agent.Line, error) {
	lines := make([]agent.Line, 0, len(site.Lines))
	for i := range site.Lines {
		c := &site.Lines[i]
		cfg := line.Config{Name: string(c.Name), TCP: string(c.TCP), Tap: tap, Warn: warn}
		if c.Port != "" {
			cfg.Serial = &line.Serial{
				Path: c.Port, Settings: drivers.Settings(c.Serial), RS485: rs485(c.RS485),
			}
		}
		l := agent.Line{Name: string(c.Name)}
		if slices.ContainsFunc(site.Meters, func(m configs.Meter) bool { return m.RawFrames && m.Line == string(c.Name) }) {
			frames := new(agent.Tap)
			l.Tap, cfg.Tap = frames, func(f drivers.Frame) {
				frames.Frame(f)
				if tap != nil {
					tap(f)
				}
			}
		}
		bus := line.New(cfg)
		l.Close = bus.Close
		for j := range site.Meters {
			m := &site.Meters[j]
			if m.Line != string(c.Name) {
				continue
			}
			meter, err := newMeter(m, lib, bus.Station(line.StationConfig{Name: string(m.Name)}))
			if err != nil {
				return nil, fmt.Errorf("meter %s: %w", m.Name, err)
			}
			l.Meters = append(l.Meters, meter)
		}
		lines = append(lines, l)
	}
	return lines, nil
}

// rs485 is nil where the site file says nothing of it.
func rs485(c configs.RS485) *line.RS485 {
	if c == (configs.RS485{}) {
		return nil
	}
	return &line.RS485{RTSOnSend: c.RTSOnSend == configs.High, DelayBefore: c.DelayBefore, DelayAfter: c.DelayAfter}
}

func newMeter(m *configs.Meter, lib *profile.Library, bus drivers.Exchanger) (agent.Meter, error) {
	p, err := lib.Get(m.Profile)
	if err != nil {
		return agent.Meter{}, err
	}
	if m.Timeout > 0 {
		own := *p
		own.Timeout = m.Timeout
		p = &own
	}
	am := agent.Meter{
		Name: string(m.Name), Profile: p.ID, ProfileVersion: p.Version, ProfileHash: p.Hash,
		Interval: m.Interval, Main: m.Main, RawFrames: m.RawFrames,
	}
	var quantities []drivers.Quantity
	if p.Protocol == profile.Modbus {
		quantities, err = modbusDevice(&am, m, p, bus)
	} else {
		quantities, err = namedDevice(&am, m, p, bus)
	}
	if err != nil {
		return agent.Meter{}, err
	}
	for _, q := range quantities {
		life := p.Lives[q.Name]
		c := agent.Column{Quantity: q, Multiplier: drivers.Decimal{Coef: 1}, Rule: judge.Rule{
			Counter: life.Counter, Modulus: life.Modulus, MaxRate: life.MaxRate, Frozen: life.Frozen, Refresh: life.Refresh,
		}}
		if p.Secondary {
			c.Multiplier = multiplier(q.Unit, m.CT, m.PT)
		}
		am.Columns = append(am.Columns, c)
	}
	return am, nil
}

// chosen are the entries of a profile a site reads: those it names, or else
// the default ones.
func chosen[T any](m *configs.Meter, byDefault, all []T, name func(T) string) []T {
	if len(m.Quantities) == 0 {
		return byDefault
	}
	return slices.DeleteFunc(slices.Clone(all), func(e T) bool { return !slices.Contains(m.Quantities, name(e)) })
}

func modbusDevice(am *agent.Meter, m *configs.Meter, p *profile.Profile, bus drivers.Exchanger) (quantities []drivers.Quantity, err error) {
	registers := chosen(m, p.Registers, p.All(), func(r drivers.Register) string { return r.Name })
	unit, err := strconv.ParseUint(string(m.Address), 10, 8)
	if err != nil {
		return nil, err
	}
	framing := map[configs.Protocol]modbus.Framing{configs.ModbusTCP: modbus.TCP, configs.ModbusASCII: modbus.ASCII}[m.Protocol]
	device, err := modbus.New(modbus.Config{
		Name: string(m.Name), Unit: uint8(unit), Framing: framing,
		Registers: registers, Ranges: p.Ranges, MaxRegisters: p.MaxRegisters,
		Timeout: p.Timeout, Gap: p.Gap, Settings: drivers.Settings(m.Serial),
	}, bus)
	if err != nil {
		return nil, err
	}
	am.Device = device
	if id := p.Identity; id != nil {
		am.Identity = func(ctx context.Context) (string, error) {
			data, err := device.ReadRaw(ctx, modbus.Request{Table: id.Table, Address: id.Address, Count: id.Last - id.Address + 1})
			if err != nil {
				return "", err
			}
			return id.Text(data), nil
		}
	}
	am.Ask = func(ctx context.Context, r evidence.RegisterRead) ([]byte, evidence.Code) {
		q := modbus.Request{Table: table(r.Table), Address: uint16(r.Address), Count: uint16(r.Count)}
		if !readable(p.Ranges, q) {
			return nil, evidence.Absent
		}
		data, err := device.ReadRaw(ctx, q)
		if err != nil {
			code := evidence.BadFrame
			if fault := (*drivers.Fault)(nil); errors.As(err, &fault) {
				code = evidence.Code(fault.Kind)
			}
			return nil, code
		}
		return data, evidence.OK
	}
	for _, r := range registers {
		quantities = append(quantities, r.Quantity)
	}
	return quantities, nil
}

// table is the drivers' name for a table of a lender's request.
func table(t evidence.RegisterTable) drivers.Table {
	switch t {
	case evidence.Coils:
		return drivers.Coil
	case evidence.DiscreteInputs:
		return drivers.DiscreteInput
	case evidence.InputRegisters:
		return drivers.InputRegister
	}
	return drivers.HoldingRegister
}

// readable reports whether one of the ranges holds all of q.
func readable(ranges []drivers.Range, q modbus.Request) bool {
	return slices.ContainsFunc(ranges, func(r drivers.Range) bool {
		return r.Table == q.Table && r.Address <= q.Address && int(q.Address)+int(q.Count)-1 <= int(r.Last)
	})
}

// namedDevice is a meter whose protocol names its data.
func namedDevice(am *agent.Meter, m *configs.Meter, p *profile.Profile, bus drivers.Exchanger) (quantities []drivers.Quantity, err error) {
	items := chosen(m, p.Items, p.AllItems(), func(i drivers.Item) string { return i.Name })
	settings := drivers.Settings(m.Serial)
	name, address := string(m.Name), string(m.Address)
	switch m.Protocol {
	case configs.DLT645v2007, configs.DLT645v1997:
		v := dlt645.V2007
		if m.Protocol == configs.DLT645v1997 {
			v = dlt645.V1997
		}
		device, err := dlt645.New(dlt645.Config{
			Name: name, Address: address, Version: v, Items: items, Blocks: p.Blocks,
			Wakeup: p.Wakeup, Timeout: p.Timeout, Settings: settings,
		}, bus)
		if err != nil {
			return nil, err
		}
		am.Device, am.Identity = device, device.Identify
	case configs.CJT188:
		// Its frames carry the number on its plate as their address.
		am.Device, err = cjt188.New(cjt188.Config{
			Name: name, Address: address, Type: p.MeterType, Items: items,
			Wakeup: p.Wakeup, Timeout: p.Timeout, Settings: settings,
		}, bus)
	case configs.IEC62056:
		device, err := iec62056.New(iec62056.Config{
			Name: name, Address: address, Items: items, Timeout: p.Timeout, Settings: settings,
			Emulate: settings.DataBits == 8,
		}, bus)
		if err != nil {
			return nil, err
		}
		am.Device, am.Identity = device, device.Identify
	default:
		err = fmt.Errorf("profile %s is for %s, the meter speaks %s", p.ID, p.Protocol, m.Protocol)
	}
	for _, i := range items {
		quantities = append(quantities, i.Quantity)
	}
	return quantities, err
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
