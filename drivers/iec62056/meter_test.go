package iec62056

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// bus is a meter and its line in one. It answers at the speed the meter has
// switched to, and waits like a line where nothing comes.
type bus struct {
	t       testing.TB
	ident   string // "/ISk5MT174-0002"
	data    string // from STX to block check, or without
	address string
	baud    int  // the meter never switches to another speed, where set
	seven   bool // with parity bits on a line of eight
	dead    bool
	// spoil turns the proper answer to message n (1 is the first) into what
	// really comes.
	spoil func(n int, reply []byte) []byte
	fault func(n int) *drivers.Fault // the line fails
	sent  []string                   // "300 /?!", "300>9600 050", "9600 -"
	last  drivers.Exchange
}

func (b *bus) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, &drivers.Fault{Kind: drivers.Skipped, Err: ctx.Err()}
	}
	b.last = x
	message := string(plain(nil, x.Request))
	there := x.Reply
	if there == (drivers.Settings{}) {
		there = x.Settings
	}
	speeds := fmt.Sprint(x.Settings.Baud)
	if there != x.Settings {
		speeds += fmt.Sprintf(">%d", there.Baud)
	}
	words := strings.TrimSuffix(strings.TrimPrefix(message, "\x06"), "\r\n")
	if words == "" {
		words = "-"
	}
	b.sent = append(b.sent, speeds+" "+words)
	n := len(b.sent)
	if b.fault != nil {
		if f := b.fault(n); f != nil {
			return nil, f
		}
	}
	if len(x.Request) > 0 {
		if d := Describe(x.Request); !d.Valid || d.Write || d.Control != "" || d.Direction != "request" ||
			!strings.HasPrefix(message, "/?") && !strings.HasSuffix(message, "0\r\n") {
			b.t.Errorf("%q was sent", x.Request)
		}
	}
	reply := b.answer(message, there.Baud)
	if b.spoil != nil {
		reply = b.spoil(n, reply)
	}
	start := 0
	for end := 1; end <= len(reply); end++ {
		skip, size := x.Match(reply[start:end])
		if skip < 0 || size < 0 || start+skip > end || start+skip+size > end {
			panic(fmt.Sprintf("Match of %d bytes says skip %d, size %d", end-start, skip, size))
		}
		start += skip
		if size > 0 {
			return reply[start : start+size], nil
		}
	}
	select {
	case <-ctx.Done():
		return nil, &drivers.Fault{Kind: drivers.Skipped, Err: ctx.Err()}
	case <-time.After(x.Timeout):
	}
	if len(reply) == 0 {
		return nil, &drivers.Fault{Kind: drivers.Timeout, Err: fmt.Errorf("timeout after %v", x.Timeout)}
	}
	return nil, &drivers.Fault{Kind: drivers.BadFrame, Err: fmt.Errorf("%d bytes but no valid reply", len(reply))}
}

func (b *bus) answer(message string, baud int) []byte {
	id, _, _ := parseIdentification([]byte(b.ident + "\r\n"))
	reply := ""
	switch {
	case b.dead:
	case message == "/?!\r\n" || message == "/?"+b.address+"!\r\n":
		reply = b.ident + "\r\n"
		if id.mode() == 'A' {
			reply += b.data
		}
	case message == "" && id.mode() == 'B', strings.HasPrefix(message, "\x06"):
		speaks := baud
		if b.baud > 0 {
			speaks = b.baud
		}
		if reply = b.data; speaks != baud { // what the wrong speed makes of it
			return bytes.Repeat([]byte{0xF8, 0x80, 0x02, 0x00}, 20)
		}
	}
	if b.seven {
		return seven(reply)
	}
	return []byte(reply)
}

func (b *bus) log() string {
	s := strings.Join(b.sent, ", ")
	b.sent = nil
	return s
}

func item(name, id, unit string, exp int8) drivers.Item {
	return drivers.Item{Quantity: drivers.Quantity{Name: name, Unit: unit, Exp: exp}, ID: id}
}

func items() []drivers.Item {
	return []drivers.Item{item("energy_import", "1.8.0", "kWh", -3), item("energy_export", "2.8.0", "kWh", -3)}
}

var mt174Data = mt174[strings.IndexByte(mt174, stx):]

func newBus(t testing.TB) *bus {
	return &bus{t: t, ident: "/ISk5MT174-0002", data: mt174Data}
}

func newMeter(t testing.TB, b *bus, change func(*Config)) *Meter {
	t.Helper()
	cfg := Config{Name: "e-1", Items: items()}
	if change != nil {
		change(&cfg)
	}
	m, err := New(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// checkRead reads once and compares readings, fault and what was sent.
func checkRead(t *testing.T, m *Meter, values, fault, sent string) {
	t.Helper()
	dst := make([]drivers.Reading, len(m.cfg.Items))
	err := m.Read(context.Background(), dst)
	var words []string
	for i, r := range dst {
		w := strings.ReplaceAll(r.Quality.String(), " ", "-")
		if r.Quality == drivers.OK {
			w = drivers.Decimal{Coef: r.Coef, Exp: m.cfg.Items[i].Exp}.String()
		} else if !r.Quality.HasValue() && r.Coef != 0 {
			w += " WITH A NUMBER"
		}
		words = append(words, w)
	}
	text := ""
	if err != nil {
		if f := (*drivers.Fault)(nil); !errors.As(err, &f) {
			text = "no fault: "
		}
		text += err.Error()
	}
	if got := strings.Join(words, " "); got != values || text != fault {
		t.Errorf("got %s, %q\nwant %s, %q", got, text, values, fault)
	}
	if got := m.line.(*bus).log(); got != sent {
		t.Errorf("sent %s\nwant %s", got, sent)
	}
}

const good = "502.853 98697.318"

func TestModes(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(*bus)
		config  func(*Config)
		sent    string
	}{
		"C":              {func(b *bus) {}, nil, "300 /?!, 300>9600 050"},
		"C, addressed":   {func(b *bus) { b.address = "0012" }, func(c *Config) { c.Address = "0012" }, "300 /?0012!, 300>9600 050"},
		"C, at 300":      {func(b *bus) { b.ident = "/ISk0MT" }, nil, "300 /?!, 300 000"},
		"C, limited":     {func(b *bus) {}, func(c *Config) { c.MaxBaud = 4800 }, "300 /?!, 300 000"},
		"C, not limited": {func(b *bus) {}, func(c *Config) { c.MaxBaud = 9600 }, "300 /?!, 300>9600 050"},
		"C, reserved":    {func(b *bus) { b.ident = "/ISk9MT" }, nil, "300 /?!, 300 000"},
		"C, fixed 9600": {func(b *bus) { b.ident = "/ISk6MT" }, func(c *Config) {
			c.MaxBaud, c.Settings = 9600, drivers.Settings{Baud: 9600, DataBits: 7, Parity: 'E', StopBits: 1}
		}, "9600 /?!, 9600 050"},
		"C, emulated": {func(b *bus) { b.seven = true }, func(c *Config) { c.Emulate = true }, "300 /?!, 300>9600 050"},
		"B":           {func(b *bus) { b.ident = "/ABCBold" }, nil, "300 /?!, 1200 -"},
		"A":           {func(b *bus) { b.ident = "/ABC@old" }, nil, "300 /?!"},
		"A, emulated": {func(b *bus) { b.ident, b.seven = "/ABC@old", true }, func(c *Config) { c.Emulate = true }, "300 /?!"},
		"A, without STX": {func(b *bus) {
			b.ident, b.data = "/ABC@old", "\r\n1-0:1.8.0(502.853*kWh)\r\n2.8.0(98697.318*kWh)\r\n!\r\n"
		}, nil, "300 /?!"},
		"C, echo and NUL": {func(b *bus) {
			b.spoil = func(_ int, reply []byte) []byte {
				return append(append([]byte("\x00\x7F"), b.last.Request...), reply...)
			}
		}, nil, "300 /?!, 300>9600 050"},
		"C, noise": {func(b *bus) {
			b.spoil = func(_ int, reply []byte) []byte { return append([]byte("/x\xFE\x02\x00\x02/ab"), reply...) }
		}, nil, "300 /?!, 300>9600 050"},
	} {
		synctest.Test(t, func(t *testing.T) {
			t.Log(name)
			b := newBus(t)
			c.prepare(b)
			m := newMeter(t, b, c.config)
			for range 2 {
				checkRead(t, m, good, "", c.sent)
			}
		})
	}
}

func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.dead = true
		m := newMeter(t, b, nil)
		start := time.Now()
		checkRead(t, m, "timeout timeout", "read identification from meter e-1: timeout after 3s", "300 /?!")
		if took := time.Since(start); took > 3*time.Second {
			t.Errorf("a silent meter took %v", took)
		}
		b.dead = false
		checkRead(t, m, good, "", "300 /?!, 300>9600 050")

		// An answer that breaks off takes the time of the whole readout.
		b.spoil = func(n int, reply []byte) []byte { return reply[:len(reply)*n/3] }
		m.cfg.Timeout = 20 * time.Second
		b.spoil = func(n int, reply []byte) []byte {
			if n%2 == 0 {
				return reply[:60]
			}
			return reply
		}
		start = time.Now()
		checkRead(t, m, "bad-frame bad-frame", "read data at 9600 baud from meter e-1: 60 bytes but no valid reply", "300 /?!, 300>9600 050, 300 /?!, 300>9600 050")
		if took := time.Since(start); took != 40*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

// A meter that proposes a speed and does not switch to it is read at 300.
func TestNeverSwitches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		b.baud = 300
		m := newMeter(t, b, nil)
		checkRead(t, m, good, "", "300 /?!, 300>9600 050, 300 /?!, 300 000")
		checkRead(t, m, good, "", "300 /?!, 300 000")

		// Nothing at all comes at the new speed.
		m = newMeter(t, b, nil)
		b.spoil = func(n int, reply []byte) []byte {
			if b.last.Reply.Baud == 9600 {
				return nil
			}
			return reply
		}
		checkRead(t, m, "timeout timeout", "read data at 9600 baud from meter e-1: timeout after 3s", "300 /?!, 300>9600 050")
		checkRead(t, m, good, "", "300 /?!, 300 000")
		checkRead(t, m, good, "", "300 /?!, 300 000")
	})
}

// It is not read at 300 for ever where that is of no use either.
func TestSwitchesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		m := newMeter(t, b, nil)
		b.spoil = func(n int, reply []byte) []byte {
			if bytes.HasPrefix(reply, []byte("/")) {
				return reply
			}
			return nil
		}
		checkRead(t, m, "timeout timeout", "read data at 9600 baud from meter e-1: timeout after 3s", "300 /?!, 300>9600 050")
		checkRead(t, m, "timeout timeout", "read data at 300 baud from meter e-1: timeout after 3s", "300 /?!, 300 000")
		b.spoil = nil
		checkRead(t, m, good, "", "300 /?!, 300>9600 050")
	})
}

// No damaged byte brings a number: seven-bit lines find it by parity, the
// block check does the same.
func TestDamage(t *testing.T) {
	for _, emulated := range []bool{false, true} {
		for at := range mt174Data {
			synctest.Test(t, func(t *testing.T) {
				b := newBus(t)
				b.seven = emulated
				always := at%2 == 0
				b.spoil = func(n int, reply []byte) []byte {
					if n == 2 || n == 4 && always {
						reply[at] ^= 0x10
					}
					return reply
				}
				m := newMeter(t, b, func(c *Config) { c.Emulate = emulated; c.Timeout = 5 * time.Second })
				dst := make([]drivers.Reading, 2)
				err := m.Read(context.Background(), dst)
				switch {
				case always && (err == nil || dst[0] != drivers.Reading{Quality: drivers.BadFrame}):
					t.Errorf("byte %d: %v %v", at, dst, err)
				case !always && (err != nil || dst[0] != drivers.Reading{Coef: 502853}):
					t.Errorf("byte %d: %v %v after %v", at, dst, err, b.sent)
				}
			})
		}
	}
	b := newBus(t)
	b.data = mt174Data[:len(mt174Data)-1] + "\x1A"
	checkRead(t, newMeter(t, b, nil), "bad-frame bad-frame", "read data at 9600 baud from meter e-1: block check 1A, computed 19",
		"300 /?!, 300>9600 050, 300 /?!, 300>9600 050")
	b.ident, b.data = "/ABC@old", "1.8.0(502.853*kWh)\r\n2.8.0(98697.3\x1118*kWh)\r\n!\r\n"
	checkRead(t, newMeter(t, b, nil), "bad-frame bad-frame", "read data from meter e-1: 46 bytes that are no data sets", "300 /?!, 300 /?!")
	b = newBus(t)
	b.seven = true
	b.spoil = func(_ int, reply []byte) []byte { reply[3] ^= 0x80; return reply }
	checkRead(t, newMeter(t, b, func(c *Config) { c.Emulate = true }), "bad-frame bad-frame",
		"read identification from meter e-1: parity error at byte 3", "300 /?!, 300 /?!")
}

func TestLineFaults(t *testing.T) {
	for n, sent := range []string{"300 /?!", "300 /?!, 300>9600 050"} {
		b := newBus(t)
		b.fault = func(k int) *drivers.Fault {
			if k == n+1 {
				return &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("line a: port is gone")}
			}
			return nil
		}
		op := []string{"read identification", "read data at 9600 baud"}[n]
		m := newMeter(t, b, nil)
		checkRead(t, m, "disconnected disconnected", op+" from meter e-1: line a: port is gone", sent)
		b.fault = nil
		checkRead(t, m, good, "", "300 /?!, 300>9600 050")
	}
	m := newMeter(t, newBus(t), nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := make([]drivers.Reading, 2)
	if err := m.Read(ctx, dst); !errors.Is(err, context.Canceled) || dst[1].Quality != drivers.Skipped {
		t.Errorf("%v %v", dst, err)
	}
	if err := m.Read(ctx, dst[:1]); err == nil || err.Error() != "meter e-1: 1 readings wanted of 2 items" {
		t.Error(err)
	}
	b := newBus(t)
	b.data = checked("\x02(ER04)")
	checkRead(t, newMeter(t, b, nil), "refused refused", "read data at 9600 baud from meter e-1: the meter's error ER04", "300 /?!, 300>9600 050")
}

func TestItems(t *testing.T) {
	block := checked("\x02F.F(00)\r\n1-0:1.8.0*255(0006678.394*kWh)\r\n1.8.1(123456*Wh)\r\n1-0:1.8.0*01(1*kWh)\r\n16.7.0(-0.5*kW)\r\n" +
		"3.8.0(7.5*kVArh)\r\n1.6.1(2.5*kW)(2301011215)\r\n1.8.2(--*kWh)\r\n13.7.0(0.98)\r\n32.7.0(231.7*V)\r\n1-1:2.8.0(1*kWh)\r\n" +
		"1-2:2.8.0(2*kWh)\r\n0-0:96.1.255*255(1ESY)\r\n!\r\n")
	for _, c := range []struct {
		item        drivers.Item
		want, fault string
	}{
		{item("q", "1.8.0", "kWh", -3), "6678.394", ""},
		{item("q", "1-0:1.8.0", "kWh", -3), "6678.394", ""},
		{item("q", "1-0:1.8.0*255", "kWh", -3), "6678.394", ""},
		{item("q", "1.8.0*01", "kWh", 0), "1", ""},
		{item("q", "1.8.0", "Wh", 0), "6678394", ""},
		{item("q", "1.8.0", "MWh", -6), "6.678394", ""},
		{item("q", "1.8.0", "kWh", -2), "invalid", "read 1.8.0 from meter e-1: found 6678.394 kWh, expected kWh in steps of 10^-2"},
		{item("q", "1.8.0", "kW", -3), "invalid", "read 1.8.0 from meter e-1: found kWh, expected kW"},
		{item("q", "1.8.0", "", -3), "invalid", "read 1.8.0 from meter e-1: found kWh, expected no unit"},
		{item("q", "1.8.1", "kWh", -3), "123.456", ""},
		{item("q", "16.7.0", "W", 0), "-500", ""},
		{item("q", "3.8.0", "kvarh", -1), "7.5", ""},
		{item("q", "1.8.2", "kWh", -3), "invalid", ""},
		{item("q", "13.7.0", "", -2), "0.98", ""},
		{item("q", "13.7.0", "V", -2), "invalid", "read 13.7.0 from meter e-1: found no unit, expected V"},
		{item("q", "32.7.0", "mV", 0), "231700", ""},
		{item("q", "96.1.255", "", 0), "invalid", ""},
		{item("q", "2.8.0", "kWh", 0), "invalid", "read 2.8.0 from meter e-1: found both 1-1:2.8.0 and 1-2:2.8.0: name one of them"},
		{item("q", "1-2:2.8.0", "kWh", 0), "2", ""},
		{drivers.Item{Quantity: drivers.Quantity{Name: "q"}, ID: "1.6.1", Part: 1}, "2301011215", ""},
		{drivers.Item{Quantity: drivers.Quantity{Name: "q", Unit: "V", Exp: -1}, ID: "32.7.0", Limited: true, Max: 2300}, "suspect", ""},
	} {
		b := newBus(t)
		b.data = block
		m := newMeter(t, b, func(cfg *Config) { cfg.Items = []drivers.Item{c.item} })
		checkRead(t, m, c.want, c.fault, "300 /?!, 300>9600 050")
	}
}

func TestAbsent(t *testing.T) {
	b := newBus(t)
	const sent = "300 /?!, 300>9600 050"
	m := newMeter(t, b, func(c *Config) { c.Items = append(c.Items, item("power", "16.7.0", "W", 0)) })
	checkRead(t, m, good+" absent", "read 16.7.0 from meter e-1: not among the 4 values of the readout", sent)
	checkRead(t, m, good+" absent", "", sent)
	m = newMeter(t, b, func(c *Config) { c.Items = []drivers.Item{item("power", "16.7.0", "W", 0)} })
	for range 2 {
		checkRead(t, m, "absent", "meter e-1: has none of the 1 values of its profile: is it the right profile?", sent)
	}
}

// A damaged character that looks like the end is none.
func TestDataEnd(t *testing.T) {
	b := []byte(checked("\x02C.1.0(123)\r\n1.8.0(1*kWh)\r\n!\r\n"))
	whole := len(b)
	b[1] = etx
	for n := 2; n < whole; n++ {
		if end := dataEnd(b[:n]); end != 0 {
			t.Fatalf("ends at %d of %d", end, n)
		}
	}
	if end := dataEnd(append(b, "more"...)); end != whole {
		t.Errorf("ends at %d of %d", end, whole)
	}
}

// Where there is no block check, parity is all there is.
func TestDamageWithoutBlockCheck(t *testing.T) {
	b := newBus(t)
	b.ident, b.data, b.seven = "/ABC@old", "1.8.0(502.853*kWh)\r\n2.8.0(98697.318*kWh)\r\n!\r\n", true
	b.spoil = func(_ int, reply []byte) []byte { reply[18] ^= 0x01; return reply }
	checkRead(t, newMeter(t, b, func(c *Config) { c.Emulate = true }), "bad-frame bad-frame",
		"read data from meter e-1: parity error at byte 8", "300 /?!, 300 /?!")
}

// A large readout is taken whole; one without end is not.
func TestSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBus(t)
		var text strings.Builder
		for n := range 300 {
			fmt.Fprintf(&text, "P.%03d(%08d*kWh)\r\n", n, n)
		}
		b.data = checked("\x02" + text.String() + "1.8.0(1*kWh)\r\n2.8.0(2*kWh)\r\n!\r\n")
		checkRead(t, newMeter(t, b, nil), "1.000 2.000", "", "300 /?!, 300>9600 050")
	})
	m := newMeter(t, newBus(t), nil)
	endless := append([]byte("\x021.8.0(1*kWh)\r\n"), bytes.Repeat([]byte("0"), maxBlock)...)
	if skip, size := m.matchBlock(endless); skip != len(endless) || size != 0 {
		t.Errorf("skip %d, size %d", skip, size)
	}
	endless = append([]byte("/ABC@\r\n"), endless...)
	if skip, size := m.matchIdentification(endless); skip != len(endless) || size != 0 {
		t.Errorf("skip %d, size %d", skip, size)
	}
}

func TestConfig(t *testing.T) {
	for want, change := range map[string]func(*Config){
		"meter e-1: no items to read": func(c *Config) { c.Items = nil },
		`meter e-1: address "1!\r\n", expected up to 32 letters, digits and spaces`: func(c *Config) { c.Address = "1!\r\n" },
		"meter e-1: settings 300 7E1: parity can be emulated on a line of 8N1 only": func(c *Config) {
			c.Emulate = true
			c.Settings = drivers.Settings{Baud: 300, DataBits: 7, Parity: 'E', StopBits: 1}
		},
		"meter e-1: item x: expected an OBIS code, a part from 0 and no format": func(c *Config) { c.Items = []drivers.Item{item("x", "", "V", 0)} },
	} {
		cfg := Config{Name: "e-1", Items: items()}
		change(&cfg)
		if _, err := New(cfg, nil); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	b := newBus(t)
	checkRead(t, newMeter(t, b, nil), good, "", "300 /?!, 300>9600 050")
	x := b.last
	if x.Settings.String() != "300 7E1" || x.Reply.String() != "9600 7E1" || x.Timeout != DefaultTimeout || x.Silence != 200*time.Millisecond {
		t.Errorf("%+v", x)
	}
	b.seven = true
	checkRead(t, newMeter(t, b, func(c *Config) { c.Emulate = true }), good, "", "300 /?!, 300>9600 050")
	x = b.last
	if x.Settings.String() != "300 8N1" || x.Reply.String() != "9600 8N1" || string(x.Request) != "\x06\x30\x35\x30\x8D\x0A" {
		t.Errorf("%+v", x)
	}
}

// No bytes that come make the meter panic or take a number from a block whose
// check is wrong.
func FuzzReply(f *testing.F) {
	f.Add([]byte("/ISk5MT\r\n"), []byte(mt174Data))
	f.Add([]byte(dd3), []byte(""))
	f.Add([]byte("/ABC@x\r\n"+mt174Data), []byte{0x02})
	f.Fuzz(func(t *testing.T, first, second []byte) {
		m := &Meter{cfg: Config{Name: "e-1", Items: items()}, absent: make([]bool, 2)}
		m.line = exchanger(func(x drivers.Exchange) ([]byte, error) {
			b := first
			if x.Reply != (drivers.Settings{}) {
				b = second
			}
			skip, size := x.Match(b)
			if skip < 0 || size < 0 || skip+size > len(b) {
				t.Fatalf("skip %d, size %d of %d", skip, size, len(b))
			}
			if size == 0 {
				return nil, &drivers.Fault{Kind: drivers.BadFrame, Err: errors.New("no reply")}
			}
			return b[skip : skip+size], nil
		})
		dst := make([]drivers.Reading, 2)
		m.Read(context.Background(), dst)
		for _, r := range dst {
			if !r.Quality.HasValue() && r.Coef != 0 {
				t.Fatalf("%v", dst)
			}
		}
	})
}

type exchanger func(drivers.Exchange) ([]byte, error)

func (e exchanger) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) { return e(x) }

// BenchmarkRead is one readout of 200 values without the line.
func BenchmarkRead(b *testing.B) {
	var text strings.Builder
	for n := range 198 {
		fmt.Fprintf(&text, "1-0:9.%d.0*255(%08d.%03d*kWh)\r\n", n, n, n)
	}
	s := newBus(b)
	s.data = checked("\x02" + text.String() + "1.8.0(1*kWh)\r\n2.8.0(2*kWh)\r\n!\r\n")
	m, err := New(Config{Name: "e-1", Items: items()}, exchanger(func(x drivers.Exchange) ([]byte, error) {
		reply := []byte(s.data)
		if x.Request[0] == '/' {
			reply = []byte(s.ident + "\r\n")
		}
		skip, size := x.Match(reply)
		return reply[skip : skip+size], nil
	}))
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]drivers.Reading, 2)
	b.ReportAllocs()
	b.SetBytes(int64(len(s.data)))
	for b.Loop() {
		if err := m.Read(context.Background(), dst); err != nil || dst[1].Coef != 2000 {
			b.Fatal(err, dst)
		}
	}
}

// The number is the maker's where the readout has it, and that of the last
// readout.
func TestIdentify(t *testing.T) {
	b := newBus(t)
	m := newMeter(t, b, nil)
	identify := func() string {
		b.sent = nil
		got, err := m.Identify(t.Context())
		if err != nil || b.sent != nil {
			t.Errorf("%v, sent %v", err, b.sent)
		}
		return got
	}
	if got := identify(); got != "" {
		t.Errorf("%q before the first readout", got)
	}
	for data, want := range map[string]string{
		"0.0.0(77)\r\n":                                           "77",
		"0.0.0(77)\r\nC.1.0( 0012345 )\r\n":                       "0012345",
		"1-0:0.0.0*255(77)\r\n1-0:96.1.0*255(1EBZ0100507409)\r\n": "1EBZ0100507409",
		"0-0:96.1.0(5)\r\nC.1.0(00000000)\r\n":                    "5",
		"C.1.0(4)(0-0)\r\n":                                       "4",
		"C.1.0()\r\n":                                             "",
		"F.F(00000000)\r\n0-0:96.1.255*255(1ESY)\r\n":             "",
	} {
		b.data = checked("\x02" + data + "1.8.0(1*kWh)\r\n2.8.0(1*kWh)\r\n!\r\n")
		if err := m.Read(t.Context(), make([]drivers.Reading, 2)); err != nil {
			t.Fatal(err)
		}
		if got := identify(); got != want {
			t.Errorf("%q: %q, want %q", data, got, want)
		}
	}
	b.data = checked("\x02C.1.0(4)\r\n1.8.0(1*kWh)\r\n2.8.0(1*kWh)\r\n!\r\n")
	m.Read(t.Context(), make([]drivers.Reading, 2))
	b.fault = func(int) *drivers.Fault { return &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("gone")} }
	m.Read(t.Context(), make([]drivers.Reading, 2))
	if got := identify(); got != "" {
		t.Errorf("%q after a readout that failed", got)
	}
}
