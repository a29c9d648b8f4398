package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"time"

	goburrow "github.com/goburrow/modbus"
	"github.com/tallystick/tallystick/drivers"
)

// wire is goburrow's packager and transporter over a line. The library's own
// ones take a late reply for the next one, do not compare a reply with the
// length that was asked, and lose exception frames (goburrow/modbus v0.1.0).
//
//	RTU  unit(1) function(1) data crc(2, low byte first)
//	TCP  transaction(2) 0(2) length(2) unit(1) function(1) data
//
// The data of a request is address(2) count(2), of a reply count of bytes(1)
// bytes, of an exception, whose function has the top bit set, its code(1).
type wire struct {
	line    drivers.Exchanger
	ctx     context.Context // of the Read in progress: the library passes none
	framing Framing
	unit    byte
	timeout time.Duration
	match   func([]byte) (skip, size int)

	transaction uint16
	request     [12]byte
	head        [9]byte // first bytes of the reply to request; RTU: 3 of them
	refusal     [8]byte // first bytes of an exception; RTU: 2 of them
	size        int     // length of the reply
	pdu         goburrow.ProtocolDataUnit
}

const (
	rtuHead, rtuRefusal = 3, 2
	rtuRefusalSize      = 5
	tcpRefusalSize      = 9
	mbap                = 7 // bytes before the function code on TCP
)

func newWire(cfg Config, line drivers.Exchanger) *wire {
	w := &wire{line: line, ctx: context.Background(), framing: cfg.Framing, unit: cfg.Unit, timeout: cfg.Timeout}
	w.match = w.matchRTU
	if cfg.Framing == TCP {
		w.match = w.matchTCP
	}
	return w
}

// Encode frames a request and works out what its reply must look like. It is
// the gate through which every request passes, and lets only reads through.
func (w *wire) Encode(pdu *goburrow.ProtocolDataUnit) ([]byte, error) {
	if pdu.FunctionCode < goburrow.FuncCodeReadCoils || pdu.FunctionCode > goburrow.FuncCodeReadInputRegisters || len(pdu.Data) != 4 {
		return nil, fmt.Errorf("function code 0x%02X is not one of the reads 0x01 to 0x04", pdu.FunctionCode)
	}
	n := int(binary.BigEndian.Uint16(pdu.Data[2:]))
	if pdu.FunctionCode <= goburrow.FuncCodeReadDiscreteInputs {
		n = (n + 7) / 8
	} else {
		n *= 2
	}
	if w.framing == RTU {
		w.request[0], w.request[1] = w.unit, pdu.FunctionCode
		copy(w.request[2:], pdu.Data)
		binary.LittleEndian.PutUint16(w.request[6:], crc(w.request[:6]))
		copy(w.head[:], []byte{w.unit, pdu.FunctionCode, byte(n)})
		copy(w.refusal[:], []byte{w.unit, pdu.FunctionCode | 0x80})
		w.size = rtuHead + n + 2
		return w.request[:8], nil
	}
	w.transaction++
	binary.BigEndian.PutUint16(w.request[:], w.transaction)
	w.request[5], w.request[6], w.request[7] = 6, w.unit, pdu.FunctionCode
	copy(w.request[8:], pdu.Data)
	w.head = [9]byte{w.request[0], w.request[1], 0, 0, 0, byte(3 + n), w.unit, pdu.FunctionCode, byte(n)}
	w.refusal = [8]byte{w.request[0], w.request[1], 0, 0, 0, 3, w.unit, pdu.FunctionCode | 0x80}
	w.size = len(w.head) + n
	return w.request[:12], nil
}

// Send asks the line.
func (w *wire) Send(request []byte) ([]byte, error) {
	return w.line.Exchange(w.ctx, drivers.Exchange{
		Request: request, Timeout: w.timeout, Match: w.match, Numbered: w.framing == TCP,
	})
}

// Verify has nothing to add: what match let through is the reply asked for.
func (w *wire) Verify(request, reply []byte) error { return nil }

// Decode takes the frame off a reply.
func (w *wire) Decode(reply []byte) (*goburrow.ProtocolDataUnit, error) {
	if w.framing == RTU {
		reply = reply[1 : len(reply)-2]
	} else {
		reply = reply[mbap:]
	}
	w.pdu.FunctionCode, w.pdu.Data = reply[0], reply[1:]
	return &w.pdu, nil
}

// matchRTU hunts for the reply, or an exception, with a good CRC. Whatever
// stands before it - echo, wake-up bytes, a stale or damaged frame - is noise.
func (w *wire) matchRTU(b []byte) (skip, size int) {
	partial := -1 // where a reply that is not complete yet may begin
	for i := range b {
		rest := b[i:]
		size := 0
		switch {
		case prefix(rest, w.head[:rtuHead]):
			size = w.size
		case prefix(rest, w.refusal[:rtuRefusal]):
			size = rtuRefusalSize
		default:
			continue
		}
		if len(rest) < size {
			if partial < 0 {
				partial = i
			}
		} else if crc(rest[:size-2]) == binary.LittleEndian.Uint16(rest[size-2:]) {
			return i, size
		}
	}
	if partial < 0 {
		return len(b), 0
	}
	return partial, 0
}

// matchTCP hunts for the nine bytes every reply to this very request begins
// with. Length fields of other frames are not trusted.
func (w *wire) matchTCP(b []byte) (skip, size int) {
	for i := range b {
		rest := b[i:]
		switch {
		case prefix(rest, w.head[:]):
			size = w.size
		case prefix(rest, w.refusal[:]):
			size = tcpRefusalSize
		default:
			continue
		}
		if len(rest) < size {
			return i, 0
		}
		return i, size
	}
	return len(b), 0
}

// prefix reports whether b begins with head, as far as b goes.
func prefix(b, head []byte) bool {
	n := min(len(b), len(head))
	return bytes.Equal(b[:n], head[:n])
}

// crc is the CRC-16 of Modbus over Serial Line V1.02, section 6.2.2.
func crc(b []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			low := sum & 1
			sum >>= 1
			sum ^= 0xA001 * low
		}
	}
	return sum
}
