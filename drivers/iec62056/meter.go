// Package iec62056 reads meters that speak IEC 62056-21 (formerly IEC 1107)
// over an optical head or RS-485: it asks for the standard readout, in mode A,
// B or C, and picks the OBIS codes a site file names out of it as exact decimal
// numbers.
//
// It can only read: it sends the request and the acknowledgement that selects
// the readout, and has no command of the programming mode.
package iec62056

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const (
	// DefaultTimeout is used where Config.Timeout is 0. A readout of 4 kB takes
	// 110 s where a meter stays at 300 baud.
	DefaultTimeout = 120 * time.Second

	// reaction is the longest a meter takes to begin its answer, section 6.4.3,
	// and pause the least time between its identification and what it is sent.
	reaction = 1500 * time.Millisecond
	pause    = 200 * time.Millisecond
	// slack is what a line adds: it settles first, adapters hold bytes back.
	slack = 500 * time.Millisecond
)

// Config is one meter on a line.
type Config struct {
	Name string // as in the site file, used in messages
	// Address is the device address, up to 32 letters, digits and spaces;
	// empty asks whichever meter is there, which an optical head knows.
	Address string
	// Items is what to read, in the order of the readings. ID is the OBIS code,
	// with or without the medium 1-0: and the ending *255; Part counts the
	// values behind it. Units take the prefixes m, k, M and G.
	Items []drivers.Item
	// Settings the meter is asked with: zero is 300 7E1, with Emulate 300 8N1.
	Settings drivers.Settings
	// Emulate says that the line cannot carry 7E1 and is set to 8N1: the
	// parity bit is added and taken off here.
	Emulate bool
	// Timeout is for the whole readout. A meter that does not begin its answer
	// within 1.5 s is given up before.
	Timeout time.Duration
	MaxBaud int // the highest speed to switch to; 0: whatever the meter proposes
}

// Meter reads one meter. It belongs to the goroutine that owns its line.
//
// A readout is one reply of some kilobytes, 64 at most: the line's buffer must
// hold it whole, for its block check covers all of it. A readout takes seconds
// to minutes, and the line is taken as long.
type Meter struct {
	cfg    Config
	line   drivers.Exchanger
	absent []bool // by item: the meter has been found not to have it
	number string // in the last readout
	slow   bool   // switching the speed has brought no data
	begun  bool   // the answer to the message in progress has begun
	text   []byte // scratch
}

// New prepares to read a meter on line. Its error says which setting or item
// cannot be read.
func New(cfg Config, line drivers.Exchanger) (*Meter, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Settings == (drivers.Settings{}) {
		cfg.Settings = drivers.Settings{Baud: 300, DataBits: 7, Parity: 'E', StopBits: 1}
		if cfg.Emulate {
			cfg.Settings.DataBits, cfg.Settings.Parity = 8, 'N'
		}
	}
	if err := check(cfg); err != nil {
		return nil, fmt.Errorf("meter %s: %w", cfg.Name, err)
	}
	return &Meter{cfg: cfg, line: line, absent: make([]bool, len(cfg.Items))}, nil
}

func check(cfg Config) error {
	switch {
	case len(cfg.Address) > 32 || !printable([]byte(cfg.Address)) || strings.ContainsAny(cfg.Address, "/?!"):
		return fmt.Errorf("address %q, expected up to 32 letters, digits and spaces", cfg.Address)
	case cfg.Emulate && (cfg.Settings.DataBits != 8 || cfg.Settings.Parity != 'N'):
		return fmt.Errorf("settings %v: parity can be emulated on a line of 8N1 only", cfg.Settings)
	case len(cfg.Items) == 0:
		return errors.New("no items to read")
	}
	for _, item := range cfg.Items {
		if item.ID == "" || item.Part < 0 || item.Format != "" {
			return fmt.Errorf("item %s: expected an OBIS code, a part from 0 and no format", item.Name)
		}
	}
	return nil
}

// Read reads all items once: dst[i] becomes the reading of Items[i], with a
// value or the reason there is none. All come from one readout.
//
// It returns the first *drivers.Fault, or nil when everything was there. An
// item the readout does not have is Absent, and a fault only when that is found
// out; one with another unit that cannot be converted exactly by a power of
// ten, or without a number, is Invalid.
func (m *Meter) Read(ctx context.Context, dst []drivers.Reading) error {
	if len(dst) != len(m.cfg.Items) {
		return fmt.Errorf("meter %s: %d readings wanted of %d items", m.cfg.Name, len(dst), len(m.cfg.Items))
	}
	sets, fault := m.readout(ctx)
	if fault != nil && fault.Kind == drivers.BadFrame {
		sets, fault = m.readout(ctx)
	}
	m.number = plate(sets)
	if fault != nil {
		for i := range dst {
			dst[i] = drivers.Reading{Quality: fault.Kind}
		}
		return fault
	}
	if fault := m.decode(sets, dst); fault != nil {
		return fault
	}
	return nil
}

// Identify returns the number of the meter in the readout of the last Read, ""
// where there was none, for telling a meter that was exchanged from the one
// before. It asks nothing.
func (m *Meter) Identify(context.Context) (string, error) { return m.number, nil }

// plate is the number that tells the meter from others: its maker's, or else the
// one its owner gave it, which may be that of the place and stay.
func plate(sets []set) string {
	for _, code := range []string{"C.1.0", "96.1.0", "0.0.0"} {
		for _, s := range sets {
			if number := strings.TrimSpace(s.value); canonical(s.id) == code && s.part == 0 && strings.Trim(number, "0") != "" {
				return number
			}
		}
	}
	return ""
}

func (m *Meter) decode(sets []set, dst []drivers.Reading) (first *drivers.Fault) {
	none := true
	for i := range m.cfg.Items {
		item := &m.cfg.Items[i]
		var err error
		dst[i], err = reading(item, sets)
		if dst[i].Quality != drivers.Absent {
			none = false
			m.absent[i] = false
		} else if m.absent[i] {
			err = nil
		} else {
			m.absent[i] = true
		}
		if err != nil && first == nil {
			first = m.fault("read "+item.ID, dst[i].Quality, err)
		}
	}
	if none {
		return &drivers.Fault{Kind: drivers.Absent, Meter: m.cfg.Name,
			Err: fmt.Errorf("has none of the %d values of its profile: is it the right profile?", len(dst))}
	}
	return first
}

// readout gets all data sets of the meter.
func (m *Meter) readout(ctx context.Context) ([]set, *drivers.Fault) {
	const identify = "read identification"
	reply, fault := m.exchange(ctx, identify, m.request(), drivers.Settings{}, m.matchIdentification)
	if fault != nil {
		return nil, fault
	}
	text := plain(nil, reply)
	id, n, _ := parseIdentification(text)
	if bad := m.parityError(reply[:n]); bad >= 0 {
		return nil, m.fault(identify, drivers.BadFrame, fmt.Errorf("parity error at byte %d", bad))
	}
	if id.mode() == 'A' {
		return m.sets("read data", text[n:], reply[n:])
	}
	modeC := id.mode() == 'C'
	if baud := id.baud(); modeC && (baud == 0 || m.slow || m.cfg.MaxBaud > 0 && baud > m.cfg.MaxBaud) {
		id.speed = keep(m.cfg.Settings.Baud)
	}
	there := m.cfg.Settings
	if baud := id.baud(); baud > 0 {
		there.Baud = baud
	}
	op := fmt.Sprintf("read data at %d baud", there.Baud)
	if modeC {
		reply, fault = m.exchange(ctx, op, m.selectReadout(id.speed), there, m.matchBlock)
	} else { // the meter switches by itself and goes on
		reply, fault = m.exchange(ctx, op, nil, there, m.matchBlock)
	}
	if fault != nil && !m.begun && (fault.Kind == drivers.Timeout || fault.Kind == drivers.BadFrame) {
		// Stay at the first speed from now on; where that was of no use either,
		// try to switch again.
		m.slow = there != m.cfg.Settings
	}
	if fault != nil {
		return nil, fault
	}
	return m.sets(op, plain(nil, reply), reply)
}

// sets checks a data block and takes it apart. raw is it with parity bits.
func (m *Meter) sets(op string, text, raw []byte) ([]set, *drivers.Fault) {
	if bad := m.parityError(raw); bad >= 0 {
		return nil, m.fault(op, drivers.BadFrame, fmt.Errorf("parity error at byte %d", bad))
	}
	var msg message
	var f flaw
	var reason string
	if text = bytes.TrimLeft(text, "\r\n\x00\x7F"); len(text) > 0 && text[0] == stx {
		msg, _, f, reason = inspectBlock(text)
	} else {
		msg, _, f, reason = inspectReadout(text)
	}
	if f == noMessage {
		reason = fmt.Sprintf("%d bytes that are no data sets", len(text))
	}
	if f != sound {
		return nil, m.fault(op, drivers.BadFrame, errors.New(reason))
	}
	sets, _ := parseSets(msg.text)
	if len(sets) > 0 && sets[0].id == "" && strings.HasPrefix(sets[0].value, "ER") {
		return nil, m.fault(op, drivers.Refused, fmt.Errorf("the meter's error %s", sets[0].value))
	}
	return sets, nil
}

func (m *Meter) parityError(b []byte) int {
	if !m.cfg.Emulate {
		return -1 // the port has seen to it
	}
	for i, c := range b {
		if odd(c) {
			return i
		}
	}
	return -1
}

// request is one of the two messages this package can send.
func (m *Meter) request() []byte { return m.frame("/?" + m.cfg.Address + "!\r\n") }

// selectReadout is the other: normal protocol, speed, readout.
func (m *Meter) selectReadout(speed byte) []byte {
	return m.frame("\x060" + string(rune(speed)) + "0\r\n")
}

func (m *Meter) frame(s string) []byte {
	if m.cfg.Emulate {
		return even([]byte(s))
	}
	return []byte(s)
}

// keep is the Z that leaves the speed as it is.
func keep(baud int) byte {
	for i, b := range speeds {
		if b == baud {
			return '0' + byte(i)
		}
	}
	return '0'
}

var errNoAnswer = errors.New("no answer")

// exchange sends one message, or none to hear what comes next, and waits for
// what match finds. match sets m.begun when the answer has begun; one that has
// not within the reaction time is given up long before the time for the whole
// readout is over.
func (m *Meter) exchange(ctx context.Context, op string, message []byte, there drivers.Settings,
	match func(b []byte) (skip, size int)) ([]byte, *drivers.Fault) {
	limit := min(m.cfg.Timeout, reaction+slack+m.cfg.Settings.Characters(len(message)+maxFirst))
	waiting, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	timer := time.AfterFunc(limit, func() { cancel(errNoAnswer) })
	defer timer.Stop()
	m.begun = false
	came := 0
	x := drivers.Exchange{
		Request: message, Settings: m.cfg.Settings, Reply: there, Timeout: m.cfg.Timeout,
		Match: func(b []byte) (skip, size int) {
			came = max(came, len(b))
			skip, size = match(b)
			if m.begun {
				timer.Stop()
			}
			return skip, size
		},
	}
	if len(message) > 0 {
		x.Silence = pause
	} else {
		x.Settings = there // there is nothing to be sent before
	}
	reply, err := m.line.Exchange(waiting, x)
	if err == nil {
		return reply, nil
	}
	var f *drivers.Fault
	switch {
	case context.Cause(waiting) == errNoAnswer && came == 0:
		return nil, m.fault(op, drivers.Timeout, fmt.Errorf("timeout after %v", limit.Round(100*time.Millisecond)))
	case context.Cause(waiting) == errNoAnswer:
		return nil, m.fault(op, drivers.BadFrame, fmt.Errorf("%d bytes but no answer within %v", came, limit.Round(100*time.Millisecond)))
	case errors.As(err, &f):
		return nil, m.fault(op, f.Kind, f.Err)
	}
	return nil, m.fault(op, drivers.BadFrame, err)
}

// maxFirst is the characters of an answer that must have come for it to be
// known as one: an identification.
const maxFirst = 24

// matchIdentification finds the meter's identification, in mode A with the
// data that follow it at the same speed without being asked for. The echo of
// the request, which begins like one, is noise.
func (m *Meter) matchIdentification(b []byte) (skip, size int) {
	m.text = plain(m.text, b)
	partial := len(b)
	for i, c := range m.text {
		if c != '/' {
			continue
		}
		id, n, f := parseIdentification(m.text[i:])
		switch {
		case f == short && partial == len(b):
			partial = i
		case f != sound:
		case id.mode() != 'A':
			return i, n
		default:
			m.begun = true
			if len(b)-i > maxBlock {
				return len(b), 0
			}
			if rest := bytes.TrimLeft(m.text[i+n:], "\r\n\x00\x7F"); len(rest) > 0 {
				if end := dataEnd(rest); end > 0 {
					return i, len(b) - len(rest) + end - i
				}
			}
			return i, 0
		}
	}
	return partial, 0
}

// matchBlock finds a block of data from STX to block check.
func (m *Meter) matchBlock(b []byte) (skip, size int) {
	m.text = plain(m.text, b)
	for i, c := range m.text {
		if c != stx || !readable(m.text[i+1:min(len(b), i+9)]) {
			continue
		}
		if len(b)-i > maxBlock {
			return len(b), 0
		}
		if len(b)-i > 8 {
			m.begun = true
		}
		return i, dataEnd(m.text[i:])
	}
	return len(b), 0
}

// dataEnd is the length of the data b begins with, 0 where more must come. An
// ETX that is neither at the end of data nor followed by the right block check
// is a damaged character.
func dataEnd(b []byte) int {
	const end = "!\r\n"
	if b[0] != stx {
		if n := bytes.Index(b, []byte(end)); n >= 0 {
			return n + len(end)
		}
		return 0
	}
	for i, c := range b[:len(b)-1] {
		if c == etx && (bytes.HasSuffix(b[:i], []byte(end)) || blockCheck(b[1:i+1]) == b[i+1]) {
			return i + 2
		}
	}
	return 0
}

// reading finds item in the readout.
func reading(item *drivers.Item, sets []set) (r drivers.Reading, err error) {
	s, err := find(item, sets)
	if err != nil {
		return drivers.Reading{Quality: drivers.Invalid}, err
	}
	if s == nil {
		return drivers.Reading{Quality: drivers.Absent}, fmt.Errorf("not among the %d values of the readout", len(sets))
	}
	invalid := drivers.Reading{Quality: drivers.Invalid}
	v, ok := number(s.value)
	if !ok {
		return invalid, nil
	}
	exp, ok := conversion(s.unit, item.Unit)
	if !ok {
		return invalid, fmt.Errorf("found %s, expected %s", named(s.unit), named(item.Unit))
	}
	coef, ok := shift(v.Coef, int(v.Exp)+exp-int(item.Exp))
	if !ok {
		return invalid, fmt.Errorf("found %v %s, expected %s in steps of 10^%d", v, named(s.unit), named(item.Unit), item.Exp)
	}
	if item.Limited && (coef < item.Min || coef > item.Max) {
		return drivers.Reading{Coef: coef, Quality: drivers.Suspect}, nil
	}
	return drivers.Reading{Coef: coef}, nil
}

// find is the data set of item, nil where there is none. The meter's own
// spelling goes before the canonical one, of which there must not be two.
func find(item *drivers.Item, sets []set) (found *set, err error) {
	code := canonical(item.ID)
	for i := range sets {
		s := &sets[i]
		switch {
		case s.part != item.Part:
		case s.id == item.ID:
			return s, nil
		case canonical(s.id) != code:
		case found != nil && (found.value != s.value || found.unit != s.unit):
			err = fmt.Errorf("found both %s and %s: name one of them", found.id, s.id)
		default:
			found = s
		}
	}
	return found, err
}

func named(unit string) string {
	if unit == "" {
		return "no unit"
	}
	return unit
}

// conversion is the power of ten that turns a value in one unit into one in
// another; false where they are units of different things.
func conversion(from, to string) (exp int, ok bool) {
	if from == to {
		return 0, true
	}
	base, e := split(from)
	other, f := split(to)
	return e - f, base == other && base != ""
}

// split takes the prefix off a unit, base in lower case; "" where it is not one
// of those that take any. Meters are free with upper and lower case, but not
// with m and M.
func split(unit string) (base string, exp int) {
	if b := strings.ToLower(unit); isBase(b) {
		return b, 0
	}
	if unit == "" || !isBase(strings.ToLower(unit[1:])) {
		return "", 0
	}
	switch base = strings.ToLower(unit[1:]); unit[0] {
	case 'm':
		return base, -3
	case 'k', 'K':
		return base, 3
	case 'M':
		return base, 6
	case 'G':
		return base, 9
	}
	return "", 0
}

func isBase(unit string) bool {
	switch unit {
	case "wh", "varh", "vah", "w", "var", "va", "v", "a", "hz", "j":
		return true
	}
	return false
}

// shift is v x 10^n; false where that is no whole number or does not fit.
func shift(v int64, n int) (int64, bool) {
	for ; n > 0 && v != 0; n-- {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return 0, false
		}
		v *= 10
	}
	for ; n < 0 && v != 0; n++ {
		if v%10 != 0 {
			return 0, false
		}
		v /= 10
	}
	return v, true
}

func (m *Meter) fault(op string, kind drivers.Quality, err error) *drivers.Fault {
	return &drivers.Fault{Kind: kind, Op: op, Meter: m.cfg.Name, Err: err}
}
