package meter

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// namedMeter is a meter at 12 kW and 5 kvar, held at the start, which is Friday,
// 2 January 2026, 13:14:15.
func namedMeter(t *testing.T, c Config, model Model) *Named {
	t.Helper()
	c.Load = plant.NewLoad(time.Date(2026, 1, 2, 13, 14, 15, 0, time.UTC), time.Hour, false, []plant.Interval{{Active: 12e6, Lagging: 5e6}})
	c.Clock = held(t, c.Load)
	if c.Base == nil {
		c.Base = &drivers.Decimal{Coef: 1234567, Exp: -2}
	}
	m, err := NewNamed(c, model)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// ask puts bytes to a meter as an ear would.
func ask(l *Named, b []byte) []byte {
	skip, size := l.Find(b)
	if size == 0 {
		return nil
	}
	return l.Answer(nil, b[skip:skip+size]).Bytes
}

// ask645 builds a read request from the text alone: sum and offset are checked
// against real frames in TestDLT645RealFrames.
func ask645(address string, control byte, data ...byte) []byte {
	b := appendDigits([]byte{0x68}, strings.ReplaceAll(address, "A", ":"))
	b = append(b, 0x68, control, byte(len(data)))
	for _, d := range data {
		b = append(b, d+0x33)
	}
	return append(b, sum(b), 0x16)
}

func ask188(class byte, address string, control byte, data ...byte) []byte {
	b := append(appendDigits([]byte{0x68, class}, address), control, byte(len(data)))
	b = append(b, data...)
	return append(b, sum(b), 0x16)
}

func TestWildcardDigits(t *testing.T) {
	if got := ask645("AAAAAAAAAAAA", 0x13); !bytes.Equal(got, unhex("68 AA AA AA AA AA AA 68 13 00 DF 16")) {
		t.Errorf("% X", got)
	}
}

// Frames from public code that reads or fakes such meters: the same questions
// to a meter of the same number bring the same frame wherever its content does
// not depend on the load.
func TestDLT645RealFrames(t *testing.T) {
	for _, c := range []struct {
		name, model, address, ask, want string
		wakeup                          int
	}{
		{"read address, wildcard (go645)", "dlt645-2007-1ph", "000000000001",
			"FE FE FE FE 68 AA AA AA AA AA AA 68 13 00 DF 16", "68 01 00 00 00 00 00 68 93 06 34 33 33 33 33 33 9D 16", 0},
		{"meter number (go645)", "dlt645-2007-1ph", "002241020208",
			"FE FE FE FE 68 08 02 02 41 22 00 68 11 04 35 37 33 37 2A 16", "68 08 02 02 41 22 00 68 91 0A 35 37 33 37 3B 35 35 74 55 33 51 16", 0},
		{"four wake-up bytes", "dlt645-2007-3ph", "111111111111",
			"68 AA AA AA AA AA AA 68 13 00 DF 16", "FE FE FE FE 68 11 11 11 11 11 11 68 93 06 44 44 44 44 44 44 67 16", 4},
		{"phase loss of a single-phase meter: no such data (testcenter)", "dlt645-2007-1ph", "201000000012",
			"68 12 00 00 00 10 20 68 11 04 33 33 34 36 F7 16", "68 12 00 00 00 10 20 68 D1 01 35 19 16", 0},
		{"1997 meter number, wildcard (fox-edge)", "dlt645-1997", "200706001412",
			"68 AA AA AA AA AA AA 68 01 02 65 F3 27 16", "FE FE FE 68 12 14 00 06 07 20 68 81 08 65 F3 45 47 33 39 3A 53 89 16", 3},
		{"1997 user number (fox-edge)", "dlt645-1997", "200706001412",
			"68 AA AA AA AA AA AA 68 01 02 66 F3 28 16", "FE FE FE 68 12 14 00 06 07 20 68 81 08 66 F3 45 47 33 39 3A 53 8A 16", 3},
	} {
		m := namedMeter(t, Config{}, Model{Name: c.model, Address: c.address, Wakeup: c.wakeup})
		if got := ask(m, unhex(c.ask)); !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%s: % X\nwant %s", c.name, got, c.want)
		}
	}
	for _, c := range []struct {
		name, model, address string
		base                 int64 // hundredths of a kWh
		ask, want            string
	}{
		{"forward energy 1.86 kWh", "dlt645-2007-3ph", "201709320072", 186,
			"", "68 72 00 32 09 17 20 68 91 08 33 33 34 33 B9 34 33 33 6D 16"},
		{"1997 energy 2463.48 kWh", "dlt645-1997", "000014359743", 2463_48,
			"", "68 43 97 35 14 00 00 68 81 06 43 C3 7B 96 57 33 1B 16"},
		{"1997 energy 0.01 kWh", "dlt645-1997", "138000130754", 1,
			"68 54 07 13 00 80 13 68 01 02 43 C3 DA 16", "68 54 07 13 00 80 13 68 81 06 43 C3 34 33 33 33 2B 16"},
	} {
		m := namedMeter(t, Config{Base: &drivers.Decimal{Coef: c.base, Exp: -2}}, Model{Name: c.model, Address: c.address})
		request := unhex(c.ask)
		if c.ask == "" && c.model == "dlt645-1997" {
			request = ask645(c.address, 0x01, 0x10, 0x90)
		} else if c.ask == "" {
			request = ask645(c.address, 0x11, 0, 0, 1, 0)
		}
		if got := ask(m, request); !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%s: % X\nwant %s", c.name, got, c.want)
		}
	}
}

// data645 takes a reply apart: control and the data after the identifier.
func data645(t *testing.T, reply []byte, id int) (control byte, data []byte) {
	t.Helper()
	for len(reply) > 0 && reply[0] == 0xFE {
		reply = reply[1:]
	}
	if len(reply) < 12 || len(reply) != 12+int(reply[9]) || sum(reply[:len(reply)-2]) != reply[len(reply)-2] {
		t.Fatalf("no frame: % X", reply)
	}
	for _, b := range reply[10 : len(reply)-2] {
		data = append(data, b-0x33)
	}
	if reply[8]&dlt645Refuse != 0 {
		return reply[8], data
	}
	return reply[8], data[id:]
}

func TestDLT645Values(t *testing.T) {
	const address = "000000000123"
	for _, c := range []struct {
		name, model, di string // DI3 first
		want            string // data, lowest byte first; "" is no such data
	}{
		{"combined", "3ph", "00000000", "67 45 23 01"},
		{"forward", "3ph", "00010000", "67 45 23 01"},
		{"reverse", "3ph", "00020000", "00 00 00 00"},
		{"reactive 1", "3ph", "00030000", "26 38 49 00"},
		// 10, 30, 35 and 25 percent of the total, each cut for itself
		{"block", "3ph", "0001FF00", "67 45 23 01 56 34 12 00 70 03 37 00 98 20 43 00 41 86 30 00"},
		{"frozen block", "3ph", "05060101", "67 45 23 01 56 34 12 00 70 03 37 00 98 20 43 00 41 86 30 00"},
		{"a month ago", "3ph", "00010001", "67 45 23 01"},
		{"third tariff", "3ph", "00010300", "98 20 43 00"},
		{"power", "3ph", "02030000", "00 00 12"},
		{"reactive power", "3ph", "02040000", "00 00 05"},
		{"apparent power", "3ph", "02050000", "00 00 13"},
		{"power factor", "3ph", "02060000", "23 09"},
		{"power block of one phase", "1ph", "0203FF00", "00 00 12 00 00 12 FF FF FF FF FF FF"},
		{"phase B of one", "1ph", "02010200", ""},
		{"date", "3ph", "04000101", "05 02 01 26"},
		{"time", "3ph", "04000102", "15 14 13"},
		{"date and time", "3ph", "0400010C", "15 14 13 05 02 01 26"},
		{"address", "3ph", "04000401", "23 01 00 00 00 00"},
		{"covers opened", "3ph", "03300D00", "00 00 00"},
		{"clock set", "3ph", "03300400", "00 00 00"},
		{"power lost", "3ph", "03110000", "00 00 00"},
		{"phase lost", "3ph", "03010000", strings.Repeat("00", 18)},
		{"frozen at midnight", "3ph", "05060001", "00 00 02 01 26"},
		{"frozen 63 days ago", "3ph", "0506013F", ""},
		{"unknown", "3ph", "0F0F0F0F", ""},
		{"sixth energy", "3ph", "00050000", ""},
	} {
		m := namedMeter(t, Config{}, Model{Name: "dlt645-2007-" + c.model, Address: address})
		di := unhex(c.di)
		control, data := data645(t, ask(m, ask645(address, 0x11, di[3], di[2], di[1], di[0])), 4)
		switch {
		case c.want == "" && (control != 0xD1 || !bytes.Equal(data, []byte{2})):
			t.Errorf("%s: %02X % X, want refusal 02", c.name, control, data)
		case c.want != "" && (control != 0x91 || !bytes.Equal(data, unhex(c.want))):
			t.Errorf("%s: %02X % X, want %s", c.name, control, data, c.want)
		}
	}
}

// What is not for the meter, or changes something, or is no frame.
func TestDLT645Silence(t *testing.T) {
	const address = "000000000123"
	good := ask645(address, 0x11, 0, 0, 1, 0)
	bad := bytes.Clone(good)
	bad[len(bad)-2]++
	for _, c := range []struct {
		name string
		ask  []byte
		want byte // control of the answer; 0 is silence
	}{
		{"good", good, 0x91},
		{"after noise", append(unhex("56 7B 16 68 FF"), good...), 0x91},
		{"short address", ask645("AAAAAAAAA123", 0x11, 0, 0, 1, 0), 0x91},
		{"foreign address", ask645("000000000124", 0x11, 0, 0, 1, 0), 0},
		{"broadcast", ask645("999999999999", 0x08, 1, 2, 3, 4, 5, 6), 0},
		{"1997 read", ask645(address, 0x01, 0x10, 0x90), 0},
		{"checksum", bad, 0},
		{"a reply", ask645(address, 0x91, 0, 0, 1, 0), 0},
		{"control 1C", ask645(address, 0x1C, 1), 0xDC},
	} {
		m := namedMeter(t, Config{}, Model{Name: "dlt645-2007-3ph", Address: address})
		got := ask(m, c.ask)
		switch {
		case c.want == 0 && len(got) > 0:
			t.Errorf("%s: % X, want silence", c.name, got)
		case c.want != 0 && (len(got) < 12 || got[8] != c.want):
			t.Errorf("%s: % X, want control %02X", c.name, got, c.want)
		}
		if asked := m.Requests(); asked != int64(min(c.want, 1)) {
			t.Errorf("%s: counted %d requests", c.name, asked)
		}
	}
}

// A record of 60 bytes comes in two frames.
func TestDLT645Follow(t *testing.T) {
	const address = "000000000123"
	m := namedMeter(t, Config{Acts: []Act{{Deed: OpenCover}}}, Model{Name: "dlt645-2007-3ph", Address: address})
	control, count := data645(t, ask(m, ask645(address, 0x11, 0, 0x0D, 0x30, 3)), 4)
	if control != 0x91 || !bytes.Equal(count, unhex("01 00 00")) {
		t.Errorf("count: %02X % X", control, count)
	}
	control, first := data645(t, ask(m, ask645(address, 0x11, 1, 0x0D, 0x30, 3)), 4)
	if control != 0xB1 || len(first) != 48 || !bytes.Equal(first[:12], unhex("15 14 13 02 01 26 15 14 13 02 01 26")) || !bytes.Equal(first[12:16], unhex("67 45 23 01")) {
		t.Errorf("first part: %02X % X", control, first)
	}
	control, rest := data645(t, ask(m, ask645(address, 0x12, 1, 0x0D, 0x30, 3, 1)), 4)
	if control != 0x92 || len(rest) != 12+1 || rest[12] != 1 {
		t.Errorf("second part: %02X % X", control, rest)
	}
	control, none := data645(t, ask(m, ask645(address, 0x12, 1, 0x0D, 0x30, 3, 2)), 4)
	if control != 0xD2 || !bytes.Equal(none, []byte{2}) {
		t.Errorf("third part: %02X % X", control, none)
	}
}

func TestDLT6451997Values(t *testing.T) {
	const address = "000000000123"
	m := namedMeter(t, Config{}, Model{Name: "dlt645-1997", Address: address})
	for _, c := range []struct{ di, want string }{
		{"9010", "67 45 23 01"},
		{"9011", "56 34 12 00"},
		{"901F", "67 45 23 01 56 34 12 00 70 03 37 00 98 20 43 00 41 86 30 00"},
		{"9020", "00 00 00 00"},
		{"9110", "26 38 49 00"},
		{"9410", "67 45 23 01"},
		{"B630", "00 00 12"},
		{"B640", "00 05"},
		{"B650", "23 09"},
		{"C010", "05 02 01 26"},
		{"C011", "15 14 13"},
		{"C030", "00 16 00"},
		{"B614", ""},
		{"C117", ""},
	} {
		di := unhex(c.di)
		control, data := data645(t, ask(m, ask645(address, 0x01, di[1], di[0])), 2)
		if c.want == "" && (control != 0xC1 || !bytes.Equal(data, []byte{2})) || c.want != "" && (control != 0x81 || !bytes.Equal(data, unhex(c.want))) {
			t.Errorf("%s: %02X % X, want %q", c.di, control, data, c.want)
		}
	}
	// volts come whole
	_, data := data645(t, ask(m, ask645(address, 0x01, 0x11, 0xB6)), 2)
	if v, ok := m.Reading("voltage_l1"); !ok || v.Exp != 0 || !bytes.Equal(data, appendBCD(nil, uint64(v.Coef), 2)) {
		t.Errorf("B611: % X, Reading %v", data, v)
	}
}

// What Reading says is what the frames hold, in the units of profiles.
func TestNamedReading(t *testing.T) {
	for _, c := range []struct {
		model Model
		want  map[string]string
		none  []string
	}{
		{Model{Name: "dlt645-2007-3ph", Address: "000000000001"},
			map[string]string{"power": "12000.0", "energy_import": "12345.67", "power_factor": "0.923", "reactive_power": "5000.0"},
			[]string{"voltage", "energy_import_l1", "nonsense", "voltage_l1l2"}},
		{Model{Name: "dlt645-2007-1ph", Address: "000000000001"},
			map[string]string{"power": "12000.0", "power_l1": "12000.0"}, []string{"power_l2", "voltage_l3"}},
		{Model{Name: "dlt645-1997", Address: "000000000001"},
			map[string]string{"power": "12000.0", "reactive_power": "5000", "energy_import": "12345.67"}, []string{"frequency"}},
		{Model{Name: "cjt188-water", Address: "00000000000001"}, map[string]string{"volume": "12345.67", "volume_settlement": "12345.67"}, []string{"heat_energy", "power", "flow"}},
		{Model{Name: "cjt188-heat", Address: "00000000000001"},
			map[string]string{"volume": "12345.67", "heat_energy": "12345.67", "heat_energy_settlement": "12345.67", "heat_power": "12000", "flow": "0.6000", "temperature_supply": "75.00"}, nil},
		{Model{Name: "iec62056-generic", Address: "1"}, map[string]string{"energy_import": "12345.670", "power": "12000"}, []string{"thd_l1"}},
	} {
		m := namedMeter(t, Config{}, c.model)
		for q, want := range c.want {
			if got, ok := m.Reading(q); !ok || got.String() != want {
				t.Errorf("%s: %s = %s, %v; want %s", c.model.Name, q, got, ok, want)
			}
		}
		for _, q := range c.none {
			if got, ok := m.Reading(q); ok {
				t.Errorf("%s: %s = %s, want nothing", c.model.Name, q, got)
			}
		}
		if m.Requests() != 0 {
			t.Errorf("%s: Reading counted as a request", c.model.Name)
		}
	}
}

// Frames of CJ/T 188 as they stand in public code and documents.
func TestCJT188RealFrames(t *testing.T) {
	water := func(address string, order Order) Model {
		return Model{Name: "cjt188-water", Address: address, Order: order}
	}
	for _, c := range []struct {
		name      string
		model     Model
		ask, want string // "": silence
	}{
		{"read address", Model{Name: "cjt188-water", Address: "78330123456789", Order: LowFirst, Wakeup: 2},
			"68 10 AA AA AA AA AA AA AA 03 03 0A 81 A7 56 16", "FE FE 68 10 89 67 45 23 01 33 78 83 03 0A 81 A7 34 16"},
		{"read address, high byte first, SER 00", Model{Name: "cjt188-water", Address: "00000805000001", PlainSER: true},
			"FE FE FE 68 10 AA AA AA AA AA AA AA 03 03 81 0A 01 B0 16", "68 10 01 00 00 05 08 00 00 83 03 81 0A 00 97 16"},
		{"other order", water("00000805000001", HighFirst), "68 10 AA AA AA AA AA AA AA 03 03 0A 81 A7 56 16", ""},
		{"other order, low first", water("00000805000001", LowFirst), "68 10 AA AA AA AA AA AA AA 01 03 90 1F 90 61 16", ""},
		{"bad checksum", water("00201510270588", HighFirst), "68 10 88 05 27 10 15 20 00 01 03 90 1F 01 24 16", ""},
		{"foreign address", water("00201510270589", HighFirst), "68 10 88 05 27 10 15 20 00 01 03 90 1F 01 25 16", ""},
		{"foreign type", Model{Name: "cjt188-gas", Address: "00201510270588"}, "68 10 88 05 27 10 15 20 00 01 03 90 1F 01 25 16", ""},
		{"valve", water("00000000191213", HighFirst), "FE FE FE 68 10 01 13 12 19 00 00 00 04 04 A0 17 01 55 CC 16", ""},
	} {
		if got := ask(namedMeter(t, Config{}, c.model), unhex(c.ask)); !bytes.Equal(got, unhex(c.want)) {
			t.Errorf("%s: % X, want %s", c.name, got, c.want)
		}
	}
	// 901F of a meter at 0.29 m3, where the frame in public code has clock and
	// settled volume of its own.
	m := namedMeter(t, Config{Base: &drivers.Decimal{Coef: 29, Exp: -2}}, water("00924040000018", AnyOrder))
	want := "68 10 18 00 00 40 40 92 00 81 16 90 1F 00 29 00 00 00 2C 29 00 00 00 2C 15 14 13 02 01 26 20 00 00"
	if got := ask(m, ask188(0x10, "00924040000018", 0x01, 0x90, 0x1F, 0)); !bytes.Equal(got[:len(got)-2], unhex(want)) || sum(got[:len(got)-2]) != got[len(got)-2] {
		t.Errorf("901F: % X\nwant %s", got, want)
	}
}

// A heat meter's answer is 46 bytes long, its fields in the order of the
// standard.
func TestCJT188Heat(t *testing.T) {
	m := namedMeter(t, Config{}, Model{Name: "cjt188-heat", Address: "00000000000001", Order: LowFirst})
	got := ask(m, ask188(0x20, "00000000000001", 0x01, 0x1F, 0x90, 7))
	want := "1F 90 07 67452301 05 67452301 05 00120000 17 00600000 35 67452301 2C 007500 805700 000000 15141302012620 0000"
	if len(got) != 13+0x2E || got[10] != 0x2E || !bytes.Equal(got[11:len(got)-2], unhex(want)) {
		t.Errorf("% X\nwant %s", got, want)
	}
}

// An unknown identifier is refused, a frozen month is read.
func TestCJT188Other(t *testing.T) {
	m := namedMeter(t, Config{}, Model{Name: "cjt188-water", Address: "00000000000001"})
	read := func(a, b byte) []byte { return ask(m, ask188(0x10, "00000000000001", 0x01, a, b, 5)) }
	if got := read(0xD1, 0x20); !bytes.Equal(got[9:len(got)-2], unhex("81 08 D1 20 05 67 45 23 01 2C")) {
		t.Errorf("last month: % X", got)
	}
	if got := read(0x81, 0x03); !bytes.Equal(got[9:len(got)-2], unhex("C1 03 05 00 00")) {
		t.Errorf("unknown: % X", got)
	}
}

func TestIEC62056Readout(t *testing.T) {
	m := namedMeter(t, Config{}, Model{Name: "iec62056-generic", Address: "12345678", Speed: 9600})
	for _, c := range []string{"/?12345679!\r\n", "\x06050\r\n", "/?12345678!", "12345678!\r\n"} {
		if got := ask(m, []byte(c)); len(got) > 0 {
			t.Errorf("%q: %q, want silence", c, got)
		}
	}
	for _, sign := range []string{"/?!\r\n", "\x00\x00/?12345678!\r\n"} {
		if got := string(ask(m, []byte(sign))); got != "/SIM5TALLY\r\n" {
			t.Errorf("%q: %q", sign, got)
		}
	}
	got := ask(m, []byte("\x06050\r\n"))
	if len(got) < 4 || got[0] != stx || got[len(got)-2] != etx {
		t.Fatalf("%q", got)
	}
	check := byte(0)
	for _, c := range got[1:] {
		check ^= c // with the check itself nothing is left
	}
	if check != 0 {
		t.Errorf("the check is off by %02X", check)
	}
	for _, line := range []string{"0.0.0(12345678)", "1.8.0(00012345.670*kWh)", "1.8.1(00001234.567*kWh)", "16.7.0(012.000*kW)", "13.7.0(0.923)", "0.9.1(131415)", "0.9.2(260102)"} {
		if !bytes.Contains(got, []byte("\r\n"+line+"\r\n")) && !bytes.Contains(got, []byte(line+"\r\n")) {
			t.Errorf("no %s in\n%s", line, got)
		}
	}
	if again := ask(m, []byte("\x06050\r\n")); len(again) > 0 {
		t.Errorf("an acknowledgement without a sign-on: %q", again)
	}
	a := namedMeter(t, Config{}, Model{Name: "iec62056-generic", Address: "1"})
	if got := ask(a, []byte("/?!\r\n")); !bytes.HasPrefix(got, []byte("/SIMTALLY\r\n\x02F.F(")) {
		t.Errorf("mode A: %q", got)
	}
}

func TestNewNamedRefuses(t *testing.T) {
	for _, c := range []struct {
		model Model
		want  string
	}{
		{Model{Name: "dlt645", Address: "1"}, `meter m: model "dlt645": expected dlt645-2007-1ph, dlt645-2007-3ph, dlt645-1997, cjt188-water, cjt188-heat, cjt188-gas, iec62056-generic`},
		{Model{Name: "dlt645-1997", Address: "1"}, `meter m: address "1": expected 12 digits`},
		{Model{Name: "cjt188-gas", Address: "0000000000000A"}, `meter m: address "0000000000000A": expected 14 digits`},
		{Model{Name: "iec62056-generic", Address: "a!"}, `meter m: address "a!": expected 1 to 32 letters and digits`},
		{Model{Name: "iec62056-generic", Address: "a", Speed: 9601}, `meter m: speed 9601: expected one of [300 600 1200 2400 4800 9600 19200]`},
		{Model{Name: "dlt645-1997", Address: "000000000001", Wakeup: 5}, `meter m: 5 wake-up bytes: expected 0 to 4`},
	} {
		l := constant()
		if _, err := NewNamed(Config{Name: "m", Load: l, Clock: held(t, l)}, c.model); err == nil || err.Error() != c.want {
			t.Errorf("error %v\nwant %s", err, c.want)
		}
	}
}

// What is done to a meter shows in its values.
func TestActs(t *testing.T) {
	l := plant.NewLoad(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), time.Hour, false, []plant.Interval{{Active: 10e6}, {Active: 10e6}, {Active: 10e6}, {Active: 10e6}})
	shows := func(c Config, at time.Duration) (energy, number string) {
		c.Load, c.Clock, c.Base = l, stopped(t, at), &drivers.Decimal{Coef: 99990}
		m, err := NewNamed(c, Model{Name: "dlt645-2007-3ph", Address: "000000000001"})
		if err != nil {
			t.Fatal(err)
		}
		reply := ask(m, ask645("000000000001", 0x11, 2, 4, 0, 4))
		if len(reply) == 0 {
			return "silent", ""
		}
		_, n := data645(t, reply, 4)
		e, _ := m.Reading("energy_import")
		return e.String(), fmt.Sprintf("%X", n)
	}
	const hour = time.Hour
	const first, second = "010000000000", "020000000000"
	for _, c := range []struct {
		name           string
		c              Config
		at             time.Duration
		energy, number string
	}{
		{"good", Config{}, 2 * hour, "100010.00", first},
		{"before the exchange", Config{Acts: []Act{{At: 3 * hour, Deed: Exchange, Number: "000000000002"}}}, 2 * hour, "100010.00", first},
		{"exchanged", Config{Acts: []Act{{At: hour, Deed: Exchange, Number: "000000000002"}}}, 2 * hour, "10.00", second},
		{"reset twice", Config{Acts: []Act{{At: hour, Deed: Reset}, {At: hour / 2, Deed: Reset}}}, 2 * hour, "10.00", first},
		{"frozen", Config{Acts: []Act{{At: hour, Deed: Freeze}}}, 3 * hour, "100000.00", first},
		{"thawed", Config{Acts: []Act{{At: hour, Deed: Freeze}, {At: 2 * hour, Deed: Thaw}}}, 3 * hour, "100020.00", first},
		{"dead", Config{Acts: []Act{{At: hour, Deed: Die}}}, 3 * hour, "silent", ""},
		{"revived", Config{Acts: []Act{{At: hour, Deed: Die}, {At: 2 * hour, Deed: Revive}}}, 3 * hour, "100020.00", first},
		{"five digits", Config{Digits: 5}, 2 * hour, "10.00", first},
	} {
		if e, n := shows(c.c, c.at); e != c.energy || n != c.number {
			t.Errorf("%s: %s kWh, number %s; want %s, %s", c.name, e, n, c.energy, c.number)
		}
	}
}

// Deeds done to a Modbus meter while it runs.
func TestDo(t *testing.T) {
	m := energyMeter(t, "uint32", constant(), 1000_00)
	m.Do(Reset)
	if v, _ := m.Reading("energy_import"); v.Coef != 0 {
		t.Errorf("after the reset %s kWh", v)
	}
	m.Do(Die)
	if r := m.Respond(nil, 1, unhex("03 000A 0002")); len(r.PDU) > 0 {
		t.Errorf("a dead meter answers % X", r.PDU)
	}
}

func TestReplace(t *testing.T) {
	m := namedMeter(t, Config{}, Model{Name: "dlt645-1997", Address: "000000000001"})
	if err := m.Replace("7"); err == nil {
		t.Error("a number of one digit: no error")
	}
	if err := m.Replace("000000000007"); err != nil {
		t.Fatal(err)
	}
	if _, number := data645(t, ask(m, ask645("000000000001", 0x01, 0x32, 0xC0)), 2); !bytes.Equal(number, unhex("07 00 00 00 00 00")) {
		t.Errorf("number % X", number)
	}
	if v, _ := m.Reading("energy_import"); v.Coef != 0 {
		t.Errorf("the new meter begins at %s kWh", v)
	}
}

func TestRatesAreSeeded(t *testing.T) {
	r := Rates{Late: 0.01, Lost: 0.02, Corrupt: 0.03, Foreign: 0.04, Wrong: 0.05, Refused: 0.06, Noise: 0.07, Cut: 0.08}
	a, b, other := r.Faults(1), r.Faults(1), r.Faults(2)
	const n = 20000
	var count [8]int
	differ := 0
	for i := range n {
		f := a(i)
		if fmt.Sprint(f) != fmt.Sprint(b(i)) {
			t.Fatalf("request %d: %+v and %+v from one seed", i, f, b(i))
		}
		if fmt.Sprint(f) != fmt.Sprint(other(i)) {
			differ++
		}
		for j, hit := range []bool{f.Late == 2*time.Second, f.Silent, f.Corrupt > 0, f.Foreign, f.Factor != 0, f.Exception != 0, len(f.Noise) > 0, f.Cut > 0} {
			if hit {
				count[j]++
			}
		}
	}
	for j, got := range count {
		if want := n * (j + 1) / 100; got < want*8/10 || got > want*12/10 {
			t.Errorf("rate %d: %d of %d requests, want about %d", j, got, n, want)
		}
	}
	if differ < n/10 {
		t.Errorf("two seeds differ on %d of %d requests only", differ, n)
	}
}

// Every fault, on every kind of meter.
func TestNamedFaults(t *testing.T) {
	var f Fault
	c := Config{Fault: func(int) Fault { return f }}
	iec := namedMeter(t, c, Model{Name: "iec62056-generic", Address: "1"})
	for _, m := range []struct {
		*Named
		request, refusal []byte
		foreign          string // bytes that only a reply in another's name has
	}{
		{namedMeter(t, c, Model{Name: "dlt645-2007-3ph", Address: "000000000001"}), ask645("000000000001", 0x11, 0, 0, 1, 0), unhex("D1 01 39"), "\x02\x00\x00\x00\x00\x00\x68"},
		{namedMeter(t, c, Model{Name: "dlt645-1997", Address: "000000000001"}), ask645("000000000001", 0x01, 0x10, 0x90), unhex("C1 01 39"), "\x02\x00\x00\x00\x00\x00\x68"},
		{namedMeter(t, c, Model{Name: "cjt188-water", Address: "00000000000001"}), unhex("68 10 AA AA AA AA AA AA AA 01 03 90 1F 90 61 16"), unhex("C1 03 90 06 00"), "\x10\x02\x00\x00\x00\x00\x00\x00\x81"},
		{iec, []byte("/?!\r\n"), nil, "0.0.0(2)"},
	} {
		name := m.model.Name
		put := func(fault Fault) Reply {
			f = fault
			skip, size := m.Find(m.request)
			return m.Answer(nil, m.request[skip:skip+size])
		}
		good := bytes.Clone(put(Fault{}).Bytes)
		if len(good) == 0 {
			t.Fatalf("%s: silent", name)
		}
		if got := put(Fault{Silent: true}).Bytes; len(got) > 0 {
			t.Errorf("%s silent: % X", name, got)
		}
		if got := put(Fault{Late: time.Second}); got.Late != time.Second || !bytes.Equal(got.Bytes, good) {
			t.Errorf("%s late: %+v", name, got)
		}
		if got := put(Fault{Noise: unhex("FF 00")}).Bytes; !bytes.Equal(got, append(unhex("FF 00"), good...)) {
			t.Errorf("%s noise: % X", name, got)
		}
		if got := put(Fault{Noise: unhex("FF 00"), Silent: true}).Bytes; !bytes.Equal(got, unhex("FF 00")) {
			t.Errorf("%s noise alone: % X", name, got)
		}
		if got := put(Fault{Cut: 3}).Bytes; !bytes.Equal(got, good[:len(good)-3]) {
			t.Errorf("%s cut: % X", name, got)
		}
		if got := put(Fault{Corrupt: 1}).Bytes; len(got) != len(good) || bytes.Equal(got, good) {
			t.Errorf("%s corrupt: % X", name, got)
		}
		if got := put(Fault{Exception: 6}).Bytes; m.refusal != nil && !bytes.Contains(got, m.refusal) || m.refusal == nil && len(got) > 0 {
			t.Errorf("%s refused: % X", name, got)
		}
		if got := put(Fault{Foreign: true}).Bytes; !bytes.Contains(got, []byte(m.foreign)) || bytes.Contains(good, []byte(m.foreign)) {
			t.Errorf("%s foreign: % X", name, got)
		}
		if got := put(Fault{Factor: 1500}).Bytes; len(got) != len(good) || bytes.Equal(got, good) {
			t.Errorf("%s wrong: % X", name, got)
		}
	}
}

func FuzzNamed(f *testing.F) {
	l := constant()
	c, err := plant.NewClock(1, plant.Hold{}, l.Length())
	if err != nil {
		f.Fatal(err)
	}
	var meters []*Named
	for _, name := range models {
		address := "000000000001"
		if strings.HasPrefix(name, "cjt188") {
			address = "00000000000001"
		}
		m, err := NewNamed(Config{Load: l, Clock: c}, Model{Name: name, Address: address, Order: AnyOrder, Wakeup: 4})
		if err != nil {
			f.Fatal(err)
		}
		meters = append(meters, m)
	}
	f.Add(unhex("FE FE 68 AA AA AA AA AA AA 68 11 04 33 32 34 35 C4 16"))
	f.Add(unhex("68 10 AA AA AA AA AA AA AA 01 03 90 1F 90 61 16"))
	f.Add([]byte("/?!\r\n\x06050\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, m := range meters {
			skip, size := m.Find(b)
			if skip < 0 || size < 0 || skip+size > len(b) {
				t.Fatalf("%s: skip %d, size %d of %d bytes", m.model.Name, skip, size, len(b))
			}
			if size > 0 {
				m.Answer(nil, b[skip:skip+size])
			}
		}
	})
}
