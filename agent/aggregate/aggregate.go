// Package aggregate makes the channels for those who may see totals only: of
// each meter the movement of its energy registers and the least, mean and
// greatest power of each quarter of an hour, and the movement alone of each
// day (uplink/evidence/SPEC.md section 6.1).
//
// What it says follows from the sealed leaves alone, taken in their order. So it
// can be recomputed by whoever has channels 1 and 2, and by the agent itself
// after a kill.
package aggregate

import (
	"slices"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Quarter is the length of the periods of channel 7. Windows divide it, so that
// one with samples lies in one period, and in one day of every time zone in use.
const Quarter = 15 * time.Minute

// MostSlots is how many periods of a channel can end with one window: one that
// was left open before, and its own.
const MostSlots = 2

// Made reports whether a channel is made here instead of being read from meters.
func Made(ch evidence.Channel) bool { return ch == evidence.Aggregates || ch == evidence.DailyTotals }

// Columns is what a meter has in channel ch, one of those Made: counters are its
// energy registers, power its total active power where it has it.
func Columns(ch evidence.Channel, counters, power []evidence.Column) []evidence.Column {
	cols := []evidence.Column{{Quantity: "period_end", Unit: "ms", MulCoef: 1}}
	suffix := suffixOf(ch)
	for _, c := range counters {
		c.Quantity += suffix
		cols = append(cols, c)
	}
	if ch == evidence.Aggregates {
		for _, c := range power {
			for _, what := range loads {
				c.Quantity = what
				cols = append(cols, c)
			}
		}
	}
	if len(cols) == 1 {
		return nil
	}
	return cols
}

// powerName is the quantity whose least, mean and greatest value loads names.
const powerName = "power"

var loads = [3]string{"power_active_min_15min", "power_active_avg_15min", "power_active_max_15min"}

func suffixOf(ch evidence.Channel) string {
	if ch == evidence.DailyTotals {
		return "_day"
	}
	return "_15min"
}

// Sums makes the channels of one log. Not safe for concurrent use.
type Sums struct {
	modulus func(meter, quantity string) int64
	zone    *time.Location
	spans   []*span // one a channel made, ascending
}

// New makes the Sums of a log without a leaf. modulus is the end of a counter in
// units of its exponent, 0 where it is not known; zone says when a day ends.
func New(modulus func(meter, quantity string) int64, zone *time.Location) *Sums {
	return &Sums{modulus: modulus, zone: zone}
}

// Idle reports whether the dictionary in force has no channel made here.
func (s *Sums) Idle() bool { return len(s.spans) == 0 }

// Follow puts d in force. A register goes on where meter and column are the same
// as before.
func (s *Sums) Follow(d *evidence.Dictionary) {
	before := s.spans
	s.spans = nil
	for _, ch := range d.ChannelList() {
		if !Made(ch) {
			continue
		}
		sp := newSpan(ch, d)
		if i := slices.IndexFunc(before, func(b *span) bool { return b.Channel == ch }); i >= 0 {
			sp.take(before[i])
		}
		s.spans = append(s.spans, sp)
	}
}

// Window takes the next window of the log, Unix ms, with the samples of its
// channels energy and power, and adds the channels made to data. What it adds is
// valid until the next call.
func (s *Sums) Window(start, end int64, data map[evidence.Channel][]evidence.Samples) {
	for _, sp := range s.spans {
		sp.reset()
		ends := s.ends(sp.Channel, start)
		if sp.End != 0 && sp.End != ends {
			sp.close(start) // no window reached its end
		}
		sp.End = ends
		sp.add(data, s.modulus)
		if end >= ends {
			sp.close(start)
		}
		data[sp.Channel] = sp.out
	}
}

// ends is when the period of channel ch ends that an instant lies in.
func (s *Sums) ends(ch evidence.Channel, ms int64) int64 {
	quarter := Quarter.Milliseconds()
	end := ms - ms%quarter + quarter
	if ch == evidence.Aggregates {
		return end
	}
	date := func(ms int64) int { return time.UnixMilli(ms).In(s.zone).YearDay() }
	for today := date(ms); date(end) == today; {
		end += quarter
	}
	return end
}

// Events takes an events leaf: what began anew has no difference to what it was.
func (s *Sums) Events(happened []evidence.Happening) {
	for _, h := range happened {
		if h.Kind != "meter_exchanged" && h.Kind != "counter_reset" {
			continue
		}
		for _, sp := range s.spans {
			for i := range sp.Counters {
				c := &sp.Counters[i]
				if c.Meter == h.Subject && (h.Quantity == "" || c.Column.Quantity == h.Quantity) {
					c.Known, c.Broken = false, true
				}
			}
		}
	}
}

// span is the state of one channel: its open period and what is known of it.
// Exported fields are the state, the others follow from the dictionary.
type span struct {
	Channel  evidence.Channel
	End      int64 // of the open period, Unix ms; 0: none is open
	Counters []counter
	Powers   []power

	out []evidence.Samples // of the window at hand
}

// place is where the samples of a column come from and go to.
type place struct {
	meter, column int // among the meters of the source's channel, and their columns
	out, first    int // among the meters of the channel made, and their columns
}

func newSpan(ch evidence.Channel, d *evidence.Dictionary) *span {
	sp := &span{Channel: ch, out: make([]evidence.Samples, len(d.Channels[ch]))}
	for i, cm := range d.Channels[ch] {
		sp.out[i].Values = make([][]int64, len(cm.Columns))
		sp.out[i].Codes = make([][]evidence.Code, len(cm.Columns))
		first := func(quantity string) int {
			return slices.IndexFunc(cm.Columns, func(c evidence.Column) bool { return c.Quantity == quantity })
		}
		name := d.Meters[cm.Meter].Name
		each(d, evidence.Energy, cm.Meter, func(meter, column int, c evidence.Column) {
			if at := first(c.Quantity + suffixOf(ch)); at >= 0 {
				sp.Counters = append(sp.Counters, counter{Meter: name, Column: c, place: place{meter, column, i, at}})
			}
		})
		each(d, evidence.Power, cm.Meter, func(meter, column int, c evidence.Column) {
			if at := first(loads[0]); at >= 0 && c.Quantity == powerName {
				sp.Powers = append(sp.Powers, power{Meter: name, Column: c, place: place{meter, column, i, at}})
			}
		})
	}
	return sp
}

// each calls f for the columns of a meter in a channel, with their positions.
func each(d *evidence.Dictionary, ch evidence.Channel, meter int, f func(meter, column int, c evidence.Column)) {
	for i, cm := range d.Channels[ch] {
		if cm.Meter == meter {
			for c := range cm.Columns {
				f(i, c, cm.Columns[c])
			}
		}
	}
}

// take goes on from the state of before.
func (sp *span) take(before *span) {
	sp.End = before.End
	for i := range sp.Counters {
		c := &sp.Counters[i]
		for _, b := range before.Counters {
			if b.Meter == c.Meter && b.Column == c.Column {
				b.place = c.place
				*c = b
			}
		}
	}
	for i := range sp.Powers {
		p := &sp.Powers[i]
		for _, b := range before.Powers {
			if b.Meter == p.Meter && b.Column == p.Column {
				b.place = p.place
				*p = b
			}
		}
	}
}

func (sp *span) reset() {
	for i := range sp.out {
		o := &sp.out[i]
		o.Slots = 0
		for c := range o.Values {
			o.Values[c], o.Codes[c] = o.Values[c][:0], o.Codes[c][:0]
		}
	}
}

func (sp *span) add(data map[evidence.Channel][]evidence.Samples, modulus func(meter, quantity string) int64) {
	for i := range sp.Counters {
		c := &sp.Counters[i]
		s := &data[evidence.Energy][c.place.meter]
		for slot := range s.Slots {
			if code := s.Code(c.place.column, slot); code == evidence.OK {
				c.add(s.Values[c.place.column][slot], modulus)
			} else {
				c.Code = code
			}
		}
	}
	for i := range sp.Powers {
		p := &sp.Powers[i]
		s := &data[evidence.Power][p.place.meter]
		for slot := range s.Slots {
			if code := s.Code(p.place.column, slot); code == evidence.OK {
				p.add(s.Values[p.place.column][slot])
			} else {
				p.Code = code
			}
		}
	}
}

// close ends the open period with a slot of the window that begins at start.
func (sp *span) close(start int64) {
	for i := range sp.out {
		sp.out[i].Slots++
		sp.put(i, 0, sp.End-start, evidence.OK)
	}
	for i := range sp.Counters {
		c := &sp.Counters[i]
		v, code := c.close()
		sp.put(c.place.out, c.place.first, v, code)
	}
	for i := range sp.Powers {
		p := &sp.Powers[i]
		v, code := p.close()
		for k := range v {
			sp.put(p.place.out, p.place.first+k, v[k], code)
		}
	}
	sp.End = 0
}

func (sp *span) put(meter, column int, v int64, code evidence.Code) {
	o := &sp.out[meter]
	o.Values[column], o.Codes[column] = append(o.Values[column], v), append(o.Codes[column], code)
}
