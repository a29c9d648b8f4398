package verify

import (
	"iter"
	"math/big"
	"math/bits"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Window is the content of a verified window: only this package makes one.
// It holds the channels this lender was given.
type Window struct {
	dict   *evidence.Dictionary
	start  int64
	blocks []evidence.Block
	timing map[int]*evidence.Samples // poll offsets by meter index; may be nil
}

func (w *Window) add(b *evidence.Block) {
	w.blocks = append(w.blocks, *b)
	if b.Channel != evidence.Timing {
		return
	}
	w.timing = make(map[int]*evidence.Samples, len(b.Meters))
	for i, cm := range w.dict.Channels[b.Channel] {
		if cm.Columns[0].Unit == "ms" {
			w.timing[cm.Meter] = &b.Meters[i]
		}
	}
}

// Channels are those it holds, ascending.
func (w *Window) Channels() []evidence.Channel {
	cs := make([]evidence.Channel, len(w.blocks))
	for i := range w.blocks {
		cs[i] = w.blocks[i].Channel
	}
	return cs
}

// Dictionary is what its samples are to be read with; not to be changed.
func (w *Window) Dictionary() *evidence.Dictionary { return w.dict }

// Samples are those of each channel it holds, by the meters of the dictionary; not to
// be changed.
func (w *Window) Samples() map[evidence.Channel][]evidence.Samples {
	all := make(map[evidence.Channel][]evidence.Samples, len(w.blocks))
	for i := range w.blocks {
		all[w.blocks[i].Channel] = w.blocks[i].Meters
	}
	return all
}

// Value is one sample of a verified window.
type Value struct {
	Channel         evidence.Channel
	Meter           string
	evidence.Column // Quantity, Unit, exponent and multiplier
	Code            evidence.Code
	Coef            int64 // as read from the meter; 0 and meaningless without a value
	Slot            int
	// Time is when the meter was polled, by the box's clock, where Polled;
	// else the nominal instant of the slot. In channels 7 and 12 it is the end
	// of the period. Milliseconds, UTC.
	Time   time.Time
	Polled bool
}

// Decimal writes the exact value in Unit on the site's side of the
// instrument transformers, every digit and no more: Coef x 10^Exp times the
// multiplier. It is "" for a sample without a value.
func (v Value) Decimal() string {
	if !v.Code.HasValue() {
		return ""
	}
	exp := int(v.Exp) + int(v.MulExp)
	hi, lo := bits.Mul64(magnitude(v.Coef), uint64(v.MulCoef))
	digits := strconv.FormatUint(lo, 10)
	if hi != 0 {
		product := new(big.Int).Mul(big.NewInt(v.Coef), big.NewInt(v.MulCoef))
		digits = product.Abs(product).String()
	}
	sign := ""
	if v.Coef < 0 {
		sign = "-"
	}
	if exp >= 0 {
		if v.Coef != 0 {
			digits += strings.Repeat("0", exp)
		}
		return sign + digits
	}
	if missing := -exp + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return sign + digits[:len(digits)+exp] + "." + digits[len(digits)+exp:]
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// Values walks every sample, channel by channel, meter by meter, column by
// column, slot by slot; samples without a value included. The timing channel
// itself and the ends of periods are left out: they show as Value.Time.
func (w *Window) Values() iter.Seq[Value] {
	return func(yield func(Value) bool) {
		for i := range w.blocks {
			if b := &w.blocks[i]; b.Channel != evidence.Timing && !w.block(b, yield) {
				return
			}
		}
	}
}

func (w *Window) block(b *evidence.Block, yield func(Value) bool) bool {
	for i, cm := range w.dict.Channels[b.Channel] {
		meter, s := &w.dict.Meters[cm.Meter], &b.Meters[i]
		periods := slotsArePeriods(b.Channel, cm.Columns)
		for c, column := range cm.Columns {
			if periods && c == 0 {
				continue
			}
			v := Value{Channel: b.Channel, Meter: meter.Name, Column: column}
			for slot := range s.Slots {
				v.Slot, v.Code, v.Coef = slot, s.Code(c, slot), s.Values[c][slot]
				if periods {
					v.Time = time.UnixMilli(w.start + s.Values[0][slot]).UTC()
				} else {
					v.Time, v.Polled = w.slotTime(cm.Meter, slot)
				}
				if !yield(v) {
					return false
				}
			}
		}
	}
	return true
}

// slotsArePeriods reports whether the first column of a meter says when the
// period of each slot ended (SPEC.md section 6.1).
func slotsArePeriods(ch evidence.Channel, columns []evidence.Column) bool {
	return (ch == evidence.Aggregates || ch == evidence.DailyTotals) && columns[0].Unit == "ms"
}

// slotTime adds the poll offset where it was disclosed and is known.
func (w *Window) slotTime(meter, slot int) (t time.Time, polled bool) {
	ms := w.start + int64(slot)*int64(w.dict.Meters[meter].IntervalMS)
	if s := w.timing[meter]; s != nil && slot < s.Slots && s.Code(0, slot).HasValue() {
		ms, polled = ms+s.Values[0][slot], true
	}
	return time.UnixMilli(ms).UTC(), polled
}
