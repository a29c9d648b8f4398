package strict

import (
	"cmp"
	"fmt"
	"slices"
)

// The codes of the faults this package finds. They are part of the product's
// contract with its users (people read them out over the telephone) and never
// change meaning. configs/CODES.md lists them with those of configs.
const (
	CodeEncoding  = "E-101" // the file is not UTF-8 text
	CodeEmpty     = "E-102" // the file holds no settings
	CodeLimit     = "E-103" // larger, deeper or with more entries or faults than allowed
	CodeSyntax    = "E-104" // not YAML
	CodeDocuments = "E-105" // something follows the end of the settings
	CodeAlias     = "E-106" // anchor, alias, merge key or tag
	CodeUnknown   = "E-107" // a key nobody knows
	CodeDuplicate = "E-108" // the same key twice in one group
	CodeMissing   = "E-109" // a key that must be there is not
	CodeType      = "E-110" // text where a number belongs, and the like
	CodeValue     = "E-111" // the right type, an impossible value
)

// Pos is a place in a file. Line and Col count from 1, Col in characters (not
// bytes, not screen cells), the byte order mark not counted. The zero Pos is
// no place; a Line of 0 with a File means the file as a whole.
type Pos struct {
	File      string
	Line, Col int
}

// String is "file:line:col", or "file" for the file as a whole.
func (p Pos) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Fault puts a problem at p.
func (p Pos) Fault(w Problem) Fault {
	return Fault{File: p.File, Line: p.Line, Col: p.Col, Code: w.Code, Msg: w.Msg, Hint: w.Hint, Secret: w.Secret}
}

// Problem is a fault that does not know its place yet. It is an error, so that
// an encoding.TextUnmarshaler can return one: its code, message and hint reach
// the user at the position of the text.
type Problem struct {
	Code string // E-1xx; empty means CodeValue
	Msg  string // what is wrong, what was expected, what was found
	Hint string // what to do; may be empty
	// Secret says the line holds something that must not be shown again, such
	// as a password.
	Secret bool
}

// Error is the message and the hint.
func (w Problem) Error() string {
	if w.Hint == "" {
		return w.Msg
	}
	return w.Msg + " → " + w.Hint
}

// Fault is one thing wrong with a file: what, where, what to do.
type Fault struct {
	File      string
	Line, Col int // as in Pos
	Code      string
	Msg, Hint string
	Secret    bool // the source line must not be shown, see Problem
}

// Pos is where the fault is.
func (f Fault) Pos() Pos { return Pos{f.File, f.Line, f.Col} }

// String is the whole fault on one line:
//
//	site.yaml:12:5: E-107 unknown key "adress" in an entry of meters → did you mean "address"?
func (f Fault) String() string {
	s := f.Pos().String() + ": " + f.Code + " " + f.Msg
	if f.Hint != "" {
		s += " → " + f.Hint
	}
	return s
}

// Error makes a Fault an error with the text of String.
func (f Fault) Error() string { return f.String() }

// Sort puts faults into the order of the file they are in.
func Sort(faults []Fault) {
	slices.SortStableFunc(faults, func(a, b Fault) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col))
	})
}

// Limit puts the faults of a file into its order and keeps the first
// MaxFaults of them; a last one says how many more there are, unlisted ones
// included.
func Limit(file string, faults []Fault, unlisted int) []Fault {
	Sort(faults)
	if n := len(faults); n > MaxFaults {
		faults, unlisted = faults[:MaxFaults], unlisted+n-MaxFaults
	}
	if unlisted > 0 {
		faults = append(faults, Pos{File: file}.Fault(Problem{Code: CodeLimit,
			Msg:  fmt.Sprintf("%d more faults are not listed", unlisted),
			Hint: "mend those above and check again"}))
	}
	return faults
}
