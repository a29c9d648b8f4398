// Package buffer is a durable, ordered log of opaque records: append, sync,
// read from any place, one durable cursor per reader, deletion of whole
// segments by quota and retention. README.md holds the format, what is
// assumed of the file system and what is done after a crash.
package buffer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"sort"
	"sync"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// Options says how a log behaves. The zero value is usable.
type Options struct {
	// SegmentBytes is the size at which a new segment is begun; 0 is 1 MiB.
	// A segment holds at least one record, however large.
	SegmentBytes int64
	// QuotaBytes is what Trim keeps the files below, as far as whole segments
	// and the newest one allow; 0 is no limit.
	QuotaBytes int64
	// Retention is how long Trim keeps a segment after its last record, once
	// all cursors have passed it; 0 is until the quota needs the space. Age never
	// drops an undelivered record.
	Retention time.Duration
	// SyncEvery makes Append sync when so many records are not durable yet;
	// 0 leaves it to Sync.
	SyncEvery int
	// Start is the sequence of the first record of an empty directory.
	Start uint64
	// Preamble returns what the owner needs to resume from the segment about
	// to be begun: its state before the record being appended. Append calls
	// it; it must not call the Log. At most MaxPreamble bytes.
	Preamble func() []byte
	// Now is the clock for Retention; nil is time.Now.
	Now func() time.Time
	// ReadOnly opens without the lock, changes nothing and may be used while
	// another process writes. It sees the log as it was when it was opened,
	// records included that the writer has not synced. When a Trim comes
	// between, Open fails with fs.ErrNotExist and may be tried again.
	ReadOnly bool
}

var (
	// ErrSync is wrapped by every error of Append, Sync, Wait and Trim after
	// an fsync has failed. Nothing is known about what was not durable; the log
	// takes no more records, the process is to stop, and the next Open
	// recovers what the disk has.
	ErrSync = errors.New("storage failed to flush, restart to recover what it holds")
	// ErrGone is Read's answer below First.
	ErrGone = errors.New("record is no longer kept")
	// ErrNotYet is Read's answer from Durable on.
	ErrNotYet = errors.New("record is not durable yet")
	// ErrClosed is the answer of every method after Close.
	ErrClosed = errors.New("log is closed")
	// ErrReadOnly is the answer to changes of a log opened with ReadOnly.
	ErrReadOnly = errors.New("log is open for reading only")
)

// Span is the records Lo up to and not including Hi.
type Span struct{ Lo, Hi uint64 }

func (s Span) String() string {
	if s.Hi <= s.Lo+1 {
		return fmt.Sprintf("record %d", s.Lo)
	}
	return fmt.Sprintf("records %d-%d", s.Lo, s.Hi-1)
}

// DamagedError is Read's answer for records that were recorded and cannot be
// read any more. The record Span.Hi may be readable again.
type DamagedError struct {
	Span Span
	File string
	// Err is the disk's error when it does not deliver the bytes, which may
	// pass; nil when it delivers others than were written, which will not.
	Err error
}

func (e *DamagedError) Error() string {
	if e.Err != nil {
		return fmt.Sprintf("%s: %s unreadable: %v", e.File, e.Span, e.Err)
	}
	return fmt.Sprintf("%s: %s damaged: bytes are not what was written", e.File, e.Span)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// VersionError says that a file was written in a format this program does
// not know. The file is not damaged.
type VersionError struct {
	File    string
	Version uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s: format version %d, this program knows version %d: written by a newer Tallystick, use that one",
		e.File, e.Version, version)
}

// segment is one file of the log.
type segment struct {
	file     string // path
	first    uint64
	header   header // zero first and size when the header is damaged
	headerOK bool
	size     int64 // bytes; of the newest segment it grows, under Log.mu
}

// Log is an open log. One goroutine appends; everything else may be called
// from any goroutine at any time. Files may be larger than memory: a log
// keeps one entry per segment and the record offsets of five segments.
//
// Locks are taken in the order of the fields.
type Log struct {
	fs   vfs.FS
	dir  string
	o    Options
	lock io.Closer // nil when read-only

	appendMu sync.Mutex // held by Append
	buf      []byte     // one frame

	fileMu sync.Mutex // held over fsync and whatever makes, seals or removes files
	state  stateFile

	readMu sync.Mutex      // held over a read; files are closed only under it
	views  []*view         // open older segments, last used first
	head   [frameSize]byte // scratch of Read

	mu       sync.RWMutex // guards all below; never held over I/O
	err      error        // why the log takes no more: ErrSync, ErrClosed
	segs     []*segment   // ascending, segs[i] ends where segs[i+1] begins
	first    uint64       // below it records were trimmed
	next     uint64
	durable  uint64
	advanced chan struct{} // closed and replaced when durable or err changes
	cursors  map[string]uint64
	dirty    bool  // cursors or first differ from the state file
	other    int64 // bytes of files that are not part of the log, as found by Open

	// The newest segment; written by Append or Open only, under mu, and so
	// read without it in Append.
	newest  *segment // the last of segs, nil in an empty log
	tail    vfs.File // its file
	offsets []uint32 // of its records, 0 is a damaged one
	// rotate says that the newest segment ends in bytes that are no record,
	// and the next record goes to a new one.
	rotate bool
	// keep is files to be copied before a segment takes their name.
	keep map[string]bool
}

// Append writes one record after the last. It is durable, readable and safe
// to act upon when Durable has passed seq. On an error the record has no
// sequence and the log is as before, fit for another try, unless the error wraps
// ErrSync: then the record may or may not be found at the next Open.
func (l *Log) Append(rec []byte) (seq uint64, err error) {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()

	l.mu.RLock()
	seq, durable, err := l.next, l.durable, l.usable()
	l.mu.RUnlock()
	switch {
	case err != nil:
		return 0, err
	case len(rec) > MaxRecord:
		return 0, fmt.Errorf("append record %d: %d bytes, the limit is %d", seq, len(rec), MaxRecord)
	case seq == math.MaxUint64:
		return 0, fmt.Errorf("append record %d: the last sequence number is used up", seq)
	}
	if !l.fits(len(rec)) {
		if err := l.newSegment(seq); err != nil {
			return 0, fmt.Errorf("append record %d: %w", seq, err)
		}
		durable = seq
	}
	size := l.newest.size

	l.buf = appendFrame(l.buf[:0], l.newest.header.mark, seq, durable, rec)
	if _, err := l.tail.WriteAt(l.buf, size); err != nil {
		l.undo(size, err)
		return 0, fmt.Errorf("append record %d: %w", seq, err)
	}
	l.mu.Lock()
	l.offsets = append(l.offsets, uint32(size))
	l.newest.size += int64(len(l.buf))
	l.next++
	pending := l.next - l.durable
	l.mu.Unlock()
	if l.o.SyncEvery > 0 && pending >= uint64(l.o.SyncEvery) {
		return seq, l.Sync()
	}
	return seq, nil
}

// fits reports whether the newest segment takes a record of n bytes.
func (l *Log) fits(n int) bool {
	return l.newest != nil && !l.rotate &&
		(len(l.offsets) == 0 || l.newest.size+frameSize+int64(n) <= l.o.SegmentBytes)
}

// undo takes back a failed write. A full disk is no fault of the segment;
// after any other error, or when the length cannot be restored, the
// segment is left to end as it does.
func (l *Log) undo(size int64, cause error) {
	err := l.tail.Truncate(size)
	if err == nil && vfs.NoSpace(cause) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rotate = true
	if now, err := l.tail.Size(); err == nil {
		l.newest.size = now
	}
}

// Sync makes all records appended before the call durable, and then the
// cursors. An error that wraps ErrSync is final; any other concerns the
// cursors only (no space for them), and the next Sync tries again.
func (l *Log) Sync() error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	return l.sync()
}

// sync is Sync under fileMu.
func (l *Log) sync() error {
	if err := l.syncTail(); err != nil {
		return err
	}
	l.mu.RLock()
	dirty := l.dirty
	l.mu.RUnlock()
	if dirty {
		return l.saveState()
	}
	return nil
}

// syncTail makes the records durable. Callers hold fileMu.
func (l *Log) syncTail() error {
	l.mu.RLock()
	err, tail, next, pending := l.usable(), l.tail, l.next, l.next > l.durable
	l.mu.RUnlock()
	if err != nil || !pending {
		return err
	}
	if err := tail.Sync(); err != nil {
		return l.poison("sync segment", err)
	}
	l.mu.Lock()
	l.setDurable(next)
	l.mu.Unlock()
	return nil
}

// poison stops the log after a failed fsync.
func (l *Log) poison(op string, cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("%s: %w: %w", op, cause, ErrSync)
		l.wake()
	}
	return l.err
}

// usable says why the log takes no changes. Callers hold mu.
func (l *Log) usable() error {
	if l.err == nil && l.o.ReadOnly {
		return ErrReadOnly
	}
	return l.err
}

// setDurable and wake are called under mu.
func (l *Log) setDurable(next uint64) {
	if next > l.durable {
		l.durable = next
		l.wake()
	}
}

func (l *Log) wake() {
	close(l.advanced)
	l.advanced = make(chan struct{})
}

// Wait returns nil when record seq is durable, ctx's error when that ends
// first, and an error that wraps ErrSync or ErrClosed when it will never be.
func (l *Log) Wait(ctx context.Context, seq uint64) error {
	for {
		l.mu.RLock()
		durable, err, advanced := l.durable, l.err, l.advanced
		l.mu.RUnlock()
		switch {
		case seq < durable:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-advanced:
		}
	}
}

// First is the sequence of the oldest record that was not trimmed. Records
// from First to Next may be damaged, never silently missing.
func (l *Log) First() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.first
}

// Next is the sequence the next record gets.
func (l *Log) Next() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.next
}

// Durable is the sequence below which all records are fsynced.
func (l *Log) Durable() uint64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.durable
}

// Bytes is the size of all files of the directory but the lock.
func (l *Log) Bytes() int64 {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.bytes()
}

func (l *Log) bytes() int64 {
	n := l.other + stateSize
	for _, s := range l.segs {
		n += s.size
	}
	return n
}

// holding returns the index of the segment that covers seq, -1 when seq is
// before all of them. Callers hold mu.
func (l *Log) holding(seq uint64) int {
	return sort.Search(len(l.segs), func(i int) bool { return l.segs[i].first > seq }) - 1
}

// Close syncs records and cursors and closes the files. Calls in progress end
// first; later ones return ErrClosed.
func (l *Log) Close() error {
	l.appendMu.Lock()
	defer l.appendMu.Unlock()
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	l.mu.RLock()
	err := l.err
	l.mu.RUnlock()
	if errors.Is(err, ErrClosed) {
		return ErrClosed
	}
	if err == nil && !l.o.ReadOnly {
		// The state also says how far the log was durable, which is what
		// the next Open tells damage by.
		l.mu.Lock()
		l.dirty = true
		l.mu.Unlock()
		err = l.sync()
	}

	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.mu.Lock()
	l.err = ErrClosed
	l.wake()
	tail := l.tail
	l.tail = nil
	l.mu.Unlock()
	for _, v := range l.views {
		v.file.Close()
	}
	l.views = nil
	if tail != nil {
		err = errors.Join(err, tail.Close())
	}
	if l.state.file != nil {
		err = errors.Join(err, l.state.file.Close())
	}
	if l.lock != nil {
		err = errors.Join(err, l.lock.Close())
	}
	return err
}
