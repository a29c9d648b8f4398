package buffer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

const dir = "/log"

// payload is the record of a sequence: its length and bytes follow from it.
func payload(seq uint64) []byte {
	b := bytes.Repeat([]byte{byte(seq), byte(seq >> 8), 0xA5}, int(seq%29))
	return fmt.Appendf(b, "record %d", seq)
}

func mustOpen(t testing.TB, fsys vfs.FS, o Options) (*Log, Recovery) {
	t.Helper()
	l, r, err := Open(fsys, dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, r
}

// fill appends records up to and not including seq end.
func fill(t testing.TB, l *Log, end uint64) {
	t.Helper()
	for seq := l.Next(); seq < end; seq++ {
		got, err := l.Append(payload(seq))
		if err != nil || got != seq {
			t.Fatalf("append record %d: got %d, %v", seq, got, err)
		}
	}
}

func mustSync(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Sync(); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// wantRecords checks that exactly the records lo..hi can be read.
func wantRecords(t testing.TB, l *Log, lo, hi uint64) {
	t.Helper()
	if l.First() != lo || l.Durable() != hi {
		t.Fatalf("log holds %d-%d, want %d-%d", l.First(), l.Durable(), lo, hi)
	}
	var buf []byte
	var err error
	for seq := lo; seq < hi; seq++ {
		if buf, err = l.Read(seq, buf); err != nil || !bytes.Equal(buf, payload(seq)) {
			t.Fatalf("read record %d: %q, %v", seq, buf, err)
		}
	}
}

func TestAppendReadReopen(t *testing.T) {
	fsys := crashfs.New()
	o := Options{SegmentBytes: 512}
	l, r := mustOpen(t, fsys, o)
	if r.First != 0 || r.Next != 0 || len(r.Faults) != 0 {
		t.Fatalf("fresh log: %+v", r)
	}
	for round := uint64(1); round <= 5; round++ {
		fill(t, l, round*40)
		mustSync(t, l)
		wantRecords(t, l, 0, round*40)
		mustClose(t, l)
		l, r = mustOpen(t, fsys, o)
		if r.Next != round*40 || len(r.Faults) != 0 || len(r.Damaged) != 0 || r.TornBytes != 0 || r.TailLost || r.StateLost {
			t.Fatalf("after round %d: %+v", round, r)
		}
		wantRecords(t, l, 0, round*40)
	}
	if len(l.segs) < 5 {
		t.Fatalf("%d segments", len(l.segs))
	}
	if spans, faults, err := l.Scrub(t.Context()); len(spans)+len(faults) != 0 || err != nil {
		t.Fatal(spans, faults, err)
	}
}

func TestReadOutsideTheLog(t *testing.T) {
	l, _ := mustOpen(t, crashfs.New(), Options{SegmentBytes: 256, Start: 5})
	if _, err := l.Read(5, nil); !errors.Is(err, ErrNotYet) {
		t.Errorf("empty log: %v", err)
	}
	fill(t, l, 30)
	if d := l.Durable(); d == 30 {
		t.Fatal("durable without sync")
	} else if _, err := l.Read(d, nil); !errors.Is(err, ErrNotYet) {
		t.Errorf("record not synced: %v", err)
	}
	mustSync(t, l)
	wantRecords(t, l, 5, 30)
	for seq, want := range map[uint64]error{0: ErrGone, 4: ErrGone, 30: ErrNotYet, math.MaxUint64: ErrNotYet} {
		if _, err := l.Read(seq, nil); !errors.Is(err, want) {
			t.Errorf("read record %d: %v, want %v", seq, err, want)
		}
	}
	mustClose(t, l)
	if _, err := l.Read(5, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed log: %v", err)
	}
	if _, err := l.Append(nil); !errors.Is(err, ErrClosed) {
		t.Errorf("closed log: %v", err)
	}
	if err := l.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("closed log: %v", err)
	}
}

func TestRecordSizes(t *testing.T) {
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, Options{SegmentBytes: 1000})
	sizes := []int{0, 1, 999, 1000, 100_000, 0, MaxRecord}
	for i, n := range sizes {
		if seq, err := l.Append(bytes.Repeat([]byte{0}, n)); err != nil || seq != uint64(i) {
			t.Fatal(seq, err)
		}
	}
	if _, err := l.Append(make([]byte, MaxRecord+1)); err == nil || l.Next() != uint64(len(sizes)) {
		t.Fatalf("record over the limit: %v", err)
	}
	mustClose(t, l)
	l, _ = mustOpen(t, fsys, Options{})
	for i, n := range sizes {
		if b, err := l.Read(uint64(i), nil); err != nil || len(b) != n {
			t.Errorf("record %d: %d bytes, %v, want %d", i, len(b), err, n)
		}
	}
}

// Numbers near the ends of their types are where logs break that were only
// ever tested with small ones.
func TestLargeSequences(t *testing.T) {
	for _, start := range []uint64{1<<16 - 20, 1<<31 - 20, 1<<32 - 20, 1<<63 - 20, math.MaxUint64 - 40} {
		fsys := crashfs.New()
		o := Options{SegmentBytes: 256, Start: start}
		l, _ := mustOpen(t, fsys, o)
		fill(t, l, start+40)
		c, err := l.Cursor("lender")
		if err != nil || c.Get() != start {
			t.Fatal(c.Get(), err)
		}
		mustSync(t, l)
		if err := c.Set(start + 30); err != nil {
			t.Fatal(err)
		}
		mustClose(t, l)
		l, r := mustOpen(t, fsys, Options{SegmentBytes: 256})
		if r.First != start || r.Next != start+40 || len(r.Faults) > 0 {
			t.Fatalf("start %d: %+v", start, r)
		}
		wantRecords(t, l, start, start+40)
		if tr, err := l.TrimTo(start + 30); err != nil || tr.Lo != start || tr.Hi <= start || len(tr.Undelivered) != 0 {
			t.Fatalf("trim: %+v, %v", tr, err)
		}
	}
	l, _ := mustOpen(t, crashfs.New(), Options{Start: math.MaxUint64 - 1})
	if _, err := l.Append(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(nil); err == nil {
		t.Fatal("the last number was given out")
	}
}

func TestSyncEveryAndWait(t *testing.T) {
	l, _ := mustOpen(t, crashfs.New(), Options{SyncEvery: 3})
	waited := make(chan error, 1)
	go func() { waited <- l.Wait(t.Context(), 2) }()
	fill(t, l, 2)
	if l.Durable() != 0 {
		t.Fatal("synced early")
	}
	fill(t, l, 3)
	if err := <-waited; err != nil || l.Durable() != 3 {
		t.Fatal(err, l.Durable())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Wait(ctx, 3); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	go func() { waited <- l.Wait(t.Context(), 3) }()
	mustClose(t, l)
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
}

func TestPreamble(t *testing.T) {
	fsys := crashfs.New()
	var l *Log
	next := uint64(0) // the owner's state: the record it is about to append
	o := Options{SegmentBytes: 300, Preamble: func() []byte { return fmt.Appendf(nil, "before %d", next) }}
	l, _ = mustOpen(t, fsys, o)
	if _, _, err := l.Preamble(0); !errors.Is(err, ErrNotYet) {
		t.Fatal(err)
	}
	for ; next < 60; next++ {
		fill(t, l, next+1)
	}
	mustClose(t, l)
	l, _ = mustOpen(t, fsys, o)
	for seq := range uint64(61) {
		first, p, err := l.Preamble(seq)
		if err != nil || string(p) != fmt.Sprintf("before %d", first) || first > seq {
			t.Fatalf("record %d: first %d, %q, %v", seq, first, p, err)
		}
	}
	if _, _, err := l.Preamble(61); !errors.Is(err, ErrNotYet) {
		t.Fatal(err)
	}
	o.Preamble = func() []byte { return make([]byte, MaxPreamble+1) }
	l, _ = mustOpen(t, crashfs.New(), o)
	if _, err := l.Append(nil); err == nil {
		t.Fatal("preamble over the limit was taken")
	}
}

func TestCursors(t *testing.T) {
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, Options{})
	fill(t, l, 10)
	mustSync(t, l)
	for _, name := range []string{"", "A", "a/b", "a b", "é", strings.Repeat("x", 65), "a\x00"} {
		if _, err := l.Cursor(name); err == nil {
			t.Errorf("cursor %q was made", name)
		}
	}
	a, _ := l.Cursor("bank-a.1_x")
	same, _ := l.Cursor("bank-a.1_x")
	if err := errors.Join(a.Set(7), a.Set(3), same.Set(7)); err != nil || same.Get() != 7 {
		t.Fatal(err, same.Get())
	}
	if err := a.Set(11); err == nil {
		t.Error("moved beyond what is durable")
	}
	if err := a.Reset(2); err != nil || a.Get() != 2 {
		t.Error(err, a.Get())
	}
	for i := range maxCursors - 1 {
		if _, err := l.Cursor(strings.Repeat("n", 60) + fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := l.Cursor("one-too-many"); err == nil {
		t.Error("no limit on cursors")
	}
	mustClose(t, l)
	l, r := mustOpen(t, fsys, Options{})
	if got := l.Cursors(); len(got) != maxCursors || got["bank-a.1_x"] != 2 || r.StateLost {
		t.Fatal(got, r)
	}
	a, _ = l.Cursor("bank-a.1_x")
	if err := errors.Join(l.RemoveCursor("bank-a.1_x"), l.RemoveCursor("never-was")); err != nil {
		t.Fatal(err)
	}
	if err := a.Set(5); err == nil {
		t.Error("a removed cursor moved")
	}
	mustClose(t, l)
	l, _ = mustOpen(t, fsys, Options{})
	if _, ok := l.Cursors()["bank-a.1_x"]; ok {
		t.Error("a removed cursor came back")
	}
}

func TestTrim(t *testing.T) {
	clock := time.UnixMilli(1e12)
	o := Options{SegmentBytes: 512, QuotaBytes: stateSize + 6144, Retention: time.Hour, Now: func() time.Time { return clock }}
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, o)
	slow, _ := l.Cursor("slow")
	fast, _ := l.Cursor("fast")
	fill(t, l, 60)
	mustSync(t, l)
	if tr, err := l.Trim(); err != nil || tr.Lo != tr.Hi || l.First() != 0 {
		t.Fatalf("below quota: %+v, %v", tr, err)
	}
	// By age only what all have.
	clock = clock.Add(2 * time.Hour)
	fast.Set(60)
	slow.Set(20)
	fill(t, l, 70)
	mustSync(t, l)
	tr, err := l.Trim()
	if err != nil || tr.Lo != 0 || tr.Hi == 0 || tr.Hi > 20 || tr.Undelivered != nil || l.First() != tr.Hi {
		t.Fatalf("by age: %+v, %v", tr, err)
	}
	wantRecords(t, l, tr.Hi, 70)
	// By quota whatever must go, and it is named.
	fill(t, l, 200)
	mustSync(t, l)
	first := l.First()
	tr, err = l.Trim()
	if err != nil || tr.Lo != first || tr.Hi <= 60 || l.Bytes() > o.QuotaBytes {
		t.Fatalf("by quota: %+v, %v, %d bytes", tr, err, l.Bytes())
	}
	want := []UndeliveredRange{{"fast", 60, tr.Hi}, {"slow", 20, tr.Hi}}
	if fmt.Sprint(tr.Undelivered) != fmt.Sprint(want) {
		t.Fatalf("undelivered %v, want %v", tr.Undelivered, want)
	}
	mustClose(t, l)
	l, r := mustOpen(t, fsys, o)
	wantRecords(t, l, tr.Hi, 200)
	if fmt.Sprint(r.Behind) != fmt.Sprint(want) || len(r.Faults) != 0 {
		t.Fatalf("reopened: %+v", r)
	}
	// Never the newest segment.
	last := l.newest.first
	if tr, err := l.TrimTo(math.MaxUint64); err != nil || tr.Hi != last {
		t.Fatalf("trim all: %+v, %v", tr, err)
	}
	wantRecords(t, l, last, 200)
}

func TestOSFileSystem(t *testing.T) {
	where := filepath.Join(t.TempDir(), "a", "b")
	l, _, err := Open(vfs.OS(), where, Options{SegmentBytes: 4096})
	if err != nil {
		t.Fatal(err)
	}
	fill(t, l, 500)
	mustSync(t, l)
	ro, r, err := Open(vfs.OS(), where, Options{ReadOnly: true})
	if err != nil || r.Next != 500 {
		t.Fatal(err, r)
	}
	wantRecords(t, ro, 0, 500)
	_, err1 := ro.Append(nil)
	_, err2 := ro.Cursor("x")
	_, err3 := ro.Trim()
	for _, err := range []error{err1, err2, err3, ro.Sync()} {
		if !errors.Is(err, ErrReadOnly) {
			t.Errorf("read-only log: %v", err)
		}
	}
	mustClose(t, ro)
	if _, _, err := Open(vfs.OS(), where, Options{}); !errors.As(err, new(*vfs.LockedError)) {
		t.Fatalf("second writer: %v", err)
	}
	fill(t, l, 600)
	mustClose(t, l)
	l, r, err = Open(vfs.OS(), where, Options{})
	if err != nil || len(r.Faults) != 0 {
		t.Fatal(err, r)
	}
	wantRecords(t, l, 0, 600)
	mustClose(t, l)
}
