package strict

import (
	"encoding"
	"fmt"
	"math"
	"reflect"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// decoder is one reading of one file.
type decoder struct {
	Positions
	faults   []Fault
	unlisted int // faults beyond MaxFaults
	aliases  int // values passed over because check has reported them
	fields   map[reflect.Type][]field
}

// found counts what was wrong so far.
func (d *decoder) found() int { return len(d.faults) + d.unlisted + d.aliases }

// place is a value and how it got there.
type place struct {
	node *yaml.Node
	key  *yaml.Node // its key; nil for the root and for list entries
	in   string     // the key of the group or list it stands in; "" at the top
}

func (d *decoder) pos(n *yaml.Node) Pos { return Pos{d.file, n.Line, n.Column} }

func (d *decoder) add(at Pos, p Problem) {
	if len(d.faults) == MaxFaults {
		d.unlisted++
		return
	}
	if p.Code == "" {
		p.Code = CodeValue
	}
	d.faults = append(d.faults, at.Fault(p))
}

func (d *decoder) addf(at Pos, code, hint, format string, args ...any) {
	d.add(at, Problem{Code: code, Msg: fmt.Sprintf(format, args...), Hint: hint})
}

// check walks the whole tree for what is wrong whatever the destination is.
func (d *decoder) check(n *yaml.Node, depth int) {
	const written = "write the value out where it is needed"
	switch {
	case n.Kind == yaml.AliasNode:
		d.addf(d.pos(n), CodeAlias, written, "an alias (*%s) is not allowed here", quotable(n.Value))
		return
	case n.Anchor != "":
		d.addf(d.pos(n), CodeAlias, written, "an anchor (&%s) is not allowed here", quotable(n.Anchor))
	case n.Style&yaml.TaggedStyle != 0:
		d.addf(d.pos(n), CodeAlias, "remove it", "a tag (%s) is not allowed here", quotable(n.Tag))
	}
	if depth > MaxDepth {
		d.addf(d.pos(n), CodeLimit, "", "nested more than %d deep", MaxDepth)
		return
	}
	if n.Kind == yaml.MappingNode {
		seen := make(map[string]*yaml.Node, len(n.Content)/2)
		for i := 0; i+1 < len(n.Content); i += 2 {
			k := n.Content[i]
			if k.Kind != yaml.ScalarNode {
				d.addf(d.pos(k), CodeSyntax, "", "a key must be a word, found %s", describe(k))
				continue
			}
			if first := seen[k.Value]; first != nil {
				d.addf(d.pos(k), CodeDuplicate, "keep one of them", "key %s is given twice, first at line %d column %d", quote(k.Value), first.Line, first.Column)
				continue
			}
			seen[k.Value] = k
		}
	}
	for _, c := range n.Content {
		d.check(c, depth+1)
	}
}

// value reads a node into v and remembers its place when it fits.
func (d *decoder) value(p place, v reflect.Value) {
	if p.node.Kind == yaml.AliasNode {
		d.aliases++
		return
	}
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			v.Set(reflect.New(v.Type().Elem()))
		}
		d.value(p, v.Elem())
		return
	}
	before := d.found()
	if d.read(p, v) && v.CanAddr() {
		field := v.Addr().Interface()
		d.at[field] = d.pos(p.node)
		if d.found() > before {
			d.marred[field] = true
		}
	}
}

var durationType = reflect.TypeFor[time.Duration]()

// read reports whether the node was of the right type for v.
func (d *decoder) read(p place, v reflect.Value) bool {
	if v.CanAddr() {
		switch u := v.Addr().Interface().(type) {
		case Unmarshaler:
			before := d.found()
			u.UnmarshalNode(Node{p.node, d})
			return d.found() == before
		case encoding.TextUnmarshaler:
			return d.text(p, u)
		}
	}
	switch v.Kind() {
	case reflect.Struct:
		return d.group(p, v)
	case reflect.Map:
		return d.table(p, v)
	case reflect.Slice:
		return d.list(p, v)
	}
	if !d.scalar(p, v.Type()) {
		return false
	}
	n := p.node
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
		return true
	case reflect.Bool:
		if n.Tag != "!!bool" || n.Value != "true" && n.Value != "false" {
			return d.mismatch(p, v.Type(), unquote(n))
		}
		v.SetBool(n.Value == "true")
		return true
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if v.Type() == durationType {
			return d.duration(p, v)
		}
		return d.integer(p, v)
	}
	panic("strict: a destination cannot be a " + v.Type().String())
}

// scalar reports whether the node is a scalar that is not null.
func (d *decoder) scalar(p place, t reflect.Type) bool {
	if p.node.Kind == yaml.ScalarNode && p.node.Tag != "!!null" {
		return true
	}
	return d.mismatch(p, t, "")
}

func (d *decoder) text(p place, u encoding.TextUnmarshaler) bool {
	if !d.scalar(p, reflect.TypeFor[string]()) {
		return false
	}
	err := u.UnmarshalText([]byte(p.node.Value))
	if err == nil {
		return true
	}
	w, ok := err.(Problem)
	if !ok {
		w = Problem{Msg: err.Error()}
	}
	w.Msg = p.label() + w.Msg
	d.add(d.pos(p.node), w)
	return false
}

// group reads a mapping into a struct.
func (d *decoder) group(p place, v reflect.Value) bool {
	if f, ok := v.Addr().Interface().(Defaulter); ok {
		f.Defaults()
	}
	if p.node.Kind != yaml.MappingNode {
		return d.mismatch(p, v.Type(), "")
	}
	fields := d.fieldsOf(v.Type())
	seen := make(map[string]bool, len(fields))
	meant := make(map[string]bool) // by an unknown key: a typo is one fault, not two
	for i := 0; i+1 < len(p.node.Content); i += 2 {
		key, node := p.node.Content[i], p.node.Content[i+1]
		if key.Kind != yaml.ScalarNode || seen[key.Value] {
			continue // reported by check
		}
		seen[key.Value] = true
		f, ok := find(fields, key.Value)
		if !ok {
			meant[d.unknown(p, v, key, fields)] = true
			continue
		}
		d.value(place{node, key, key.Value}, v.FieldByIndex(f.index))
	}
	for _, f := range fields {
		if f.required && !seen[f.name] && !meant[f.name] {
			d.addf(d.pos(p.node), CodeMissing, "add it: "+f.name+": ...", "key %s is missing%s", quote(f.name), p.within())
		}
	}
	return true
}

// table reads a mapping into a map with string keys.
func (d *decoder) table(p place, v reflect.Value) bool {
	if p.node.Kind != yaml.MappingNode {
		return d.mismatch(p, v.Type(), "")
	}
	v.Set(reflect.MakeMap(v.Type()))
	for i := 0; i+1 < len(p.node.Content); i += 2 {
		key, node := p.node.Content[i], p.node.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			continue // reported by check
		}
		e := reflect.New(v.Type().Elem()).Elem()
		d.value(place{node, key, key.Value}, e)
		v.SetMapIndex(reflect.ValueOf(key.Value).Convert(v.Type().Key()), e)
	}
	return true
}

// list reads a sequence into a slice. The slice is made in one piece, so that
// pointers into it, the keys of Positions, stay true.
func (d *decoder) list(p place, v reflect.Value) bool {
	if p.node.Kind != yaml.SequenceNode {
		return d.mismatch(p, v.Type(), "write it as a list: one entry a line, each after \"- \"")
	}
	v.Set(reflect.MakeSlice(v.Type(), len(p.node.Content), len(p.node.Content)))
	for i, n := range p.node.Content {
		d.value(place{node: n, in: p.in}, v.Index(i))
	}
	return true
}

func (d *decoder) integer(p place, v reflect.Value) bool {
	n := p.node
	if n.Tag != "!!int" {
		return d.mismatch(p, v.Type(), unquote(n))
	}
	digits, base := strings.TrimLeft(n.Value, "+-"), 10
	if h, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = h, 16
	} else if len(digits) > 1 && digits[0] == '0' || strings.Contains(digits, "_") {
		d.addf(d.pos(n), CodeValue, "write it in digits, without a leading zero, or as 0x and hexadecimal digits", "%s%s can be read in two ways", p.label(), quotable(n.Value))
		return false
	}
	if n.Value[0] == '-' {
		digits = "-" + digits
	}
	bits := v.Type().Bits()
	if v.CanInt() {
		if x, err := strconv.ParseInt(digits, base, bits); err == nil {
			v.SetInt(x)
			return true
		}
		lo, hi := int64(-1)<<(bits-1), int64(math.MaxInt64)>>(64-bits)
		d.addf(d.pos(n), CodeValue, "", "%s%s is outside %d to %d", p.label(), quotable(n.Value), lo, hi)
		return false
	}
	if x, err := strconv.ParseUint(digits, base, bits); err == nil {
		v.SetUint(x)
		return true
	}
	d.addf(d.pos(n), CodeValue, "", "%s%s is outside 0 to %d", p.label(), quotable(n.Value), uint64(math.MaxUint64)>>(64-bits))
	return false
}

func (d *decoder) duration(p place, v reflect.Value) bool {
	x, ok := ParseDuration(p.node.Value)
	if !ok {
		hint := ""
		if p.node.Tag == "!!int" || p.node.Tag == "!!float" {
			hint = "add the unit: ms, s, m, h or d"
		}
		return d.mismatch(p, v.Type(), hint)
	}
	v.SetInt(int64(x))
	return true
}

// ParseDuration reads "10s", "250ms", "1h30m" as time.ParseDuration does, and
// whole days as "90d". A number without a unit is not a duration, 0 included.
func ParseDuration(s string) (time.Duration, bool) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		const day = 24 * time.Hour
		n, err := strconv.ParseInt(days, 10, 64)
		if err != nil || n < math.MinInt64/int64(day) || n > math.MaxInt64/int64(day) {
			return 0, false
		}
		return time.Duration(n) * day, true
	}
	if s == "" || s[len(s)-1] >= '0' && s[len(s)-1] <= '9' {
		return 0, false
	}
	x, err := time.ParseDuration(s)
	return x, err == nil
}

// mismatch reports a wrong type; it returns false to be returned.
func (d *decoder) mismatch(p place, t reflect.Type, hint string) bool {
	at := p.node
	if p.key != nil && at.Kind == yaml.ScalarNode && at.Value == "" {
		at = p.key // nothing stands there: the key is what one can see
	}
	if hint == "" {
		hint = example(p, t)
	}
	d.addf(d.pos(at), CodeType, hint, "%sexpected %s, found %s", p.label(), expect(t), describe(p.node))
	return false
}

// unknown reports a key nobody knows and returns the one it probably means, ""
// if none.
func (d *decoder) unknown(p place, v reflect.Value, key *yaml.Node, fields []field) (meant string) {
	w := Problem{}
	if h, ok := v.Addr().Interface().(KeyHinter); ok {
		w, _ = h.KeyHint(key.Value)
	}
	if w.Msg == "" {
		w.Msg = "unknown key " + quote(key.Value) + p.within()
	}
	if w.Code == "" {
		w.Code = CodeUnknown
	}
	if w.Hint == "" {
		names := make([]string, len(fields))
		for i, f := range fields {
			names[i] = f.name
		}
		if near, ok := Nearest(key.Value, names); ok {
			w.Hint, meant = "did you mean "+quote(near)+"?", near
		} else {
			w.Hint = "allowed here: " + strings.Join(names, ", ")
		}
	}
	d.add(d.pos(key), w)
	return meant
}

// label starts a message about a value with its key.
func (p place) label() string {
	if p.key != nil {
		return p.key.Value + ": "
	}
	if p.in != "" {
		return "entry of " + p.in + ": "
	}
	return ""
}

// within says which group a key belongs to.
func (p place) within() string {
	switch {
	case p.key != nil:
		return " in " + p.key.Value
	case p.in != "":
		return " in this entry of " + p.in
	}
	return ""
}

type field struct {
	name     string
	index    []int
	required bool
}

func (d *decoder) fieldsOf(t reflect.Type) []field {
	fs, known := d.fields[t]
	if known {
		return fs
	}
	for _, f := range reflect.VisibleFields(t) {
		if name := f.Tag.Get("yaml"); f.IsExported() && !f.Anonymous && name != "" && name != "-" {
			fs = append(fs, field{name, f.Index, f.Tag.Get("required") == "true"})
		}
	}
	d.fields[t] = fs
	return fs
}

func find(fs []field, name string) (field, bool) {
	for _, f := range fs {
		if f.name == name {
			return f, true
		}
	}
	return field{}, false
}

// unquote is the hint for a number or truth value between quotation marks.
func unquote(n *yaml.Node) string {
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) == 0 {
		return ""
	}
	return "write it without quotation marks"
}

// expect says in plain words what a type is written as.
func expect(t reflect.Type) string {
	if t == durationType {
		return "a duration such as 10s"
	}
	switch t.Kind() {
	case reflect.String:
		return "text"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "a list"
	case reflect.Struct, reflect.Map:
		return "a group of keys"
	}
	return "a whole number"
}

// example says how the value of a key is written.
func example(p place, t reflect.Type) string {
	like := "7"
	switch {
	case t == durationType:
		like = "10s"
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		return "write its keys, each on a line of its own as in key: value"
	case t.Kind() == reflect.Bool:
		like = "true"
	case t.Kind() == reflect.String:
		like = "text"
	}
	if p.key == nil {
		return ""
	}
	return "write it as in " + p.key.Value + ": " + like
}

// describe says in plain words what stands in the file.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a group of keys"
	case yaml.SequenceNode:
		return "a list"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return "the number " + quotable(n.Value)
	case "!!bool":
		return quotable(n.Value)
	}
	return "the text " + quote(n.Value)
}

// quote puts what the user wrote between quotation marks, shortened and with
// nothing unprintable in it.
func quote(s string) string {
	return strconv.Quote(shorten(s))
}

// quotable is quote without the quotation marks.
func quotable(s string) string {
	q := strconv.Quote(shorten(s))
	return q[1 : len(q)-1]
}

func shorten(s string) string {
	const most = 40
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most]) + "…"
}
