package profile

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

func get(t *testing.T, id string) *Profile {
	t.Helper()
	p, err := Builtin().Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

var billed = regexp.MustCompile(`^(energy|reactive)_(import|export)(_l[123])?$`)

func TestBuiltin(t *testing.T) {
	l := Builtin()
	files, err := filepath.Glob("data/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d profiles, %v", len(files), err)
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(filepath.Base(f), ".yaml")
	}
	if got, want := strings.Join(l.IDs(), " "), strings.Join(files, " "); got != want {
		t.Errorf("profiles %s in files %s", got, want)
	}
	families := [][2]string{ // the units of quantities by the beginning of their names, the first that fits
		{"reactive_power", "var"}, {"apparent_power", "VA"}, {"power_factor", ""}, {"power_pct", "%"}, {"power_off", ""}, {"phase_angle", "deg"},
		{"frequency", "Hz"}, {"reactive", "kvarh"}, {"voltage", "V"}, {"current", "A"}, {"energy", "kWh"}, {"power", "W"}, {"thd", "%"},
		{"bus_voltage", "V"}, {"speed", "rpm"}, {"run", ""}, {"idle", ""}, {"fault", ""}, {"alarm", ""}, {"volume", "m3"},
	}
	units := map[string]string{} // of all quantities: one in all profiles
	hashes := map[[32]byte]bool{}
	for _, id := range l.IDs() {
		p, err := l.Get(id)
		if err != nil {
			t.Fatal(err)
		}
		if p.ID != id {
			t.Errorf("profile %s is in the file of %s", p.ID, id)
		}
		content, err := data.ReadFile("data/" + id + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse(id, content)
		if err != nil || again.Hash != p.Hash || hashes[p.Hash] {
			t.Errorf("%s: hash %x, then %x, %v", id, p.Hash, again.Hash, err)
		}
		hashes[p.Hash] = true
		if len(p.Caveats) == 0 || len(p.Sources) == 0 || p.Name.ZH == p.Name.EN {
			t.Errorf("%s: caveats, sources or a name are missing", id)
		}
		all := p.All()
		for i, r := range all {
			if i < len(p.Registers) && r.Name != p.Registers[i].Name {
				t.Errorf("%s: All does not begin with Registers", id)
			}
			if !r.Limited {
				t.Errorf("%s: %s has no plausibility limits", id, r.Name)
			}
		}
		var quantities []drivers.Quantity
		for _, r := range all {
			quantities = append(quantities, r.Quantity)
		}
		for _, i := range p.AllItems() {
			quantities = append(quantities, i.Quantity)
		}
		for _, q := range quantities {
			family := slices.IndexFunc(families, func(u [2]string) bool { return strings.HasPrefix(q.Name, u[0]) })
			if unit, known := units[q.Name]; known && unit != q.Unit || family >= 0 && families[family][1] != q.Unit {
				t.Errorf("%s: %s is in %q", id, q.Name, q.Unit)
			}
			units[q.Name] = q.Unit
			// What is billed only grows, and not at any speed.
			if billed.MatchString(q.Name) && (!p.Lives[q.Name].Counter || p.Lives[q.Name].MaxRate <= 0) {
				t.Errorf("%s: %s is no counter with max_rate", id, q.Name)
			}
		}
	}
}

// A sample of each map, as the published maps have it.
func TestRegisters(t *testing.T) {
	for id, want := range map[string][]drivers.Register{
		"chint-dtsu666": {
			{Quantity: drivers.Quantity{Name: "voltage_l1", Unit: "V", Exp: -1}, Address: 0x2006, Type: drivers.Float32, Scale: -1, Max: 5000, Limited: true},
			{Quantity: drivers.Quantity{Name: "energy_import", Unit: "kWh", Exp: -2}, Address: 0x101E, Type: drivers.Float32, Max: 1e10, Limited: true},
		},
		"eastron-sdm630": {
			{Quantity: drivers.Quantity{Name: "power", Unit: "W"}, Table: drivers.InputRegister, Address: 0x34, Type: drivers.Float32, Min: -1e7, Max: 1e7, Limited: true},
			{Quantity: drivers.Quantity{Name: "reactive_sum_l3", Unit: "kvarh", Exp: -2}, Table: drivers.InputRegister, Address: 0x17C, Type: drivers.Float32, Max: 1e10, Limited: true},
		},
		"schneider-pm5110": {
			{Quantity: drivers.Quantity{Name: "power", Unit: "W"}, Address: 3059, Type: drivers.Float32, Scale: 3, Min: -1e7, Max: 1e7, Limited: true},
			{Quantity: drivers.Quantity{Name: "power_factor_4q", Exp: -3}, Address: 3083, Type: drivers.Float32, Min: -2000, Max: 2000, Limited: true},
		},
		"acrel-dtsd1352": {
			{Quantity: drivers.Quantity{Name: "current_l3", Unit: "A", Exp: -2}, Address: 0x66, Type: drivers.Uint16, Scale: -2, Max: 20000, Limited: true},
			{Quantity: drivers.Quantity{Name: "power_factor", Exp: -3}, Address: 0x17F, Type: drivers.Int16, Scale: -3, Min: -1000, Max: 1000, Limited: true},
		},
		"acrel-adw300": {
			{Quantity: drivers.Quantity{Name: "energy_export", Unit: "kWh", Exp: -2}, Address: 0x40, Type: drivers.Int32, Scale: -2, Max: 1e10, Limited: true},
		},
		"waveshare-8di": {
			{Quantity: drivers.Quantity{Name: "di8"}, Table: drivers.DiscreteInput, Address: 7, Type: drivers.Bit, Max: 1, Limited: true},
			{Quantity: drivers.Quantity{Name: "do1"}, Table: drivers.Coil, Type: drivers.Bit, Max: 1, Limited: true},
		},
	} {
		all := get(t, id).All()
		for _, w := range want {
			i := slices.IndexFunc(all, func(r drivers.Register) bool { return r.Name == w.Name })
			if i < 0 {
				t.Errorf("%s has no %s", id, w.Name)
				continue
			}
			got := all[i]
			if len(got.Invalid) != 0 {
				t.Errorf("%s %s: invalid %v", id, w.Name, got.Invalid)
			}
			got.Invalid = nil
			if got.Quantity != w.Quantity || got.Table != w.Table || got.Address != w.Address || got.Type != w.Type ||
				got.Order != w.Order || got.Scale != w.Scale || got.Min != w.Min || got.Max != w.Max || got.Limited != w.Limited {
				t.Errorf("%s:\n got %+v\nwant %+v", id, got, w)
			}
		}
	}
	p := get(t, "eastron-sdm630")
	if p.MaxRegisters != 80 || p.Timeout != time.Second || p.Serial != "9600 8N1" || p.Unit != 1 || p.Secondary || p.Version != 1 ||
		p.Class != "meter" || p.Vendor != "Eastron" || len(p.All()) != 52 || len(p.Registers) != 17 {
		t.Errorf("%+v: %d registers, %d by default", p, len(p.All()), len(p.Registers))
	}
	if !get(t, "acrel-dtsd1352").Secondary || !get(t, "chint-dtsu666").Secondary {
		t.Error("a meter of secondary values is not marked")
	}
}

func TestUnknownID(t *testing.T) {
	l := Builtin()
	for id, want := range map[string]string{
		"eastron-sdm63": `no profile "eastron-sdm63": did you mean "eastron-sdm630"?`,
		"Chint-DTSU666": `no profile "Chint-DTSU666": did you mean "chint-dtsu666"?`,
		"zzzzzzzz":      `no profile "zzzzzzzz": known are ` + strings.Join(l.IDs(), ", "),
	} {
		if _, err := l.Get(id); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// The profiles in README.md are good ones.
func TestREADME(t *testing.T) {
	text, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	root := readSchema(t)
	var profiles []*Profile
	for _, rest := range strings.Split(string(text), "```yaml\n")[1:] {
		example, _, _ := strings.Cut(rest, "```")
		p, err := Parse("README.md", []byte(example))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range root.faults(fromYAML(t, []byte(example))) {
			t.Error(f)
		}
		profiles = append(profiles, p)
	}
	p := profiles[0]
	r := p.Registers[1]
	if r.Order != drivers.CDAB || r.Scale != -2 || r.Exp != -2 || !slices.Equal(r.Invalid, []uint64{0xFFFFFFFF}) || r.Max != 1e10 {
		t.Errorf("%+v", r)
	}
	if life := p.Lives["energy_import"]; !life.Counter || life.MaxRate != 1000000 || p.Identity.Last != 0x107 {
		t.Errorf("%+v", p)
	}
	if p.Gap != 20*time.Millisecond || len(p.Registers) != 2 || len(p.All()) != 3 {
		t.Errorf("%+v", p)
	}
	if w := profiles[1]; w.Protocol != "cjt188" || w.Wakeup != 4 || len(w.Items) != 1 || w.Lives["volume"].Modulus != 1e8 {
		t.Errorf("%+v", w)
	}
}

const sound = `id: acme-m3
version: 1
name: {zh: 某某, en: Acme}
vendor: Acme
class: meter
serial: 9600 8N1
unit: 1
ranges:
  - {table: input, from: 0x0000, to: 0x004F}
kinds:
  - {name: voltage, unit: V, table: input, type: float32, resolution: 0.1, min: 0, max: 500}
  - {name: relay, table: coil, type: bit}
registers:
  - {quantity: voltage_l1, kind: voltage, address: 0x0000}
  - {quantity: relay_1, kind: relay, address: 0}
sources: [a book]
`

func TestFaults(t *testing.T) {
	if _, err := Parse("f", []byte(sound)); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"id: acme-m3", "id: Acme M3", "f:1:5: E-111 id: \"Acme M3\", expected lower-case"},
		{"version: 1", "version: 0", "f:2:10: E-111 version: 0, expected 1 or more"},
		{"class: meter", "class: metre", `f:5:8: E-111 class: "metre" is not one of meter, dio`},
		{"9600 8N1", "9600", `f:6:9: E-111 serial: "9600", expected settings like 9600 8N1`},
		{"unit: 1\n", "unit: 248\n", "f:7:7: E-111 unit: 248, expected 1 to 247"},
		{"unit: 1\n", "unit: 1\nmax_registers: 126\n", "max_registers: 126, expected 1 to 125"},
		{"unit: 1\n", "unit: 1\ntimeout: 1ms\n", "timeout: 1ms, expected 10ms to 1m"},
		{"unit: 1\n", "unit: 1\ngap: 1h\n", "gap: 1h0m0s, expected 0s to 10s"},
		{"unit: 1\n", "unit: 1\nmax_registers: 1\n", "needs 2 registers, max_registers is 1"},
		{"unit: 1\n", "unit: 1\nbaud: 9600\n", `unknown key "baud"`},
		{"vendor: Acme\n", "", `vendor`},
		{"from: 0x0000, to: 0x004F", "from: 0x50, to: 0x004F", "f:9:26: E-111 range begins at 0x0050, after its end 0x004F"},
		{"table: input, type", "table: inputs, type", `"inputs" is not one of holding, input, coil, discrete`},
		{"type: float32", "type: float16", `"float16" is not one of uint16, int16`},
		{"type: float32", "type: float32, order: BACD", `"BACD" is not one of ABCD, CDAB, BADC, DCBA`},
		{"type: float32", "type: bit", "a bit is in table coil or discrete"},
		{"type: bit", "type: uint16", "a bit is in table coil or discrete"},
		{"type: float32", "type: int32", "an integer keeps the resolution of its scale"},
		{"resolution: 0.1", "resolution: 0.5", "0.5 is not a power of ten"},
		{"resolution: 0.1", "resolution: 0.0000000000001", "is not a power of ten"},
		{"resolution: 0.1", "resolution: -1", "is not a power of ten"},
		{"resolution: 0.1", "resolution: 0", "is not a power of ten"},
		{"min: 0", "min: 0.05", "min: 0.05 is not a whole number of the resolution 0.1"},
		{"max: 500", "max: 1000000000000000000", "max: 1000000000000000000 is not a whole number of the resolution 0.1"},
		{"max: 500", "max: 5e2", `"5e2" is not a decimal number`},
		{"max: 500", "max: 1.-5", `"1.-5" is not a decimal number`},
		{"min: 0, max: 500", "min: 600, max: 500", "min is more than max"},
		{"min: 0, max: 500", "max: 500", `E-109 kind "voltage" has only one of min and max`},
		{"name: relay", "name: voltage", `E-108 kind "voltage" is already there`},
		{"kind: voltage", "kind: voltag", `f:14:34: E-107 unknown kind "voltag": did you mean "voltage"?`},
		{"quantity: voltage_l1", "quantity: Voltage", `quantity: "Voltage", expected lower-case letters`},
		{"quantity: relay_1", "quantity: voltage_l1", `E-108 quantity "voltage_l1" is already at f:14:16`},
		{"kind: voltage, address: 0x0000}", "kind: voltage, address: 0x0000}\n  - {quantity: v, kind: voltage, address: 0}", "E-108 address 0x0000 is already voltage_l1 at f:14:52"},
		{"address: 0x0000", "address: 0xFFFF", "address 0xFFFF: 2 registers end beyond 0xFFFF"},
		{"address: 0x0000", "address: 0x10000", "65535"},
	} {
		_, err := Parse("f", []byte(strings.Replace(sound, c.old, c.new, 1)))
		var faults Faults
		if !errors.As(err, &faults) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s:\n got %v\nwant ...%s...", c.new, err, c.want)
		}
	}

	// One status word holds several quantities, by their masks.
	word := strings.Replace(sound, "registers:\n", `  - {name: run, table: holding, type: uint16, mask: 0x0001, min: 0, max: 1}
  - {name: fault, table: holding, type: uint16, mask: 0x0F00, min: 0, max: 15}
registers:
  - {quantity: run, kind: run, address: 0x2100}
  - {quantity: fault, kind: fault, address: 0x2100}
`, 1)
	if p, err := Parse("f", []byte(word)); err != nil || p.Registers[1].Mask != 0x0F00 || p.Registers[1].Address != 0x2100 {
		t.Errorf("%v, %+v", err, p)
	}
	if _, err := Parse("f", []byte(strings.Replace(word, "0x0F00", "0x0001", 1))); err == nil || !strings.Contains(err.Error(), "address 0x2100 is already run") {
		t.Error(err)
	}

	// All of them at once, in the order of the file.
	bad := strings.NewReplacer("version: 1", "version: 0", "unit: 1\n", "unit: 0\n", "kind: relay", "kind: rely").Replace(sound)
	_, err := Parse("f", []byte(bad))
	if err == nil || strings.Count(err.Error(), "\n") != 2 || !strings.HasPrefix(err.Error(), "f:2:10: ") {
		t.Errorf("%v, want three faults", err)
	}

	// What cannot be read does not hide what can, and is one fault, not two.
	for _, c := range [][]string{
		{"version: 1", "version: one", "kind: relay", "kind: rely", `f:2:10: E-110 version: expected a whole number, found the text "one" → write it as in version: 7`,
			`f:15:31: E-107 unknown kind "rely": did you mean "relay"?`},
		{"unit: 1\n", "unit: many\n", "min: 0", "min: x", `f:7:7: E-110 unit: expected a whole number, found the text "many" → write it as in unit: 7`,
			`f:11:81: E-111 min: "x" is not a decimal number`},
		{"type: float32", "type: float31", "address: 0x0000", "address: here", `f:11:50: E-111 type: "float31" is not one of`,
			`f:14:52: E-110 address: expected a whole number`},
		{"name: voltage,", "nam: voltage,", "id: acme-m3", "id: Acme", `f:1:5: E-111 id: "Acme", expected`, `f:11:6: E-107 unknown key "nam"`},
		{"kinds:", "kind:", "version: 1", "version: 0", `f:2:10: E-111 version: 0, expected 1 or more`, `f:10:1: E-107 unknown key "kind"`},
	} {
		_, err := Parse("f", []byte(strings.NewReplacer(c[0], c[1], c[2], c[3]).Replace(sound)))
		var lines []string
		if err != nil {
			lines = strings.Split(err.Error(), "\n")
		}
		if len(lines) != len(c)-4 || !strings.HasPrefix(lines[0], c[4]) || !strings.HasPrefix(lines[1], c[5]) {
			t.Errorf("%s, %s:\n got %s\nwant %s", c[1], c[3], strings.Join(lines, "\n     "), strings.Join(c[4:], "\n     "))
		}
	}

	none := strings.ReplaceAll(sound, "address: 0", "default: false, address: 0")
	if _, err := Parse("f", []byte(none)); err == nil || !strings.Contains(err.Error(), "registers: none is read by default") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(sound))
	f.Add([]byte("id: x\nkinds: [{min: -9223372036854775808, max: .}]"))
	f.Add([]byte(named))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse("f", b)
		if (p == nil) == (err == nil) {
			t.Fatalf("%v, %v", p, err)
		}
		if p == nil {
			return
		}
		for _, r := range p.All() {
			if r.Limited && r.Min > r.Max || r.Type != drivers.Float32 && r.Type != drivers.Float64 && r.Scale != r.Exp || r.Table.Bits() != (r.Type == drivers.Bit) {
				t.Fatalf("accepted %+v", r)
			}
		}
	})
}

// The register maps beside the repository, where they are there: every profile
// of a device in them has its registers, and reads the same numbers.
func TestFieldMaps(t *testing.T) {
	dir := os.Getenv("TALLY_FIELD")
	if dir == "" {
		dir = "../../../shared/field"
	}
	b, err := os.ReadFile(filepath.Join(dir, "meters.json"))
	if errors.Is(err, fs.ErrNotExist) {
		t.Skip("no register maps beside the repository; TALLY_FIELD names their directory")
	}
	if err != nil {
		t.Fatal(err)
	}
	var devices []struct {
		ID        string
		Class     string `json:"device_class"`
		Registers []struct {
			Quantity, Type, Unit string
			FC                   int
			Addr, Count          uint16
			Order                string `json:"word_order"`
			Scale                json.Number
		}
	}
	if err := json.Unmarshal(b, &devices); err != nil {
		t.Fatal(err)
	}
	types := map[string]drivers.Type{"uint16": drivers.Uint16, "int16": drivers.Int16, "uint32": drivers.Uint32, "int32": drivers.Int32,
		"int64": drivers.Int64, "float32": drivers.Float32, "float64": drivers.Float64, "bit": drivers.Bit}
	tables := map[int]drivers.Table{1: drivers.Coil, 2: drivers.DiscreteInput, 3: drivers.HoldingRegister, 4: drivers.InputRegister}
	l := Builtin()
	checked := 0
	for _, d := range devices {
		if len(d.Registers) == 0 {
			continue // speaks no bus
		}
		p, err := l.Get(d.ID)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, r := range d.Registers {
			if d.ID == "siemens-pac2200" && r.Quantity == "frequency" {
				continue // not to be trusted
			}
			all := p.All()
			if r.Count > 4 || d.Class == "plc" { // an area, of which a profile takes some
				area := drivers.Range{Table: tables[r.FC], Address: r.Addr, Last: r.Addr + max(r.Count, 1) - 1}
				if !slices.Contains(p.Ranges, area) && !slices.ContainsFunc(all, func(q drivers.Register) bool { return q.Table == area.Table && q.Address == area.Address }) {
					t.Errorf("%s: neither a range nor a register for %s: %+v", d.ID, r.Quantity, area)
				}
				checked++
				continue
			}
			i := slices.IndexFunc(all, func(q drivers.Register) bool { return q.Table == tables[r.FC] && q.Address == r.Addr })
			if i < 0 {
				t.Errorf("%s: no register at 0x%04X for %s", d.ID, r.Addr, r.Quantity)
				continue
			}
			q := all[i]
			order := drivers.ABCD
			if strings.HasPrefix(r.Order, "low") && q.Type.Words() > 1 {
				order = drivers.CDAB
			}
			var scale decimal
			if err := scale.UnmarshalText([]byte(r.Scale.String())); err != nil {
				t.Fatal(err)
			}
			want, ok := scale.at(min(q.Scale, 0)) // in units of 10^min(Scale, 0)
			if has := int64(math.Pow10(int(q.Scale - min(q.Scale, 0)))); q.Type != types[r.Type] || q.Order != order || q.Unit != r.Unit && r.Unit != "" || !ok || want != has {
				t.Errorf("%s 0x%04X %s: type %d order %d unit %s scale 10^%d, want %+v", d.ID, r.Addr, q.Name, q.Type, q.Order, q.Unit, q.Scale, r)
			}
			checked++
		}
	}
	if checked == 0 {
		t.Fatal("nothing was compared")
	}
	t.Logf("%d registers", checked)
}
