// Package vfs is the small part of a file system that a durable log needs, as
// an interface, so that the same log runs on the machine's disk (OS) and on
// one that can crash, fill up and fail on demand (package crashfs).
package vfs

import (
	"fmt"
	"io"
)

// FS is a file system. Names are paths in the manner of package filepath.
// All methods may be called from several goroutines. Errors for missing and
// existing files satisfy errors.Is with fs.ErrNotExist and fs.ErrExist; an
// error for want of space satisfies NoSpace.
//
// Nothing but what is said here may be taken as durable: Create, Rename and
// Remove survive a crash for certain only after SyncDir of the directory, and
// until then each of them may or may not, in any order.
type FS interface {
	// Create makes an empty file of mode 0600, or empties an existing one,
	// and opens it for reading and writing. On Windows it is as private as
	// the directory, which is when MkdirAll made it.
	Create(name string) (File, error)
	// Open opens an existing file for reading and writing.
	Open(name string) (File, error)
	// OpenRead opens an existing file for reading.
	OpenRead(name string) (File, error)
	Remove(name string) error
	// Rename replaces newname if it exists. After a crash the directory
	// shows either the state before or the state after, never neither.
	Rename(oldname, newname string) error
	// ReadDir returns the names of the plain files in dir, sorted.
	ReadDir(dir string) ([]string, error)
	// Size returns the length of a file in bytes.
	Size(name string) (int64, error)
	// MkdirAll makes dir and its missing parents with mode 0700. They are
	// durable when it returns.
	MkdirAll(dir string) error
	// SyncDir makes the directory's entries durable. When it fails nothing
	// is known about them, now and after any later success.
	SyncDir(dir string) error
	// Lock takes dir for this process alone until the result is closed or the
	// process ends, however it ends. When another one holds it the error is a
	// *LockedError.
	Lock(dir string) (io.Closer, error)
}

// File is one open file. ReadAt may be called from several goroutines, beside
// everything but Close.
type File interface {
	io.ReaderAt
	// WriteAt writes at an absolute offset. On an error any part of p may
	// have been written. What is written is durable only after Sync.
	io.WriterAt
	// Sync makes content and length durable. When it fails the unsynced
	// writes may be lost although they still read back, and a later Sync that
	// succeeds proves nothing about them: never retry, reopen.
	Sync() error
	Truncate(size int64) error
	Size() (int64, error)
	io.Closer
}

// LockedError says who holds a directory.
type LockedError struct {
	Dir string
	PID int // 0 when the holder left no number
}

func (e *LockedError) Error() string {
	holder := "another process"
	if e.PID != 0 {
		holder = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("lock %s: in use by %s", e.Dir, holder)
}
