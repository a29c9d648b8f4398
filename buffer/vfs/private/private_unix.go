//go:build !windows

package private

import (
	"fmt"
	"io/fs"
	"os"
)

// Mkdir makes a directory of mode 0700. On Windows what is made in it later is
// private too, by inheritance.
func Mkdir(dir string) error { return os.Mkdir(dir, 0o700) }

// CreateTemp is os.CreateTemp: the file is private from its first moment.
func CreateTemp(dir, pattern string) (*os.File, error) { return os.CreateTemp(dir, pattern) }

// Exposed says how others may use the file at path, "" when they may not. Of its
// mode, the bits of open may not be set; they mean nothing on Windows.
func Exposed(path string, open fs.FileMode) (how string, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if mode := info.Mode().Perm(); mode&open != 0 {
		return fmt.Sprintf("mode %04o, expected 0600", mode), nil
	}
	return "", nil
}

// Close is the command with which its owner closes the file at path to others.
func Close(path string) string { return "chmod 600 " + path }
