package agent

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/tallystick/tallystick/drivers"
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
				if ch == evidence.Timing {
					cm.Columns = []evidence.Column{{Quantity: "poll_offset", Unit: "ms", MulCoef: 1}}
				}
				for i, c := range m.Columns {
					if ChannelOf(c.Quantity) != ch {
						continue
					}
					cm.Columns = append(cm.Columns, evidence.Column{
						Quantity: c.Name, Unit: c.Unit, Exp: c.Exp,
						MulCoef: c.Multiplier.Coef, MulExp: c.Multiplier.Exp,
					})
					order[meter] = append(order[meter], i)
				}
				if cm.Columns != nil {
					d.Channels[ch] = append(d.Channels[ch], cm)
				}
			}
		}
	}
	return d, order
}

// fits refuses a site whose windows could not be sealed, because a block holds
// at most evidence.MaxCells samples; half of that is left for late polls.
func fits(d *evidence.Dictionary, window time.Duration) error {
	for _, ch := range d.ChannelList() {
		cells := int64(0)
		for _, cm := range d.Channels[ch] {
			slots := window.Milliseconds()/int64(d.Meters[cm.Meter].IntervalMS) + 1
			cells += slots * int64(len(cm.Columns))
		}
		if cells > evidence.MaxCells/2 {
			return fmt.Errorf("channel %s: a window of %v holds %d samples, at most %d can be sealed: shorten window: or lengthen the intervals",
				ch, window, cells, evidence.MaxCells/2)
		}
	}
	return nil
}

// columns is the number of recorded readings by meter in d; the timing column
// is not one.
func columns(d *evidence.Dictionary) []int {
	cols := make([]int, len(d.Meters))
	for ch, meters := range d.Channels {
		if ch == evidence.Timing {
			continue
		}
		for _, m := range meters {
			cols[m.Meter] += len(m.Columns)
		}
	}
	return cols
}

// layout turns a window into the samples the encoder takes. It holds their
// slices, so that a seal allocates nothing.
type layout struct {
	dict    *evidence.Dictionary
	order   []evidence.Channel // ascending
	samples map[evidence.Channel][]evidence.Samples
	offsets [][]int64         // by meter: the timing column
	clean   [][]evidence.Code // by meter: codes of the timing column, all ok
	used    []int             // by meter: columns already placed; scratch of fill
}

func layoutOf(d *evidence.Dictionary) layout {
	l := layout{
		dict:    d,
		order:   slices.Sorted(maps.Keys(d.Channels)),
		samples: map[evidence.Channel][]evidence.Samples{},
		offsets: make([][]int64, len(d.Meters)),
		clean:   make([][]evidence.Code, len(d.Meters)),
		used:    make([]int, len(d.Meters)),
	}
	for ch, meters := range d.Channels {
		l.samples[ch] = make([]evidence.Samples, len(meters))
	}
	return l
}

// fill points the samples at what w holds. They are valid until w is recycled
// or the next call.
func (l *layout) fill(w *window) map[evidence.Channel][]evidence.Samples {
	clear(l.used)
	for _, ch := range l.order {
		for i, cm := range l.dict.Channels[ch] {
			m, s := &w.meters[cm.Meter], &l.samples[ch][i]
			s.Slots = len(m.at)
			if ch == evidence.Timing {
				l.timing(cm.Meter, w)
				s.Values, s.Codes = l.offsets[cm.Meter:cm.Meter+1], l.clean[cm.Meter:cm.Meter+1]
				continue
			}
			lo := l.used[cm.Meter]
			hi := lo + len(cm.Columns)
			s.Values, s.Codes = m.values[lo:hi], m.codes[lo:hi]
			l.used[cm.Meter] = hi
		}
	}
	return l.samples
}

// timing computes the timing column of a meter: how far each poll began from
// the even spacing of its slots, ms (SPEC.md, channel 6).
func (l *layout) timing(meter int, w *window) {
	off, ok := l.offsets[meter][:0], l.clean[meter][:0]
	interval := int64(l.dict.Meters[meter].IntervalMS)
	for k, at := range w.meters[meter].at {
		off = append(off, at-w.start-int64(k)*interval)
		ok = append(ok, evidence.Code(drivers.OK))
	}
	l.offsets[meter], l.clean[meter] = off, ok
}
