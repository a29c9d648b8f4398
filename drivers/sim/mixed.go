package sim

import (
	"fmt"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// Placed is a meter of any protocol and where it is on its line.
type Placed struct {
	Meter interface {
		Name() string
		Requests() int64
		Base() drivers.Decimal
		Reading(quantity string) (drivers.Decimal, bool)
		Do(meter.Deed)
	}
	Profile string
	Address string // unit number, or the address as printed
	Serial  drivers.Settings
}

// Mixed is one line with meters of four protocols, each group with settings of
// its own, as factories have grown them: three Modbus RTU, two DL/T 645-2007,
// one DL/T 645-1997 and two CJ/T 188 meters. The i-th meter, from 1, is named
// after its profile and began at i x 10000 kWh (or m3) and draws at most 5 kW of the
// built-in shifts: for eleven weeks the first digits of energy_import, or
// volume, say whose a reading is. faults, if not nil, gives each meter its
// Config.Fault.
func Mixed(address string, kind Kind, load *plant.Load, clock *plant.Clock, faults func(meter int) func(request int) meter.Fault) (Line, []Placed, error) {
	library := profile.Builtin()
	line := Line{Kind: kind, Address: address}
	var all []Placed
	for i, d := range []struct{ address, profile, serial string }{
		{"1", "eastron-sdm630", "9600 8N1"},
		{"2", "acrel-dtsd1352", "9600 8N1"},
		{"3", "acrel-adw300", "19200 8E1"},
		{"210000000004", "dlt645-2007-3ph", "2400 8E1"},
		{"210000000005", "dlt645-2007-1ph", "9600 8E1"},
		{"970000000006", "dlt645-1997", "1200 8E1"},
		{"78330000000007", "cjt188-water", "2400 8E1"},
		{"78330000000008", "cjt188-water", "4800 8E1"},
	} {
		serial, err := drivers.ParseSettings(d.serial)
		if err != nil {
			return Line{}, nil, err
		}
		c := meter.Config{Name: fmt.Sprintf("%s-%d", d.profile, i+1), Load: load, Clock: clock, Seed: uint64(i), Share: 50, Base: &drivers.Decimal{Coef: int64(i + 1), Exp: 4}}
		if faults != nil {
			c.Fault = faults(i)
		}
		s := Station{Serial: serial}
		placed := Placed{Profile: d.profile, Address: d.address, Serial: serial}
		if meter.IsModel(d.profile) {
			m, err := meter.NewNamed(c, meter.Model{Name: d.profile, Address: d.address, Wakeup: i % 5, Order: meter.Order(i % 2)})
			if err != nil {
				return Line{}, nil, err
			}
			s.Meter, placed.Meter = m, m
		} else {
			p, err := library.Get(d.profile)
			if err != nil {
				return Line{}, nil, err
			}
			m, err := meter.NewModbus(c.WithProfile(p))
			if err != nil {
				return Line{}, nil, err
			}
			s.Meter, placed.Meter = meter.Units{byte(i + 1): m}, m
		}
		line.Stations = append(line.Stations, s)
		all = append(all, placed)
	}
	return line, all, nil
}
