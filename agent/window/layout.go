package window

import (
	"slices"

	"github.com/tallystick/tallystick/agent/aggregate"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

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

// Layout turns a window into the samples the encoder takes: the rows of each
// meter into columns. Channels
// made of others are not its business. It holds their memory, so that a seal
// allocates little.
type Layout struct {
	dict    *evidence.Dictionary
	order   []evidence.Channel // ascending, without those made of others
	samples map[evidence.Channel][]evidence.Samples
	cols    []int // by meter: recorded readings
	placed  []int // by meter: columns already placed; scratch of Fill

	values arena[int64]
	codes  arena[evidence.Code]
}

// LayoutOf is the layout that d describes.
func LayoutOf(d *evidence.Dictionary) Layout {
	l := Layout{
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

// Fill returns what w holds as samples, valid until the next call.
func (l *Layout) Fill(w *Window) map[evidence.Channel][]evidence.Samples {
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
					l.offsets(s.Values[c], w.Start, cm.Meter, m.at)
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
func (l *Layout) column(s *evidence.Samples, c int, rows []drivers.Reading, from, width int) {
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
func (l *Layout) offsets(dst []int64, start int64, meter int, at []int64) {
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
