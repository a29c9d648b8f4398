//go:build unix

package configs_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/configs"
)

// C-01, C-07: files that are none, with the exact words.
func TestFileFaults(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "tallystick.yaml"), good)
	write(t, filepath.Join(dir, "empty.yaml"), "")
	write(t, filepath.Join(dir, "big.yaml"), strings.Repeat("#", 10<<20))
	for link, target := range map[string]string{"a": "b", "b": "a", "null": "/dev/null"} {
		if err := os.Symlink(target, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"talystick.yaml": "E-120 the file does not exist → did you mean DIR/tallystick.yaml?",
		"other":          "E-120 the file does not exist → begin with one of configs/examples in the source; tallystick scan prints the lines and meters of a site file",
		"no/where":       "E-120 the file does not exist → the directory DIR/no cannot be read either: ls -ld DIR/no",
		"":               "E-121 this is a directory, expected a file → name the file in it: DIR/tallystick.yaml",
		"fifo":           "E-121 this is a device or a pipe, expected a file → see what it is: ls -l DIR/fifo",
		"null":           "E-121 this is a device or a pipe, expected a file → see what it is: ls -l DIR/null",
		"a":              "E-123 the symbolic links of this path lead in a circle → see where they lead: ls -l DIR/a",
		"empty.yaml":     "E-102 the file is empty → see configs/examples for a complete one",
		"big.yaml":       "E-103 the file has 10485760 bytes, at most 1048576 are read → this is probably not the file you mean: ls -l DIR/big.yaml",
	} {
		path := filepath.Join(dir, name)
		_, err := configs.LoadSite(path, nil)
		var e *configs.Error
		if !errors.As(err, &e) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := e.Error(), path+": "+strings.ReplaceAll(want, "DIR", dir); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if _, err := configs.LoadWatch(path); name != "" && (err == nil || err.Error() != e.Error()) {
			t.Errorf("a lender's file: %v", err)
		}
	}
	if _, err := configs.LoadSite("", nil); err == nil || err.Error() != ": E-120 no configuration file is named → name it: --config FILE" {
		t.Error(err)
	}
	if s, err := configs.LoadSite(filepath.Join(dir, "tallystick.yaml"), known); err != nil || s.Path != filepath.Join(dir, "tallystick.yaml") {
		t.Errorf("%v %v", s, err)
	}
}
