// Package judge looks at every poll of a site and says what is odd: a counter
// that falls, a value that moves too fast or not at all, values that belong
// together and do not fit, a meter that was exchanged. It marks readings and
// reports events; it never changes a value.
//
// All arithmetic is in integers: what it says is signed.
package judge

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// Rule is what is known of one quantity of one model of meter.
type Rule struct {
	Counter bool  // only ever grows, but for its end
	Modulus int64 // the counter's end, in units of its exponent; 0: not known
	MaxRate int64 // most change in an hour, in units of its exponent; 0: any
	// Frozen is how long a value that lives may stay the same; 0: for ever.
	Frozen time.Duration
	// Refresh is how often the meter measures it anew; 0: not known.
	Refresh time.Duration
}

// Meter is one meter as the judge knows it.
type Meter struct {
	Name       string
	Line       int // index of its line
	Interval   time.Duration
	Columns    []drivers.Quantity
	Rules      []Rule            // one a column, or none at all
	Multiplier []drivers.Decimal // one a column: what makes it comparable with other meters; none: 1
	Main       bool              // the incoming meter: those of other meters are behind it
}

// Event is something that happened besides measuring. Kinds are those of
// uplink/evidence/SPEC.md section 4.1.
type Event struct {
	At       time.Time
	Kind     string
	Subject  string // of a meter or line, its name
	Quantity string // of a counter or check
	Count    uint64 // how often since it was last reported
}

const (
	// patience is how many polls in a row must say the same before it is
	// believed: that a meter is silent, a counter began anew, a check fails.
	patience = 3
	// pause is the least time between two events of one kind about one thing.
	pause = time.Minute
	// stretch is how long power is summed up before it is held against the
	// energy register.
	stretch = 15 * time.Minute
)

// Judge watches one site. Its methods may be called from any goroutine.
type Judge struct {
	mu     sync.Mutex
	lines  []line
	meters []meter
	main   int // index of the one main meter, -1 without
	said   map[saying]*sayings
}

type line struct {
	name string
	lost bool
}

type meter struct {
	Meter
	columns  []column
	quantity quantities
	failures int // polls in a row without any value
	silent   bool
	identity string

	checks [checks]hysteresis
	energy integral
	power  int64 // last total power on the site's side, mW
	at     time.Time
}

// column is the state of one quantity.
type column struct {
	seen    bool
	value   int64     // the last believed value
	at      time.Time // and when it was read
	changed time.Time // when it last differed
	fresh   time.Time // when it was last known to be measured anew
	odd     int       // readings in a row that cannot follow it
	last    int64     // the newest of them
}

type saying struct{ kind, subject, quantity string }

type sayings struct {
	at     time.Time
	count  uint64    // since then
	newest time.Time // of these
}

// New makes a judge of the meters, on lines of these names.
func New(lines []string, meters []Meter) *Judge {
	j := &Judge{main: -1, said: map[saying]*sayings{}}
	for _, l := range lines {
		j.lines = append(j.lines, line{name: l})
	}
	mains := 0
	for i, m := range meters {
		j.meters = append(j.meters, meter{Meter: m, columns: make([]column, len(m.Columns)), quantity: find(m.Columns)})
		if m.Main {
			mains++
			j.main = i
		}
	}
	if mains != 1 {
		j.main = -1
	}
	return j
}

// Poll judges what meter i said when it was asked at a time: it marks readings
// that are odd and returns what happened. fault is the error of the poll.
func (j *Judge) Poll(i int, at time.Time, readings []drivers.Reading, fault error) (events []Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := &j.meters[i]
	tell := func(kind, subject, quantity string, n uint64) {
		if e, ok := j.event(at, saying{kind, subject, quantity}, n); ok {
			events = append(events, e)
		}
	}
	l := &j.lines[m.Line]
	if f, ok := errors.AsType[*drivers.Fault](fault); ok && f.Kind == drivers.Disconnected {
		if !l.lost {
			l.lost = true
			tell("line_lost", l.name, "", 1)
		}
		return events // the meter may be well
	}
	answered := false
	for _, r := range readings {
		answered = answered || r.Quality.HasValue() || r.Quality == drivers.Refused || r.Quality == drivers.Invalid
	}
	if l.lost && answered {
		l.lost = false
		tell("line_restored", l.name, "", 1)
	}
	switch {
	case answered && m.silent:
		m.silent = false
		tell("meter_answers", m.Name, "", 1)
		fallthrough
	case answered:
		m.failures = 0
	default:
		if m.failures++; m.failures == patience {
			m.silent = true
			tell("meter_silent", m.Name, "", 1)
		}
		return events
	}
	repeated := m.repeats(readings)
	for c := range readings {
		if c < len(m.Rules) {
			if kind, n := m.columns[c].judge(m.Rules[c], at, &readings[c]); kind != "" {
				tell(kind, m.Name, m.Columns[c].Name, n)
			}
		}
	}
	j.check(m, at, readings, tell)
	for c := range min(len(readings), len(m.Rules)) {
		r, col := &readings[c], &m.columns[c]
		if !repeated || at.Sub(col.fresh).Abs() >= m.Rules[c].Refresh {
			col.fresh = at
		} else if r.Quality == drivers.OK {
			r.Quality = drivers.Stale
		}
	}
	return events
}

// repeats reports whether every value is that of the poll before.
func (m *meter) repeats(readings []drivers.Reading) bool {
	some := false
	for c, r := range readings {
		if !r.Quality.HasValue() {
			continue
		}
		col := &m.columns[c]
		if r.Quality != drivers.OK || !col.seen || col.odd > 0 || r.Coef != col.value {
			return false
		}
		some = true
	}
	return some
}

// Silent reports whether meter i has not answered for several polls. Ask for
// its identity when it does again.
func (j *Judge) Silent(i int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.meters[i].silent
}

// Identity takes note of the serial number of meter i. Another one than before
// is a meter that was exchanged: its counters begin anew.
func (j *Judge) Identity(i int, at time.Time, identity string) (events []Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	m := &j.meters[i]
	if identity == "" {
		return nil // it does not say
	}
	was := m.identity
	m.identity = identity
	if was == "" || was == identity {
		return nil
	}
	clear(m.columns)
	m.energy = integral{}
	if e, ok := j.event(at, saying{"meter_exchanged", m.Name, ""}, 1); ok {
		events = append(events, e)
	}
	return events
}

// event is what to report, unless the same was reported a moment ago; then it
// is counted and comes with the next.
func (j *Judge) event(at time.Time, s saying, n uint64) (Event, bool) {
	old := j.said[s]
	if old == nil {
		old = &sayings{}
		j.said[s] = old
	}
	old.count, old.newest = old.count+n, at
	if !old.at.IsZero() && at.Sub(old.at).Abs() < pause {
		return Event{}, false
	}
	e := Event{At: at, Kind: s.kind, Subject: s.subject, Quantity: s.quantity, Count: old.count}
	*old = sayings{at: at}
	return e, true
}

// Waiting returns what happened again within a minute of being reported, when
// that minute is over: nothing may follow that it could come with. A zero now is
// the end of the run, which waits for nothing.
func (j *Judge) Waiting(now time.Time) (events []Event) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for s, old := range j.said {
		if old.count > 0 && (now.IsZero() || now.Sub(old.at).Abs() >= pause) {
			events = append(events, Event{At: old.newest, Kind: s.kind, Subject: s.subject, Quantity: s.quantity, Count: old.count})
			*old = sayings{at: now}
		}
	}
	slices.SortFunc(events, func(a, b Event) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Quantity, b.Quantity), cmp.Compare(a.Kind, b.Kind))
	})
	return events
}

// Resume takes the readings that an earlier run of the agent ended with as those
// before the first poll, so that what a counter did meanwhile is seen. How long
// that was is not asked: a box that was off may not know.
func (j *Judge) Resume(i int, readings []drivers.Reading) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for c, r := range readings {
		if r.Quality == drivers.OK || r.Quality == drivers.Stale {
			j.meters[i].columns[c].accept(r.Coef, time.Time{})
		}
	}
}

// judge marks r when it cannot follow the values before it. n is how many
// readings an event is about.
func (c *column) judge(rule Rule, at time.Time, r *drivers.Reading) (kind string, n uint64) {
	if r.Quality != drivers.OK {
		return "", 0 // without a value, or marked already
	}
	v := r.Coef
	if c.at.IsZero() {
		c.changed = at // of an earlier run: nobody looked meanwhile
	}
	switch {
	case !c.seen:
		c.accept(v, at)
		return "", 0
	case rule.Counter && v < c.value:
		if rolledOver(rule, c.value, v, c.at, at) {
			c.accept(v, at)
			return "counter_rolled_over", 1
		}
		return c.doubt(v, at, r, drivers.Backwards)
	case rule.tooFast(c.value, v, c.at, at):
		if kind, n = c.doubt(v, at, r, drivers.TooFast); !rule.Counter {
			return "", 0 // it is there now, and that is all
		}
		return kind, n
	}
	if c.odd > 0 && rule.Counter {
		kind, n = "counter_glitch", uint64(c.odd)
	}
	c.accept(v, at)
	if rule.Frozen > 0 && at.Sub(c.changed) > rule.Frozen {
		r.Quality = drivers.Frozen
	}
	return kind, n
}

// accept takes v as the value from which the next is judged.
func (c *column) accept(v int64, at time.Time) {
	if !c.seen || v != c.value {
		c.changed = at
	}
	c.seen, c.value, c.at, c.odd = true, v, at, 0
}

// doubt marks v. When several in a row say so and go on from each other, the
// counter has begun anew and is believed again.
func (c *column) doubt(v int64, at time.Time, r *drivers.Reading, q drivers.Quality) (kind string, n uint64) {
	if c.odd > 0 && v < c.last {
		c.odd = 0 // does not go on from the one before either
	}
	c.odd++
	c.last = v
	r.Quality = q
	if c.odd < patience {
		return "", 0
	}
	c.accept(v, at)
	return "counter_reset", 1
}

// rolledOver reports whether a counter went from was through its end to v, and
// could between these times.
func rolledOver(rule Rule, was, v int64, from, to time.Time) bool {
	step, ok := drivers.ThroughEnd(was, v, rule.Modulus)
	return ok && !rule.tooFast(0, step, from, to)
}

// tooFast reports whether a value cannot get from a to b between these times.
// One unit of the last digit is always possible.
func (rule Rule) tooFast(a, b int64, from, to time.Time) bool {
	if rule.MaxRate <= 0 {
		return false
	}
	d := b - a
	if d < 0 {
		d = -d
	}
	seconds := int64(to.Sub(from)/time.Second) + 1
	if rule.MaxRate > math.MaxInt64/seconds {
		return false
	}
	return d > rule.MaxRate*seconds/3600+1
}
