package configs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/configs/strict"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestRender(t *testing.T) {
	_, err := configs.ParseSite("site.yaml", []byte(strings.ReplaceAll(good, "press-1", "冲压 一号")), profiles)
	var e *configs.Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := e.Render(&b); err != nil {
		t.Fatal(err)
	}
	const want = `site.yaml:5:11: E-130 name: expected a name of 1 to 32 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit, found "冲压 一号"
    5 |   - name: 冲压 一号
      |           ^
      → write a short name here and the full one, in any language, as label
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

func TestWarnings(t *testing.T) {
	text := strings.Replace(good, "meters:", "  - {name: idle, port: /dev/ttyUSB1}\nmeters:", 1) +
		"lenders:\n  - {name: a, broker: 'mqtt://broker', share: [energy], ack: puback}\n"
	s, err := configs.ParseSite("site.yaml", []byte(text), profiles)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.RenderFaults(&b, s.Warnings); err != nil {
		t.Fatal(err)
	}
	const want = `site.yaml:4:12: W-172 no meter is on line idle
    4 |   - {name: idle, port: /dev/ttyUSB1}
      |            ^
      → add a meter with line: idle, or remove the line
site.yaml:11:23: W-171 mqtt:// sends the readings unencrypted; anybody on this network can read them
   11 |   - {name: a, broker: 'mqtt://broker', share: [energy], ack: puback}
      |                       ^
      → write mqtts:// where the broker can do it
`
	if b.String() != want {
		t.Errorf("got\n%s", b.String())
	}
}

// C-05: a file found half-written is refused, the last good one is at hand.
func TestLastGood(t *testing.T) {
	etc, state := t.TempDir(), t.TempDir()
	path := write(t, filepath.Join(etc, "tallystick.yaml"), good+"key: my.key\n")
	if _, err := configs.LoadLastGood(state, path, known); err == nil || !strings.Contains(err.Error(), "E-120") {
		t.Fatalf("nothing was saved yet: %v", err)
	}
	s, err := configs.LoadSite(path, known)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.SaveLastGood(state); err != nil {
		t.Fatal(err)
	}
	saved := filepath.Join(state, "last-good.yaml")
	before, err := os.Stat(saved)
	if err != nil || before.Mode().Perm() != 0o600 {
		t.Fatal(before, err)
	}
	if err := s.SaveLastGood(state); err != nil { // the same again
		t.Fatal(err)
	}
	if after, err := os.Stat(saved); err != nil || !os.SameFile(before, after) {
		t.Error("the same copy was written twice")
	}

	write(t, path, good[:len(good)/2])
	if _, err := configs.LoadSite(path, known); err == nil {
		t.Fatal("half a file is accepted")
	}
	last, err := configs.LoadLastGood(state, path, known)
	if err != nil {
		t.Fatal(err)
	}
	if last.Digest() != s.Digest() || last.Key != filepath.Join(etc, "my.key") || last.Path != saved {
		t.Errorf("key %s, path %s", last.Key, last.Path)
	}

	write(t, path, good+"window: 30s\n")
	changed, err := configs.LoadSite(path, known)
	if err != nil {
		t.Fatal(err)
	}
	if err := changed.SaveLastGood(state); err != nil {
		t.Fatal(err)
	}
	if last, err := configs.LoadLastGood(state, path, known); err != nil || last.Digest() != changed.Digest() {
		t.Errorf("%v", err)
	}
	if files, _ := os.ReadDir(state); len(files) != 1 {
		t.Errorf("%v left behind", files)
	}
	if err := s.SaveLastGood(filepath.Join(state, "gone")); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
}

// C-06: secrets others can read are refused, and never shown.
func TestReadSecret(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string, mode fs.FileMode) string {
		path := write(t, filepath.Join(dir, name), text)
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, mode := range []fs.FileMode{0o600, 0o400, 0o640} {
		if got, err := configs.ReadSecret(file("good", "ge heim\r\n", mode)); got != "ge heim" || err != nil {
			t.Errorf("%o: %q %v", mode, got, err)
		}
		if err := os.Remove(filepath.Join(dir, "good")); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		file("world", "geheim", 0o644):                      "E-163 the password can be read or changed by others: mode 0644, expected 0600 → chmod 600 PATH, and change the password",
		file("group", "geheim", 0o660):                      "E-163 the password can be read or changed by others: mode 0660, expected 0600 → chmod 600 PATH, and change the password",
		file("blank", "\n", 0o600):                          "E-163 the file is empty, expected a password → write the password into it, alone on one line",
		file("two", "geheim\nb\n", 0o600):                   "E-163 the file has more than one line, expected only a password → write the password into it, alone on one line",
		file("long", strings.Repeat("geheim", 1000), 0o600): "E-163 the file has more than 4096 bytes, expected only a password",
		filepath.Join(dir, "none"):                          "E-120 the file does not exist → write the password into it, alone on one line, and: chmod 600 PATH",
		dir:                                                 "E-121 this is not a file, expected one that holds a password → see what it is: ls -l PATH",
	} {
		got, err := configs.ReadSecret(path)
		var f strict.Fault
		if got != "" || !errors.As(err, &f) {
			t.Errorf("%s: %q %v", path, got, err)
			continue
		}
		if want = path + ": " + strings.ReplaceAll(want, "PATH", path); f.Error() != want {
			t.Errorf("got  %s\nwant %s", f.Error(), want)
		}
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	path := write(t, filepath.Join(dir, "s.yaml"), good+
		"lenders:\n  - {name: a, broker: mqtts://h, share: [energy], ack: puback, username: u, password_file: pw}\n"+
		"  - {name: b, broker: mqtts://h, share: [energy], ack: puback}\n")
	s, err := configs.LoadSite(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	faults := s.CheckFiles()
	if len(faults) != 1 || !strings.HasPrefix(faults[0].String(), path+":10:92: E-120 "+filepath.Join(dir, "pw")+": the file does not exist → ") {
		t.Errorf("%v", faults)
	}
	write(t, filepath.Join(dir, "pw"), "geheim\n")
	if faults := s.CheckFiles(); faults != nil {
		t.Errorf("%v", faults)
	}
}

func TestWatchFaults(t *testing.T) {
	const text = `name: bank_a
broker: mqtts://h
patience: 1s
boxes:
  - {name: a, key: 'ed25519:PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw'}
  - {name: a, key: 'ed25519:PUAXw-hDiVqStwqnTRt-vJyYLM8uxJaMwM1V8Sr0Zgw'}
  - {name: c, public_key: x}
  - {name: d, key: x}
password: geheim
`
	const want = `w.yaml:1:7: E-130 name: expected a name of 1 to 32 of a-z, 0-9 and '-', beginning with a letter or digit, found "bank_a" → write bank-a, and the full name as label
w.yaml:3:11: E-161 patience: 1s is outside 10s to 7d
w.yaml:6:12: E-131 box name "a" is taken, first at line 5 column 12 → give one of the two another name
w.yaml:6:20: E-131 box a has the key of box a (line 5) → each box has a key of its own: print it there with tallystick key show
w.yaml:7:5: E-109 key "key" is missing in this entry of boxes → add it: key: ...
w.yaml:7:15: E-107 unknown key "public_key" in this entry of boxes → write key: ed25519:...
w.yaml:8:20: E-153 key: expected ed25519: and 43 letters, digits, - and _ (or es256: or sm2: and 86), found text without ed25519: before it → copy the line that tally-lender keygen (a lender's key) or tallystick key show (a box's key) prints
w.yaml:9:1: E-152 a secret stands in the file, as password: expected the name of a file that holds it → put it alone into a file of mode 0600, write password_file: FILE, and change it: it has been seen`
	_, err := configs.ParseWatch("w.yaml", []byte(text))
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v", err)
	}
	if _, err := configs.ParseWatch("w.yaml", []byte("name: a\nbroker: mqtts://h\nboxes: []\n")); err == nil || err.Error() != "w.yaml:3:8: E-109 the list is empty, expected at least one box → see configs/examples" {
		t.Error(err)
	}
}

// Raw frames are off unless a meter says otherwise, and shared only by name.
func TestRawFrames(t *testing.T) {
	off, err := configs.ParseSite("s.yaml", []byte(good), nil)
	if err != nil {
		t.Fatal(err)
	}
	lender := "lenders: [{name: bank, broker: 'mqtts://h', ack: puback, share: [energy, raw-frames]}]\n"
	on, err := configs.ParseSite("s.yaml", []byte(good+"    raw_frames: true\n"+lender), nil)
	if err != nil {
		t.Fatal(err)
	}
	if off.Meters[0].RawFrames || !on.Meters[0].RawFrames || slices.Contains(on.Channels, configs.RawFrames) {
		t.Errorf("off %v, on %v, channels %v", off.Meters[0].RawFrames, on.Meters[0].RawFrames, on.Channels)
	}
	if !slices.Contains(on.Lenders[0].Share, configs.RawFrames) {
		t.Errorf("share %v", on.Lenders[0].Share)
	}
	if on.Lenders = nil; on.Digest() == off.Digest() {
		t.Error("the digest does not tell whether frames are sealed")
	}
}
