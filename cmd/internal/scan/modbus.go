package scan

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
)

const (
	// unitWait is how long a Modbus unit may think before it counts as absent.
	// Every absent one costs it, at every setting.
	unitWait = 80 * time.Millisecond
	// readWait is the patience with a unit that is known to be there.
	readWait = time.Second
)

// units tries Modbus unit numbers, RTU and over TCP Modbus TCP as well.
func (s *search) units(at drivers.Settings, first, last int) (list []step) {
	framings := []modbus.Framing{modbus.RTU}
	if !s.Serial {
		framings = append(framings, modbus.TCP)
	}
	for _, f := range framings {
		for unit := first; unit <= last; unit++ {
			list = append(list, step{at, fmt.Sprintf("unit %d", unit), func(ctx context.Context, at drivers.Settings) ([]Hit, error) {
				return s.unit(ctx, at, f, byte(unit))
			}})
		}
	}
	return list
}

// unit asks one unit for one register. Any reply with a good checksum, also a
// refusal, means that there is one.
func (s *search) unit(ctx context.Context, at drivers.Settings, f modbus.Framing, unit byte) ([]Hit, error) {
	h := Hit{Protocol: "modbus-rtu", Address: strconv.Itoa(int(unit)), Settings: at}
	if f == modbus.TCP {
		h.Protocol = "modbus-tcp"
	}
	if s.known(h.Protocol, h.Address) {
		return nil, nil
	}
	wait := unitWait
	if !s.Serial {
		wait = 3 * unitWait // a network and a serial server stand between
	}
	m, err := modbus.New(modbus.Config{
		Name: "scan", Unit: unit, Framing: f, Settings: at,
		Registers: []drivers.Register{{Quantity: drivers.Quantity{Name: "probe"}}},
		Timeout:   wait + at.Characters(8),
	}, s.Line)
	if err != nil {
		return nil, err
	}
	_, err = m.ReadRaw(ctx, modbus.Request{Table: drivers.HoldingRegister, Count: 1})
	var fault *drivers.Fault
	if errors.As(err, &fault) && fault.Kind != drivers.Refused {
		return nil, err
	}
	s.identify(ctx, &h, f, unit)
	return []Hit{h}, nil
}

// guess is a profile and what spoke for it.
type guess struct {
	profile *profile.Profile
	checks  []string // that do not depend on each other
	answers int      // registers that gave a plausible value
}

// identify finds the profiles whose registers give values that can be, by the
// physics of the mains: a voltage, a frequency, and power that is their
// product.
func (s *search) identify(ctx context.Context, h *Hit, f modbus.Framing, unit byte) {
	var guesses []guess
	for _, id := range s.Library.IDs() {
		p, err := s.Library.Get(id)
		if err != nil || p.Protocol != "modbus" || ctx.Err() != nil {
			continue
		}
		if g, ok := s.fits(ctx, p, h.Settings, f, unit); ok {
			guesses = append(guesses, g)
		}
	}
	slices.SortStableFunc(guesses, func(a, b guess) int {
		if len(a.checks) != len(b.checks) {
			return len(b.checks) - len(a.checks)
		}
		return b.answers - a.answers
	})
	for _, g := range guesses {
		if len(g.checks) >= 2 || len(guesses[0].checks) < 2 {
			h.Profiles = append(h.Profiles, g.profile.ID)
		}
	}
	if len(guesses) == 0 {
		return
	}
	best := guesses[0]
	h.Why = strings.Join(best.checks, ", ")
	h.Certain = len(best.checks) >= 2
	for _, g := range guesses[1:] {
		if len(g.checks) >= 2 && !covers(best.profile, g.profile) {
			h.Certain = false // another map fits as well
		}
	}
	if h.Certain {
		h.Profiles = h.Profiles[:1]
	}
}

// fits reads the registers of p from the unit and counts what speaks for it.
// Nearly every wrong profile fails at its first register.
func (s *search) fits(ctx context.Context, p *profile.Profile, at drivers.Settings, f modbus.Framing, unit byte) (g guess, ok bool) {
	read := func(registers []drivers.Register) ([]drivers.Reading, bool) {
		m, err := modbus.New(modbus.Config{
			Name: "scan", Unit: unit, Framing: f, Settings: at, Registers: registers,
			Ranges: p.Ranges, MaxRegisters: p.MaxRegisters, Timeout: readWait, Gap: p.Gap,
		}, s.Line)
		if err != nil {
			return nil, false
		}
		rs := make([]drivers.Reading, len(registers))
		return rs, m.Read(ctx, rs) == nil
	}
	first := p.Registers[:1]
	if i := slices.IndexFunc(p.Registers, func(r drivers.Register) bool { return strings.HasPrefix(r.Name, "voltage") }); i >= 0 {
		first = p.Registers[i : i+1]
	}
	if rs, answered := read(first); !answered || !sound(&first[0], rs[0]) {
		return g, false
	}
	rs, answered := read(p.Registers)
	if !answered {
		return g, false
	}
	values := map[string]float64{} // a judgement, nothing that is kept
	g.profile = p
	for i := range rs {
		if !sound(&p.Registers[i], rs[i]) {
			return g, false
		}
		v := float64(rs[i].Coef)
		for e := p.Registers[i].Exp; e < 0; e++ {
			v /= 10
		}
		for e := p.Registers[i].Exp; e > 0; e-- {
			v *= 10
		}
		values[p.Registers[i].Name] = v
	}
	g.answers = len(rs)
	g.checks = physics(values)
	return g, true
}

// sound reports whether a reading is one the profile allows and, where it is a
// voltage or a frequency, one the mains can have.
func sound(r *drivers.Register, v drivers.Reading) bool {
	if v.Quality != drivers.OK {
		return false
	}
	low := map[string]int64{"V": 40, "Hz": 45}[r.Unit]
	for e := r.Exp; e < 0; e++ {
		low *= 10
	}
	return low == 0 || v.Coef >= low
}

// physics names the laws that hold between values. Each could fail alone.
func physics(v map[string]float64) (checks []string) {
	near := func(a, b, part, least float64) bool {
		d := max(a-b, b-a)
		return d <= least || d <= part*max(a, -a, b, -b)
	}
	if f, ok := v["frequency"]; ok && f >= 45 && f <= 65 {
		checks = append(checks, fmt.Sprintf("frequency %.2f Hz", f))
	}
	u1, ok := v["voltage_l1"]
	if !ok {
		u1, ok = v["voltage"]
	}
	if ok && u1 >= 80 && u1 <= 300 {
		checks = append(checks, fmt.Sprintf("voltage %.1f V", u1))
	}
	sum, phases := 0.0, 0
	product, factors := 0.0, 0
	for _, l := range []string{"_l1", "_l2", "_l3"} {
		p, ok := v["power"+l]
		if ok {
			sum, phases = sum+p, phases+1
		}
		u, hasU := v["voltage"+l]
		i, hasI := v["current"+l]
		if hasU && hasI {
			product, factors = product+u*i, factors+1
		}
	}
	p, hasP := v["power"]
	if hasP && phases == 3 && near(p, sum, 0.02, 5) && p != 0 {
		checks = append(checks, "phases add up")
	}
	if s := v["apparent_power"]; factors == 3 && s > 0 && near(s, product, 0.05, 20) {
		checks = append(checks, "U x I = S")
	}
	if pf, ok := v["power_factor"]; ok && hasP && factors == 3 && p != 0 && near(p, product*pf, 0.08, 20) {
		checks = append(checks, "U x I x PF = P")
	}
	return checks
}

// covers reports whether a reads everything b does, at the same places: then a
// meter that answers all of a answers all of b, and only a can be told.
func covers(a, b *profile.Profile) bool {
	all := a.All()
	for _, r := range b.Registers {
		if !slices.ContainsFunc(all, func(q drivers.Register) bool {
			return q.Table == r.Table && q.Address == r.Address && q.Type == r.Type && q.Order == r.Order
		}) {
			return false
		}
	}
	return true
}
