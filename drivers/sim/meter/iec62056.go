package meter

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// IEC 62056-21, section 6: characters and messages.
const (
	stx = 0x02
	etx = 0x03
	ack = 0x06
)

// iecSpeeds are the speeds behind the letters 0 to 6 (section 6.3.14, item 13).
var iecSpeeds = []int{300, 600, 1200, 2400, 4800, 9600, 19200}

// iec62056 is a meter of IEC 62056-21, mode C, or A where it proposes no speed.
type iec62056 struct {
	*device
	model Model
	speed byte // letter of the speed proposed; 0 in mode A

	signing sync.Mutex
	signed  time.Time // under signing: when it was last signed on to, until the acknowledgement
}

func newIEC62056(d *device, model Model) (*iec62056, error) {
	m := &iec62056{device: d, model: model}
	if model.Speed != 0 {
		i := slices.Index(iecSpeeds, model.Speed)
		if i < 0 {
			return nil, fmt.Errorf("speed %d: expected one of %v", model.Speed, iecSpeeds)
		}
		m.speed = '0' + byte(i)
	}
	return m, nil
}

// delay is the reaction time of a meter whose maker's third letter is a
// capital (section 6.3.14, item 12).
func (m *iec62056) Delay() time.Duration { return 200 * time.Millisecond }

// find looks for a sign-on, /?address!CR LF, and for an acknowledgement,
// 06 V Z Y CR LF.
func (m *iec62056) Find(b []byte) (skip, size int) {
	unfinished := len(b)
	for i, c := range b {
		rest := b[i:]
		switch c {
		case ack:
			if len(rest) >= 6 && rest[4] == '\r' && rest[5] == '\n' {
				return i, 6
			}
			if len(rest) < 6 {
				unfinished = min(unfinished, i)
			}
		case '/':
			end := bytes.Index(rest, []byte("!\r\n"))
			if len(rest) > 1 && rest[1] != '?' {
				continue
			}
			if end >= 2 && end <= 2+32 {
				return i, end + 3
			}
			if end < 0 && len(rest) < 2+32+3 {
				unfinished = min(unfinished, i)
			}
		}
	}
	return unfinished, 0
}

// patience is how long a meter waits for the acknowledgement; the standard
// gives the other end 1.5 s.
const patience = 3 * time.Second

func (m *iec62056) reply(dst, request []byte, ask func() Fault) (Reply, bool) {
	start := len(dst)
	m.signing.Lock()
	defer m.signing.Unlock()
	if request[0] == ack {
		waited := time.Since(m.signed)
		signedOn := !m.signed.IsZero() && waited <= patience
		m.signed = time.Time{}
		if !signedOn || request[1] != '0' || request[3] != '0' { // data readout only
			return Reply{}, false
		}
		f := ask()
		if f.Exception != 0 {
			return Reply{}, true
		}
		r := Reply{Bytes: m.data(dst, f)[start:]}
		if request[2] == m.speed {
			r.Speed = drivers.Settings{Baud: iecSpeeds[m.speed-'0'], DataBits: 7, Parity: 'E', StopBits: 1}
		}
		return r, true
	}
	m.signed = time.Time{}
	address := string(request[2 : len(request)-3])
	if address != "" && address != m.model.Address {
		return Reply{}, false
	}
	f := ask()
	if f.Exception != 0 {
		return Reply{}, true
	}
	dst = append(dst, "/SIM"...)
	if m.speed == 0 {
		dst = append(dst, "TALLY\r\n"...)
		return Reply{Bytes: m.data(dst, f)[start:]}, true
	}
	dst = append(append(dst, m.speed), "TALLY\r\n"...)
	if !f.Silent {
		m.signed = time.Now().Add(f.Late)
	}
	return Reply{Bytes: dst[start:], Next: drivers.Settings{Baud: iecSpeeds[m.speed-'0'], DataBits: 7, Parity: 'E', StopBits: 1}}, true
}

// obis is one line of the data block.
type obis struct {
	code string
	plant.Source
	exp    int8 // of the last digit, in the unit of the quantity
	digits int  // shown
	unit   string
	kilo   bool // the unit sent is a thousand of the quantity's
}

// readout is the data block of the meter, in its order.
var readout = []obis{
	{"1.8.0", plant.EnergyImport.Phase(0), -3, 11, "kWh", false},
	{"2.8.0", plant.EnergyExport.Phase(0), -3, 11, "kWh", false},
	{"3.8.0", plant.ReactiveImport.Phase(0), -3, 11, "kvarh", false},
	{"4.8.0", plant.ReactiveExport.Phase(0), -3, 11, "kvarh", false},
	{"16.7.0", plant.Power.Phase(0), 0, 6, "kW", true},
	{"36.7.0", plant.Power.Phase(1), 0, 6, "kW", true},
	{"56.7.0", plant.Power.Phase(2), 0, 6, "kW", true},
	{"76.7.0", plant.Power.Phase(3), 0, 6, "kW", true},
	{"3.7.0", plant.ReactivePower.Phase(0), 0, 6, "kvar", true},
	{"9.7.0", plant.ApparentPower.Phase(0), 0, 6, "kVA", true},
	{"32.7.0", plant.Voltage.Phase(1), -1, 4, "V", false},
	{"52.7.0", plant.Voltage.Phase(2), -1, 4, "V", false},
	{"72.7.0", plant.Voltage.Phase(3), -1, 4, "V", false},
	{"31.7.0", plant.Current.Phase(1), -2, 5, "A", false},
	{"51.7.0", plant.Current.Phase(2), -2, 5, "A", false},
	{"71.7.0", plant.Current.Phase(3), -2, 5, "A", false},
	{"13.7.0", plant.PowerFactor.Phase(0), -3, 4, "", false},
	{"14.7.0", plant.Frequency.Phase(0), -2, 4, "Hz", false},
}

// number is what the line shows of a value in millionths.
func (o *obis) number(micro int64) int64 {
	coef, end := quantise(micro, o.exp, o.Kind.Counter()), pow10(o.digits)
	if o.Kind.Counter() {
		return coef % end
	}
	return max(min(coef, end-1), 1-end)
}

// text is a value as sent, with leading zeros.
func (o *obis) text(coef int64) string {
	exp := o.exp
	if o.kilo {
		exp -= 3
	}
	point, sign := 0, ""
	if exp < 0 {
		point = 1
	}
	if coef < 0 {
		coef, sign = -coef, "-"
	}
	s := drivers.Decimal{Coef: coef, Exp: exp}.String()
	for len(s) < o.digits+point {
		s = "0" + s
	}
	s = sign + s
	if o.unit != "" {
		s += "*" + o.unit
	}
	return s
}

// data is STX, the data block, and its check: XOR of all from after STX to ETX
// (section 6.3.14, items 14 to 21).
func (m *iec62056) data(dst []byte, f Fault) []byte {
	var v plant.Values
	t := m.clock.Elapsed()
	m.state(t, &v)
	if f.Factor != 0 {
		v.Scale(f.Factor)
	}
	number, address := m.past(t).number, m.model.Address
	if number == "" {
		number = address
	}
	if f.Foreign {
		number, address = foreign(number), foreign(address)
	}
	dst = append(dst, stx)
	start := len(dst)
	line := func(code, value string) { dst = fmt.Appendf(dst, "%s(%s)\r\n", code, value) }
	line("F.F", "00000000")
	line("0.0.0", address)
	line("C.1.0", number)
	now := m.date(t)
	line("0.9.1", now.Format("150405"))
	line("0.9.2", now.Format("060102"))
	for i := range readout {
		o := &readout[i]
		line(o.code, o.text(o.number(v[o.Kind][o.Phase])))
		if o.Kind == plant.EnergyImport {
			for i, share := range tariffs[:2] {
				line(fmt.Sprintf("1.8.%d", i+1), o.text(o.number(ofTariff(v[plant.EnergyImport][0], share))))
			}
		}
	}
	dst = append(dst, "!\r\n"...)
	dst = append(dst, etx)
	check := byte(0)
	for _, c := range dst[start:] {
		check ^= c
	}
	return append(dst, check)
}

// reading is what the data block shows for a quantity.
func (m *iec62056) reading(quantity string) (drivers.Decimal, bool) {
	s, _, ok := plant.SourceNamed(quantity)
	for i := range readout {
		if o := &readout[i]; ok && o.Source == s {
			var v plant.Values
			m.state(m.clock.Elapsed(), &v)
			return drivers.Decimal{Coef: o.number(v[s.Kind][s.Phase]), Exp: o.exp}, true
		}
	}
	return drivers.Decimal{}, false
}
