package sim

import "time"

// Timing is how fast a line and the meters on it are. The zero Timing answers
// at once.
type Timing struct {
	Baud int // 0: no wire at all, bytes pass at once
	Bits int // of a character on the wire; 0 means 11 (8E1)
	// Delay is the meter's own time between the silence that ends a request and
	// the first bit of the reply.
	Delay time.Duration
}

// char is the time of n characters.
func (t Timing) char(n int) time.Duration {
	if t.Baud == 0 {
		return 0
	}
	bits := t.Bits
	if bits == 0 {
		bits = 11
	}
	return time.Duration(n*bits) * time.Second / time.Duration(t.Baud)
}

// silence is what ends a frame: 3.5 characters, above 19200 baud fixed (Modbus
// over Serial Line V1.02, section 2.5.1.1).
func (t Timing) silence() time.Duration {
	if t.Baud > 19200 {
		return 1750 * time.Microsecond
	}
	return t.char(7) / 2
}

// landed is when byte i of the reply (from 0) has fully arrived, counted from
// the moment the request was handed to the line: a pseudo-terminal passes the
// request at once, so its own time on the wire is added here.
func (t Timing) landed(request, i int) time.Duration {
	return t.char(request) + t.silence() + t.Delay + t.char(i+1)
}

// replyDelay is a common meter's time to think.
const replyDelay = 5 * time.Millisecond
