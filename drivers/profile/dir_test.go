package profile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// write makes files and returns their directory.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestAddDir(t *testing.T) {
	l := Builtin()
	n := len(l.IDs())
	dir := write(t, map[string]string{"acme-m3.yaml": sound, "notes.txt": "not a profile"})
	if err := l.AddDir(dir); err != nil {
		t.Fatal(err)
	}
	p, err := l.Get("acme-m3")
	if err != nil || p.File != filepath.Join(dir, "acme-m3.yaml") || len(l.IDs()) != n+1 {
		t.Errorf("%v, %+v, %d profiles", err, p, len(l.IDs()))
	}
	if b, err := l.Get("eastron-sdm630"); err != nil || b.File != "" {
		t.Errorf("%v, built-in from %q", err, b.File)
	}
	if err := l.AddDir(filepath.Join(dir, "nowhere")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}

// Everything wrong with all files comes at once, and the good ones are there.
func TestAddDirFaults(t *testing.T) {
	dir := write(t, map[string]string{
		"a.yaml": strings.NewReplacer("version: 1", "version: 0", "kind: relay", "kind: rely").Replace(sound),
		"b.yaml": strings.Replace(sound, "acme-m3", "eastron-sdm630", 1),
		"c.yaml": sound,
		"d.yaml": "# mine\n" + sound,
		"e.yml":  sound,
	})
	l := Builtin()
	err := l.AddDir(dir)
	want := strings.ReplaceAll(`DIR/a.yaml:2:10: E-111 version: 0, expected 1 or more
DIR/a.yaml:15:31: E-107 unknown kind "rely": did you mean "relay"?
DIR/b.yaml:1:5: E-108 id: "eastron-sdm630" is taken by a built-in profile → choose an id of your own, such as eastron-sdm630-own
DIR/d.yaml:2:5: E-108 id: "acme-m3" is taken by DIR/c.yaml → choose an id of your own, such as acme-m3-own
DIR/e.yml: E-111 only files called *.yaml are read → call it e.yaml`, "DIR", dir)
	var faults Faults
	if !errors.As(err, &faults) || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if p, err := l.Get("acme-m3"); err != nil || p.File != filepath.Join(dir, "c.yaml") {
		t.Errorf("%v, %+v", err, p)
	}
	if p, err := l.Get("eastron-sdm630"); err != nil || p.File != "" {
		t.Errorf("%v, %+v: a built-in profile was replaced", err, p)
	}
}

const named = `id: acme-w1
version: 1
name: {zh: 某某, en: Acme}
vendor: Acme
class: water
protocol: cjt188
serial: 2400 8E1
meter_type: 0x10
items:
  - {quantity: volume, id: "901F", unit: m3, resolution: 0.01, min: 0, max: 999999.99, counter: true, digits: 8, max_rate: 100}
  - {quantity: volume_settlement, id: "901F", part: 1, unit: m3, resolution: 0.01, default: false}
sources: [a book]
`

func TestNamedFaults(t *testing.T) {
	p, err := Parse("f", []byte(named))
	if err != nil {
		t.Fatal(err)
	}
	if l := p.Lives["volume"]; !l.Counter || l.Modulus != 1e8 || l.MaxRate != 10000 || len(p.Items) != 1 || len(p.AllItems()) != 2 || p.MeterType != 0x10 {
		t.Errorf("%+v", p)
	}
	for _, c := range []struct{ old, new, want string }{
		{"protocol: cjt188", "protocol: cjt-188", `f:6:11: E-111 protocol: "cjt-188" is not one of modbus, dlt645-2007`},
		{"class: water", "class: watt", `f:5:8: E-111 class: "watt" is not one of meter, dio, plc`},
		{"meter_type: 0x10\n", "", `f:6:11: E-109 key "meter_type" is missing in a profile for cjt188 → add it: meter_type: ...`},
		{"meter_type: 0x10", "meter_type: 0x10\nunit: 1", "f:9:7: E-107 unit: a profile for cjt188 has no such key"},
		{"meter_type: 0x10", "meter_type: 0x10\nmax_registers: 10", "max_registers: a profile for cjt188 has no such key"},
		{"meter_type: 0x10", "meter_type: 0x10\ngap: 1s", "gap: a profile for cjt188 has no such key"},
		{"meter_type: 0x10", `blocks: ["901F"]`, "blocks: a profile for cjt188 has no such key"},
		{"protocol: cjt188", "protocol: dlt645-1997", "meter_type: a profile for dlt645-1997 has no such key"},
		{"meter_type: 0x10", "meter_type: 0x10\nwakeup: 65", "f:9:9: E-111 wakeup: 65 bytes, expected 1 to 64"},
		{"meter_type: 0x10", "meter_type: 0x10\nidentity: {id: 901}", `f:9:16: E-111 id: "901", expected four hexadecimal digits like "901F"`},
		{"meter_type: 0x10", `meter_type: 0x10` + "\nidentity: {id: \"901F\", address: 1}", "address: the identity in a profile for cjt188 has no such key"},
		{"protocol: cjt188\nserial: 2400 8E1\nmeter_type: 0x10", "protocol: dlt645-2007\nserial: 2400 8E1", `f:9:28: E-111 id: "901F", expected eight hexadecimal digits like "02010100"`},
		{"protocol: cjt188\nserial: 2400 8E1\nmeter_type: 0x10", "protocol: iec62056-21\nserial: 300 7E1", `expected an OBIS code like 1.8.0`},
		{"id: \"901F\", unit", "id: \"901f\", unit", `f:10:28: E-111 id: "901f", expected four hexadecimal digits`},
		{"part: 1", "part: -1", "part: -1, expected 0 to 255"},
		{"quantity: volume_settlement", "quantity: volume", `quantity "volume" is already at f:10:16`},
		{"counter: true, ", "", "digits: only a counter begins anew"},
		{"counter: true, digits: 8", "modulus: 100", "modulus: only a counter begins anew"},
		{"digits: 8", "digits: 19", "digits: 19, expected 1 to 18"},
		{"digits: 8", "digits: 8, modulus: 100", "modulus: digits says already where"},
		{"digits: 8", "modulus: 0", "modulus: 0, expected more than 0"},
		{"digits: 8", "modulus: 0.001", "modulus: 0.001 is not a whole number of the resolution 0.01"},
		{"max_rate: 100", "max_rate: -1", "max_rate: -1, expected more than 0"},
		{"max_rate: 100", "frozen_after: 0s", "frozen_after: 0s, expected more than 0s"},
		{"max_rate: 100", "refresh: 0s", "refresh: 0s, expected more than 0s"},
	} {
		_, err := Parse("f", []byte(strings.Replace(named, c.old, c.new, 1)))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant ...%s...", c.new, err, c.want)
		}
	}
}

func TestIdentity(t *testing.T) {
	for text, want := range map[string]string{
		"identity: {address: 0x10, count: 10}":               "{{holding registers 16 25} string }",
		"identity: {table: input, address: 1, type: uint32}": "{{input registers 1 2} uint32 }",
	} {
		p, err := Parse("f", []byte(sound+text+"\n"))
		if err != nil || fmt.Sprint(*p.Identity) != want {
			t.Errorf("%s: %v, %v", text, err, p)
		}
	}
	for text, want := range map[string]string{
		"identity: {address: 0x10}":                          "count: 0, expected 1 to 125",
		"identity: {count: 3}":                               "E-109 identity: address is missing",
		"identity: {address: 1, type: uint32, count: 3}":     "count: 3, but a uint32 is 2 registers",
		"identity: {address: 1, type: float32}":              `type: "float32" is not one of string, uint16`,
		"identity: {table: coil, address: 1, count: 8}":      "an identity is in holding or input",
		"identity: {address: 0xFFFF, type: uint32}":          "address 0xFFFF: 2 registers end beyond 0xFFFF",
		"identity: {address: 1, count: 2, id: \"04000402\"}": "id: the identity in a profile for modbus has no such key",
	} {
		if _, err := Parse("f", []byte(sound+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
	number, text := &Identity{Type: "uint32"}, &Identity{Type: "string"}
	for in, want := range map[string]string{"\x00\x00\x01\x02": "258", "\x00\x00\x00\x00": "", "\xFF\xFF\xFF\xFF": "", "": ""} {
		if got := number.Text([]byte(in)); got != want {
			t.Errorf("%x is %q", in, got)
		}
	}
	if got := text.Text([]byte("A1 2\x00 \xFF\x00")); got != "A1 2" {
		t.Errorf("%q", got)
	}
}
