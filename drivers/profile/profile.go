// Package profile holds device profiles: what a model of meter measures, where
// it keeps it and how it wants to be asked, as data (see README.md). The
// profiles in data/ are part of the program.
package profile

import (
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
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
	Identity     *Identity          // where the serial number stands; nil where nobody knows

	// Of protocols that name their data.
	Items     []drivers.Item // read unless a site asks for others
	Blocks    []string       // identifiers of blocks the device answers
	Wakeup    int            // FE bytes before a request; 0: the driver's own number
	MeterType uint8          // CJ/T 188: the type byte

	Lives   map[string]Life // by quantity: what its values can do over time
	Caveats []string        // what is not certain, what to look out for
	Sources []string        // where the facts come from
	Hash    [32]byte        // SHA-256 of the file
	File    string          // the file it was read from; "" for one that is part of the program

	optional      []drivers.Register
	optionalItems []drivers.Item
}

// Modbus is the protocol of every profile with registers, whatever the framing.
const Modbus = "modbus"

// Identity is where a device keeps its serial number.
type Identity struct {
	drivers.Range        // Modbus: its registers
	Type          string // Modbus: "string", two characters to a register, or "uint16", "uint32", "uint64", most significant word first
	ID            string // the other protocols: its data identifier or OBIS code
}

// Text is the serial number in the registers of i as they came; "" where they
// hold none.
func (i *Identity) Text(registers []byte) string {
	if i.Type == "string" {
		end := len(registers)
		for end > 0 && (registers[end-1] == 0 || registers[end-1] == ' ' || registers[end-1] == 0xFF) {
			end--
		}
		return string(registers[:end])
	}
	var n, all uint64
	for _, b := range registers {
		n, all = n<<8|uint64(b), all<<8|0xFF
	}
	if len(registers) > 8 || n == 0 || n == all {
		return ""
	}
	return strconv.FormatUint(n, 10)
}

// Life is what the values of a quantity can do over time.
type Life struct {
	Counter bool          // only ever grows, but for its end
	Modulus int64         // where a counter begins anew, in units of its resolution; 0: not known
	MaxRate int64         // most change in an hour, in units of its resolution; 0: any
	Frozen  time.Duration // longest that a value which lives stays the same; 0: for ever
	Refresh time.Duration // how often the device measures it anew; 0: not known
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
	p, _, faults := parse(name, data)
	if len(faults) > 0 {
		return nil, Faults(faults)
	}
	return p, nil
}

// parse is Parse that also says where the id stands.
func parse(name string, data []byte) (p *Profile, id strict.Pos, faults []strict.Fault) {
	var f file
	at, faults := strict.DecodeAt(name, data, &f)
	if at.Has(&f) && len(faults) <= strict.MaxFaults { // not a wreck
		var more []strict.Fault
		p, more = f.profile(at)
		faults = strict.Limit(name, append(faults, more...), 0)
	}
	if len(faults) > 0 {
		return nil, id, faults
	}
	p.Hash = sha256.Sum256(data)
	return p, at.Of(&f.ID), nil
}

// Library is a set of profiles: those that are part of the program, each read
// when it is first asked for, and those added. It is safe for concurrent use.
type Library struct {
	mu    sync.Mutex
	read  map[string]*Profile // by id: asked for before, or added
	known []string            // all ids, in alphabetical order
}

// Builtin returns the profiles that are part of the program. Each is in a file
// that has its id for a name.
func Builtin() *Library {
	l := &Library{read: make(map[string]*Profile)}
	files, _ := data.ReadDir("data") // an embedded directory, sorted by name
	for _, f := range files {
		l.known = append(l.known, strings.TrimSuffix(f.Name(), ".yaml"))
	}
	return l
}

// Add adds the profile in data, the content of the file name. A profile cannot
// take the place of another: what its id stands for would depend on the box. Its
// error is of type Faults.
func (l *Library) Add(name string, data []byte) (*Profile, error) {
	p, at, faults := parse(name, data)
	if len(faults) > 0 {
		return nil, Faults(faults)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	i, taken := slices.BinarySearch(l.known, p.ID)
	if taken {
		owner := "a built-in profile"
		if other := l.read[p.ID]; other != nil && other.File != "" {
			owner = other.File
		}
		return nil, Faults{at.Fault(strict.Problem{Code: strict.CodeDuplicate,
			Msg:  fmt.Sprintf("id: %q is taken by %s", p.ID, owner),
			Hint: "choose an id of your own, such as " + p.ID + "-own"})}
	}
	p.File = name
	l.read[p.ID] = p
	l.known = slices.Insert(l.known, i, p.ID)
	return p, nil
}

// AddDir adds the profiles in the files *.yaml of a directory. Where profiles
// are wrong its error is of type Faults, those of all files, and the others have
// been added.
func (l *Library) AddDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var all Faults
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		switch ext := filepath.Ext(path); {
		case e.IsDir() || ext != ".yaml" && ext != ".yml":
			continue
		case ext == ".yml":
			all = append(all, strict.Pos{File: path}.Fault(strict.Problem{Code: strict.CodeValue,
				Msg: "only files called *.yaml are read", Hint: "call it " + strings.TrimSuffix(e.Name(), ext) + ".yaml"}))
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		var faults Faults
		if _, err := l.Add(path, content); errors.As(err, &faults) {
			all = append(all, faults...)
		}
	}
	if len(all) > 0 {
		return all
	}
	return nil
}

// IDs returns the ids of all profiles in alphabetical order.
func (l *Library) IDs() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.known)
}

// Get returns the profile called id. Its error names the one that was probably
// meant.
func (l *Library) Get(id string) (*Profile, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p := l.read[id]; p != nil {
		return p, nil
	}
	if _, ok := slices.BinarySearch(l.known, id); !ok {
		return nil, fmt.Errorf("no profile %q: %s", id, meant(id, l.known))
	}
	name := "data/" + id + ".yaml"
	content, err := data.ReadFile(name)
	if err != nil {
		return nil, err
	}
	p, err := Parse(name, content)
	if err != nil {
		return nil, err
	}
	l.read[id] = p
	return p, nil
}

// meant suggests the one of names nearest to name, or lists them all.
func meant(name string, names []string) string {
	if near, ok := strict.Nearest(name, names); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	return "known are " + strings.Join(names, ", ")
}
