package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// Trimmed is what Trim has dropped: the records Lo up to and not including
// Hi, and which of them which cursor had not passed. All of it is gone from
// the log, also when Trim returned an error beside it.
type Trimmed struct {
	Lo, Hi      uint64
	Undelivered []UndeliveredRange // by cursor name
}

// UndeliveredRange is the records from Lo up to and not including Hi, dropped
// before Cursor had passed them.
type UndeliveredRange struct {
	Cursor string
	Lo, Hi uint64
}

// Trim enforces quota and retention: it removes whole segments, oldest first,
// and never the newest. It needs no free space. Segments go while the files
// exceed QuotaBytes, delivered or not, and while all cursors have passed them
// and Retention is over.
func (l *Log) Trim() (Trimmed, error) {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	now := l.o.Now().UnixMilli()
	l.mu.RLock()
	total, drop := l.bytes(), 0
	for ; drop < len(l.segs)-1; drop++ {
		next := l.segs[drop+1]
		left := next.first <= l.first // by a Trim that could not finish
		over := l.o.QuotaBytes > 0 && total > l.o.QuotaBytes
		if !left && !over && !l.expired(next, now) {
			break
		}
		total -= l.segs[drop].size
	}
	l.mu.RUnlock()
	return l.drop(drop)
}

// TrimTo removes the segments that hold only records below seq, never the
// newest, whatever the cursors say.
func (l *Log) TrimTo(seq uint64) (Trimmed, error) {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	l.mu.RLock()
	drop := 0
	for drop < len(l.segs)-1 && l.segs[drop+1].first <= seq {
		drop++
	}
	l.mu.RUnlock()
	return l.drop(drop)
}

// expired reports whether all before next is delivered and was written
// longer than Retention ago. Callers hold mu.
func (l *Log) expired(next *segment, now int64) bool {
	if l.o.Retention <= 0 || !next.headerOK || now-next.header.created < l.o.Retention.Milliseconds() {
		return false
	}
	for _, at := range l.cursors {
		if at < next.first {
			return false
		}
	}
	return true
}

// drop removes the n oldest segments. Callers hold fileMu.
func (l *Log) drop(n int) (Trimmed, error) {
	l.mu.RLock()
	err, lo := l.usable(), l.first
	l.mu.RUnlock()
	if err == nil && n > 0 {
		err = l.dropSegments(n)
	}
	return l.account(lo), err
}

func (l *Log) dropSegments(n int) error {
	l.mu.RLock()
	segs := slices.Clone(l.segs[:n+1])
	l.mu.RUnlock()
	hi := segs[n].first

	// Say durably what goes, then let it go. Where even that finds no space,
	// the oldest segment makes some.
	err := l.advance(hi)
	if vfs.NoSpace(err) {
		if err := l.remove(segs[0], true); err != nil {
			return err
		}
		segs = segs[1:]
		err = l.advance(hi)
	}
	if err != nil {
		return err
	}
	for _, s := range segs[:len(segs)-1] {
		if err := l.remove(s, false); err != nil {
			return err // its records are gone all the same, the next Trim tries again
		}
	}
	// The directory needs no fsync: a file that comes back lies below first.
	return nil
}

// advance moves first, once that is durable.
func (l *Log) advance(first uint64) error {
	l.mu.Lock()
	before := l.first
	l.first = max(before, first)
	l.mu.Unlock()
	err := l.saveState()
	if err != nil {
		l.mu.Lock()
		l.first = before
		l.mu.Unlock()
	}
	return err
}

// remove removes the oldest segment and, when asked to, moves first past it.
func (l *Log) remove(s *segment, advance bool) error {
	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.closeView(s)
	if err := l.fs.Remove(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("trim: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.segs = l.segs[1:]
	if advance {
		l.first = max(l.first, l.segs[0].first)
		l.dirty = true
	}
	return nil
}

// account says what became of the records from lo on.
func (l *Log) account(lo uint64) Trimmed {
	l.mu.RLock()
	defer l.mu.RUnlock()
	t := Trimmed{Lo: lo, Hi: l.first}
	for name, at := range l.cursors {
		if r := (UndeliveredRange{name, max(lo, at), t.Hi}); r.Lo < r.Hi {
			t.Undelivered = append(t.Undelivered, r)
		}
	}
	slices.SortFunc(t.Undelivered, func(a, b UndeliveredRange) int { return cmp.Compare(a.Cursor, b.Cursor) })
	return t
}
