// Package profile holds device profiles: what a model of meter measures, where
// it keeps it and how it wants to be asked, as data (see README.md). The
// profiles in data/ are part of the program.
package profile

import (
	"crypto/sha256"
	"embed"
	"fmt"
	"io/fs"
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
	Class   string // "meter" or "dio" (digital inputs and outputs)
	Serial  string // line settings the device leaves the factory with: "9600 8N1"
	Unit    uint8  // unit number it leaves the factory with
	// Secondary says that the values are those of the secondary side of
	// current and voltage transformers: CT and PT ratios apply.
	Secondary    bool
	MaxRegisters int           // most registers in one request
	Timeout      time.Duration // for one reply
	Gap          time.Duration // least pause between two requests
	Ranges       []drivers.Range
	Registers    []drivers.Register // read unless a site asks for others
	Caveats      []string           // what is not certain, what to look out for
	Sources      []string           // where the facts come from
	Hash         [32]byte           // SHA-256 of the file

	optional []drivers.Register
}

// All returns every register the device is known to have, those of Registers
// first.
func (p *Profile) All() []drivers.Register { return slices.Concat(p.Registers, p.optional) }

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
