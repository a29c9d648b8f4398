// Package cjt188 reads water, heat and gas meters that speak CJ/T 188-2004 or
// -2018: it asks for the data identifiers a site file names and turns their BCD
// fields into exact decimal numbers of the unit asked for.
//
// It can only read: control codes 01 (read data) and 03 (read address) are the
// only ones it encodes. It describes all others.
package cjt188

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const (
	// DefaultTimeout is used where Config.Timeout is 0: a meter has 500 ms to
	// begin its reply, the longest reply takes 300 ms at 2400 baud, and a radio
	// link takes the rest.
	DefaultTimeout = 2 * time.Second
	// DefaultWakeup is used where Config.Wakeup is 0.
	DefaultWakeup = 4

	maxWakeup = 64

	// firstSer is far from the small numbers of meters that do not echo them.
	firstSer = 0x50
)

// Config is one meter on a line.
type Config struct {
	Name    string // as in the site file, used in messages
	Address string // the fourteen digits printed on the meter: manufacturer, then number
	// Type of the meter, T: 0x10 cold water, 0x11 hot water, 0x20 heat, 0x21
	// cooling, 0x30 gas; 0xAA for one that does not care.
	Type byte
	// Items is what to read, in the order of the readings. All items of one ID
	// cost one request. Part is the field of the answer:
	//
	//	901F, water or gas   0 volume, 1 volume_settlement
	//	901F, heat           0 heat_energy_settlement, 1 heat_energy, 2 heat_power, 3 flow, 4 volume,
	//	                     5 temperature_supply, 6 temperature_return, 7 working_hours
	//	D120 to D12B         0 volume_settlement or heat_energy_settlement, 1 to 12 months back
	//
	// Units are Wh, kWh, MWh; J, kJ, MJ, GJ; W, kW, MW; l, m3; l/h, m3/h; °C;
	// h. The meter's own unit is converted by powers of ten, never kWh into GJ.
	Items    []drivers.Item
	Wakeup   int              // FE bytes before a request; 0 is 4, negative none
	Timeout  time.Duration    // from the end of a request to the end of its reply
	Settings drivers.Settings // of the meter's port, commonly 2400 8E1; zero: the line's own
}

// Meter reads one meter. It belongs to the goroutine that owns its line.
//
// Many such meters live on one battery for years, and each answer costs some of
// it: read them every few minutes at most, not every few seconds.
type Meter struct {
	cfg     Config
	line    drivers.Exchanger
	address address
	groups  []group

	swapped bool // identifiers go low byte first
	sure    bool // the meter has answered that order, and last time it was read

	ser    byte      // of the last request, never 0: meters that do not echo it send 0
	lost   [256]bool // serial numbers of requests given up, whose replies may still come
	free   bool      // the meter's last reply had a number of its own
	buf    []byte
	asked  uint16  // identifier and
	code   control // control code of the request in progress
	accept func([]byte) (skip, size int)
}

// group is what one request brings.
type group struct {
	di     uint16
	points []point
}

type point struct {
	item  *drivers.Item
	index int // of the reading
	unit  unit
	// Where Item.Format says so.
	formatted bool
	digits    int
	decimals  int8
	signed    bool
}

// New prepares to read a meter on line. Its error says which setting or item
// cannot be read.
func New(cfg Config, line drivers.Exchanger) (*Meter, error) {
	m := &Meter{cfg: cfg, line: line, ser: firstSer - 1}
	if err := m.prepare(); err != nil {
		return nil, fmt.Errorf("meter %s: %w", cfg.Name, err)
	}
	m.accept = func(b []byte) (skip, size int) { return hunt(b, m.wanted) }
	return m, nil
}

func (m *Meter) prepare() (err error) {
	cfg := &m.cfg
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.Wakeup == 0 {
		cfg.Wakeup = DefaultWakeup
	}
	if cfg.Wakeup > maxWakeup {
		return fmt.Errorf("%d wake-up bytes, expected at most %d", cfg.Wakeup, maxWakeup)
	}
	if m.address, err = parseAddress(cfg.Address); err != nil {
		return err
	}
	if len(cfg.Items) == 0 {
		return errors.New("no items to read")
	}
	for i := range cfg.Items {
		di, p, err := newPoint(cfg.Type, &cfg.Items[i], i)
		if err != nil {
			return fmt.Errorf("item %s: %w", cfg.Items[i].Name, err)
		}
		at := 0
		for at < len(m.groups) && m.groups[at].di != di {
			at++
		}
		if at == len(m.groups) {
			m.groups = append(m.groups, group{di: di})
		}
		m.groups[at].points = append(m.groups[at].points, p)
	}
	m.buf = appendWakeup(nil, cfg.Wakeup)
	return nil
}

func newPoint(meter byte, item *drivers.Item, index int) (di uint16, p point, err error) {
	n, err := strconv.ParseUint(item.ID, 16, 16)
	di = uint16(n)
	if err != nil || len(item.ID) != 4 || di != current && (di < monthFirst || di > monthLast) {
		return 0, p, fmt.Errorf("data identifier %q, expected 901F or D120 to D12B", item.ID)
	}
	parts := heatMeter // the longest layout
	switch {
	case di != current:
		parts = history
	case meter>>4 == 1 || meter>>4 == 3:
		parts = flowMeter
	}
	if item.Part < 0 || item.Part >= len(parts) || parts[item.Part].of == number {
		return 0, p, fmt.Errorf("%s of a %s has no number as part %d", item.ID, meterType(meter), item.Part)
	}
	p = point{item: item, index: index}
	var ok bool
	if p.unit, ok = unitNamed(item.Unit); !ok {
		return 0, p, fmt.Errorf("unit %q is none of CJ/T 188", item.Unit)
	}
	if item.Format != "" {
		p.formatted = true
		layout, signed := strings.CutPrefix(item.Format, "S")
		whole, frac, _ := strings.Cut(layout, ".")
		p.signed, p.digits, p.decimals = signed, len(whole)+len(frac), int8(len(frac))
		if strings.Trim(whole+frac, "X") != "" || p.digits != 6 && p.digits != 8 {
			return 0, p, fmt.Errorf("format %q, expected six or eight digits as in XXXXXX.XX", item.Format)
		}
	}
	return di, p, nil
}

func appendWakeup(b []byte, n int) []byte {
	for range n {
		b = append(b, wakeup)
	}
	return b
}

// Read reads all items once: dst[i] becomes the reading of Items[i], with a
// value or the reason there is none. A request that fails takes only its own
// items with it, except that after a time-out or a lost line the remaining ones
// are marked alike without being asked.
//
// It returns the first *drivers.Fault, or nil when everything was answered. A
// value the meter itself marks as missing is Invalid without a fault; one in a
// unit that cannot be converted exactly is Invalid with one.
func (m *Meter) Read(ctx context.Context, dst []drivers.Reading) error {
	if len(dst) != len(m.cfg.Items) {
		return fmt.Errorf("meter %s: %d readings wanted of %d items", m.cfg.Name, len(dst), len(m.cfg.Items))
	}
	var first *drivers.Fault
	answered := false
	for i, g := range m.groups {
		f, fault := m.ask(ctx, g.di)
		if fault == nil {
			answered = true
			fault = m.decode(g, f, dst)
		} else {
			g.mark(dst, fault.Kind)
		}
		if fault == nil {
			continue
		}
		if first == nil {
			first = fault
		}
		if fatal(fault) {
			for _, g := range m.groups[i+1:] {
				g.mark(dst, fault.Kind)
			}
			break
		}
	}
	if !answered {
		m.sure = false // it may be another meter by now
	}
	if first != nil {
		return first
	}
	return nil
}

func (g group) mark(dst []drivers.Reading, q drivers.Quality) {
	for _, p := range g.points {
		dst[p.index] = drivers.Reading{Quality: q}
	}
}

// fatal reports whether the meter need not be asked further in this Read.
func fatal(f *drivers.Fault) bool {
	return f.Kind == drivers.Timeout || f.Kind == drivers.Disconnected || f.Kind == drivers.Skipped
}

// ask reads one identifier. A damaged reply or silence is worth a second
// request: the first one may only have woken the meter. While it is not known
// which order of the identifier's bytes the meter understands, the second
// request tries the other order and a third the first one again, now that the
// meter is awake.
func (m *Meter) ask(ctx context.Context, di uint16) (frame, *drivers.Fault) {
	tries := 2
	if !m.sure {
		tries = 3
	}
	var fault *drivers.Fault
	for n := range tries {
		swap := m.swapped
		if !m.sure && n == 1 {
			swap = !swap
		}
		f, now := m.once(ctx, di, swap)
		switch {
		case now == nil:
			m.swapped, m.sure = swap, true
			return f, nil
		case now.Kind == drivers.Disconnected, now.Kind == drivers.Skipped:
			return f, now
		case now.Kind == drivers.Refused && m.sure:
			return f, now
		}
		if fault == nil || fault.Kind != drivers.Refused {
			fault = now // a refusal says more than silence on the other order
		}
	}
	return frame{}, fault
}

// once sends one request. The frame is valid until the next.
func (m *Meter) once(ctx context.Context, di uint16, swap bool) (frame, *drivers.Fault) {
	if m.ser++; m.ser == 0 {
		m.ser = 1
	}
	m.asked, m.code = di, readData
	request, err := appendRequest(m.buf, m.cfg.Type, m.address, m.code, di, swap, m.ser)
	if err != nil {
		return frame{}, m.fault(di, drivers.Skipped, err)
	}
	m.buf = request[:len(m.buf)]
	reply, err := m.line.Exchange(ctx, drivers.Exchange{
		Request: request, Settings: m.cfg.Settings, Timeout: m.cfg.Timeout, Match: m.accept,
	})
	if err != nil {
		m.lost[m.ser] = true
		var f *drivers.Fault
		if errors.As(err, &f) {
			return frame{}, m.fault(di, f.Kind, f.Err)
		}
		return frame{}, m.fault(di, drivers.BadFrame, err)
	}
	m.lost = [256]bool{} // a meter answers in order
	f := parse(reply)
	m.free = f.ser() != m.ser
	if f.refusal() {
		return f, m.fault(di, drivers.Refused, fmt.Errorf("error reply %02X, %s", f.control, refusal(f.payload())))
	}
	return f, nil
}

// wanted reports whether f is the reply to the request in progress. Meters are
// free with the type, the order of the identifier and the serial number; but
// from one that is not known to answer with a number of its own, the number of
// a request given up gives a late reply away.
func (m *Meter) wanted(f frame) bool {
	if f.address != m.address || !f.reply() || f.function() != m.code {
		return false
	}
	if ser := f.ser(); ser != m.ser && m.lost[ser] && !m.free {
		return false
	}
	if f.refusal() {
		return true
	}
	di, ok := f.di()
	return ok && di == m.asked
}

// decode turns the reply f to g into readings.
func (m *Meter) decode(g group, f frame, dst []drivers.Reading) *drivers.Fault {
	r, ok := newRecord(f.meter, g.di, f.payload())
	if !ok {
		g.mark(dst, drivers.Invalid)
		return m.fault(g.di, drivers.Invalid, fmt.Errorf("%d bytes of data, no layout of CJ/T 188", len(f.data)))
	}
	var first *drivers.Fault
	for i := range g.points {
		p := &g.points[i]
		var err error
		dst[p.index], err = p.reading(r)
		if err != nil && first == nil {
			first = m.fault(g.di, drivers.Invalid, fmt.Errorf("%s: %w", p.item.Name, err))
		}
	}
	return first
}

// reading takes p's value out of r. An error says why a value that is there
// cannot be used.
func (p *point) reading(r record) (drivers.Reading, error) {
	invalid := drivers.Reading{Quality: drivers.Invalid}
	if p.item.Part >= len(r.slots) || r.slots[p.item.Part].of == number {
		return invalid, fmt.Errorf("the reply has no number as part %d", p.item.Part)
	}
	digits, code := r.part(p.item.Part)
	v, u, ok := r.value(p.item.Part, p.signed)
	if p.formatted {
		if p.digits != 2*len(digits) {
			return invalid, fmt.Errorf("found %d digits, expected %s", 2*len(digits), p.item.Format)
		}
		v.Exp = -p.decimals
	}
	if !ok {
		if r.slots[p.item.Part].marked() && u.name == "" && decimal(digits) {
			return invalid, fmt.Errorf("found unit code %02X, expected %s", code, p.unit.name)
		}
		return invalid, nil
	}
	if u.of != p.unit.of {
		return invalid, fmt.Errorf("found %s, expected %s", u.name, p.unit.name)
	}
	coef, ok := shift(v.Coef, int(v.Exp)+int(u.exp)-int(p.unit.exp)-int(p.item.Exp))
	if !ok {
		return invalid, fmt.Errorf("found %v %s, expected %s in steps of 10^%d", v, u.name, p.unit.name, p.item.Exp)
	}
	if p.item.Limited && (coef < p.item.Min || coef > p.item.Max) {
		return drivers.Reading{Coef: coef, Quality: drivers.Suspect}, nil
	}
	return drivers.Reading{Coef: coef}, nil
}

func decimal(b []byte) bool {
	_, ok := bcd(b)
	return ok
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

func (m *Meter) fault(di uint16, kind drivers.Quality, err error) *drivers.Fault {
	return &drivers.Fault{Kind: kind, Op: fmt.Sprintf("%v %04X", readData, di), Meter: m.cfg.Name, Err: err}
}
