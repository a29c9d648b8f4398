package dlt645

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const (
	// DefaultTimeout is used where Config.Timeout is 0: a meter has 500 ms to
	// begin its reply, which takes up to a second at 2400 baud.
	DefaultTimeout = 2 * time.Second
	// DefaultWakeup is used where Config.Wakeup is 0.
	DefaultWakeup = 4

	maxWakeup = 16
	maxFrames = 16 // that one answer may come in
)

// Config is one meter on a line.
type Config struct {
	Name    string // as in the site file, used in messages
	Address string // the digits printed on the meter
	Version Version
	// Items is what to read, in the order of the readings. ID is a data
	// identifier; Part counts the values of its answer. Numbers come in the
	// item's unit, converted from the meter's by a power of ten (kW into W), a
	// clock in seconds since 1970-01-01 of the meter's own time, a number that
	// is a name as it is.
	Items []drivers.Item
	// Blocks are identifiers of blocks the meter is known to answer
	// ("0201FF00"). Where two or more items lie in one, the block is read.
	Blocks   []string
	Wakeup   int              // FE bytes before a request; 0 is 4, negative none
	Timeout  time.Duration    // from the end of a request to the end of its reply
	Settings drivers.Settings // of the meter's port, commonly 2400 8E1; zero: the line's own
}

// Meter reads one meter. It belongs to the goroutine that owns its line.
type Meter struct {
	cfg     Config
	line    drivers.Exchanger
	address address

	points []point
	absent []int // readings the meter has said it does not have
	plan   []query
	broken []uint32 // blocks the meter has refused

	asked uint32 // identifier,
	what  reading
	seq   byte // and frame of the request in progress
	match func([]byte) (skip, size int)
	out   []byte // the request; wake-up bytes first
	long  []byte // an answer that came in several frames, still with 33H on it
}

// point is one item and the reading it becomes.
type point struct {
	index  int
	item   *drivers.Item
	id     uint32
	plain  layout
	size   int  // of plain, bytes
	signed bool // plain is a number with a sign
	shift  int  // the reading is the digits x 10^shift
}

// query is one identifier to ask for and what its answer holds.
type query struct {
	id     uint32
	block  bool
	points []place
}

// place is where in an answer a point's value is.
type place struct {
	point
	at int // byte
}

// New plans what to ask of a meter on line. Its error says which setting or
// item cannot be read.
func New(cfg Config, line drivers.Exchanger) (*Meter, error) {
	m := &Meter{cfg: cfg, line: line}
	if err := m.prepare(); err != nil {
		return nil, fmt.Errorf("meter %s: %w", cfg.Name, err)
	}
	m.match = func(b []byte) (skip, size int) { return hunt(b, m.wanted) }
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
	if slices.Contains(m.address[:], wild) {
		return fmt.Errorf("address %q has wildcards, which every meter on the line would answer", cfg.Address)
	}
	if len(cfg.Items) == 0 {
		return errors.New("no items to read")
	}
	for i := range cfg.Items {
		p, err := cfg.Version.point(i, &cfg.Items[i])
		if err != nil {
			return fmt.Errorf("item %s: %w", cfg.Items[i].Name, err)
		}
		m.points = append(m.points, p)
	}
	for _, b := range cfg.Blocks {
		if _, err := cfg.Version.parseID(b); err != nil {
			return fmt.Errorf("block %w", err)
		}
	}
	m.out = slices.Repeat([]byte{wakeup}, max(0, cfg.Wakeup))
	m.replan()
	return nil
}

func (v Version) parseID(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 16, 32)
	if err != nil || len(s) != 2*v.idBytes() {
		return 0, fmt.Errorf("identifier %q, expected %d hexadecimal digits", s, 2*v.idBytes())
	}
	return uint32(n), nil
}

// point works out how an item's digits become its reading.
func (v Version) point(index int, item *drivers.Item) (p point, err error) {
	p = point{index: index, item: item}
	if p.id, err = v.parseID(item.ID); err != nil {
		return p, err
	}
	parts, _ := v.content(p.id)
	unit := item.Unit
	switch {
	case item.Part < 0 || item.Part > 0 && item.Part >= len(parts):
		return p, fmt.Errorf("identifier %s has no part %d", item.ID, item.Part)
	case item.Format != "":
		p.plain = layout(item.Format)
		if len(parts) > item.Part {
			unit = parts[item.Part].unit
		}
	case len(parts) == 0:
		return p, fmt.Errorf("identifier %s is not known here: say its format, as in XXXXXX.XX", item.ID)
	default:
		p.plain, unit = parts[item.Part].layout, parts[item.Part].unit
	}
	decimals, signed, number := p.plain.numeric()
	p.size, p.signed = p.plain.bytes(), signed
	_, name := p.plain.count("N")
	switch {
	case number:
	case name || p.plain == "YYMMDDWWhhmmss" || p.plain == "YYMMDDhhmmss" || p.plain == "YYMMDDhhmm":
		if item.Exp != 0 {
			return p, fmt.Errorf("%s has no decimals", item.ID)
		}
		return p, nil
	default:
		return p, fmt.Errorf("format %q of %s is no number", p.plain, item.ID)
	}
	kilo, ok := thousands(unit, item.Unit)
	if !ok {
		return p, fmt.Errorf("unit %q cannot be made of the meter's %q", item.Unit, unit)
	}
	if p.shift = kilo - decimals - int(item.Exp); p.shift < 0 {
		return p, fmt.Errorf("resolution 10^%d drops digits of %s %s", item.Exp, p.plain, unit)
	}
	return p, nil
}

// thousands is the power of ten that makes a number of one unit one of another.
func thousands(from, to string) (exp int, ok bool) {
	switch {
	case from == to:
		return 0, true
	case from == "k"+to:
		return 3, true
	case "k"+from == to:
		return -3, true
	}
	return 0, false
}

// replan makes the queries anew: blocks that hold two or more of the wanted
// identifiers, and single ones.
func (m *Meter) replan() {
	m.plan = m.plan[:0]
	taken := make([]bool, len(m.points))
	for _, b := range m.cfg.Blocks {
		block, err := m.cfg.Version.parseID(b)
		if err != nil || slices.Contains(m.broken, block) {
			continue
		}
		q := query{id: block, block: true}
		var of []int
		for i, p := range m.points {
			if in, n, ok := m.cfg.Version.blockOf(p.id); ok && in == block && p.item.Part == 0 && p.item.Format == "" && !taken[i] {
				q.points = append(q.points, place{p, m.cfg.Version.offsetOf(block, n)})
				of = append(of, i)
			}
		}
		if len(of) < 2 {
			continue
		}
		for _, i := range of {
			taken[i] = true
		}
		m.plan = append(m.plan, q)
	}
	for i, p := range m.points {
		if taken[i] {
			continue
		}
		pl := place{p, m.cfg.Version.offsetOf(p.id, p.item.Part)}
		if at := slices.IndexFunc(m.plan, func(q query) bool { return q.id == p.id && !q.block }); at >= 0 {
			m.plan[at].points = append(m.plan[at].points, pl)
			continue
		}
		m.plan = append(m.plan, query{id: p.id, points: []place{pl}})
	}
}

// offsetOf is where part n of the answer to id begins.
func (v Version) offsetOf(id uint32, n int) (at int) {
	parts, _ := v.content(id)
	for i := 0; i < n && i < len(parts); i++ {
		at += parts[i].layout.bytes()
	}
	return at
}

// Queries are the identifiers one Read asks for, in order. They change when
// the meter refuses something.
func (m *Meter) Queries() (ids []string) {
	for _, q := range m.plan {
		ids = append(ids, fmt.Sprintf("%0*X", 2*m.cfg.Version.idBytes(), q.id))
	}
	return ids
}

// Read reads all items once: dst[i] becomes the reading of Items[i], with a
// value or the reason there is none. A query that fails takes only its own
// items with it, except that after a time-out or a lost line the remaining ones
// are marked alike without being asked.
//
// It returns the first *drivers.Fault, or nil when everything was answered. An
// identifier the meter does not have is a fault once, when it is found out;
// from then on it is Absent and not asked again. What the meter marks as missing
// (FF, a phase that is not connected) is Invalid without a fault.
func (m *Meter) Read(ctx context.Context, dst []drivers.Reading) error {
	if len(dst) != len(m.cfg.Items) {
		return fmt.Errorf("meter %s: %d readings wanted of %d items", m.cfg.Name, len(dst), len(m.cfg.Items))
	}
	for _, i := range m.absent {
		dst[i] = drivers.Reading{Quality: drivers.Absent}
	}
	if len(m.plan) == 0 {
		return &drivers.Fault{Kind: drivers.Absent, Meter: m.cfg.Name,
			Err: fmt.Errorf("has none of the %d identifiers of its profile: is it the right profile?", len(dst))}
	}
	var first *drivers.Fault
	changed := false
	for i, q := range m.plan {
		fault, less := m.query(ctx, q, dst)
		changed = changed || less
		if fault == nil {
			continue
		}
		if first == nil {
			first = fault
		}
		if fatal(fault) {
			for _, q := range m.plan[i+1:] {
				q.mark(dst, fault.Kind)
			}
			break
		}
	}
	if changed {
		m.replan()
	}
	if first != nil {
		return first
	}
	return nil
}

// fatal reports whether the meter need not be asked further in this Read.
func fatal(f *drivers.Fault) bool {
	return f.Kind == drivers.Timeout || f.Kind == drivers.Disconnected || f.Kind == drivers.Skipped
}

func (q query) mark(dst []drivers.Reading, quality drivers.Quality) {
	for _, p := range q.points {
		dst[p.index] = drivers.Reading{Quality: quality}
	}
}

// query asks for one identifier. A block that is refused is asked for piece by
// piece, now and from then on; changed says that the plan has to be made anew.
func (m *Meter) query(ctx context.Context, q query, dst []drivers.Reading) (fault *drivers.Fault, changed bool) {
	content, fault := m.ask(ctx, q.id)
	if fault == nil {
		return m.decode(q, content, dst), false
	}
	var no Refused
	if !errors.As(fault, &no) || no&noSuchData == 0 {
		q.mark(dst, fault.Kind)
		return fault, false
	}
	if q.block {
		m.broken = append(m.broken, q.id)
		fault = nil
		for i, p := range q.points {
			single := query{id: p.id, points: []place{{p.point, 0}}}
			f, _ := m.query(ctx, single, dst)
			if f != nil && fault == nil {
				fault = f
			}
			if f != nil && fatal(f) {
				query{points: q.points[i:]}.mark(dst, f.Kind)
				break
			}
		}
		return fault, true
	}
	// Once more before it is given up for good: a refusal carries nothing that
	// ties it to the question.
	content, again := m.ask(ctx, q.id)
	if again == nil {
		return m.decode(q, content, dst), false
	}
	if !errors.As(again, &no) || no&noSuchData == 0 {
		q.mark(dst, again.Kind)
		return again, false
	}
	for _, p := range q.points {
		m.absent = append(m.absent, p.index)
		m.points = slices.DeleteFunc(m.points, func(o point) bool { return o.index == p.index })
	}
	q.mark(dst, drivers.Absent)
	return m.fault(q.id, drivers.Absent, fmt.Errorf("%w; it is not asked again", no)), true
}

// Refused is the error byte with which a meter refuses a request. It is the
// cause of a drivers.Fault and can be found there with errors.As.
type Refused byte

func (r Refused) Error() string { return fmt.Sprintf("error %02X %s", byte(r), refusal(byte(r))) }

// ask gets the content behind an identifier, put together where it comes in
// several frames. It asks once more when the reply was damaged. The content
// still has 33H on it and is valid until the next.
func (m *Meter) ask(ctx context.Context, id uint32) ([]byte, *drivers.Fault) {
	content, further, fault := m.twice(ctx, id, data, 0)
	if fault != nil || !further {
		return content, fault
	}
	m.long = append(m.long[:0], content...)
	for seq := byte(1); seq <= maxFrames; seq++ {
		content, further, fault = m.twice(ctx, id, following, seq)
		if fault != nil {
			return nil, fault
		}
		if m.cfg.Version == V2007 { // its last byte repeats seq
			if len(content) == 0 || content[len(content)-1]-offset != seq {
				return nil, m.fault(id, drivers.BadFrame, fmt.Errorf("following data %d are not numbered so", seq))
			}
			content = content[:len(content)-1]
		}
		m.long = append(m.long, content...)
		if !further {
			return m.long, nil
		}
	}
	return nil, m.fault(id, drivers.BadFrame, fmt.Errorf("more than %d frames follow", maxFrames))
}

func (m *Meter) twice(ctx context.Context, id uint32, what reading, seq byte) ([]byte, bool, *drivers.Fault) {
	content, further, fault := m.once(ctx, id, what, seq)
	if fault != nil && fault.Kind == drivers.BadFrame {
		return m.once(ctx, id, what, seq)
	}
	return content, further, fault
}

// once sends one request.
func (m *Meter) once(ctx context.Context, id uint32, what reading, seq byte) (content []byte, further bool, _ *drivers.Fault) {
	m.asked, m.what, m.seq = id, what, seq
	n := max(0, m.cfg.Wakeup)
	m.out = appendRead(m.out[:n], m.cfg.Version, m.address, what, id, seq)
	reply, err := m.line.Exchange(ctx, drivers.Exchange{
		Request: m.out, Settings: m.cfg.Settings, Timeout: m.cfg.Timeout, Match: m.match,
	})
	if err != nil {
		var f *drivers.Fault
		if errors.As(err, &f) {
			return nil, false, m.fault(id, f.Kind, f.Err)
		}
		return nil, false, m.fault(id, drivers.BadFrame, err)
	}
	f := parse(reply)
	if f.refusal() {
		code := Refused(0)
		if len(f.data) > 0 {
			code = Refused(f.data[0] - offset)
		}
		return nil, false, m.fault(id, drivers.Refused, code)
	}
	return f.data[m.cfg.Version.idBytes():], f.more(), nil
}

// wanted reports whether f is the reply to the request in progress: of this
// meter, to this function, with this identifier.
func (m *Meter) wanted(f frame) bool {
	asked := readData2007
	switch {
	case m.cfg.Version == V1997 && m.what == following:
		asked = readMore1997
	case m.cfg.Version == V1997:
		asked = readData1997
	case m.what == following:
		asked = readMore2007
	}
	if f.address != m.address || !f.reply() || f.function() != asked {
		return false
	}
	if f.refusal() {
		return true
	}
	id, ok := f.id(m.cfg.Version)
	return ok && id == m.asked
}

// decode turns the content of the answer to q into readings.
func (m *Meter) decode(q query, content []byte, dst []drivers.Reading) *drivers.Fault {
	var first *drivers.Fault
	for i := range q.points {
		p := &q.points[i]
		n := p.size
		if len(content) < p.at+n {
			dst[p.index] = drivers.Reading{Quality: drivers.Invalid}
			if first == nil && !q.block { // a block ends with the last tariff or phase there is
				first = m.fault(q.id, drivers.Invalid, fmt.Errorf("%s: %d bytes of data, expected %d", p.item.Name, len(content), p.at+n))
			}
			continue
		}
		dst[p.index] = p.reading(content[p.at : p.at+n])
	}
	return first
}

// reading takes p's number out of b.
func (p *place) reading(b []byte) drivers.Reading {
	invalid := drivers.Reading{Quality: drivers.Invalid}
	if p.plain[0] == 'Y' {
		t, ok := p.plain.clock(b)
		if !ok {
			return invalid
		}
		return drivers.Reading{Coef: time.Date(t.year, time.Month(t.month), t.day, t.hour, t.minute, max(0, t.second), 0, time.UTC).Unix()}
	}
	v, _, ok := digits(b, p.signed)
	if !ok {
		return invalid
	}
	for range p.shift {
		if v > math.MaxInt64/10 || v < math.MinInt64/10 {
			return invalid
		}
		v *= 10
	}
	if p.item.Limited && (v < p.item.Min || v > p.item.Max) {
		return drivers.Reading{Coef: v, Quality: drivers.Suspect}
	}
	return drivers.Reading{Coef: v}
}

func (m *Meter) fault(id uint32, kind drivers.Quality, err error) *drivers.Fault {
	return &drivers.Fault{Kind: kind, Op: fmt.Sprintf("read data %0*X", 2*m.cfg.Version.idBytes(), id), Meter: m.cfg.Name, Err: err}
}

// Identify reads the number on the meter's plate, for telling a meter that was
// exchanged from the one before.
func (m *Meter) Identify(ctx context.Context) (string, error) {
	id := uint32(0x04000402)
	if m.cfg.Version == V1997 {
		id = 0xC032
	}
	content, fault := m.ask(ctx, id)
	if fault != nil {
		return "", fault
	}
	text := layout("N12").text(content)
	if text == "" {
		return "", m.fault(id, drivers.Invalid, errors.New("no number"))
	}
	return text, nil
}
