// Package evidencetest makes evidence for tests: fixed keys, a simulated
// factory whose readings obey physics, and whole streams of deliveries. It is
// for tests only; nothing in it is secret.
package evidencetest

import (
	"bytes"
	"crypto/ed25519"
	"math"
	"math/rand/v2"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Start is the first instant of every test log: 2026-01-05 00:00:00 UTC.
const Start = 1767571200000

// Key is a fixed private key; different seeds give different keys.
func Key(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize))
}

// Signer signs with Key(seed), and PublicKey is what verifies it.
func Signer(seed byte) evidence.Signer { return evidence.NewEd25519Signer(Key(seed), "file") }

// PublicKey is the public half of Key(seed).
func PublicKey(seed byte) evidence.PublicKey {
	return evidence.Ed25519PublicKey(Key(seed).Public().(ed25519.PublicKey))
}

// Secret is the epoch secret of every test log.
func Secret() []byte { return []byte("test epoch secret, 32 bytes long") }

// Event is window number k of a test log, well synchronised, first boot.
func Event(k int, durationMS uint64) evidence.Event {
	return evidence.Event{
		Start: Start + int64(k)*int64(durationMS), Duration: durationMS,
		TimeFlag: evidence.Synchronised, TimeErrorMS: 20,
		Boot: 1, UptimeMS: uint64(k+1) * durationMS,
	}
}

// Factory is the workload of the size and speed targets: meters x 17 points,
// every 10 s, in windows of 60 s, in six channels. It stands for a county
// factory of some hundred kilowatts:
//
//   - meter 0 is the main, 1 to 3 are feeders, the rest single machines of 2
//     to 60 kW; main and feeders carry sums of machines;
//   - a machine's load wanders by 1.5 % of itself from one poll to the next
//     (time constant two minutes), and every 100 s on average it switches
//     between idling, part and full load;
//   - the three phase currents are unequal by up to 8 % and wander apart by
//     0.3 %; power factor 0.74 to 0.95 follows the load;
//   - phase voltages share the grid's wander (0.4 V per poll) and sag with
//     load, with 0.15 V of their own per phase and meter;
//   - frequency is that of the grid, one for all, wandering by 4 mHz per poll;
//   - energy registers are the integral of power.
//
// Readings are primary values at the resolution such meters give: 0.1 V,
// 0.01 A (main and feeders) or 0.001 A (machines), 1 W, 1 var, 1 VA, 0.001,
// 0.01 Hz, 0.01 kWh, 0.01 kvarh. The registers begin at some years of use.
// Poll offsets jitter by 3 ms around each meter's place in the cycle.
type Factory struct {
	rnd       *rand.Rand
	machines  []machine
	meters    int
	grid      float64 // V
	hertz     float64
	registers [][3]float64 // kWh, kvarh import, kvarh export
}

type machine struct {
	rated  float64 // W
	level  float64 // 0..1, switched
	drift  float64 // relative
	split  [3]float64
	feeder int
}

// Slots and IntervalMS describe a Factory's windows.
const (
	Slots      = 6
	IntervalMS = 10_000
	WindowMS   = Slots * IntervalMS
)

// NewFactory makes a factory of at least 5 meters; same seed, same readings.
func NewFactory(meters int, seed uint64) *Factory {
	f := &Factory{rnd: rand.New(rand.NewPCG(seed, 17)), meters: meters, grid: 231.5, hertz: 50.01}
	for i := range meters - 4 {
		m := machine{rated: 2000 * math.Pow(30, f.rnd.Float64()), level: 0.6, feeder: 1 + i%3}
		for p := range m.split {
			m.split[p] = 1 + 0.16*(f.rnd.Float64()-0.5)
		}
		f.machines = append(f.machines, m)
	}
	f.registers = make([][3]float64, meters)
	for i := range f.registers {
		f.registers[i] = [3]float64{f.rnd.Float64() * 900_000, f.rnd.Float64() * 300_000, 0}
	}
	return f
}

// columns of one meter by channel, in the order sample fills them.
func columns(main bool) map[evidence.Channel][]evidence.Column {
	col := func(exp int8, unit string, names ...string) (cs []evidence.Column) {
		for _, n := range names {
			cs = append(cs, evidence.Column{Quantity: n, Unit: unit, Exp: exp, MulCoef: 1})
		}
		return cs
	}
	amps := int8(-3)
	if main {
		amps = -2
	}
	join := func(lists ...[]evidence.Column) (all []evidence.Column) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	return map[evidence.Channel][]evidence.Column{
		evidence.Energy: col(-2, "kWh", "energy_import"),
		evidence.Power: join(col(0, "W", "power_active", "power_active_l1", "power_active_l2", "power_active_l3"),
			col(0, "VA", "power_apparent")),
		evidence.VoltageCurrent: join(col(-1, "V", "voltage_l1", "voltage_l2", "voltage_l3"),
			col(amps, "A", "current_l1", "current_l2", "current_l3")),
		evidence.Reactive: join(col(0, "var", "power_reactive"), col(-3, "", "power_factor"),
			col(-2, "kvarh", "reactive_energy_import", "reactive_energy_export")),
		evidence.Frequency: col(-2, "Hz", "frequency"),
		evidence.Timing:    col(0, "ms", "poll_offset"),
	}
}

// Dictionary describes the factory's meters.
func (f *Factory) Dictionary() evidence.Dictionary {
	d := evidence.Dictionary{Channels: map[evidence.Channel][]evidence.ChannelMeter{}}
	for i := range f.meters {
		d.Meters = append(d.Meters, evidence.Meter{
			Name: "meter-" + string(rune('a'+i/26)) + string(rune('a'+i%26)), Profile: "sim-17", ProfileVersion: 1, IntervalMS: IntervalMS,
		})
		for ch, cols := range columns(i < 4) {
			d.Channels[ch] = append(d.Channels[ch], evidence.ChannelMeter{Meter: i, Columns: cols})
		}
	}
	return d
}

// Window returns the next 60 s of readings.
func (f *Factory) Window() map[evidence.Channel][]evidence.Samples {
	data := map[evidence.Channel][]evidence.Samples{}
	for ch, cols := range columns(true) {
		for range f.meters {
			s := evidence.Samples{Slots: Slots, Values: make([][]int64, len(cols))}
			for c := range s.Values {
				s.Values[c] = make([]int64, Slots)
			}
			data[ch] = append(data[ch], s)
		}
	}
	for slot := range Slots {
		f.step()
		loads := f.loads()
		for m, load := range loads {
			f.sample(data, m, slot, load)
		}
	}
	return data
}

// step lets one poll interval pass.
func (f *Factory) step() {
	f.grid += 0.4*f.rnd.NormFloat64() + 0.02*(231.5-f.grid)
	f.hertz += 0.004*f.rnd.NormFloat64() + 0.05*(50-f.hertz)
	for i := range f.machines {
		m := &f.machines[i]
		m.drift += 0.015*f.rnd.NormFloat64() - m.drift/12
		if f.rnd.Float64() < 0.1 {
			m.level = []float64{0.12, 0.45, 0.7, 0.95}[f.rnd.IntN(4)]
		}
		for p := range m.split {
			m.split[p] += 0.003*f.rnd.NormFloat64() + 0.02*(1-m.split[p])
		}
	}
}

// loads returns active power per phase and the power factor for each meter.
func (f *Factory) loads() []load {
	loads := make([]load, f.meters)
	for i := range f.machines {
		m := &f.machines[i]
		power := m.rated * m.level * (1 + m.drift)
		factor := 0.74 + 0.21*m.level
		reactive := power * math.Tan(math.Acos(factor))
		for _, at := range []int{0, m.feeder, 4 + i} {
			for p, share := range m.split {
				loads[at].watts[p] += power / 3 * share
				loads[at].vars[p] += reactive / 3 * share
			}
		}
	}
	return loads
}

type load struct{ watts, vars [3]float64 }

// sample writes what the meter shows for one load.
func (f *Factory) sample(data map[evidence.Channel][]evidence.Samples, meter, slot int, l load) {
	put := func(ch evidence.Channel, column int, v, resolution float64) {
		data[ch][meter].Values[column][slot] = int64(math.Round(v / resolution))
	}
	amps := 0.001
	if meter < 4 {
		amps = 0.01
	}
	var watts, vars float64
	for p := range 3 {
		volts := f.grid - l.watts[p]/40_000 + 0.15*f.rnd.NormFloat64() + float64(p)*0.7
		w, q := l.watts[p]*(1+0.001*f.rnd.NormFloat64()), l.vars[p]
		watts, vars = watts+w, vars+q
		put(evidence.VoltageCurrent, p, volts, 0.1)
		put(evidence.VoltageCurrent, 3+p, math.Hypot(w, q)/volts, amps)
		put(evidence.Power, 1+p, w, 1)
	}
	apparent := math.Hypot(watts, vars)
	put(evidence.Power, 0, watts, 1)
	put(evidence.Power, 4, apparent, 1)
	put(evidence.Reactive, 0, vars, 1)
	put(evidence.Reactive, 1, watts/apparent, 0.001)
	put(evidence.Frequency, 0, f.hertz, 0.01)
	r := &f.registers[meter]
	r[0] += watts * IntervalMS / 3.6e9
	r[1] += vars * IntervalMS / 3.6e9
	put(evidence.Energy, 0, math.Floor(r[0]*100)/100, 0.01)
	put(evidence.Reactive, 2, math.Floor(r[1]*100)/100, 0.01)
	put(evidence.Reactive, 3, math.Floor(r[2]*100)/100, 0.01)
	put(evidence.Timing, 0, 40+float64(meter)*70+3*f.rnd.NormFloat64(), 1)
}
