package modbus

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"time"

	goburrow "github.com/goburrow/modbus"
	"github.com/tallystick/tallystick/drivers"
)

// wire is goburrow's packager and transporter over a line. The library's own
// ones take a late reply for the next one, do not compare a reply with the
// length that was asked, and lose exception frames (goburrow/modbus v0.1.0).
//
//	RTU    unit(1) function(1) data crc(2, low byte first)
//	ASCII  ':', the same in hexadecimal with lrc(1) instead of the crc, CR LF
//	TCP    transaction(2) 0(2) length(2) unit(1) function(1) data
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
	silent  func(reply []byte) error

	settings    drivers.Settings
	transaction uint16
	request     [17]byte
	head        [9]byte   // first bytes of the reply to request; RTU and ASCII: 3 of them
	refusal     [8]byte   // first bytes of an exception; RTU and ASCII: 2 of them
	size        int       // length of the reply
	plain       [256]byte // ASCII: a reply without its hexadecimal digits
	pdu         goburrow.ProtocolDataUnit
}

const (
	rtuHead, rtuRefusal = 3, 2
	rtuRefusalSize      = 5
	tcpRefusalSize      = 9
	mbap                = 7 // bytes before the function code on TCP
)

func newWire(cfg Config, line drivers.Exchanger) *wire {
	w := &wire{line: line, ctx: context.Background(), framing: cfg.Framing, unit: cfg.Unit, timeout: cfg.Timeout, settings: cfg.Settings}
	switch cfg.Framing {
	case ASCII:
		w.match = w.matchASCII
	case TCP:
		w.match = w.matchTCP
	default:
		w.match = w.matchRTU
	}
	w.silent = w.silence
	return w
}

// silence is the exception with which a gateway reports that the meter is silent.
func (w *wire) silence(reply []byte) error {
	pdu, err := w.Decode(reply)
	if err == nil && pdu.FunctionCode&0x80 != 0 && Exception(pdu.Data[0]).silence() {
		return Exception(pdu.Data[0])
	}
	return nil
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
	if w.framing != TCP {
		w.request[0], w.request[1] = w.unit, pdu.FunctionCode
		copy(w.request[2:], pdu.Data)
		copy(w.head[:], []byte{w.unit, pdu.FunctionCode, byte(n)})
		copy(w.refusal[:], []byte{w.unit, pdu.FunctionCode | 0x80})
		w.size = rtuHead + n + 2
		if w.framing == ASCII {
			w.size = rtuHead + n + 1
			return w.encodeASCII(w.request[:6]), nil
		}
		binary.LittleEndian.PutUint16(w.request[6:], crc(w.request[:6]))
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
		Request: request, Settings: w.settings, Timeout: w.timeout, Match: w.match, Numbered: w.framing == TCP, Silent: w.silent,
	})
}

// Verify has nothing to add: what match let through is the reply asked for.
func (w *wire) Verify(request, reply []byte) error { return nil }

// Decode takes the frame off a reply.
func (w *wire) Decode(reply []byte) (*goburrow.ProtocolDataUnit, error) {
	switch w.framing {
	case ASCII:
		n, _ := w.openASCII(reply) // as when it was matched
		reply = w.plain[1 : n-1]
	case TCP:
		reply = reply[mbap:]
	default:
		reply = reply[1 : len(reply)-2]
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

// encodeASCII writes frame and its LRC in hexadecimal into the request buffer.
func (w *wire) encodeASCII(frame []byte) []byte {
	var plain [7]byte
	n := copy(plain[:], frame)
	plain[n] = lrc(frame)
	const digits = "0123456789ABCDEF" // section 2.5.2: upper case
	w.request[0] = ':'
	for i, c := range plain[:n+1] {
		w.request[1+2*i], w.request[2+2*i] = digits[c>>4], digits[c&0xF]
	}
	end := 1 + 2*(n+1)
	w.request[end], w.request[end+1] = '\r', '\n'
	return w.request[:end+2]
}

// matchASCII hunts for the reply, or an exception, with a good LRC.
func (w *wire) matchASCII(b []byte) (skip, size int) {
	partial := len(b)
	for i := range b {
		if b[i] != ':' {
			continue
		}
		end := bytes.IndexByte(b[i:], '\n')
		if end < 0 {
			partial = min(partial, i)
			continue
		}
		n, ok := w.openASCII(b[i : i+end+1])
		if !ok {
			continue
		}
		frame := w.plain[:n]
		if n == w.size && prefix(frame, w.head[:rtuHead]) || n == rtuRefusalSize-1 && prefix(frame, w.refusal[:rtuRefusal]) {
			return i, end + 1
		}
	}
	return partial, 0
}

// openASCII turns a line into the bytes it stands for, LRC included, and
// reports whether they are sound.
func (w *wire) openASCII(line []byte) (n int, ok bool) {
	if len(line) < 3 || string(line[len(line)-2:]) != "\r\n" {
		return 0, false
	}
	digits := line[1 : len(line)-2]
	if len(digits)%2 != 0 || len(digits) > 2*len(w.plain) || len(digits) < 8 {
		return 0, false
	}
	n, err := hex.Decode(w.plain[:], digits)
	return n, err == nil && lrc(w.plain[:n-1]) == w.plain[n-1]
}

// lrc is the checksum of Modbus over Serial Line V1.02, section 6.2.1.
func lrc(b []byte) (sum byte) {
	for _, c := range b {
		sum -= c
	}
	return sum
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
