package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// order is a word order that makes sense of what a meter says.
type order struct {
	name  string
	shown string // a value that could not be, read with it: "voltage_l1 230.4 V"
}

// wrongOrder reports whether values of p cannot be, and looks for the one
// word order under which all can.
func wrongOrder(ctx context.Context, device any, p *polled) {
	m, isModbus := device.(*modbus.Meter)
	var odd []int
	for i, r := range p.readings {
		if r.Quality == drivers.Suspect || r.Quality == drivers.Invalid {
			odd = append(odd, i)
		}
	}
	if len(odd) == 0 || !isModbus {
		return
	}
	p.odd = odd
	var fitting []order
	for i, name := range []string{"ABCD", "CDAB", "BADC", "DCBA"} {
		other, err := m.Reordered(drivers.WordOrder(i))
		if err != nil {
			return
		}
		rs := make([]drivers.Reading, len(p.readings))
		if other.Read(ctx, rs) != nil || !allOK(rs) {
			continue
		}
		fitting = append(fitting, order{name, p.columns[odd[0]].Name + " " + decimal(rs[odd[0]].Coef, p.columns[odd[0]]) + " " + p.columns[odd[0]].Unit})
	}
	if len(fitting) == 1 { // two would be a guess
		p.fits = &fitting[0]
	}
}

func allOK(rs []drivers.Reading) bool {
	for _, r := range rs {
		if r.Quality != drivers.OK {
			return false
		}
	}
	return true
}

// oddFault is the message for values that cannot be.
func oddFault(where string, p polled) *cli.Error {
	var values []string
	for _, i := range p.odd[:min(2, len(p.odd))] {
		text := "no number"
		if p.readings[i].Quality.HasValue() {
			text = decimal(p.readings[i].Coef, p.columns[i]) + " " + p.columns[i].Unit
		}
		values = append(values, p.columns[i].Name+" "+text)
	}
	e := &cli.Error{Exit: cli.Fault, Code: "E-210"}
	e.Text = fmt.Sprintf("%s answers, but %s cannot be; the value is kept and marked", where, strings.Join(values, " and "))
	e.Hint = fmt.Sprintf("check the model on its plate against profile: %s (tallystick profile list), and a CT or PT ratio", p.meter.Profile)
	if p.fits != nil {
		e.Text += fmt.Sprintf("; with word order %s it would be %s", p.fits.name, p.fits.shown)
		e.Hint = fmt.Sprintf("choose the profile of the model whose word order is %s, or copy %s into a profile of your own with order: %s", p.fits.name, p.meter.Profile, p.fits.name)
	}
	return e
}
