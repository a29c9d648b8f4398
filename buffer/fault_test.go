package buffer

import (
	"errors"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

func TestFullDisk(t *testing.T) {
	fsys := crashfs.New()
	o := Options{SegmentBytes: 1024, QuotaBytes: stateSize + 4096}
	l, _ := mustOpen(t, fsys, o)
	c, _ := l.Cursor("lender")
	mustSync(t, l)
	fsys.Capacity = stateSize + 6000
	var err error
	for err == nil {
		_, err = l.Append(payload(l.Next()))
	}
	full := l.Next()
	if !vfs.NoSpace(err) || full == 0 {
		t.Fatal(full, err)
	}
	for range 5 {
		if _, err := l.Append(payload(full)); !vfs.NoSpace(err) || l.Next() != full {
			t.Fatal(l.Next(), err)
		}
	}
	// Everything but appending works.
	mustSync(t, l)
	wantRecords(t, l, 0, full)
	if err := c.Set(5); err != nil {
		t.Fatal(err)
	}
	mustClose(t, l)
	l, r := mustOpen(t, fsys, o)
	if r.Next != full || l.Cursors()["lender"] != 5 {
		t.Fatalf("%+v", r)
	}
	tr, err := l.Trim()
	if err != nil || tr.Hi == 0 {
		t.Fatal(tr, err)
	}
	fill(t, l, full+3)
	mustSync(t, l)
	wantRecords(t, l, tr.Hi, full+3)
}

// A file system that needs space even to overwrite must not keep a full disk
// full.
func TestTrimWithoutSpaceForTheState(t *testing.T) {
	fsys := crashfs.New()
	o := Options{SegmentBytes: 512}
	l, _ := mustOpen(t, fsys, o)
	fill(t, l, 100)
	mustSync(t, l)
	removed := false
	fsys.Inject = func(op crashfs.Op) crashfs.Fault {
		removed = removed || op.Kind == crashfs.Remove
		if op.Kind == crashfs.Write && strings.HasSuffix(op.Name, stateName) && !removed {
			return crashfs.Fault{Err: syscall.ENOSPC}
		}
		return crashfs.Fault{}
	}
	tr, err := l.TrimTo(50)
	if err != nil || tr.Hi == 0 || l.First() != tr.Hi {
		t.Fatal(tr, err)
	}
	fsys.Inject = nil
	mustClose(t, l)
	l, r := mustOpen(t, fsys, o)
	if len(r.Faults) != 0 {
		t.Fatal(r)
	}
	wantRecords(t, l, tr.Hi, 100)
}

// A failed write leaves no trace in the file; unless the disk was merely full,
// the file gets no more records.
func TestFailedWrite(t *testing.T) {
	for _, c := range []struct {
		err       error
		truncates bool
		segments  int
	}{{syscall.ENOSPC, true, 1}, {syscall.ENOSPC, false, 2}, {syscall.EIO, true, 2}, {syscall.EFBIG, true, 2}} {
		fsys := crashfs.New()
		l, _ := mustOpen(t, fsys, Options{})
		fill(t, l, 3)
		before := l.Bytes()
		fsys.Inject = func(op crashfs.Op) crashfs.Fault {
			if op.Kind == crashfs.Write || op.Kind == crashfs.Truncate && !c.truncates {
				return crashfs.Fault{Err: c.err, Partial: 20}
			}
			return crashfs.Fault{}
		}
		if _, err := l.Append(payload(3)); !errors.Is(err, c.err) || l.Next() != 3 {
			t.Fatal(err)
		}
		fsys.Inject = nil
		if size, _ := fsys.Size(filepath.Join(dir, segmentName(0))); c.truncates && size+stateSize != before {
			t.Errorf("%v: file has %d bytes, had %d", c.err, size, before-stateSize)
		}
		fill(t, l, 6)
		mustClose(t, l)
		l, r := mustOpen(t, fsys, Options{})
		if len(l.segs) != c.segments || len(r.Faults) != 0 {
			t.Errorf("%v: %d segments, want %d, %+v", c.err, len(l.segs), c.segments, r)
		}
		wantRecords(t, l, 0, 6)
	}
}

// Positions read back after a failed fsync are in memory, not on the disk: the
// first Sync of the next process has to write them again.
func TestFailedSyncOfCursors(t *testing.T) {
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, Options{})
	fill(t, l, 5)
	c, _ := l.Cursor("bank")
	mustSync(t, l)
	if err := c.Set(4); err != nil {
		t.Fatal(err)
	}
	fsys.Inject = func(op crashfs.Op) crashfs.Fault {
		if op.Kind == crashfs.Sync {
			return crashfs.Fault{Err: syscall.EIO}
		}
		return crashfs.Fault{}
	}
	if err := l.Sync(); !errors.Is(err, ErrSync) {
		t.Fatal(err)
	}
	fsys.Inject = nil
	fsys.Kill()
	l, _ = mustOpen(t, fsys, Options{})
	if at := l.Cursors()["bank"]; at != 4 {
		t.Fatal(at)
	}
	mustSync(t, l)
	fsys.Crash(crashfs.Nothing, nil)
	l, _ = mustOpen(t, fsys, Options{})
	if at := l.Cursors()["bank"]; at != 4 {
		t.Fatal(at)
	}
}

// A failed fsync ends the log's life; what it covered is not believed, and
// the next Open sees what the disk has.
func TestFailedSync(t *testing.T) {
	for _, kind := range []crashfs.Kind{crashfs.Sync, crashfs.SyncDir} {
		fsys := crashfs.New()
		o := Options{SegmentBytes: 256}
		l, _ := mustOpen(t, fsys, o)
		fill(t, l, 3)
		mustSync(t, l)
		durable := l.Durable()
		failed := false
		fsys.Inject = func(op crashfs.Op) crashfs.Fault {
			if op.Kind == kind && !failed {
				failed = true
				return crashfs.Fault{Err: syscall.EIO}
			}
			return crashfs.Fault{}
		}
		var err error
		for err == nil {
			_, err = l.Append(payload(l.Next()))
		}
		if !errors.Is(err, ErrSync) || !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		_, appendErr := l.Append(nil)
		_, trimErr := l.TrimTo(2)
		for _, err := range []error{appendErr, trimErr, l.Sync(), l.Wait(t.Context(), l.Next()), l.Close()} {
			if !errors.Is(err, ErrSync) {
				t.Errorf("after a failed %s: %v", kind, err)
			}
		}
		fsys.Crash(crashfs.Nothing, nil)
		l, r := mustOpen(t, fsys, o)
		if r.Next < durable || len(r.Damaged) != 0 || r.TailLost {
			t.Fatalf("%s: %+v", kind, r)
		}
		wantRecords(t, l, 0, r.Next)
	}
}
