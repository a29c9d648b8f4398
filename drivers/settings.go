package drivers

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Settings are those of a serial line. The zero Settings stand for "the line's
// own".
type Settings struct {
	Baud     int  // bits per second
	DataBits int  // 7 or 8
	Parity   byte // 'N', 'E' or 'O'
	StopBits int  // 1 or 2
}

// ParseSettings reads line settings as they are printed on a meter: "9600 8N1".
// A hyphen may stand for the space.
func ParseSettings(s string) (Settings, error) {
	bad := func(why string) (Settings, error) {
		return Settings{}, fmt.Errorf("serial settings %q: %s; expected speed, data bits, parity, stop bits as in 9600 8N1", s, why)
	}
	speed, frame, _ := strings.Cut(strings.Replace(strings.TrimSpace(s), "-", " ", 1), " ")
	frame = strings.ToUpper(strings.TrimSpace(frame))
	baud, err := strconv.Atoi(speed)
	switch {
	case err != nil:
		return bad(fmt.Sprintf("speed %q is not a number", speed))
	case baud < 50 || baud > 4_000_000:
		return bad(fmt.Sprintf("speed %d is outside 50 to 4000000", baud))
	case len(frame) != 3:
		return bad(fmt.Sprintf("%q is not three characters", frame))
	case frame[0] != '7' && frame[0] != '8':
		return bad(fmt.Sprintf("data bits %q, expected 7 or 8", frame[:1]))
	case !strings.Contains("NEO", frame[1:2]):
		return bad(fmt.Sprintf("parity %q, expected N, E or O", frame[1:2]))
	case frame[2] != '1' && frame[2] != '2':
		return bad(fmt.Sprintf("stop bits %q, expected 1 or 2", frame[2:]))
	}
	return Settings{Baud: baud, DataBits: int(frame[0] - '0'), Parity: frame[1], StopBits: int(frame[2] - '0')}, nil
}

// String is what ParseSettings reads.
func (s Settings) String() string {
	return fmt.Sprintf("%d %d%c%d", s.Baud, s.DataBits, s.Parity, s.StopBits)
}

// Bits is the length of one character on the wire: start bit, data, parity,
// stop.
func (s Settings) Bits() int {
	n := 1 + s.DataBits + s.StopBits
	if s.Parity != 'N' {
		n++
	}
	return n
}

// Characters is the time n characters take on the wire; 0 without a speed.
func (s Settings) Characters(n int) time.Duration {
	if s.Baud == 0 {
		return 0
	}
	return time.Duration(n*s.Bits()) * time.Second / time.Duration(s.Baud)
}

// Silence is the quiet time between two Modbus RTU frames: 3.5 characters of 11
// bits, above 19200 baud fixed (Modbus over Serial Line V1.02, section
// 2.5.1.1). 0 without a speed.
func (s Settings) Silence() time.Duration {
	switch {
	case s.Baud == 0:
		return 0
	case s.Baud > 19200:
		return 1750 * time.Microsecond
	}
	return 77 * time.Second / time.Duration(2*s.Baud)
}
