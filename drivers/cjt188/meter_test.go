package cjt188

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// bus is a meter and its line in one: an Exchanger that answers at once. It
// keeps to what drivers/line promises, so that a test can spoil any byte.
type bus struct {
	t       testing.TB
	meter   byte
	address address
	payload map[uint16]string // after DI and SER, hex
	order   string            // "high", "low", or "" for both
	noEcho  bool              // SER of replies is always
	ser     byte              // this
	refuse  bool              // answers what it does not know with an error
	asleep  int               // requests that only wake it
	// spoil turns a proper answer to request n (1 is the first) into what
	// really comes.
	spoil func(n int, reply []byte) []byte
	fault func(n int) *drivers.Fault // the line fails
	asked []string                   // DATA of requests, "90 1F 01"
	last  drivers.Exchange
}

func (b *bus) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, &drivers.Fault{Kind: drivers.Skipped, Err: ctx.Err()}
	}
	d := Describe(x.Request)
	if !d.Valid || d.Write || d.Direction != "request" || d.Skipped > 0 {
		b.t.Errorf("request % X: %s", x.Request, d.Text)
	}
	f := parse(x.Request[d.Wakeup:])
	b.asked = append(b.asked, fmt.Sprintf("% X", f.data))
	b.last = x
	n := len(b.asked)
	if b.fault != nil {
		if f := b.fault(n); f != nil {
			return nil, f
		}
	}
	reply := b.answer(f)
	if b.spoil != nil {
		reply = b.spoil(n, reply)
	}
	return find(reply, x)
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

func (b *bus) answer(f frame) []byte {
	if b.asleep > 0 {
		b.asleep--
		return nil
	}
	if f.address != b.address && f.address != wildcard || f.meter != b.meter && f.meter != anyMeter {
		return nil
	}
	di, _ := f.di()
	high := f.data[0] == byte(di>>8)
	payload, known := b.payload[di]
	if !known || b.order == "high" && !high || b.order == "low" && high {
		if !b.refuse {
			return nil
		}
		return b.frame(f.control|failed, fmt.Sprintf("%02X 00 20", f.data[2]))
	}
	ser := f.data[2]
	if b.noEcho {
		ser = b.ser
	}
	return b.frame(f.control|fromMeter, fmt.Sprintf("%02X %02X %02X %s", f.data[0], f.data[1], ser, payload))
}

func (b *bus) frame(c byte, data string) []byte {
	d := unhex(b.t, data)
	f := append([]byte{start, b.meter}, b.address[:]...)
	f = append(append(f, c, byte(len(d))), d...)
	return append(f, sum(f), end)
}

// log is the identifiers asked for since the last call, as on the wire.
func (b *bus) log() string {
	var words []string
	for _, a := range b.asked {
		words = append(words, a[:2]+a[3:5])
	}
	b.asked = nil
	return strings.Join(words, " ")
}

const (
	printed    = "78330011223344"
	water      = "00 77 66 55 2C 00 12 34 55 2C 31 01 22 11 05 15 20 21 84"
	monthWater = "00 12 00 55 2C"
	heatData   = "00 56 34 12 05 00 78 56 34 05 50 34 12 00 17 21 43 65 00 35 99 88 77 06 2C 25 65 00 30 40 00 45 23 01 30 59 23 31 12 25 20 00 04"
)

func newBus(t testing.TB) *bus {
	a, err := parseAddress(printed)
	if err != nil {
		t.Fatal(err)
	}
	return &bus{t: t, meter: 0x10, address: a, payload: map[uint16]string{0x901F: water, 0xD120: monthWater, 0x810A: ""}}
}

func item(name, unit string, exp int8, id string, part int) drivers.Item {
	return drivers.Item{Quantity: drivers.Quantity{Name: name, Unit: unit, Exp: exp}, ID: id, Part: part}
}

func waterItems() []drivers.Item {
	return []drivers.Item{
		item("volume", "m3", -2, "901F", 0),
		item("volume_settlement", "m3", -2, "901F", 1),
		item("volume_1", "m3", -2, "D120", 0),
	}
}

func newMeter(t testing.TB, b *bus, items []drivers.Item) *Meter {
	t.Helper()
	m, err := New(Config{Name: "w-1", Address: printed, Type: b.meter, Items: items, Timeout: time.Second}, b)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// read is one poll: readings as words, and the fault's text.
func read(m *Meter) (string, string) {
	dst := make([]drivers.Reading, len(m.cfg.Items))
	err := m.Read(context.Background(), dst)
	var words []string
	for i, r := range dst {
		switch r.Quality {
		case drivers.OK:
			words = append(words, drivers.Decimal{Coef: r.Coef, Exp: m.cfg.Items[i].Exp}.String())
		default:
			words = append(words, strings.ReplaceAll(r.Quality.String(), " ", "-"))
			if r.Coef != 0 && !r.Quality.HasValue() {
				words = append(words, "WITH A NUMBER")
			}
		}
	}
	text := ""
	if err != nil {
		var f *drivers.Fault
		if !errors.As(err, &f) {
			text = "no fault: "
		}
		text += err.Error()
	}
	return strings.Join(words, " "), text
}

func check(t *testing.T, m *Meter, values, fault string) {
	t.Helper()
	got, err := read(m)
	if got != values || err != fault {
		t.Errorf("got %s, %q\nwant %s, %q", got, err, values, fault)
	}
}

func TestReadWater(t *testing.T) {
	b := newBus(t)
	m := newMeter(t, b, waterItems())
	check(t, m, "556677.00 553412.00 550012.00", "")
	if got := b.log(); got != "901F D120" {
		t.Errorf("asked %s, want one request for each identifier", got)
	}
	if d := Describe(b.last.Request); d.Wakeup != 4 || d.Address != printed {
		t.Errorf("%+v", d)
	}
	if b.last.Timeout != time.Second || b.last.Settings != (drivers.Settings{}) {
		t.Errorf("%+v", b.last)
	}
}

func TestReadHeat(t *testing.T) {
	items := []drivers.Item{
		item("heat_energy_settlement", "MWh", -5, "901F", 0),
		item("heat_energy", "kWh", -2, "901F", 1),
		item("heat_power", "W", 0, "901F", 2),
		item("flow", "m3/h", -4, "901F", 3),
		item("volume", "l", 0, "901F", 4),
		item("temperature_supply", "°C", -2, "901F", 5),
		item("temperature_return", "°C", -2, "901F", 6),
		item("working_hours", "h", 0, "901F", 7),
	}
	const want = "123.45600 345678.00 1234500 65.4321 67788990 65.25 40.30 12345"
	for name, payload := range map[string]string{
		"as in the standard": heatData,
		"unit first":         "05 00 56 34 12 05 00 78 56 34 17 50 34 12 00 35 21 43 65 00 2C 99 88 77 06 25 65 00 30 40 00 45 23 01 30 59 23 31 12 25 20 00 04",
	} {
		b := newBus(t)
		b.meter, b.payload[0x901F] = 0x20, payload
		got, err := read(newMeter(t, b, items))
		if got != want || err != "" {
			t.Errorf("%s: got %s, %q\nwant %s", name, got, err, want)
		}
	}
	b := newBus(t)
	b.meter, b.payload[0x901F] = 0x20, strings.Repeat("FF ", 41)+"00 20"
	check(t, newMeter(t, b, items), "invalid invalid invalid invalid invalid invalid invalid invalid", "")
}

// A water meter's answer where a heat meter's was expected gives no number.
func TestOtherLayout(t *testing.T) {
	b := newBus(t)
	b.meter = 0x20
	m := newMeter(t, b, []drivers.Item{item("heat_energy", "kWh", -2, "901F", 1), item("flow", "m3/h", -4, "901F", 3), item("volume", "m3", -2, "901F", 4)})
	check(t, m, "invalid invalid invalid", "read data 901F from meter w-1: heat_energy: found m3, expected kWh")
	b.payload[0x901F] = "00 77 66 55"
	check(t, m, "invalid invalid invalid", "read data 901F from meter w-1: 7 bytes of data, no layout of CJ/T 188")
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		code        byte
		unit        string
		exp         int8
		value, want string
	}{
		{0x2C, "m3", -2, "55667788", "556677.88"},
		{0x2C, "m3", -3, "55667788", "556677.880"},
		{0x2C, "m3", 0, "55667788", "invalid: found 556677.88 m3, expected m3 in steps of 10^0"},
		{0x2C, "m3", 0, "55667700", "556677"},
		{0x2C, "l", 0, "55667788", "556677880"},
		{0x29, "m3", -5, "55667788", "556.67788"},
		{0x29, "m3", -2, "55667788", "invalid: found 556677.88 l, expected m3 in steps of 10^-2"},
		{0x2C, "kWh", -2, "55667788", "invalid: found m3, expected kWh"},
		{0x11, "kWh", -2, "55667788", "invalid: found GJ, expected kWh"},
		{0x08, "kWh", -2, "55667788", "556677880.00"},
		{0x05, "MWh", -5, "55667788", "556.67788"},
		{0x0A, "kWh", -2, "55667788", "55667788000.00"},
		{0x0E, "GJ", -5, "55667788", "556.67788"},
		{0x13, "MJ", 0, "55667788", "55667788000"},
		{0x77, "m3", -2, "55667788", "invalid: found unit code 77, expected m3"},
		{0xFF, "m3", -2, "FFFFFFFF", "invalid"},
		{0x2C, "m3", -2, "5566778A", "invalid"},
		{0x2C, "m3", -2, "00000000", "0.00"},
		{0x2C, "m3", 5, "00000000", "0"},
		{0x0A, "Wh", -12, "55667788", "invalid: found 556677.88 MWhx100, expected Wh in steps of 10^-12"},
	} {
		b := newBus(t)
		v := unhex(t, c.value)
		b.payload[0x901F] = fmt.Sprintf("%02X %02X %02X %02X %02X", v[3], v[2], v[1], v[0], c.code) + water[14:]
		m := newMeter(t, b, []drivers.Item{item("v", c.unit, c.exp, "901F", 0)})
		got, err := read(m)
		if err != "" {
			got += ": " + strings.TrimPrefix(err, "read data 901F from meter w-1: v: ")
		}
		if got != c.want {
			t.Errorf("%s with unit %02X as 10^%d %s: %s, want %s", c.value, c.code, c.exp, c.unit, got, c.want)
		}
	}
}

func TestFormatAndLimits(t *testing.T) {
	b := newBus(t)
	it := item("volume", "m3", -3, "901F", 0)
	it.Format = "XXXXX.XXX"
	limited := it
	limited.Limited, limited.Max = true, 1000
	m := newMeter(t, b, []drivers.Item{it, limited})
	check(t, m, "55667.700 suspect", "")

	b.meter, b.payload[0x901F] = 0x20, strings.Replace(heatData, "25 65 00", "25 05 80", 1)
	it = item("temperature_supply", "°C", -2, "901F", 5)
	signed := it
	signed.Format = "SXXXX.XX"
	check(t, newMeter(t, b, []drivers.Item{it, signed}), "8005.25 -5.25", "")
}

// Either order of the identifier is found out and kept.
func TestIdentifierOrder(t *testing.T) {
	for _, c := range []struct{ order, first, then string }{
		{"high", "901F D120", "901F D120"},
		{"low", "901F 1F90 20D1", "1F90 20D1"},
		{"", "901F D120", "901F D120"},
	} {
		for _, refuse := range []bool{false, true} {
			b := newBus(t)
			b.order, b.refuse = c.order, refuse
			m := newMeter(t, b, waterItems())
			for n, want := range []string{c.first, c.then, c.then} {
				check(t, m, "556677.00 553412.00 550012.00", "")
				if got := b.log(); got != want {
					t.Errorf("order %q, read %d: asked %s, want %s", c.order, n, got, want)
				}
			}
			// The meter is exchanged for one of the other kind.
			b.order = map[string]string{"high": "low", "low": "high"}[c.order]
			read(m)
			check(t, m, "556677.00 553412.00 550012.00", "")
		}
	}
	// The reply may have the identifier the other way round than the request.
	b := newBus(t)
	b.spoil = func(_ int, reply []byte) []byte {
		reply[head], reply[head+1] = reply[head+1], reply[head]
		return reply
	}
	check(t, newMeter(t, b, waterItems()), "556677.00 553412.00 550012.00", "")
}

// A battery meter needs a first request to wake up.
func TestWakesUp(t *testing.T) {
	for order, want := range map[string]string{"high": "901F 1F90 901F D120", "low": "901F 1F90 20D1", "": "901F 1F90 20D1"} {
		b := newBus(t)
		b.order, b.asleep = order, 1
		m := newMeter(t, b, waterItems())
		check(t, m, "556677.00 553412.00 550012.00", "")
		if got := b.log(); got != want {
			t.Errorf("order %q: asked %s, want %s", order, got, want)
		}
		b.asleep = 1
		check(t, m, "556677.00 553412.00 550012.00", "")
	}
}

func TestSilence(t *testing.T) {
	b := newBus(t)
	m := newMeter(t, b, waterItems())
	b.asleep = 99
	check(t, m, "timeout timeout timeout", "read data 901F from meter w-1: timeout after 1s")
	if got := b.log(); got != "901F 1F90 901F" {
		t.Errorf("asked %s", got)
	}
	b.asleep = 0
	check(t, m, "556677.00 553412.00 550012.00", "")
	b.log()
	b.asleep = 99
	check(t, m, "timeout timeout timeout", "read data 901F from meter w-1: timeout after 1s")
	if got := b.log(); got != "901F 901F" {
		t.Errorf("asked %s", got)
	}
}

func TestRefused(t *testing.T) {
	b := newBus(t)
	b.refuse = true
	delete(b.payload, 0xD120)
	m := newMeter(t, b, waterItems())
	const fault = "read data D120 from meter w-1: error reply C1, status 00 20"
	check(t, m, "556677.00 553412.00 refused", fault)
	if got := b.log(); got != "901F D120" {
		t.Errorf("asked %s: a refusal is no reason to ask again", got)
	}
	// Asked first, while the order is not known yet.
	items := waterItems()
	slices.Reverse(items)
	m = newMeter(t, b, items)
	check(t, m, "refused 553412.00 556677.00", fault)
	if got := b.log(); got != "D120 20D1 D120 901F" {
		t.Errorf("asked %s", got)
	}
}

func TestLineFaults(t *testing.T) {
	b := newBus(t)
	b.fault = func(int) *drivers.Fault {
		return &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("line a: port is gone")}
	}
	m := newMeter(t, b, waterItems())
	check(t, m, "disconnected disconnected disconnected", "read data 901F from meter w-1: line a: port is gone")
	if got := b.log(); got != "901F" {
		t.Errorf("asked %s", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	dst := make([]drivers.Reading, 3)
	if err := m.Read(ctx, dst); !errors.Is(err, context.Canceled) || dst[2].Quality != drivers.Skipped {
		t.Errorf("%v %v", dst, err)
	}
	if err := m.Read(ctx, dst[:2]); err == nil || err.Error() != "meter w-1: 2 readings wanted of 3 items" {
		t.Error(err)
	}
}

// A damaged reply is asked for once more.
func TestDamagedOnce(t *testing.T) {
	for at := range 35 {
		for _, always := range []bool{false, true} {
			b := newBus(t)
			m := newMeter(t, b, waterItems()[:2])
			check(t, m, "556677.00 553412.00", "")
			b.log()
			b.asked = nil
			b.spoil = func(n int, reply []byte) []byte {
				if n == 1 || always {
					reply[at] ^= 0x41
				}
				return reply
			}
			if always {
				check(t, m, "bad-frame bad-frame", "read data 901F from meter w-1: 35 bytes but no valid reply")
			} else {
				check(t, m, "556677.00 553412.00", "")
			}
			if got := b.log(); got != "901F 901F" {
				t.Errorf("byte %d: asked %s", at, got)
			}
		}
	}
}

// What may stand before a reply does not hide it, and is not taken for it.
func TestForeignBytes(t *testing.T) {
	other := newBus(t)
	other.address[0]++
	for name, noise := range map[string][]byte{
		"wake-up":               bytes.Repeat([]byte{wakeup}, 6),
		"the request's echo":    nil, // below
		"another meter":         other.frame(0x81, "90 1F 01 "+water),
		"another identifier":    newBus(t).frame(0x81, "D1 20 51 "+monthWater),
		"another control code":  newBus(t).frame(0x83, "90 1F 01 "+water),
		"refusal of another":    newBus(t).frame(0xC3, "01 00 20"),
		"a serial server's MAC": unhex(t, "D8 B0 4C BD D1 47"),
		"heartbeat":             []byte("keepalive"),
		"a lone 68":             {0x68},
		"a broken reply":        newBus(t).frame(0x81, "90 1F 01 "+water)[:30],
		"a long length":         unhex(t, "68 10 44 33 22 11 00 33 78 81 FF"),
		"a wrong sum":           append(newBus(t).frame(0x81, "90 1F 01 "+water)[:33], 0, 0x16),
		"68s":                   bytes.Repeat([]byte{0x68}, 20),
	} {
		b := newBus(t)
		echo := name == "the request's echo"
		b.spoil = func(_ int, reply []byte) []byte {
			if echo {
				noise = bytes.Clone(b.last.Request)
			}
			return append(bytes.Clone(noise), reply...)
		}
		if got, err := read(newMeter(t, b, waterItems())); got != "556677.00 553412.00 550012.00" || err != "" {
			t.Errorf("%s before the reply: %s, %q", name, got, err)
		}
		b.spoil = func(int, []byte) []byte {
			if echo {
				return bytes.Clone(b.last.Request)
			}
			return noise
		}
		if got, err := read(newMeter(t, b, waterItems())); got != "bad-frame bad-frame bad-frame" || err == "" {
			t.Errorf("%s alone: %s, %q", name, got, err)
		}
	}
}

// A meter need not echo the serial number.
func TestSerialNumber(t *testing.T) {
	b := newBus(t)
	b.noEcho = true
	m := newMeter(t, b, waterItems())
	for range 300 {
		check(t, m, "556677.00 553412.00 550012.00", "")
	}
	for _, a := range b.asked {
		if strings.HasSuffix(a, " 00") {
			t.Fatal("serial number 0 was sent: it is what meters that do not echo it answer")
		}
	}
	// A meter with a number of its own is not lost when the request of that
	// number goes unanswered.
	for _, ser := range []byte{0x01, 0x60} {
		b = newBus(t)
		b.noEcho, b.ser = true, ser
		m = newMeter(t, b, waterItems()[:1])
		b.asleep = 3
		check(t, m, "timeout", "read data 901F from meter w-1: timeout after 1s")
		for range 300 {
			if m.ser == ser-1 {
				b.asleep = 1
			}
			check(t, m, "556677.00", "")
		}
	}
}

// Once a reply has come, the numbers of requests given up are free again.
func TestNumbersAreUsedAgain(t *testing.T) {
	b := newBus(t)
	m := newMeter(t, b, waterItems()[:1])
	for range 200 {
		b.asleep = 1
		check(t, m, "556677.00", "")
	}
	if n := slices.Index(m.lost[:], true); n >= 0 {
		t.Errorf("number %02X is still taken for lost", n)
	}
}

// The reply to a request given up comes as the reply to the next one. Its
// value is old; only its serial number tells.
func TestLateReply(t *testing.T) {
	b := newBus(t)
	m := newMeter(t, b, waterItems()[:1])
	var held []byte
	late := func(n int, reply []byte) []byte {
		before := held
		held = bytes.Clone(reply)
		return before
	}
	b.spoil = late
	for n := range 600 {
		b.payload[0x901F] = fmt.Sprintf("00 00 %02d %02d 2C", n%100, n/100) + water[14:]
		if got, _ := read(m); got != "timeout" && got != "bad-frame" {
			t.Fatalf("read %d took a late reply: %s", n, got)
		}
		b.asked = b.asked[:1]
	}
	// The next prompt reply clears it up, whatever its number.
	b.spoil = func(_ int, reply []byte) []byte { return append(bytes.Clone(held), reply...) }
	b.payload[0x901F] = "00 00 34 12 2C" + water[14:]
	check(t, m, "123400.00", "")
}

func TestConfig(t *testing.T) {
	good := Config{Name: "w-1", Address: printed, Type: 0x10, Items: waterItems()}
	for want, change := range map[string]func(*Config){
		`meter w-1: address "7833" has 4 digits, expected 14: manufacturer, then number`: func(c *Config) { c.Address = "7833" },
		`meter w-1: address "aaaaaaaaaaaaaa" is not all digits`:                          func(c *Config) { c.Address = "aaaaaaaaaaaaaa" },
		"meter w-1: no items to read":                                                    func(c *Config) { c.Items = nil },
		"meter w-1: 65 wake-up bytes, expected at most 64":                               func(c *Config) { c.Wakeup = 65 },
		`meter w-1: item x: data identifier "8102", expected 901F or D120 to D12B`:       func(c *Config) { c.Items = []drivers.Item{item("x", "m3", 0, "8102", 0)} },
		`meter w-1: item x: data identifier "", expected 901F or D120 to D12B`:           func(c *Config) { c.Items = []drivers.Item{item("x", "m3", 0, "", 0)} },
		"meter w-1: item x: 901F of a cold water meter has no number as part 2":          func(c *Config) { c.Items = []drivers.Item{item("x", "m3", 0, "901F", 2)} },
		"meter w-1: item x: 901F of a heat meter has no number as part 8": func(c *Config) {
			c.Type, c.Items = 0x20, []drivers.Item{item("x", "m3", 0, "901F", 8)}
		},
		"meter w-1: item x: D120 of a cold water meter has no number as part -1": func(c *Config) { c.Items = []drivers.Item{item("x", "m3", 0, "D120", -1)} },
		`meter w-1: item x: unit "gal" is none of CJ/T 188`:                      func(c *Config) { c.Items = []drivers.Item{item("x", "gal", 0, "D120", 0)} },
		`meter w-1: item x: format "XX", expected six or eight digits as in XXXXXX.XX`: func(c *Config) {
			c.Items = []drivers.Item{item("x", "m3", 0, "D120", 0)}
			c.Items[0].Format = "XX"
		},
	} {
		cfg := good
		change(&cfg)
		if _, err := New(cfg, nil); err == nil || err.Error() != want {
			t.Errorf("%v\nwant %s", err, want)
		}
	}
	cfg := good
	cfg.Wakeup = -1
	b := newBus(t)
	m, err := New(cfg, b)
	if err != nil {
		t.Fatal(err)
	}
	check(t, m, "556677.00 553412.00 550012.00", "")
	if b.last.Request[0] != start || b.last.Timeout != DefaultTimeout {
		t.Errorf("%+v", b.last)
	}
}

func TestSearch(t *testing.T) {
	settings := drivers.Settings{Baud: 2400, DataBits: 8, Parity: 'E', StopBits: 1}
	search := func(b *bus) (found []string, err error) {
		err = Search(context.Background(), b, settings, time.Second, func(meter byte, a string) {
			found = append(found, fmt.Sprintf("%02X %s", meter, a))
		})
		return found, err
	}
	for name, c := range map[string]struct {
		prepare func(*bus)
		asked   int
	}{
		"high byte first":  {func(b *bus) { b.order = "high" }, 2},
		"low byte first":   {func(b *bus) { b.order = "low" }, 2},
		"no water to read": {func(b *bus) { delete(b.payload, 0x901F) }, 3},
	} {
		b := newBus(t)
		c.prepare(b)
		found, err := search(b)
		if err != nil || !slices.Equal(found, []string{"10 " + printed}) || len(b.asked) != c.asked {
			t.Errorf("%s: %v %v after %v", name, found, err, b.asked)
		}
		if b.last.Settings != settings || b.last.Timeout != time.Second {
			t.Errorf("%s: %+v", name, b.last)
		}
	}
	b := newBus(t)
	b.asleep = 99
	if found, err := search(b); found != nil || err != nil || len(b.asked) != 4 {
		t.Errorf("%v %v after %v", found, err, b.asked)
	}
	b.fault = func(int) *drivers.Fault {
		return &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("line a: port is gone")}
	}
	b.asked = nil
	if _, err := search(b); err == nil || err.Error() != "read data 901F of any meter: line a: port is gone" || len(b.asked) != 1 {
		t.Errorf("%v after %v", err, b.asked)
	}
	// The echo of the question, or an answer that still has the wildcard, is
	// no address.
	b = newBus(t)
	b.address = wildcard
	if found, _ := search(b); found != nil {
		t.Errorf("found %v", found)
	}
}

// shared is a line on which several meters hear everything and answer at once.
type shared []*bus

func (s shared) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	var all []byte
	for _, b := range s {
		_, size := hunt(x.Request, func(frame) bool { return true })
		f := parse(x.Request[len(x.Request)-size:])
		if b.address.matches(f.address) {
			for i, c := range b.frame(0x81, "90 1F 01 "+water) {
				if i < len(all) {
					all[i] &= c
				} else {
					all = append(all, c)
				}
			}
		}
	}
	if len(all) == 0 {
		return nil, &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout")}
	}
	if skip, size := x.Match(all); size > 0 {
		return all[skip : skip+size], nil
	}
	return nil, &drivers.Fault{Kind: drivers.BadFrame, Err: errors.New("no reply")}
}

func TestSearchTellsMetersThatAnswerAtOnce(t *testing.T) {
	var line shared
	var want []string
	for _, printed := range []string{"78330000000112", "78330000000212", "78330000000037"} {
		b := newBus(t)
		a, err := parseAddress(printed)
		if err != nil {
			t.Fatal(err)
		}
		b.address = a
		line = append(line, b)
		want = append(want, printed)
	}
	var found []string
	if err := Search(context.Background(), line, drivers.Settings{}, 0, func(_ byte, a string) { found = append(found, a) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	slices.Sort(want)
	if !slices.Equal(found, want) {
		t.Fatalf("found %v, want %v", found, want)
	}
}

// No bytes that come make the meter panic, or take a number from a frame that
// is not its own.
func FuzzReply(f *testing.F) {
	b := newBus(f)
	f.Add(b.frame(0x81, "90 1F 01 "+water))
	f.Add(b.frame(0x81, "1F 90 00 "+heatData))
	f.Add(b.frame(0xC1, "01 00 20"))
	f.Fuzz(func(t *testing.T, reply []byte) {
		if len(reply) > 600 { // find is slow
			return
		}
		b := newBus(t)
		b.spoil = func(int, []byte) []byte { return reply }
		m := newMeter(t, b, waterItems())
		dst := make([]drivers.Reading, 3)
		m.Read(context.Background(), dst)
		for _, r := range dst {
			if r.Quality == drivers.OK && !bytes.Contains(reply, b.address[:]) {
				t.Fatalf("%v of % X", dst, reply)
			}
			if !r.Quality.HasValue() && r.Coef != 0 {
				t.Fatalf("%v", dst)
			}
		}
	})
}

type fixed struct{ reply []byte }

func (f *fixed) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) {
	skip, size := x.Match(f.reply)
	return f.reply[skip : skip+size], nil
}

// BenchmarkRead is one poll of a heat meter's eight values without the line.
func BenchmarkRead(b *testing.B) {
	s := newBus(b)
	s.meter = 0x20
	var items []drivers.Item
	for part, unit := range []string{"kWh", "kWh", "kW", "m3/h", "m3", "°C", "°C", "h"} {
		items = append(items, item("q", unit, -4, "901F", part))
	}
	m, err := New(Config{Name: "h-1", Address: printed, Type: 0x20, Items: items},
		&fixed{append(bytes.Repeat([]byte{wakeup}, 4), s.frame(0x81, "90 1F 00 "+heatData)...)})
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]drivers.Reading, len(items))
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Read(context.Background(), dst); err != nil || dst[7].Coef != 123450000 {
			b.Fatal(err, dst)
		}
	}
}

func TestReadAllocatesNothing(t *testing.T) {
	s := newBus(t)
	m, err := New(Config{Name: "w-1", Address: printed, Type: 0x10, Items: waterItems()[:2]}, &fixed{s.frame(0x81, "90 1F 00 "+water)})
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]drivers.Reading, 2)
	if n := testing.AllocsPerRun(100, func() { m.Read(context.Background(), dst) }); n != 0 || dst[0].Coef != 55667700 {
		t.Errorf("%v allocations a read, %v", n, dst)
	}
}
