// Package schedule says which meter of a line is due next. It keeps no time
// and starts nothing: the line's poller asks it with the time it has.
//
// Polls lie on a grid of absolute time (multiples of the meter's interval since
// the Unix epoch), so that a restart does not shift them and two boxes poll
// together. The first poll of a meter is due at once.
package schedule

import "time"

// Plan is the plan of one line. It belongs to that line's poller.
type Plan struct {
	interval []time.Duration
	due      []time.Time
}

// New plans one entry per interval, all due at start. Intervals are positive.
func New(start time.Time, intervals []time.Duration) *Plan {
	p := &Plan{interval: intervals, due: make([]time.Time, len(intervals))}
	for i := range p.due {
		p.due[i] = start
	}
	return p
}

// Next returns the entry that is due first and when. Entries due at the same
// time come in the order they were given in, so no meter is starved. It returns
// -1 for an empty plan.
func (p *Plan) Next() (i int, due time.Time) {
	i = -1
	for j, d := range p.due {
		if i < 0 || d.Before(due) {
			i, due = j, d
		}
	}
	return i, due
}

// Done moves entry i, polled until now, to its next grid time after now, and
// returns how many grid times were passed over meanwhile: polls that were due
// and not made. A clock that was set back by more than one interval does not
// make the entry wait until the old time returns.
func (p *Plan) Done(i int, now time.Time) (skipped int) {
	iv := p.interval[i]
	next := grid(now, iv)
	if due := p.due[i]; next.After(due) {
		skipped = max(0, int(next.Sub(grid(due, iv))/iv))
	}
	p.due[i] = next
	return skipped
}

// Rebase tells the plan that the wall clock was set: everything becomes due on
// the new grid.
func (p *Plan) Rebase(now time.Time) {
	for i, iv := range p.interval {
		p.due[i] = grid(now, iv)
	}
}

// grid is the first multiple of iv after t, without monotonic part.
func grid(t time.Time, iv time.Duration) time.Time {
	ns := t.UnixNano()
	ns -= ns % int64(iv)
	return time.Unix(0, ns).Add(iv)
}
