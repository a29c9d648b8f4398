package judge

import (
	"math"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// The checks, in the order of meter.checks. Their names are in the evidence.
const (
	phaseSum = iota
	productUIPF
	triangleSPQ
	energyOfPower
	subMeters
	checks
)

var checkNames = [checks]string{"phase_sum", "u_i_pf", "s_p_q", "energy_of_power", "sub_meters"}

// quantities are the columns of the values checks need, -1 where there is none.
type quantities struct {
	power, reactive, apparent, factor, energy int
	powers, voltages, currents                [3]int
}

func find(columns []drivers.Quantity) quantities {
	at := func(name string) int {
		for i, c := range columns {
			if c.Name == name {
				return i
			}
		}
		return -1
	}
	q := quantities{power: at("power"), reactive: at("reactive_power"), apparent: at("apparent_power"), factor: at("power_factor"), energy: at("energy_import")}
	for i, phase := range []string{"_l1", "_l2", "_l3"} {
		q.powers[i], q.voltages[i], q.currents[i] = at("power"+phase), at("voltage"+phase), at("current"+phase)
	}
	return q
}

// hysteresis turns single outcomes into a state that does not flutter.
type hysteresis struct {
	failed bool
	run    int // outcomes in a row that speak against the state
}

// see takes one outcome; changed says that the state is another now.
func (h *hysteresis) see(good bool) (changed bool) {
	if good != h.failed { // as before
		h.run = 0
		return false
	}
	if h.run++; h.run < patience {
		return false
	}
	h.failed, h.run = !h.failed, 0
	return true
}

// milli is reading i in thousandths of its unit (mV, mA, mW, a thousandth of
// the power factor); false where there is none that is beyond doubt.
func (m *meter) milli(i int, rs []drivers.Reading) (int64, bool) {
	if i < 0 || rs[i].Quality != drivers.OK {
		return 0, false
	}
	v, exp := rs[i].Coef, m.Columns[i].Exp+3
	if strings.HasPrefix(m.Columns[i].Unit, "k") {
		exp += 3
	}
	for ; exp > 0; exp-- {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return 0, false
		}
		v *= 10
	}
	for ; exp < 0; exp++ {
		v /= 10
	}
	return v, true
}

const unit = 1000 // thousandths of one

// check holds the values of one poll against each other. Tolerances allow for
// a meter's class, the resolution of its registers, and values that were
// measured a moment apart.
func (j *Judge) check(m *meter, at time.Time, rs []drivers.Reading, tell func(kind, subject, quantity string, n uint64)) {
	see := func(check int, good bool) {
		if m.checks[check].see(good) {
			kind := "check_passed"
			if m.checks[check].failed {
				kind = "check_failed"
			}
			tell(kind, m.Name, checkNames[check], 1)
		}
	}
	q := &m.quantity
	p, hasP := m.milli(q.power, rs)
	if hasP {
		if sum, ok := m.sum(q.powers, rs); ok {
			see(phaseSum, near(p, sum, 5, 10*unit))
		}
		if product, ok := m.product(rs); ok {
			see(productUIPF, near(magnitude(p), magnitude(product), 10, 30*unit))
		}
		r, hasQ := m.milli(q.reactive, rs)
		s, hasS := m.milli(q.apparent, rs)
		if hasQ && hasS {
			// Drives distort the current: then S is more than P and Q account for.
			h := hypot(p, r)
			see(triangleSPQ, s >= h-h/20-30*unit && s <= h+h/4+30*unit)
		}
	}
	if e, ok := m.watthours(rs); ok && hasP {
		if done, good := m.energy.add(at, p, e, m.resolution(), 3*max(m.Interval, time.Second)); done {
			see(energyOfPower, good)
		}
	} else {
		m.energy = integral{}
	}
	if j.main >= 0 && hasP {
		m.at, m.power = at, m.primary(p)
		if main := &j.meters[j.main]; m == main {
			if sum, ok := j.behind(at); ok {
				see(subMeters, sum <= m.power+magnitude(m.power)/20+100*unit)
			}
		}
	}
}

// near reports whether a and b differ by at most percent of the larger, or
// least.
func near(a, b, percent, least int64) bool {
	d := magnitude(a - b)
	return d <= least || d <= max(magnitude(a), magnitude(b))/100*percent
}

func magnitude(v int64) int64 { return max(v, -v) }

// hypot is the square root of a^2 + b^2, to the thousandth part of itself.
func hypot(a, b int64) int64 {
	a, b = magnitude(a), magnitude(b)
	shift := 0
	for max(a, b) >= 1<<31 {
		a, b, shift = a>>1, b>>1, shift+1
	}
	n := a*a + b*b
	root := max(a, b)
	for range 64 { // Newton; converges in a few steps
		if root == 0 {
			return 0
		}
		next := (root + n/root) / 2
		if magnitude(next-root) <= 1 {
			root = next
			break
		}
		root = next
	}
	return root << shift
}

func (m *meter) sum(columns [3]int, rs []drivers.Reading) (sum int64, ok bool) {
	for _, c := range columns {
		v, ok := m.milli(c, rs)
		if !ok {
			return 0, false
		}
		sum += v
	}
	return sum, true
}

// product is U x I of the phases, times the power factor, mW.
func (m *meter) product(rs []drivers.Reading) (p int64, ok bool) {
	pf, ok := m.milli(m.quantity.factor, rs)
	if !ok || magnitude(pf) > unit { // a factor above 1 is another notation
		return 0, false
	}
	for i := range 3 {
		u, hasU := m.milli(m.quantity.voltages[i], rs)
		a, hasI := m.milli(m.quantity.currents[i], rs)
		if !hasU || !hasI || u > 1e9 || a > 1e9 {
			return 0, false
		}
		p += u * a / 1000
	}
	return p * pf / unit, true
}

// watthours is the energy register, mWh.
func (m *meter) watthours(rs []drivers.Reading) (int64, bool) { return m.milli(m.quantity.energy, rs) }

// resolution is one step of the energy register, mWh.
func (m *meter) resolution() int64 {
	step := int64(1)
	exp := int(m.Columns[m.quantity.energy].Exp) + 6
	for ; exp > 0; exp-- {
		step *= 10
	}
	return step
}

// primary is power on the site's side of the transformers, mW.
func (m *meter) primary(p int64) int64 {
	if c := m.quantity.power; c < len(m.Multiplier) {
		f := m.Multiplier[c]
		product, ok := drivers.Decimal{Coef: p}.Times(f)
		for ; ok && product.Exp > 0; product.Exp-- {
			product.Coef *= 10
		}
		for ; ok && product.Exp < 0; product.Exp++ {
			product.Coef /= 10
		}
		return product.Coef
	}
	return p
}

// behind is the power of all other meters, mW; false while one of them has not
// said it lately.
func (j *Judge) behind(at time.Time) (sum int64, ok bool) {
	for i := range j.meters {
		o := &j.meters[i]
		if i == j.main || o.quantity.power < 0 {
			continue
		}
		if o.at.IsZero() || at.Sub(o.at) > 3*max(o.Interval, time.Second) {
			return 0, false
		}
		sum += o.power
		ok = true
	}
	return sum, ok
}

// integral sums power up and holds it against the energy register.
type integral struct {
	begun  time.Time
	energy int64 // mWh, at the beginning
	at     time.Time
	power  int64 // mW
	sum    int64 // mW x ms
}

// add takes one poll. After a stretch it says whether both agree, to 5 % and
// two steps of the register, and begins anew. A gap longer than hole begins
// anew as well.
func (n *integral) add(at time.Time, power, energy, step int64, hole time.Duration) (done, good bool) {
	if took := at.Sub(n.at); n.begun.IsZero() || took > hole || took <= 0 {
		*n = integral{begun: at, energy: energy, at: at, power: power}
		return false, false
	}
	n.sum += (n.power + power) / 2 * at.Sub(n.at).Milliseconds()
	n.at, n.power = at, power
	if at.Sub(n.begun) < stretch {
		return false, false
	}
	drawn, counted := n.sum/3_600_000, energy-n.energy
	*n = integral{begun: at, energy: energy, at: at, power: power}
	return true, near(max(drawn, 0), counted, 5, 2*step)
}
