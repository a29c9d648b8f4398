package strict

import (
	"fmt"
	"io"
	"regexp"
	"strings"
	"unicode"

	"github.com/mattn/go-runewidth"
)

// Render writes faults for people: each with the line it is about and a caret
// under the place, a Chinese character being two cells wide.
//
//	site.yaml:3:5: E-107 unknown key "adress" in this entry of meters
//	    3 |     adress: 7
//	      |     ^
//	      → did you mean "address"?
//
// data is the content of the file the faults are in. A line that holds a
// secret is not shown.
func Render(w io.Writer, data []byte, faults []Fault) error {
	text := lines(trimBOM(data))
	hidden := make(map[int]bool)
	for _, f := range faults {
		hidden[f.Line] = hidden[f.Line] || f.Secret
	}
	for _, f := range faults {
		if _, err := io.WriteString(w, f.render(text, hidden[f.Line])); err != nil {
			return err
		}
	}
	return nil
}

func (f Fault) render(text []string, hidden bool) string {
	const gutter = "      "
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s %s\n", f.Pos(), f.Code, f.Msg)
	if f.Line >= 1 && f.Line <= len(text) {
		line := text[f.Line-1]
		if hidden || confidential.MatchString(line) {
			fmt.Fprintf(&b, "%5d | (not shown: the line holds a secret)\n", f.Line)
		} else {
			before, shown := window([]rune(line), f.Col-1)
			fmt.Fprintf(&b, "%5d | %s\n%s| %s^\n", f.Line, shown, gutter, strings.Repeat(" ", before))
		}
	}
	if f.Hint != "" {
		fmt.Fprintf(&b, "%s→ %s\n", gutter, f.Hint)
	}
	return b.String()
}

// confidential recognises a line that may hold a secret, whatever is wrong
// with it. The name of a password file is none.
var confidential = regexp.MustCompile(`(?i)\b(password|passwd|secret|token)\b|PRIVATE KEY`)

// window cuts a long line to what fits a terminal around column col, from 0,
// and returns it with the number of cells before col.
func window(line []rune, col int) (before int, shown string) {
	const most, lead = 70, 30 // cells shown; cells before col on a cut line
	for i, r := range line {
		if unicode.IsControl(r) || !unicode.IsPrint(r) {
			line[i] = ' ' // a tab is one column, and one cell here
		}
	}
	cells := runewidth.Condition{} // not the terminal's idea of ambiguous widths
	col = min(max(col, 0), len(line))
	start, end := 0, len(line)
	if cells.StringWidth(string(line)) > most {
		for start = col; start > 0 && cells.StringWidth(string(line[start-1:col])) <= lead; {
			start--
		}
		for end = col; end < len(line) && cells.StringWidth(string(line[start:end+1])) <= most; {
			end++
		}
	}
	head, tail := "", ""
	if start > 0 {
		head = "…"
	}
	if end < len(line) {
		tail = "…"
	}
	return cells.StringWidth(head + string(line[start:col])), head + string(line[start:end]) + tail
}
