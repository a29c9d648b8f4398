package plant

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// Kind is a physical quantity; each has a total and up to three phase values.
type Kind uint8

const (
	Voltage     Kind = iota // phase to neutral
	LineVoltage             // L1-L2, L2-L3, L3-L1
	Current
	Power
	ReactivePower
	ApparentPower
	PowerFactor
	PowerFactor4Q // above 1: leading, and then 2 - |PF|
	PhaseAngle
	Frequency
	Distortion
	EnergyImport
	EnergyExport
	EnergySum
	ReactiveImport
	ReactiveExport
	ReactiveSum
	kinds
)

// Counter reports whether the kind only ever grows and is cut, not rounded, to
// a register's resolution.
func (k Kind) Counter() bool { return k >= EnergyImport }

// Values is one consistent set of values in 10^-6 of their units: [k][0] is
// the total (the mean of voltages, the sum of currents), [k][1..3] the phases.
type Values [kinds][4]int64

const nominalVoltage = 230.0 // V, phase to neutral

// Installation is what makes one meter's values differ from another's on the
// same load. It is fixed when the meter is made, and safe for concurrent use.
type Installation struct {
	load   *Load
	offset time.Duration // into a load that repeats: meters do not switch at the same second
	share  int64         // of the load, in thousandths
	ratio  int64         // CT ratio x PT ratio between the load and the meter
	base   int64         // energy register at the start, 10^-6 kWh
	phase  [3]int64      // of power and energy, thousandths, sum 1000
	mains  [8]float64    // phases of the slow waves on the mains voltage
}

// NewInstallation draws phase shares and mains waves from the seed; so it does
// the energy register at the start, from 1000.00 to 9999.99 kWh, when base (in
// kWh, not negative, at most 6 decimals) is nil. share is in thousandths of the
// load, ratio that between the load and the meter; both are above 0.
func NewInstallation(seed uint64, load *Load, share, ratio int64, base *drivers.Decimal) (*Installation, error) {
	rng := rand.New(rand.NewPCG(seed, 0x3e7e6))
	in := &Installation{load: load, share: share, ratio: ratio}
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
	if base != nil {
		micro, ok := parseMicro(base.String())
		if !ok || micro > maxEnergy {
			return nil, fmt.Errorf("base %s kWh: expected 0 to 1000000 with at most 6 decimals", base)
		}
		in.base = micro
	}
	return in, nil
}

// SinglePhase lets everything flow through L1.
func (in *Installation) SinglePhase() { in.phase = [3]int64{1000, 0, 0} }

// Start is the date of the load's first moment.
func (in *Installation) Start() time.Time { return in.load.start }

// Base is the energy register at the start, in kWh.
func (in *Installation) Base() drivers.Decimal { return drivers.Decimal{Coef: in.base, Exp: Exp} }

// Drawn is the primary active energy since the start that this meter has seen,
// in kWh.
func (in *Installation) Drawn(t time.Duration) drivers.Decimal {
	return drivers.Decimal{Coef: in.drawn(t).Active, Exp: Exp}
}

// Running reports whether the machines run in a state: whether more than a tenth
// of the built-in pattern's rated draw flows.
func (in *Installation) Running(v *Values) bool {
	return v[Power][0]*in.ratio > shiftRated*1e9/10*in.share/1000
}

// drawn is the primary energy since the start that this meter has seen.
func (in *Installation) drawn(t time.Duration) Interval {
	return in.load.energy(t+in.offset).minus(in.load.energy(in.offset)).times(in.share, 1000)
}

// At is the state of the meter's terminals and counters t after the start.
func (in *Installation) At(t time.Duration, v *Values) {
	*v = Values{}
	in.Counters(t, v)

	p, q := in.load.power(t + in.offset)
	p = mulDiv(p, in.share, 1000*in.ratio)
	sign := int64(1)
	if q < 0 {
		sign = -1
	}
	q = sign * mulDiv(sign*q, in.share, 1000*in.ratio)
	split(p, in.phase, &v[Power])
	split(q, in.phase, &v[ReactivePower])

	s := t.Seconds()
	wave := func(i int, amplitude, period float64) float64 {
		return amplitude * math.Sin(2*math.Pi*s/period+in.mains[i])
	}
	grid := wave(0, 1.8, 5400) + wave(1, 0.9, 731) + wave(2, 0.3, 37)
	var volt [3]float64
	for i := range 3 {
		volt[i] = nominalVoltage + grid + wave(3+i, 0.5, 211)
		p, q := v[Power][i+1], v[ReactivePower][i+1]
		va := math.Hypot(float64(p), float64(q))
		v.setPhase(Voltage, i+1, volt[i]*1e6)
		v.setPhase(ApparentPower, i+1, va)
		v.setPhase(Current, i+1, va/volt[i])
		v[Voltage][0] += v[Voltage][i+1]
		v[Current][0] += v[Current][i+1]
		v.setPhase(Distortion, i+1, (2.4+0.6*math.Sin(in.mains[i]+s/600))*1e6)
	}
	v[Voltage][0] /= 3
	v.setPhase(ApparentPower, 0, math.Hypot(float64(p), float64(q)))
	v.setPhase(Distortion, 0, float64(v[Distortion][1]+v[Distortion][2]+v[Distortion][3])/3)
	v.setPhase(Frequency, 0, (50+wave(6, 0.015, 97)+wave(7, 0.008, 13))*1e6)
	for i := range 3 {
		a, b := volt[i], volt[(i+1)%3]
		v.setPhase(LineVoltage, i+1, math.Sqrt(a*a+b*b+a*b)*1e6) // 120 degrees apart
		v[LineVoltage][0] += v[LineVoltage][i+1] / 3
	}
	for i := range 4 {
		v.factors(i)
	}
}

// Scale makes every value wrong by the same factor, in thousandths.
func (v *Values) Scale(factor int64) {
	for k := range v {
		for i := range v[k] {
			v[k][i] = v[k][i] / 1000 * factor
		}
	}
}

func (v *Values) setPhase(k Kind, phase int, value float64) {
	v[k][phase] = int64(math.Round(value))
}

// factors derives power factor and angle of one phase, or the total, from P
// and Q. Where nothing flows the factor is 1.
func (v *Values) factors(i int) {
	p, q := float64(v[Power][i]), float64(v[ReactivePower][i])
	pf := 1.0
	if s := math.Hypot(p, q); s > 0 {
		pf = p / s
	}
	v.setPhase(PowerFactor, i, pf*1e6)
	if q < 0 {
		v.setPhase(PowerFactor4Q, i, (2-pf)*1e6)
	} else {
		v.setPhase(PowerFactor4Q, i, pf*1e6)
	}
	v.setPhase(PhaseAngle, i, math.Atan2(q, p)*180/math.Pi*1e6)
}

// Counters fills the energy registers. The factory exports no active energy;
// the reactive registers began at two fifths of the active one.
func (in *Installation) Counters(t time.Duration, v *Values) {
	e := in.drawn(t).times(1, in.ratio)
	e = e.plus(Interval{Active: in.base, Lagging: in.base * 2 / 5})
	for i := range 4 {
		thousandths := int64(1000)
		if i > 0 {
			thousandths = in.phase[i-1]
		}
		own := e.times(thousandths, 1000)
		v[EnergyImport][i] = own.Active
		v[EnergySum][i] = own.Active
		v[ReactiveImport][i] = own.Lagging
		v[ReactiveExport][i] = own.Leading
		v[ReactiveSum][i] = own.Lagging + own.Leading
	}
}

// split divides a total over the phases without losing a millionth.
func split(total int64, thousandths [3]int64, to *[4]int64) {
	to[0] = total
	to[1] = total * thousandths[0] / 1000
	to[2] = total * thousandths[1] / 1000
	to[3] = total - to[1] - to[2]
}
