package meter

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// CJ/T 188-2004, section 6:
//
//	68 | type | address 7 | control | length | identifier 2 | SER | data | sum | 16
const (
	cjt188Read    = 0x01
	cjt188Address = 0x03
	cjt188Answer  = 0x80
	cjt188Refuse  = 0xC0
)

// Units of CJ/T 188-2004, table 5.
const (
	unitKWh  = 0x05
	unitKW   = 0x17
	unitM3   = 0x2C
	unitM3ph = 0x35
)

// cjt188 is a water, heat or gas meter. What the load is to an electricity
// meter it is to this: twenty kWh stand for a cubic metre, and through a heat
// meter flows the load itself, as heat.
type cjt188 struct {
	*device
	model Model
	class byte // meter type
	heat  bool
}

func newCJT188(d *device, model Model) *cjt188 {
	m := &cjt188{device: d, model: model}
	switch {
	case strings.HasSuffix(model.Name, "-heat"):
		m.class, m.heat = 0x20, true
	case strings.HasSuffix(model.Name, "-gas"):
		m.class = 0x30
	default:
		m.class = 0x10
	}
	return m
}

func (m *cjt188) Delay() time.Duration { return 50 * time.Millisecond }

func (m *cjt188) Find(b []byte) (skip, size int) {
	return scanFrame(b, func(b []byte) int {
		switch {
		case len(b) < 11:
			return 0
		case b[10] > 100:
			return -1
		}
		return 13 + int(b[10])
	})
}

func (m *cjt188) reply(dst, request []byte, ask func() Fault) (Reply, bool) {
	class, address, control, data := request[1], request[2:9], request[9], request[11:len(request)-2]
	if class != m.class && class != 0xAA || !addressed(address, m.model.Address) ||
		len(data) != 3 || control != cjt188Read && control != cjt188Address {
		return Reply{}, false
	}
	di, swapped := binary.BigEndian.Uint16(data), binary.LittleEndian.Uint16(data)
	if m.model.Order == LowFirst || m.model.Order == AnyOrder && !m.has(control, di) {
		di, swapped = swapped, di
	}
	if !m.has(control, di) && m.has(control, swapped) {
		return Reply{}, false // a real meter makes nothing of it
	}
	f := ask()
	ser := data[2]
	if m.model.PlainSER {
		ser = 0
	}
	value, ok := m.value(control, di, f.Factor)
	if !ok || f.Exception != 0 {
		return m.frame(dst, control|cjt188Refuse, []byte{ser, f.Exception, 0}, f), true
	}
	return m.frame(dst, control|cjt188Answer, append([]byte{data[0], data[1], ser}, value...), f), true
}

func (m *cjt188) has(control byte, di uint16) bool {
	_, ok := m.value(control, di, 0)
	return ok
}

// value is the data behind an identifier, without it and SER.
func (m *cjt188) value(control byte, di uint16, factor int64) ([]byte, bool) {
	t := m.clock.Elapsed()
	now := m.date(t)
	switch {
	case control == cjt188Address:
		return nil, di == 0x810A
	case di == 0x901F:
	case di >= 0xD120 && di <= 0xD12B: // what stood there at the end of a month
		v := m.flow(m.settlement(t, int(di-0xD120)), factor)
		return v.append(nil, m.total(), m.unit()), true
	default:
		return nil, false
	}
	v := m.flow(t, factor)
	settled := m.flow(m.settlement(t, 0), factor)
	var dst []byte
	if m.heat {
		dst = settled.append(dst, heatEnergy, unitKWh)
		dst = v.append(dst, heatEnergy, unitKWh)
		dst = v.append(dst, heatPower, unitKW)
		dst = v.append(dst, flowRate, unitM3ph)
		dst = v.append(dst, volume, unitM3)
		for _, q := range []pipeQuantity{supply, back, hours} {
			dst = pipeQuantities[q].append(dst, v.number(q))
		}
	} else {
		dst = v.append(dst, volume, unitM3)
		dst = settled.append(dst, volume, unitM3)
	}
	return append(appendDate(dst, now, "smhDMYC"), 0, 0), true
}

// total is what the meter is read for.
func (m *cjt188) total() pipeQuantity {
	if m.heat {
		return heatEnergy
	}
	return volume
}

func (m *cjt188) unit() byte {
	if m.heat {
		return unitKWh
	}
	return unitM3
}

// reading is what 901F shows for a quantity.
func (m *cjt188) reading(quantity string) (drivers.Decimal, bool) {
	t := m.clock.Elapsed()
	name, settled := strings.CutSuffix(quantity, "_settlement")
	if settled {
		t = m.settlement(t, 0)
	}
	for i := range pipeQuantities {
		q := pipeQuantity(i)
		if pipeQuantities[q].name == name && (m.heat || q == volume) && (!settled || q == m.total()) {
			return drivers.Decimal{Coef: m.flow(t, 0).number(q), Exp: pipeQuantities[q].exp}, true
		}
	}
	return drivers.Decimal{}, false
}

// settlement is when the month n months before t began, or the start.
func (m *cjt188) settlement(t time.Duration, n int) time.Duration {
	return max(0, monthStart(m.date(t), n).Sub(m.in.Start()))
}

// pipeQuantity is what a meter on a pipe shows.
type pipeQuantity uint8

const (
	volume pipeQuantity = iota
	heatEnergy
	heatPower
	flowRate
	supply
	back
	hours
)

// pipeQuantities are the quantities with unit and shape of CJ/T 188-2004,
// section 7; power in W, though it is sent in kW.
var pipeQuantities = [...]struct {
	name string
	unit string
	shape
}{
	volume:     {"volume", "m3", shape{4, -2, false}},
	heatEnergy: {"heat_energy", "kWh", shape{4, -2, false}},
	heatPower:  {"heat_power", "W", shape{4, 1, false}},
	flowRate:   {"flow", "m3/h", shape{4, -4, false}},
	supply:     {"temperature_supply", "C", shape{3, -2, false}},
	back:       {"temperature_return", "C", shape{3, -2, false}},
	hours:      {"working_hours", "h", shape{3, 0, false}},
}

// pipe is the state of a pipe in millionths of the units.
type pipe [len(pipeQuantities)]int64

func (v *pipe) number(q pipeQuantity) int64 {
	return pipeQuantities[q].number(v[q], q == volume || q == heatEnergy || q == hours)
}

// append writes one value and its unit byte.
func (v *pipe) append(dst []byte, q pipeQuantity, unit byte) []byte {
	return append(pipeQuantities[q].append(dst, v.number(q)), unit)
}

// flow is what the meter shows t after the start. A heat meter cools the water
// by 20/1.163 K, so that a cubic metre leaves 20 kWh.
func (m *cjt188) flow(t time.Duration, factor int64) *pipe {
	past := m.past(t)
	base := m.in.Base().Coef
	at := func(t time.Duration) (v pipe) {
		var load plant.Values
		m.in.Counters(t, &load)
		v[heatEnergy] = load[plant.EnergyImport][0]
		v[volume] = base + (v[heatEnergy]-base)/20
		v[hours] = int64(t/time.Second) * 1000 / 3600 * 1000
		return v
	}
	v := at(past.values)
	var zero pipe
	if past.zero != nil {
		zero = at(*past.zero)
	}
	for _, q := range []pipeQuantity{volume, heatEnergy, hours} {
		v[q] = m.count(v[q], zero[q])
	}
	var load plant.Values
	m.in.At(past.values, &load)
	v[heatPower] = load[plant.Power][0]
	v[flowRate] = v[heatPower] / 20_000 // W / 20 kWh per m3
	v[supply], v[back] = 75_000_000, 57_803_000
	if factor != 0 {
		for q := range v {
			v[q] = v[q] / 1000 * factor
		}
	}
	return &v
}
func (m *cjt188) frame(dst []byte, control byte, data []byte, f Fault) Reply {
	begin := len(dst)
	for range m.model.Wakeup {
		dst = append(dst, 0xFE)
	}
	start := len(dst)
	name := m.model.Address
	if f.Foreign {
		name = foreign(name)
	}
	dst = append(appendDigits(append(dst, 0x68, m.class), name), control, byte(len(data)))
	dst = append(dst, data...)
	dst = append(dst, sum(dst[start:]), 0x16)
	return Reply{Bytes: dst[begin:]}
}
