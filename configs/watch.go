package configs

import (
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/configs/strict"
)

// Watch is the file of a lender's watcher, checked and complete like Site.
type Watch struct {
	Name LenderName `yaml:"name" required:"true"` // as in the site files of its boxes
	Key  string     `yaml:"key"`                  // file of the private key receipts are signed with
	Connection
	Directory string        `yaml:"directory"` // archive and state
	Boxes     []Box         `yaml:"boxes"`     // none before the first was accepted
	Patience  time.Duration `yaml:"patience"`  // how long a gap may stay open before it is reported

	File
	Warnings []strict.Fault // what is allowed but ought to be looked at
}

// Box is one gateway the lender trusts to be what it says: its pinned key.
type Box struct {
	Name  Name      `yaml:"name" required:"true"`
	Label Label     `yaml:"label"`
	Key   PublicKey `yaml:"key" required:"true"`
}

// Defaults implements strict.Defaulter.
func (w *Watch) Defaults() { w.Directory, w.Patience = DefaultWatchDir, DefaultPatience }

// KeyHint implements strict.KeyHinter.
func (*Watch) KeyHint(key string) (strict.Problem, bool) { return connectionHint(key) }

// KeyHint implements strict.KeyHinter.
func (*Box) KeyHint(key string) (strict.Problem, bool) {
	switch plainKey(key) {
	case "publickey", "pubkey":
		return strict.Problem{Hint: "write key: ed25519:..."}, true
	}
	return strict.Problem{}, false
}

// LoadWatch reads and checks a lender's file. A fault comes back as an *Error
// with all the others.
func LoadWatch(path string) (*Watch, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return ParseWatch(path, data)
}

// ParseWatch is LoadWatch of a file already read.
func ParseWatch(path string, data []byte) (*Watch, error) {
	w := &Watch{}
	c := decode(path, data, w)
	w.File = c.file
	if c.meaningful(w) {
		c.watch(w)
	}
	w.Warnings = c.warnings
	return finish(c, w)
}

// watch checks the meaning of a lender's file.
func (c *checker) watch(w *Watch) {
	c.count(len(w.Boxes), MaxBoxes, "boxes", &w.Boxes) // looking at each costs little
	c.some(len(w.Boxes), "box", &w.Boxes)
	taken := c.names("box")
	keys := make(map[PublicKey]*Box)
	for i := range w.Boxes {
		b := &w.Boxes[i]
		taken(string(b.Name), &b.Name)
		if !c.at.Has(&b.Key) {
			continue
		}
		if first := keys[b.Key]; first != nil {
			c.fault(&b.Key, CodeTaken, "each box has a key of its own: print it there with tallystick key show",
				"box %s has the key of box %s (line %d)", b.Name, first.Name, c.at.Of(&first.Key).Line)
			continue
		}
		keys[b.Key] = b
	}
	c.connection(&w.Connection)
	c.path(&w.Directory)
	if w.Key == "" {
		w.Key = filepath.Join(w.Directory, DefaultWatchKeyFile)
	}
	c.path(&w.Key)
	c.between("patience", &w.Patience, CodeTime, MinPatience, MaxPatience)
}

// AppendBox adds a box to the text of a lender's file, its comments kept. ok is
// false where that is not to be had by adding lines after the last box.
func AppendBox(path string, data []byte, name, key string) (text []byte, ok bool) {
	before, err := ParseWatch(path, data)
	if err != nil {
		return nil, false
	}
	lines := strings.SplitAfter(string(data), "\n")
	if len(before.Boxes) == 0 {
		text = append(data[:len(data):len(data)], []byte("\nboxes:\n  - name: "+name+"\n    key: "+key+"\n")...)
		return text, added(path, before, text, name, key)
	}
	pos := before.Position(&before.Boxes[len(before.Boxes)-1].Key)
	first := before.Position(&before.Boxes[0])
	if pos.Line < 1 || pos.Line > len(lines) || first.Line < 1 {
		return nil, false
	}
	indent := strings.Repeat(" ", max(0, strings.Index(lines[first.Line-1], "-")))
	at := pos.Line
	for at < len(lines) && strings.HasPrefix(lines[at], indent+"  ") { // the rest of that box
		at++
	}
	entry := indent + "- name: " + name + "\n" + indent + "  key: " + key + "\n"
	if at > 0 && !strings.HasSuffix(lines[at-1], "\n") {
		entry = "\n" + entry
	}
	text = []byte(strings.Join(lines[:at], "") + entry + strings.Join(lines[at:], ""))
	return text, added(path, before, text, name, key)
}

// added reports whether text says what before said, and the box.
func added(path string, before *Watch, text []byte, name, key string) bool {
	after, err := ParseWatch(path, text)
	if err != nil || len(after.Boxes) != len(before.Boxes)+1 {
		return false
	}
	last := after.Boxes[len(after.Boxes)-1]
	return string(last.Name) == name && last.Key.String() == key && after.Name == before.Name && after.Broker == before.Broker
}
