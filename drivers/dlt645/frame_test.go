package dlt645

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
)

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Frames seen on real meters and in public code, with what they mean; the
// sources are named beside each.
func TestGoldenFrames(t *testing.T) {
	for _, c := range []struct{ protocol, frame, want string }{
		// go645 dlt_test.go
		{"2007", "FE FE FE FE 68 AA AA AA AA AA AA 68 13 00 DF 16", "request aaaaaaaaaaaa 13 -"},
		{"2007", "68 08 02 02 41 22 00 68 91 0A 35 37 33 37 3B 35 35 74 55 33 51 16", "response 002241020208 91 04000402 meter_number=002241020208"},
		{"2007", "68 08 02 02 41 22 00 68 93 06 3B 35 35 74 55 33 79 16", "response 002241020208 93 - address=002241020208"},
		// luoyikuan dlt645, Java test
		{"2007", "FE FE FE FE 68 66 00 00 02 30 22 68 9C 00 26 16", "response 223002000066 9C - write"},
		{"2007", "FE FE FE FE 68 66 00 00 02 30 22 68 91 08 33 33 33 33 B4 54 33 33 5D 16", "response 223002000066 91 00000000 energy=21.81kWh"},
		{"2007", "68 12 00 00 00 10 20 68 91 18 33 32 34 33 5C 34 33 33 95 33 33 33 93 33 33 33 36 33 33 33 35 33 33 33 74 16",
			"response 201000000012 91 0001FF00 energy_import=1.29kWh energy_import_t1=0.62kWh energy_import_t2=0.60kWh energy_import_t3=0.03kWh energy_import_t4=0.02kWh"},
		{"2007", "68 12 00 00 00 10 20 68 91 0A 33 32 34 35 89 55 32 32 32 32 21 16", "response 201000000012 91 0201FF00 voltage_l1=225.6V voltage_l2=V voltage_l3=V"},
		{"2007", "68 12 00 00 00 10 20 68 91 08 34 34 33 37 34 44 34 49 72 16", "response 201000000012 91 04000101 date=2016-01-11 weekday=01"},
		{"2007", "68 12 00 00 00 10 20 68 91 07 35 34 33 37 88 86 54 DF 16", "response 201000000012 91 04000102 time=21:53:55"},
		{"2007", "68 12 00 00 00 10 20 68 91 09 34 33 39 38 33 33 3C 43 48 B1 16", "response 201000000012 91 05060001 frozen_day_at_1=2015-10-09T00:00:00"},
		{"2007", "68 12 00 00 00 10 20 68 D1 01 35 19 16", "response 201000000012 D1 - error=02"},
		{"2007", "68 12 00 00 00 10 20 68 91 07 33 40 63 36 5A 33 33 76 16", "response 201000000012 91 03300D00 cover_opened=27"},
		{"2007", "FE FE 68 72 00 32 09 17 20 68 91 08 33 33 34 33 B9 34 33 33 6D 16", "response 201709320072 91 00010000 energy_import=1.86kWh"},
		// 1997: capture with wildcard requests
		{"1997", "68 AA AA AA AA AA AA 68 01 02 65 F3 27 16", "request aaaaaaaaaaaa 01 C032"},
		{"1997", "FE FE FE 68 12 14 00 06 07 20 68 81 08 65 F3 45 47 33 39 3A 53 89 16", "response 200706001412 81 C032 meter_number=200706001412"},
		{"1997", "FE FE FE FE 68 11 11 11 53 12 35 68 81 07 43 C3 BC 76 46 33 34 0A 16", "response 351253111111 81 9010 energy_import=1343.89kWh"},
		{"1997", "56 7B 16 68 20 11 06 02 41 56 68 81 06 43 C3 33 33 33 33 F9 16", "response 564102061120 81 9010 energy_import=0.00kWh"},
		{"1997", "68 AA AA AA AA AA AA 68 81 06 43 C3 94 A5 35 33 FA 16", "response aaaaaaaaaaaa 81 9010 energy_import=272.61kWh"},
		// computed from the text of the standard
		{"2007", frameHex(0xB1, "33 34 34 35 83 56"), "response 000000000001 B1 02010100 more voltage_l1=235.0V"},
		{"2007", frameHex(0x91, "33 34 35 35 33 33 B4"), "response 000000000001 91 02020100 current_l1=-10.000A"},
		{"2007", frameHex(0x14, "33 34 34 35"), "request 000000000001 14 02010100 write"},
		{"2007", frameHex(0x14, "3F 34 33 37 35 AB 67 45 33 33 33 33 63 8C 56 38 57 45 59"), "request 000000000001 14 0400010C write clock=2026-12-24T23:59:30"},
		{"2007", frameHex(0x15, "45 33 33 33 43 53"), "request 000000000001 15 - write address=201000000012"},
		{"1997", frameHex(0x0A, "45 33 33 33 43 53"), "request 000000000001 0A - write address=201000000012"},
		{"1997", frameHex(0x04, "44 F3 33 34 45 56 8C 56 38"), "request 000000000001 04 C011 write time=05:23:59"},
		{"2007", frameHex(0x16, "CC CC 3A 33"), "request 000000000001 16 - write"},
		{"2007", frameHex(0x98, "35 AB 67 45"), "response 000000000001 98 - write"},
		{"2007", frameHex(0x91, "33 33 34 34 CB 63 33 63 4B 38 3A 59"), "response 000000000001 91 01010000 max_demand_import=0.3098kW max_demand_import_at=2026-07-05T18:30:00"},
		{"2007", frameHex(0x91, "39 36 33 37 83 33 33"), "response 000000000001 91 04000306 current_ratio=50"},
		{"2007", frameHex(0x91, "34 37 63 36 67 45 33 33 63 43 3B 38 3A 59 33 44 3B 38 3A 59"), "response 000000000001 91 03300401 clock_set_1_operator=00001234 clock_set_1_from=2026-07-05T08:10:30 clock_set_1_to=2026-07-05T08:11:00"},
		{"2007", frameHex(0xB1, "34 40 63 36 63 43 3B 38 3A 59 33 44 3B 38 3A 59 33 33 33"), "response 000000000001 B1 03300D01 more cover_opened_1_at=2026-07-05T08:10:30 cover_opened_1_end=2026-07-05T08:11:00"},
		{"2007", frameHex(0x91, "34 33 44 36 63 43 3B 38 3A 59 33 44 3B 38 3A 59"), "response 000000000001 91 03110001 power_off_1_at=2026-07-05T08:10:30 power_off_1_end=2026-07-05T08:11:00"},
		{"1997", frameHex(0x81, "52 C3 34 33 33 33 35 33 33 33"), "response 000000000001 81 901F energy_import=0.01kWh energy_import_t1=0.02kWh"},
		{"1997", frameHex(0x81, "73 C4 34 33 33 33"), "response 000000000001 81 9140 reactive_q4=0.01kvarh"},
		{"1997", frameHex(0x81, "52 D3 34 33 33 35 33 33"), "response 000000000001 81 A01F max_demand_import=0.0001kW max_demand_import_t1=0.0002kW"},
		{"1997", frameHex(0x81, "43 D8 34 33 33"), "response 000000000001 81 A510 max_demand_reactive_import_month_1=0.0001kvar"},
		{"1997", frameHex(0x81, "44 E3 63 4B 38 45"), "response 000000000001 81 B011 max_demand_import_t1_at=--12-05T18:30:00"},
		{"1997", frameHex(0x81, "44 E9 53 35"), "response 000000000001 81 B611 voltage_l1=220V"},
	} {
		v := V2007
		if c.protocol == "1997" {
			v = V1997
		}
		if got := summary(Describe(v, bytesOf(t, c.frame))); got != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.frame, got, c.want)
		}
	}
}

// frameHex frames data, as sent, of meter 1.
func frameHex(control byte, data string) string {
	d, err := hex.DecodeString(strings.ReplaceAll(data, " ", ""))
	if err != nil {
		panic(err)
	}
	b := append([]byte{start, 1, 0, 0, 0, 0, 0, start, control, byte(len(d))}, d...)
	return hex.EncodeToString(append(b, sum(b), end))
}

func summary(d drivers.Description) string {
	if !d.Valid {
		return "invalid " + d.Reason
	}
	id := d.DataID
	if id == "" {
		id = "-"
	}
	s := fmt.Sprintf("%s %s %s %s", d.Direction, d.Address, d.Control, id)
	if d.Write {
		s += " write"
	}
	if d.MoreFollows {
		s += " more"
	}
	if d.Error != nil {
		s += " error=" + d.Error.Code
	}
	for _, v := range d.Values {
		s += fmt.Sprintf(" %s=%s%s", v.Quantity, v.Value, v.Unit)
	}
	return s
}

func TestInvalidFrames(t *testing.T) {
	for in, want := range map[string]string{
		"":      "no frame: no 68 found",
		"FE FE": "no frame: no 68 found",
		"FE FE FE FE 68 08 01 00 00 00 68 91 06 33 34 34 35 75 55 0A 16": "no frame: no second 68, found 91 in its place",
		"68 01 00 00 00 00 00 68 93 06 34 33 33 33 33 33 9E 16":          "checksum 9E, computed 9D",
		"68 01 00 00 00 00 00 68 93 06 34 33 33 33 33 33 9D 17":          "end byte 17, expected 16",
		"68 01 00 00 00 00 00 68 93 06 34 33 33 33":                      "truncated: 14 bytes, expected 18",
		"68 01 00 00": "truncated: 4 bytes, expected at least 12",
	} {
		d := Describe(V2007, bytesOf(t, in))
		if d.Valid || d.Reason != want {
			t.Errorf("%s: %q, want %q", in, d.Reason, want)
		}
	}
}

// The collection of real frames beside the repository, where it is there.
func TestFieldFrames(t *testing.T) {
	path := os.Getenv("TALLY_FIELD")
	if path == "" {
		path = "../../../shared/field"
	}
	b, err := os.ReadFile(path + "/frames-open.json")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no collection of frames beside the repository; TALLY_FIELD names its directory")
	}
	if err != nil {
		t.Fatal(err)
	}
	var frames []struct {
		Protocol, Direction, Hex string
		Valid                    bool
		Why                      string `json:"why_invalid"`
		Wakeup                   int    `json:"wakeup_FE"`
		Meaning                  struct {
			Address, Control, DI, Unit, Number, Date, Time string
			Error                                          bool
			More                                           bool       `json:"more_follows"`
			Values                                         []*float64 `json:"values"`
			Value, Count                                   *float64
			ErrorByte                                      string `json:"error_byte"`
			ReadAddress                                    string `json:"read_address"`
			FreezeTime                                     string `json:"freeze_time"`
		}
	}
	if err := json.Unmarshal(b, &frames); err != nil {
		t.Fatal(err)
	}
	checked := 0
	for _, f := range frames {
		v := V2007
		switch f.Protocol {
		case "dlt645-2007":
		case "dlt645-1997":
			v = V1997
		default:
			continue
		}
		checked++
		d := Describe(v, bytesOf(t, f.Hex))
		m := f.Meaning
		bad := func(what string, got, want any) {
			t.Errorf("%s\n%s: %v, want %v (%s)", f.Hex, what, got, want, summary(d))
		}
		if d.Valid != f.Valid {
			bad("valid", d.Reason, f.Valid)
			continue
		}
		if !f.Valid {
			if !strings.Contains(d.Reason, f.Why) {
				bad("reason", d.Reason, f.Why)
			}
			continue
		}
		if d.Wakeup != f.Wakeup || d.Address != m.Address || d.Control != m.Control || d.DataID != m.DI || d.MoreFollows != m.More || (d.Error != nil) != m.Error {
			bad("head", summary(d), m)
		}
		if (d.Direction == "response") != (f.Direction == "resp") {
			bad("direction", d.Direction, f.Direction)
		}
		if d.Error != nil && d.Error.Code != m.ErrorByte {
			bad("error", d.Error.Code, m.ErrorByte)
		}
		want := m.Values
		for _, one := range []*float64{m.Value, m.Count} {
			if one != nil {
				want = append(want, one)
			}
		}
		if len(want) > 0 && len(want) != len(d.Values) {
			bad("values", len(d.Values), len(want))
			continue
		}
		for i, w := range want {
			got := d.Values[i]
			if w == nil {
				if got.Value != "" {
					bad("value", got, "none")
				}
				continue
			}
			if x, err := strconv.ParseFloat(got.Value, 64); err != nil || x != *w || m.Unit != "" && got.Unit != m.Unit {
				bad("value", got, *w)
			}
		}
		for _, text := range []string{m.Number, m.Date, m.Time, m.ReadAddress, strings.ReplaceAll(m.FreezeTime, " ", "T")} {
			if text != "" && (len(d.Values) == 0 || !strings.HasPrefix(d.Values[0].Value, text)) {
				bad("text", d.Values, text)
			}
		}
	}
	if checked == 0 {
		t.Fatal("the collection holds no DL/T 645 frame")
	}
	t.Logf("%d frames", checked)
}

// FuzzDescribeBody describes what only a right sum lets through.
func FuzzDescribeBody(f *testing.F) {
	f.Add(false, byte(0x91), []byte{0x33, 0x34, 0x34, 0x35, 0x33, 0x56})
	f.Add(false, byte(0xB1), []byte{0x33, 0x32, 0x34, 0x33})
	f.Add(true, byte(0x81), []byte{0x43, 0xC3, 0x33, 0x33, 0x33, 0x33})
	f.Add(false, byte(0x08), []byte{0x35, 0x46, 0x53, 0x4A, 0x44, 0x59})
	f.Fuzz(func(t *testing.T, old bool, control byte, data []byte) {
		v := V2007
		if old {
			v = V1997
		}
		data = data[:min(len(data), 255)]
		b := append([]byte{start, 0x12, 0, 0, 0, 0x10, 0x20, start, control, byte(len(data))}, data...)
		b = append(b, sum(b), end)
		if d := Describe(v, b); d.Valid == (d.Reason != "") {
			t.Fatalf("% X: %+v", b, d)
		}
	})
}

func FuzzDescribe(f *testing.F) {
	f.Add(false, []byte{})
	f.Add(true, []byte{0xFE, 0x68, 1, 0, 0, 0, 0, 0, 0x68, 0x81, 6, 0x43, 0xC3, 0x33, 0x33, 0x33, 0x33, 0x05, 0x16})
	f.Add(false, []byte{0x68, 0x12, 0, 0, 0, 0x10, 0x20, 0x68, 0x91, 8, 0x34, 0x34, 0x33, 0x37, 0x34, 0x44, 0x34, 0x49, 0x72, 0x16})
	f.Fuzz(func(t *testing.T, old bool, b []byte) {
		v := V2007
		if old {
			v = V1997
		}
		d := Describe(v, b)
		if d.Valid != (d.Reason == "") {
			t.Fatalf("valid %v with reason %q", d.Valid, d.Reason)
		}
		if !d.Valid {
			return
		}
		// What was understood writes the same bytes again.
		at := d.Wakeup + d.Skipped
		f := parse(b[at:][:head+int(b[at+head-1])+tail])
		again := append([]byte{start}, f.address[:]...)
		again = append(append(again, start, f.control, byte(len(f.data))), f.data...)
		again = append(again, sum(again), end)
		if !bytes.HasPrefix(b[at:], again) {
			t.Fatalf("% X became % X", b[at:], again)
		}
	})
}
