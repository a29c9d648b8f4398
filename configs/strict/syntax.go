package strict

import (
	"bytes"
	"cmp"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// The YAML library names the line where the surrounding block began, or the
// one after the mistake, and only one. So the place is found here: reading
// the file again byte by byte shows how far the library came (the mistake is
// there or before), and the lines up to that one are looked at for the
// mistakes people make. What is reported is the mistake, not its consequence.

// sipper counts the bytes taken from it, which it gives out one at a time.
type sipper struct {
	data  []byte
	taken int
}

func (m *sipper) Read(p []byte) (int, error) {
	n, err := bytes.NewReader(m.data[m.taken:]).Read(p[:min(1, len(p))])
	m.taken += n
	return n, err
}

// diagnose finds the place and the kind of a syntax error.
func diagnose(data []byte, err error) (Pos, Problem) {
	m := &sipper{data: data}
	documents(m) // fails as it did before
	last := position(data, max(0, m.taken-1)).Line
	text := lines(data)
	s := source{text, min(last, len(text)) - 1, message(err)}
	for _, look := range []func() (finding, bool){s.alias, s.trailing, s.tab, s.openQuote, s.openBracket,
		s.escape, s.afterQuote, s.reserved, s.twoColons, s.noColon, s.indent} {
		if f, ok := look(); ok {
			p := Problem{Code: cmp.Or(f.code, CodeSyntax), Msg: f.msg, Hint: f.hint}
			if confidential.MatchString(text[f.line]) {
				p.Hint, p.Secret = "look at the line in the file, it is not shown because it may hold a secret", true
			}
			return Pos{Line: f.line + 1, Col: utf8.RuneCountInString(text[f.line][:f.off]) + 1}, p
		}
	}
	line := s.content(s.last)
	if s.says("exceeded max depth") {
		return Pos{Line: line + 1, Col: 1}, Problem{Code: CodeLimit, Msg: "nested more than 10000 deep"}
	}
	return Pos{Line: line + 1, Col: indentOf(text[line]) + 1},
		Problem{Code: CodeSyntax, Msg: "this is not YAML: " + s.msg, Hint: "compare the line and the one above it with an example"}
}

// message is what the library says, without its name and line number.
func message(err error) string {
	return regexp.MustCompile(`^yaml: (line \d+: )?`).ReplaceAllString(err.Error(), "")
}

// source is a file with a mistake in or before the line with index last.
type source struct {
	text []string
	last int
	msg  string
}

// finding is a mistake at a line and a byte offset in it, both from 0.
type finding struct {
	line, off int
	msg, hint string
	code      string // empty means CodeSyntax
}

func found(line, off int, msg, hint string) (finding, bool) {
	return finding{line: line, off: off, msg: msg, hint: hint}, true
}

// says reports whether the library's message holds any of the words.
func (s source) says(words ...string) bool {
	return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(s.msg, w) })
}

// content is the last line at or before i that is neither blank nor a comment.
func (s source) content(i int) int {
	for j := i; j >= 0; j-- {
		if t := strings.TrimSpace(s.text[j]); t != "" && t[0] != '#' {
			return j
		}
	}
	return max(i, 0)
}

func indentOf(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }

// keyLine cuts a line into the columns of its key and what stands behind the
// colon; list dashes before the key are skipped.
func keyLine(line string) (col int, key, rest string, ok bool) {
	col = indentOf(line)
	for strings.HasPrefix(line[col:], "- ") {
		col += 2 + indentOf(line[col+2:])
	}
	key, rest, ok = strings.Cut(line[col:]+" ", ": ")
	if !ok || strings.ContainsAny(key, "#\"'[]{},") {
		return col, "", "", false
	}
	return col, key, strings.TrimSpace(rest), true
}

// alias finds the use of an anchor that does not exist; one that does is found
// by check.
func (s source) alias() (finding, bool) {
	if !s.says("unknown anchor", "contains itself") {
		return finding{}, false
	}
	_, name, _ := strings.Cut(s.msg, "'")
	name, _, _ = strings.Cut(name, "'")
	for i := s.last; i >= 0; i-- {
		if b := strings.Index(s.text[i], "*"+name); b >= 0 {
			return finding{i, b, "an alias (*" + quotable(name) + ") is not allowed here", "put text that begins with * between quotation marks", CodeAlias}, true
		}
	}
	return finding{}, false
}

// trailing finds text after the line that ends the settings.
func (s source) trailing() (finding, bool) {
	i := s.content(s.last)
	if !s.says("<document start>") || i == 0 || !strings.HasPrefix(s.text[s.content(i-1)], "...") {
		return finding{}, false
	}
	return finding{i, 0, "text follows the line ... that ends the settings", "remove that line, or the text", CodeDocuments}, true
}

func (s source) tab() (finding, bool) {
	for i := s.last; i >= 0; i-- {
		line := s.text[i]
		blank := len(line) - len(strings.TrimLeft(line, " \t"))
		if t := strings.IndexByte(line[:blank], '\t'); t >= 0 && blank < len(line) && line[blank] != '#' {
			return found(i, t, "a tab stands before the text, expected spaces", "replace each tab by two spaces")
		}
	}
	return finding{}, false
}

// openQuote finds the quotation mark that is never closed, or is closed and
// followed by more text.
func (s source) openQuote() (finding, bool) {
	if !s.says("end of stream", "document indicator", "expected key") && !s.flows() {
		return finding{}, false
	}
	open, ok := unclosed(s.text)
	if !ok || open.msg != "" {
		return finding{}, false
	}
	mark := s.text[open.line][open.off : open.off+1]
	open.msg = "the quotation mark " + mark + " is not closed"
	open.hint = "add " + mark + " at the end of the text"
	return open, true
}

func (s source) openBracket() (finding, bool) {
	if !s.flows() && !s.says("expected ':'") {
		return finding{}, false
	}
	open, ok := unclosed(s.text)
	if !ok || open.msg == "" {
		return finding{}, false
	}
	closer := open.msg
	open.msg = "the bracket " + s.text[open.line][open.off:open.off+1] + " is not closed"
	open.hint = "add " + closer + ", and a comma between entries"
	return open, true
}

func (s source) flows() bool {
	return s.says("',' or", "expected node content")
}

// unclosed finds the innermost bracket still open, with what closes it as msg,
// or the quotation mark still open, with no msg. A quotation mark is given up
// at the next line that begins with a key, a bracket at the next one that is
// no deeper than the line that opened it: nobody closes it from there.
func unclosed(text []string) (finding, bool) {
	var open []finding
	var quote *finding
	for i, line := range text {
		if _, _, _, key := keyLine(line); key && quote != nil {
			return *quote, true
		} else if key && len(open) > 0 && indentOf(line) <= indentOf(text[open[0].line]) && i > open[0].line {
			return open[len(open)-1], true
		}
		for b := 0; b < len(line); b++ {
			c := line[b]
			starts := b == 0 || strings.IndexByte(" \t[{,", line[b-1]) >= 0
			switch {
			case quote != nil:
				if mark := text[quote.line][quote.off]; c == '\\' && mark == '"' {
					b++
				} else if c == mark {
					quote = nil
				}
			case c == '#' && starts:
				b = len(line)
			case (c == '"' || c == '\'') && starts:
				quote = &finding{line: i, off: b}
			case (c == '[' || c == '{') && (starts || len(open) > 0):
				open = append(open, finding{line: i, off: b, msg: map[byte]string{'[': "]", '{': "}"}[c]})
			case (c == ']' || c == '}') && len(open) > 0:
				if open[len(open)-1].msg != string(c) {
					return open[len(open)-1], true
				}
				open = open[:len(open)-1]
			}
		}
	}
	switch {
	case quote != nil:
		return *quote, true
	case len(open) > 0:
		return open[len(open)-1], true
	}
	return finding{}, false
}

// escape finds a backslash that YAML does not understand, as in a Windows path.
func (s source) escape() (finding, bool) {
	if !s.says("escape", "hexdecimal") {
		return finding{}, false
	}
	for i := s.last; i >= 0; i-- {
		for _, m := range escapes.FindAllStringIndex(s.text[i], -1) {
			if m[1]-m[0] == 2 && !strings.ContainsAny(s.text[i][m[0]+1:m[1]], `0abt nvfre"/\N_LP`+"\t") {
				return found(i, m[0], "a backslash stands between double quotation marks", "write the text between single quotation marks, or each backslash twice")
			}
		}
	}
	return finding{}, false
}

var escapes = regexp.MustCompile(`\\(x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}|.)`)

// afterQuote finds text behind a closing quotation mark: label: 'it's'.
func (s source) afterQuote() (finding, bool) {
	i := s.content(s.last)
	col, key, rest, ok := keyLine(s.text[i])
	if !ok || rest == "" || rest[0] != '"' && rest[0] != '\'' {
		return finding{}, false
	}
	at := col + len(key) + 1 + indentOf(s.text[i][col+len(key)+1:])
	end := strings.IndexByte(s.text[i][at+1:], rest[0])
	if end < 0 {
		return finding{}, false
	}
	behind := s.text[i][at+end+2:]
	if t := strings.TrimLeft(behind, " "); t == "" || t[0] == '#' {
		return finding{}, false
	}
	return found(i, at+end+2+indentOf(behind), "text follows the closing quotation mark "+rest[:1], "put the whole value between quotation marks; use \" around text that holds ', or ' around text that holds \"")
}

// reserved finds a value that begins with a character YAML keeps for itself.
func (s source) reserved() (finding, bool) {
	if !s.says("cannot start any token", "alphabetic or numeric", "expected node content", "expected key") {
		return finding{}, false
	}
	i := s.content(s.last)
	col, key, rest, ok := keyLine(s.text[i])
	at := col
	if ok {
		at += len(key) + 1
	}
	at += indentOf(s.text[i][at:])
	if !ok {
		rest = s.text[i][at:]
	}
	if rest == "" || !strings.ContainsAny(rest[:1], "@`%&*!]},") {
		return finding{}, false
	}
	return found(i, at, "a value cannot begin with "+rest[:1], "put the value between quotation marks")
}

// twoColons finds "key: some: text".
func (s source) twoColons() (finding, bool) {
	if !s.says("mapping values are not allowed") {
		return finding{}, false
	}
	i := s.content(s.last)
	col, key, rest, ok := keyLine(s.text[i])
	if !ok || !strings.Contains(rest+" ", ": ") || strings.ContainsAny(rest[:1], "\"'[{#") {
		return finding{}, false
	}
	value := col + len(key) + 1
	value += indentOf(s.text[i][value:])
	return found(i, value+strings.Index(s.text[i][value:]+" ", ": "), "a second colon stands on the line", "give each key its own line, or put the value between quotation marks")
}

// noColon finds the line with a key and no colon after it. It is the line the
// library stopped at or the one before.
func (s source) noColon() (finding, bool) {
	if !s.says("mapping values are not allowed", "expected ':'", "expected key") {
		return finding{}, false
	}
	i := s.content(s.last)
	for range 2 {
		line := s.text[i]
		col, _, _, ok := keyLine(line)
		word, value, _ := strings.Cut(strings.TrimRight(line[col:], " "), " ")
		if !ok && keyWord.MatchString(word) {
			f, _ := found(i, col+len(word), "a colon is missing after "+quote(word), "write "+word+": "+shorten(strings.TrimSpace(value)))
			if k, v, found := strings.Cut(word, ":"); found { // "name:demo": the space is missing
				f.off = col + len(k) + 1
				f.msg, f.hint = "a space is missing after the colon", "write "+k+": "+shorten(v)
			} else if k, v, found := strings.Cut(word, "="); found {
				f.off = col + len(k)
				f.msg, f.hint = "found = after "+quote(k)+", expected a colon and a space", "write "+k+": "+shorten(v)
			} else if strings.HasPrefix(value, "= ") || strings.HasPrefix(value, ": ") {
				f.hint = "write " + word + ": " + shorten(strings.TrimSpace(value[2:]))
			}
			return f, true
		}
		if i == 0 {
			break
		}
		i = s.content(i - 1)
	}
	return finding{}, false
}

// keyWord is what looks like a key, perhaps run together with its value.
var keyWord = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*([:=].*)?$`)

// indent finds a line that stands in no column of the lines above it.
func (s source) indent() (finding, bool) {
	const hint = "put keys of one group into one column, and what belongs to a key two spaces further right"
	i := s.content(s.last)
	if i == 0 {
		return finding{}, false
	}
	at := indentOf(s.text[i])
	col, _, _, ok := keyLine(s.text[i])
	dash := strings.HasPrefix(s.text[i][at:], "-")
	if !ok && !dash {
		return finding{}, false
	}
	above, _, rest, isKey := keyLine(s.text[s.content(i-1)])
	if isKey && rest != "" && (at > above || dash && at == above) {
		return found(i, at, "the line is indented further than the key above it, which already has a value", hint)
	}
	if slices.Contains(s.columns(i), at) && at == col {
		if s.says("'-' indicator") {
			return found(i, at, "the line stands in the column of the dashes of the list above it", "indent it two spaces further, like the other keys of the entry")
		}
		return finding{}, false
	}
	return found(i, at, "the line is indented to a column that no key or list above it uses", hint)
}

// columns lists the columns of the groups and lists still open above line i.
func (s source) columns(i int) []int {
	var open []int
	for _, line := range s.text[:i] {
		at := indentOf(line)
		if t := line[at:]; t == "" || t[0] == '#' {
			continue
		}
		for len(open) > 0 && open[len(open)-1] > at {
			open = open[:len(open)-1]
		}
		col, _, _, _ := keyLine(line)
		open = append(open, at, col)
	}
	return open
}
