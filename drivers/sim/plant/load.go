package plant

import (
	"fmt"
	"math/bits"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// Exp is the exponent of every physical value.
const Exp = -6

// maxEnergy bounds the energy of one step, so that a million steps fit int64.
const maxEnergy = 1e12 // 10^-6 kWh: one million kWh

// Interval is what is drawn in one step, in 10^-6 kWh and 10^-6 kvarh.
type Interval struct {
	Active, Lagging, Leading int64
}

// Load is what is drawn from the grid over time: equal steps of constant
// power. It is immutable and safe for concurrent use.
type Load struct {
	start time.Time
	step  time.Duration
	loop  bool
	// sum[i] is what was drawn in the steps before i; it has one element more
	// than there are steps.
	sum []Interval
}

// NewLoad makes a load of equal steps, which repeat when loop is set.
func NewLoad(start time.Time, step time.Duration, loop bool, steps []Interval) *Load {
	l := &Load{start: start, step: step, loop: loop, sum: make([]Interval, len(steps)+1)}
	for i, s := range steps {
		l.sum[i+1] = l.sum[i].plus(s)
	}
	return l
}

func (a Interval) plus(b Interval) Interval {
	return Interval{a.Active + b.Active, a.Lagging + b.Lagging, a.Leading + b.Leading}
}

func (a Interval) minus(b Interval) Interval {
	return Interval{a.Active - b.Active, a.Lagging - b.Lagging, a.Leading - b.Leading}
}

// times scales each part by num/den, rounding down.
func (a Interval) times(num, den int64) Interval {
	return Interval{mulDiv(a.Active, num, den), mulDiv(a.Lagging, num, den), mulDiv(a.Leading, num, den)}
}

// mulDiv is a x num / den rounded down, for non-negative a and num and a
// result that fits.
func mulDiv(a, num, den int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(num))
	q, _ := bits.Div64(hi, lo, uint64(den))
	return int64(q)
}

// Length is how long the load lasts; 0 means it repeats for ever.
func (l *Load) Length() time.Duration {
	if l.loop {
		return 0
	}
	return l.step * time.Duration(len(l.sum)-1)
}

// Total is the active energy of the whole load (of one round when it
// repeats), in kWh and exact.
func (l *Load) Total() drivers.Decimal {
	return drivers.Decimal{Coef: l.sum[len(l.sum)-1].Active, Exp: Exp}
}

// at finds the step that holds the moment t after the start, how far into it t
// lies, and how many whole rounds were made before. The end of a load that
// does not repeat lies at the very end of its last step.
func (l *Load) at(t time.Duration) (step int, into time.Duration, rounds int64) {
	n := len(l.sum) - 1
	t = max(t, 0)
	i := int64(t / l.step)
	switch {
	case l.loop:
		return int(i % int64(n)), t % l.step, i / int64(n)
	case i >= int64(n):
		return n - 1, l.step, 0
	}
	return int(i), t % l.step, 0
}

// energy is what has been drawn from the start to t.
func (l *Load) energy(t time.Duration) Interval {
	i, into, rounds := l.at(t)
	part := l.sum[i+1].minus(l.sum[i]).times(int64(into), int64(l.step))
	e := l.sum[i].plus(part)
	if rounds > 0 {
		e = e.plus(l.sum[len(l.sum)-1].times(rounds, 1))
	}
	return e
}

// power is what is being drawn at t: active power in uW, reactive in uvar
// (positive lagging).
func (l *Load) power(t time.Duration) (p, q int64) {
	i, _, _ := l.at(t)
	s := l.sum[i+1].minus(l.sum[i])
	const perHour = int64(time.Hour) * 1000 // 10^-6 kWh in a step -> uW
	return mulDiv(s.Active, perHour, int64(l.step)),
		mulDiv(s.Lagging, perHour, int64(l.step)) - mulDiv(s.Leading, perHour, int64(l.step))
}

// Between keeps the whole steps that lie in [from, to). A zero time leaves
// that end open.
func (l *Load) Between(from, to time.Time) (*Load, error) {
	n := len(l.sum) - 1
	end := l.start.Add(l.step * time.Duration(n))
	lo, hi := 0, n
	if !from.IsZero() && from.After(l.start) {
		lo = int((from.Sub(l.start) + l.step - 1) / l.step)
	}
	if !to.IsZero() && to.Before(end) {
		hi = int(to.Sub(l.start) / l.step)
	}
	if lo >= hi {
		return nil, fmt.Errorf("no load from %s to %s: the load covers %s to %s",
			day(from), day(to), day(l.start), day(end))
	}
	cut := &Load{start: l.start.Add(l.step * time.Duration(lo)), step: l.step, sum: make([]Interval, hi-lo+1)}
	for i := range cut.sum {
		cut.sum[i] = l.sum[lo+i].minus(l.sum[lo])
	}
	return cut, nil
}

func day(t time.Time) string {
	if t.IsZero() {
		return "(open)"
	}
	return t.Format("2006-01-02 15:04")
}
