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
		if more := len(b) - size; more > 0 {
			d.Text += fmt.Sprintf("; %d bytes follow", more)
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
	if f.address == wildcard {
		meter = "any meter"
	}
	var words []string
	switch {
	case !f.reply():
		d.Text = meter + ", " + subject
		if len(content) > 0 {
			words = append(words, raw(content))
		}
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
		var rest []byte
		d.Values, rest = v.values(f, id, identified, content)
		for _, value := range d.Values {
			said := "no value"
			if value.Value != "" {
				said = strings.TrimSpace(value.Value + " " + value.Unit)
			}
			words = append(words, value.Quantity+" "+said)
		}
		if len(rest) > 0 {
			words = append(words, raw(rest))
		}
	}
	if f.more() {
		words = append(words, "more follows")
	}
	if len(words) > 0 {
		d.Text += ": " + strings.Join(words, ", ")
	}
}

// values are those of a reply, and what of its content has no place in them: a
// vendor's own bytes, a sequence number, data of an identifier not known here.
func (v Version) values(f frame, id uint32, identified bool, content []byte) (list []drivers.DescribedValue, rest []byte) {
	add := func(p part, b []byte) {
		text := p.layout.text(b)
		list = append(list, drivers.DescribedValue{Quantity: p.quantity, Value: text, Unit: p.unit})
		if p.layout == "YYMMDDWW" && text != "" {
			list = append(list, drivers.DescribedValue{Quantity: "weekday", Value: layout("N2").text(b)})
		}
	}
	switch {
	case v == V2007 && f.function() == readAddress2007:
		if len(content) < 6 {
			return nil, content
		}
		add(part{"address", "", "N12"}, content)
		return list, content[6:]
	case !identified || f.function() != readData2007 && f.function() != readData1997:
		return nil, content
	}
	parts, _ := v.content(id)
	if f.more() || len(parts) == 0 {
		return nil, content
	}
	for _, p := range parts {
		n := p.layout.bytes()
		if len(content) < n {
			break
		}
		add(p, content[:n])
		content = content[n:]
	}
	return list, content
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
