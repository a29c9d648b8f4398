package dlt645

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// part is one value of the data behind an identifier.
type part struct {
	quantity string
	unit     string
	layout   layout
}

// layout is how a value is written, in the standard's notation: the digits from
// the most significant on, though the lowest byte comes first on the wire.
//
//	XXXXXX.XX     BCD digits, some of them decimals; a leading S: the top bit is a sign
//	YYMMDDhhmmss  a date, a time, or both; WW the weekday
//	N12           a number of twelve digits that is a name
//	A6            six characters, the last one first on the wire
//	H2            two bytes that are flags
type layout string

// bytes is the length of a value.
func (l layout) bytes() int {
	if n, ok := l.count("N"); ok {
		return n / 2
	}
	if n, ok := l.count("A"); ok {
		return n
	}
	if n, ok := l.count("H"); ok {
		return n
	}
	return len(strings.NewReplacer("S", "", ".", "").Replace(string(l))) / 2
}

func (l layout) count(kind string) (n int, ok bool) {
	digits, ok := strings.CutPrefix(string(l), kind)
	if !ok {
		return 0, false
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// numeric reports whether the value is a number, and its decimals.
func (l layout) numeric() (decimals int, signed, ok bool) {
	x, signed := strings.CutPrefix(string(l), "S")
	whole, frac, _ := strings.Cut(x, ".")
	digits := whole + frac
	if digits == "" || len(digits)%2 != 0 || len(digits) > 16 || strings.Trim(digits, "X") != "" {
		return 0, false, false
	}
	return len(frac), signed, true
}

// The layouts the standard uses again and again.
const (
	energy   layout = "XXXXXX.XX"
	signedE  layout = "SXXXXXX.XX"
	volts    layout = "XXX.X"
	amps     layout = "SXXX.XXX"
	kilowatt layout = "SXX.XXXX"
	factor   layout = "SX.XXX"
	hundred  layout = "XX.XX"
	counter  layout = "XXXXXX"
	moment6  layout = "YYMMDDhhmmss"
)

// content is what the standard says stands behind an identifier. Where repeat
// is set, the last part goes on as long as there are data (a block of tariffs).
func (v Version) content(id uint32) (parts []part, repeat bool) {
	if v == V1997 {
		return content1997(id)
	}
	return content2007(id)
}

var phases = [...]string{"", "_l1", "_l2", "_l3"}

// content2007 is table A of DL/T 645-2007 as far as it matters here. Bytes of
// the identifier from the most significant: group, kind, tariff or phase,
// settlement period.
func content2007(id uint32) (parts []part, repeat bool) {
	group, kind, which, past := byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
	switch group {
	case 0x00:
		return energy2007(kind, which, past)
	case 0x01: // maximum demand and when it was
		name, unit, _ := energyKind(kind)
		name = "max_demand_" + strings.TrimPrefix(name, "energy_") + tariff(which) + months(past)
		return []part{{name, strings.TrimSuffix(unit, "h"), "XX.XXXX"}, {name + "_at", "", "YYMMDDhhmm"}}, which == 0xFF
	case 0x02:
		return instant2007(kind, which, past), false
	case 0x03:
		return events2007(id), false
	case 0x04:
		return parameters2007(id), false
	case 0x05:
		return frozen2007(kind, which, past)
	case 0x1D:
		if id == 0x1D000001 {
			return []part{{"relay_tripped", "", counter}}, false
		}
	case 0x1E:
		if id == 0x1E000001 {
			return []part{{"relay_closed", "", counter}}, false
		}
	}
	return nil, false
}

// energyKind is the second byte of an energy identifier: 01 forward active and
// so on. Phases A, B and C have blocks of their own from 15, 29 and 3D on; what
// in them is not active energy is named by its number.
func energyKind(kind byte) (name, unit string, signed bool) {
	switch kind {
	case 0x00:
		return "energy", "kWh", true
	case 0x01:
		return "energy_import", "kWh", false
	case 0x02:
		return "energy_export", "kWh", false
	case 0x03:
		return "reactive_1", "kvarh", true
	case 0x04:
		return "reactive_2", "kvarh", true
	case 0x05, 0x06, 0x07, 0x08:
		return fmt.Sprintf("reactive_q%d", kind-4), "kvarh", false
	case 0x09:
		return "apparent_import", "kVAh", false
	case 0x0A:
		return "apparent_export", "kVAh", false
	case 0x15, 0x29, 0x3D:
		return "energy_import" + phases[1+(kind-0x15)/0x14], "kWh", false
	case 0x16, 0x2A, 0x3E:
		return "energy_export" + phases[1+(kind-0x16)/0x14], "kWh", false
	}
	return fmt.Sprintf("energy_%02x", kind), "kWh", false
}

func energy2007(kind, which, past byte) ([]part, bool) {
	if kind == 0x90 {
		switch {
		case which == 1 && past == 0:
			return []part{{"energy_remaining", "kWh", energy}}, false
		case which == 2 && past == 0:
			return []part{{"money_remaining", "yuan", energy}}, false
		case which == 1 && past == 1:
			return []part{{"energy_overdrawn", "kWh", energy}}, false
		case which == 2 && past == 1:
			return []part{{"money_overdrawn", "yuan", energy}}, false
		}
		return nil, false
	}
	name, unit, signed := energyKind(kind)
	l := energy
	if signed {
		l = signedE
	}
	if which != 0xFF {
		return []part{{name + tariff(which) + months(past), unit, l}}, false
	}
	parts := []part{{name + months(past), unit, l}}
	for t := byte(1); t <= 63; t++ {
		parts = append(parts, part{name + tariff(t) + months(past), unit, l})
	}
	return parts, true
}

// tariff is the suffix of tariff n; n 0 is the total.
func tariff(n byte) string {
	if n == 0 || n == 0xFF {
		return ""
	}
	return fmt.Sprintf("_t%d", n)
}

// months is the suffix of the settlement period n months ago.
func months(n byte) string {
	if n == 0 || n == 0xFF {
		return ""
	}
	return fmt.Sprintf("_month_%d", n)
}

// instant2007 are the instantaneous values.
func instant2007(kind, which, past byte) []part {
	if kind == 0x80 {
		if which != 0 {
			return nil
		}
		switch past {
		case 1:
			return []part{{"neutral_current", "A", amps}}
		case 2:
			return []part{{"frequency", "Hz", hundred}}
		case 3:
			return []part{{"power_average", "kW", kilowatt}}
		case 4:
			return []part{{"demand", "kW", kilowatt}}
		case 5:
			return []part{{"reactive_demand", "kvar", kilowatt}}
		case 6:
			return []part{{"apparent_demand", "kVA", kilowatt}}
		case 7:
			return []part{{"temperature", "°C", "SXXX.X"}}
		case 8:
			return []part{{"battery_clock", "V", hundred}}
		case 9:
			return []part{{"battery_reading", "V", hundred}}
		case 10:
			return []part{{"battery_used", "min", "XXXXXXXX"}}
		}
		return nil
	}
	var of part
	first := 1 // phase of the block's first value
	switch kind {
	case 0x01:
		of = part{"voltage", "V", volts}
	case 0x02:
		of = part{"current", "A", amps}
	case 0x03:
		of, first = part{"power", "kW", kilowatt}, 0
	case 0x04:
		of, first = part{"reactive_power", "kvar", kilowatt}, 0
	case 0x05:
		of, first = part{"apparent_power", "kVA", kilowatt}, 0
	case 0x06:
		of, first = part{"power_factor", "", factor}, 0
	case 0x07:
		of = part{"phase_angle", "deg", volts}
	case 0x08:
		of = part{"voltage_thd", "%", hundred}
	case 0x09:
		of = part{"current_thd", "%", hundred}
	default:
		return nil
	}
	if past != 0 {
		return nil
	}
	if which != 0xFF {
		if int(which) < first || which > 3 {
			return nil
		}
		of.quantity += phases[which]
		return []part{of}
	}
	var parts []part
	for i := first; i <= 3; i++ {
		parts = append(parts, part{of.quantity + phases[i], of.unit, of.layout})
	}
	return parts
}

// events2007 are counters of what happened to the meter, above all of what a
// lender asks about: opened, set, programmed, cut off.
func events2007(id uint32) []part {
	switch id {
	case 0x03010000: // count and minutes of each phase, 18 bytes
		return []part{
			{"phase_loss_l1", "", counter}, {"phase_loss_l1_minutes", "min", counter},
			{"phase_loss_l2", "", counter}, {"phase_loss_l2_minutes", "min", counter},
			{"phase_loss_l3", "", counter}, {"phase_loss_l3_minutes", "min", counter},
		}
	case 0x03110000:
		return []part{{"power_off", "", counter}}
	}
	n := byte(id) // the count is 0, the last such event 1
	if id>>8 == 0x031100 && n >= 1 && n <= 10 {
		return []part{{fmt.Sprintf("power_off_%d_at", n), "", moment6}, {fmt.Sprintf("power_off_%d_end", n), "", moment6}}
	}
	if id>>16 != 0x0330 || n > 10 {
		return nil
	}
	kind := byte(id >> 8)
	name := map[byte]string{
		0x00: "programmed", 0x01: "meter_cleared", 0x02: "demand_cleared", 0x03: "events_cleared", 0x04: "clock_set",
		0x0D: "cover_opened", 0x0E: "terminal_cover_opened",
	}[kind]
	switch {
	case name == "":
		return nil
	case n == 0:
		return []part{{name, "", counter}}
	}
	name += fmt.Sprintf("_%d", n)
	operator := part{name + "_operator", "", "N8"}
	switch kind {
	case 0x04:
		return []part{operator, {name + "_from", "", moment6}, {name + "_to", "", moment6}}
	case 0x0D, 0x0E: // and the energies before and after
		return []part{{name + "_at", "", moment6}, {name + "_end", "", moment6}}
	}
	return []part{{name + "_at", "", moment6}, operator}
}

func parameters2007(id uint32) []part {
	switch id {
	case 0x04000101:
		return []part{{"date", "", "YYMMDDWW"}}
	case 0x04000102:
		return []part{{"time", "", "hhmmss"}}
	case 0x0400010C:
		return []part{{"clock", "", "YYMMDDWWhhmmss"}}
	case 0x04000103:
		return []part{{"demand_period", "min", "XX"}}
	case 0x04000104:
		return []part{{"demand_slide", "min", "XX"}}
	case 0x04000306:
		return []part{{"current_ratio", "", counter}}
	case 0x04000307:
		return []part{{"voltage_ratio", "", counter}}
	case 0x04000401:
		return []part{{"address", "", "N12"}}
	case 0x04000402:
		return []part{{"meter_number", "", "N12"}}
	case 0x0400040E:
		return []part{{"customer_number", "", "N12"}}
	case 0x04000403:
		return []part{{"asset_code", "", "A32"}}
	case 0x04000404:
		return []part{{"rated_voltage", "", "A6"}}
	case 0x04000405:
		return []part{{"rated_current", "", "A6"}}
	case 0x04000406:
		return []part{{"maximum_current", "", "A6"}}
	case 0x04000407:
		return []part{{"active_class", "", "A4"}}
	case 0x04000408:
		return []part{{"reactive_class", "", "A4"}}
	case 0x04000409:
		return []part{{"active_constant", "imp/kWh", counter}}
	case 0x0400040A:
		return []part{{"reactive_constant", "imp/kvarh", counter}}
	case 0x0400040B:
		return []part{{"model", "", "A10"}}
	case 0x0400040C:
		return []part{{"production_date", "", "A10"}}
	case 0x0400040D:
		return []part{{"protocol_version", "", "A16"}}
	case 0x040005FF:
		var parts []part
		for n := 1; n <= 7; n++ {
			parts = append(parts, part{fmt.Sprintf("status_word_%d", n), "", "H2"})
		}
		return parts
	}
	if n := id & 0xFF; id>>8 == 0x040005 && n >= 1 && n <= 7 {
		return []part{{fmt.Sprintf("status_word_%d", n), "", "H2"}}
	}
	return nil
}

// frozen2007 are values the meter itself kept at the end of a day (06) or at a
// set time; n is how many such times ago.
func frozen2007(kind, which, n byte) ([]part, bool) {
	prefix := map[byte]string{0x00: "frozen", 0x01: "frozen_instant", 0x04: "frozen_hour", 0x06: "frozen_day"}[kind]
	if prefix == "" {
		return nil, false
	}
	ago := fmt.Sprintf("_%d", n)
	switch {
	case which == 0x00:
		return []part{{prefix + "_at" + ago, "", "YYMMDDhhmm"}}, false
	case which == 0x01 || which == 0x02:
		name := prefix + map[byte]string{1: "_import", 2: "_export"}[which]
		parts := []part{{name + ago, "kWh", energy}}
		for t := byte(1); t <= 63; t++ {
			parts = append(parts, part{name + tariff(t) + ago, "kWh", energy})
		}
		return parts, true
	}
	return nil, false
}

// content1997 is the table of DL/T 645-1997. An F as last digit is a block.
func content1997(id uint32) (parts []part, repeat bool) {
	high, which := id>>4, byte(id&0xF)
	if name, unit, ok := counted1997(id); ok {
		of := part{"", unit, energy}
		switch id >> 12 {
		case 0xA:
			of.unit, of.layout = strings.TrimSuffix(unit, "h"), "XX.XXXX"
		case 0xB:
			of.unit, of.layout = "", "MMDDhhmm"
		}
		tariffs := []byte{which}
		if which == 0xF {
			tariffs = []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14}
		}
		for _, t := range tariffs {
			of.quantity = name(t)
			parts = append(parts, of)
		}
		return parts, which == 0xF
	}
	one := func(quantity, unit string, l layout) ([]part, bool) { return []part{{quantity, unit, l}}, false }
	phased := func(quantity, unit string, l layout, first byte) ([]part, bool) {
		switch {
		case which == 0xF:
			for i := first; i <= 3; i++ {
				parts = append(parts, part{quantity + phases[i], unit, l})
			}
			return parts, false
		case which < first || which > 3:
			return nil, false
		}
		return one(quantity+phases[which], unit, l)
	}
	switch high {
	case 0xB31:
		return phased("phase_loss", "", "XXXX", 0)
	case 0xB32:
		return phased("phase_loss_minutes", "min", counter, 0)
	case 0xB61:
		return phased("voltage", "V", "XXXX", 1)
	case 0xB62:
		return phased("current", "A", hundred, 1)
	case 0xB63:
		return phased("power", "kW", "XX.XXXX", 0)
	case 0xB64:
		return phased("reactive_power", "kvar", hundred, 0)
	case 0xB65:
		return phased("power_factor", "", "X.XXX", 0)
	}
	switch id {
	case 0xB210:
		return one("programmed_at", "", "MMDDhhmm")
	case 0xB211:
		return one("demand_cleared_at", "", "MMDDhhmm")
	case 0xB212:
		return one("programmed", "", "XXXX")
	case 0xB213:
		return one("demand_cleared", "", "XXXX")
	case 0xB214:
		return one("battery_used", "min", counter)
	case 0xC010:
		return one("date", "", "YYMMDDWW")
	case 0xC011:
		return one("time", "", "hhmmss")
	case 0xC020, 0xC021, 0xC022:
		return one(fmt.Sprintf("status_word_%d", id-0xC01F), "", "H1")
	case 0xC030:
		return one("active_constant", "imp/kWh", counter)
	case 0xC031:
		return one("reactive_constant", "imp/kvarh", counter)
	case 0xC032:
		return one("meter_number", "", "N12")
	case 0xC033:
		return one("customer_number", "", "N12")
	case 0xC034:
		return one("asset_code", "", "N12")
	}
	return nil, false
}

// counted1997 are the identifiers of energy (9), maximum demand (A) and when
// that was (B): in their second digit the month before in steps of 4, and
// whether reactive; in their third the direction or the quadrant, I IV II III.
func counted1997(id uint32) (name func(tariff byte) string, unit string, ok bool) {
	group, second, third := id>>12, id>>8&0xF, id>>4&0xF
	if group < 0x9 || group > 0xB || second&2 != 0 || second > 0x9 {
		return nil, "", false
	}
	kind, unit := "energy", "kWh"
	if second&1 == 1 {
		kind, unit = "reactive", "kvarh"
	}
	switch {
	case third == 1:
		kind += "_import"
	case third == 2:
		kind += "_export"
	case third >= 3 && third <= 6 && second&1 == 1:
		kind += [...]string{"_q1", "_q4", "_q2", "_q3"}[third-3]
	default:
		return nil, "", false
	}
	after := ""
	if group != 0x9 {
		kind = "max_demand_" + strings.TrimPrefix(kind, "energy_")
	}
	if group == 0xB {
		after = "_at"
	}
	period := months(byte(second >> 2))
	return func(t byte) string { return kind + tariff(t) + period + after }, unit, true
}

// blockOf is the block that holds id, and as which part.
func (v Version) blockOf(id uint32) (block uint32, n int, ok bool) {
	block = id | 0xFF00
	if v == V1997 {
		block = id | 0xF
	}
	if block == id {
		return 0, 0, false
	}
	single, _ := v.content(id)
	parts, _ := v.content(block)
	if len(single) != 1 {
		return 0, 0, false
	}
	for i, p := range parts {
		if p == single[0] {
			return block, i, true
		}
	}
	return 0, 0, false
}

// digits is the number in b, low byte first and 33H on each, as BCD. missing
// says that the meter has no value: FF in every byte. ok is false then, and
// where a digit is none.
func digits(b []byte, signed bool) (v int64, missing, ok bool) {
	missing = len(b) > 0
	negative := false
	for i := len(b) - 1; i >= 0; i-- {
		c := b[i] - offset
		missing = missing && c == 0xFF
		if signed && i == len(b)-1 && c != 0xFF {
			negative = c&0x80 != 0
			c &^= 0x80
		}
		hi, lo := c>>4, c&0xF
		if hi > 9 || lo > 9 {
			for ; i >= 0; i-- {
				missing = missing && b[i]-offset == 0xFF
			}
			return 0, missing, false
		}
		v = 100*v + int64(10*hi+lo)
	}
	if negative {
		v = -v
	}
	return v, false, len(b) > 0
}

// moment is a date, a time or both.
type moment struct {
	year, month, day, hour, minute, second int // -1 where the layout has none
}

// clock reads b in a layout of dates and times; false where it is none.
func (l layout) clock(b []byte) (m moment, ok bool) {
	m = moment{-1, -1, -1, -1, -1, -1}
	n := l.bytes()
	if len(b) < n || strings.Trim(string(l), "YMDWhms") != "" {
		return m, false
	}
	for i := range n {
		v, _, ok := digits(b[n-1-i:n-i], false)
		if !ok {
			return m, false
		}
		switch l[2*i] {
		case 'Y':
			m.year = 2000 + int(v)
		case 'M':
			m.month = int(v)
		case 'D':
			m.day = int(v)
		case 'h':
			m.hour = int(v)
		case 'm':
			m.minute = int(v)
		case 's':
			m.second = int(v)
		}
	}
	dated := m.month < 0 || m.month >= 1 && m.month <= 12 && m.day >= 1 && m.day <= days(m.year, m.month)
	return m, dated && m.hour <= 23 && m.minute <= 59 && m.second <= 59
}

// String is RFC 3339 without zone, as much of it as there is.
func (m moment) String() string {
	var date, at string
	switch {
	case m.year >= 0:
		date = fmt.Sprintf("%04d-%02d-%02d", m.year, m.month, m.day)
	case m.month >= 0:
		date = fmt.Sprintf("--%02d-%02d", m.month, m.day)
	}
	if m.hour >= 0 {
		at = fmt.Sprintf("%02d:%02d:%02d", m.hour, m.minute, max(0, m.second))
	}
	if date != "" && at != "" {
		return date + "T" + at
	}
	return date + at
}

func days(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year < 0 || year%4 == 0 { // 2000 to 2099
			return 29
		}
		return 28
	}
	return 31
}

// text is a value in words; "" where the meter has none.
func (l layout) text(b []byte) string {
	if len(b) < l.bytes() {
		return ""
	}
	b = b[:l.bytes()]
	if decimals, signed, ok := l.numeric(); ok {
		v, _, ok := digits(b, signed)
		if !ok {
			return ""
		}
		return drivers.Decimal{Coef: v, Exp: -int8(decimals)}.String()
	}
	if _, ok := l.count("N"); ok {
		if _, _, ok := digits(b, false); !ok {
			return ""
		}
		return reversed(b, "%02d", func(c byte) any { return 10*(c>>4) + c&0xF })
	}
	if _, ok := l.count("H"); ok {
		return reversed(b, "%02X", func(c byte) any { return c })
	}
	if _, ok := l.count("A"); ok {
		s := reversed(b, "%c", func(c byte) any {
			if c < ' ' || c > '~' {
				return ' '
			}
			return rune(c)
		})
		return strings.TrimSpace(s)
	}
	if m, ok := l.clock(b); ok {
		return m.String()
	}
	return ""
}

func reversed(b []byte, form string, of func(byte) any) string {
	var s strings.Builder
	for i := len(b) - 1; i >= 0; i-- {
		fmt.Fprintf(&s, form, of(b[i]-offset))
	}
	return s.String()
}
