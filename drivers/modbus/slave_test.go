package modbus

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// slave is a meter and its line in one: an Exchanger that answers at once. It
// keeps to what drivers/line promises, so that a test can spoil any byte.
type slave struct {
	framing Framing
	unit    byte
	words   map[uint16]uint16 // registers and, by their lowest bit, coils
	refuse  func(r Request) Exception
	// spoil, when set, turns the stream of bytes a proper answer would be
	// into what really comes after request n (1 is the first).
	spoil func(n int, reply []byte) []byte
	fault func(n int) *drivers.Fault // the line fails
	asked []Request
}

func (s *slave) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	n := len(s.asked) + 1
	if err := ctx.Err(); err != nil {
		return nil, &drivers.Fault{Kind: drivers.Skipped, Err: err}
	}
	stream := s.answer(x.Request)
	if s.fault != nil {
		if f := s.fault(n); f != nil {
			return nil, f
		}
	}
	if s.spoil != nil {
		stream = s.spoil(n, stream)
	}
	return find(stream, x)
}

// find hands Match the stream byte by byte, as a slow line would.
func find(stream []byte, x drivers.Exchange) ([]byte, error) {
	start := 0
	for end := 1; end <= len(stream); end++ {
		skip, size := x.Match(stream[start:end])
		if skip < 0 || size < 0 || start+skip > end || start+skip+size > end {
			panic(fmt.Sprintf("Match of %d bytes says skip %d, size %d", end-start, skip, size))
		}
		start += skip
		if size > 0 {
			return stream[start : start+size], nil
		}
	}
	if len(stream) == 0 {
		return nil, &drivers.Fault{Kind: drivers.Timeout, Err: fmt.Errorf("timeout after %v", x.Timeout)}
	}
	return nil, &drivers.Fault{Kind: drivers.BadFrame, Err: fmt.Errorf("%d bytes but no valid reply", len(stream))}
}

// answer decodes the request and frames the reply, apart from the code under
// test except for the CRC, which has golden frames of its own.
func (s *slave) answer(request []byte) []byte {
	unit, pdu := request[0], request[1:]
	if s.framing == TCP {
		unit, pdu = request[6], request[7:]
	}
	r := Request{
		Table:   map[byte]drivers.Table{1: drivers.Coil, 2: drivers.DiscreteInput, 3: drivers.HoldingRegister, 4: drivers.InputRegister}[pdu[0]],
		Address: binary.BigEndian.Uint16(pdu[1:]), Count: binary.BigEndian.Uint16(pdu[3:]),
	}
	s.asked = append(s.asked, r)
	if unit != s.unit {
		return nil
	}
	reply := s.reply(pdu[0], r)
	if s.framing == TCP {
		head := append([]byte(nil), request[:4]...)
		head = binary.BigEndian.AppendUint16(head, uint16(1+len(reply)))
		return append(append(head, unit), reply...)
	}
	frame := append([]byte{unit}, reply...)
	return binary.LittleEndian.AppendUint16(frame, crc(frame))
}

func (s *slave) reply(function byte, r Request) []byte {
	if s.refuse != nil {
		if e := s.refuse(r); e != 0 {
			return []byte{function | 0x80, byte(e)}
		}
	}
	data := make([]byte, r.bytes())
	for i := range r.Count {
		v := s.words[r.Address+i]
		if r.Table.Bits() {
			data[i/8] |= byte(v&1) << (i % 8)
		} else {
			binary.BigEndian.PutUint16(data[2*i:], v)
		}
	}
	return append([]byte{function, byte(len(data))}, data...)
}

// log is what was asked since the last call, "0x0000+2 0x0010+4".
func (s *slave) log() string {
	var words []string
	for _, r := range s.asked {
		words = append(words, strings.TrimPrefix(r.String(), "read "+r.Table.String()+" "))
	}
	s.asked = nil
	return strings.Join(words, " ")
}

// counters returns a slave whose register a holds 1000+a, and the registers at
// the given addresses.
func counters(addresses ...uint16) (*slave, []drivers.Register) {
	s := &slave{unit: 7, words: map[uint16]uint16{}}
	for a := range uint16(200) {
		s.words[a] = 1000 + a
	}
	var regs []drivers.Register
	for _, a := range addresses {
		regs = append(regs, drivers.Register{Quantity: drivers.Quantity{Name: fmt.Sprintf("q%d", a)}, Address: a})
	}
	return s, regs
}

func config(regs []drivers.Register, ranges ...drivers.Range) Config {
	return Config{Name: "press-1", Unit: 7, Registers: regs, Ranges: ranges, Timeout: 300 * time.Millisecond}
}

func span(from, last uint16) drivers.Range { return drivers.Range{Address: from, Last: last} }
