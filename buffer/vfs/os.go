package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/buffer/vfs/private"
)

// lockName is the file whose lock stands for the directory. It holds the
// owner's process number in decimal and is never removed: removing it would
// let two processes lock two files of the same name.
const lockName = "lock"

type osFS struct{}

// OS returns the file system of the machine.
func OS() FS { return osFS{} }

func (osFS) Create(name string) (File, error) {
	return open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC)
}
func (osFS) Open(name string) (File, error)       { return open(name, os.O_RDWR) }
func (osFS) OpenRead(name string) (File, error)   { return open(name, os.O_RDONLY) }
func (osFS) Remove(name string) error             { return os.Remove(name) }
func (osFS) Rename(oldname, newname string) error { return rename(oldname, newname) }
func (osFS) SyncDir(dir string) error             { return syncDir(dir) }

func (osFS) ReadDir(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.Type().IsRegular() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func (osFS) Size(name string) (int64, error) {
	fi, err := os.Stat(name)
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}

func (f osFS) MkdirAll(dir string) error {
	dir = filepath.Clean(dir)
	fi, err := os.Stat(dir)
	if err == nil {
		if !fi.IsDir() {
			return fmt.Errorf("mkdir %s: a file of that name is in the way", dir)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := f.MkdirAll(parent); err != nil {
		return err
	}
	if err := private.Mkdir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(parent)
}

func (osFS) Lock(dir string) (io.Closer, error) {
	name := filepath.Join(dir, lockName)
	f, err := lockFile(name)
	if errors.Is(err, errHeld) {
		text, _ := os.ReadFile(name) // without a number the error still says enough
		pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
		return nil, &LockedError{Dir: dir, PID: pid}
	}
	if err != nil {
		return nil, err
	}
	// The number only helps people: a disk too full to take it must not keep
	// the owner from opening its log and freeing space.
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	if err != nil && !NoSpace(err) {
		f.Close()
		return nil, err
	}
	return f, nil
}

// errHeld is lockFile's answer when another process holds the lock.
var errHeld = errors.New("lock is held")

type osFile struct{ *os.File }

func open(name string, flag int) (File, error) {
	f, err := openFile(name, flag)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (f osFile) Size() (int64, error) {
	fi, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return fi.Size(), nil
}
