package diagnose

import (
	"context"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// order is a word order that makes sense of what a meter says.
type order struct {
	name  string
	shown string // a value that could not be, read with it: "voltage_l1 230.4 V"
}

// TryOrders looks whether values of p cannot be, and then for the one word order
// under which all that device says can. It reads device again for that.
func (p *Poll) TryOrders(ctx context.Context, device agent.Device) {
	m, isModbus := device.(*modbus.Meter)
	var odd []int
	for i, r := range p.Readings {
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
		rs := make([]drivers.Reading, len(p.Readings))
		if other.Read(ctx, rs) != nil || !allOK(rs) {
			continue
		}
		fitting = append(fitting, order{name, p.Columns[odd[0]].Name + " " + value(rs[odd[0]].Coef, p.Columns[odd[0]]) + " " + p.Columns[odd[0]].Unit})
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
func oddFault(where string, p Poll) *cli.Error {
	var values []string
	for _, i := range p.odd[:min(2, len(p.odd))] {
		text := "no number"
		if p.Readings[i].Quality.HasValue() {
			text = p.Value(i) + " " + p.Columns[i].Unit
		}
		values = append(values, p.Columns[i].Name+" "+text)
	}
	e := &cli.Error{Exit: cli.Fault, Code: "E-210"}
	e.Text = fmt.Sprintf("%s answers, but %s cannot be; the value is kept and marked", where, strings.Join(values, " and "))
	e.Hint = fmt.Sprintf("check the model on its plate against profile: %s (tallystick profile list), and a CT or PT ratio", p.Meter.Profile)
	if p.fits != nil {
		e.Text += fmt.Sprintf("; with word order %s it would be %s", p.fits.name, p.fits.shown)
		e.Hint = fmt.Sprintf("choose the profile of the model whose word order is %s, or copy %s into a profile of your own with order: %s", p.fits.name, p.Meter.Profile, p.fits.name)
	}
	return e
}
