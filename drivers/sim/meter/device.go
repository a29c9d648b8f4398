package meter

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// Deed is something that is done to a meter, or that a meter does, once.
type Deed uint8

const (
	// Exchange puts a new meter in the place and at the address of the old one:
	// its number is Act.Number and its counters begin at zero.
	Exchange  Deed = iota
	Reset          // the counters begin at zero again
	Freeze         // the values stand still; the meter goes on answering, its clock too
	Thaw           // and move on, as if they had never stood still
	Die            // no more answers
	Revive         // answers again
	OpenCover      // counted and dated by a DL/T 645 meter, as are the next three
	SetClock
	LosePower
	LosePhase
)

// Act is one deed at a moment of simulated time after the start.
type Act struct {
	At     time.Duration
	Deed   Deed
	Number string // of the new meter, for Exchange
}

// device is what every simulated meter is under its protocol: an installation
// on a clock, with what has been done to it. It is safe for concurrent use.
type device struct {
	name     string
	clock    *plant.Clock
	in       *plant.Installation
	refresh  time.Duration
	fault    func(int) Fault
	rollover int64 // counters start again at 0 here, 10^-6 kWh; 0: at the end of their registers
	requests atomic.Int64

	book sync.Mutex
	acts []Act // under book, by time
}

func (d *device) init(c Config) error {
	if c.Share == 0 {
		c.Share = 1000
	}
	if c.Ratio == 0 {
		c.Ratio = 1
	}
	if c.Share < 0 || c.Ratio < 0 || c.Share > 1e6 || c.Ratio > 1e6 {
		return fmt.Errorf("meter %s: share %d and ratio %d: expected 1 to 1000000", c.Name, c.Share, c.Ratio)
	}
	if c.Digits < 0 || c.Digits > 12 {
		return fmt.Errorf("meter %s: %d digits: expected 1 to 12", c.Name, c.Digits)
	}
	d.name, d.clock, d.refresh, d.fault = c.Name, c.Clock, c.Refresh, c.Fault
	if c.Digits > 0 {
		d.rollover = pow10(c.Digits - plant.Exp)
	}
	var err error
	if d.in, err = plant.NewInstallation(c.Seed, c.Load, c.Share, c.Ratio, c.Base); err != nil {
		return fmt.Errorf("meter %s: %w", c.Name, err)
	}
	for _, a := range c.Acts {
		d.plan(a)
	}
	return nil
}

// Name is the name the meter was given.
func (d *device) Name() string { return d.name }

// Requests is how many requests have been put to the meter.
func (d *device) Requests() int64 { return d.requests.Load() }

// Drawn is the primary active energy that has flowed through the meter since
// the start, in kWh to the millionth: at the end of a load that does not
// repeat, the exact sum of its rows (times the share).
func (d *device) Drawn() drivers.Decimal { return d.in.Drawn(d.clock.Elapsed()) }

// Base is the energy register at the start, in kWh, before it is cut to the
// register's resolution.
func (d *device) Base() drivers.Decimal { return d.in.Base() }

// Do does something to the meter now.
func (d *device) Do(deed Deed) { d.plan(Act{At: d.clock.Elapsed(), Deed: deed}) }

func (d *device) plan(a Act) {
	d.book.Lock()
	defer d.book.Unlock()
	d.acts = append(d.acts, a)
	slices.SortStableFunc(d.acts, func(a, b Act) int { return int(max(-1, min(1, a.At-b.At))) })
}

// past is what the acts up to t have made of the meter.
type past struct {
	values time.Duration  // the moment the values show: t, or when they froze
	zero   *time.Duration // when the counters began at zero again
	number string         // of the meter in place; "" is the first
	dead   bool
	events map[Deed][]time.Duration // of the events a meter keeps, oldest first
}

func (d *device) past(t time.Duration) past {
	p := past{values: t}
	d.book.Lock()
	defer d.book.Unlock()
	frozen := false
	for _, a := range d.acts {
		if a.At > t {
			break
		}
		switch a.Deed {
		case Exchange:
			p.number, p.zero = a.Number, &a.At
		case Reset:
			p.zero = &a.At
		case Freeze:
			if !frozen {
				frozen, p.values = true, a.At
			}
		case Thaw:
			frozen, p.values = false, t
		case Die, Revive:
			p.dead = a.Deed == Die
		default:
			if p.events == nil {
				p.events = make(map[Deed][]time.Duration)
			}
			p.events[a.Deed] = append(p.events[a.Deed], a.At)
		}
	}
	return p
}

// state is what the meter shows t after the start.
func (d *device) state(t time.Duration, v *plant.Values) {
	p := d.past(t)
	d.in.At(p.values, v)
	d.since(p, v)
}

// since takes from the counters what they held when they began at zero again,
// and rolls them over.
func (d *device) since(p past, v *plant.Values) {
	var zero plant.Values
	if p.zero != nil {
		d.in.Counters(*p.zero, &zero)
	}
	for k := range v {
		if !plant.Kind(k).Counter() {
			continue
		}
		for i := range v[k] {
			v[k][i] = d.count(v[k][i], zero[k][i])
		}
	}
}

// count is a counter that began again when it held zero.
func (d *device) count(v, zero int64) int64 {
	v = max(0, v-zero)
	if d.rollover > 0 {
		v %= d.rollover
	}
	return v
}

// now is the date and time on the meter's clock.
func (d *device) now() time.Time { return d.date(d.clock.Elapsed()) }

func (d *device) date(t time.Duration) time.Time { return d.in.Start().Add(t) }

// ask counts a request and says how the meter misbehaves on it.
func (d *device) ask() (n int, f Fault) {
	n = int(d.requests.Add(1) - 1)
	if d.fault != nil {
		f = d.fault(n)
	}
	if d.past(d.clock.Elapsed()).dead {
		f = Fault{Silent: true}
	}
	return n, f
}
