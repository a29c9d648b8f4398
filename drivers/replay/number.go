package replay

import (
	"bytes"

	"github.com/tallystick/tallystick/drivers"
)

// Some requests carry a number that is another each time, and their replies
// repeat it. Requests are compared without it, and a reply gets the number the
// driver has asked with now: none but a reply to the recorded request does.

const tcpFrame = 260 // bytes of the longest Modbus TCP frame

// sameButTransaction compares Modbus TCP requests.
func sameButTransaction(asked, recorded []byte) bool {
	return len(asked) > 2 && len(recorded) > 2 && bytes.Equal(asked[2:], recorded[2:])
}

// transaction finds the reply with the recorded transaction number.
func transaction(x *drivers.Exchange, r *Exchange) []byte {
	for i := range r.Reply {
		if !bytes.HasPrefix(r.Reply[i:], r.Request[:2]) {
			continue
		}
		frame := bytes.Clone(r.Reply[i:min(len(r.Reply), i+tcpFrame)])
		copy(frame, x.Request[:2])
		if skip, size := x.Match(frame); skip == 0 && size > 0 && size <= len(frame) {
			return frame[:size]
		}
	}
	return nil
}

// A CJ/T 188 frame (2004, section 5): 68 T A0..A6 C L DI0 DI1 SER ... CS 16.
const (
	cjtStart, cjtEnd  = 0x68, 0x16
	cjtLength, cjtSer = 10, 13 // bytes before L and SER
	cjtHead           = 11     // bytes before DI0
)

// cjtFrames calls found with every sound frame in b that has a serial number
// beside an identifier, until it returns true.
func cjtFrames(b []byte, found func(frame []byte) bool) {
	for i, c := range b {
		if c != cjtStart || len(b) <= i+cjtLength {
			continue
		}
		n := cjtHead + int(b[i+cjtLength])
		if n <= cjtSer || len(b) < i+n+2 || b[i+n+1] != cjtEnd || cjtSum(b[i:i+n]) != b[i+n] {
			continue
		}
		if found(b[i : i+n+2]) {
			return
		}
	}
}

func cjtSum(b []byte) (sum byte) {
	for _, c := range b {
		sum += c
	}
	return sum
}

// renumbered is frame with another serial number.
func renumbered(frame []byte, ser byte) []byte {
	f := bytes.Clone(frame)
	f[cjtSer] = ser
	f[len(f)-2] = cjtSum(f[:len(f)-2])
	return f
}

// serialOf is the first frame's serial number.
func serialOf(request []byte) (ser byte, ok bool) {
	cjtFrames(request, func(frame []byte) bool {
		ser, ok = frame[cjtSer], true
		return true
	})
	return ser, ok
}

// sameButSerial compares CJ/T 188 requests.
func sameButSerial(asked, recorded []byte) (same bool) {
	ser, ok := serialOf(asked)
	cjtFrames(recorded, func(frame []byte) bool {
		same = ok && bytes.Equal(renumbered(frame, ser), awake(asked))
		return true
	})
	return same
}

// serial finds the reply with the recorded serial number or, from a meter that
// has numbers of its own, the first reply.
func serial(x *drivers.Exchange, r *Exchange) (reply []byte) {
	asked, _ := serialOf(x.Request)
	recorded, _ := serialOf(r.Request)
	for _, own := range []bool{false, true} {
		cjtFrames(r.Reply, func(frame []byte) bool {
			if own || frame[cjtSer] == recorded {
				reply = match(x, renumbered(frame, asked))
			}
			return reply != nil
		})
		if reply != nil {
			return reply
		}
	}
	return nil
}

// sameAwake compares requests behind their wake-up bytes.
func sameAwake(asked, recorded []byte) bool { return bytes.Equal(awake(asked), awake(recorded)) }

func awake(request []byte) []byte {
	for len(request) > 0 && request[0] == 0xFE {
		request = request[1:]
	}
	return request
}

const ack = 0x06 // IEC 62056-21 begins the choice of speed with it; parity leaves it as it is

// sameButSpeed compares IEC 62056-21 requests: what speed was chosen depends on
// what was tried before.
func sameButSpeed(asked, recorded []byte) bool {
	return bytes.Equal(asked, recorded) || len(asked) > 0 && len(recorded) > 0 && asked[0] == ack && recorded[0] == ack
}
