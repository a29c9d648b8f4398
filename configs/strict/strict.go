// Package strict reads YAML files written by people. It knows no fault it may
// forgive: an unknown key, a missing one, a wrong type, a duplicate, an alias
// is each a Fault with its line and column, and all of them are found in one
// reading.
//
// The destination is a struct; its fields are described by tags:
//
//	type Meter struct {
//		Name     string        `yaml:"name" required:"true"`
//		Address  uint8         `yaml:"address"`
//		Interval time.Duration `yaml:"interval"`
//	}
//
// A field without a yaml tag, or with "-", is not read; the fields of an
// embedded struct are read as if they were its own. Fields may be strings,
// booleans, integers, time.Duration ("10s", "250ms", "90d"), structs, slices,
// maps with string keys, pointers to these, encoding.TextUnmarshaler for
// scalars, and Unmarshaler for anything. There are no floats: a decimal number
// is text to an exact type of its own.
//
// A string takes any scalar as it is written, so that name: 007 and name: no
// mean what they say. An integer is decimal or 0x hexadecimal; a leading zero
// is refused, because YAML would read it as octal.
//
// Three interfaces let a destination take part: Defaulter, Unmarshaler and
// KeyHinter.
package strict

import (
	"reflect"

	"go.yaml.in/yaml/v3"
)

// Limits of what is read; beyond each of them the file is refused with a
// Fault, and memory stays bounded.
const (
	MaxBytes   = 1 << 20 // size of the file
	MaxDepth   = 16      // groups within groups
	MaxEntries = 50_000  // keys, values and list entries, by a generous count
	MaxFaults  = 100     // faults listed one by one
)

// Defaulter is a struct that has values before the file is read. Defaults is
// called on a pointer to it just before its keys are read; it may be called
// for a struct that then turns out to be faulty.
type Defaulter interface{ Defaults() }

// Unmarshaler reads itself from a node. It reports what is wrong through
// Node.Fault, at whatever place it likes, and must be total.
type Unmarshaler interface{ UnmarshalNode(n Node) }

// KeyHinter is a struct that has something better to say about an unknown key
// than the list of the known ones. ok is false when it has not.
type KeyHinter interface {
	KeyHint(key string) (p Problem, ok bool)
}

// Node is a YAML node given to an Unmarshaler.
type Node struct {
	*yaml.Node
	d *decoder
}

// Decode reads the node into dst, a pointer, by the rules of this package.
// child is the node itself or one under it.
func (n Node) Decode(child *yaml.Node, dst any) {
	n.d.value(place{node: child}, reflect.ValueOf(dst).Elem())
}

// Fault reports a problem at child, the node itself or one under it.
func (n Node) Fault(child *yaml.Node, p Problem) { n.d.add(n.d.pos(child), p) }

// Positions remembers where the values of a decoded struct stand in the file.
type Positions struct {
	file   string
	at     map[any]Pos
	marred map[any]bool // values with a fault in them
}

// Of returns the place of the first of the fields that has one. A field is
// given as the pointer to it, &site.Meters[3].Line; it has a place when the
// file gave it a value of the right type. A struct or slice has one too, the
// first of its keys or entries. Of is the file as a whole when none has a
// place. Fields inside maps have none.
func (p *Positions) Of(fields ...any) Pos {
	for _, f := range fields {
		if at, ok := p.at[f]; ok {
			return at
		}
	}
	return Pos{File: p.file}
}

// Has reports whether the file gave *field a value of the right type.
func (p *Positions) Has(field any) bool {
	_, ok := p.at[field]
	return ok
}

// Sound reports whether the file gave *field, a struct or slice, and nothing in
// it was at fault: what is missing in it was not just misspelt.
func (p *Positions) Sound(field any) bool { return p.Has(field) && !p.marred[field] }

// Decode reads data, the content of the named file, into the struct dst points
// to, and returns every fault in the order of the file. It never panics on any
// data. After a fault dst holds whatever could be read.
func Decode(file string, data []byte, dst any) []Fault {
	_, faults := DecodeAt(file, data, dst)
	return faults
}

// DecodeAt is Decode that keeps the positions of the values for checks of
// their meaning. The positions belong to the variables dst points at, not to
// copies of them, and are never nil.
func DecodeAt(file string, data []byte, dst any) (*Positions, []Fault) {
	d := &decoder{Positions: Positions{file: file, at: make(map[any]Pos), marred: make(map[any]bool)}, fields: make(map[reflect.Type][]field)}
	if root := d.parse(data); root != nil {
		d.check(root, 0)
		d.value(place{node: root}, reflect.ValueOf(dst).Elem())
	}
	return &d.Positions, Limit(file, d.faults, d.unlisted)
}
