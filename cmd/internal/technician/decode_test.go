package technician

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// decoded runs the command.
func decoded(t *testing.T, protocol, hex string) (frame, int, string) {
	t.Helper()
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"decode", "--protocol", protocol, "--json", hex}, &out, &errs)
	var f frame
	if err := json.Unmarshal(out.Bytes(), &f); err != nil {
		t.Fatalf("%s: %v: %s%s", hex, err, out.String(), errs.String())
	}
	return f, code, out.String()
}

// The collection of real frames beside the repository, where it is there. What
// the values are is tested beside each codec.
func TestDecodeFieldFrames(t *testing.T) {
	dir := os.Getenv("TALLY_FIELD")
	if dir == "" {
		dir = "../../../../shared/field"
	}
	b, err := os.ReadFile(dir + "/frames-open.json")
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no collection of frames beside the repository; TALLY_FIELD names its directory")
	}
	if err != nil {
		t.Fatal(err)
	}
	var frames []struct {
		Protocol, Direction, Hex string
		Valid                    bool
		Wakeup                   int `json:"wakeup_FE"`
		Meaning                  struct {
			Address, Control, DI string
			Error                bool
			More                 bool `json:"more_follows"`
		}
	}
	if err := json.Unmarshal(b, &frames); err != nil {
		t.Fatal(err)
	}
	if len(frames) == 0 {
		t.Fatal("the collection is empty")
	}
	for _, f := range frames {
		got, code, text := decoded(t, f.Protocol, f.Hex)
		if got.Valid != f.Valid || (code == 0) != f.Valid || code > 1 {
			t.Errorf("%s: exit %d, %s", f.Hex, code, text)
			continue
		}
		m := f.Meaning
		if !f.Valid {
			if got.Reason == "" {
				t.Errorf("%s: no reason", f.Hex)
			}
			continue
		}
		if got.Address != m.Address || got.Control != m.Control || got.DataID != m.DI || got.MoreFollows != m.More ||
			(got.Error != nil) != m.Error || (got.Direction == "response") != (f.Direction == "resp") || got.Wakeup != f.Wakeup {
			t.Errorf("%s: %s, want %+v", f.Hex, text, m)
		}
	}
	t.Logf("%d frames", len(frames))
}

func TestDecode(t *testing.T) {
	for _, c := range []struct{ protocol, hex, want string }{
		{"dlt645-2007", "FE FE 00 68 12 00 00 00 10 20 68 91 0A 33 32 34 35 89 55 32 32 32 32 21 16",
			`{"protocol":"dlt645-2007","valid":true,"direction":"response","address":"201000000012","control":"91","data_id":"0201FF00","write":false,"more_follows":false,"error":null,"values":[{"quantity":"voltage_l1","value":"225.6","unit":"V"},{"quantity":"voltage_l2","value":null,"unit":"V"},{"quantity":"voltage_l3","value":null,"unit":"V"}],"text":"meter 201000000012 replies: read data 0201FF00: voltage_l1 225.6 V, voltage_l2 no value, voltage_l3 no value","wakeup":2,"skipped":1}`},
		{"dlt645-2007", "68 01 00 00 00 00 00 68 93 06 34 33 33 33 33 33 55 16",
			`{"protocol":"dlt645-2007","valid":false,"reason":"checksum 55, computed 9D","direction":"","address":"","control":"","data_id":"","write":false,"more_follows":false,"error":null,"values":[],"text":"checksum 55, computed 9D","wakeup":0,"skipped":0}`},
		{"modbus-ascii", ":010300000004F8",
			`{"protocol":"modbus-ascii","valid":true,"direction":"request","address":"1","control":"03","data_id":"0000","write":false,"more_follows":false,"error":null,"values":[{"quantity":"count","value":"4","unit":""}],"text":"unit 1, request read holding registers 0x0000: count 4","wakeup":0,"skipped":0}`},
		{"iec62056-21", "/ISk5MT174-0002",
			`{"protocol":"iec62056-21","valid":true,"direction":"response","address":"","control":"","data_id":"","write":false,"more_follows":false,"error":null,"values":[],"text":"identifies itself: ISk MT174-0002, mode C, 9600 baud","wakeup":0,"skipped":0}`},
		{"modbus-rtu", "0183 02 C0F1",
			`{"protocol":"modbus-rtu","valid":true,"direction":"response","address":"1","control":"83","data_id":"","write":false,"more_follows":false,"error":{"code":"02","text":"illegal data address"},"values":[],"text":"unit 1, response read holding registers: illegal data address","wakeup":0,"skipped":0}`},
	} {
		if _, _, got := decoded(t, c.protocol, c.hex); strings.TrimSpace(got) != c.want {
			t.Errorf("%s\ngot  %s\nwant %s", c.hex, got, c.want)
		}
	}
	// Asked about the wrong protocol it names the right one, for people.
	var out, errs bytes.Buffer
	code := run(t.Context(), []string{"decode", "--protocol", "dlt645-2007", "--json", "01 04 00 00 00 02 71 CB"}, &out, &errs)
	if want := "tallystick: hint: with --protocol modbus-rtu it is one: unit 1, request read input registers 0x0000: count 2\n"; code != 1 || errs.String() != want || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("exit %d, %s%s", code, out.String(), errs.String())
	}
	for want, args := range map[string][]string{
		"is not a protocol": {"decode", "--protocol", "modbus", "01"},
		"expected bytes":    {"decode", "--protocol", "modbus-rtu", "0G"},
	} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 2 || !strings.Contains(errs.String(), want) {
			t.Errorf("%v: exit %d, %s", args, code, errs.String())
		}
	}
}

// Nothing but a whole request to read gets past raw.
func TestRawSendsOnlyReads(t *testing.T) {
	for _, c := range []struct {
		protocol, hex string
		allowed       bool
	}{
		{"modbus-rtu", "01 04 00 00 00 02 71 CB", true},
		{"modbus-rtu", "11 06 00 01 00 03 9A 9B", false},    // write single register
		{"modbus-rtu", "01 04 00 00 00 02 71 CC", false},    // checksum
		{"modbus-rtu", "00 01 04 00 00 00 02 71 CB", false}, // something before it
		{"modbus-rtu", "01 03 02 00 05 78 47", false},       // a reply
		{"modbus-tcp", "00 01 00 00 00 06 01 05 00 00 FF 00", false},
		{"dlt645-2007", "FE FE 68 12 00 00 00 10 20 68 11 04 33 32 34 35 F5 16", true},
		{"dlt645-2007", "68 AA AA AA AA AA AA 68 14 00 E0 16", false},
		{"dlt645-2007", "68 AA AA AA AA AA AA 68 1C 00 E8 16", false},
		{"cjt188", "68 10 AA AA AA AA AA AA AA 04 03 A0 17 00 DC 16", false},
		// a read with a command behind it
		{"modbus-rtu", "01 04 00 00 00 02 71 CB 11 06 00 01 00 03 9A 9B", false},
		{"modbus-tcp", "15 01 00 00 00 06 FF 03 00 04 00 01 00 01 00 00 00 06 01 05 00 00 FF 00", false},
		{"modbus-ascii", "3A30313033303030303030303446380D0A 3A3031303630303031303030334635 0D0A", false},
		{"dlt645-2007", "FE FE 68 12 00 00 00 10 20 68 11 04 33 32 34 35 F5 16 68 AA AA AA AA AA AA 68 14 00 E0 16", false},
		{"cjt188", "68 10 AA AA AA AA AA AA AA 01 03 90 1F 01 D2 16 68 10 AA AA AA AA AA AA AA 04 03 A0 17 00 DC 16", false},
		{"iec62056-21", "2F 3F 21 0D 0A 01 57 31 02 31 28 29 03 00", false},
	} {
		codec, err := codecOf(c.protocol)
		if err != nil {
			t.Fatal(err)
		}
		b, err := codec.parse([]string{c.hex})
		if err != nil {
			t.Fatal(err)
		}
		if err := codec.mayBeSent(b); (err == nil) != c.allowed {
			t.Errorf("%s %s: %v, allowed %v", c.protocol, c.hex, err, c.allowed)
		}
	}
}
