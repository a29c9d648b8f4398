package sim

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Serial is the setting of a serial line.
type Serial struct {
	Baud     int
	DataBits int
	Parity   byte // 'N', 'E' or 'O'
	StopBits int
}

// ParseSerial reads "9600 8N1" or "9600-8N1".
func ParseSerial(s string) (Serial, error) {
	bad := fmt.Errorf("serial setting %q: expected a speed and a character like 9600-8N1", s)
	speed, char, ok := strings.Cut(strings.Replace(s, " ", "-", 1), "-")
	baud, err := strconv.Atoi(speed)
	if !ok || err != nil || baud < 50 || baud > 4_000_000 || len(char) != 3 {
		return Serial{}, bad
	}
	p := Serial{Baud: baud, DataBits: int(char[0]) - '0', Parity: char[1] &^ 0x20, StopBits: int(char[2]) - '0'}
	if p.DataBits < 7 || p.DataBits > 8 || !strings.ContainsRune("NEO", rune(p.Parity)) || p.StopBits < 1 || p.StopBits > 2 {
		return Serial{}, bad
	}
	return p, nil
}

// String is the form used in profiles: "9600 8N1".
func (s Serial) String() string {
	return fmt.Sprintf("%d %d%c%d", s.Baud, s.DataBits, s.Parity, s.StopBits)
}

// bits is the length of a character on the wire: start bit, data, parity, stop.
func (s Serial) bits() int {
	n := 1 + s.DataBits + s.StopBits
	if s.Parity != 'N' {
		n++
	}
	return n
}

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
