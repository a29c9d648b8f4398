package evidence_test

import (
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

const cddlFile = "evidence.cddl"

// TestOneCDDL: the file is what SPEC.md section 18 prints.
func TestOneCDDL(t *testing.T) {
	file, err := os.ReadFile(cddlFile)
	if err != nil {
		t.Fatal(err)
	}
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(spec), "\n```cddl\n")
	block, _, _ := strings.Cut(rest, "```\n")
	if block != string(file) {
		t.Error("evidence.cddl and the block of SPEC.md section 18 differ: change both")
	}
}

// notStructure are the vectors that are refused for something CDDL does not say.
var notStructure = map[string]string{
	"bad-beacon-order":   "order of a list",
	"bad-beacon-twice":   "order of a list",
	"bad-map-order":      "deterministic encoding",
	"bad-trailing-body":  "inside the body of a block",
	"bad-varint":         "inside the body of a block",
	"bad-exceptions":     "inside the body of a block",
	"bad-key-off-curve":  "a point of the curve",
	"bad-ed25519-key":    "a point of the curve",
	"bad-genesis-root":   "the hash of nothing",
	"bad-suite-of-key":   "suite and key record belong together",
	"bad-rotation-suite": "the suite never changes",
	"bad-record-order":   "deterministic encoding",
	"bad-record-lender":  "the form of a name",
}

// TestCDDLOfVectors: every vector but the bad ones follows evidence.cddl, and of
// the bad ones those do not whose structure is at fault.
func TestCDDLOfVectors(t *testing.T) {
	g := readCDDL(t)
	paths, err := filepath.Glob("testdata/vectors/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal(err, len(paths))
	}
	seen := map[string]bool{}
	for _, path := range paths {
		name := strings.TrimSuffix(filepath.Base(path), ".txt")
		v := readVectorFile(t, path)
		bad := strings.HasPrefix(name, "bad-")
		faults := g.vector(v, bad)
		reason, excused := notStructure[name]
		seen[name] = true
		switch {
		case strings.HasPrefix(name, "newer-"): // what a later version may change is not ours to say
		case bad && excused && len(faults) > 0:
			t.Errorf("%s: listed as %q, but the CDDL refuses it: %v", name, reason, faults)
		case bad && !excused && len(faults) == 0:
			t.Errorf("%s: the CDDL takes it", name)
		case !bad && len(faults) > 0:
			t.Errorf("%s: %v", name, faults)
		}
	}
	for name := range notStructure {
		if !seen[name] {
			t.Errorf("%s is no vector", name)
		}
	}
}

// A vectorFile is a file of testdata/vectors; its README describes the headers.
type vectorFile struct {
	head     map[string]string
	messages [][]byte
}

func readVectorFile(t *testing.T, path string) vectorFile {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := vectorFile{head: map[string]string{}}
	head, body, _ := strings.Cut(string(text), "\n\n")
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		v.head[key] = value
	}
	for line := range strings.Lines(body) {
		b, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		v.messages = append(v.messages, b)
	}
	return v
}

// vector lists what of a vector does not follow the grammar. Messages cut short,
// bundles and receipts that are damaged are looked at in bad vectors alone.
func (g cddl) vector(v vectorFile, bad bool) (faults []error) {
	take := func(rule string, b []byte) {
		if err := g.check(rule, b); err != nil {
			faults = append(faults, err)
		}
	}
	if meta, ok := v.head["meta"]; ok {
		b, _ := hex.DecodeString(meta)
		take("meta", b)
	}
	expect := strings.Fields(v.head["expect"])
	for i, m := range v.messages {
		switch {
		case v.head["kind"] == "stream" && (bad || !strings.HasPrefix(expect[i], "unreadable")):
			take("delivery", m)
		case v.head["kind"] == "receipt" && expect[i] != "format":
			take("message", m)
		case v.head["kind"] == "bundle" && expect[i] == "verified":
			for rule := "bundle-header"; len(m) > 0; rule = "delivery" {
				var item []byte
				rest, err := cbor.UnmarshalFirst(m, &item)
				if err != nil {
					return append(faults, err)
				}
				take(rule, item)
				m = rest
			}
		}
	}
	return faults
}

// cddl is a grammar in the part of RFC 8610 that evidence.cddl uses: choices,
// ranges, arrays, maps, groups, occurrences, tag 18, .size and .cbor.
type cddl map[string]node

// node is one construct.
type node struct {
	op   string // "or", "range", "literal", "name", "map", "array", "group", "tag", "size", "cbor"
	kids []node
	text string // of a name or text literal
	n    int64  // of a number; the largest uint64 is -1 here and unsigned
	big  bool
	// As an entry of a group:
	key      *node
	lo, hi   int
	anything bool // the key is a type, not one value
}

var cddlToken = regexp.MustCompile(`"[^"]*"|#6\.18|=>|\.\.|\.size|\.cbor|\d+\*\d+|-?\d+|[a-z][a-z0-9-]*|[][(){}=/,:?*+]`)

type cddlParser struct {
	t     *testing.T
	words []string
}

func readCDDL(t *testing.T) cddl {
	t.Helper()
	text, err := os.ReadFile(cddlFile)
	if err != nil {
		t.Fatal(err)
	}
	rules := regexp.MustCompile(";.*").ReplaceAllString(string(text), "")
	p := &cddlParser{t: t, words: cddlToken.FindAllString(rules, -1)}
	if left := strings.TrimSpace(cddlToken.ReplaceAllString(rules, "")); left != "" {
		t.Fatalf("cannot read %q", left)
	}
	g := cddl{"uint": {op: "uint"}, "tstr": {op: "tstr"}, "bstr": {op: "bstr"}, "bool": {op: "bool"}, "int": {op: "int"}, "null": {op: "null"}}
	for len(p.words) > 0 {
		name := p.next()
		p.want("=")
		if _, twice := g[name]; twice {
			t.Fatalf("rule %s stands there twice", name)
		}
		g[name] = p.choice()
	}
	return g
}

func (p *cddlParser) at(i int) string {
	if i < len(p.words) {
		return p.words[i]
	}
	return ""
}

func (p *cddlParser) next() string {
	w := p.at(0)
	p.words = p.words[1:]
	return w
}

func (p *cddlParser) want(w string) {
	if got := p.next(); got != w {
		p.t.Fatalf("%q expected, found %q before %q", w, got, p.words[:min(len(p.words), 8)])
	}
}

func (p *cddlParser) choice() node {
	kids := []node{p.controlled()}
	for p.at(0) == "/" {
		p.next()
		kids = append(kids, p.controlled())
	}
	if len(kids) == 1 {
		return kids[0]
	}
	return node{op: "or", kids: kids}
}

func (p *cddlParser) controlled() node {
	a := p.simple()
	if op, ok := map[string]string{"..": "range", ".size": "size", ".cbor": "cbor"}[p.at(0)]; ok {
		p.next()
		b := p.simple()
		return node{op: op, kids: []node{a, b}}
	}
	return a
}

func (p *cddlParser) simple() node {
	switch w := p.next(); {
	case w == "{":
		return node{op: "map", kids: p.entries("}")}
	case w == "[":
		return node{op: "array", kids: p.entries("]")}
	case w == "(":
		kids := p.entries(")")
		if len(kids) == 1 && kids[0].key == nil { // a type in brackets
			return kids[0].kids[0]
		}
		return node{op: "group", kids: kids}
	case w == "#6.18":
		return node{op: "tag", kids: []node{p.simple()}}
	case w[0] == '"':
		return node{op: "literal", text: strings.Trim(w, `"`)}
	case w == "18446744073709551615":
		return node{op: "literal", n: -1, big: true}
	case w[0] == '-' || w[0] >= '0' && w[0] <= '9':
		n, err := strconv.ParseInt(w, 10, 64)
		if err != nil {
			p.t.Fatal(err)
		}
		return node{op: "literal", n: n}
	default:
		return node{op: "name", text: w}
	}
}

// entries are those of a map, array or group; each holds its type as its kid.
func (p *cddlParser) entries(end string) (list []node) {
	for p.at(0) != end {
		e := node{op: "entry", lo: 1, hi: 1}
		const many = 1 << 30
		switch w := p.at(0); {
		case w == "?":
			e.lo = 0
			p.next()
		case w == "*":
			e.lo, e.hi = 0, many
			p.next()
		case w == "+":
			e.hi = many
			p.next()
		case strings.Contains(w, "*"):
			fmt.Sscanf(p.next(), "%d*%d", &e.lo, &e.hi)
		}
		value := p.choice()
		if w := p.at(0); w == ":" || w == "=>" {
			p.next()
			key := value
			value = p.choice()
			e.key, e.anything = &key, w == "=>" && key.op != "literal"
		}
		e.kids = []node{value}
		list = append(list, e)
		if p.at(0) == "," {
			p.next()
		}
	}
	p.want(end)
	return list
}

// check says why the bytes b are not one item of the rule.
func (g cddl) check(rule string, b []byte) error { return g.cbor(node{op: "name", text: rule}, b) }

func (g cddl) cbor(n node, b []byte) error {
	mode, err := cbor.DecOptions{DupMapKey: cbor.DupMapKeyEnforcedAPF}.DecMode()
	if err != nil {
		return err
	}
	var v any
	if err := mode.Unmarshal(b, &v); err != nil {
		return err
	}
	return g.match(n, v)
}

func (g cddl) match(n node, v any) error {
	no := func() error { return fmt.Errorf("%.40v is no %s %s", v, n.op, n.text) }
	switch n.op {
	case "name":
		rule, ok := g[n.text]
		if !ok {
			return fmt.Errorf("no rule %s", n.text)
		}
		if err := g.match(rule, v); err != nil {
			return fmt.Errorf("%s: %w", n.text, err)
		}
		return nil
	case "or":
		var err error
		for _, k := range n.kids {
			if err = g.match(k, v); err == nil {
				return nil
			}
		}
		return err
	case "any":
		return nil
	case "literal":
		if n.text != "" && v == n.text || n.text == "" && !n.big && (v == n.n || n.n >= 0 && v == uint64(n.n)) {
			return nil
		}
	case "uint":
		if _, ok := v.(uint64); ok {
			return nil
		}
	case "int":
		_, negative := v.(int64)
		if _, ok := v.(uint64); ok || negative {
			return nil
		}
	case "null":
		if v == nil {
			return nil
		}
	case "bool":
		if _, ok := v.(bool); ok {
			return nil
		}
	case "tstr":
		if _, ok := v.(string); ok {
			return nil
		}
	case "bstr":
		switch v.(type) {
		case []byte, cbor.ByteString: // the latter as a key
			return nil
		}
	case "range":
		lo, hi := n.kids[0], n.kids[1]
		switch v := v.(type) {
		case uint64:
			if (lo.n < 0 || v >= uint64(lo.n)) && v <= uint64(hi.n) {
				return nil
			}
		case int64: // negative
			if v >= lo.n {
				return nil
			}
		}
	case "size":
		if err := g.match(n.kids[0], v); err != nil {
			return err
		}
		b, _ := v.([]byte)
		s, _ := v.(string)
		return g.match(n.kids[1], uint64(len(b)+len(s)))
	case "cbor":
		if b, ok := v.([]byte); ok {
			return g.cbor(n.kids[1], b)
		}
	case "tag":
		if tag, ok := v.(cbor.Tag); ok && tag.Number == 18 {
			return g.match(n.kids[0], tag.Content)
		}
	case "array":
		if list, ok := v.([]any); ok {
			return g.array(g.flat(n.kids), list)
		}
	case "map":
		if m, ok := v.(map[any]any); ok {
			return g.object(n.kids, maps.Clone(m))
		}
	}
	return no()
}

// flat puts the entries of groups that stand once in the place of their names.
func (g cddl) flat(entries []node) (all []node) {
	for _, e := range entries {
		if group := g[e.kids[0].text]; e.key == nil && e.kids[0].op == "name" && group.op == "group" {
			all = append(all, g.flat(group.kids)...)
		} else {
			all = append(all, e)
		}
	}
	return all
}

func (g cddl) array(entries []node, list []any) error {
	for _, e := range entries {
		n := 0
		var err error
		for ; n < e.hi && len(list) > 0; n++ {
			if err = g.match(e.kids[0], list[0]); err != nil {
				break
			}
			list = list[1:]
		}
		if n < e.lo {
			return fmt.Errorf("array: %d of at least %d: %v", n, e.lo, err)
		}
	}
	if len(list) > 0 {
		return fmt.Errorf("array: %d items too many, or %w", len(list), g.match(entries[len(entries)-1].kids[0], list[0]))
	}
	return nil
}

// object takes the entries out of m, which must be empty in the end.
func (g cddl) object(entries []node, m map[any]any) error {
	for _, e := range g.flat(entries) {
		switch {
		case e.key == nil: // a group in brackets, all of it or nothing
			if _, any := g.lookup(m, e.kids[0].kids[0].key); !any && e.lo == 0 {
				continue
			}
			with := slices.Concat(e.kids[0].kids, []node{{op: "entry", hi: 1 << 30, key: &node{op: "any"}, anything: true, kids: []node{{op: "any"}}}})
			if err := g.object(with, maps.Clone(m)); err != nil {
				return err
			}
			for _, k := range e.kids[0].kids {
				key, _ := g.lookup(m, k.key)
				delete(m, key)
			}
		case e.anything:
			for k, v := range m {
				if g.match(*e.key, k) != nil {
					continue
				}
				if err := g.match(e.kids[0], v); err != nil {
					return fmt.Errorf("key %v: %w", k, err)
				}
				delete(m, k)
			}
		default:
			key, ok := g.lookup(m, e.key)
			if !ok && e.lo > 0 {
				return fmt.Errorf("key %d is missing", e.key.n)
			}
			if !ok {
				continue
			}
			if err := g.match(e.kids[0], m[key]); err != nil {
				return fmt.Errorf("key %v: %w", key, err)
			}
			delete(m, key)
		}
	}
	for k := range m {
		return fmt.Errorf("key %v is one too many", k)
	}
	return nil
}

func (g cddl) lookup(m map[any]any, key *node) (any, bool) {
	for k := range m {
		if g.match(*key, k) == nil {
			return k, true
		}
	}
	return nil, false
}
