package meter

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// Models are the built-in kinds of meters that name their data.
var models = []string{
	"dlt645-2007-1ph", "dlt645-2007-3ph", "dlt645-1997",
	"cjt188-water", "cjt188-heat", "cjt188-gas",
	"iec62056-generic",
}

// IsModel reports whether name is a built-in kind of a meter that names its
// data; profiles of the same name describe them.
func IsModel(name string) bool { return slices.Contains(models, name) }

// Model says what kind of Named meter it is, and its habits on the line.
type Model struct {
	Name string // dlt645-2007-1ph, -3ph, dlt645-1997, cjt188-water, -heat, -gas or iec62056-generic
	// Address as printed: 12 digits (DL/T 645), 14 (CJ/T 188), 1 to 32
	// characters (IEC 62056-21).
	Address string
	Wakeup  int // FE bytes before a reply, 0 to 4 (DL/T 645, CJ/T 188)
	// Order of the two bytes of a CJ/T 188 data identifier that the meter
	// understands; it answers in the order of the question.
	Order Order
	// PlainSER answers 00 for the serial number of a CJ/T 188 request instead of
	// the number asked with.
	PlainSER bool
	// Speed is what an IEC 62056-21 meter proposes to change to; 0 keeps the
	// speed it began with and sends its data unasked (mode A).
	Speed int
}

// Order of the bytes of a CJ/T 188 data identifier.
type Order uint8

const (
	HighFirst Order = iota // 90 1F
	LowFirst               // 1F 90, as the standard says
	AnyOrder
)

// Named is a simulated meter that names its data: DL/T 645, CJ/T 188 or IEC
// 62056-21. It is safe for concurrent use.
type Named struct {
	device
	model Model
	dialect
}

// Reply is what a meter puts on a serial line; empty is silence.
type Reply struct {
	Bytes []byte
	Late  time.Duration    // by which it comes later than usual
	Speed drivers.Settings // its settings, where they differ from the request's
	// The next request may come with these settings, too.
	Next drivers.Settings
}

// dialect is the protocol of a Named meter.
type dialect interface {
	// Find and Delay are as those of Units.
	Find(b []byte) (skip, size int)
	Delay() time.Duration
	// reply appends the answer to a request that Find found to dst, as f wants
	// it. It returns false where the request is not for this meter.
	reply(dst, request []byte, ask func() Fault) (Reply, bool)
	reading(quantity string) (drivers.Decimal, bool)
}

// NewNamed makes a meter that names its data. Of c, Registers, Ranges,
// MaxRegisters and Refresh do not matter.
func NewNamed(c Config, model Model) (*Named, error) {
	m := &Named{model: model}
	if err := m.init(c); err != nil {
		return nil, err
	}
	err := m.speak()
	if err == nil && (model.Wakeup < 0 || model.Wakeup > 4) {
		err = fmt.Errorf("%d wake-up bytes: expected 0 to 4", model.Wakeup)
	}
	for _, a := range c.Acts {
		if a.Deed == Exchange && err == nil {
			if err = m.checkNumber(a.Number); err != nil {
				err = fmt.Errorf("exchange: number %w", err)
			}
		}
	}
	if err != nil {
		return nil, fmt.Errorf("meter %s: %w", c.Name, err)
	}
	return m, nil
}

func (m *Named) speak() error {
	protocol, variant, _ := strings.Cut(m.model.Name, "-")
	if !IsModel(m.model.Name) {
		return fmt.Errorf("model %q: expected %s", m.model.Name, strings.Join(models, ", "))
	}
	if err := m.checkNumber(m.model.Address); err != nil {
		return fmt.Errorf("address %w", err)
	}
	switch protocol {
	case "dlt645":
		if variant == "2007-1ph" {
			m.in.SinglePhase()
		}
		m.dialect = newDLT645(&m.device, m.model)
	case "cjt188":
		m.dialect = newCJT188(&m.device, m.model)
	case "iec62056":
		d, err := newIEC62056(&m.device, m.model)
		if err != nil {
			return err
		}
		m.dialect = d
	}
	return nil
}

// checkNumber says whether a number or an address fits the protocol.
func (m *Named) checkNumber(s string) error {
	digits := 12
	switch {
	case strings.HasPrefix(m.model.Name, "iec62056"):
		if len(s) < 1 || len(s) > 32 || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("!/()", r) }) {
			return fmt.Errorf("%q: expected 1 to 32 letters and digits", s)
		}
		return nil
	case strings.HasPrefix(m.model.Name, "cjt188"):
		digits = 14
	}
	if len(s) != digits || strings.Trim(s, "0123456789") != "" {
		return fmt.Errorf("%q: expected %d digits", s, digits)
	}
	return nil
}

// Replace puts a new meter with that number in the place of this one, now: Do
// with Exchange would keep the number.
func (m *Named) Replace(number string) error {
	if err := m.checkNumber(number); err != nil {
		return fmt.Errorf("meter %s: number %w", m.name, err)
	}
	m.plan(Act{At: m.clock.Elapsed(), Deed: Exchange, Number: number})
	return nil
}

// Model is the kind of meter.
func (m *Named) Model() Model { return m.model }

// Address is what the meter answers to, as printed.
func (m *Named) Address() string { return m.model.Address }

// Reading returns the number an ideal reader takes for a quantity right now, at
// the resolution the meter sends it with, in the unit quantities have in
// profiles: power in W, though DL/T 645 sends kW. It does not count as a poll.
func (m *Named) Reading(quantity string) (drivers.Decimal, bool) { return m.reading(quantity) }

// Answer is what the meter says to a request that Find found, built in buf's
// storage.
func (m *Named) Answer(buf, request []byte) Reply {
	var f Fault
	n := 0
	r, mine := m.reply(buf, request, func() Fault {
		n, f = m.ask()
		return f
	})
	if !mine {
		return Reply{}
	}
	// Only after the answer: the first poll must find the held state.
	m.clock.Polled()
	if f.Silent {
		r = Reply{}
	}
	r.Bytes = f.spoil(r.Bytes, n)
	if len(f.Noise) > 0 {
		r.Bytes = append(slices.Clone(f.Noise), r.Bytes...)
	}
	r.Late = f.Late
	return r
}

// foreign is the number after s, for a meter that answers in another's name.
func foreign(s string) string {
	b := []byte(s)
	if last := &b[len(b)-1]; *last == '9' || *last == 'Z' {
		*last = '0'
	} else {
		*last++
	}
	return string(b)
}

// shape is how a value stands in a frame: BCD, the lowest byte first.
type shape struct {
	bytes  int
	exp    int8 // of the last digit, in the unit of the quantity
	signed bool // the highest bit is the sign
}

// number is what the shape shows of a value in millionths: a counter rolls over,
// a gauge stops at its ends, and without a sign only the amount is shown.
func (s shape) number(micro int64, counter bool) int64 {
	coef := quantise(micro, s.exp, counter)
	end := pow10(2 * s.bytes)
	if s.signed {
		end = end / 10 * 8
	}
	switch {
	case counter:
		return coef % end
	case coef < 0 && !s.signed:
		coef = -coef
	}
	return max(min(coef, end-1), 1-end)
}

func (s shape) append(dst []byte, coef int64) []byte {
	start := len(dst)
	dst = appendBCD(dst, uint64(max(coef, -coef)), s.bytes)
	if coef < 0 {
		dst[start+s.bytes-1] |= 0x80
	}
	return dst
}

// appendBCD writes the lowest 2n digits of v, the lowest byte first.
func appendBCD(dst []byte, v uint64, n int) []byte {
	for range n {
		dst = append(dst, byte(v/10%10<<4|v%10))
		v /= 100
	}
	return dst
}

// appendDigits writes a number as printed as BCD, the lowest byte first.
func appendDigits(dst []byte, digits string) []byte {
	for i := len(digits); i >= 2; i -= 2 {
		dst = append(dst, (digits[i-2]-'0')<<4|(digits[i-1]-'0'))
	}
	return dst
}

// appendDate writes the parts of a date or time that the letters of layout
// name, one BCD byte each: s, m, h, W (weekday, Sunday is 0), D, M, Y, C
// (century).
func appendDate(dst []byte, t time.Time, layout string) []byte {
	for _, part := range layout {
		v := 0
		switch part {
		case 's':
			v = t.Second()
		case 'm':
			v = t.Minute()
		case 'h':
			v = t.Hour()
		case 'W':
			v = int(t.Weekday())
		case 'D':
			v = t.Day()
		case 'M':
			v = int(t.Month())
		case 'Y':
			v = t.Year() % 100
		case 'C':
			v = t.Year() / 100
		}
		dst = appendBCD(dst, uint64(v), 1)
	}
	return dst
}

// addressed compares an address on the wire, lowest byte first, with a number
// as printed; a half byte A stands for any digit.
func addressed(wire []byte, digits string) bool {
	for i, b := range wire {
		at := len(digits) - 2*i
		for j, half := range []byte{b >> 4, b & 0x0F} {
			if half != 0x0A && half != digits[at-2+j]-'0' {
				return false
			}
		}
	}
	return true
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// scanFrame looks for a frame that begins with 68 and ends with checksum and
// 16: length is its whole length by its first bytes, 0 while that cannot be
// told, negative where it is none. A complete frame further on wins over an
// unfinished one before it.
func scanFrame(b []byte, length func([]byte) int) (skip, size int) {
	unfinished := len(b)
	for i, c := range b {
		if c != 0x68 {
			continue
		}
		switch n := length(b[i:]); {
		case n < 0:
		case n == 0 || i+n > len(b):
			unfinished = min(unfinished, i)
		case b[i+n-1] == 0x16 && sum(b[i:i+n-2]) == b[i+n-2]:
			return i, n
		}
	}
	return unfinished, 0
}

// monthStart is the first moment of the month n months before t.
func monthStart(t time.Time, n int) time.Time {
	return time.Date(t.Year(), t.Month()-time.Month(n), 1, 0, 0, 0, 0, t.Location())
}

// at is the state at a moment of the past; before the start it is the start's.
func (d *device) at(then time.Time, v *plant.Values) {
	d.state(max(0, then.Sub(d.in.Start())), v)
}
