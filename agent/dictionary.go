package agent

import (
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/agent/aggregate"
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

// columns is the number of recorded readings by meter in d: timing and what is
// made of readings are none.
func columns(d *evidence.Dictionary) []int {
	cols := make([]int, len(d.Meters))
	for ch, meters := range d.Channels {
		if !ch.Measured() {
			continue
		}
		for _, m := range meters {
			cols[m.Meter] += len(m.Columns)
		}
	}
	return cols
}

// layout turns a window into the samples the encoder takes: the rows of each
// meter into columns. Channels made of others are not its business. It holds their memory, so that a seal allocates little.
type layout struct {
	dict    *evidence.Dictionary
	order   []evidence.Channel // ascending, without those made of others
	samples map[evidence.Channel][]evidence.Samples
	cols    []int // by meter: recorded readings
	placed  []int // by meter: columns already placed; scratch of fill

	values arena[int64]
	codes  arena[evidence.Code]
}

func layoutOf(d *evidence.Dictionary) layout {
	l := layout{
		dict:    d,
		order:   slices.DeleteFunc(d.ChannelList(), aggregate.Made),
		samples: map[evidence.Channel][]evidence.Samples{},
		cols:    columns(d),
		placed:  make([]int, len(d.Meters)),
	}
	for ch, meters := range d.Channels {
		if aggregate.Made(ch) {
			continue
		}
		l.samples[ch] = make([]evidence.Samples, len(meters))
		for i, cm := range meters {
			s := &l.samples[ch][i]
			s.Values, s.Codes = make([][]int64, len(cm.Columns)), make([][]evidence.Code, len(cm.Columns))
		}
	}
	return l
}

// fill returns what w holds as samples, valid until the next call.
func (l *layout) fill(w *window) map[evidence.Channel][]evidence.Samples {
	clear(l.placed)
	l.values.reset()
	l.codes.reset()
	for _, ch := range l.order {
		for i, cm := range l.dict.Channels[ch] {
			s, m := &l.samples[ch][i], &w.meters[cm.Meter]
			if ch == evidence.RawFrames {
				s.Frames = &m.frames
				continue
			}
			s.Slots = len(m.at)
			for c := range cm.Columns {
				s.Values[c], s.Codes[c] = l.values.take(s.Slots), nil
				if ch == evidence.Timing {
					l.offsets(s.Values[c], w.start, cm.Meter, m.at)
					continue
				}
				l.column(s, c, m.rows, l.placed[cm.Meter], l.cols[cm.Meter])
				l.placed[cm.Meter]++
			}
		}
	}
	return l.samples
}

// column copies column from of rows with width columns into column c of s. A
// column without an exception has no codes.
func (l *layout) column(s *evidence.Samples, c int, rows []drivers.Reading, from, width int) {
	for slot := range s.Slots {
		r := rows[slot*width+from]
		s.Values[c][slot] = r.Coef
		if r.Quality == drivers.OK {
			continue
		}
		if s.Codes[c] == nil {
			s.Codes[c] = l.codes.take(s.Slots)
			clear(s.Codes[c])
		}
		s.Codes[c][slot] = evidence.Code(r.Quality)
	}
}

// offsets is the timing column of a meter: how far each poll began from the
// even spacing of its slots, ms (SPEC.md, channel 6).
func (l *layout) offsets(dst []int64, start int64, meter int, at []int64) {
	interval := int64(l.dict.Meters[meter].IntervalMS)
	for k, t := range at {
		dst[k] = t - start - int64(k)*interval
	}
}

// arena hands out slices of one growing block of memory.
type arena[T any] struct{ block, free []T }

func (a *arena[T]) reset() { a.free = a.block }

func (a *arena[T]) take(n int) []T {
	if n > len(a.free) {
		a.block = make([]T, 2*len(a.block)+n)
		a.free = a.block
	}
	s := a.free[:n:n]
	a.free = a.free[n:]
	return s
}
