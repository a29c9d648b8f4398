package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
)

func TestFilesArePrivate(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("no modes")
	}
	dir := filepath.Join(t.TempDir(), "a", "b")
	fsys := OS()
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := fsys.MkdirAll(dir); err != nil {
		t.Fatalf("second time: %v", err)
	}
	f, err := fsys.Create(filepath.Join(dir, "x"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	lock, err := fsys.Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close()
	for name, want := range map[string]fs.FileMode{"": 0o700, "..": 0o700, "x": 0o600, lockName: 0o600} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != want {
			t.Errorf("%q: %v, %v, want %v", name, fi.Mode(), err, want)
		}
	}
}

func TestFileOperations(t *testing.T) {
	dir, fsys := t.TempDir(), OS()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	if _, err := fsys.Open(a); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	f, err := fsys.Create(a)
	if err != nil {
		t.Fatal(err)
	}
	f.WriteAt([]byte("hello"), 3)
	f.Truncate(6)
	if n, err := f.Size(); n != 6 || err != nil || f.Sync() != nil || f.Close() != nil {
		t.Fatal(n, err)
	}
	os.Mkdir(filepath.Join(dir, "sub"), 0o700)
	if err := errors.Join(fsys.Rename(a, b), fsys.SyncDir(dir)); err != nil {
		t.Fatal(err)
	}
	if n, err := fsys.Size(b); n != 6 || err != nil {
		t.Fatal(n, err)
	}
	if names, err := fsys.ReadDir(dir); err != nil || !slices.Equal(names, []string{"b"}) {
		t.Fatal(names, err)
	}
	r, err := fsys.OpenRead(b)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.WriteAt([]byte("x"), 0); err == nil {
		t.Error("wrote to a file open for reading")
	}
	if err := fsys.Remove(b); err != nil {
		t.Error(err)
	}
	if err := fsys.MkdirAll(filepath.Join(dir, "sub", "..", "sub")); err != nil {
		t.Error(err)
	}
}

func TestMkdirOverFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x")
	os.WriteFile(name, nil, 0o600)
	if err := OS().MkdirAll(name); err == nil || !strings.Contains(err.Error(), name) {
		t.Error(err)
	}
}

func TestLockNamesItsHolder(t *testing.T) {
	dir := t.TempDir()
	lock, err := OS().Lock(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = OS().Lock(dir)
	var held *LockedError
	if !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("lock %s: in use by process %d", dir, os.Getpid()); err.Error() != want {
		t.Errorf("%q, want %q", err, want)
	}
	if got := (&LockedError{Dir: "d"}).Error(); got != "lock d: in use by another process" {
		t.Error(got)
	}
	lock.Close()
	again, err := OS().Lock(dir)
	if err != nil {
		t.Fatalf("after the holder has gone: %v", err)
	}
	again.Close()
}

func TestNoSpace(t *testing.T) {
	if !NoSpace(&fs.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}) || NoSpace(syscall.EIO) || NoSpace(nil) {
		t.Error("ENOSPC and nothing else is want of space")
	}
}
