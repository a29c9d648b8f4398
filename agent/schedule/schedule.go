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
	interval []int64 // ns
	due      []int64 // Unix ns
}

// New plans one entry per interval, all due at start. Intervals are positive.
func New(start time.Time, intervals []time.Duration) *Plan {
	p := &Plan{interval: make([]int64, len(intervals)), due: make([]int64, len(intervals))}
	for i, iv := range intervals {
		p.interval[i], p.due[i] = int64(iv), start.UnixNano()
	}
	return p
}

// Next returns the entry that is due first and when. Entries due at the same
// time come in the order they were given in, so no meter is starved. It returns
// -1 for an empty plan.
func (p *Plan) Next() (i int, due time.Time) {
	if len(p.due) == 0 {
		return -1, time.Time{}
	}
	for j, d := range p.due {
		if d < p.due[i] {
			i = j
		}
	}
	return i, time.Unix(0, p.due[i])
}

// Done moves entry i, polled until now, to its next grid time after now, and
// returns how many grid times were passed over meanwhile: polls that were due
// and not made.
func (p *Plan) Done(i int, now time.Time) (skipped int) {
	iv := p.interval[i]
	next := grid(now.UnixNano(), iv)
	if was := grid(p.due[i], iv); next > was {
		skipped = int((next - was) / iv)
	}
	p.due[i] = next
	return skipped
}

// Shift tells the plan that the wall clock was set by that much. What is due
// stays due at the same instant, and comes back to the grid with its next poll:
// whoever sets the clock again and again does not keep a meter from being read.
func (p *Plan) Shift(by time.Duration) {
	for i := range p.due {
		p.due[i] += int64(by)
	}
}

// grid is the first multiple of iv after t.
func grid(t, iv int64) int64 { return t - t%iv + iv }
