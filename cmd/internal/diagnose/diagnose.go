// Package diagnose says to people what is wrong with a line and the meters on it,
// and what to do: for who reads them by hand, and for the running agent.
package diagnose

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
)

// Poll is one meter read once.
type Poll struct {
	Meter    *configs.Meter
	Columns  []agent.Column
	Readings []drivers.Reading // one a column
	At       time.Time         // when it was asked

	err      error
	answered bool   // at least one value came
	odd      []int  // readings that cannot be
	fits     *order // the word order under which they can
}

// Read asks m, which the site file describes as in, for all its values.
func Read(ctx context.Context, in *configs.Meter, m agent.Meter) Poll {
	p := Poll{Meter: in, Columns: m.Columns, Readings: make([]drivers.Reading, len(m.Columns)), At: time.Now()}
	p.err = m.Device.Read(ctx, p.Readings)
	p.answered = p.err == nil || anyValue(p.Readings)
	return p
}

// Value is reading i on the site's side of the transformers, exact.
func (p *Poll) Value(i int) string { return value(p.Readings[i].Coef, p.Columns[i]) }

func value(coef int64, c agent.Column) string {
	d := drivers.Decimal{Coef: coef, Exp: c.Exp}
	if p, ok := d.Times(c.Multiplier); ok {
		return p.String()
	}
	return d.String() + " x " + c.Multiplier.String()
}

// Line turns the faults of one line's meters into messages for people: what
// and where, then what to do. Looking at the whole line tells a dead line from
// a wrong unit number, which a single meter's fault cannot.
func Line(l *configs.Line, polls []Poll) (faults []*cli.Error) {
	answering := 0
	for _, p := range polls {
		if p.answered {
			answering++
		}
	}
	whole := false
	for _, p := range polls {
		switch {
		case p.err == nil && len(p.odd) > 0:
			faults = append(faults, oddFault(whereIs(l, p.Meter), p))
			continue
		case p.err == nil:
			continue
		case ofLine(p.err):
			if whole { // once for the line, not once a meter
				continue
			}
			whole = true
		}
		faults = append(faults, meterFault(l, p, answering))
	}
	return faults
}

// ofLine reports whether err is a fault of the line, not of one meter on it.
func ofLine(err error) bool {
	var fault *drivers.Fault
	return errors.As(err, &fault) && fault.Kind == drivers.Disconnected
}

// heldOff reports whether err says that a meter was not asked because it has
// been silent; that was said when it fell silent.
func heldOff(err error) bool {
	var fault *drivers.Fault
	return errors.As(err, &fault) && fault.Kind == drivers.Skipped
}

// meterFault is the message for one meter, when answering meters of its line
// answer.
func meterFault(l *configs.Line, p Poll, answering int) *cli.Error {
	e := &cli.Error{Exit: cli.Fault, Code: "E-203", Text: p.err.Error(), Hint: "read it again and compare with its display: tallystick read --watch"}
	var open *line.OpenError
	if errors.As(p.err, &open) {
		return Port(l, open)
	}
	var fault *drivers.Fault
	if !errors.As(p.err, &fault) {
		return e
	}
	where := whereIs(l, p.Meter)
	number, shown := numberOf(p.Meter)
	switch fault.Kind {
	case drivers.Timeout:
		e.Code = "E-204"
		switch {
		case answering > 0:
			others := "another meter on this line answers"
			if answering > 1 {
				others = fmt.Sprintf("%d other meters on this line answer", answering)
			}
			e.Text = fmt.Sprintf("%s gives no answer: %v; %s, so the line is fine", where, fault.Err, others)
			settings := "" // those the others answer at say nothing of the meter's own
			if p.Meter.Serial != (configs.Settings{}) && p.Meter.Serial != l.Serial {
				settings = fmt.Sprintf(", and its speed and parity with serial: %v", p.Meter.Serial)
			}
			e.Hint = fmt.Sprintf("compare the %s on the meter's %s with address: %s in the site file%s, and check that the meter has power%s; to find it: %s",
				number, shown, p.Meter.Address, settings, otherwiseSilent(p.Meter), scanOf(l))
		case l.TCP != "":
			e.Text = fmt.Sprintf("%s gives no answer: %v; nothing on this line answers", where, fault.Err)
			e.Hint = fmt.Sprintf("the address answers, the meter does not: check address: %s and protocol: in the site file, and the wires behind a serial server%s", p.Meter.Address, otherwiseSilent(p.Meter))
		default:
			e.Text = fmt.Sprintf("%s gives no answer: %v; nothing on this line answers", where, fault.Err)
			e.Hint = fmt.Sprintf("check the wires (A and B may be swapped), the power of the meters, that this is the right port, and address: %s and serial: in the site file%s; to try other settings and addresses: %s",
				p.Meter.Address, otherwiseSilent(p.Meter), scanOf(l))
		}
	case drivers.BadFrame:
		e.Code = "E-205"
		e.Text = fmt.Sprintf("%s: something answers, but not with a valid reply: %v", where, fault.Err)
		e.Hint = fmt.Sprintf("speed or parity differ between meter and site file, or two devices share one %s; to find out: %s", number, scanOf(l))
	case drivers.Refused, drivers.Absent:
		e.Code = "E-206"
		e.Text = fmt.Sprintf("%s: %v", where, p.err)
		e.Hint = fmt.Sprintf("the meter does not have what profile %s reads: check the model on its plate against profile: in the site file", p.Meter.Profile)
	case drivers.Disconnected:
		e.Code = "E-207"
		e.Text = fmt.Sprintf("line %q (%s): %v", l.Name, place(l, nil), fault.Err)
		e.Hint = "check the cable of the adapter; readings go on by themselves when it is back"
		if l.TCP != "" {
			e.Hint = fmt.Sprintf("check that %s is the address of the serial server or meter, its power and the network; readings go on by themselves when it is back", l.TCP)
		}
	}
	return e
}

// Port puts a port that cannot be opened into a message.
func Port(l *configs.Line, open *line.OpenError) *cli.Error {
	e := &cli.Error{Exit: cli.Environment, Text: fmt.Sprintf("line %q: %v", l.Name, open)}
	switch open.Reason {
	case line.Missing:
		e.Code, e.Hint = "E-201", "plug the adapter in, or write one of the ports listed as port: (by-id names survive replugging); readings go on by themselves when it is there"
	case line.Permission:
		e.Code, e.Hint = "E-202", "run the command named above; the installed service has this right already"
	case line.Busy:
		e.Code, e.Hint = "E-208", "end the other program; if it is tallystick itself: tallystick service stop; readings go on by themselves when the port is free"
	default:
		e.Code, e.Hint = "E-209", "name a serial port as port:, with settings it supports as serial:"
	}
	return e
}

// whereIs is where a meter is, as on the wiring plan.
func whereIs(l *configs.Line, m *configs.Meter) string {
	return fmt.Sprintf("meter %q (%s, %s)", m.Name, Address(m), place(l, m))
}

// numberOf is what a meter shows as its address, and where.
func numberOf(m *configs.Meter) (number, at string) {
	if called(m) == "unit" {
		return "unit number", "display"
	}
	return "address", "plate"
}

// otherwiseSilent is what else makes a meter of m's protocol keep silent
// although number and wires are right, as the end of a hint.
func otherwiseSilent(m *configs.Meter) string {
	switch m.Protocol {
	case configs.CJT188:
		return fmt.Sprintf(", and that it is of the kind profile %s is for: called as another (water, heat, gas) it keeps silent", m.Profile)
	case configs.DLT645v1997, configs.DLT645v2007:
		return fmt.Sprintf(", and that it speaks %s, not the other edition", m.Protocol)
	}
	return ""
}

// scanOf is the command that finds what hangs on a line.
func scanOf(l *configs.Line) string {
	if l.TCP != "" {
		return "tallystick scan --tcp " + string(l.TCP)
	}
	return "tallystick scan " + l.Port
}

// Address is what a meter is called on its line: "unit 7".
func Address(m *configs.Meter) string { return called(m) + " " + string(m.Address) }

// called is what a meter's address is called in its protocol.
func called(m *configs.Meter) string {
	if m.Protocol.Modbus() || m.Protocol == "" {
		return "unit"
	}
	return "address"
}

// place is where a line is, as on the wiring plan, with the settings of m where
// it has its own.
func place(l *configs.Line, m *configs.Meter) string {
	settings := l.Serial
	if m != nil && m.Serial != (configs.Settings{}) {
		settings = m.Serial
	}
	if l.TCP != "" {
		return string(l.TCP)
	}
	return fmt.Sprintf("%s %v", l.Port, settings)
}

func anyValue(rs []drivers.Reading) bool {
	for _, r := range rs {
		if r.Quality.HasValue() {
			return true
		}
	}
	return false
}
