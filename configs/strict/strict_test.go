package strict_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/configs/strict"
	"go.yaml.in/yaml/v3"
)

// factory is a destination with every kind of field.
type factory struct {
	Site  *site          `yaml:"site" required:"true"`
	Lines []line         `yaml:"lines"`
	Notes map[string]int `yaml:"notes"`
	PwF   string         `yaml:"password_file"`
	Skip  string
}

type site struct {
	Name  string `yaml:"name" required:"true"`
	Label string `yaml:"label"`
}

type line struct {
	Name     string        `yaml:"name" required:"true"`
	Port     string        `yaml:"port"`
	Unit     uint8         `yaml:"unit"`
	Offset   int16         `yaml:"offset"`
	Interval time.Duration `yaml:"interval"`
	On       bool          `yaml:"on"`
	Tags     []string      `yaml:"tags"`
	Speed    speed         `yaml:"speed"`
	Pair     pair          `yaml:"pair"`
}

func (l *line) Defaults() { l.Unit = 1 }

func (*line) KeyHint(key string) (strict.Problem, bool) {
	if key == "baudrate" {
		return strict.Problem{Hint: "write speed: 9600"}, true
	}
	return strict.Problem{}, false
}

type speed int

func (s *speed) UnmarshalText(b []byte) error {
	switch string(b) {
	case "slow":
		*s = 1
	case "secret":
		return strict.Problem{Code: "E-199", Msg: "not a speed", Hint: "write slow", Secret: true}
	default:
		return errors.New("expected slow")
	}
	return nil
}

// pair reads itself from "[a, 1]".
type pair struct {
	Word   string
	Number int
}

func (p *pair) UnmarshalNode(n strict.Node) {
	if n.Kind != yaml.SequenceNode || len(n.Content) != 2 {
		n.Fault(n.Node, strict.Problem{Msg: "expected a word and a number"})
		return
	}
	n.Decode(n.Content[0], &p.Word)
	n.Decode(n.Content[1], &p.Number)
}

func TestDecode(t *testing.T) {
	const text = "\ufeffsite: {name: 007, label: 示范一厂}\r\n" +
		"notes: {a: 1, b: -2}\r\n" +
		"password_file: no\r\n" +
		"lines:\r\n" +
		"  - name: a\r\n" +
		"  - {name: b, port: '', unit: 0xF7, offset: -300, interval: 90d, on: true, tags: [x, y], speed: slow, pair: [w, 3]}\r\n"
	var f factory
	at, faults := strict.DecodeAt("f.yaml", []byte(text), &f)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	got := fmt.Sprintf("%+v %+v %v %q", *f.Site, f.Lines, f.Notes, f.PwF)
	want := "{Name:007 Label:示范一厂} " +
		"[{Name:a Port: Unit:1 Offset:0 Interval:0s On:false Tags:[] Speed:0 Pair:{Word: Number:0}} " +
		"{Name:b Port: Unit:247 Offset:-300 Interval:2160h0m0s On:true Tags:[x y] Speed:1 Pair:{Word:w Number:3}}] map[a:1 b:-2] \"no\""
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for _, p := range []struct {
		field any
		want  string
	}{
		{&f.Site.Label, "f.yaml:1:26"},
		{&f.Lines, "f.yaml:5:3"},
		{&f.Lines[0].Name, "f.yaml:5:11"},
		{&f.Lines[1].Tags[1], "f.yaml:6:86"},
		{&f.Lines[1].Pair.Number, "f.yaml:6:113"},
		{&f.Lines[0].Port, "f.yaml"}, // not in the file
	} {
		if got := at.Of(p.field).String(); got != p.want {
			t.Errorf("position of %T %v: %s, want %s", p.field, p.field, got, p.want)
		}
	}
	if at.Has(&f.Lines[0].Port) || !at.Has(&f.Lines[1].Port) {
		t.Error("Has does not tell a given port from a missing one")
	}
	if got := at.Of(&f.Lines[0].Port, &f.Lines[0]).String(); got != "f.yaml:5:5" {
		t.Errorf("fallback to the entry: %s", got)
	}
}

// Every fault of one file, each at its place, in one reading.
func TestFaults(t *testing.T) {
	const text = `site: {nam: demo}
lines:
  - {name: a, unit: 300, interval: 10, on: yes, tags: x}
  - {name: b, unit: 010, interval: fast, on: "true", tags: [{}]}
  - name: c
    unit: "7"
    offset: -40000
    baudrate: 9600
    name: d
  - unit: 7.5
    name:
    speed: fast
    pair: [a]
    qqq: 1
  - {name: e, speed: secret, port: [1], unit: 1_0, pair: [a, b]}
  - text
linse: []
password: geheim
notes: [1]
? [a]
: b
`
	const want = `f:1:8: E-107 unknown key "nam" in site → did you mean "name"?
f:3:21: E-111 unit: 300 is outside 0 to 255
f:3:36: E-110 interval: expected a duration such as 10s, found the number 10 → add the unit: ms, s, m, h or d
f:3:44: E-110 on: expected true or false, found the text "yes" → write it as in on: true
f:3:55: E-110 tags: expected a list, found the text "x" → write it as a list: one entry a line, each after "- "
f:4:21: E-111 unit: 010 can be read in two ways → write it in digits, without a leading zero, or as 0x and hexadecimal digits
f:4:36: E-110 interval: expected a duration such as 10s, found the text "fast" → write it as in interval: 10s
f:4:46: E-110 on: expected true or false, found the text "true" → write it without quotation marks
f:4:61: E-110 entry of tags: expected text, found a group of keys
f:6:11: E-110 unit: expected a whole number, found the text "7" → write it without quotation marks
f:7:13: E-111 offset: -40000 is outside -32768 to 32767
f:8:5: E-107 unknown key "baudrate" in this entry of lines → write speed: 9600
f:9:5: E-108 key "name" is given twice, first at line 5 column 5 → keep one of them
f:10:11: E-110 unit: expected a whole number, found the number 7.5 → write it as in unit: 7
f:11:5: E-110 name: expected text, found nothing → write it as in name: text
f:12:12: E-111 speed: expected slow
f:13:11: E-111 expected a word and a number
f:14:5: E-107 unknown key "qqq" in this entry of lines → allowed here: name, port, unit, offset, interval, on, tags, speed, pair
f:15:22: E-199 speed: not a speed → write slow
f:15:36: E-110 port: expected text, found a list → write it as in port: text
f:15:47: E-111 unit: 1_0 can be read in two ways → write it in digits, without a leading zero, or as 0x and hexadecimal digits
f:15:62: E-110 expected a whole number, found the text "b"
f:16:5: E-110 entry of lines: expected a group of keys, found the text "text" → write its keys, each on a line of its own as in key: value
f:17:1: E-107 unknown key "linse" → did you mean "lines"?
f:18:1: E-107 unknown key "password" → did you mean "password_file"?
f:19:8: E-110 notes: expected a group of keys, found a list → write its keys, each on a line of its own as in key: value
f:20:3: E-104 a key must be a word, found a list
`
	var f factory
	at, faults := strict.DecodeAt("f", []byte(text), &f)
	if got := list(faults); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	if at.Has(&f.Lines[0].Unit) {
		t.Error("a value that does not fit has a position: a check of its meaning would report it again")
	}
}

func list(faults []strict.Fault) string {
	var b strings.Builder
	for _, f := range faults {
		b.WriteString(f.String() + "\n")
	}
	return b.String()
}

// What keeps the whole file from being read: one fault, at the mistake and not
// where the library noticed it.
func TestUnreadable(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "f: E-102 the file is empty"},
		{"comments only", "# only\n\n", "f: E-102 the file holds no settings, only blank lines or comments"},
		{"dashes only", "---\n", "f: E-102 the file holds no settings, only blank lines or comments"},
		{"list at top", "- a\n- b\n", "f:1:1: E-110 expected a group of keys, found a list"},
		{"UTF-16 with mark", "\xff\xfes\x00i\x00", "f: E-101 the file is UTF-16 text, expected UTF-8"},
		{"UTF-16 big-endian", "\xfe\xff\x00s\x00i", "f: E-101 the file is UTF-16 text, expected UTF-8"},
		{"UTF-16 bare", "s\x00i\x00t\x00e\x00:\x00", "f: E-101 the file is UTF-16 text, expected UTF-8"},
		{"GBK", "site:\n  label: \xb3\xa7\n", "f:2:10: E-101 byte 0xB3 is not UTF-8 text"},
		{"NUL", "site: {name: a}\n\x00\x00\x00", "f:2:1: E-101 a NUL byte stands in the file"},
		{"control", "site: {name: a\x07b}\n", "f:1:15: E-101 a control character (U+0007) stands in the file"},
		{"tab", "site:\n\tname: demo\n", "f:2:1: E-104 a tab stands before the text, expected spaces"},
		{"tab after spaces", "site:\n  name: demo\n  \tlabel: x\n", "f:3:3: E-104 a tab stands before the text, expected spaces"},
		{"no colon, value follows", "site:\n  name demo\n  label: x\n", `f:2:7: E-104 a colon is missing after "name"`},
		{"no colon, in the middle", "site:\n  name: demo\n  label x\nlines: []\n", `f:3:8: E-104 a colon is missing after "label"`},
		{"no colon, at the end", "site:\n  name: demo\n  label x\n", `f:3:8: E-104 a colon is missing after "label"`},
		{"no colon, group key", "site\n  name: demo\n", `f:1:5: E-104 a colon is missing after "site"`},
		{"no colon, after a byte order mark", "\ufeffsite\n  name: demo\n", `f:1:5: E-104 a colon is missing after "site"`},
		{"no colon, in a list", "lines:\n  - name: b\n    port: /dev/ttyUSB0\n    unit 7\n    on: true\n  - name: c\n", `f:4:9: E-104 a colon is missing after "unit"`},
		{"no colon, far above", "site:\n  name: a\n  # note\n\n\n  label\n\nlines: []\n", `f:6:8: E-104 a colon is missing after "label"`},
		{"no space", "site:\n  name:demo\n  label: x\n", "f:2:8: E-104 a space is missing after the colon"},
		{"equals sign", "site:\n  name = demo\n  label: x\n", `f:2:7: E-104 a colon is missing after "name"`},
		{"equals sign, no spaces", "site:\n  name=demo\n  label: x\n", `f:2:7: E-104 found = after "name", expected a colon and a space`},
		{"too deep", "site:\n  name: demo\n   label: x\n", "f:3:4: E-104 the line is indented further than the key above it, which already has a value"},
		{"between columns", "site:\n  name: demo\n label: x\n", "f:3:2: E-104 the line is indented to a column that no key or list above it uses"},
		{"too deep in a list", "lines:\n  - name: a\n     port: b\n", "f:3:6: E-104 the line is indented further than the key above it, which already has a value"},
		{"short in a list", "lines:\n  - name: a\n   port: b\n", "f:3:4: E-104 the line is indented to a column that no key or list above it uses"},
		{"dash column", "lines:\n  - name: a\n  port: b\n", "f:3:3: E-104 the line stands in the column of the dashes of the list above it"},
		{"dash short", "lines:\n  - name: a\n - name: b\n", "f:3:2: E-104 the line is indented to a column that no key or list above it uses"},
		{"dash deep", "lines:\n- name: b\n  - name: c\n", "f:3:3: E-104 the line is indented further than the key above it, which already has a value"},
		{"open brace", "site: {name: demo\nlines:\n  - {name: a}\n", "f:1:7: E-104 the bracket { is not closed"},
		{"open bracket at the end", "site:\n  name: a\n  label: [a, b\n", "f:3:10: E-104 the bracket [ is not closed"},
		{"wrong closer", "site: {name: demo}\nlines: [{name: a},\n  {name: c]\n", "f:3:3: E-104 the bracket { is not closed"},
		{"stray closer", "site:\n  name: a]\n  label: }\n", "f:3:10: E-104 a value cannot begin with }"},
		{"open quote in braces", "site: {name: \"demo, label: x}\nlines: []\n", "f:1:14: E-104 the quotation mark \" is not closed"},
		{"open quote in a block", "site:\n  name: 'demo\n  label: x\nlines: []\n", "f:2:9: E-104 the quotation mark ' is not closed"},
		{"open quote, another later", "site:\n  name: 'demo\n  label: 'x'\n", "f:2:9: E-104 the quotation mark ' is not closed"},
		{"text after quote", "site:\n  label: 'it's'\n", "f:2:14: E-104 text follows the closing quotation mark '"},
		{"backslash", "site:\n  label: \"C:\\data\"\n", "f:2:13: E-104 a backslash stands between double quotation marks"},
		{"second colon", "site:\n  name: demo: x\n", "f:2:13: E-104 a second colon stands on the line"},
		{"at sign", "site:\n  name: @demo\n", "f:2:9: E-104 a value cannot begin with @"},
		{"percent", "site:\n  name: %demo\n", "f:2:9: E-104 a value cannot begin with %"},
		{"alias to nothing", "site:\n  name: *demo\n", "f:2:9: E-106 an alias (*demo) is not allowed here"},
		{"alias", "site:\n  name: &a demo\n  label: *a\n", "f:2:9: E-106 an anchor (&a) is not allowed here"},
		{"alias bomb", "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\n", "f:1:1: E-107 unknown key"},
		{"tag", "site:\n  name: !!str demo\n", "f:2:9: E-106 a tag (!!str) is not allowed here"},
		{"second document", "site:\n  name: demo\n---\nsite: {}\n", "f:3:1: E-105 a second document begins here, a file holds one"},
		{"after the end", "site:\n  name: demo\n...\ngarbage: {\n", "f:4:1: E-105 text follows the line ... that ends the settings"},
		{"very deep", strings.Repeat("[", 40_000), "f:1:1: E-103 nested more than 10000 deep"},
		{"big", strings.Repeat("#", strict.MaxBytes+1), "f: E-103 the file has 1048577 bytes, at most 1048576 are read"},
		{"many", "lines: [" + strings.Repeat("{},", 300_000) + "]", "f: E-103 the file has about 600003 entries, at most 50000 are read"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var f factory
			faults := strict.Decode("f", []byte(c.text), &f)
			if len(faults) == 0 {
				t.Fatal("accepted")
			}
			if got := faults[0].String(); !strings.HasPrefix(got, c.want) {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
		})
	}
}

// A mistake in a line with a secret does not show the secret.
func TestSyntaxSecret(t *testing.T) {
	for _, text := range []string{"a: b\npassword = geheim\nc: d\n", "a: b\npassword geheim\nc: d\n", "password: 'geheim\n", "Password: geheim: x\n", "password: geheim\n  b: c\n"} {
		var f factory
		faults := strict.Decode("f", []byte(text), &f)
		var b strings.Builder
		strict.Render(&b, []byte(text), faults)
		if s := list(faults) + b.String(); len(faults) == 0 || strings.Contains(s, "geheim") {
			t.Errorf("%q: %s", text, s)
		}
	}
}

func TestDepth(t *testing.T) {
	var f factory
	faults := strict.Decode("f", []byte("site: {name: a, label: "+strings.Repeat("[", 30)+strings.Repeat("]", 30)+"}"), &f)
	const want = "f:1:24: E-110 label: expected text, found a list → write it as in label: text\nf:1:39: E-103 nested more than 16 deep\n"
	if got := list(faults); got != want {
		t.Errorf("got %s", got)
	}
}

func TestFaultsAreBounded(t *testing.T) {
	var f factory
	faults := strict.Decode("f", []byte("site: {name: a}\nlines:\n"+strings.Repeat("- 1\n", 5000)), &f)
	if n := len(faults); n != strict.MaxFaults+1 {
		t.Fatalf("%d faults listed", n)
	}
	if got := faults[strict.MaxFaults].String(); got != "f: E-103 4900 more faults are not listed → mend those above and check again" {
		t.Error(got)
	}
}

func TestNearest(t *testing.T) {
	known := []string{"name", "label", "line", "address", "profile", "interval", "password_file", "ct", "pt"}
	for word, want := range map[string]string{
		"adress": "address", "Address": "address", "passwordFile": "password_file", "password": "password_file",
		"intervall": "interval", "lines": "line", "lable": "label", "zzz": "", "": "", "x": "", "in": "",
		strings.Repeat("name", 1000): "",
	} {
		if got, ok := strict.Nearest(word, known); got != want || ok != (want != "") {
			t.Errorf("nearest to %.20q: %q %v, want %q", word, got, ok, want)
		}
	}
}

func TestParseDuration(t *testing.T) {
	for s, want := range map[string]time.Duration{"10s": 10 * time.Second, "250ms": 250 * time.Millisecond, "1h30m": 90 * time.Minute, "90d": 90 * 24 * time.Hour, "-1s": -time.Second, "0s": 0} {
		if got, ok := strict.ParseDuration(s); got != want || !ok {
			t.Errorf("%q: %v %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "0", "10", "s", "d", "1.5d", "10 s", "10sec", "9999999d", "106752d", "1e9h"} {
		if got, ok := strict.ParseDuration(s); ok {
			t.Errorf("%q is read as %v", s, got)
		}
	}
}
