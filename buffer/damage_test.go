package buffer

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

// small makes a log of some segments, closed cleanly, and returns the records
// it holds.
func small(t testing.TB, end uint64) *crashfs.FS {
	t.Helper()
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, smallOptions)
	fill(t, l, end)
	mustSync(t, l)
	c, _ := l.Cursor("bank")
	c.Set(end / 2)
	mustClose(t, l)
	return fsys
}

var smallOptions = Options{SegmentBytes: 300, Preamble: func() []byte { return []byte("the owner's state") }}

func content(t testing.TB, fsys vfs.FS, name string) []byte {
	t.Helper()
	f, err := fsys.Open(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return b
}

func setContent(t testing.TB, fsys vfs.FS, name string, b []byte) {
	t.Helper()
	f, err := fsys.Create(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(b, 0); err != nil {
		t.Fatal(err)
	}
}

func segmentFiles(t testing.TB, fsys vfs.FS) []string {
	t.Helper()
	names, err := fsys.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(names, func(n string) bool { return !strings.HasSuffix(n, segmentSuffix) })
}

// readable reads all records and returns those that are damaged. A wrong
// payload, a panic or another error is a failure.
func readable(t testing.TB, l *Log, lo, hi uint64) (damaged []uint64) {
	t.Helper()
	for seq := lo; seq < hi; seq++ {
		b, err := l.Read(seq, nil)
		var d *DamagedError
		switch {
		case errors.As(err, &d):
			if seq < d.Span.Lo || seq >= d.Span.Hi {
				t.Fatalf("record %d is damaged within %s?", seq, d.Span)
			}
			damaged = append(damaged, seq)
		case err != nil:
			t.Fatal(err)
		case !bytes.Equal(b, payload(seq)):
			t.Fatalf("record %d is %q", seq, b)
		}
	}
	return damaged
}

// Each byte of a small log is turned over. No record but the one it belongs to
// may suffer, and the fault may not go unseen.
func TestEveryByteFlipped(t *testing.T) {
	t.Parallel()
	const end = 14
	good := small(t, end)
	for _, name := range append(segmentFiles(t, good), stateName) {
		original := content(t, good, name)
		for i := range original {
			if name == stateName && i%slotSize > 100 {
				continue // padding
			}
			for _, mask := range []byte{0x01, 0xFF} {
				fsys := good.Clone()
				b := bytes.Clone(original)
				b[i] ^= mask
				setContent(t, fsys, name, b)
				what := fmt.Sprintf("%s, byte %d, mask %#x", name, i, mask)
				l, r, err := Open(fsys, dir, smallOptions)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				damaged := readable(t, l, 0, end)
				scrubbed, faults, err := l.Scrub(t.Context())
				if err != nil || len(damaged) > 1 || r.First != 0 || r.Next != end || len(scrubbed) != len(damaged) {
					t.Fatalf("%s: %v, damaged %v, scrub %v, %+v", what, err, damaged, scrubbed, r)
				}
				if len(damaged)+len(faults)+len(r.Faults) == 0 && name != stateName {
					t.Fatalf("%s: not seen", what)
				}
				// The log goes on, the damage stays what it is.
				fill(t, l, end+5)
				mustClose(t, l)
				l, r = mustOpen(t, fsys, smallOptions)
				if again := readable(t, l, 0, end+5); !slices.Equal(again, damaged) || r.Next != end+5 {
					t.Fatalf("%s: damaged %v, then %v, %+v", what, damaged, again, r)
				}
				mustClose(t, l)
			}
		}
	}
}

// The same without a clean end and without the state's help: a newest segment
// as a power cut leaves it. Nothing acknowledged before the last sync may go.
func TestEveryByteFlippedAfterCrash(t *testing.T) {
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, Options{})
	for range 6 {
		fill(t, l, l.Next()+2)
		mustSync(t, l)
	}
	const end, lastBatch = 12, 10
	name := segmentName(0)
	original := content(t, fsys, name)
	for i := range original {
		fsys := fsys.Clone()
		b := bytes.Clone(original)
		b[i] ^= 0x40
		setContent(t, fsys, name, b)
		l, r := mustOpen(t, fsys, Options{})
		damaged := readable(t, l, 0, r.Next)
		if r.Next < lastBatch || len(damaged) > 1 {
			t.Fatalf("byte %d: damaged %v, %+v", i, damaged, r)
		}
		if r.Next < end && r.TornBytes == 0 {
			t.Fatalf("byte %d: not seen: %+v", i, r)
		}
		mustClose(t, l)
	}
}

func TestFilesGoneSwappedAndCopied(t *testing.T) {
	const end = 40
	good := small(t, end)
	files := segmentFiles(t, good)
	if len(files) < 5 {
		t.Fatal(files)
	}
	firstOf := func(i int) uint64 { first, _ := parseSegmentName(files[i]); return first }
	newest := len(files) - 1
	span := func(i int) []uint64 {
		hi := uint64(end)
		if i < newest {
			hi = firstOf(i + 1)
		}
		var all []uint64
		for seq := firstOf(i); seq < hi; seq++ {
			all = append(all, seq)
		}
		return all
	}
	remove := func(fsys vfs.FS, name string) {
		if err := fsys.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	ahead := good.Clone()
	l, _ := mustOpen(t, ahead, smallOptions)
	fill(t, l, end+60)
	mustClose(t, l)
	future := segmentFiles(t, ahead)[newest+1] // a name the log will need
	type change struct {
		what     string
		do       func(fsys vfs.FS)
		damaged  []uint64
		named    string // what Faults must name
		tailLost bool
	}
	changes := []change{
		{"state removed", func(f vfs.FS) { remove(f, stateName) }, nil, stateName, false},
		{"state emptied", func(f vfs.FS) { setContent(t, f, stateName, nil) }, nil, stateName, false},
		{"foreign file", func(f vfs.FS) { setContent(t, f, "notes.txt", []byte("hello")) }, nil, "notes.txt", false},
		{"foreign .log", func(f vfs.FS) { setContent(t, f, "syslog.log", []byte("hello")) }, nil, "syslog.log", false},
		{"two swapped", func(f vfs.FS) {
			a, b := content(t, f, files[1]), content(t, f, files[3])
			setContent(t, f, files[1], b)
			setContent(t, f, files[3], a)
		}, nil, files[1], false},
		{"copied over another", func(f vfs.FS) { setContent(t, f, files[3], content(t, f, files[1])) }, span(3), files[3], false},
		{"copied to a new name", func(f vfs.FS) { setContent(t, f, future, content(t, f, files[1])) }, nil, future, false},
		{"renamed", func(f vfs.FS) {
			setContent(t, f, segmentName(firstOf(2)+1), content(t, f, files[2]))
			remove(f, files[2])
		}, nil, segmentName(firstOf(2) + 1), false},
	}
	for _, i := range []int{0, 2, newest} {
		c := content(t, good, files[i])
		changes = append(changes,
			change{"removed", func(f vfs.FS) { remove(f, files[i]) }, span(i), files[i], i == newest},
			change{"emptied", func(f vfs.FS) { setContent(t, f, files[i], nil) }, span(i), files[i], i == newest},
			change{"NULs", func(f vfs.FS) { setContent(t, f, files[i], make([]byte, len(c))) }, span(i), files[i], i == newest},
			change{"noise", func(f vfs.FS) { setContent(t, f, files[i], bytes.Repeat([]byte{0x5A, 0xC3}, len(c))) }, span(i), files[i], i == newest},
			change{"header only", func(f vfs.FS) { setContent(t, f, files[i], c[:headerSize+17]) }, span(i), files[i], i == newest},
		)
	}
	for _, c := range changes {
		fsys := good.Clone()
		c.do(fsys)
		l, r, err := Open(fsys, dir, smallOptions)
		if err != nil {
			t.Errorf("%s %s: %v", c.what, c.named, err)
			continue
		}
		if got := readable(t, l, 0, end); !slices.Equal(got, c.damaged) || r.Next != end || r.TailLost != c.tailLost {
			t.Errorf("%s %s: damaged %v, want %v, %+v", c.what, c.named, got, c.damaged, r)
		}
		if !strings.Contains(strings.Join(r.Faults, "\n"), c.named) {
			t.Errorf("%s %s: not named: %q", c.what, c.named, r.Faults)
		}
		// Going on past the names of copies harms nothing.
		fill(t, l, end+60)
		mustClose(t, l)
		if copied := content(t, good, files[1]); c.what == "copied to a new name" && !bytes.Equal(content(t, fsys, c.named+strayMark), copied) {
			t.Error("the copy was not kept")
		}
		l, _ = mustOpen(t, fsys, smallOptions)
		if got := readable(t, l, 0, end+60); !slices.Equal(got, c.damaged) {
			t.Errorf("%s %s: after going on damaged %v, want %v", c.what, c.named, got, c.damaged)
		}
		mustClose(t, l)
	}
}

// Yesterday's copy of the newest segment: what the state knows to have been
// recorded is reported, and its numbers are not used again.
func TestOlderCopyRestored(t *testing.T) {
	fsys := small(t, 3)
	old := content(t, fsys, segmentName(0))
	l, _ := mustOpen(t, fsys, smallOptions)
	fill(t, l, 5)
	mustClose(t, l)
	setContent(t, fsys, segmentName(0), old)
	l, r := mustOpen(t, fsys, smallOptions)
	if !r.TailLost || r.Next != 5 || len(r.Damaged) != 1 || r.Damaged[0] != (Span{3, 5}) {
		t.Fatalf("%+v", r)
	}
	if d := readable(t, l, 0, 5); !slices.Equal(d, []uint64{3, 4}) {
		t.Fatal(d)
	}
}

func TestNewerVersionIsNotDamage(t *testing.T) {
	for _, name := range []string{segmentName(0), stateName} {
		fsys := small(t, 5)
		b := content(t, fsys, name)
		slots := []int{0}
		if name == stateName {
			slots = []int{0, slotSize}
		}
		for _, at := range slots {
			if b[at] == 0 {
				continue
			}
			b[at+8] = 2
			binary.LittleEndian.PutUint32(b[at+12:], checksum(b[at:at+12]))
		}
		setContent(t, fsys, name, b)
		_, _, err := Open(fsys, dir, smallOptions)
		var v *VersionError
		if !errors.As(err, &v) || v.Version != 2 || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if again := content(t, fsys, name); !bytes.Equal(again, b) {
			t.Errorf("%s was changed", name)
		}
	}
}

// A sector the disk does not deliver hides what is in it and nothing else,
// and is not taken for damage that stays.
func TestUnreadableSector(t *testing.T) {
	fsys := crashfs.New()
	o := Options{SegmentBytes: 64 << 10}
	l, _ := mustOpen(t, fsys, o)
	fill(t, l, 2000)
	mustClose(t, l)
	const name = "00000000000000000000.log"
	l, _ = mustOpen(t, &badSector{fsys, name, 3 * ioBlock, 4 * ioBlock}, o)
	damaged := readable(t, l, 0, 2000)
	if len(damaged) == 0 || len(damaged) > 2+ioBlock/frameSize || damaged[len(damaged)-1]-damaged[0] != uint64(len(damaged)-1) {
		t.Fatalf("damaged %v", damaged)
	}
	if _, err := l.Read(damaged[0], nil); !errors.Is(err, syscall.EIO) {
		t.Fatal(err)
	}
	l.fs = fsys // the disk has come to its senses
	if left := readable(t, l, 0, 2000); left != nil {
		t.Fatalf("still damaged: %v", left)
	}
}

// badSector is a file system with one file that has an unreadable stretch.
type badSector struct {
	vfs.FS
	name   string
	lo, hi int64
}

func (b *badSector) Open(name string) (vfs.File, error) {
	f, err := b.FS.Open(name)
	if err == nil && filepath.Base(name) == b.name {
		return badFile{f, b}, nil
	}
	return f, err
}

type badFile struct {
	vfs.File
	b *badSector
}

func (f badFile) ReadAt(p []byte, off int64) (int, error) {
	if off < f.b.hi && off+int64(len(p)) > f.b.lo {
		return 0, syscall.EIO
	}
	return f.File.ReadAt(p, off)
}

// A payload made to look like records does not become records, not even when
// the record around it is damaged.
func TestPayloadThatLooksLikeRecords(t *testing.T) {
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, Options{})
	var image []byte
	for _, mark := range []uint32{0, 1, 0xFFFFFFFF} {
		for seq := range uint64(30) {
			image = appendFrame(image, mark, seq, seq, []byte("forged"))
		}
		image = appendSeal(image, mark, 30)
	}
	for range 10 {
		if _, err := l.Append(image); err != nil {
			t.Fatal(err)
		}
	}
	mustClose(t, l)
	original := content(t, fsys, segmentName(0))
	for damaged := range uint64(11) { // 10: none
		b := bytes.Clone(original)
		if damaged < 10 {
			b[headerSize+int(damaged)*(frameSize+len(image))+5] ^= 1
		}
		setContent(t, fsys, segmentName(0), b)
		l, r := mustOpen(t, fsys, Options{})
		for seq := range uint64(10) {
			got, err := l.Read(seq, nil)
			if lost := errors.As(err, new(*DamagedError)); lost != (seq == damaged) || !lost && !bytes.Equal(got, image) || r.Next != 10 {
				t.Fatal(damaged, seq, err, r)
			}
		}
		mustClose(t, l)
	}
}

// The same for a seal, where the log failed to write its own.
func TestPayloadThatLooksLikeSeal(t *testing.T) {
	fsys := crashfs.New()
	l, _ := mustOpen(t, fsys, Options{SegmentBytes: 100})
	if _, err := l.Append(appendSeal([]byte("not a"), 7, 9)); err != nil {
		t.Fatal(err)
	}
	fsys.Inject = func(op crashfs.Op) crashfs.Fault {
		if op.Kind == crashfs.Write && strings.HasSuffix(op.Name, segmentName(0)) {
			return crashfs.Fault{Err: syscall.EIO}
		}
		return crashfs.Fault{}
	}
	if _, err := l.Append(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	fsys.Inject = nil
	mustClose(t, l)
	if _, r := mustOpen(t, fsys, Options{}); len(r.Faults) != 0 || r.Next != 2 {
		t.Fatalf("%+v", r)
	}
}

// The frame holds half of a sequence; a file whose header is gone and whose name
// is wrong in the other half yields nothing.
func TestWrongNameWithoutHeader(t *testing.T) {
	fsys := small(t, 3)
	b := content(t, fsys, segmentName(0))
	b[20] ^= 1
	if err := fsys.Remove(filepath.Join(dir, segmentName(0))); err != nil {
		t.Fatal(err)
	}
	setContent(t, fsys, segmentName(1<<32), b)
	l, r := mustOpen(t, fsys, smallOptions)
	for seq := uint64(1 << 32); seq < 1<<32+3; seq++ {
		if got, err := l.Read(seq, nil); err == nil {
			t.Fatalf("record %d is %q, %+v", seq, got, r)
		}
	}
}

// Records of another segment that lie where this one's are missing, as an old
// block of the disk may, do not become this one's.
func TestRecordsOfAnotherLife(t *testing.T) {
	fsys := small(t, 6)
	b := content(t, fsys, segmentName(0))
	h, other := newHeader(0, 1, nil)
	for seq := range uint64(6) {
		other = appendFrame(other, h.mark, seq, seq, []byte("another life"))
	}
	copy(b[headerSize+17:], other[headerSize:])
	setContent(t, fsys, segmentName(0), b)
	l, r := mustOpen(t, fsys, smallOptions)
	if d := readable(t, l, 0, r.Next); len(d) == 0 {
		t.Fatalf("nothing damaged: %+v", r)
	}
}

// FuzzSegment: whatever a file holds, opening and reading it neither panics
// nor returns a record whose checksum is not right, and the log goes on.
func FuzzSegment(f *testing.F) {
	good := small(f, 20)
	for _, name := range append(segmentFiles(f, good), stateName) {
		b := content(f, good, name)
		f.Add(b, true)
		f.Add(b[:len(b)/2], false)
		f.Add(append(bytes.Clone(b), make([]byte, 700)...), false)
	}
	f.Fuzz(func(t *testing.T, b []byte, newest bool) {
		if len(b) > 1<<16 {
			return
		}
		fsys := good.Clone()
		files := segmentFiles(t, fsys)
		name := files[1]
		if newest {
			name = files[len(files)-1]
		}
		setContent(t, fsys, name, b)
		l, r, err := Open(fsys, dir, smallOptions)
		if err != nil {
			if !errors.As(err, new(*VersionError)) {
				t.Fatal(err)
			}
			return
		}
		defer l.Close()
		for seq := r.First; seq < min(r.Next, r.First+1000); seq++ {
			if _, err := l.Read(seq, nil); err != nil && !errors.As(err, new(*DamagedError)) {
				t.Fatal(err)
			}
		}
		if next := l.Next(); next < 1<<63 {
			fill(t, l, next+3)
			mustSync(t, l)
			for seq := next; seq < next+3; seq++ {
				if got, err := l.Read(seq, nil); err != nil || !bytes.Equal(got, payload(seq)) {
					t.Fatal(seq, err)
				}
			}
		}
	})
}

// FuzzState: what decodes encodes to the same bytes, padding aside.
func FuzzState(f *testing.F) {
	f.Add(content(f, small(f, 6), stateName)[:slotSize])
	f.Add(content(f, small(f, 6), stateName)[slotSize:])
	f.Add(state{cursors: map[string]uint64{"a": 1, "b": 1 << 63}}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := decodeState(b, "state")
		if err != nil || len(b) != slotSize {
			return
		}
		if again := bytes.TrimRight(s.encode(), "\x00"); !bytes.HasPrefix(b, again) {
			t.Fatalf("%x\n%x", b, again)
		}
	})
}
