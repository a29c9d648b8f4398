package meter

import (
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// Modbus Application Protocol V1.1b3: function codes (section 6), their limits
// (6.1, 6.3) and exception codes (7).
const (
	readCoils            = 1
	readDiscreteInputs   = 2
	readHoldingRegisters = 3
	readInputRegisters   = 4

	maxBits  = 2000
	maxWords = 125

	illegalFunction = 1
	illegalAddress  = 2
	illegalValue    = 3
	slaveBusy       = 6
	exceptionBit    = 0x80
)

// Config describes one meter. Load and Clock are needed, all else has a
// default.
type Config struct {
	Name  string // for reports
	Load  *plant.Load
	Clock *plant.Clock
	// Seed sets what differs between meters of one make: phase shares, the
	// mains, the register at the start. Equal seeds give equal meters.
	Seed uint64
	// Share of the load that flows through this meter, in thousandths; 0 means
	// all of it.
	Share int64
	// Ratio between the load and the meter's terminals, CT x PT; 0 means 1. The
	// registers hold secondary values, as a real meter's do.
	Ratio int64
	// Base is the energy register at the start in kWh, not negative and with at
	// most 6 decimals; nil draws 1000.00 to 9999.99 from the seed.
	//
	// A float32 register tells neighbours 0.01 kWh apart only up to 131072 kWh
	// (24 significant bits: 2^17/2^24 = 0.0078). Beyond that it holds the
	// nearest value it can, as the real meter's does; Register and Reading say
	// what that is.
	Base *drivers.Decimal

	Registers []drivers.Register
	// Ranges are read without a refusal even where no register lies; what is
	// not a register there reads 0. All else refuses with exception 02.
	Ranges []drivers.Range
	// MaxRegisters is the most the meter gives in one answer; 0 means 125.
	MaxRegisters int

	// Refresh is how long an answer may repeat the values of the one before;
	// 0 means they are always new.
	Refresh time.Duration
	// Digits before the point after which the counters start again at 0; 0 means
	// they do where their registers end.
	Digits int
	// Acts are done to the meter on their way.
	Acts []Act
	// Fault, if set, is asked before each request (numbered from 0) how the
	// meter misbehaves this time. Meters share no lock, so one that serves two
	// connections may be asked from both at once.
	Fault func(request int) Fault
}

// WithProfile gives the meter the registers and limits of a device profile.
// Registers of quantities that are not simulated (a drive's speed, an alarm) read
// 0 within the profile's ranges and are refused elsewhere.
func (c Config) WithProfile(p *profile.Profile) Config {
	c.Ranges, c.MaxRegisters = p.Ranges, p.MaxRegisters
	for _, r := range p.All() {
		if _, err := plant.SourceOf(r.Quantity); err == nil || r.Type == drivers.Bit {
			c.Registers = append(c.Registers, r)
		}
	}
	return c
}

// Modbus is a simulated Modbus meter. It is safe for concurrent use.
type Modbus struct {
	device
	maxRegisters int

	mu     sync.Mutex
	images [4]*image // under mu: the bytes; the shape is fixed
	cells  []cell
	now    plant.Values // under mu
	taken  time.Time    // under mu: when now was computed; zero before the first time
}

// NewModbus makes a meter. It fails when a register shows a quantity that is not
// simulated, when registers overlap, or on a negative base.
func NewModbus(c Config) (*Modbus, error) {
	if c.MaxRegisters == 0 {
		c.MaxRegisters = maxWords
	}
	m := &Modbus{maxRegisters: min(c.MaxRegisters, maxWords)}
	if err := m.init(c); err != nil {
		return nil, err
	}
	var err error
	if m.images, m.cells, err = newImages(c.Registers, c.Ranges); err != nil {
		return nil, fmt.Errorf("meter %s: %w", c.Name, err)
	}
	return m, nil
}

// Register returns the words that stand at an address right now (for bits: 0 or
// 1), or nil where none does. It does not count as a poll.
func (m *Modbus) Register(table drivers.Table, address uint16) []uint16 {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.update()
	for i := range m.cells {
		if c := &m.cells[i]; c.Table == table && c.Address == address {
			if table.Bits() {
				return []uint16{uint16(c.to[0])}
			}
			words := make([]uint16, c.Type.Words())
			for j := range words {
				words[j] = binary.BigEndian.Uint16(c.to[2*j:])
			}
			return words
		}
	}
	return nil
}

// Reading returns the number an ideal reader takes from the register of a
// quantity right now, at the register's resolution: what it holds, so for a
// float32 the nearest value 24 bits allow. It does not count as a poll.
func (m *Modbus) Reading(quantity string) (drivers.Decimal, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.update()
	for i := range m.cells {
		if c := &m.cells[i]; c.Name == quantity {
			return shown(&c.Register, m.bits(c)), true
		}
	}
	return drivers.Decimal{}, false
}

// bits is the raw pattern of a cell in the current state. Called with mu held.
func (m *Modbus) bits(c *cell) uint64 {
	if c.Type == drivers.Bit {
		return m.lamp(c.Address)
	}
	return raw(&c.Register, m.now[c.source.Kind][c.source.Phase], c.source.Kind.Counter())
}

// lamp is the state of a contact: the first is closed while the machines run,
// the second while they do not, the rest are open.
func (m *Modbus) lamp(address uint16) uint64 {
	running := m.in.Running(&m.now)
	if address == 0 && running || address == 1 && !running {
		return 1
	}
	return 0
}

// update computes the state of this moment and encodes it. Called with mu held.
func (m *Modbus) update() {
	m.state(m.clock.Elapsed(), &m.now)
	m.taken = time.Now()
	m.encode()
}

// encode puts the state into the images. Called with mu held.
func (m *Modbus) encode() {
	for i := range m.cells {
		c := &m.cells[i]
		bits := m.bits(c)
		if c.Table.Bits() {
			c.to[0] = byte(bits)
			continue
		}
		putWords(c.to, &c.Register, bits)
	}
}

// Answer returns the reply to a Modbus PDU (function code and data, without
// unit or checksum), or nil to an empty one. It answers the four read functions
// and refuses all else: 01 other functions, 02 addresses it does not have, 03
// wrong lengths and counts. Any input is fine.
func (m *Modbus) Answer(pdu []byte) []byte { return m.appendAnswer(nil, pdu, 0) }

// appendAnswer is Answer into a buffer the caller keeps, with wrong values
// where factor is not 0.
func (m *Modbus) appendAnswer(dst, pdu []byte, factor int64) []byte {
	if len(pdu) == 0 {
		return dst
	}
	// Only after the answer: the first poll must find the held state.
	defer m.clock.Polled()
	var table drivers.Table
	most := m.maxRegisters
	switch pdu[0] {
	case readHoldingRegisters:
		table = drivers.HoldingRegister
	case readInputRegisters:
		table = drivers.InputRegister
	case readCoils:
		table, most = drivers.Coil, maxBits
	case readDiscreteInputs:
		table, most = drivers.DiscreteInput, maxBits
	default:
		return append(dst, pdu[0]|exceptionBit, illegalFunction)
	}
	if len(pdu) != 5 {
		return append(dst, pdu[0]|exceptionBit, illegalValue)
	}
	address, n := int(binary.BigEndian.Uint16(pdu[1:])), int(binary.BigEndian.Uint16(pdu[3:]))
	if n == 0 || n > most {
		return append(dst, pdu[0]|exceptionBit, illegalValue)
	}
	data, ok := m.images[table].at(address, n)
	if !ok {
		return append(dst, pdu[0]|exceptionBit, illegalAddress)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.taken.IsZero() || time.Since(m.taken) >= m.refresh {
		m.update()
	}
	if factor != 0 {
		m.now.Scale(factor)
		m.encode()
		defer m.update()
	}
	if table.Bits() {
		dst = append(dst, pdu[0], byte((n+7)/8))
		return appendPacked(dst, data)
	}
	dst = append(dst, pdu[0], byte(2*n))
	return append(dst, data...)
}

// appendPacked packs one bit a byte into eight, the first in the lowest bit
// (section 6.1).
func appendPacked(dst, bits []byte) []byte {
	for i := 0; i < len(bits); i += 8 {
		var b byte
		for j, bit := range bits[i:min(i+8, len(bits))] {
			b |= bit << j
		}
		dst = append(dst, b)
	}
	return dst
}

// Response is what a meter puts on the wire for one request, before framing.
type Response struct {
	Unit  byte
	PDU   []byte // empty: silence
	Noise []byte // before it
	Late  time.Duration
	n     int // of the request, from 0
	fault Fault
}

// Respond answers in the name of unit, misbehaving as told. The reply is built
// in buf's storage.
func (m *Modbus) Respond(buf []byte, unit byte, pdu []byte) Response {
	n, f := m.ask()
	r := Response{Unit: unit, PDU: m.appendAnswer(buf[:0], pdu, f.Factor), n: n, fault: f}
	r.Noise, r.Late = f.Noise, f.Late
	if f.Exception != 0 && len(pdu) > 0 {
		r.PDU = append(buf[:0], pdu[0]|exceptionBit, f.Exception)
	}
	if f.Foreign {
		r.Unit++
	}
	if f.Unit != 0 {
		r.Unit = f.Unit
	}
	if f.Silent {
		r.PDU = nil
	}
	return r
}
