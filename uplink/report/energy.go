package report

import (
	"math/big"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// midnight is how far from midnight a reading may be taken to stand for it. A
// day's energy is the difference of two readings of the register, so this is
// how much of it may belong to the day beside; nothing is ever interpolated.
const midnight = 15 * time.Minute

// counters are the registers drawn by the day, most telling first: of a meter
// with several of them in one unit only the first is.
var counters = [...]string{"energy_import", "energy_sum", "volume", "heat_energy"}

// decimal is an exact decimal number, coef x 10^exp.
type decimal struct {
	coef big.Int
	exp  int
}

func (d *decimal) add(e *decimal) {
	if d.coef.Sign() == 0 {
		d.exp = e.exp
	}
	other := new(big.Int).Set(&e.coef)
	ten := big.NewInt(10)
	switch {
	case e.exp > d.exp:
		other.Mul(other, new(big.Int).Exp(ten, big.NewInt(int64(e.exp-d.exp)), nil))
	case e.exp < d.exp:
		d.coef.Mul(&d.coef, new(big.Int).Exp(ten, big.NewInt(int64(d.exp-e.exp)), nil))
		d.exp = e.exp
	}
	d.coef.Add(&d.coef, other)
}

// String writes every digit, thousands apart.
func (d *decimal) String() string {
	digits, sign := new(big.Int).Abs(&d.coef).String(), ""
	if d.coef.Sign() < 0 {
		sign = "-"
	}
	fraction := ""
	switch {
	case d.exp > 0 && d.coef.Sign() != 0:
		digits += strings.Repeat("0", d.exp)
	case d.exp < 0:
		if missing := -d.exp + 1 - len(digits); missing > 0 {
			digits = strings.Repeat("0", missing) + digits
		}
		at := len(digits) + d.exp
		digits, fraction = digits[:at], "."+digits[at:]
	}
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return sign + digits + fraction
}

// float is for drawing only.
func (d *decimal) float() float64 {
	f, _ := new(big.Rat).SetInt(&d.coef).Float64()
	for e := d.exp; e != 0; {
		if e > 0 {
			f, e = f*10, e-1
		} else {
			f, e = f/10, e+1
		}
	}
	return f
}

// use is what one register went up by in one day.
type use struct {
	sum       decimal
	from, to  bool // a reading stands for the day's first and last midnight
	restarted bool // the register began anew: the day has no figure
	none      bool // no difference falls into this day
}

func (u *use) whole() bool { return u.from && u.to && !u.restarted }

// seriesKey names one register.
type seriesKey struct{ meter, quantity, unit string }

// series follows one register through the log.
type series struct {
	seriesKey
	rank   int // in counters
	column evidence.Column
	have   bool // last is a reading
	last   reading
	cut    int64          // ms; no difference is taken across this instant
	days   map[int64]*use // by local day, those of Builder.days
	// undivided are differences across more than one midnight without a
	// reading: exact, and of no single day.
	undivided   []stretch
	lostStretch bool // there were more than limits allow
}

type reading struct{ at, coef int64 }

// stretch is a difference between two readings, ms.
type stretch struct {
	from, to int64
	sum      decimal
}

func (s *series) day(n int64) *use {
	u := s.days[n]
	if u == nil {
		u = &use{none: true}
		s.days[n] = u
	}
	return u
}

// restart says that the register began anew, or is another one, at this
// instant: no difference across it means anything.
func (s *series) restart(at int64, day int64) {
	s.day(day).restarted = true
	if !s.have || s.last.at < at {
		s.cut = max(s.cut, at)
	}
	kept := s.undivided[:0]
	for _, u := range s.undivided {
		if at < u.from || u.to < at {
			kept = append(kept, u)
		}
	}
	s.undivided = kept
}

// read takes the next reading, in the order of the log.
func (s *series) read(v *verify.Value, zone *time.Location) {
	now := reading{v.Time.UnixMilli(), v.Coef}
	today, since, _ := localDay(now.at, zone)
	before := s.last
	same := s.have && sameScale(s.column, v.Column)
	first := !s.have
	s.have, s.last, s.column = true, now, v.Column
	u := s.day(today)
	if first {
		u.from = since <= midnight.Milliseconds()
		return
	}
	yesterday, _, beforeLeft := localDay(before.at, zone)
	switch {
	case !same || now.coef < before.coef:
		u.restarted = true
		s.day(yesterday).restarted = true
		return
	case before.at < s.cut && s.cut <= now.at:
		return
	}
	var diff decimal
	diff.coef.Sub(big.NewInt(now.coef), big.NewInt(before.coef))
	diff.coef.Mul(&diff.coef, big.NewInt(v.MulCoef))
	diff.exp = int(v.Exp) + int(v.MulExp)
	switch {
	case today == yesterday:
		u.sum.add(&diff)
		u.none = false
	case today == yesterday+1 && since <= midnight.Milliseconds():
		y := s.day(yesterday)
		y.sum.add(&diff)
		y.none, y.to, u.from = false, true, true
	case today == yesterday+1 && beforeLeft <= midnight.Milliseconds():
		u.sum.add(&diff)
		u.none, s.day(yesterday).to, u.from = false, true, true
	case len(s.undivided) == maxStretches:
		s.lostStretch = true
	default:
		s.undivided = append(s.undivided, stretch{min(before.at, now.at), max(before.at, now.at), diff})
	}
}

func sameScale(a, b evidence.Column) bool {
	return a.Exp == b.Exp && a.MulCoef == b.MulCoef && a.MulExp == b.MulExp
}

// localDay is the civil day of an instant in zone, counted from 1970-01-01,
// with the milliseconds since it began and until it ends.
func localDay(ms int64, zone *time.Location) (day, since, left int64) {
	l := local(ms, zone)
	day = floor(l, dayMS)
	since = l - day*dayMS
	return day, since, dayMS - since
}

const (
	dayMS  = 24 * hourMS
	hourMS = 3_600_000
)

// local is what a clock in zone shows, as milliseconds.
func local(ms int64, zone *time.Location) int64 {
	_, offset := time.UnixMilli(ms).In(zone).Zone()
	return ms + int64(offset)*1000
}

func floor(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}
