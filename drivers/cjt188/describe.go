package cjt188

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// Describe says what the first sound frame in b says. Where there is none, its
// Reason is what is wrong with the best of what looks like one. Values keep
// the unit the frame gives them; a value the meter does not have is left out.
func Describe(b []byte) drivers.Description {
	d := drivers.Description{Protocol: "cjt188"}
	at, best := -1, badBoth
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
		describe(&d, parse(b[:size]))
		if d.Behind = len(b) - size; d.Behind > 0 {
			d.Text += fmt.Sprintf("; %d bytes follow", d.Behind)
		}
		return d
	}
	d.Text = d.Reason
	return d
}

func describe(d *drivers.Description, f frame) {
	d.Direction = "request"
	if f.reply() {
		d.Direction = "response"
	}
	d.Address = f.address.String()
	d.Control = fmt.Sprintf("%02X", f.control)
	d.Write = f.function().writes()
	di, identified := f.di()
	subject := f.function().String()
	if identified {
		d.DataID = fmt.Sprintf("%04X", di)
		subject += " " + d.DataID
	}
	meter := meterType(f.meter) + " " + d.Address
	payload := f.payload()
	var words []string
	switch {
	case !f.reply():
		d.Text = meter + ", " + subject
		if len(payload) > 0 {
			words = append(words, data(di, payload))
		}
	case f.refusal():
		d.Text = meter + " refuses: " + subject
		d.Error = &drivers.Refusal{Code: fmt.Sprintf("% X", payload), Text: refusal(payload)}
		words = append(words, d.Error.Text)
	default:
		d.Text = meter + " replies: " + subject
		d.Values = values(f, di)
		for _, v := range d.Values {
			words = append(words, strings.TrimSpace(v.Quantity+" "+v.Value+" "+v.Unit))
		}
		if len(words) == 0 && len(payload) > 0 {
			words = append(words, data(di, payload))
		}
	}
	if len(words) > 0 {
		d.Text += ": " + strings.Join(words, ", ")
	}
}

// values are those of a reply. A number whose unit is not in the table has
// none.
func values(f frame, di uint16) (list []drivers.DescribedValue) {
	if f.function() == readAddress {
		return []drivers.DescribedValue{{Quantity: "address", Value: f.address.String()}}
	}
	if di == valve && len(f.payload()) == 2 {
		return []drivers.DescribedValue{{Quantity: "status", Value: fmt.Sprintf("% X", f.payload())}}
	}
	if f.function() != readData {
		return nil
	}
	r, ok := newRecord(f.meter, di, f.payload())
	if !ok {
		return nil
	}
	for i, s := range r.slots {
		digits, _ := r.part(i)
		v := drivers.DescribedValue{Quantity: s.quantity}
		switch s.quantity {
		case "clock":
			v.Value = clock(digits)
		case "status":
			v.Value = fmt.Sprintf("% X", digits)
		default:
			n, u, ok := r.value(i, false)
			if coef, decimal := bcd(digits); !ok && decimal {
				n, ok = drivers.Decimal{Coef: coef, Exp: -s.decimals}, true
			}
			if ok {
				v.Value, v.Unit = n.String(), u.name
				if s.of == volume && (u.of == energy || u.of == joule) { // not a meter of water or gas
					v.Quantity = strings.Replace(v.Quantity, "volume", energyOf(f.meter), 1)
				}
			}
		}
		if v.Value != "" {
			list = append(list, v)
		}
	}
	return list
}

// energyOf is what a meter that counts energy counts.
func energyOf(meter byte) string {
	if meter == 0x40 {
		return "energy_import"
	}
	return "heat_energy"
}

const valve = 0xA017

// data is a payload without values of ours.
func data(di uint16, payload []byte) string {
	if di == valve && len(payload) == 1 {
		switch payload[0] {
		case 0x55:
			return "open the valve"
		case 0x99:
			return "close the valve"
		}
	}
	return fmt.Sprintf("data % X", payload)
}

// refusal is the status of an error reply in words. Vendors disagree about its
// bits (CJ/T 188-2004 section 6 against code in the field), so it stays raw.
func refusal(status []byte) string {
	if len(status) == 0 {
		return "error without a status"
	}
	return fmt.Sprintf("status % X", status)
}
