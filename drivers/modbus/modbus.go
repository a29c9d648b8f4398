// Package modbus reads meters that speak Modbus: RTU and ASCII on a serial line
// or through a serial server, and Modbus TCP. It plans the fewest requests over
// the registers asked for, checks that each reply is the reply to the question
// asked, and turns registers into exact decimal numbers.
//
// It can only read: no function code above 4 leaves this package.
package modbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	goburrow "github.com/goburrow/modbus"
	"github.com/tallystick/tallystick/drivers"
)

// Framing is how a Modbus PDU is wrapped on the line.
type Framing uint8

const (
	RTU   Framing = iota // unit, PDU, CRC: a serial line, or TCP to a serial server
	TCP                  // transaction number, length, unit, PDU
	ASCII                // the same as RTU in hexadecimal digits: old drives and controllers
)

// DefaultTimeout is used where Config.Timeout is 0. Shorter ones fail with slow
// inverters and gateways.
const DefaultTimeout = time.Second

// busyPause is the wait before a meter that said "busy" is asked again.
const busyPause = 100 * time.Millisecond

// probePatience is how many probes in a row a meter may leave without any
// answer before it is taken for one that does not answer them at all.
const probePatience = maxProbes

// Config is one meter on a line.
type Config struct {
	Name      string // as in the site file, used in messages
	Unit      uint8  // RTU: 1 to 247; TCP: any
	Framing   Framing
	Registers []drivers.Register // what to read, in the order of the readings
	// Ranges are the stretches the meter answers as a whole. A register
	// outside all of them gets a request of its own.
	Ranges       []drivers.Range
	MaxRegisters int              // most registers in one request, 16 bits to a register; 0 is 125
	Timeout      time.Duration    // from the end of a request to the end of its reply
	Gap          time.Duration    // least pause between two requests to this meter
	Settings     drivers.Settings // of the meter's port; zero: the line's own
}

// Meter reads one meter. It belongs to the goroutine that owns its line.
type Meter struct {
	cfg    Config
	wire   *wire
	client goburrow.Client

	points []point         // by table and address, without the absent ones
	absent []int           // readings the meter has said it does not have
	ranges []drivers.Range // cfg.Ranges, less what the meter has refused
	plan   []request
	probes []Request

	doubt  bool      // a reply that was given up may still come
	tried  int       // probes sent since
	silent int       // the last of them to which nothing came at all
	last   time.Time // end of the last exchange; kept only where Gap is set
}

// New plans the requests for a meter on line. Its error says which register or
// setting cannot be read.
func New(cfg Config, line drivers.Exchanger) (*Meter, error) {
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxRegisters == 0 {
		cfg.MaxRegisters = maxWords
	}
	if err := check(cfg); err != nil {
		return nil, fmt.Errorf("meter %s: %w", cfg.Name, err)
	}
	w := newWire(cfg, line)
	m := &Meter{
		cfg: cfg, wire: w, client: goburrow.NewClient2(w, w),
		points: points(cfg.Registers), ranges: cfg.Ranges,
	}
	m.replan()
	return m, nil
}

func check(cfg Config) error {
	switch {
	case len(cfg.Registers) == 0:
		return errors.New("no registers to read")
	case cfg.Framing != TCP && (cfg.Unit < 1 || cfg.Unit > 247):
		return fmt.Errorf("unit %d, expected 1 to 247", cfg.Unit)
	case cfg.MaxRegisters < 1 || cfg.MaxRegisters > maxWords:
		return fmt.Errorf("at most %d registers a request, expected 1 to %d", cfg.MaxRegisters, maxWords)
	}
	for i := range cfg.Registers {
		if err := checkRegister(&cfg.Registers[i], cfg.MaxRegisters); err != nil {
			return fmt.Errorf("register %s: %w", cfg.Registers[i].Name, err)
		}
	}
	return nil
}

// Requests returns what one Read asks, in order. It changes when the meter
// refuses something.
func (m *Meter) Requests() []Request {
	list := make([]Request, len(m.plan))
	for i, r := range m.plan {
		list[i] = r.Request
	}
	return list
}

// Read reads all registers once: dst[i] becomes the reading of Registers[i],
// with a value or the reason there is none. A request that fails takes only its
// own registers with it, except that after a time-out or a lost line the
// remaining ones are marked alike without being asked.
//
// It returns the first *drivers.Fault, or nil when everything was answered. A
// register the meter does not have is a fault once, when it is found out;
// from then on it is Absent and not asked again.
func (m *Meter) Read(ctx context.Context, dst []drivers.Reading) error {
	if len(dst) != len(m.cfg.Registers) {
		return fmt.Errorf("meter %s: %d readings wanted of %d registers", m.cfg.Name, len(dst), len(m.cfg.Registers))
	}
	for _, i := range m.absent {
		dst[i] = drivers.Reading{Quality: drivers.Absent}
	}
	if len(m.plan) == 0 {
		return &drivers.Fault{Kind: drivers.Absent, Meter: m.cfg.Name,
			Err: fmt.Errorf("has none of the %d registers of its profile: is it the right profile?", len(dst))}
	}
	m.wire.ctx = ctx
	var first *drivers.Fault
	known := len(m.absent)
	cuts := len(m.ranges)
	for i, r := range m.plan {
		fault, _ := m.read(ctx, r, dst)
		if fault == nil {
			continue
		}
		if first == nil {
			first = fault
		}
		if fatal(fault) {
			for _, r := range m.plan[i+1:] {
				r.mark(dst, fault.Kind)
			}
			break
		}
	}
	if len(m.absent) != known || len(m.ranges) != cuts {
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

// read asks r and fills its readings. Refused r as a whole, it asks the halves
// until it knows which registers the meter does not have; refused says so to
// the caller, who may have asked r as a half of its own.
func (m *Meter) read(ctx context.Context, r request, dst []drivers.Reading) (fault *drivers.Fault, refused bool) {
	data, fault := m.ask(ctx, r.Request)
	if fault == nil {
		r.decode(data, dst)
		return nil, false
	}
	var code Exception
	if !errors.As(fault, &code) || code != illegalAddress && code != illegalValue {
		r.mark(dst, fault.Kind)
		return fault, false
	}
	if len(r.points) > 1 {
		return m.split(ctx, r, dst), true
	}
	if code == illegalValue {
		r.mark(dst, fault.Kind)
		return fault, true
	}
	return m.confirmAbsent(ctx, r, dst), true
}

// split asks the two halves of a refused request. Where both are answered, the
// meter objects to what lies between them, and they are not joined again.
func (m *Meter) split(ctx context.Context, r request, dst []drivers.Reading) *drivers.Fault {
	half := len(r.points) / 2
	left, right := newRequest(r.points[:half]), newRequest(r.points[half:])
	first, leftRefused := m.read(ctx, left, dst)
	if first != nil && fatal(first) {
		right.mark(dst, first.Kind)
		return first
	}
	second, rightRefused := m.read(ctx, right, dst)
	if first == nil && second == nil && !leftRefused && !rightRefused {
		m.cut(r.Table, left.last()+1, int(right.Address)-1)
	}
	if first != nil {
		return first
	}
	return second
}

// confirmAbsent asks for a single refused register once more before it is
// given up for good: exceptions carry nothing that ties them to the question.
func (m *Meter) confirmAbsent(ctx context.Context, r request, dst []drivers.Reading) *drivers.Fault {
	data, fault := m.ask(ctx, r.Request)
	if fault == nil {
		r.decode(data, dst)
		return nil
	}
	var code Exception
	if !errors.As(fault, &code) || code != illegalAddress {
		r.mark(dst, fault.Kind)
		return fault
	}
	p := r.points[0]
	m.absent = append(m.absent, p.index)
	m.points = without(m.points, p.index)
	m.cut(r.Table, int(r.Address), r.last())
	r.mark(dst, drivers.Absent)
	return m.fault(r.Request, drivers.Absent, fmt.Errorf("%w: no register for %s; it is not asked again", code, p.reg.Name))
}

// ask gets the data of one request. It asks once more when the meter is busy or
// its reply was damaged.
func (m *Meter) ask(ctx context.Context, r Request) ([]byte, *drivers.Fault) {
	data, fault := m.once(ctx, r)
	switch {
	case fault == nil:
		return data, nil
	case fault.Kind == drivers.BadFrame:
		return m.once(ctx, r)
	case errors.Is(fault, busy):
		sleep(ctx, busyPause)
		return m.once(ctx, r)
	}
	return nil, fault
}

// once asks r once, after a probe when a stale reply might be taken for the
// one to r.
//
// RTU replies carry nothing that ties them to their request but unit, function
// and length, and the reply to a request given up may still come: late on the
// bus, or held back by a gateway. So the next thing asked is a probe whose
// reply has a length no planned request has, nor any of the probes before it.
// No stale reply can pass for it, and once it is answered none can be left,
// for a meter answers in order.
func (m *Meter) once(ctx context.Context, r Request) ([]byte, *drivers.Fault) {
	if m.doubt && m.silent < probePatience {
		_, fault := m.exchange(ctx, m.probes[m.tried%len(m.probes)])
		m.tried++
		if fault != nil && fault.Kind != drivers.Refused {
			switch fault.Kind {
			case drivers.Timeout:
				m.silent++
			case drivers.BadFrame:
				m.silent = 0 // something came
			}
			return nil, fault
		}
	}
	data, fault := m.exchange(ctx, r)
	if fault != nil && (fault.Kind == drivers.Skipped || fault.Kind == drivers.Disconnected) {
		// Held off, cut short or without a line: that says nothing of how the
		// meter takes probes, and something may have been sent.
		m.doubt = true
		return nil, fault
	}
	m.doubt, m.tried, m.silent = fault != nil && fault.Kind != drivers.Refused, 0, 0
	return data, fault
}

// ReadRaw reads r as it stands, for what has no place among the readings. It is
// asked once, and not at all while a reply that was given up may still come,
// because the probes that tell such a reply apart are not made for r. Its error
// is a *drivers.Fault. The data is valid until the next request.
func (m *Meter) ReadRaw(ctx context.Context, r Request) ([]byte, error) {
	if m.doubt {
		return nil, m.fault(r, drivers.Skipped, errors.New("an earlier reply may still come"))
	}
	m.wire.ctx = ctx
	data, fault := m.exchange(ctx, r)
	if fault != nil {
		m.doubt, m.tried, m.silent = fault.Kind != drivers.Refused, 0, 0
		return nil, fault
	}
	return data, nil
}

// exchange sends one request. The data is valid until the next.
func (m *Meter) exchange(ctx context.Context, r Request) (data []byte, _ *drivers.Fault) {
	if m.cfg.Gap > 0 {
		sleep(ctx, m.cfg.Gap-time.Since(m.last))
		defer func() { m.last = time.Now() }()
	}
	var err error
	switch r.Table {
	case drivers.HoldingRegister:
		data, err = m.client.ReadHoldingRegisters(r.Address, r.Count)
	case drivers.InputRegister:
		data, err = m.client.ReadInputRegisters(r.Address, r.Count)
	case drivers.Coil:
		data, err = m.client.ReadCoils(r.Address, r.Count)
	default:
		data, err = m.client.ReadDiscreteInputs(r.Address, r.Count)
	}
	if err == nil {
		return data, nil
	}
	var refusal *goburrow.ModbusError
	var fault *drivers.Fault
	switch {
	case errors.As(err, &refusal):
		code := Exception(refusal.ExceptionCode)
		if code.silence() { // over an Exchanger that does not ask Silent
			return nil, m.fault(r, drivers.Timeout, code)
		}
		return nil, m.fault(r, drivers.Refused, code)
	case errors.As(err, &fault):
		return nil, m.fault(r, fault.Kind, fault.Err)
	}
	return nil, m.fault(r, drivers.BadFrame, err)
}

func (m *Meter) fault(r Request, kind drivers.Quality, err error) *drivers.Fault {
	return &drivers.Fault{Kind: kind, Op: r.String(), Meter: m.cfg.Name, Err: err}
}

// sleep waits, but not beyond the end of ctx.
func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
