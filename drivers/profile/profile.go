// Package profile holds device profiles: what a model of meter measures, where
// it keeps it and how it wants to be asked, as data (see README.md). The
// profiles in data/ are part of the program.
package profile

import (
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/configs/strict"
	"github.com/tallystick/tallystick/drivers"
)

//go:embed data/*.yaml
var data embed.FS

// Text is a text for people in the product's two languages.
type Text struct{ ZH, EN string }

// Profile is one model of device. It is not changed after Parse.
type Profile struct {
	ID      string // as in a site file: "eastron-sdm630"
	Version int    // raised whenever a reading would come out differently
	Name    Text
	Vendor  string
	Class   string // "meter", "dio" (digital inputs and outputs), "water", ...
	// Protocol is Modbus or the word of the protocol in a site file.
	Protocol string
	Serial   string // line settings the device leaves the factory with: "9600 8N1"
	Unit     uint8  // Modbus: unit number it leaves the factory with
	// Secondary says that the values are those of the secondary side of
	// current and voltage transformers: CT and PT ratios apply.
	Secondary    bool
	MaxRegisters int           // most registers in one request
	Timeout      time.Duration // for one reply
	Gap          time.Duration // least pause between two requests
	Ranges       []drivers.Range
	Registers    []drivers.Register // read unless a site asks for others
	// Identity is where a Modbus device keeps its serial number as text; nil
	// where nobody knows.
	Identity *drivers.Range

	// Of protocols that name their data.
	Items     []drivers.Item // read unless a site asks for others
	Blocks    []string       // identifiers of blocks the device answers
	Wakeup    int            // FE bytes before a request; 0: the driver's own number
	MeterType uint8          // CJ/T 188: the type byte

	Lives   map[string]Life // by quantity: what its values can do over time
	Caveats []string        // what is not certain, what to look out for
	Sources []string        // where the facts come from
	Hash    [32]byte        // SHA-256 of the file

	optional      []drivers.Register
	optionalItems []drivers.Item
}

// Modbus is the protocol of every profile with registers, whatever the framing.
const Modbus = "modbus"

// Life is what the values of a quantity can do over time.
type Life struct {
	Counter bool          // only ever grows, but for its end
	Modulus int64         // where a counter begins anew, in units of its resolution; 0: not known
	MaxRate int64         // most change in an hour, in units of its resolution; 0: any
	Frozen  time.Duration // longest that a value which lives stays the same; 0: for ever
}

// All returns every register the device is known to have, those of Registers
// first.
func (p *Profile) All() []drivers.Register { return slices.Concat(p.Registers, p.optional) }

// AllItems is All for a protocol that names its data.
func (p *Profile) AllItems() []drivers.Item { return slices.Concat(p.Items, p.optionalItems) }

// Quantities are the names of everything the device is known to measure.
func (p *Profile) Quantities() (names []string) {
	for _, r := range p.All() {
		names = append(names, r.Name)
	}
	for _, i := range p.AllItems() {
		names = append(names, i.Name)
	}
	return names
}

// Faults are all the faults of a profile's file, in its order.
type Faults []strict.Fault

// Error lists the faults, one a line.
func (f Faults) Error() string {
	lines := make([]string, len(f))
	for i, fault := range f {
		lines[i] = fault.String()
	}
	return strings.Join(lines, "\n")
}

// Parse reads the profile in data, the content of the file name. Its error is
// of type Faults.
func Parse(name string, data []byte) (*Profile, error) {
	var f file
	at, faults := strict.DecodeAt(name, data, &f)
	if len(faults) == 0 {
		var p *Profile
		if p, faults = f.profile(name, at); len(faults) == 0 {
			p.Hash = sha256.Sum256(data)
			return p, nil
		}
	}
	return nil, Faults(faults)
}

// Library is a set of profiles.
type Library struct{ profiles map[string]*Profile }

// Builtin returns the profiles that are part of the program.
func Builtin() (*Library, error) {
	l := &Library{profiles: make(map[string]*Profile)}
	files, err := fs.Glob(data, "data/*.yaml")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		content, err := data.ReadFile(name)
		if err != nil {
			return nil, err
		}
		p, err := Parse(name, content)
		if err != nil {
			return nil, err
		}
		l.profiles[p.ID] = p
	}
	return l, nil
}

// AddDir adds the profiles in the files *.yaml of a directory. Its error lists
// the faults of all of them. A profile cannot take the place of another.
func (l *Library) AddDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var errs []error
	for _, e := range entries {
		if e.IsDir() || filepath.Ext(e.Name()) != ".yaml" {
			continue
		}
		path := filepath.Join(dir, e.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		p, err := Parse(path, content)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		if _, taken := l.profiles[p.ID]; taken {
			errs = append(errs, fmt.Errorf("%s: the id %s is another profile's: choose an id of your own", path, p.ID))
			continue
		}
		l.profiles[p.ID] = p
	}
	return errors.Join(errs...)
}

// IDs returns the ids of all profiles in alphabetical order.
func (l *Library) IDs() []string {
	ids := make([]string, 0, len(l.profiles))
	for id := range l.profiles {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

// Get returns the profile called id. Its error names the one that was probably
// meant.
func (l *Library) Get(id string) (*Profile, error) {
	if p, ok := l.profiles[id]; ok {
		return p, nil
	}
	return nil, fmt.Errorf("no profile %q: %s", id, meant(id, l.IDs()))
}

// meant suggests the one of names nearest to name, or lists them all.
func meant(name string, names []string) string {
	if near, ok := strict.Nearest(name, names); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known are " + strings.Join(names, ", ")
}
