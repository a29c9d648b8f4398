package sim

import (
	"math"
	"math/rand/v2"
	"time"
)

// kind is a physical quantity; each has a total and up to three phase values.
type kind uint8

const (
	voltage     kind = iota // phase to neutral
	lineVoltage             // L1-L2, L2-L3, L3-L1
	current
	power
	reactivePower
	apparentPower
	powerFactor
	powerFactor4Q // above 1: leading, and then 2 - |PF|
	phaseAngle
	frequency
	distortion
	energyImport
	energyExport
	energySum
	reactiveImport
	reactiveExport
	reactiveSum
	kinds
)

// counter reports whether the kind only ever grows and is cut, not rounded, to
// a register's resolution.
func (k kind) counter() bool { return k >= energyImport }

// physical is one consistent set of values in 10^-6 of their units: [k][0] is
// the total (the mean of voltages, the sum of currents), [k][1..3] the phases.
type physical [kinds][4]int64

const nominalVoltage = 230.0 // V, phase to neutral

// installation is what makes one meter's values differ from another's on the
// same load. It is fixed when the meter is made.
type installation struct {
	load   *Load
	offset time.Duration // into a load that repeats: meters do not switch at the same second
	share  int64         // of the load, in thousandths
	ratio  int64         // CT ratio x PT ratio between the load and the meter
	base   int64         // energy register at the start, 10^-6 kWh
	phase  [3]int64      // of power and energy, thousandths, sum 1000
	mains  [8]float64    // phases of the slow waves on the mains voltage
}

// newInstallation draws phase shares, base and mains waves from the seed.
func newInstallation(seed uint64, load *Load, share, ratio int64) *installation {
	rng := rand.New(rand.NewPCG(seed, 0x3e7e6))
	in := &installation{load: load, share: share, ratio: ratio}
	in.phase[0] = 318 + rng.Int64N(31)
	in.phase[1] = 318 + rng.Int64N(31)
	in.phase[2] = 1000 - in.phase[0] - in.phase[1]
	in.base = (1_000_00 + rng.Int64N(9_000_00)) * 10_000 // 1000.00 to 9999.99 kWh
	for i := range in.mains {
		in.mains[i] = rng.Float64() * 2 * math.Pi
	}
	if load.loop {
		in.offset = time.Duration(rng.Int64N(int64(20 * time.Minute)))
	}
	return in
}

// drawn is the primary energy since the start that this meter has seen.
func (in *installation) drawn(t time.Duration) interval {
	return in.load.energy(t+in.offset).minus(in.load.energy(in.offset)).times(in.share, 1000)
}

// at is the state of the meter's terminals and counters t after the start.
func (in *installation) at(t time.Duration, v *physical) {
	*v = physical{}
	in.counters(t, v)

	p, q := in.load.power(t + in.offset)
	p = mulDiv(p, in.share, 1000*in.ratio)
	sign := int64(1)
	if q < 0 {
		sign = -1
	}
	q = sign * mulDiv(sign*q, in.share, 1000*in.ratio)
	split(p, in.phase, &v[power])
	split(q, in.phase, &v[reactivePower])

	s := t.Seconds()
	wave := func(i int, amplitude, period float64) float64 {
		return amplitude * math.Sin(2*math.Pi*s/period+in.mains[i])
	}
	grid := wave(0, 1.8, 5400) + wave(1, 0.9, 731) + wave(2, 0.3, 37)
	var volt [3]float64
	for i := range 3 {
		volt[i] = nominalVoltage + grid + wave(3+i, 0.5, 211)
		p, q := v[power][i+1], v[reactivePower][i+1]
		va := math.Hypot(float64(p), float64(q))
		v.setPhase(voltage, i+1, volt[i]*1e6)
		v.setPhase(apparentPower, i+1, va)
		v.setPhase(current, i+1, va/volt[i])
		v[voltage][0] += v[voltage][i+1]
		v[current][0] += v[current][i+1]
		v.setPhase(distortion, i+1, (2.4+0.6*math.Sin(in.mains[i]+s/600))*1e6)
	}
	v[voltage][0] /= 3
	v.setPhase(apparentPower, 0, math.Hypot(float64(p), float64(q)))
	v.setPhase(distortion, 0, float64(v[distortion][1]+v[distortion][2]+v[distortion][3])/3)
	v.setPhase(frequency, 0, (50+wave(6, 0.015, 97)+wave(7, 0.008, 13))*1e6)
	for i := range 3 {
		a, b := volt[i], volt[(i+1)%3]
		v.setPhase(lineVoltage, i+1, math.Sqrt(a*a+b*b+a*b)*1e6) // 120 degrees apart
		v[lineVoltage][0] += v[lineVoltage][i+1] / 3
	}
	for i := range 4 {
		v.factors(i)
	}
}

// scale makes every value wrong by the same factor, in thousandths.
func (v *physical) scale(factor int64) {
	for k := range v {
		for i := range v[k] {
			v[k][i] = v[k][i] / 1000 * factor
		}
	}
}

func (v *physical) setPhase(k kind, phase int, value float64) {
	v[k][phase] = int64(math.Round(value))
}

// factors derives power factor and angle of one phase, or the total, from P
// and Q. Where nothing flows the factor is 1.
func (v *physical) factors(i int) {
	p, q := float64(v[power][i]), float64(v[reactivePower][i])
	pf := 1.0
	if s := math.Hypot(p, q); s > 0 {
		pf = p / s
	}
	v.setPhase(powerFactor, i, pf*1e6)
	if q < 0 {
		v.setPhase(powerFactor4Q, i, (2-pf)*1e6)
	} else {
		v.setPhase(powerFactor4Q, i, pf*1e6)
	}
	v.setPhase(phaseAngle, i, math.Atan2(q, p)*180/math.Pi*1e6)
}

// counters fills the energy registers. The factory exports no active energy;
// the reactive registers began at two fifths of the active one.
func (in *installation) counters(t time.Duration, v *physical) {
	e := in.drawn(t).times(1, in.ratio)
	e = e.plus(interval{active: in.base, lagging: in.base * 2 / 5})
	for i := range 4 {
		thousandths := int64(1000)
		if i > 0 {
			thousandths = in.phase[i-1]
		}
		own := e.times(thousandths, 1000)
		v[energyImport][i] = own.active
		v[energySum][i] = own.active
		v[reactiveImport][i] = own.lagging
		v[reactiveExport][i] = own.leading
		v[reactiveSum][i] = own.lagging + own.leading
	}
}

// split divides a total over the phases without losing a millionth.
func split(total int64, thousandths [3]int64, to *[4]int64) {
	to[0] = total
	to[1] = total * thousandths[0] / 1000
	to[2] = total * thousandths[1] / 1000
	to[3] = total - to[1] - to[2]
}
