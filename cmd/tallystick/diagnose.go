package main

import (
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
)

// diagnose turns the faults of one line's meters into messages for people: what
// and where, then what to do. Looking at the whole line tells a dead line from
// a wrong unit number, which a single meter's fault cannot.
func diagnose(l *configs.Line, polls []polled) []*cli.Error {
	var faults []*cli.Error
	answering := 0
	for _, p := range polls {
		if p.err == nil || anyValue(p.readings) {
			answering++
		}
	}
	for _, p := range polls {
		if p.err == nil {
			continue
		}
		e := meterFault(l, p, answering, len(polls))
		var open *line.OpenError
		if errors.As(p.err, &open) { // once for the line, not once a meter
			return append(faults, e)
		}
		faults = append(faults, e)
	}
	return faults
}

func meterFault(l *configs.Line, p polled, answering, all int) *cli.Error {
	e := &cli.Error{Exit: cli.Fault, Code: "E-203", Text: p.err.Error()}
	var open *line.OpenError
	if errors.As(p.err, &open) {
		return portFault(l, open)
	}
	var fault *drivers.Fault
	if !errors.As(p.err, &fault) {
		return e
	}
	where := fmt.Sprintf("meter %q (unit %d, %s)", p.meter.Name, p.meter.Address, place(l))
	switch fault.Kind {
	case drivers.Timeout:
		e.Code = "E-204"
		switch {
		case answering > 0:
			e.Text = fmt.Sprintf("%s gives no answer: %v. %d of the %d meters on this line answer, so the line is fine", where, fault.Err, answering, all)
			e.Hint = fmt.Sprintf("compare the unit number on the meter's display with address: %d in the site file, and check that the meter has power", p.meter.Address)
		default:
			e.Text = fmt.Sprintf("%s gives no answer: %v; nothing on this line answers", where, fault.Err)
			e.Hint = "check the wires (A and B may be swapped), the power of the meters, and that this is the right port"
		}
	case drivers.BadFrame:
		e.Code = "E-205"
		e.Text = fmt.Sprintf("%s: something answers, but not with a valid reply: %v", where, fault.Err)
		e.Hint = "speed or parity differ between meter and site file (try 9600 8N1, 19200 8E1, 2400 8E1), or two devices share one unit number"
	case drivers.Refused, drivers.Absent:
		e.Code = "E-206"
		e.Text = fmt.Sprintf("%s: %v", where, p.err)
		e.Hint = fmt.Sprintf("the meter does not have what profile %s reads: check the model on its plate against profile:", p.meter.Profile)
	case drivers.Disconnected:
		e.Code = "E-207"
		e.Text = fmt.Sprintf("line %q (%s): %v", l.Name, place(l), fault.Err)
		e.Hint = "check the cable or network to the serial server; readings go on by themselves when it is back"
	}
	return e
}

// portFault puts a port that cannot be opened into a message.
func portFault(l *configs.Line, open *line.OpenError) *cli.Error {
	e := &cli.Error{Exit: cli.Environment, Text: fmt.Sprintf("line %q: %v", l.Name, open)}
	switch open.Reason {
	case line.Missing:
		e.Code, e.Hint = "E-201", "plug the adapter in, or write one of the ports listed as port: (by-id names survive replugging)"
	case line.Permission:
		e.Code, e.Hint = "E-202", "run the command named above; the installed service has this right already"
	case line.Busy:
		e.Code, e.Hint = "E-208", "stop the other program; if it is tallystick itself: tallystick service stop"
	default:
		e.Code, e.Hint = "E-209", "check that this is a serial port and that its settings are supported"
	}
	return e
}

// place is where a line is, as on the wiring plan.
func place(l *configs.Line) string {
	if l.TCP != "" {
		return string(l.TCP)
	}
	return fmt.Sprintf("%s %v", l.Port, l.Serial)
}

func anyValue(rs []drivers.Reading) bool {
	for _, r := range rs {
		if r.Quality.HasValue() {
			return true
		}
	}
	return false
}
