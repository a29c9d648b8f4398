package strict

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

const emptyHint = "see configs/examples for a complete one"

// parse turns the file into its root node, or into faults and nil.
func (d *decoder) parse(data []byte) *yaml.Node {
	whole := Pos{File: d.file}
	if len(data) > MaxBytes {
		d.addf(whole, CodeLimit, "", "the file has %d bytes, at most %d are read", len(data), MaxBytes)
		return nil
	}
	data = trimBOM(data)
	if at, p, ok := badText(data); ok {
		at.File = d.file
		d.add(at, p)
		return nil
	}
	if n := entries(data); n > MaxEntries {
		d.addf(whole, CodeLimit, "", "the file has about %d entries, at most %d are read", n, MaxEntries)
		return nil
	}
	root, err := documents(bytes.NewReader(data))
	var second *secondDocument
	switch {
	case errors.As(err, &second):
		d.addf(d.pos(second.node), CodeDocuments, "remove the line --- and put everything into one", "a second document begins here, a file holds one")
	case errors.Is(err, io.EOF):
		d.addf(whole, CodeEmpty, emptyHint, "%s", emptiness(data))
		return nil
	case err != nil:
		at, p := diagnose(data, err)
		at.File = d.file
		d.add(at, p)
		return nil
	}
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		d.addf(whole, CodeEmpty, emptyHint, "%s", emptiness(data))
		return nil
	}
	return root
}

func emptiness(data []byte) string {
	if len(data) == 0 {
		return "the file is empty"
	}
	return "the file holds no settings, only blank lines or comments"
}

// secondDocument is the error of a file that goes on after its end.
type secondDocument struct{ node *yaml.Node }

func (*secondDocument) Error() string { return "second document" }

// documents reads the root node of the only document in r. io.EOF says there
// is none; with a secondDocument the first is returned as well.
func documents(r io.Reader) (root *yaml.Node, err error) {
	defer func() {
		if p := recover(); p != nil { // the library has panicked on broken input before
			err = fmt.Errorf("yaml: %v", p)
		}
	}()
	dec := yaml.NewDecoder(r)
	var first, next yaml.Node
	if err := dec.Decode(&first); err != nil {
		return nil, err
	}
	switch err := dec.Decode(&next); {
	case err == nil:
		return first.Content[0], &secondDocument{&next}
	case !errors.Is(err, io.EOF):
		return nil, err
	}
	return first.Content[0], nil
}

// trimBOM takes away the byte order mark some editors put before UTF-8.
func trimBOM(data []byte) []byte { return bytes.TrimPrefix(data, []byte("\ufeff")) }

// badText finds what keeps data from being UTF-8 text.
func badText(data []byte) (at Pos, p Problem, bad bool) {
	const save = "save the file as UTF-8"
	problem := func(offset int, hint, format string, args ...any) (Pos, Problem, bool) {
		at := position(data, offset)
		return at, Problem{Code: CodeEncoding, Msg: fmt.Sprintf(format, args...), Hint: hint}, true
	}
	if bytes.HasPrefix(data, []byte{0xFF, 0xFE}) || bytes.HasPrefix(data, []byte{0xFE, 0xFF}) || halfNUL(data) {
		return Pos{}, Problem{Code: CodeEncoding, Msg: "the file is UTF-16 text, expected UTF-8", Hint: save + " (in Notepad: Save as, Encoding: UTF-8)"}, true
	}
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return problem(i, save+"; Chinese text was probably saved as GBK", "byte 0x%02X is not UTF-8 text", data[i])
		case r == 0:
			return problem(i, "this is not a text file, or it was damaged by a power cut: restore it from a copy", "a NUL byte stands in the file")
		case r < ' ' && r != '\t' && r != '\n' && r != '\r', r >= 0x7F && r < 0xA0 && r != 0x85, r == 0xFFFE, r == 0xFFFF:
			return problem(i, "remove it", "a control character (U+%04X) stands in the file", r)
		}
		i += size
	}
	return Pos{}, Problem{}, false
}

// halfNUL recognises UTF-16 without a byte order mark: of the first bytes,
// every second one is NUL.
func halfNUL(data []byte) bool {
	head := data[:min(len(data), 16)&^1]
	if len(head) < 4 {
		return false
	}
	var nul [2]int
	for i, b := range head {
		if b == 0 {
			nul[i&1]++
		}
	}
	return nul[0] == 0 && nul[1] == len(head)/2 || nul[1] == 0 && nul[0] == len(head)/2
}

// entries counts generously what may become a node of the tree, so that a
// small file cannot take much memory. Comment lines do not count.
func entries(data []byte) int {
	n := 0
	for line := range bytes.Lines(data) {
		if line = bytes.TrimSpace(line); len(line) == 0 || line[0] == '#' {
			continue
		}
		n += 1 + bytes.Count(line, []byte("- "))
		for _, c := range line {
			if strings.IndexByte(",:[{?", c) >= 0 {
				n++
			}
		}
	}
	return n
}

// position is the place of the character at a byte offset.
func position(data []byte, offset int) Pos {
	at := Pos{Line: 1, Col: 1}
	for i := 0; i < offset; {
		r, size := utf8.DecodeRune(data[i:])
		i += size
		at.Col++
		if isBreak(r) && !(r == '\r' && i < len(data) && data[i] == '\n') {
			at.Line, at.Col = at.Line+1, 1
		}
	}
	return at
}

// isBreak reports whether YAML ends a line at r.
func isBreak(r rune) bool {
	return r == '\n' || r == '\r' || r == 0x85 || r == 0x2028 || r == 0x2029
}

// lines cuts data where YAML does, without the line ends.
func lines(data []byte) []string {
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	return strings.Split(strings.Map(func(r rune) rune {
		if isBreak(r) {
			return '\n'
		}
		return r
	}, text), "\n")
}
