package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestPrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "own")
	if err := Mkdir(dir); err != nil {
		t.Fatal(err)
	}
	if err := Mkdir(dir); !errors.Is(err, fs.ErrExist) {
		t.Errorf("twice: %v", err)
	}
	if err := Mkdir(filepath.Join(dir, "a", "b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in none: %v", err)
	}
	f, err := CreateTemp(dir, ".key-*")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if ok, _ := filepath.Match(filepath.Join(dir, ".key-?*"), f.Name()); !ok {
		t.Errorf("named %s", f.Name())
	}
	if _, err := f.WriteString("secret"); err != nil {
		t.Error(err)
	}
	for _, path := range []string{f.Name(), dir} {
		if how, err := Exposed(path, 0o077); how != "" || err != nil {
			t.Errorf("%s: %s %v", path, how, err)
		}
	}
	if _, err := Exposed(filepath.Join(dir, "none"), 0o077); !errors.Is(err, fs.ErrNotExist) {
		t.Error(err)
	}
	if c := Close("x y"); !strings.Contains(c, "x y") {
		t.Error(c)
	}
}

func TestExposed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "open.key")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	letOthersRead(t, path)
	if how, err := Exposed(path, 0o077); !strings.Contains(how, "expected") || err != nil {
		t.Errorf("%q, %v", how, err)
	}
}
