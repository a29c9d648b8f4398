package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs"
)

func write(t *testing.T, f vfs.File, off int64, b []byte) {
	t.Helper()
	if _, err := f.WriteAt(b, off); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, fsys *FS, name string) string {
	t.Helper()
	f, err := fsys.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return "none"
	}
	if err != nil {
		t.Fatal(err)
	}
	size, _ := f.Size()
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil && !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return string(b)
}

// Outcomes of one short history over all ways to crash: exactly those the
// model allows, and each of them.
func TestWhatSurvives(t *testing.T) {
	sector := bytes.Repeat([]byte{'n'}, Sector)
	histories := []struct {
		name string
		do   func(t *testing.T, f *FS)
		want []string // content of /d/a and /d/b
	}{
		{"file synced, name not", func(t *testing.T, f *FS) {
			a, _ := f.Create("/d/a")
			write(t, a, 0, []byte("x"))
			a.Sync()
		}, []string{"none none", "x none"}},
		{"name synced, file not", func(t *testing.T, f *FS) {
			a, _ := f.Create("/d/a")
			f.SyncDir("/d")
			write(t, a, 0, []byte("xy"))
		}, []string{" none", "xy none", "\x00\x00 none"}},
		{"rename not synced", func(t *testing.T, f *FS) {
			a, _ := f.Create("/d/a")
			write(t, a, 0, []byte("x"))
			a.Sync()
			f.SyncDir("/d")
			f.Rename("/d/a", "/d/b")
		}, []string{"x none", "none x"}},
		{"two removals, any order", func(t *testing.T, f *FS) {
			f.Create("/d/a")
			f.Create("/d/b")
			f.SyncDir("/d")
			f.Remove("/d/a")
			f.Remove("/d/b")
		}, []string{" ", "none ", " none", "none none"}},
		{"truncation not synced", func(t *testing.T, f *FS) {
			a, _ := f.Create("/d/a")
			write(t, a, 0, []byte("xyz"))
			a.Sync()
			f.SyncDir("/d")
			a.Truncate(1)
		}, []string{"xyz none", "x none", "x\x00\x00 none"}},
		{"a failed sync proves nothing, nor does the next", func(t *testing.T, f *FS) {
			a, _ := f.Create("/d/a")
			f.SyncDir("/d")
			write(t, a, 0, []byte("x"))
			f.Inject = func(Op) Fault { return Fault{Err: syscall.EIO} }
			if err := a.Sync(); !errors.Is(err, syscall.EIO) {
				t.Fatal(err)
			}
			f.Inject = nil
			if err := a.Sync(); err != nil || read(t, f, "/d/a") != "x" {
				t.Fatal(err)
			}
		}, []string{" none", "x none", "\x00 none"}},
	}
	for _, h := range histories {
		seen := map[string]bool{}
		for _, mode := range []Mode{Nothing, Everything, Prefix, Subset, Torn} {
			for seed := range uint64(40) {
				f := New()
				f.MkdirAll("/d")
				h.do(t, f)
				f.Crash(mode, rand.New(rand.NewPCG(seed, 0)))
				seen[read(t, f, "/d/a")+" "+read(t, f, "/d/b")] = true
			}
		}
		var got []string
		for s := range seen {
			got = append(got, s)
		}
		slices.Sort(got)
		slices.Sort(h.want)
		if !slices.Equal(got, h.want) {
			t.Errorf("%s: %q, want %q", h.name, got, h.want)
		}
	}

	// Sectors are torn, never bytes; what was synced stays.
	torn, garbage := false, false
	for seed := range uint64(60) {
		f := New()
		f.MkdirAll("/d")
		a, _ := f.Create("/d/a")
		f.SyncDir("/d")
		write(t, a, 0, bytes.Repeat([]byte{'o'}, 2*Sector))
		a.Sync()
		write(t, a, 0, bytes.Repeat(sector, 4))
		f.Crash([]Mode{Torn, Garbage}[seed%2], rand.New(rand.NewPCG(seed, 0)))
		got := []byte(read(t, f, "/d/a"))
		for i := 0; i < len(got); i += Sector {
			s := got[i : i+Sector]
			switch {
			case bytes.Equal(s, sector):
				torn = true
			case i < 2*Sector && !bytes.Equal(s, bytes.Repeat([]byte{'o'}, Sector)):
				t.Fatalf("seed %d: a synced sector became %q", seed, s)
			case i >= 2*Sector && s[0] != 0:
				garbage = true
			}
		}
	}
	if !torn || !garbage {
		t.Error("nothing torn, or no garbage, in 60 crashes")
	}
}

func TestPowerGoesAndComesBack(t *testing.T) {
	f := New()
	f.MkdirAll("/d")
	lock, _ := f.Lock("/d")
	if _, err := f.Lock("/d"); !errors.As(err, new(*vfs.LockedError)) {
		t.Fatal(err)
	}
	a, _ := f.Create("/d/a")
	f.CrashAt = f.Ops()
	if _, err := a.WriteAt([]byte("x"), 0); !errors.Is(err, ErrCrashed) {
		t.Fatal(err)
	}
	if err := f.SyncDir("/d"); !errors.Is(err, ErrCrashed) {
		t.Fatal(err)
	}
	f.Crash(Nothing, nil)
	if _, err := a.Size(); !errors.Is(err, ErrCrashed) {
		t.Fatalf("a file from before: %v", err)
	}
	lock.Close()
	if _, err := f.Lock("/d"); err != nil {
		t.Fatal(err)
	}
	lock.Close() // of an earlier life: frees nothing
	if _, err := f.Lock("/d"); err == nil {
		t.Fatal("locked twice")
	}
}

func TestCapacityAndPartialWrites(t *testing.T) {
	f := New()
	f.Capacity = 10
	f.MkdirAll("/d")
	a, _ := f.Create("/d/a")
	if n, err := a.WriteAt(make([]byte, 12), 0); n != 10 || !vfs.NoSpace(err) {
		t.Fatal(n, err)
	}
	if n, err := a.WriteAt(make([]byte, 10), 0); n != 10 || err != nil {
		t.Fatalf("overwriting needs no space: %d, %v", n, err)
	}
	a.Truncate(4)
	f.Inject = func(op Op) Fault { return Fault{Err: syscall.EIO, Partial: 2} }
	if n, err := a.WriteAt(make([]byte, 5), 4); n != 2 || !errors.Is(err, syscall.EIO) {
		t.Fatal(n, err)
	}
	f.Inject = nil
	if n, _ := f.Size("/d/a"); n != 6 {
		t.Fatal(n)
	}
	if names, err := f.ReadDir("/d"); err != nil || !slices.Equal(names, []string{"a"}) {
		t.Fatal(names, err)
	}
}

func TestCloneIsIndependent(t *testing.T) {
	f := New()
	f.MkdirAll("/d")
	a, _ := f.Create("/d/a")
	f.SyncDir("/d")
	write(t, a, 0, []byte("x"))
	c := f.Clone()
	c.Crash(Nothing, nil)
	if got := read(t, c, "/d/a"); got != "" {
		t.Errorf("the copy has %q", got)
	}
	if got := read(t, f, "/d/a"); got != "x" {
		t.Errorf("the original has %q", got)
	}
}
