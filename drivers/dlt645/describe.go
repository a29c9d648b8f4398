package dlt645

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// Describe says what the first sound frame in b says. Where there is none, its
// Reason is what is wrong with the best of what looks like one. Values keep
// the unit the frame gives them; one the meter does not have (FF, a phase that
// is not connected) is there with an empty Value.
func Describe(v Version, b []byte) drivers.Description {
	d := drivers.Description{Protocol: v.String()}
	at, best := -1, noSecond
	for i := range b {
		if b[i] != start {
			continue
		}
		if _, f := inspect(b[i:]); at < 0 || f < best {
			at, best = i, f
		}
		if best == sound {
			break
		}
	}
	before := b[:max(at, 0)]
	if at < 0 {
		before = b
	}
	d.Wakeup = bytes.Count(before, []byte{wakeup})
	d.Skipped = len(before) - d.Wakeup
	if at < 0 {
		d.Reason = "no frame: no 68 found"
		d.Text = d.Reason
		return d
	}
	b = b[at:]
	size, f := inspect(b)
	switch f {
	case noSecond:
		d.Reason = fmt.Sprintf("no frame: no second 68, found %02X in its place", b[7])
	case truncated:
		least := ""
		if len(b) < head {
			least = "at least "
		}
		d.Reason = fmt.Sprintf("truncated: %d bytes, expected %s%d", len(b), least, size)
	case badSum, badBoth:
		d.Reason = fmt.Sprintf("checksum %02X, computed %02X", b[size-2], sum(b[:size-tail]))
	case badEnd:
		d.Reason = fmt.Sprintf("end byte %02X, expected %02X", b[size-1], end)
	default:
		d.Valid = true
		v.describe(&d, parse(b[:size]))
		if d.Behind = len(b) - size; d.Behind > 0 {
			d.Text += fmt.Sprintf("; %d bytes follow", d.Behind)
		}
		return d
	}
	d.Text = d.Reason
	return d
}

func (v Version) describe(d *drivers.Description, f frame) {
	d.Direction = "request"
	if f.reply() {
		d.Direction = "response"
	}
	d.Address = f.address.String()
	d.Control = fmt.Sprintf("%02X", f.control)
	d.MoreFollows = f.more()
	var subject string
	subject, d.Write = v.words(f.function())
	content := f.data
	id, identified := f.id(v)
	if identified {
		d.DataID = fmt.Sprintf("%0*X", 2*v.idBytes(), id)
		subject += " " + d.DataID
		content = f.data[v.idBytes():]
	}
	meter := "meter " + d.Address
	switch f.address {
	case wildcard:
		meter = "any meter"
	case everybody:
		meter = "all meters"
	}
	var words []string
	switch {
	case !f.reply():
		d.Text = meter + ", " + subject
		if f.function() == relay2007 && v == V2007 && len(content) > 8 {
			words = append(words, relayCommand(content[8]-offset))
		}
		words = append(words, put(d, v.commanded(f, id, content))...)
	case f.refusal():
		d.Error = &drivers.Refusal{Code: "00", Text: refusal(0)}
		if len(f.data) > 0 {
			code := f.data[0] - offset
			d.Error = &drivers.Refusal{Code: fmt.Sprintf("%02X", code), Text: refusal(code)}
		}
		d.Text = meter + " refuses: " + subject
		words = append(words, d.Error.Text)
	default:
		d.Text = meter + " replies: " + subject
		words = append(words, put(d, v.values(f, id, identified, content))...)
	}
	if f.more() {
		words = append(words, "more follows")
	}
	if len(words) > 0 {
		d.Text += ": " + strings.Join(words, ", ")
	}
}

// found is what the data of a frame say, and what of them has no place in the
// values: a password, a vendor's own bytes, a sequence number, data of an
// identifier not known here.
type found struct {
	values []drivers.DescribedValue
	rest   []byte
}

// put takes what was found into d and returns it in words.
func put(d *drivers.Description, f found) (words []string) {
	d.Values = f.values
	for _, value := range d.Values {
		said := "no value"
		if value.Value != "" {
			said = strings.TrimSpace(value.Value + " " + value.Unit)
		}
		words = append(words, value.Quantity+" "+said)
	}
	if len(f.rest) > 0 {
		words = append(words, raw(f.rest))
	}
	return words
}

// take reads the parts there are bytes for. The bytes of one that is cut off,
// in a reply of several frames, are left.
func take(parts []part, b []byte) (f found) {
	f.rest = b
	for _, p := range parts {
		n := p.layout.bytes()
		if len(f.rest) < n {
			break
		}
		text := p.layout.text(f.rest[:n])
		f.values = append(f.values, drivers.DescribedValue{Quantity: p.quantity, Value: text, Unit: p.unit})
		if p.layout == "YYMMDDWW" && text != "" {
			f.values = append(f.values, drivers.DescribedValue{Quantity: "weekday", Value: layout("N2").text(f.rest[:n])})
		}
		f.rest = f.rest[n:]
	}
	return f
}

var addressPart = []part{{"address", "", "N12"}}

// values are those of a reply.
func (v Version) values(f frame, id uint32, identified bool, content []byte) found {
	switch {
	case v == V2007 && f.function() == readAddress2007:
		return take(addressPart, content)
	case !identified || f.function() != readData2007 && f.function() != readData1997:
		return found{rest: content}
	}
	parts, _ := v.content(id)
	return take(parts, content)
}

// commanded are the values of a request: those it would set.
func (v Version) commanded(f frame, id uint32, content []byte) found {
	secret := 8 // 2007: password, its level, operator's code
	if v == V1997 {
		secret = 4
	}
	switch c := f.function(); {
	case c == setTime && len(content) == 6:
		return take([]part{{"clock", "", moment6}}, content)
	case c == writeAddress2007 && v == V2007, c == writeAddress1997 && v == V1997:
		return take(addressPart, content)
	case c == write2007 && v == V2007 && len(content) > secret, c == write1997 && v == V1997 && len(content) > secret:
		parts, _ := v.content(id)
		return take(parts, content[secret:])
	}
	return found{rest: content}
}

// relayCommand is byte N1 of control code 1C, DL/T 645-2007 section 7.12 with
// the state grid's additions.
func relayCommand(n byte) string {
	switch n {
	case 0x1A:
		return "trip"
	case 0x1B:
		return "allow closing"
	case 0x1C:
		return "close"
	case 0x2A:
		return "alarm"
	case 0x2B:
		return "end of alarm"
	case 0x3A:
		return "keep supplied"
	case 0x3B:
		return "end of keeping supplied"
	}
	return fmt.Sprintf("command %02X", n)
}

// raw shows data without the 33H they were sent with.
func raw(b []byte) string {
	const most = 32
	plain := make([]byte, min(len(b), most))
	for i := range plain {
		plain[i] = b[i] - offset
	}
	if len(b) > most {
		return fmt.Sprintf("data % X ...", plain)
	}
	return fmt.Sprintf("data % X", plain)
}
