package iec62056

import (
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const shown = 8 // values in Description.Text

// Describe says what the first sound message in b says; an identification and
// the data right behind it are one message. b may have even parity bits, as
// seven-bit characters have on a line that takes eight: they are checked and
// taken off, and the byte in a reason counts from 0 at the start of b.
//
// A value's quantity is the house's name for its OBIS code, or the code
// without the media 1-n: and 0-0: and the ending *255. Numbers are exact,
// without leading zeros; a number with a unit that is none is left out. Times
// are RFC 3339 without zone where the meter writes them in digits.
func Describe(b []byte) drivers.Description {
	d := drivers.Description{Protocol: "iec62056-21"}
	text := plain(make([]byte, 0, len(b)), b)
	at, best, reason := len(text), noMessage, "no message: none of / SOH STX ACK begins one"
	var m message
	var size int
	for i := range text {
		m0, n, f, why := inspect(text[i:])
		if i > 0 && n == 1 {
			continue // a lone ACK or NAK behind noise is noise
		}
		if f < best {
			at, best, m, size = i, f, m0, n
			if f != sound {
				reason = why
			}
		}
		if best == sound {
			break
		}
	}
	for _, c := range text[:at] {
		if c == 0 || c == 0x7F {
			d.Wakeup++
		} else {
			d.Skipped++
		}
	}
	raw := b[at:]
	if best == sound || best == badCheck {
		raw = b[at : at+size]
	}
	if bad := parityError(raw); bad >= 0 && best != noMessage {
		best, reason = badCheck, fmt.Sprintf("parity error at byte %d", at+bad)
	}
	if best != sound {
		d.Reason, d.Text = reason, reason
		return d
	}
	d.Valid = true
	describe(&d, m)
	if d.Behind = len(b) - at - size; d.Behind > 0 {
		d.Text += fmt.Sprintf("; %d bytes follow", d.Behind)
	}
	return d
}

func describe(d *drivers.Description, m message) {
	d.Direction = "response"
	d.MoreFollows = m.more
	switch m.kind {
	case request:
		d.Direction = "request"
		d.Address = strings.ToLower(m.address)
		d.Text = "asks any meter to identify itself"
		if d.Address != "" {
			d.Text = "asks meter " + d.Address + " to identify itself"
		}
	case option:
		d.Direction = "request"
		d.Text = "selects " + mode(m.option[2])
		if id := (identification{speed: m.option[1]}); id.baud() > 0 {
			d.Text += fmt.Sprintf(" at %d baud", id.baud())
		}
	case identified:
		d.Text = "identifies itself: " + m.id.String()
	case accepted:
		d.Text = "acknowledges"
	case repeat:
		d.Error = &drivers.Refusal{Code: "NAK", Text: "asks for the message again"}
		d.Text = d.Error.Text
	case command:
		describeCommand(d, m)
	case data:
		describeData(d, m)
	}
}

func describeCommand(d *drivers.Description, m message) {
	if m.command != "P0" { // the one command that comes from the meter
		d.Direction = "request"
	}
	d.Control = m.command
	sets, _ := parseSets(m.text)
	switch m.command[0] {
	case 'P':
		d.Text = "password" // which is nobody's business
		if m.command == "P0" {
			d.Text = "asks for the password"
		}
		return
	case 'R':
		d.Text = "reads"
	case 'W':
		d.Text, d.Write = "writes", true
	case 'E':
		d.Text, d.Write = "executes", true
	case 'B':
		d.Text = "ends the session"
	}
	if len(sets) > 0 {
		d.DataID = sets[0].id
		d.Text += " " + d.DataID
	}
}

func describeData(d *drivers.Description, m message) {
	sets, _ := parseSets(m.text)
	d.Text = "data"
	if m.id.manufacturer != "" {
		d.Text = "data of " + m.id.String()
	}
	if len(sets) > 0 && sets[0].id == "" && strings.HasPrefix(sets[0].value, "ER") {
		d.Error = &drivers.Refusal{Code: sets[0].value, Text: "the meter's error " + sets[0].value}
		d.Text += ": " + d.Error.Text
		return
	}
	for _, s := range sets {
		if v, ok := s.described(); ok {
			d.Values = append(d.Values, v)
		}
	}
	var words []string
	for _, v := range d.Values[:min(len(d.Values), shown)] {
		words = append(words, strings.TrimSpace(v.Quantity+" "+v.Value+" "+v.Unit))
	}
	if more := len(d.Values) - len(words); more > 0 {
		words = append(words, fmt.Sprintf("%d more", more))
	}
	if len(words) > 0 {
		d.Text += ": " + strings.Join(words, ", ")
	}
	if !m.checked {
		d.Text += "; without a block check"
	}
}

func (s set) described() (v drivers.DescribedValue, ok bool) {
	name, text := quantity(canonical(s.id))
	v = drivers.DescribedValue{Quantity: name, Value: s.value, Unit: s.unit}
	if name == "" {
		v.Quantity = canonical(s.id)
	}
	if !text && (s.part == 0 && name != "" || s.unit != "") {
		n, ok := number(s.value)
		v.Value = n.String()
		return v, ok
	}
	v.Value = moment(name, canonical(s.id), s.value, s.part)
	return v, v.Value != ""
}

// moment is a time of a meter's, written as RFC 3339 without zone: its clock,
// the ends of its billing periods, when a maximum was. A digit before it tells
// summer from winter. Anything else is returned as it is.
func moment(name, code, s string, part int) string {
	code, _, _ = strings.Cut(code, "*") // of a billing period
	layouts := []string{"060102150405", "0601021504"}
	switch {
	case name == "time":
		layouts = []string{"150405", "15:04:05"}
	case name == "date":
		layouts = []string{"060102", "06-01-02"}
	case code != "0.9.4" && code != "0.1.2" && !(part == 1 && strings.Contains(code, ".6.")):
		return s
	}
	for _, layout := range layouts {
		digits := s
		if len(s) == len(layout)+1 && s[0] >= '0' && s[0] <= '3' {
			digits = s[1:]
		}
		t, err := time.Parse(layout, digits)
		switch {
		case err != nil:
		case name == "time":
			return t.Format(time.TimeOnly)
		case name == "date":
			return t.Format(time.DateOnly)
		default:
			return t.Format("2006-01-02T15:04:05")
		}
	}
	return s
}

// quantity is the house's name for an OBIS code, "" for one it has none for;
// text says the value is no number.
func quantity(code string) (name string, text bool) {
	switch code {
	case "0.0.0", "C.1.0":
		return "meter_number", true
	case "F.F":
		return "error", true
	case "0.9.1":
		return "time", true
	case "0.9.2":
		return "date", true
	case "1.8.0":
		return "energy_import", false
	case "1.8.1":
		return "energy_import_t1", false
	case "1.8.2":
		return "energy_import_t2", false
	case "2.8.0":
		return "energy_export", false
	case "3.8.0":
		return "reactive_import", false
	case "4.8.0":
		return "reactive_export", false
	case "16.7.0", "1.7.0":
		return "power", false
	case "32.7.0":
		return "voltage_l1", false
	case "52.7.0":
		return "voltage_l2", false
	case "72.7.0":
		return "voltage_l3", false
	case "31.7.0":
		return "current_l1", false
	case "51.7.0":
		return "current_l2", false
	case "71.7.0":
		return "current_l3", false
	case "14.7.0":
		return "frequency", false
	case "13.7.0":
		return "power_factor", false
	}
	return "", false
}

func mode(y byte) string {
	switch y {
	case '0':
		return "readout"
	case '1':
		return "programming mode"
	case '2':
		return "binary mode"
	}
	return "vendor's mode " + string(rune(y))
}

func (id identification) String() string {
	s := strings.TrimSpace(id.manufacturer+" "+id.model) + ", mode " + string(rune(id.mode()))
	if baud := id.baud(); baud > 0 {
		s += fmt.Sprintf(", %d baud", baud)
	}
	return s
}
