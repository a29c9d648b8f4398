package cjt188

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// finish puts checksum and end behind a frame.
func finish(t testing.TB, s string) []byte {
	b := unhex(t, s)
	return append(b, sum(b), end)
}

// golden is a frame and one line of what it says: validity or reason, address,
// control, identifier, values.
type golden struct{ source, hex, want string }

func line(d drivers.Description) string {
	if !d.Valid {
		return d.Reason
	}
	words := []string{d.Direction, d.Address, d.Control, d.DataID}
	if d.Write {
		words = append(words, "WRITE")
	}
	if d.Error != nil {
		words = append(words, "error "+d.Error.Code)
	}
	for _, v := range d.Values {
		words = append(words, strings.TrimSpace(v.Quantity+"="+v.Value+v.Unit))
	}
	return strings.Join(words, " ")
}

func TestGoldenFrames(t *testing.T) {
	for _, g := range []golden{
		{"cnblogs.com/yangykaifa/p/7010777.html", "FE FE FE FE 68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16",
			"request 78330011223344 01 901F"},
		{"the reply to it, as copied in many places", "FE FE FE FE 68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 08 16",
			"checksum 08, computed 13"},
		{"the same with the right checksum", "68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 13 16",
			"response 78330011223344 81 901F volume=556677.00m3 volume_settlement=556677.00m3 clock=2015-05-11T22:01:31 status=21 84"},
		{"Friendcom FrameCJT188_2004Sample.cs", "68 10 88 05 27 10 15 20 00 81 16 90 1F 01 00 00 00 00 2C 00 00 00 00 2C 06 20 17 09 01 17 20 00 00 8E 16",
			"response 00201510270588 81 901F volume=0.00m3 volume_settlement=0.00m3 clock=2017-01-09T17:20:06 status=00 00"},
		{"a LuatOS script", "FE FE FE 68 10 18 00 00 40 40 92 00 81 16 90 1F 00 29 00 00 00 2C 29 00 00 00 2C 00 00 00 00 00 00 00 00 23 B5 16",
			"response 00924040000018 81 901F volume=0.29m3 volume_settlement=0.29m3 status=00 23"},
		{"ReceiveDataHelper.java: second 60 is no time", "68 10 01 00 23 09 18 20 00 81 16 90 1F 01 60 00 00 00 2C 60 00 00 00 2C 60 20 20 00 00 00 00 00 00 DC 16",
			"response 00201809230001 81 901F volume=0.60m3 volume_settlement=0.60m3 status=00 00"},
		{"Go devices/readSB", "FE FE 68 10 89 67 45 23 01 33 78 83 03 0A 81 A7 34 16", "response 78330123456789 83 810A address=78330123456789"},
		{"LuatOS gateway script", "FE FE FE 68 10 AA AA AA AA AA AA AA 01 03 90 1F 01 D2 16", "request aaaaaaaaaaaaaa 01 901F"},
		{"fox-edge CJT188ProtocolOperatingValve.java", "FE FE FE 68 10 01 00 00 05 08 00 00 2A 04 A0 17 00 55 C0 16", "request 00000805000001 2A A017 WRITE"},
		{"its reply", "FE FE FE 68 10 01 00 00 05 08 00 00 AA 05 A0 17 00 00 FF EB 16", "response 00000805000001 AA A017 WRITE status=00 FF"},
		{"WMUdpSendCmdsUtils.java", "FE FE FE 68 10 01 13 12 19 00 00 00 04 04 A0 17 01 55 CC 16", "request 00000019121301 04 A017 WRITE"},
		{"fox-edge CJT188ProtocolSetAddress.java", "68 10 01 00 00 05 08 00 00 95 03 A0 18 00 D6 16", "response 00000805000001 95 A018 WRITE"},
		{"linqiu126/mfunhcu testcase_nbiot188.php", "68 20 11 22 33 44 55 66 77 81 2E 90 1F 01 13 23 33 43 2C 14 24 34 44 2C 15 25 35 45 2C 16 26 36 46 2C 17 27 37 47 2C 18 28 38 19 29 39 10 20 30 20 16 07 15 09 59 59 11 22 A3 16",
			"checksum A3, computed B6"},
		{"ReceiveDataHelper.java, one byte short", "68 AA 01 00 00 05 08 00 81 16 1F 90 00 00 76 98 00 2C 99 99 99 99 2C 99 99 99 99 99 99 99 00 00 5F 16",
			"truncated: 34 bytes, expected 44"},
	} {
		if got := line(Describe(unhex(t, g.hex))); got != g.want {
			t.Errorf("%s:\n got %s\nwant %s", g.source, got, g.want)
		}
	}
}

// Frames built from the text of CJ/T 188-2004, for what no published frame
// with a right checksum shows.
func TestLayouts(t *testing.T) {
	const heat = "68 20 44 33 22 11 00 33 78 81 2E 1F 90 05 "
	for name, g := range map[string]golden{
		"heat": {hex: heat + "00 56 34 12 05 00 78 56 34 05 50 34 12 00 17 21 43 65 00 35 99 88 77 06 2C 25 65 00 30 40 00 45 23 01 30 59 23 31 12 25 20 00 04",
			want: "response 78330011223344 81 901F heat_energy_settlement=123456.00kWh heat_energy=345678.00kWh heat_power=1234.50kW flow=65.4321m3/h volume=67788.99m3 " +
				"temperature_supply=65.25°C temperature_return=40.30°C working_hours=12345h clock=2025-12-31T23:59:30 status=00 04"},
		"heat, unit first": {hex: heat + "05 00 56 34 12 05 00 78 56 34 17 50 34 12 00 35 21 43 65 00 2C 99 88 77 06 25 65 00 30 40 00 45 23 01 30 59 23 31 12 25 20 00 04",
			want: "response 78330011223344 81 901F heat_energy_settlement=123456.00kWh heat_energy=345678.00kWh heat_power=1234.50kW flow=65.4321m3/h volume=67788.99m3 " +
				"temperature_supply=65.25°C temperature_return=40.30°C working_hours=12345h clock=2025-12-31T23:59:30 status=00 04"},
		"heat, nothing known": {hex: heat + strings.Repeat("FF ", 41) + "00 20", want: "response 78330011223344 81 901F status=00 20"},
		"heat in GJ and MJ": {hex: heat + "01 00 00 00 11 02 00 00 00 0E" + strings.Repeat(" FF", 31) + " 00 20",
			want: "response 78330011223344 81 901F heat_energy_settlement=0.01GJ heat_energy=0.02MJ status=00 20"},
		"heat in GJ, unit first": {hex: heat + "11 01 00 00 00 11 02 00 00 00 FF FF FF FF FF FF FF FF FF FF" + strings.Repeat(" FF", 21) + " 00 20",
			want: "response 78330011223344 81 901F heat_energy_settlement=0.01GJ heat_energy=0.02GJ status=00 20"},
		"water, unit first": {hex: "68 10 44 33 22 11 00 33 78 81 16 90 1F 05 2C 00 77 66 55 2C 00 77 66 54" + strings.Repeat(" 00", 9),
			want: "response 78330011223344 81 901F volume=556677.00m3 volume_settlement=546677.00m3 status=00 00"},
		"gas in litres": {hex: "68 30 44 33 22 11 00 33 78 81 16 90 1F 05 00 77 66 55 29 00 77 66 54 29" + strings.Repeat(" 00", 9),
			want: "response 78330011223344 81 901F volume=556677.00l volume_settlement=546677.00l status=00 00"},
		"no decimal digit, no unit known": {hex: "68 10 44 33 22 11 00 33 78 81 16 90 1F 05 0A 77 66 55 2C 00 77 66 54 77" + strings.Repeat(" 00", 9),
			want: "response 78330011223344 81 901F volume_settlement=546677.00 status=00 00"},
		"heat in the short layout": {hex: "68 20 44 33 22 11 00 33 78 81 16 90 1F 05 00 77 66 55 05 00 77 66 54 11" + strings.Repeat(" 00", 9),
			want: "response 78330011223344 81 901F heat_energy=556677.00kWh heat_energy_settlement=546677.00GJ status=00 00"},
		"month":           {hex: "68 10 44 33 22 11 00 33 78 81 08 20 D1 05 00 77 66 55 2C", want: "response 78330011223344 81 D120 volume_settlement=556677.00m3"},
		"heat month":      {hex: "68 20 44 33 22 11 00 33 78 81 08 D1 2B 05 00 77 66 55 08", want: "response 78330011223344 81 D12B heat_energy_settlement=556677.00MWh"},
		"error":           {hex: "68 10 44 33 22 11 00 33 78 C1 03 05 00 20", want: "response 78330011223344 C1  error 00 20"},
		"refused write":   {hex: "68 10 44 33 22 11 00 33 78 C4 03 05 00 20", want: "response 78330011223344 C4  WRITE error 00 20"},
		"empty error":     {hex: "68 10 44 33 22 11 00 33 78 C1 00", want: "response 78330011223344 C1  error "},
		"unknown layout":  {hex: "68 10 44 33 22 11 00 33 78 81 07 90 1F 05 00 77 66 55", want: "response 78330011223344 81 901F"},
		"no data at all":  {hex: "68 10 44 33 22 11 00 33 78 81 00", want: "response 78330011223344 81 "},
		"motor":           {hex: "68 10 44 33 22 11 00 33 78 16 08 16 A0 05 00 77 66 55 2C", want: "request 78330011223344 16 A016 WRITE"},
		"2018, vendor's":  {hex: "68 10 44 33 22 11 00 33 78 01 03 01 D2 05", want: "request 78330011223344 01 D201"},
		"68s in the data": {hex: "68 68 68 16 68 16 68 16 68 81 16 90 1F 68 68 16 68 16 2C 68 16 68 16 2C 68 16 68 16 68 16 68 68 16", want: "response 68166816681668 81 901F volume=166816.68m3 volume_settlement=166816.68m3 status=68 16"},
	} {
		if got := line(Describe(finish(t, g.hex))); got != g.want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, g.want)
		}
	}
}

func TestReasons(t *testing.T) {
	request := unhex(t, "68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16")
	with := func(at int, v byte) []byte {
		b := bytes.Clone(request)
		b[at] = v
		return b
	}
	for want, b := range map[string][]byte{
		"no frame: no 68 found":                     []byte("keepalive"),
		"truncated: 15 bytes, expected 16":          request[:15],
		"truncated: 1 bytes, expected at least 13":  request[:1],
		"truncated: 10 bytes, expected at least 13": append([]byte{0xFE, 0x00}, request[:10]...),
		"checksum 80, computed 81":                  with(1, 0x11),
		"checksum 55, computed 80":                  with(14, 0x55),
		"end byte 17, expected 16":                  with(15, 0x17),
	} {
		if d := Describe(b); d.Valid || d.Reason != want || d.Text != want {
			t.Errorf("% X: %+v, want %s", b, d, want)
		}
	}
	if d := Describe(nil); d.Reason != "no frame: no 68 found" {
		t.Errorf("nothing: %+v", d)
	}
	// Noise, some of it like a frame, does not hide a sound one.
	d := Describe(append(unhex(t, "56 7B FE 68 16 FE FE"), append(request, 1, 2)...))
	if !d.Valid || d.Wakeup != 3 || d.Skipped != 4 || !strings.HasSuffix(d.Text, "; 2 bytes follow") {
		t.Errorf("behind noise: %+v", d)
	}
}

func TestIdentifier(t *testing.T) {
	for _, c := range []struct {
		first, second byte
		want          uint16
	}{
		{0x90, 0x1F, 0x901F}, {0x1F, 0x90, 0x901F}, {0x81, 0x0A, 0x810A}, {0x0A, 0x81, 0x810A}, {0x17, 0xA0, 0xA017}, {0xA0, 0x18, 0xA018},
		{0x20, 0xD1, 0xD120}, {0xD1, 0x2B, 0xD12B}, {0x05, 0x81, 0x8105}, {0x7F, 0x90, 0x907F}, {0x1F, 0x91, 0x911F}, {0xD2, 0x90, 0xD290},
		{0x90, 0xD3, 0xD390}, {0x00, 0xD4, 0xD400}, {0x21, 0x81, 0x8121}, {0x12, 0x34, 0x1234}, {0xEC, 0xA0, 0xA0EC},
	} {
		if got := identifier(c.first, c.second); got != c.want {
			t.Errorf("%02X %02X: %04X, want %04X", c.first, c.second, got, c.want)
		}
	}
}

// Read requests are the only frames that can be encoded.
func TestOnlyReadsAreEncoded(t *testing.T) {
	for c := range 256 {
		b, err := appendRequest(nil, 0x10, address{1}, control(c), 0x901F, false, 1)
		switch control(c) {
		case readData, readAddress:
			if d := Describe(b); err != nil || !d.Valid || d.Write || d.Direction != "request" {
				t.Errorf("control %02X: %+v, %v", c, d, err)
			}
		default:
			if err == nil || len(b) > 0 {
				t.Errorf("control %02X encodes % X", c, b)
			}
		}
	}
}

// The frames collected from public code and documents, where they are at hand.
func TestOpenFrames(t *testing.T) {
	path := os.Getenv("TALLY_FIELD")
	if path == "" {
		path = "../../../shared/field"
	}
	text, err := os.ReadFile(path + "/frames-open.json")
	if err != nil {
		t.Skipf("no collection of public frames here (TALLY_FIELD names its directory): %v", err)
	}
	var frames []struct {
		Protocol, Direction, Hex, Source string
		Valid                            bool
		WhyInvalid                       string `json:"why_invalid"`
		Wakeup                           int    `json:"wakeup_FE"`
		Meaning                          struct {
			Type           string `json:"meter_type"`
			Address        string
			Control        string
			Length         int
			FromSlave      bool `json:"from_slave"`
			Error          bool
			DI             string
			CurrentTotal   json.Number `json:"current_total"`
			Unit           string
			Settlement     json.Number `json:"settlement_total"`
			Unit2          string
			Clock          string `json:"clock_raw_ss_mm_hh_DD_MM_YY_CC"`
			Status         string
			WriteCommand   bool `json:"write_command"`
			SER            string
			DIBytesAsSent  string `json:"di_bytes_as_sent"`
			NoteUnverified string `json:"note"`
		}
	}
	if err := json.Unmarshal(text, &frames); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range frames {
		if f.Protocol != "cjt188" {
			continue
		}
		checked++
		d := Describe(unhex(t, f.Hex))
		want := f.WhyInvalid
		if have, short := strings.CutPrefix(want, "length: have "); short {
			have, need, _ := strings.Cut(have, " want ")
			want = "truncated: " + have + " bytes, expected " + need
		}
		if d.Valid != f.Valid || d.Reason != want || d.Wakeup != f.Wakeup || d.Skipped != 0 {
			t.Errorf("%s\n%+v\nwant valid %t, reason %q, %d wake-up bytes", f.Hex, d, f.Valid, want, f.Wakeup)
			continue
		}
		if !f.Valid {
			continue
		}
		m := f.Meaning
		if d.Address != m.Address || d.Control != m.Control || d.DataID != m.DI || (d.Direction == "response") != m.FromSlave ||
			f.Direction == "resp" != m.FromSlave || (d.Error != nil) != m.Error || m.WriteCommand && !d.Write {
			t.Errorf("%s\n%+v\nwant %+v", f.Hex, d, m)
		}
		values := map[string]drivers.DescribedValue{}
		for _, v := range d.Values {
			values[v.Quantity] = v
		}
		same := func(v drivers.DescribedValue, n json.Number, unit string) bool {
			a, ok := new(big.Rat).SetString(v.Value)
			b, _ := new(big.Rat).SetString(n.String())
			return ok && a.Cmp(b) == 0 && v.Unit == unit
		}
		if m.CurrentTotal != "" && (!same(values["volume"], m.CurrentTotal, m.Unit) || !same(values["volume_settlement"], m.Settlement, m.Unit2)) {
			t.Errorf("%s\n%+v\nwant %+v", f.Hex, d.Values, m)
		}
		if m.Status != "" && values["status"].Value != m.Status {
			t.Errorf("%s\n%+v\nwant status %s", f.Hex, d.Values, m.Status)
		}
		if m.Clock != "" && values["clock"].Value != clock(unhex(t, m.Clock)) {
			t.Errorf("%s\n%+v\nwant clock %s", f.Hex, d.Values, m.Clock)
		}
	}
	if checked == 0 {
		t.Error("no CJ/T 188 frame in the collection")
	}
}

// FuzzDescribeBody describes what only a right sum lets through.
func FuzzDescribeBody(f *testing.F) {
	f.Add(byte(0x10), byte(0x81), []byte{0x1F, 0x90, 0, 0, 0x77, 0x66, 0x55, 0x2C, 0, 0x77, 0x66, 0x55, 0x2C, 0x31, 1, 0x22, 0x11, 5, 0x15, 0x20, 0x21, 0x84})
	f.Add(byte(0x20), byte(0x81), []byte{0x90, 0x1F, 0, 0, 0, 0, 0, 5})
	f.Add(byte(0x10), byte(3), []byte{0x81, 0x0A, 0})
	f.Fuzz(func(t *testing.T, class, control byte, data []byte) {
		data = data[:min(len(data), 255)]
		b := append([]byte{start, class, 0x44, 0x33, 0x22, 0x11, 0, 0x33, 0x78, control, byte(len(data))}, data...)
		b = append(b, sum(b), end)
		d := Describe(b)
		if d.Valid == (d.Reason != "") || d.Text == "" {
			t.Fatalf("% X: %+v", b, d)
		}
		for _, v := range d.Values {
			if v.Value == "" {
				t.Fatalf("% X: %+v", b, d)
			}
		}
	})
}

func FuzzDescribe(f *testing.F) {
	for _, s := range []string{
		"FE FE FE FE 68 10 44 33 22 11 00 33 78 01 03 1F 90 00 80 16",
		"68 10 44 33 22 11 00 33 78 81 16 1F 90 00 00 77 66 55 2C 00 77 66 55 2C 31 01 22 11 05 15 20 21 84 13 16",
		"68 10 01 00 00 05 08 00 00 95 03 A0 18 00 D6 16",
	} {
		f.Add(unhex(f, s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		d := Describe(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the input was changed")
		}
		if d.Valid == (d.Reason != "") || d.Text == "" || d.Wakeup+d.Skipped > len(b) {
			t.Fatalf("%+v", d)
		}
		if d.Valid && b[d.Wakeup+d.Skipped] != start {
			t.Fatalf("%+v: no frame there", d)
		}
		for _, v := range d.Values {
			if v.Value == "" {
				t.Fatalf("%+v", d)
			}
		}
	})
}
