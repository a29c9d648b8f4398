package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/agent/aggregate"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// newDictionary says how the readings of s are laid out in the evidence, and by
// meter which of its readings are recorded, in dictionary order: channel by
// channel, within a channel in the device's order.
func newDictionary(s *Site) (*evidence.Dictionary, [][]int) {
	d := &evidence.Dictionary{Channels: map[evidence.Channel][]evidence.ChannelMeter{}}
	var order [][]int
	for _, line := range s.Lines {
		for _, m := range line.Meters {
			meter := len(d.Meters)
			d.Meters = append(d.Meters, evidence.Meter{
				Name:           m.Name,
				Profile:        m.Profile,
				ProfileVersion: m.ProfileVersion,
				ProfileHash:    m.ProfileHash,
				IntervalMS:     uint32(m.Interval.Milliseconds()),
			})
			order = append(order, nil)
			for _, ch := range slices.Sorted(slices.Values(s.Channels)) {
				cm := evidence.ChannelMeter{Meter: meter}
				switch {
				case ch == evidence.Timing:
					cm.Columns = []evidence.Column{{Quantity: "poll_offset", Unit: "ms", MulCoef: 1}}
				case aggregate.Made(ch):
					cm.Columns = madeOf(&m, ch, s.Channels)
				}
				for i, c := range m.Columns {
					if ChannelOf(c.Quantity) != ch {
						continue
					}
					cm.Columns = append(cm.Columns, c.evidence())
					order[meter] = append(order[meter], i)
				}
				if cm.Columns != nil {
					d.Channels[ch] = append(d.Channels[ch], cm)
				}
			}
			if m.RawFrames {
				d.Channels[evidence.RawFrames] = append(d.Channels[evidence.RawFrames], evidence.ChannelMeter{
					Meter: meter, Columns: []evidence.Column{{Quantity: "frames", MulCoef: 1}},
				})
			}
		}
	}
	return d, order
}

// evidence is the column as the dictionary has it.
func (c *Column) evidence() evidence.Column {
	return evidence.Column{
		Quantity: c.Name, Unit: c.Unit, Exp: c.Exp,
		MulCoef: c.Multiplier.Coef, MulExp: c.Multiplier.Exp,
	}
}

// madeOf is what m has in a channel made of others: of those that are sealed,
// so that what is said can be recomputed.
func madeOf(m *Meter, ch evidence.Channel, sealed []evidence.Channel) []evidence.Column {
	var counters, power []evidence.Column
	for i := range m.Columns {
		c := &m.Columns[i]
		switch of := ChannelOf(c.Quantity); {
		case !slices.Contains(sealed, of):
		case of == evidence.Energy && c.Rule.Counter:
			counters = append(counters, c.evidence())
		case of == evidence.Power && c.Name == "power":
			power = append(power, c.evidence())
		}
	}
	return aggregate.Columns(ch, counters, power)
}

// fits refuses a site whose windows could not be sealed, because a block holds
// at most evidence.MaxCells samples; half of that is left for late polls.
func fits(d *evidence.Dictionary, window time.Duration) error {
	for _, ch := range d.ChannelList() {
		if aggregate.Made(ch) && aggregate.Quarter%window != 0 {
			return fmt.Errorf("channel %s: a window of %v does not divide %v: set window: to one that does", ch, window, aggregate.Quarter)
		}
		cells := int64(0)
		for _, cm := range d.Channels[ch] {
			slots := window.Milliseconds()/int64(d.Meters[cm.Meter].IntervalMS) + 1
			if aggregate.Made(ch) {
				slots = aggregate.MostSlots
			}
			cells += slots * int64(len(cm.Columns))
		}
		if cells > evidence.MaxCells/2 {
			return fmt.Errorf("channel %s: a window of %v holds %d samples, at most %d can be sealed: shorten window: or lengthen the intervals",
				ch, window, cells, evidence.MaxCells/2)
		}
	}
	return nil
}
