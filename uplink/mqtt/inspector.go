package mqtt

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// Control packets a broker may send to this client (MQTT 3.1.1, table 2.1).
// It never asks for more than QoS 1, so PUBREC, PUBREL and PUBCOMP are not
// among them, and it never unsubscribes.
const (
	connack  = 2
	publish  = 3
	puback   = 4
	suback   = 9
	pingresp = 13
)

// inspector follows the packets a broker sends, byte by byte as paho reads
// them. It refuses what paho would trip over: a length paho would allocate
// before a byte of it has come, a SUBACK with more return codes than topics
// (paho indexes out of range), a CONNACK code paho has no error for (paho
// takes it for success). And it remembers the acknowledgements.
type inspector struct {
	max int // largest remaining length accepted, bytes

	// Owned by the goroutine that reads.
	state  inspectorState
	fault  error   // the first fault; sticks
	first  byte    // first byte of the current packet
	shift  uint    // bits of remaining length decoded
	length int     // remaining length of the current packet
	seen   int     // bytes of its body passed on
	head   [2]byte // the first bytes of its body

	mu    sync.Mutex
	acked map[uint16]struct{} // PUBACKs seen and not yet claimed; at most one per identifier
}

type inspectorState uint8

const (
	atType inspectorState = iota
	atLength
	atBody
)

// ProtocolError is something a broker sent that MQTT 3.1.1 does not allow, or
// a packet larger than this program accepts.
type ProtocolError struct{ Found string }

func (e *ProtocolError) Error() string { return "protocol violation: the broker sent " + e.Found }

func newInspector(max int) *inspector {
	return &inspector{max: max, acked: make(map[uint16]struct{})}
}

// scan looks at the next bytes from the broker. It is total on any input.
func (in *inspector) scan(p []byte) error {
	for len(p) > 0 && in.fault == nil {
		switch in.state {
		case atType:
			in.first, in.shift, in.length, in.seen = p[0], 0, 0, 0
			in.state = atLength
			p = p[1:]
		case atLength:
			in.fault = in.lengthByte(p[0])
			p = p[1:]
		case atBody:
			n := min(len(p), in.length-in.seen)
			if in.seen < len(in.head) {
				copy(in.head[in.seen:], p[:n])
			}
			in.seen += n
			p = p[n:]
			if in.seen == in.length {
				in.state = atType
				in.fault = in.complete()
			}
		}
	}
	return in.fault
}

func (in *inspector) lengthByte(b byte) error {
	in.length |= int(b&0x7f) << in.shift
	in.shift += 7
	if b&0x80 != 0 {
		if in.shift == 28 {
			return &ProtocolError{"a packet length of more than four bytes"}
		}
		return nil
	}
	in.state = atBody
	if in.length == 0 {
		in.state = atType
	}
	return in.header()
}

// header checks type, flags and length of the packet that begins.
func (in *inspector) header() error {
	typ, flags := in.first>>4, in.first&0x0f
	want := -1
	switch typ {
	case publish:
		if qos := flags >> 1 & 3; qos > 1 {
			return &ProtocolError{fmt.Sprintf("a message with QoS %d, which was not asked for", qos)}
		}
		if in.length > in.max {
			return &ProtocolError{fmt.Sprintf("a message of %d bytes; %d are accepted", in.length, in.max)}
		}
		return nil
	case connack, puback:
		want = 2
	case suback:
		want = 3
	case pingresp:
		want = 0
	default:
		return &ProtocolError{fmt.Sprintf("a packet of type %d, which only a client may send or nobody asked for", typ)}
	}
	if flags != 0 || in.length != want {
		return &ProtocolError{fmt.Sprintf("a packet of type %d with flags %#x and %d bytes; expected flags 0x0 and %d bytes", typ, flags, in.length, want)}
	}
	return nil
}

// complete acts on a packet that has been passed on in full.
func (in *inspector) complete() error {
	switch in.first >> 4 {
	case connack:
		if code := in.head[1]; code > 5 {
			return &ProtocolError{fmt.Sprintf("connection return code %d, which MQTT 3.1.1 does not have", code)}
		}
	case puback:
		in.mu.Lock()
		in.acked[binary.BigEndian.Uint16(in.head[:])] = struct{}{}
		in.mu.Unlock()
	}
	return nil
}

// claim reports whether a PUBACK for id has been seen since the last claim.
// Safe for use by any goroutine.
func (in *inspector) claim(id uint16) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	_, ok := in.acked[id]
	delete(in.acked, id)
	return ok
}
