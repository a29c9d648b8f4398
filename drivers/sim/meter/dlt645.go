package meter

import (
	"slices"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// DL/T 645-2007, section 7.1, and the same in 645-1997:
//
//	68 | address 6 | 68 | control | length | data, each +33H | sum | 16
//
// Control codes: bit 7 from the meter, bit 6 refusal, bit 5 more follows.
const (
	dlt645Answer = 0x80
	dlt645Refuse = 0x40
	dlt645More   = 0x20

	dlt645Read    = 0x11
	dlt645Follow  = 0x12
	dlt645Address = 0x13
	dlt645Read97  = 0x01 // 1997; its codes from 04 on, and those from 14 on of 2007, change something

	noSuchData    = 0x02 // error byte, section 7.2; 645-1997 has the same
	notAuthorised = 0x04

	// Most data a simulated meter puts into one frame after the identifier.
	dlt645Part = 48
)

// dlt645 is a meter of DL/T 645-2007 or 645-1997.
type dlt645 struct {
	*device
	model  Model
	old    bool // 1997
	phases int
	shapes map[plant.Kind]shape
}

func newDLT645(d *device, model Model) *dlt645 {
	m := &dlt645{device: d, model: model, old: model.Name == "dlt645-1997", phases: 3}
	if model.Name == "dlt645-2007-1ph" {
		m.phases = 1
	}
	energy := shape{4, -2, false}
	m.shapes = map[plant.Kind]shape{ // DL/T 645-2007, annex A
		plant.Voltage: {2, -1, false}, plant.Current: {3, -3, true}, plant.Power: {3, -1, true}, plant.ReactivePower: {3, -1, true},
		plant.ApparentPower: {3, -1, true}, plant.PowerFactor: {2, -3, true}, plant.PhaseAngle: {2, -1, false}, plant.Frequency: {2, -2, false},
		plant.Distortion: {2, -2, false},
	}
	if m.old { // DL/T 645-1997, annex A
		m.shapes = map[plant.Kind]shape{
			plant.Voltage: {2, 0, false}, plant.Current: {2, -2, false}, plant.Power: {3, -1, false}, plant.ReactivePower: {2, 1, false}, plant.PowerFactor: {2, -3, false},
		}
	}
	for _, k := range []plant.Kind{plant.EnergyImport, plant.EnergyExport, plant.EnergySum, plant.ReactiveImport, plant.ReactiveExport} {
		m.shapes[k] = energy
	}
	return m
}

// delay lies in the 20 to 500 ms of DL/T 645-2007, section 7.2.
func (m *dlt645) Delay() time.Duration { return 30 * time.Millisecond }

func (m *dlt645) Find(b []byte) (skip, size int) {
	return scanFrame(b, func(b []byte) int {
		switch {
		case len(b) > 7 && b[7] != 0x68, len(b) > 9 && b[9] > 200:
			return -1
		case len(b) < 10:
			return 0
		}
		return 12 + int(b[9])
	})
}

func (m *dlt645) reply(dst, request []byte, ask func() Fault) (Reply, bool) {
	address, control := request[1:7], request[8]
	if !addressed(address, m.model.Address) || control&dlt645Answer != 0 {
		return Reply{}, false
	}
	data := slices.Clone(request[10 : len(request)-2])
	for i := range data {
		data[i] -= 0x33
	}
	switch {
	case m.old && control == dlt645Read97 && len(data) == 2:
	case !m.old && control == dlt645Read && len(data) >= 4:
	case !m.old && control == dlt645Follow && len(data) == 5:
	case !m.old && control == dlt645Address && len(data) == 0:
	case m.old && control >= 0x04 && control != 0x08 || control >= 0x14: // all but the broadcast time
		f := ask()
		return m.frame(dst, control|dlt645Answer|dlt645Refuse, []byte{notAuthorised}, f), true
	default:
		return Reply{}, false
	}
	f := ask()
	if f.Exception != 0 {
		return m.frame(dst, control|dlt645Answer|dlt645Refuse, []byte{f.Exception}, f), true
	}
	code := control | dlt645Answer
	if control == dlt645Address {
		return m.frame(dst, code, appendDigits(nil, m.model.Address), f), true
	}
	di, value, ok := data[:2], []byte(nil), false
	if m.old {
		value, ok = m.value97(uint16(data[1])<<8|uint16(data[0]), f)
	} else {
		di = data[:4]
		value, ok = m.value(di[3], di[2], di[1], di[0], f)
	}
	part := 0
	if control == dlt645Follow {
		part = int(data[4])
		ok = ok && part > 0
	}
	if !ok || part > 0 && part*dlt645Part >= len(value) {
		return m.frame(dst, code|dlt645Refuse, []byte{noSuchData}, f), true
	}
	value = value[part*dlt645Part:]
	if len(value) > dlt645Part {
		value, code = value[:dlt645Part], code|dlt645More
	}
	answer := append(slices.Clone(di), value...)
	if part > 0 {
		answer = append(answer, byte(part))
	}
	return m.frame(dst, code, answer, f), true
}

// frame appends wake-up bytes and a frame to dst.
func (m *dlt645) frame(dst []byte, control byte, data []byte, f Fault) Reply {
	begin := len(dst)
	for range m.model.Wakeup {
		dst = append(dst, 0xFE)
	}
	start := len(dst)
	name := m.model.Address
	if f.Foreign {
		name = foreign(name)
	}
	dst = append(appendDigits(append(dst, 0x68), name), 0x68, control, byte(len(data)))
	for _, b := range data {
		dst = append(dst, b+0x33)
	}
	dst = append(dst, sum(dst[start:]), 0x16)
	return Reply{Bytes: dst[begin:]}
}

// show appends one value, or FF where a phase is not connected.
func (m *dlt645) show(dst []byte, v *plant.Values, s plant.Source) []byte {
	sh := m.shapes[s.Kind]
	if s.Phase > m.phases {
		return append(dst, slices.Repeat([]byte{0xFF}, sh.bytes)...)
	}
	return sh.append(dst, m.coef(v, s))
}

func (m *dlt645) coef(v *plant.Values, s plant.Source) int64 {
	micro := v[s.Kind][s.Phase]
	if s.Kind == plant.PhaseAngle && micro < 0 {
		micro += 360e6
	}
	return m.shapes[s.Kind].number(micro, s.Kind.Counter())
}

// reading is what one of the identifiers shows for a quantity.
func (m *dlt645) reading(quantity string) (drivers.Decimal, bool) {
	s, _, ok := plant.SourceNamed(quantity)
	sh, has := m.shapes[s.Kind]
	total := s.Kind.Counter() || s.Kind == plant.Power || s.Kind == plant.ReactivePower || s.Kind == plant.ApparentPower || s.Kind == plant.PowerFactor || s.Kind == plant.Frequency
	if !ok || !has || s.Phase > m.phases || s.Phase == 0 && !total || s.Phase > 0 && s.Kind.Counter() {
		return drivers.Decimal{}, false
	}
	var v plant.Values
	m.state(m.clock.Elapsed(), &v)
	return drivers.Decimal{Coef: m.coef(&v, s), Exp: sh.exp}, true
}

// tariffs are the shares of the four tariffs (sharp, peak, flat, valley) in the
// energy, in thousandths. Each counts for itself and is cut for itself.
var tariffs = [...]int64{100, 300, 350, 250}

// ofTariff is a tariff's share of an energy, rounded down.
func ofTariff(energy, share int64) int64 { return energy/1000*share + energy%1000*share/1000 }

// energy appends the total (tariff 0), one tariff, or all of them (FF).
func (m *dlt645) energy(dst []byte, v *plant.Values, k plant.Kind, tariff byte) ([]byte, bool) {
	switch {
	case tariff == 0:
		return m.show(dst, v, k.Phase(0)), true
	case int(tariff) <= len(tariffs):
		return m.shapes[k].append(dst, m.shapes[k].number(ofTariff(v[k][0], tariffs[tariff-1]), true)), true
	case tariff == 0xFF:
		for i := range byte(len(tariffs) + 1) {
			dst, _ = m.energy(dst, v, k, i)
		}
		return dst, true
	}
	return dst, false
}

// present is the state now, with wrong values if f says so.
func (m *dlt645) present(f Fault) *plant.Values {
	var v plant.Values
	m.state(m.clock.Elapsed(), &v)
	if f.Factor != 0 {
		v.Scale(f.Factor)
	}
	return &v
}

var energies = []plant.Kind{plant.EnergySum, plant.EnergyImport, plant.EnergyExport, plant.ReactiveImport, plant.ReactiveExport}

// value is the data behind an identifier of DL/T 645-2007, annex A, DI3 first.
func (m *dlt645) value(a, b, c, d byte, f Fault) ([]byte, bool) {
	v := m.present(f)
	now := m.now()
	switch a {
	case 0x00: // energy: DI2 which, DI1 tariff, DI0 month
		if int(b) >= len(energies) || d > 12 {
			return nil, false
		}
		if d > 0 {
			m.at(monthStart(now, int(d)-1), v)
		}
		return m.energy(nil, v, energies[b], c)
	case 0x02:
		return m.variable(v, b, c, d)
	case 0x03:
		return m.event(b, c, d)
	case 0x04:
		return m.parameter(now, b, c, d)
	case 0x05: // 05 06: frozen each midnight, DI0 days ago
		if b != 0x06 || d == 0 || d > 62 {
			return nil, false
		}
		midnight := time.Date(now.Year(), now.Month(), now.Day()+1-int(d), 0, 0, 0, 0, now.Location())
		if c == 0x00 {
			return appendDate(nil, midnight, "mhDMY"), true
		}
		if int(c) >= len(energies) {
			return nil, false
		}
		m.at(midnight, v)
		return m.energy(nil, v, energies[c], 0xFF)
	}
	return nil, false
}

// variable is 02 b c d: DI2 the quantity, DI1 the phase or FF for all.
func (m *dlt645) variable(v *plant.Values, b, c, d byte) ([]byte, bool) {
	if b == 0x80 {
		switch {
		case c != 0:
		case d == 0x01: // neutral current
			return shape{3, -3, true}.append(nil, 0), true
		case d == 0x02:
			return m.show(nil, v, plant.Frequency.Phase(0)), true
		case d == 0x03, d == 0x04: // mean over a minute, present demand
			return m.show(nil, v, plant.Power.Phase(0)), true
		case d == 0x07: // temperature in the meter
			return shape{2, -1, true}.append(nil, 253), true
		case d == 0x08: // clock battery
			return shape{2, -2, false}.append(nil, 361), true
		}
		return nil, false
	}
	measured := []plant.Kind{plant.Voltage, plant.Current, plant.Power, plant.ReactivePower, plant.ApparentPower, plant.PowerFactor, plant.PhaseAngle, plant.Distortion, plant.Distortion}
	if b == 0 || int(b) > len(measured) || d != 0 {
		return nil, false
	}
	k := measured[b-1]
	first := byte(1) // voltage, current, angle and distortion have no total
	if k == plant.Power || k == plant.ReactivePower || k == plant.ApparentPower || k == plant.PowerFactor {
		first = 0
	}
	if c == 0xFF {
		var dst []byte
		for i := first; i <= 3; i++ {
			dst = m.show(dst, v, k.Phase(int(i)))
		}
		return dst, true
	}
	if c < first || int(c) > m.phases {
		return nil, false
	}
	return m.show(nil, v, k.Phase(int(c))), true
}

// event is 03 b c d: how often, and the records, the latest first.
func (m *dlt645) event(b, c, d byte) ([]byte, bool) {
	seen := m.past(m.clock.Elapsed()).events
	record := func(deed Deed, layout func(at time.Time) []byte, size int) ([]byte, bool) {
		all := seen[deed]
		switch {
		case d == 0:
			return appendBCD(nil, uint64(len(all)), 3), true
		case d > 10:
			return nil, false
		case int(d) > len(all):
			return make([]byte, size), true
		}
		return layout(m.date(all[len(all)-int(d)])), true
	}
	twice := func(at time.Time) []byte {
		return appendDate(appendDate(nil, at, "smhDMY"), at, "smhDMY")
	}
	switch {
	case b == 0x01 && c == 0 && d == 0 && m.phases == 3: // phase loss: times and minutes of A, B, C
		dst := appendBCD(nil, uint64(len(seen[LosePhase])), 3)
		return append(dst, make([]byte, 15)...), true
	case b == 0x11 && c == 0:
		return record(LosePower, twice, 12)
	case b == 0x30 && (c == 0x00 || c == 0x01) && d == 0: // programmed, cleared
		return make([]byte, 3), true
	case b == 0x30 && c == 0x04: // clock set: operator, before, after
		return record(SetClock, func(at time.Time) []byte { return append(make([]byte, 4), twice(at)...) }, 16)
	case b == 0x30 && c == 0x0D: // cover opened: begin, end, six energies before and six after
		return record(OpenCover, func(at time.Time) []byte {
			var v plant.Values
			m.at(at, &v)
			dst := twice(at)
			for range 2 {
				for _, k := range []plant.Kind{plant.EnergyImport, plant.EnergyExport, plant.ReactiveImport, plant.ReactiveExport, plant.ReactiveImport, plant.ReactiveExport} {
					dst = m.shapes[k].append(dst, m.shapes[k].number(v[k][0], true))
				}
			}
			return dst
		}, 60)
	}
	return nil, false
}

// parameter is 04 00 c d.
func (m *dlt645) parameter(now time.Time, b, c, d byte) ([]byte, bool) {
	switch uint32(b)<<16 | uint32(c)<<8 | uint32(d) {
	case 0x000101:
		return appendDate(nil, now, "WDMY"), true
	case 0x000102:
		return appendDate(nil, now, "smh"), true
	case 0x00010C:
		return appendDate(nil, now, "smhWDMY"), true
	case 0x000401:
		return appendDigits(nil, m.model.Address), true
	case 0x000402:
		return appendDigits(nil, m.number()), true
	case 0x000409: // pulses per kWh
		return appendBCD(nil, 1600, 3), true
	case 0x000501, 0x000502, 0x000503, 0x000504, 0x000505, 0x000506, 0x000507: // status words
		return []byte{0, 0}, true
	}
	return nil, false
}

// number is the number of the meter in place.
func (m *dlt645) number() string {
	if n := m.past(m.clock.Elapsed()).number; n != "" {
		return n
	}
	return m.model.Address
}

// value97 is the data behind an identifier of DL/T 645-1997, annex A.
func (m *dlt645) value97(di uint16, f Fault) ([]byte, bool) {
	v := m.present(f)
	now := m.now()
	high, low := byte(di>>8), byte(di)
	switch high {
	case 0x90, 0x94, 0x98, 0x91, 0x95, 0x99: // energy, reactive energy; now, a month, two months ago
		if months := int(high&0x0F) / 4; months > 0 {
			m.at(monthStart(now, months-1), v)
		}
		which := map[byte]plant.Kind{0x10: plant.EnergyImport, 0x20: plant.EnergyExport}
		if high&1 != 0 {
			which = map[byte]plant.Kind{0x10: plant.ReactiveImport, 0x20: plant.ReactiveExport}
		}
		k, ok := which[low&0xF0]
		tariff := low & 0x0F
		if tariff == 0x0F {
			tariff = 0xFF
		}
		if !ok {
			return nil, false
		}
		return m.energy(nil, v, k, tariff)
	case 0xB6:
		measured := map[byte]plant.Kind{0x10: plant.Voltage, 0x20: plant.Current, 0x30: plant.Power, 0x40: plant.ReactivePower, 0x50: plant.PowerFactor}
		k, ok := measured[low&0xF0]
		phase := low & 0x0F
		if !ok || phase > 3 || phase == 0 && (k == plant.Voltage || k == plant.Current) {
			return nil, false
		}
		return m.show(nil, v, k.Phase(int(phase))), true
	}
	switch di {
	case 0xC010:
		return appendDate(nil, now, "WDMY"), true
	case 0xC011:
		return appendDate(nil, now, "smh"), true
	case 0xC030, 0xC031: // pulses per kWh and kvarh
		return appendBCD(nil, 1600, 3), true
	case 0xC032, 0xC033:
		return appendDigits(nil, m.number()), true
	}
	return nil, false
}
