package buffer

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

// TestModel draws histories of everything a log can do and a machine can do
// to it, begun at numbers near the limits of their types too.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := rapid.SampledFrom([]uint64{0, 1<<32 - 5, 1<<63 - 5, math.MaxUint64 - 500}).Draw(t, "start")
		o := Options{
			Start:        start,
			SegmentBytes: rapid.SampledFrom([]int64{1, 200, 1000, 5000}).Draw(t, "segment"),
			SyncEvery:    rapid.SampledFrom([]int{0, 1, 3}).Draw(t, "sync every"),
			Preamble:     func() []byte { return []byte("state") },
		}
		fsys, m := crashfs.New(), newModel()
		m.acked, m.next, m.firstMin, m.firstMax = start, start, start, start
		var l *Log
		open := func(t *rapid.T) {
			var r Recovery
			var err error
			if l, r, err = Open(fsys, dir, o); err == nil {
				err = m.check(l, r)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		must := func(t *rapid.T, err error) {
			if err != nil {
				t.Fatal(err)
			}
		}
		place := func(t *rapid.T) uint64 { return rapid.Uint64Range(l.First(), l.Durable()).Draw(t, "place") }
		open(t)
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) { must(t, m.append(l, rapid.IntRange(0, 1500).Draw(t, "size"))) },
			"sync":   func(t *rapid.T) { must(t, m.sync(l)) },
			"move": func(t *rapid.T) {
				must(t, m.move(l, rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "cursor"), place(t)))
			},
			"trim": func(t *rapid.T) { must(t, m.trim(l, place(t))) },
			"full disk": func(t *rapid.T) {
				fsys.Capacity = 1
				seq := l.Next()
				if _, err := l.Append(make([]byte, 600)); !vfs.NoSpace(err) || l.Next() != seq {
					t.Fatalf("append on a full disk: %v, next %d", err, l.Next())
				}
				m.saw(l)
				must(t, m.trim(l, place(t)))
				fsys.Capacity = 0
			},
			"read": func(t *rapid.T) {
				seq := place(t)
				b, err := l.Read(seq, nil)
				switch want, ok := m.durable[seq]; {
				case seq == l.Durable() && !errors.Is(err, ErrNotYet):
					t.Fatal(seq, err)
				case seq < l.Durable() && (!ok || string(b) != want || err != nil):
					t.Fatalf("record %d is %q, %v, want %q", seq, b, err, want)
				}
			},
			"restart": func(t *rapid.T) {
				if rapid.Bool().Draw(t, "cleanly") {
					must(t, m.close(l))
				} else {
					fsys.Kill()
				}
				open(t)
			},
			"power cut": func(t *rapid.T) {
				r := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
				fsys.Crash(rapid.SampledFrom(crashfs.Modes()).Draw(t, "mode"), r)
				open(t)
			},
		})
	})
}

// One writer, a syncer, readers, a trimmer and a scrubber at the same time.
func TestConcurrency(t *testing.T) {
	const end = 2000
	l, _ := mustOpen(t, crashfs.New(), Options{SegmentBytes: 4096, QuotaBytes: 40_000})
	var wg sync.WaitGroup
	failed := make(chan error, 10)
	run := func(f func() error) {
		wg.Go(func() {
			if err := f(); err != nil {
				failed <- err
			}
		})
	}
	run(func() error {
		for seq := range uint64(end) {
			if _, err := l.Append(payload(seq)); err != nil {
				return err
			}
			if seq%100 == 99 {
				if _, err := l.Trim(); err != nil {
					return err
				}
			}
		}
		return l.Sync()
	})
	run(func() error {
		for l.Durable() < end {
			if err := l.Sync(); err != nil {
				return err
			}
			if _, _, err := l.Scrub(t.Context()); err != nil && !errors.Is(err, ErrGone) {
				return err
			}
		}
		return nil
	})
	for i := range 3 {
		run(func() error {
			c, err := l.Cursor(fmt.Sprintf("reader-%d", i))
			if err != nil {
				return err
			}
			var buf []byte
			for seq := uint64(0); seq < end; {
				if err := l.Wait(t.Context(), seq); err != nil {
					return err
				}
				buf, err = l.Read(seq, buf)
				if errors.Is(err, ErrGone) {
					seq = l.First()
					continue
				}
				if err != nil || !bytes.Equal(buf, payload(seq)) {
					return fmt.Errorf("record %d is %q, %v", seq, buf, err)
				}
				seq++
				if err := c.Set(seq); err != nil {
					return err
				}
			}
			return nil
		})
	}
	wg.Wait()
	close(failed)
	for err := range failed {
		t.Error(err)
	}
	if l.Bytes() > 40_000+5000 {
		t.Errorf("%d bytes", l.Bytes())
	}
}
