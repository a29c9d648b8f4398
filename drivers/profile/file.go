package profile

import (
	"fmt"
	"math"
	"regexp"
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
	Serial       string        `yaml:"serial" required:"true"`
	Unit         uint8         `yaml:"unit" required:"true"`
	Secondary    bool          `yaml:"secondary"`
	MaxRegisters int           `yaml:"max_registers"`
	Timeout      time.Duration `yaml:"timeout"`
	Gap          time.Duration `yaml:"gap"`
	Ranges       []stretch     `yaml:"ranges"`
	Kinds        []kind        `yaml:"kinds" required:"true"`
	Registers    []register    `yaml:"registers" required:"true"`
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
	Invalid    []uint64 `yaml:"invalid"`
}

type register struct {
	Quantity string `yaml:"quantity" required:"true"`
	Kind     string `yaml:"kind" required:"true"`
	Address  uint16 `yaml:"address" required:"true"`
	Default  bool   `yaml:"default"`
}

// Defaults implements strict.Defaulter.
func (f *file) Defaults() { f.MaxRegisters, f.Timeout = 125, time.Second }

// Defaults implements strict.Defaulter.
func (r *register) Defaults() { r.Default = true }

type (
	table drivers.Table
	typ   drivers.Type
	order drivers.WordOrder
	power int8 // 10^power
)

// UnmarshalText reads "holding", "input", "coil" or "discrete".
func (t *table) UnmarshalText(b []byte) error {
	return choose(t, string(b), "holding", "input", "coil", "discrete")
}

// UnmarshalText reads "uint16" and so on.
func (t *typ) UnmarshalText(b []byte) error {
	return choose(t, string(b), "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "bit")
}

// UnmarshalText reads "ABCD" and so on.
func (o *order) UnmarshalText(b []byte) error {
	return choose(o, string(b), "ABCD", "CDAB", "BADC", "DCBA")
}

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

func (c *checker) fault(field any, code, format string, args ...any) {
	c.faults = append(c.faults, c.at.Of(field).Fault(strict.Problem{Code: code, Msg: fmt.Sprintf(format, args...)}))
}

func (f *file) profile(name string, at *strict.Positions) (*Profile, []strict.Fault) {
	c := &checker{at: at}
	if !idForm.MatchString(f.ID) {
		c.fault(&f.ID, strict.CodeValue, "id: %q, expected lower-case letters, digits and hyphens", f.ID)
	}
	if f.Version < 1 {
		c.fault(&f.Version, strict.CodeValue, "version: %d, expected 1 or more", f.Version)
	}
	if f.Class != "meter" && f.Class != "dio" {
		c.fault(&f.Class, strict.CodeValue, "class: %q is not one of meter, dio", f.Class)
	}
	if !serialForm.MatchString(f.Serial) {
		c.fault(&f.Serial, strict.CodeValue, "serial: %q, expected settings like 9600 8N1", f.Serial)
	}
	if f.Unit < 1 || f.Unit > 247 {
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
		Serial: f.Serial, Unit: f.Unit, Secondary: f.Secondary,
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
	kinds, names := c.kinds(f)
	quantities := make(map[string]*register)
	places := make(map[[2]uint16]*register)
	for i := range f.Registers {
		r := &f.Registers[i]
		k, ok := kinds[r.Kind]
		if !ok {
			c.fault(&r.Kind, strict.CodeUnknown, "unknown kind %q: %s", r.Kind, meant(r.Kind, names))
			continue
		}
		if !quantityForm.MatchString(r.Quantity) {
			c.fault(&r.Quantity, strict.CodeValue, "quantity: %q, expected lower-case letters, digits and underscores", r.Quantity)
		}
		if other := quantities[r.Quantity]; other != nil {
			c.fault(&r.Quantity, strict.CodeDuplicate, "quantity %q is already at %v", r.Quantity, at.Of(&other.Quantity))
		}
		place := [2]uint16{uint16(k.Table), r.Address}
		if other := places[place]; other != nil {
			c.fault(&r.Address, strict.CodeDuplicate, "address 0x%04X is already %s at %v", r.Address, other.Quantity, at.Of(&other.Address))
		}
		quantities[r.Quantity], places[place] = r, r
		if words := k.Type.Words(); int(r.Address)+words > 1<<16 {
			c.fault(&r.Address, strict.CodeValue, "address 0x%04X: %d registers end beyond 0xFFFF", r.Address, words)
		}
		k.Name, k.Address = r.Quantity, r.Address
		if r.Default {
			p.Registers = append(p.Registers, k)
		} else {
			p.optional = append(p.optional, k)
		}
	}
	if len(p.Registers) == 0 {
		c.fault(&f.Registers, strict.CodeValue, "registers: none is read by default")
	}
	return p, strict.Limit(name, c.faults, 0)
}

// kinds makes a register without quantity and address of every kind.
func (c *checker) kinds(f *file) (kinds map[string]drivers.Register, names []string) {
	kinds = make(map[string]drivers.Register)
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
			Scale: int8(k.Scale), Invalid: k.Invalid,
		}
		if r.Table.Bits() != (r.Type == drivers.Bit) {
			c.fault(&k.Type, strict.CodeValue, "type: a bit is in table coil or discrete, everything else in holding or input")
		}
		if r.Type != drivers.Float32 && k.Resolution != k.Scale {
			c.fault(&k.Resolution, strict.CodeValue, "resolution: an integer keeps the resolution of its scale")
		}
		if words := r.Type.Words(); r.Type != drivers.Bit && words > f.MaxRegisters {
			c.fault(&k.Type, strict.CodeValue, "type: needs %d registers, max_registers is %d", words, f.MaxRegisters)
		}
		if c.at.Has(&k.Min) != c.at.Has(&k.Max) {
			c.fault(&k.Name, strict.CodeMissing, "kind %q has only one of min and max", k.Name)
		} else if c.at.Has(&k.Min) {
			r.Limited = true
			r.Min = c.limit(&k.Min, "min", r.Exp)
			r.Max = c.limit(&k.Max, "max", r.Exp)
			if r.Min > r.Max {
				c.fault(&k.Min, strict.CodeValue, "min is more than max")
			}
		}
		kinds[k.Name] = r
		names = append(names, k.Name)
	}
	return kinds, names
}

// limit is d in units of the resolution.
func (c *checker) limit(d *decimal, key string, exp int8) int64 {
	n, ok := d.at(exp)
	if !ok {
		c.fault(d, strict.CodeValue, "%s: %v is not a whole number of the resolution %v", key, drivers.Decimal(*d), drivers.Decimal{Coef: 1, Exp: exp})
	}
	return n
}
