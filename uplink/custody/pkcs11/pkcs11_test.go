package pkcs11

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPIN(t *testing.T) {
	for name, c := range map[string]struct {
		file string
		mode os.FileMode
		env  string
		pin  string
		want string // of the error
	}{
		"from a file":         {"4711\n", 0o600, "", "4711", ""},
		"file before env":     {"4711", 0o400, "0815", "4711", ""},
		"spaces belong to it": {" 47 11 \r\n", 0o600, "", " 47 11 ", ""},
		"others can read":     {"4711", 0o640, "", "", "mode 0640, expected 0600"},
		"empty":               {"\n", 0o600, "", "", "is empty"},
		"long":                {strings.Repeat("4711", 65), 0o600, "", "", "over 256 bytes"},
		"two lines":           {"4711\n0815\n", 0o600, "", "", "several lines"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "pin")
			if err := os.WriteFile(path, []byte(c.file), c.mode); err != nil {
				t.Fatal(err)
			}
			t.Setenv(PINVariable, c.env)
			pin, err := Config{PINFile: path}.pin()
			if pin != c.pin || (err == nil) != (c.want == "") {
				t.Fatalf("PIN %q, error %v; want %q, %q", pin, err, c.pin, c.want)
			}
			if err != nil && (!strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "4711")) {
				t.Fatalf("error %q, want one about %q that does not tell the PIN", err, c.want)
			}
		})
	}
	t.Setenv(PINVariable, "0815")
	if pin, err := (Config{}).pin(); err != nil || pin != "0815" {
		t.Fatalf("from the environment: %q, %v", pin, err)
	}
	t.Setenv(PINVariable, "")
	if _, err := (Config{}).pin(); err == nil || !strings.Contains(err.Error(), PINVariable) {
		t.Fatalf("no PIN: %v", err)
	}
	if _, err := (Config{PINFile: t.TempDir()}).pin(); err == nil {
		t.Fatal("a directory as PIN file is accepted")
	}
}

func TestPoint(t *testing.T) {
	xy := bytes.Repeat([]byte{7}, 64)
	bare := append([]byte{4}, xy...)
	for _, good := range [][]byte{bare, append([]byte{4, 65}, bare...)} {
		if got, err := point(good); err != nil || !bytes.Equal(got, xy) {
			t.Errorf("point %x: %x, %v", good, got, err)
		}
	}
	for _, bad := range [][]byte{nil, {4}, xy, bare[:64], append([]byte{4, 64}, bare...), append([]byte{2}, xy...), append(bare, 0)} {
		if got, err := point(bad); err == nil {
			t.Errorf("point %x is taken for %x", bad, got)
		}
	}
}

func FuzzPoint(f *testing.F) {
	f.Add(append([]byte{4, 65, 4}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, attribute []byte) {
		if xy, err := point(attribute); err == nil && (len(xy) != 64 || !bytes.HasSuffix(attribute, xy)) {
			t.Fatalf("point %x is taken for %x", attribute, xy)
		}
	})
}
