package aggregate

import (
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// counter is one energy register in the open period.
type counter struct {
	Meter  string
	Column evidence.Column // in channel energy

	Known  bool          // there is a good reading to go on from
	Newest int64         // that reading
	Moved  int64         // since the last period with a good reading ended
	Broken bool          // Moved is not the whole of it
	Seen   bool          // there was a good reading in this period
	Code   evidence.Code // of the newest other sample in this period; OK: none

	place place
}

// add takes a good reading.
func (c *counter) add(v int64, modulus func(meter, quantity string) int64) {
	if c.Known {
		step, ok := v-c.Newest, v >= c.Newest
		if !ok {
			step, ok = drivers.ThroughEnd(c.Newest, v, modulus(c.Meter, c.Column.Quantity))
		}
		c.Moved += step
		if !ok || step < 0 || c.Moved < 0 { // beyond what an int64 holds
			c.Broken = true
			c.Moved = 0
		}
	} else {
		c.Broken = true
	}
	c.Known, c.Newest, c.Seen = true, v, true
}

// close ends the period. What moved without a good reading to show it belongs to
// the next period that has one.
func (c *counter) close() (v int64, code evidence.Code) {
	switch {
	case !c.Seen:
		code = why(c.Code)
	case c.Broken:
		code = evidence.Invalid
		c.Moved, c.Broken = 0, false
	default:
		v, c.Moved = c.Moved, 0
	}
	c.Seen, c.Code = false, evidence.OK
	return v, code
}

// why is the code of an aggregate of samples none of which is good; newest is
// that of the last of them, OK when there was none at all.
func why(newest evidence.Code) evidence.Code {
	switch {
	case newest == evidence.OK:
		return evidence.Skipped
	case newest.HasValue():
		return evidence.Invalid
	}
	return newest
}

// power is the total active power of one meter in the open period.
type power struct {
	Meter  string
	Column evidence.Column // in channel power

	Min, Max, Sum int64
	Count         int64
	Beyond        bool          // Sum is more than an int64 holds
	Code          evidence.Code // of the newest sample that is not good; OK: none

	place place
}

// add takes a good reading.
func (p *power) add(v int64) {
	if p.Count == 0 {
		p.Min, p.Max = v, v
	}
	sum := p.Sum + v
	p.Beyond = p.Beyond || (v > 0) != (sum > p.Sum) && v != 0
	p.Min, p.Max, p.Sum, p.Count = min(p.Min, v), max(p.Max, v), sum, p.Count+1
}

// close ends the period with the least, mean and greatest value.
func (p *power) close() (v [len(loads)]int64, code evidence.Code) {
	switch {
	case p.Count == 0:
		code = why(p.Code)
	case p.Beyond:
		code = evidence.Invalid
	default:
		v = [...]int64{p.Min, mean(p.Sum, p.Count), p.Max}
	}
	p.Min, p.Max, p.Sum, p.Count, p.Beyond, p.Code = 0, 0, 0, 0, false, evidence.OK
	return v, code
}

// mean is sum / n to the nearest integer, of two equally near ones the even.
func mean(sum, n int64) int64 {
	q, r := sum/n, sum%n
	if r < 0 {
		q, r = q-1, r+n
	}
	if r > n-r || r == n-r && q&1 == 1 {
		q++
	}
	return q
}
