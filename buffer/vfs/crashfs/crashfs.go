// Package crashfs is a file system in memory that forgets: what was not
// synced may survive a crash wholly, in part, torn or not at all. It is
// stricter than any real file system and follows package vfs to the letter.
// It also fills up and fails on demand. For tests only.
//
// The model. An fsync makes one file's bytes and length durable, nothing
// else; names become durable by SyncDir alone. Pending changes of a file survive
// per 512-byte sector: a sector holds the durable bytes or those after any of
// the pending writes that touched it. The length is the durable one or that
// after any pending change; a sector within it that was never written reads
// NUL or garbage. Pending changes of a directory survive each for itself; a
// rename is atomic. After a failed fsync the pending changes of that file can
// no longer become durable, although they read back.
package crashfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// Sector is what a disk writes as a whole.
const Sector = 512

// ErrCrashed is every operation's answer once the power is gone.
var ErrCrashed = errors.New("power is gone")

// Kind is the kind of an operation.
type Kind string

// The operations that can fail.
const (
	Create   Kind = "create"
	Open     Kind = "open"
	Read     Kind = "read"
	Write    Kind = "write"
	Truncate Kind = "truncate"
	Sync     Kind = "sync"
	SyncDir  Kind = "syncdir"
	Remove   Kind = "remove"
	Rename   Kind = "rename"
	ReadDir  Kind = "readdir"
	Size     Kind = "size"
	Mkdir    Kind = "mkdir"
	Lock     Kind = "lock"
)

// Op is one operation about to happen.
type Op struct {
	N    int // counted from 0 over the life of the file system
	Kind Kind
	Name string
}

// Fault is what an operation does instead of working. A write with an error
// first writes Partial bytes of its data; any other operation with an error
// does nothing, except a failed fsync, see above.
type Fault struct {
	Err     error
	Partial int
}

// FS is the file system. Set the exported fields before using it.
type FS struct {
	// Inject, when set, is asked before every operation; it must not use the FS.
	Inject func(Op) Fault
	// CrashAt is the number of the first operation that finds the power gone;
	// 0 is never.
	CrashAt int
	// Capacity is the size of the disk in bytes; 0 is no limit. A write that
	// does not fit writes what does and fails with ENOSPC.
	Capacity int64

	mu      sync.Mutex
	ops     int
	crashed bool
	epoch   int // counts crashes; files of an earlier one are dead
	dirs    map[string]*directory
	locked  map[string]bool
}

// directory and inode hold what a program sees and what the disk has.
type directory struct {
	entries map[string]*inode
	durable map[string]*inode
	pending []entryChange
}

// entryChange is one atomic change of names; a nil inode takes a name away.
type entryChange map[string]*inode

type inode struct {
	data    []byte
	durable []byte
	pending []dataChange
}

// dataChange is a write of data at off, or a truncation to off when data is nil.
type dataChange struct {
	off  int64
	data []byte
	lost bool // an fsync failed over it
}

// New returns an empty file system.
func New() *FS {
	return &FS{dirs: map[string]*directory{}, locked: map[string]bool{}}
}

// Ops is how many operations were asked for.
func (f *FS) Ops() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ops
}

// begin counts an operation. Callers hold mu and return at once on an error.
func (f *FS) begin(kind Kind, name string) (Fault, error) {
	n := f.ops
	f.ops++
	if f.crashed || f.CrashAt > 0 && n >= f.CrashAt {
		f.crashed = true
		return Fault{}, ErrCrashed
	}
	if f.Inject == nil {
		return Fault{}, nil
	}
	fault := f.Inject(Op{n, kind, name})
	if fault.Err == nil {
		return Fault{}, nil
	}
	return fault, &fs.PathError{Op: string(kind), Path: name, Err: fault.Err}
}

func (f *FS) lookup(kind Kind, name string) (*directory, *inode, error) {
	d := f.dirs[filepath.Dir(name)]
	if d == nil || d.entries[filepath.Base(name)] == nil {
		return d, nil, &fs.PathError{Op: string(kind), Path: name, Err: fs.ErrNotExist}
	}
	return d, d.entries[filepath.Base(name)], nil
}

func (d *directory) change(c entryChange) {
	for name, node := range c {
		if node == nil {
			delete(d.entries, name)
		} else {
			d.entries[name] = node
		}
	}
	d.pending = append(d.pending, c)
}

func (f *FS) Create(name string) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Create, name); err != nil {
		return nil, err
	}
	d, node, err := f.lookup(Create, name)
	if d == nil {
		return nil, err
	}
	if node == nil {
		node = &inode{}
		d.change(entryChange{filepath.Base(name): node})
	} else {
		node.apply(dataChange{})
	}
	return &file{fs: f, node: node, name: name, epoch: f.epoch, writable: true}, nil
}

func (f *FS) Open(name string) (vfs.File, error)     { return f.open(name, true) }
func (f *FS) OpenRead(name string) (vfs.File, error) { return f.open(name, false) }

func (f *FS) open(name string, writable bool) (vfs.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Open, name); err != nil {
		return nil, err
	}
	_, node, err := f.lookup(Open, name)
	if err != nil {
		return nil, err
	}
	return &file{fs: f, node: node, name: name, epoch: f.epoch, writable: writable}, nil
}

func (f *FS) Remove(name string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Remove, name); err != nil {
		return err
	}
	d, _, err := f.lookup(Remove, name)
	if err != nil {
		return err
	}
	d.change(entryChange{filepath.Base(name): nil})
	return nil
}

func (f *FS) Rename(oldname, newname string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Rename, oldname); err != nil {
		return err
	}
	d, node, err := f.lookup(Rename, oldname)
	if err != nil {
		return err
	}
	if filepath.Dir(oldname) != filepath.Dir(newname) {
		return fmt.Errorf("rename %s to %s: not modelled between directories", oldname, newname)
	}
	d.change(entryChange{filepath.Base(oldname): nil, filepath.Base(newname): node})
	return nil
}

func (f *FS) ReadDir(dir string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(ReadDir, dir); err != nil {
		return nil, err
	}
	d := f.dirs[dir]
	if d == nil {
		return nil, &fs.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
	}
	var names []string
	for name := range d.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (f *FS) Size(name string) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Size, name); err != nil {
		return 0, err
	}
	_, node, err := f.lookup(Size, name)
	if err != nil {
		return 0, err
	}
	return int64(len(node.data)), nil
}

func (f *FS) MkdirAll(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Mkdir, dir); err != nil {
		return err
	}
	if f.dirs[dir] == nil {
		f.dirs[dir] = &directory{entries: map[string]*inode{}, durable: map[string]*inode{}}
	}
	return nil
}

func (f *FS) SyncDir(dir string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.begin(SyncDir, dir)
	d := f.dirs[dir]
	if err == nil && d == nil {
		err = &fs.PathError{Op: "syncdir", Path: dir, Err: fs.ErrNotExist}
	}
	if err != nil {
		return err
	}
	for _, c := range d.pending {
		c.applyTo(d.durable)
	}
	d.pending = nil
	return nil
}

func (c entryChange) applyTo(entries map[string]*inode) {
	for name, node := range c {
		if node == nil {
			delete(entries, name)
		} else {
			entries[name] = node
		}
	}
}

func (f *FS) Lock(dir string) (io.Closer, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, err := f.begin(Lock, dir); err != nil {
		return nil, err
	}
	if f.locked[dir] {
		return nil, &vfs.LockedError{Dir: dir}
	}
	f.locked[dir] = true
	return &dirLock{f, dir, f.epoch}, nil
}

type dirLock struct {
	fs    *FS
	dir   string
	epoch int
}

func (l *dirLock) Close() error {
	l.fs.mu.Lock()
	defer l.fs.mu.Unlock()
	if l.epoch == l.fs.epoch {
		delete(l.fs.locked, l.dir)
	}
	return nil
}

// file is one open handle.
type file struct {
	fs       *FS
	node     *inode
	name     string
	epoch    int
	writable bool
	closed   bool
}

func (h *file) begin(kind Kind) (Fault, error) {
	if h.closed {
		return Fault{}, &fs.PathError{Op: string(kind), Path: h.name, Err: fs.ErrClosed}
	}
	if h.epoch != h.fs.epoch {
		return Fault{}, ErrCrashed
	}
	if !h.writable && (kind == Write || kind == Truncate) {
		return Fault{}, &fs.PathError{Op: string(kind), Path: h.name, Err: fs.ErrPermission}
	}
	return h.fs.begin(kind, h.name)
}

func (h *file) ReadAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if _, err := h.begin(Read); err != nil {
		return 0, err
	}
	if off >= int64(len(h.node.data)) {
		return 0, io.EOF
	}
	n := copy(p, h.node.data[off:])
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (h *file) WriteAt(p []byte, off int64) (int, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	fault, err := h.begin(Write)
	n := len(p)
	if err != nil {
		n = min(fault.Partial, n)
	} else if room := h.fs.room(h.node, off); int64(n) > room {
		n = int(room)
		err = &fs.PathError{Op: "write", Path: h.name, Err: syscall.ENOSPC}
	}
	if n > 0 {
		h.node.apply(dataChange{off: off, data: slices.Clone(p[:n])})
	}
	return n, err
}

// room is how many bytes can be written to node at off.
func (f *FS) room(node *inode, off int64) int64 {
	if f.Capacity == 0 {
		return 1 << 62
	}
	used := int64(0)
	for _, d := range f.dirs {
		for _, n := range d.entries {
			used += int64(len(n.data))
		}
	}
	return max(int64(len(node.data))-off, 0) + max(f.Capacity-used, 0)
}

func (h *file) Truncate(size int64) error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if _, err := h.begin(Truncate); err != nil {
		return err
	}
	h.node.apply(dataChange{off: size})
	return nil
}

func (h *file) Size() (int64, error) {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if _, err := h.begin(Size); err != nil {
		return 0, err
	}
	return int64(len(h.node.data)), nil
}

func (h *file) Sync() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	_, err := h.begin(Sync)
	if err != nil {
		if !errors.Is(err, ErrCrashed) {
			for i := range h.node.pending {
				h.node.pending[i].lost = true
			}
		}
		return err
	}
	// What an fsync has failed over can still be found after a crash, until
	// something newer lies in its place.
	var lost []dataChange
	for i, c := range h.node.pending {
		switch {
		case !c.lost:
			h.node.durable = c.applyTo(h.node.durable)
		case !slices.ContainsFunc(h.node.pending[i+1:], c.replacedBy):
			lost = append(lost, c)
		}
	}
	h.node.pending = lost
	return nil
}

// replacedBy reports whether a later change that became durable touches a
// sector of c.
func (c dataChange) replacedBy(later dataChange) bool {
	if later.lost {
		return false
	}
	return later.data == nil ||
		later.off/Sector <= (c.off+int64(len(c.data)))/Sector && c.off/Sector <= (later.off+int64(len(later.data)))/Sector
}

func (h *file) Close() error {
	h.fs.mu.Lock()
	defer h.fs.mu.Unlock()
	if h.closed {
		return &fs.PathError{Op: "close", Path: h.name, Err: fs.ErrClosed}
	}
	h.closed = true
	return nil
}
