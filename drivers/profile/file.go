package profile

import (
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/configs/strict"
	"github.com/tallystick/tallystick/drivers"
)

// file is a profile as it is written. README.md explains the keys.
type file struct {
	ID           string        `yaml:"id" required:"true"`
	Version      int           `yaml:"version" required:"true"`
	Name         name          `yaml:"name" required:"true"`
	Vendor       string        `yaml:"vendor" required:"true"`
	Class        string        `yaml:"class" required:"true"`
	Protocol     string        `yaml:"protocol"`
	Serial       string        `yaml:"serial" required:"true"`
	Unit         uint8         `yaml:"unit"`
	Secondary    bool          `yaml:"secondary"`
	MaxRegisters int           `yaml:"max_registers"`
	Timeout      time.Duration `yaml:"timeout"`
	Gap          time.Duration `yaml:"gap"`
	Ranges       []stretch     `yaml:"ranges"`
	Kinds        []kind        `yaml:"kinds"`
	Registers    []register    `yaml:"registers"`
	MeterType    uint8         `yaml:"meter_type"`
	Wakeup       int           `yaml:"wakeup"`
	Blocks       []string      `yaml:"blocks"`
	Items        []item        `yaml:"items"`
	Identity     identity      `yaml:"identity"`
	Caveats      []string      `yaml:"caveats"`
	Sources      []string      `yaml:"sources" required:"true"`
}

type name struct {
	ZH string `yaml:"zh" required:"true"`
	EN string `yaml:"en" required:"true"`
}

type stretch struct {
	Table table  `yaml:"table" required:"true"`
	From  uint16 `yaml:"from" required:"true"`
	To    uint16 `yaml:"to" required:"true"`
}

// kind is what registers of one sort have in common.
type kind struct {
	Name       string   `yaml:"name" required:"true"`
	Unit       string   `yaml:"unit"`
	Table      table    `yaml:"table" required:"true"`
	Type       typ      `yaml:"type" required:"true"`
	Order      order    `yaml:"order"`
	Scale      power    `yaml:"scale"`
	Resolution power    `yaml:"resolution"`
	Min        decimal  `yaml:"min"`
	Max        decimal  `yaml:"max"`
	Mask       uint16   `yaml:"mask"`
	Invalid    []uint64 `yaml:"invalid"`
	life
}

// life is what a quantity's values can do over time.
type life struct {
	Counter bool          `yaml:"counter"`
	Digits  int           `yaml:"digits"`
	Modulus decimal       `yaml:"modulus"`
	MaxRate decimal       `yaml:"max_rate"`
	Frozen  time.Duration `yaml:"frozen_after"`
	Refresh time.Duration `yaml:"refresh"`
}

// item is a quantity of a meter that names its data.
type item struct {
	Quantity   string  `yaml:"quantity" required:"true"`
	ID         string  `yaml:"id" required:"true"`
	Part       int     `yaml:"part"`
	Unit       string  `yaml:"unit"`
	Resolution power   `yaml:"resolution"`
	Format     string  `yaml:"format"`
	Min        decimal `yaml:"min"`
	Max        decimal `yaml:"max"`
	Default    bool    `yaml:"default"`
	life
}

// identity says where a meter keeps its serial number.
type identity struct {
	Table   table  `yaml:"table"`
	Address uint16 `yaml:"address"`
	Count   uint16 `yaml:"count"`
	Type    string `yaml:"type"`
	ID      string `yaml:"id"`
}

type register struct {
	Quantity string `yaml:"quantity" required:"true"`
	Kind     string `yaml:"kind" required:"true"`
	Address  uint16 `yaml:"address" required:"true"`
	Default  bool   `yaml:"default"`
}

// Defaults implements strict.Defaulter.
func (f *file) Defaults() { f.Protocol, f.MaxRegisters, f.Timeout = Modbus, 125, time.Second }

// Defaults implements strict.Defaulter.
func (i *item) Defaults() { i.Default = true }

// Defaults implements strict.Defaulter.
func (i *identity) Defaults() { i.Type = "string" }

// Defaults implements strict.Defaulter.
func (r *register) Defaults() { r.Default = true }

type (
	table drivers.Table
	typ   drivers.Type
	order drivers.WordOrder
	power int8 // 10^power
)

func tables() []string { return []string{"holding", "input", "coil", "discrete"} }

func types() []string {
	return []string{"uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "bit", "float64", "bcd16", "bcd32"}
}

func orders() []string { return []string{"ABCD", "CDAB", "BADC", "DCBA"} }

// TableWord is how a profile writes a table: "holding".
func TableWord(t drivers.Table) string { return tables()[t] }

// TypeWord is how a profile writes a type: "float32".
func TypeWord(t drivers.Type) string { return types()[t] }

// OrderWord is how a profile writes an order of bytes: "CDAB".
func OrderWord(o drivers.WordOrder) string { return orders()[o] }

// UnmarshalText reads what TableWord writes.
func (t *table) UnmarshalText(b []byte) error { return choose(t, string(b), tables()...) }

// UnmarshalText reads what TypeWord writes.
func (t *typ) UnmarshalText(b []byte) error { return choose(t, string(b), types()...) }

// UnmarshalText reads what OrderWord writes.
func (o *order) UnmarshalText(b []byte) error { return choose(o, string(b), orders()...) }

// choose sets dst to the place of word among words.
func choose[T ~uint8](dst *T, word string, words ...string) error {
	for i, w := range words {
		if w == word {
			*dst = T(i)
			return nil
		}
	}
	return fmt.Errorf("%q is not one of %s", word, strings.Join(words, ", "))
}

// UnmarshalText reads a power of ten: "1", "1000", "0.01".
func (p *power) UnmarshalText(b []byte) error {
	var d decimal
	if err := d.UnmarshalText(b); err != nil {
		return err
	}
	for d.Coef%10 == 0 && d.Coef != 0 {
		d.Coef, d.Exp = d.Coef/10, d.Exp+1
	}
	if d.Coef != 1 || d.Exp < -12 || d.Exp > 12 {
		return fmt.Errorf("%s is not a power of ten like 0.01, 1 or 1000", b)
	}
	*p = power(d.Exp)
	return nil
}

// decimal is an exact number.
type decimal drivers.Decimal

// UnmarshalText reads digits with an optional sign and point.
func (d *decimal) UnmarshalText(b []byte) error {
	whole, frac, _ := strings.Cut(string(b), ".")
	coef, err := strconv.ParseInt(whole+frac, 10, 64)
	if err != nil || len(frac) > 18 || strings.ContainsAny(frac, "+-") || strings.HasPrefix(whole, "+") {
		return fmt.Errorf("%q is not a decimal number", b)
	}
	*d = decimal{Coef: coef, Exp: -int8(len(frac))}
	return nil
}

// at is d in units of 10^exp, false when it is no whole number of them.
func (d decimal) at(exp int8) (int64, bool) {
	for ; d.Exp > exp; d.Exp-- {
		if d.Coef > math.MaxInt64/10 || d.Coef < math.MinInt64/10 {
			return 0, false
		}
		d.Coef *= 10
	}
	for ; d.Exp < exp; d.Exp++ {
		if d.Coef%10 != 0 {
			return 0, false
		}
		d.Coef /= 10
	}
	return d.Coef, true
}

var (
	idForm       = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)
	quantityForm = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)
	serialForm   = regexp.MustCompile(`^[0-9]{3,7} [78][NEO][12]$`)
)

// checker turns a file into a Profile and collects what is wrong with it.
type checker struct {
	at     *strict.Positions
	faults []strict.Fault
}

// fault reports what is wrong with a field. One that has no value is wrong for
// another reason, which has been reported.
func (c *checker) fault(field any, code, format string, args ...any) {
	if !c.at.Has(field) {
		return
	}
	c.faults = append(c.faults, c.at.Of(field).Fault(strict.Problem{Code: code, Msg: fmt.Sprintf(format, args...)}))
}

// profile is what f says, and what is wrong with it in itself. It is total on
// what is left of a faulty file, and says nothing twice.
func (f *file) profile(at *strict.Positions) (*Profile, []strict.Fault) {
	c := &checker{at: at}
	if !idForm.MatchString(f.ID) {
		c.fault(&f.ID, strict.CodeValue, "id: %q, expected lower-case letters, digits and hyphens", f.ID)
	}
	if f.Version < 1 {
		c.fault(&f.Version, strict.CodeValue, "version: %d, expected 1 or more", f.Version)
	}
	if !slices.Contains(classes(), f.Class) {
		c.fault(&f.Class, strict.CodeValue, "class: %q is not one of %s", f.Class, strings.Join(classes(), ", "))
	}
	if !slices.Contains(protocols(), f.Protocol) {
		c.fault(&f.Protocol, strict.CodeValue, "protocol: %q is not one of %s", f.Protocol, strings.Join(protocols(), ", "))
	}
	if !serialForm.MatchString(f.Serial) {
		c.fault(&f.Serial, strict.CodeValue, "serial: %q, expected settings like 9600 8N1", f.Serial)
	}
	if f.Protocol == Modbus && (f.Unit < 1 || f.Unit > 247) {
		c.fault(&f.Unit, strict.CodeValue, "unit: %d, expected 1 to 247", f.Unit)
	}
	if f.MaxRegisters < 1 || f.MaxRegisters > 125 {
		c.fault(&f.MaxRegisters, strict.CodeValue, "max_registers: %d, expected 1 to 125", f.MaxRegisters)
	}
	if f.Timeout < 10*time.Millisecond || f.Timeout > time.Minute {
		c.fault(&f.Timeout, strict.CodeValue, "timeout: %v, expected 10ms to 1m", f.Timeout)
	}
	if f.Gap < 0 || f.Gap > 10*time.Second {
		c.fault(&f.Gap, strict.CodeValue, "gap: %v, expected 0s to 10s", f.Gap)
	}
	p := &Profile{
		ID: f.ID, Version: f.Version, Name: Text(f.Name), Vendor: f.Vendor, Class: f.Class,
		Protocol: f.Protocol, Serial: f.Serial, Unit: f.Unit, Secondary: f.Secondary,
		MeterType: f.MeterType, Wakeup: f.Wakeup, Blocks: f.Blocks, Lives: map[string]Life{},
		MaxRegisters: f.MaxRegisters, Timeout: f.Timeout, Gap: f.Gap,
		Caveats: f.Caveats, Sources: f.Sources,
	}
	for i := range f.Ranges {
		r := &f.Ranges[i]
		if r.From > r.To {
			c.fault(&r.From, strict.CodeValue, "range begins at 0x%04X, after its end 0x%04X", r.From, r.To)
		}
		p.Ranges = append(p.Ranges, drivers.Range{Table: drivers.Table(r.Table), Address: r.From, Last: r.To})
	}
	kinds, lives, names := c.kinds(f)
	quantities := make(map[string]*register)
	places := make(map[[3]uint16]*register)
	for i := range f.Registers {
		r := &f.Registers[i]
		k, ok := kinds[r.Kind]
		if !ok {
			if at.Sound(&f.Kinds) {
				c.fault(&r.Kind, strict.CodeUnknown, "unknown kind %q: %s", r.Kind, meant(r.Kind, names))
			}
			continue
		}
		if !quantityForm.MatchString(r.Quantity) {
			c.fault(&r.Quantity, strict.CodeValue, "quantity: %q, expected lower-case letters, digits and underscores", r.Quantity)
		}
		if other := quantities[r.Quantity]; other != nil {
			c.fault(&r.Quantity, strict.CodeDuplicate, "quantity %q is already at %v", r.Quantity, at.Of(&other.Quantity))
		}
		place := [3]uint16{uint16(k.Table), r.Address, k.Mask} // a status word holds several quantities
		if other := places[place]; other != nil {
			c.fault(&r.Address, strict.CodeDuplicate, "address 0x%04X is already %s at %v", r.Address, other.Quantity, at.Of(&other.Address))
		}
		quantities[r.Quantity], places[place] = r, r
		if words := k.Type.Words(); int(r.Address)+words > 1<<16 {
			c.fault(&r.Address, strict.CodeValue, "address 0x%04X: %d registers end beyond 0xFFFF", r.Address, words)
		}
		k.Name, k.Address = r.Quantity, r.Address
		p.Lives[r.Quantity] = lives[r.Kind]
		if r.Default {
			p.Registers = append(p.Registers, k)
		} else {
			p.optional = append(p.optional, k)
		}
	}
	if f.Protocol != Modbus {
		c.items(f, p)
	} else if at.Sound(&f.Registers) && at.Sound(&f.Kinds) && len(p.Registers) == 0 {
		c.fault(&f.Registers, strict.CodeValue, "registers: none is read by default")
	}
	c.belongs(f)
	if at.Has(&f.Identity) {
		p.Identity = c.identity(f)
	}
	return p, c.faults
}

// belongs reports keys of one protocol in a profile of another, and those of
// its own that are missing.
func (c *checker) belongs(f *file) {
	if !slices.Contains(protocols(), f.Protocol) {
		return
	}
	is := func(words ...string) bool { return slices.Contains(words, f.Protocol) }
	modbus, dlt645, cjt188 := is(Modbus), is("dlt645-2007", "dlt645-1997"), is("cjt188")
	for _, k := range []struct {
		name          string
		field         any
		may, required bool
	}{
		{"unit", &f.Unit, modbus, modbus}, {"kinds", &f.Kinds, modbus, modbus}, {"registers", &f.Registers, modbus, modbus},
		{"ranges", &f.Ranges, modbus, false}, {"max_registers", &f.MaxRegisters, modbus, false}, {"gap", &f.Gap, modbus, false},
		{"items", &f.Items, !modbus, !modbus}, {"blocks", &f.Blocks, dlt645, false},
		{"wakeup", &f.Wakeup, dlt645 || cjt188, false}, {"meter_type", &f.MeterType, cjt188, cjt188},
	} {
		switch has := c.at.Has(k.field); {
		case has && !k.may:
			c.fault(k.field, strict.CodeUnknown, "%s: a profile for %s has no such key", k.name, f.Protocol)
		case !has && k.required && c.at.Sound(f):
			c.faults = append(c.faults, c.at.Of(&f.Protocol, f).Fault(strict.Problem{Code: strict.CodeMissing,
				Msg: fmt.Sprintf("key %q is missing in a profile for %s", k.name, f.Protocol), Hint: "add it: " + k.name + ": ..."}))
		}
	}
	if f.Wakeup < -1 || f.Wakeup > 64 {
		c.fault(&f.Wakeup, strict.CodeValue, "wakeup: %d bytes, expected 1 to 64, or -1 for none", f.Wakeup)
	}
	for i := range f.Blocks {
		c.id(&f.Blocks[i], "blocks", f)
	}
}

// identity checks where the serial number stands.
func (c *checker) identity(f *file) *Identity {
	i := &f.Identity
	if f.Protocol != Modbus {
		for _, k := range []struct {
			name  string
			field any
		}{{"table", &i.Table}, {"address", &i.Address}, {"count", &i.Count}, {"type", &i.Type}} {
			if c.at.Has(k.field) {
				c.fault(k.field, strict.CodeUnknown, "%s: the identity in a profile for %s has no such key", k.name, f.Protocol)
			}
		}
		if c.id(&i.ID, "id", f); !c.at.Has(&i.ID) && c.at.Sound(i) {
			c.fault(i, strict.CodeMissing, "identity: id is missing")
		}
		return &Identity{ID: i.ID}
	}
	if c.at.Has(&i.ID) {
		c.fault(&i.ID, strict.CodeUnknown, "id: the identity in a profile for %s has no such key", f.Protocol)
	}
	words, number := map[string]uint16{"uint16": 1, "uint32": 2, "uint64": 4}[i.Type]
	switch {
	case number && c.at.Has(&i.Count) && i.Count != words:
		c.fault(&i.Count, strict.CodeValue, "count: %d, but a %s is %d registers", i.Count, i.Type, words)
	case number:
		i.Count = words
	case i.Type != "string":
		c.fault(&i.Type, strict.CodeValue, "type: %q is not one of string, uint16, uint32, uint64", i.Type)
	}
	switch {
	case drivers.Table(i.Table).Bits():
		c.fault(&i.Table, strict.CodeValue, "table: an identity is in holding or input")
	case !c.at.Sound(i):
	case !c.at.Has(&i.Address):
		c.fault(i, strict.CodeMissing, "identity: address is missing")
	case i.Count < 1 || int(i.Count) > f.MaxRegisters:
		c.fault(i, strict.CodeValue, "identity: count: %d, expected 1 to %d registers", i.Count, f.MaxRegisters)
	case int(i.Address)+int(i.Count) > 1<<16:
		c.fault(&i.Address, strict.CodeValue, "address 0x%04X: %d registers end beyond 0xFFFF", i.Address, i.Count)
	}
	return &Identity{Range: drivers.Range{Table: drivers.Table(i.Table), Address: i.Address, Last: i.Address + max(i.Count, 1) - 1}, Type: i.Type}
}

// idForms is how each protocol that names its data writes the names.
var idForms = map[string]struct {
	form *regexp.Regexp
	like string
}{
	"dlt645-2007": {regexp.MustCompile(`^[0-9A-F]{8}$`), `eight hexadecimal digits like "02010100"`},
	"dlt645-1997": {regexp.MustCompile(`^[0-9A-F]{4}$`), `four hexadecimal digits like "B611"`},
	"cjt188":      {regexp.MustCompile(`^[0-9A-F]{4}$`), `four hexadecimal digits like "901F"`},
	"iec62056-21": {regexp.MustCompile(`^([0-9]+-[0-9]+:)?[0-9A-Z]{1,3}(\.[0-9A-Z]{1,3}){1,2}(\*[0-9]+)?$`), "an OBIS code like 1.8.0"},
}

// id checks the name of an entry of data.
func (c *checker) id(id *string, key string, f *file) {
	if want, ok := idForms[f.Protocol]; ok && !want.form.MatchString(*id) {
		c.fault(id, strict.CodeValue, "%s: %q, expected %s", key, *id, want.like)
	}
}

// items reads the quantities of a protocol that names its data.
func (c *checker) items(f *file, p *Profile) {
	taken := make(map[string]*item)
	for i := range f.Items {
		it := &f.Items[i]
		if !quantityForm.MatchString(it.Quantity) {
			c.fault(&it.Quantity, strict.CodeValue, "quantity: %q, expected lower-case letters, digits and underscores", it.Quantity)
		}
		if other := taken[it.Quantity]; other != nil {
			c.fault(&it.Quantity, strict.CodeDuplicate, "quantity %q is already at %v", it.Quantity, c.at.Of(&other.Quantity))
		}
		taken[it.Quantity] = it
		c.id(&it.ID, "id", f)
		if it.Part < 0 || it.Part > 255 {
			c.fault(&it.Part, strict.CodeValue, "part: %d, expected 0 to 255", it.Part)
		}
		d := drivers.Item{
			Quantity: drivers.Quantity{Name: it.Quantity, Unit: it.Unit, Exp: int8(it.Resolution)},
			ID:       it.ID, Part: it.Part, Format: it.Format,
		}
		d.Limited, d.Min, d.Max = c.limits(it, &it.Quantity, "quantity "+it.Quantity, &it.Min, &it.Max, d.Exp)
		p.Lives[it.Quantity] = c.life(&it.life, d.Exp)
		if it.Default {
			p.Items = append(p.Items, d)
		} else {
			p.optionalItems = append(p.optionalItems, d)
		}
	}
	if c.at.Sound(&f.Items) && len(p.Items) == 0 {
		c.fault(&f.Items, strict.CodeValue, "items: none is read by default")
	}
}

// life turns the end of a counter and the fastest change into units of the
// resolution.
func (c *checker) life(l *life, exp int8) (out Life) {
	out.Counter, out.Frozen, out.Refresh = l.Counter, l.Frozen, l.Refresh
	digits, modulus := c.at.Has(&l.Digits), c.at.Has(&l.Modulus)
	switch {
	case digits && !l.Counter:
		c.fault(&l.Digits, strict.CodeValue, "digits: only a counter begins anew: add counter: true")
	case modulus && !l.Counter:
		c.fault(&l.Modulus, strict.CodeValue, "modulus: only a counter begins anew: add counter: true")
	case digits && modulus:
		c.fault(&l.Modulus, strict.CodeValue, "modulus: digits says already where the counter begins anew")
	case digits && (l.Digits < 1 || l.Digits > 18):
		c.fault(&l.Digits, strict.CodeValue, "digits: %d, expected 1 to 18", l.Digits)
	case digits:
		out.Modulus = 1
		for range l.Digits {
			out.Modulus *= 10
		}
	case modulus:
		if out.Modulus = c.limit(&l.Modulus, "modulus", exp); l.Modulus.Coef <= 0 {
			c.fault(&l.Modulus, strict.CodeValue, "modulus: %v, expected more than 0", drivers.Decimal(l.Modulus))
		}
	}
	if c.at.Has(&l.MaxRate) {
		if out.MaxRate = c.limit(&l.MaxRate, "max_rate", exp); l.MaxRate.Coef <= 0 {
			c.fault(&l.MaxRate, strict.CodeValue, "max_rate: %v, expected more than 0", drivers.Decimal(l.MaxRate))
		}
	}
	if c.at.Has(&l.Frozen) && l.Frozen <= 0 {
		c.fault(&l.Frozen, strict.CodeValue, "frozen_after: %v, expected more than 0s", l.Frozen)
	}
	if c.at.Has(&l.Refresh) && l.Refresh <= 0 {
		c.fault(&l.Refresh, strict.CodeValue, "refresh: %v, expected more than 0s", l.Refresh)
	}
	return out
}

// limits reads min and max of an entry, which come together or not at all.
func (c *checker) limits(entry, at any, what string, lo, hi *decimal, exp int8) (limited bool, low, high int64) {
	switch {
	case !c.at.Sound(entry): // one of them may be there, and wrong
	case c.at.Has(lo) != c.at.Has(hi):
		c.fault(at, strict.CodeMissing, "%s has only one of min and max", what)
	case c.at.Has(lo):
		low, high = c.limit(lo, "min", exp), c.limit(hi, "max", exp)
		if low > high {
			c.fault(lo, strict.CodeValue, "min is more than max")
		}
		return true, low, high
	}
	return false, 0, 0
}

func classes() []string {
	return []string{"meter", "dio", "plc", "vfd", "inverter", "water", "heat", "gas"}
}

func protocols() []string {
	return []string{Modbus, "dlt645-2007", "dlt645-1997", "cjt188", "iec62056-21"}
}

// kinds makes a register without quantity and address of every kind.
func (c *checker) kinds(f *file) (kinds map[string]drivers.Register, lives map[string]Life, names []string) {
	kinds, lives = make(map[string]drivers.Register), make(map[string]Life)
	for i := range f.Kinds {
		k := &f.Kinds[i]
		if _, ok := kinds[k.Name]; ok {
			c.fault(&k.Name, strict.CodeDuplicate, "kind %q is already there", k.Name)
		}
		if !c.at.Has(&k.Resolution) {
			k.Resolution = k.Scale
		}
		r := drivers.Register{
			Quantity: drivers.Quantity{Unit: k.Unit, Exp: int8(k.Resolution)},
			Table:    drivers.Table(k.Table), Type: drivers.Type(k.Type), Order: drivers.WordOrder(k.Order),
			Scale: int8(k.Scale), Mask: k.Mask, Invalid: k.Invalid,
		}
		if k.Mask != 0 && c.at.Has(&k.Type) && r.Type != drivers.Uint16 {
			c.fault(&k.Mask, strict.CodeValue, "mask: only a uint16 has one")
		}
		if c.at.Has(&k.Table) && r.Table.Bits() != (r.Type == drivers.Bit) {
			c.fault(&k.Type, strict.CodeValue, "type: a bit is in table coil or discrete, everything else in holding or input")
		}
		if c.at.Sound(k) && r.Type != drivers.Float32 && r.Type != drivers.Float64 && k.Resolution != k.Scale {
			c.fault(&k.Resolution, strict.CodeValue, "resolution: an integer keeps the resolution of its scale")
		}
		if words := r.Type.Words(); r.Type != drivers.Bit && words > f.MaxRegisters {
			c.fault(&k.Type, strict.CodeValue, "type: needs %d registers, max_registers is %d", words, f.MaxRegisters)
		}
		r.Limited, r.Min, r.Max = c.limits(k, &k.Name, fmt.Sprintf("kind %q", k.Name), &k.Min, &k.Max, r.Exp)
		lives[k.Name] = c.life(&k.life, r.Exp)
		kinds[k.Name] = r
		names = append(names, k.Name)
	}
	return kinds, lives, names
}

// limit is d in units of the resolution.
func (c *checker) limit(d *decimal, key string, exp int8) int64 {
	n, ok := d.at(exp)
	if !ok {
		c.fault(d, strict.CodeValue, "%s: %v is not a whole number of the resolution %v", key, drivers.Decimal(*d), drivers.Decimal{Coef: 1, Exp: exp})
	}
	return n
}
