package dlt645

import (
	"encoding/hex"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/drivertest"
)

// meter is the other end: data by identifier, as written on paper, most
// significant digit first.
type meter struct {
	version Version
	address string
	data    map[uint32]string // an identifier that is missing is refused
	split   int               // bytes of data in one frame, where not all go in one
	wakeup  int
}

func (m *meter) answer(request []byte) []byte {
	skip, size := hunt(request, func(f frame) bool { return !f.reply() })
	if size == 0 {
		return nil
	}
	f := parse(request[skip : skip+size])
	mine, err := parseAddress(m.address)
	if err != nil || !mine.matches(f.address) {
		return nil
	}
	out := slices.Repeat([]byte{wakeup}, m.wakeup)
	if m.version == V2007 && f.function() == readAddress2007 {
		return reply(out, mine, f.control|fromMeter, add33(mine[:]))
	}
	id, _ := f.id(m.version)
	text, ok := m.data[id]
	if !ok {
		return reply(out, mine, f.control|fromMeter|refused, []byte{noSuchData + offset})
	}
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	slices.Reverse(b)
	seq := 0
	if f.function() == readMore2007 {
		seq = int(f.data[4] - offset)
	}
	control := f.control | fromMeter
	if m.split > 0 {
		b = b[seq*m.split:]
		if len(b) > m.split {
			b, control = b[:m.split], control|more
		}
	}
	if f.function() == readMore2007 {
		b = append(b, byte(seq))
	}
	return reply(out, mine, control, append(slices.Clone(f.data[:m.version.idBytes()]), add33(b)...))
}

func add33(b []byte) (out []byte) {
	for _, c := range b {
		out = append(out, c+offset)
	}
	return out
}

func reply(out []byte, a address, control byte, data []byte) []byte {
	from := len(out)
	out = append(append(append(out, start), a[:]...), start, control, byte(len(data)))
	out = append(out, data...)
	return append(out, sum(out[from:]), end)
}

func items() []drivers.Item {
	return []drivers.Item{
		{Quantity: drivers.Quantity{Name: "energy_import", Unit: "kWh", Exp: -2}, ID: "00010000"},
		{Quantity: drivers.Quantity{Name: "voltage_l1", Unit: "V", Exp: -1}, ID: "02010100"},
		{Quantity: drivers.Quantity{Name: "voltage_l2", Unit: "V", Exp: -1}, ID: "02010200"},
		{Quantity: drivers.Quantity{Name: "power", Unit: "W", Exp: -1}, ID: "02030000"},
		{Quantity: drivers.Quantity{Name: "meter_number"}, ID: "04000402"},
	}
}

func plant() *meter {
	return &meter{address: "000000123456", wakeup: 4, data: map[uint32]string{
		0x00010000: "00012345", 0x02010100: "2301", 0x02010200: "2299", 0x0201FF00: "FFFF22992301",
		0x02030000: "812345", 0x04000402: "000000123456",
	}}
}

func config() Config {
	return Config{Name: "press-1", Address: "123456", Items: items(), Blocks: []string{"0201FF00"}}
}

func reads(request []byte) bool {
	d := Describe(V2007, request)
	return d.Valid && d.Direction == "request" && !d.Write && slices.Contains([]string{"11", "12", "13"}, d.Control)
}

func TestSuite(t *testing.T) {
	m := plant()
	other := &meter{address: "000000123457", data: map[uint32]string{
		0x00010000: "99999999", 0x0201FF00: "999999999999", 0x02030000: "099999", 0x04000402: "000000123457",
	}}
	drivertest.Run(t, drivertest.Suite{
		New:    func(l drivers.Exchanger) (drivertest.Device, error) { return New(config(), l) },
		Want:   []drivers.Reading{{Coef: 12345}, {Coef: 2301}, {Coef: 2299}, {Coef: -12345}, {Coef: 123456}},
		Answer: m.answer,
		Foreign: func(q []byte) []byte {
			b := slices.Clone(q)
			skip, size := hunt(b, func(f frame) bool { return true })
			f := b[skip : skip+size]
			f[1]++ // the other meter hears its own address
			f[size-2]++
			return other.answer(b)
		},
		Reads: reads,
	})
}

func TestSuite1997(t *testing.T) {
	m := &meter{version: V1997, address: "200706001412", data: map[uint32]string{0x9010: "00060304", 0xB611: "0220", 0xB630: "001234"}}
	other := &meter{version: V1997, address: "200706001413", data: map[uint32]string{0x9010: "99999999", 0xB611: "9999", 0xB630: "999999"}}
	drivertest.Run(t, drivertest.Suite{
		New: func(l drivers.Exchanger) (drivertest.Device, error) {
			return New(Config{Name: "press-1", Address: "200706001412", Version: V1997, Items: []drivers.Item{
				{Quantity: drivers.Quantity{Name: "energy_import", Unit: "kWh", Exp: -2}, ID: "9010"},
				{Quantity: drivers.Quantity{Name: "voltage_l1", Unit: "V", Exp: 0}, ID: "B611"},
				{Quantity: drivers.Quantity{Name: "power", Unit: "W", Exp: -1}, ID: "B630"},
			}}, l)
		},
		Want:   []drivers.Reading{{Coef: 60304}, {Coef: 220}, {Coef: 1234}},
		Answer: m.answer,
		Foreign: func(q []byte) []byte {
			b := slices.Clone(q)
			skip, size := hunt(b, func(f frame) bool { return true })
			f := b[skip : skip+size]
			f[1]++
			f[size-2]++
			return other.answer(b)
		},
		Reads: func(q []byte) bool {
			d := Describe(V1997, q)
			return d.Valid && d.Direction == "request" && !d.Write && (d.Control == "01" || d.Control == "02")
		},
	})
}

func read(t *testing.T, m *Meter) ([]drivers.Reading, error) {
	t.Helper()
	dst := make([]drivers.Reading, len(m.cfg.Items))
	err := m.Read(t.Context(), dst)
	return dst, err
}

func on(t *testing.T, cfg Config, m *meter) (*Meter, *drivertest.Line) {
	t.Helper()
	l := &drivertest.Line{Reply: func(q []byte) ([]byte, error) { return m.answer(q), nil }}
	d, err := New(cfg, l)
	if err != nil {
		t.Fatal(err)
	}
	return d, l
}

func TestBlockIsReadOnceAndAPhaseThatIsNotThereIsNoNumber(t *testing.T) {
	m := plant()
	m.data[0x0201FF00] = "FFFFFFFF2256"
	d, l := on(t, config(), m)
	got, err := read(t, d)
	if err != nil {
		t.Fatal(err)
	}
	if got[1] != (drivers.Reading{Coef: 2256}) || got[2] != (drivers.Reading{Quality: drivers.Invalid}) {
		t.Fatalf("%+v", got)
	}
	if len(l.Requests) != 4 {
		t.Fatalf("%d requests for %v", len(l.Requests), d.Queries())
	}
}

func TestRefusedBlockIsAskedForInPieces(t *testing.T) {
	m := plant()
	delete(m.data, 0x0201FF00)
	d, l := on(t, config(), m)
	for range 2 {
		got, err := read(t, d)
		if err != nil || got[1].Coef != 2301 || got[2].Coef != 2299 {
			t.Fatalf("%+v, %v", got, err)
		}
	}
	blocks := 0
	for _, q := range l.Requests {
		if Describe(V2007, q).DataID == "0201FF00" {
			blocks++
		}
	}
	if blocks != 1 {
		t.Fatalf("the block was asked for %d times, want once", blocks)
	}
}

func TestWhatTheMeterDoesNotHaveIsAbsentAndNotAskedAgain(t *testing.T) {
	m := plant()
	delete(m.data, 0x02030000)
	d, l := on(t, config(), m)
	got, err := read(t, d)
	var fault *drivers.Fault
	if !errors.As(err, &fault) || fault.Kind != drivers.Absent {
		t.Fatalf("%v, want absent", err)
	}
	if want := "read data 02030000 from meter press-1: error 02 no such data; it is not asked again"; err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	before := len(l.Requests)
	again, err := read(t, d)
	if err != nil || again[3].Quality != drivers.Absent || got[3].Quality != drivers.Absent {
		t.Fatalf("%+v, %v", again, err)
	}
	if n := len(l.Requests) - before; n != 3 {
		t.Fatalf("%d requests in the second read, want 3", n)
	}
}

func TestLongAnswerComesInFrames(t *testing.T) {
	m := &meter{address: "000000000007", split: 8, data: map[uint32]string{0x03010000: strings.Repeat("000001", 5) + "000042"}}
	d, l := on(t, Config{Name: "x", Address: "7", Items: []drivers.Item{
		{Quantity: drivers.Quantity{Name: "a"}, ID: "03010000"},
		{Quantity: drivers.Quantity{Name: "b", Unit: "min"}, ID: "03010000", Part: 5},
	}}, m)
	got, err := read(t, d)
	if err != nil || got[0].Coef != 42 || got[1].Coef != 1 || len(l.Requests) != 3 {
		t.Fatalf("%+v, %v, %d requests", got, err, len(l.Requests))
	}
}

func TestConfigThatCannotBeRead(t *testing.T) {
	one := func(id, unit string, exp int8, format string) Config {
		return Config{Name: "x", Address: "1", Items: []drivers.Item{{Quantity: drivers.Quantity{Name: "q", Unit: unit, Exp: exp}, ID: id, Format: format}}}
	}
	for want, cfg := range map[string]Config{
		`address "aaaaaaaaaaaa" has wildcards`:             {Name: "x", Address: "aaaaaaaaaaaa", Items: items()},
		`address "12x" is not all digits`:                  {Name: "x", Address: "12x", Items: items()},
		"no items to read":                                 {Name: "x", Address: "1"},
		`identifier "9010", expected 8 hexadecimal digits`: one("9010", "kWh", -2, ""),
		"identifier 0A0B0C0D is not known here":            one("0A0B0C0D", "kWh", -2, ""),
		`unit "V" cannot be made of the meter's "kWh"`:     one("00010000", "V", -2, ""),
		"resolution 10^-1 drops digits of XXXXXX.XX kWh":   one("00010000", "kWh", -1, ""),
		`format "YYMMDDWW" of 04000101 is no number`:       one("04000101", "", 0, ""),
		`format "A10" of 0400040B is no number`:            one("0400040B", "", 0, ""),
	} {
		if _, err := New(cfg, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := New(one("0A0B0C0D", "kWh", -3, "SXXXXX.XXX"), nil); err != nil {
		t.Errorf("an identifier with a format of its own: %v", err)
	}
}

func TestSearchFindsMetersThatAnswerAtOnce(t *testing.T) {
	meters := []*meter{{address: "000000000112"}, {address: "000000000212"}, {address: "990000000037"}}
	for _, m := range meters {
		m.data = map[uint32]string{0x00010000: "00000100"}
	}
	l := &drivertest.Line{Reply: func(q []byte) (b []byte, _ error) {
		for _, m := range meters { // several at once: their bits fall together
			for i, c := range m.answer(q) {
				if i < len(b) {
					b[i] &= c
				} else {
					b = append(b, c)
				}
			}
		}
		return b, nil
	}}
	var found []string
	if err := Search(t.Context(), V2007, l, drivers.Settings{}, 0, func(a string) { found = append(found, a) }); err != nil {
		t.Fatal(err)
	}
	slices.Sort(found)
	if want := []string{"000000000112", "000000000212", "990000000037"}; !slices.Equal(found, want) {
		t.Fatalf("found %v, want %v", found, want)
	}
	for _, q := range l.Requests {
		if !reads(q) {
			t.Fatalf("% x was sent", q)
		}
	}
}

// A meter of the other edition refuses: that is no reason to ask for every
// address it could have.
func TestSearchPassesOverTheOtherEdition(t *testing.T) {
	m := &meter{version: V1997, address: "970000000006", data: map[uint32]string{0x9010: "00000100"}}
	l := &drivertest.Line{Reply: func(q []byte) ([]byte, error) {
		if b := m.answer(q); b != nil {
			return b, nil
		}
		return reply(nil, address{6, 0, 0, 0, 0, 0x97}, 0xC1, []byte{offset + 1}), nil
	}}
	var found []string
	for _, v := range []Version{V2007, V1997} {
		if err := Search(t.Context(), v, l, drivers.Settings{}, 0, func(a string) { found = append(found, v.String()+" "+a) }); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"dlt645-1997 970000000006"}; !slices.Equal(found, want) || len(l.Requests) != 2 {
		t.Fatalf("found %v after %d requests, want %v after 2", found, len(l.Requests), want)
	}
}

func TestIdentify(t *testing.T) {
	d, _ := on(t, config(), plant())
	if got, err := d.Identify(t.Context()); err != nil || got != "000000123456" {
		t.Fatalf("%q, %v", got, err)
	}
}

// The one encoder of the package says nothing but read.
func TestOnlyReadsCanBeSaid(t *testing.T) {
	for _, v := range []Version{V2007, V1997} {
		for what := range 256 {
			b := appendRead(nil, v, address{1}, reading(what), 0x04000402, 1)
			d := Describe(v, b)
			if allowed := map[Version]string{V2007: "11 12 13", V1997: "01 02"}[v]; !d.Valid || d.Write || !strings.Contains(allowed, d.Control) {
				t.Fatalf("%v: % x", v, b)
			}
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	d, err := New(config(), nil)
	if err != nil {
		b.Fatal(err)
	}
	d.asked, d.what = 0x0201FF00, data
	answer := reply(slices.Repeat([]byte{wakeup}, 4), d.address, 0x91, append([]byte{0x33, 0x32, 0x34, 0x35}, add33([]byte{0x01, 0x23, 0x99, 0x22, 0xFF, 0xFF})...))
	dst := make([]drivers.Reading, len(d.cfg.Items))
	b.ReportAllocs()
	b.SetBytes(int64(len(answer)))
	for b.Loop() {
		skip, size := d.match(answer)
		if size == 0 {
			b.Fatal("no reply")
		}
		d.decode(d.plan[0], parse(answer[skip : skip+size]).data[4:], dst)
	}
	if dst[1].Coef != 2301 {
		b.Fatal(dst)
	}
}
