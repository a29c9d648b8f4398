package modbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

func newMeter(t *testing.T, cfg Config, line drivers.Exchanger) *Meter {
	t.Helper()
	m, err := New(cfg, line)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read is one Read of all registers.
func read(m *Meter) ([]drivers.Reading, error) {
	dst := make([]drivers.Reading, len(m.cfg.Registers))
	for i := range dst {
		dst[i] = drivers.Reading{Coef: -999, Quality: drivers.Quality(99)} // must be overwritten
	}
	return dst, m.Read(context.Background(), dst)
}

// check compares readings: a number is a value, a word a quality.
func wantReadings(t *testing.T, got []drivers.Reading, want string) {
	t.Helper()
	var words []string
	for _, r := range got {
		if r.Quality == drivers.OK {
			words = append(words, fmt.Sprint(r.Coef))
		} else {
			words = append(words, strings.ReplaceAll(r.Quality.String(), " ", "-"))
			if r.Coef != 0 && !r.Quality.HasValue() {
				t.Errorf("a reading without value carries %d", r.Coef)
			}
		}
	}
	if s := strings.Join(words, " "); s != want {
		t.Errorf("readings %s, want %s", s, want)
	}
}

func wantFault(t *testing.T, err error, text string) {
	t.Helper()
	var f *drivers.Fault
	if text == "" && err == nil {
		return
	}
	if !errors.As(err, &f) || f.Error() != text {
		t.Errorf("got  %v\nwant %s", err, text)
	}
}

func TestRead(t *testing.T) {
	for _, framing := range []Framing{RTU, TCP} {
		s, regs := counters(10, 0, 11, 100)
		s.framing = framing
		cfg := config(regs, span(0, 20))
		cfg.Framing = framing
		m := newMeter(t, cfg, s)
		for range 3 {
			got, err := read(m)
			wantFault(t, err, "")
			wantReadings(t, got, "1010 1000 1011 1100")
			if log := s.log(); log != "0x0000+12 0x0064+1" {
				t.Errorf("asked %s", log)
			}
		}
	}
}

func TestTables(t *testing.T) {
	s, _ := counters()
	s.words[5], s.words[6] = 1, 0
	regs := []drivers.Register{
		{Table: drivers.InputRegister, Address: 5},
		{Table: drivers.DiscreteInput, Type: drivers.Bit, Address: 5},
		{Table: drivers.Coil, Type: drivers.Bit, Address: 6},
		{Table: drivers.HoldingRegister, Address: 6},
		{Table: drivers.DiscreteInput, Type: drivers.Bit, Address: 6},
	}
	m := newMeter(t, config(regs, drivers.Range{Table: drivers.DiscreteInput, Last: 7}), s)
	got, err := read(m)
	wantFault(t, err, "")
	wantReadings(t, got, "1 1 0 0 0")
	var asked []string
	for _, r := range s.asked {
		asked = append(asked, r.String())
	}
	if got := strings.Join(asked, "; "); got != "read holding registers 0x0006+1; read input registers 0x0005+1; read coils 0x0006+1; read discrete inputs 0x0005+2" {
		t.Error(got)
	}
}

// Requests and replies as other implementations write them.
func TestGoldenFrames(t *testing.T) {
	for name, c := range map[string]struct {
		framing        Framing
		unit           uint8
		reg            drivers.Register
		request, reply string
		want           drivers.Reading
	}{
		"RTU": {RTU, 1, drivers.Register{Table: drivers.InputRegister, Type: drivers.Float32, Quantity: drivers.Quantity{Exp: -1}},
			"\x01\x04\x00\x00\x00\x02\x71\xcb", "\x01\x04\x04\x43\x66\x33\x34\x1b\x38", drivers.Reading{Coef: 2302}},
		"RTU coil": {RTU, 17, drivers.Register{Table: drivers.Coil, Type: drivers.Bit, Address: 19},
			"\x11\x01\x00\x13\x00\x01\x0e\x9f", "\x11\x01\x01\x01\x94\x88", drivers.Reading{Coef: 1}},
		"RTU holding": {RTU, 17, drivers.Register{Address: 107, Type: drivers.Uint32},
			"\x11\x03\x00\x6b\x00\x02\xb7\x47", "\x11\x03\x04\x02\x2b\x00\x64\x9b\xa9", drivers.Reading{Coef: 0x022B0064}},
		"TCP": {TCP, 17, drivers.Register{Address: 107},
			"\x00\x01\x00\x00\x00\x06\x11\x03\x00\x6b\x00\x01", "\x00\x01\x00\x00\x00\x05\x11\x03\x02\x02\x2b", drivers.Reading{Coef: 555}},
	} {
		t.Run(name, func(t *testing.T) {
			var request []byte
			line := exchanger(func(x drivers.Exchange) ([]byte, error) {
				request = slices.Clone(x.Request)
				if x.Numbered != (c.framing == TCP) {
					t.Error("Numbered is wrong")
				}
				return find([]byte(c.reply), x)
			})
			m := newMeter(t, Config{Name: "m", Unit: c.unit, Framing: c.framing, Registers: []drivers.Register{c.reg}}, line)
			got, err := read(m)
			if string(request) != c.request {
				t.Errorf("request % x, want % x", request, c.request)
			}
			if err != nil || got[0] != c.want {
				t.Errorf("%+v, %v; want %+v", got[0], err, c.want)
			}
		})
	}
}

type exchanger func(drivers.Exchange) ([]byte, error)

func (e exchanger) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) { return e(x) }

func TestTimeoutEndsTheRead(t *testing.T) {
	for kind, text := range map[drivers.Quality]string{
		drivers.Timeout:      "timeout after 300ms",
		drivers.Disconnected: "line hall-a: connection refused",
	} {
		s, regs := counters(0, 50, 100)
		m := newMeter(t, config(regs), s)
		s.fault = func(n int) *drivers.Fault {
			if n == 2 {
				return &drivers.Fault{Kind: kind, Err: errors.New(text)}
			}
			return nil
		}
		got, err := read(m)
		wantFault(t, err, "read holding registers 0x0032+1 from meter press-1: "+text)
		word := kind.String()
		wantReadings(t, got, "1000 "+word+" "+word)
		if log := s.log(); log != "0x0000+1 0x0032+1" {
			t.Errorf("asked %s", log)
		}
	}
}

func TestContextEndsTheRead(t *testing.T) {
	s, regs := counters(0, 50)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := make([]drivers.Reading, 2)
	err := newMeter(t, config(regs), s).Read(ctx, dst)
	wantFault(t, err, "read holding registers 0x0000+1 from meter press-1: context canceled")
	wantReadings(t, dst, "skipped skipped")
}

// Each exception in words; which are tried again; what the rest of the read
// makes of them.
func TestExceptions(t *testing.T) {
	for code, c := range map[Exception]struct{ words, asked, readings string }{
		0x01: {"exception 01 illegal function: the meter does not know this kind of register", "0x0000+1 0x0032+1", "refused 1050"},
		0x02: {"exception 02 illegal data address: no register for q0; it is not asked again", "0x0000+1 0x0000+1 0x0032+1", "absent 1050"},
		0x03: {"exception 03 illegal data value: the meter does not accept a request of this length", "0x0000+1 0x0032+1", "refused 1050"},
		0x04: {"exception 04 device failure", "0x0000+1 0x0032+1", "refused 1050"},
		0x05: {"exception 05 acknowledge: the meter needs a long time for this request", "0x0000+1 0x0032+1", "refused 1050"},
		0x06: {"exception 06 device busy", "0x0000+1 0x0000+1 0x0032+1", "refused 1050"},
		0x07: {"exception 07 negative acknowledge", "0x0000+1 0x0032+1", "refused 1050"},
		0x08: {"exception 08 memory parity error", "0x0000+1 0x0032+1", "refused 1050"},
		0x09: {"exception 09 not in the standard", "0x0000+1 0x0032+1", "refused 1050"},
		0x0A: {"gateway: no path to the target (exception 0A)", "0x0000+1", "timeout timeout"},
		0x0B: {"gateway: target did not respond (exception 0B)", "0x0000+1", "timeout timeout"},
	} {
		synctest.Test(t, func(t *testing.T) {
			s, regs := counters(0, 50)
			s.refuse = func(r Request) Exception {
				if r.Address == 0 {
					return code
				}
				return 0
			}
			m := newMeter(t, config(regs), s)
			got, err := read(m)
			wantFault(t, err, "read holding registers 0x0000+1 from meter press-1: "+c.words)
			wantReadings(t, got, c.readings)
			if log := s.log(); log != c.asked {
				t.Errorf("exception %02X: asked %s, want %s", uint8(code), log, c.asked)
			}
			var found Exception
			if !errors.As(err, &found) || found != code {
				t.Errorf("exception %02X is not in the error's chain", uint8(code))
			}
		})
	}
}

func TestBusyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, regs := counters(0)
		s.refuse = func(Request) Exception {
			if len(s.asked) == 1 {
				return busy
			}
			return 0
		}
		start := time.Now()
		got, err := read(newMeter(t, config(regs), s))
		wantFault(t, err, "")
		wantReadings(t, got, "1000")
		if waited := time.Since(start); waited != busyPause {
			t.Errorf("asked again after %v, want %v", waited, busyPause)
		}
	})
}

// A damaged reply is asked for once more, behind a probe.
func TestBadFrameOnce(t *testing.T) {
	for _, bad := range []int{1, 2} {
		s, regs := counters(0, 1, 2)
		m := newMeter(t, config(regs, span(0, 2)), s)
		s.spoil = func(n int, reply []byte) []byte {
			if n == 1 || n == 3 && bad == 2 { // 2 is the probe
				reply[4] ^= 1
			}
			return reply
		}
		got, err := read(m)
		if log := s.log(); log != "0x0000+3 0x0000+1 0x0000+3" {
			t.Errorf("asked %s", log)
		}
		if bad == 1 {
			wantFault(t, err, "")
			wantReadings(t, got, "1000 1001 1002")
		} else {
			wantFault(t, err, "read holding registers 0x0000+3 from meter press-1: 11 bytes but no valid reply")
			wantReadings(t, got, "bad-frame bad-frame bad-frame")
		}
	}
}

func TestAbsentRegister(t *testing.T) {
	s, regs := counters(0, 2, 4, 5, 9)
	s.refuse = func(r Request) Exception {
		if r.Address <= 4 && r.last() >= 4 {
			return illegalAddress
		}
		return 0
	}
	m := newMeter(t, config(regs, span(0, 20)), s)
	got, err := read(m)
	wantFault(t, err, "read holding registers 0x0004+1 from meter press-1: exception 02 illegal data address: no register for q4; it is not asked again")
	wantReadings(t, got, "1000 1002 absent 1005 1009")
	s.log()
	for range 2 {
		got, err = read(m)
		wantFault(t, err, "")
		wantReadings(t, got, "1000 1002 absent 1005 1009")
		if log := s.log(); log != "0x0000+3 0x0005+5" {
			t.Errorf("asked %s, want two requests around the absent register", log)
		}
	}
}

// A hole the profile does not know of costs no register.
func TestUnknownHole(t *testing.T) {
	for hole, want := range map[uint16]string{
		4:  "0x0000+3 0x0006+7",
		3:  "0x0000+3 0x0006+7",
		9:  "0x0000+8 0x000C+1", // in a half of a half
		11: "0x0000+8 0x000C+1",
	} {
		s, regs := counters(0, 1, 2, 6, 7, 12)
		s.refuse = func(r Request) Exception {
			if r.Address <= hole && r.last() >= int(hole) {
				return illegalAddress
			}
			return 0
		}
		m := newMeter(t, config(regs, span(0, 20)), s)
		for range 2 {
			s.log()
			got, err := read(m)
			wantFault(t, err, "")
			wantReadings(t, got, "1000 1001 1002 1006 1007 1012")
		}
		if log := s.log(); log != want {
			t.Errorf("hole at %d: asked %s, want %s around it", hole, log, want)
		}
	}
}

// A meter that takes fewer registers than its profile says is found out.
func TestSmallerMaximum(t *testing.T) {
	addresses := make([]uint16, 40)
	for i := range addresses {
		addresses[i] = uint16(i)
	}
	s, regs := counters(addresses...)
	s.refuse = func(r Request) Exception {
		if r.Count > 11 {
			return illegalValue
		}
		return 0
	}
	m := newMeter(t, config(regs, span(0, 50)), s)
	for range 2 {
		got, err := read(m)
		wantFault(t, err, "")
		if got[39].Coef != 1039 {
			t.Errorf("%+v", got[39])
		}
	}
	if n := len(m.Requests()); n > 5 {
		t.Errorf("%d requests: %v", n, m.Requests())
	}
}

// A meter that falls silent while it is found out what it refuses is left alone.
func TestTimeoutWhileSplitting(t *testing.T) {
	s, regs := counters(0, 1, 2, 3)
	s.refuse = func(r Request) Exception {
		if r.Count == 4 {
			return illegalAddress
		}
		return 0
	}
	s.spoil = func(n int, reply []byte) []byte {
		if n > 1 {
			return nil
		}
		return reply
	}
	got, err := read(newMeter(t, config(regs, span(0, 9)), s))
	wantFault(t, err, "read holding registers 0x0000+2 from meter press-1: timeout after 300ms")
	wantReadings(t, got, "timeout timeout timeout timeout")
	if log := s.log(); log != "0x0000+4 0x0000+2" {
		t.Errorf("asked %s", log)
	}
}

func TestNothingThere(t *testing.T) {
	s, regs := counters(0, 1)
	s.refuse = func(Request) Exception { return illegalAddress }
	m := newMeter(t, config(regs, span(0, 9)), s)
	got, _ := read(m)
	wantReadings(t, got, "absent absent")
	s.log()
	got, err := read(m)
	wantReadings(t, got, "absent absent")
	wantFault(t, err, "meter press-1: has none of the 2 registers of its profile: is it the right profile?")
	if log := s.log(); log != "" {
		t.Errorf("asked %s", log)
	}
}

// One refusal may be a stale one; only a second makes a register absent.
func TestStaleRefusal(t *testing.T) {
	s, regs := counters(0)
	s.refuse = func(Request) Exception {
		if len(s.asked) == 1 {
			return illegalAddress
		}
		return 0
	}
	m := newMeter(t, config(regs), s)
	got, err := read(m)
	wantFault(t, err, "")
	wantReadings(t, got, "1000")
}

// Replies that are none: another unit, function or length, a stale frame.
func TestForeignReplies(t *testing.T) {
	frame := func(b ...byte) []byte {
		sum := crc(b)
		return append(b, byte(sum), byte(sum>>8))
	}
	for name, reply := range map[string][]byte{
		"other unit":      frame(8, 3, 2, 1, 2),
		"other function":  frame(7, 4, 2, 1, 2),
		"shorter":         frame(7, 3, 1, 1),
		"longer":          frame(7, 3, 4, 1, 2, 3, 4),
		"count lies":      frame(7, 3, 2, 1, 2, 3, 4),
		"exception of 4":  frame(7, 0x84, 2),
		"own request":     frame(7, 3, 0, 0, 0, 1),
		"truncated":       frame(7, 3, 2, 1, 2)[:6],
		"CRC":             {7, 3, 2, 1, 2, 0, 0},
		"zeros":           make([]byte, 300),
		"header for ever": []byte(strings.Repeat("\x07\x03\x02", 90)),
	} {
		s, regs := counters(0)
		s.spoil = func(int, []byte) []byte { return reply }
		got, err := read(newMeter(t, config(regs), s))
		wantReadings(t, got, "bad-frame")
		if err == nil {
			t.Errorf("%s: accepted", name)
		}

		// The same bytes before the true reply do no harm.
		s, regs = counters(0)
		s.spoil = func(_ int, b []byte) []byte { return append(slices.Clone(reply), b...) }
		got, err = read(newMeter(t, config(regs), s))
		wantFault(t, err, "")
		wantReadings(t, got, "1000")
	}
	for name, reply := range map[string][]byte{
		"other transaction": {9, 9, 0, 0, 0, 5, 7, 3, 2, 1, 2},
		"other protocol":    {0, 1, 0, 1, 0, 5, 7, 3, 2, 1, 2},
		"other length":      {0, 1, 0, 0, 0, 7, 7, 3, 4, 1, 2, 3, 4},
		"length lies":       {0, 1, 0, 0, 1, 5, 7, 3, 2, 1, 2},
		"zero length":       {0, 1, 0, 0, 0, 0, 7, 3, 2, 1, 2},
		"other unit":        {0, 1, 0, 0, 0, 5, 8, 3, 2, 1, 2},
		"other function":    {0, 1, 0, 0, 0, 5, 7, 4, 2, 1, 2},
		"count lies":        {0, 1, 0, 0, 0, 5, 7, 3, 4, 1, 2},
		"truncated":         {0, 1, 0, 0, 0, 5, 7, 3, 2, 1},
		"text":              []byte("HTTP/1.1 400 Bad Request\r\n\r\n"),
	} {
		s, regs := counters(0)
		s.framing = TCP
		s.spoil = func(int, []byte) []byte { return reply }
		cfg := config(regs)
		cfg.Framing = TCP
		got, err := read(newMeter(t, cfg, s))
		wantReadings(t, got, "bad-frame")
		if err == nil {
			t.Errorf("TCP %s: accepted", name)
		}
		s.spoil = func(_ int, b []byte) []byte { return append(slices.Clone(reply), b...) }
		got, err = read(newMeter(t, cfg, s))
		if name != "truncated" { // one byte of it is the next byte of the true reply
			wantFault(t, err, "")
			wantReadings(t, got, "1000")
		}
	}
}

// The beginning of a long reply, broken off, does not hide a short refusal.
func TestRefusalBehindBrokenReply(t *testing.T) {
	s, regs := counters(0, 39)
	s.refuse = func(Request) Exception { return 0x04 }
	s.spoil = func(_ int, reply []byte) []byte { return append([]byte{7, 3, 80, 1, 2}, reply...) }
	got, err := read(newMeter(t, config(regs, span(0, 39)), s))
	wantFault(t, err, "read holding registers 0x0000+40 from meter press-1: exception 04 device failure")
	wantReadings(t, got, "refused refused")
}

func TestGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, regs := counters(0, 50, 100)
		cfg := config(regs)
		cfg.Gap = 70 * time.Millisecond
		m := newMeter(t, cfg, s)
		start := time.Now()
		read(m)
		read(m)
		if took := time.Since(start); took != 5*cfg.Gap {
			t.Errorf("six requests took %v, want five gaps of %v", took, cfg.Gap)
		}
	})
}

func TestConfig(t *testing.T) {
	_, regs := counters(0)
	for want, cfg := range map[string]Config{
		"meter m: no registers to read":                               {Unit: 1},
		"meter m: unit 0, expected 1 to 247":                          {Registers: regs},
		"meter m: unit 248, expected 1 to 247":                        {Registers: regs, Unit: 248},
		"meter m: at most 126 registers a request, expected 1 to 125": {Registers: regs, Unit: 1, MaxRegisters: 126},
	} {
		cfg.Name = "m"
		if _, err := New(cfg, nil); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	m := newMeter(t, Config{Name: "m", Unit: 0, Framing: TCP, Registers: regs}, nil)
	if err := m.Read(context.Background(), make([]drivers.Reading, 2)); err == nil || err.Error() != "meter m: 2 readings wanted of 1 registers" {
		t.Error(err)
	}
}
