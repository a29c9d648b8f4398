package cjt188

import (
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/drivers"
)

// A frame, CJ/T 188-2004 section 5:
//
//	68 T A0..A6 C L DATA(L) CS 16
//
// CS is the sum of all bytes from 68 to the last of DATA. Addresses and values
// are BCD, low byte first. DATA begins with DI(2) SER(1), in an error reply
// with SER alone.
const (
	start, end = 0x68, 0x16
	head       = 11 // bytes before DATA
	tail       = 2  // bytes behind it
	wakeup     = 0xFE

	fromMeter = 0x80 // control: this is a reply
	failed    = 0xC0 // control: this is an error reply

	anyMeter = 0xAA // as type and as each byte of an address
)

// control is a control code without the bits of a reply.
type control byte

const (
	readData    control = 0x01
	readAddress control = 0x03
)

// String is what the code asks for, as messages have it.
func (c control) String() string {
	switch c {
	case readData:
		return "read data"
	case readAddress:
		return "read address"
	case 0x04:
		return "write data"
	case 0x09:
		return "read key version"
	case 0x15:
		return "write address"
	case 0x16:
		return "synchronise motor"
	case 0x2A:
		return "move valve (vendor's code)"
	}
	return fmt.Sprintf("control code %02X", byte(c))
}

// writes reports whether the code changes something in the meter. One of a
// vendor's own counts as such: nobody knows what it does.
func (c control) writes() bool { return c != readData && c != readAddress && c != 0x09 }

// address is as on the wire.
type address [7]byte

// wildcard is answered by every meter that hears it.
var wildcard = address{anyMeter, anyMeter, anyMeter, anyMeter, anyMeter, anyMeter, anyMeter}

// parseAddress reads the fourteen digits printed on a meter.
func parseAddress(s string) (a address, err error) {
	if len(s) != 2*len(a) {
		return a, fmt.Errorf("address %q has %d digits, expected %d: manufacturer, then number", s, len(s), 2*len(a))
	}
	for i := range a {
		hi, lo := s[2*i]-'0', s[2*i+1]-'0'
		if hi > 9 || lo > 9 {
			return a, fmt.Errorf("address %q is not all digits", s)
		}
		a[len(a)-1-i] = hi<<4 | lo
	}
	return a, nil
}

// String is the address as it is printed on the meter.
func (a address) String() string {
	return fmt.Sprintf("%02x%02x%02x%02x%02x%02x%02x", a[6], a[5], a[4], a[3], a[2], a[1], a[0])
}

// frame is a sound frame.
type frame struct {
	meter   byte // its type, T
	address address
	control byte // with the bits of a reply
	data    []byte
}

func (f frame) function() control { return control(f.control &^ failed) }
func (f frame) reply() bool       { return f.control&fromMeter != 0 }
func (f frame) refusal() bool     { return f.control&failed == failed }

// di is the data identifier as the standard prints it. ok is false where the
// frame has none.
func (f frame) di() (di uint16, ok bool) {
	if len(f.data) < 3 || f.refusal() && len(f.data) < 5 {
		return 0, false
	}
	return identifier(f.data[0], f.data[1]), true
}

// ser is the frame's serial number.
func (f frame) ser() byte {
	switch _, numbered := f.di(); {
	case numbered:
		return f.data[2]
	case len(f.data) > 0:
		return f.data[0]
	}
	return 0
}

// payload is what follows identifier and serial number.
func (f frame) payload() []byte {
	switch _, numbered := f.di(); {
	case numbered:
		return f.data[3:]
	case len(f.data) > 0:
		return f.data[1:]
	}
	return nil
}

// known holds the data identifiers of CJ/T 188-2004 and -2018: those that begin
// with high and end with first to last.
var known = [...]struct{ high, first, last byte }{
	{0x90, 0x1F, 0x1F}, {0x90, 0x7F, 0x7F}, {0x91, 0x1F, 0x1F},
	{0x81, 0x02, 0x0A}, {0xA0, 0x10, 0x19}, {0xD1, 0x20, 0x2B},
	{0xD2, 0x00, 0xFF}, {0xD3, 0x00, 0xFF}, {0xD4, 0x00, 0xFF},
}

// identifier puts the two bytes of a data identifier, in the order they came
// over the wire, into the order the standard prints them in. Both orders are
// about: the standard has the low byte first, most meters the high one. Where
// neither order makes an identifier of the standard's, a byte that begins some
// of them decides.
func identifier(first, second byte) uint16 {
	swap := false
	for _, k := range known {
		switch {
		case first == k.high && k.first <= second && second <= k.last:
			return uint16(first)<<8 | uint16(second)
		case second == k.high && k.first <= first && first <= k.last:
			swap = true
		}
	}
	if swap || begins(second) && !begins(first) {
		return uint16(second)<<8 | uint16(first)
	}
	return uint16(first)<<8 | uint16(second)
}

func begins(b byte) bool {
	for _, k := range known {
		if b == k.high {
			return true
		}
	}
	return false
}

// fault is what is wrong with the bytes at a 68; sound means nothing is.
type fault uint8

const (
	sound     fault = iota
	badSum          // the end is where it should be
	badEnd          // the sum is right
	truncated       // more bytes are needed
	badBoth         // most likely no frame at all
)

// inspect looks at b, which begins with 68, as a frame of size bytes. Size is
// the least the frame can have where its length byte is missing.
func inspect(b []byte) (size int, _ fault) {
	if len(b) < head {
		return head + tail, truncated
	}
	size = head + int(b[head-1]) + tail
	if len(b) < size {
		return size, truncated
	}
	switch goodSum, goodEnd := sum(b[:size-tail]) == b[size-2], b[size-1] == end; {
	case goodSum && goodEnd:
		return size, sound
	case goodEnd:
		return size, badSum
	case goodSum:
		return size, badEnd
	}
	return size, badBoth
}

// parse takes a sound frame apart. The data is b's.
func parse(b []byte) frame {
	return frame{meter: b[1], address: address(b[2:9]), control: b[9], data: b[head : len(b)-tail]}
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// errNotARead guards the encoder.
var errNotARead = errors.New("only data and addresses are read")

// appendRequest appends a request to b. It is the one encoder of this package
// and lets two control codes through: read data and read address. swap sends
// the identifier low byte first.
func appendRequest(b []byte, meter byte, a address, c control, di uint16, swap bool, ser byte) ([]byte, error) {
	if c != readData && c != readAddress {
		return b, errNotARead
	}
	first, second := byte(di>>8), byte(di)
	if swap {
		first, second = second, first
	}
	from := len(b)
	b = append(b, start, meter, a[0], a[1], a[2], a[3], a[4], a[5], a[6], byte(c), 3, first, second, ser)
	return append(b, sum(b[from:]), end), nil
}

// hunt looks in b for the first sound frame that wanted accepts and returns
// what drivers.Exchange.Match must. What stands before it - wake-up bytes,
// echo, noise, other frames - is skipped.
func hunt(b []byte, wanted func(frame) bool) (skip, size int) {
	partial := -1 // where a frame that is not complete yet may begin
	for i := range b {
		if b[i] != start {
			continue
		}
		size, f := inspect(b[i:])
		switch {
		case f == truncated && partial < 0:
			partial = i
		case f == sound && wanted(parse(b[i:i+size])):
			return i, size
		}
	}
	if partial < 0 {
		return len(b), 0
	}
	return partial, 0
}

// dimension is what a unit is a unit of. Only units of one dimension are
// converted into each other: by a power of ten, never kWh into GJ.
type dimension uint8

const (
	number dimension = iota // no unit byte
	energy                  // Wh
	joule                   // J
	power                   // W
	volume                  // m3
	flow                    // m3/h
	temperature
	duration
)

// unit is Exp powers of ten of its dimension's own unit.
type unit struct {
	code byte // on the wire; 0: the unit has none
	name string
	of   dimension
	exp  int8
}

// units is the table of CJ/T 188-2004, appendix A, and units without a code
// that an Item may have.
var units = [...]unit{
	{0x05, "kWh", energy, 3}, {0x2C, "m3", volume, 0}, {0x35, "m3/h", flow, 0}, {0x17, "kW", power, 3},
	{0x02, "Wh", energy, 0}, {0x08, "MWh", energy, 6}, {0x0A, "MWhx100", energy, 8},
	{0x01, "J", joule, 0}, {0x0B, "kJ", joule, 3}, {0x0E, "MJ", joule, 6}, {0x11, "GJ", joule, 9}, {0x13, "GJx100", joule, 11},
	{0x14, "W", power, 0}, {0x1A, "MW", power, 6},
	{0x29, "l", volume, -3}, {0x32, "l/h", flow, -3},
	{0, "°C", temperature, 0}, {0, "h", duration, 0},
}

func unitOf(code byte) (unit, bool) {
	for _, u := range units {
		if u.code == code && code != 0 {
			return u, true
		}
	}
	return unit{}, false
}

// unitWithout is the one unit of a dimension that goes without a unit byte.
func unitWithout(d dimension) unit {
	if d == temperature {
		return unit{name: "°C", of: temperature}
	}
	return unit{name: "h", of: duration}
}

func unitNamed(name string) (unit, bool) {
	for _, u := range units {
		if u.name == name {
			return u, true
		}
	}
	return unit{}, false
}

// slot is one value of a reply. size is in bytes, its unit byte included where
// the dimension has one.
type slot struct {
	quantity string
	size     int
	decimals int8
	of       dimension
}

// marked reports whether a unit byte stands with the value.
func (s slot) marked() bool { return energy <= s.of && s.of <= flow }

// Replies to 901F, CJ/T 188-2004 section 6, and to D120 to D12B. The number of
// a slot is the Part of an Item.
var (
	flowMeter = []slot{ // L = 16H
		{"volume", 5, 2, volume},
		{"volume_settlement", 5, 2, volume},
		{"clock", 7, 0, number},
		{"status", 2, 0, number},
	}
	heatMeter = []slot{ // L = 2EH
		{"heat_energy_settlement", 5, 2, energy},
		{"heat_energy", 5, 2, energy},
		{"heat_power", 5, 2, power},
		{"flow", 5, 4, flow},
		{"volume", 5, 2, volume},
		{"temperature_supply", 3, 2, temperature},
		{"temperature_return", 3, 2, temperature},
		{"working_hours", 3, 0, duration},
		{"clock", 7, 0, number},
		{"status", 2, 0, number},
	}
	history     = []slot{{"volume_settlement", 5, 2, volume}}
	heatHistory = []slot{{"heat_energy_settlement", 5, 2, energy}}
)

const monthFirst, monthLast, current = 0xD120, 0xD12B, 0x901F

// record is the payload of a reply and how it is laid out.
type record struct {
	slots   []slot
	payload []byte
	// unitFirst: the unit bytes stand before their values, as one vendor
	// (JY heat meters) has it.
	unitFirst bool
}

// newRecord finds the layout of a reply to di by its length. ok is false where
// the standard has none of that length.
func newRecord(meter byte, di uint16, payload []byte) (r record, ok bool) {
	r.payload = payload
	switch months := monthFirst <= di && di <= monthLast; {
	case di == current && len(payload) == size(flowMeter):
		r.slots = flowMeter
	case di == current && len(payload) == size(heatMeter):
		r.slots = heatMeter
	case months && len(payload) == 5 && meter>>4 == 2:
		r.slots = heatHistory
	case months && len(payload) == 5:
		r.slots = history
	default:
		return r, false
	}
	r.unitFirst = r.fits(true) > r.fits(false)
	return r, true
}

func size(slots []slot) (n int) {
	for _, s := range slots {
		n += s.size
	}
	return n
}

// fits counts the values that make sense with their unit byte first or last:
// a unit of the slot's dimension and decimal digits.
func (r record) fits(unitFirst bool) (n int) {
	r.unitFirst = unitFirst
	at := 0
	for i, s := range r.slots {
		if s.marked() {
			digits, code := r.cut(i, at)
			u, ok := unitOf(code)
			_, decimal := bcd(digits)
			if ok && decimal && (u.of == s.of || u.of == joule && s.of == energy) {
				n++
			}
		}
		at += s.size
	}
	return n
}

// cut separates slot i, which begins at, into digits and unit byte.
func (r record) cut(i, at int) (digits []byte, code byte) {
	b := r.payload[at : at+r.slots[i].size]
	switch n := len(b) - 1; {
	case !r.slots[i].marked():
		return b, 0
	case r.unitFirst:
		return b[1:], b[0]
	default:
		return b[:n], b[n]
	}
}

// part is slot i as it came.
func (r record) part(i int) (digits []byte, code byte) {
	return r.cut(i, size(r.slots[:i]))
}

// value is slot i: an exact number of a unit. signed says that the top bit is a
// sign. ok is false where the meter has no value: its digits are not decimal,
// its unit is not in the table, or the slot holds no number.
func (r record) value(i int, signed bool) (v drivers.Decimal, u unit, ok bool) {
	s := r.slots[i]
	digits, code := r.part(i)
	switch s.of {
	case number:
		return v, u, false
	case temperature, duration:
		u, ok = unitWithout(s.of), true
	default:
		u, ok = unitOf(code)
	}
	if !ok {
		return v, u, false
	}
	v.Exp = -s.decimals
	if last := digits[len(digits)-1]; signed && last&0x80 != 0 {
		var plain [4]byte
		n := copy(plain[:], digits)
		plain[n-1] &^= 0x80
		v.Coef, ok = bcd(plain[:n])
		v.Coef = -v.Coef
	} else {
		v.Coef, ok = bcd(digits)
	}
	return v, u, ok
}

// bcd is the number in b, low byte first; false where a digit is none.
func bcd(b []byte) (v int64, ok bool) {
	for i := len(b) - 1; i >= 0; i-- {
		hi, lo := b[i]>>4, b[i]&0xF
		if hi > 9 || lo > 9 {
			return 0, false
		}
		v = 100*v + int64(10*hi+lo)
	}
	return v, true
}

// clock is the time in ss mm hh DD MM YY CC as RFC 3339 without zone, or ""
// where it is none. Some meters send all seven bytes the other way round, some
// only the year; an order counts if it makes a time of this century.
func clock(b []byte) string {
	for _, order := range [...][7]int{{0, 1, 2, 3, 4, 5, 6}, {6, 5, 4, 3, 2, 1, 0}, {0, 1, 2, 3, 4, 6, 5}} {
		var d [7]int
		sound := true
		for i, at := range order {
			v, ok := bcd(b[at : at+1])
			d[i], sound = int(v), sound && ok
		}
		year := 100*d[6] + d[5]
		if !sound || d[6] != 20 || d[0] > 59 || d[1] > 59 || d[2] > 23 || d[4] < 1 || d[4] > 12 || d[3] < 1 || d[3] > days(year, d[4]) {
			continue
		}
		return fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d", year, d[4], d[3], d[2], d[1], d[0])
	}
	return ""
}

func days(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// meterType is the type byte in words: 10 to 19 count water, 20 to 29 heat, 30
// to 39 gas (CJ/T 188-2004 table 2).
func meterType(t byte) string {
	switch t {
	case 0x10:
		return "cold water meter"
	case 0x11:
		return "hot water meter"
	case 0x12:
		return "drinking water meter"
	case 0x13:
		return "reclaimed water meter"
	case 0x20:
		return "heat meter"
	case 0x21:
		return "cooling meter"
	case 0x30:
		return "gas meter"
	case 0x40:
		return "electricity meter"
	case anyMeter:
		return "meter of any type"
	}
	kind := "meter"
	switch t >> 4 {
	case 1:
		kind = "water meter"
	case 2:
		kind = "heat meter"
	case 3:
		kind = "gas meter"
	}
	return fmt.Sprintf("%s of type %02X", kind, t)
}
