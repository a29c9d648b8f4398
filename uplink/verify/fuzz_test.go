package verify

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// FuzzNext: no bytes but the box's own are accepted, and none panic.
func FuzzNext(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 3)
	genuine := map[string]bool{}
	for _, d := range s.Deliveries {
		f.Add(d)
		genuine[string(d)] = true
	}
	state := follow(f, s.Meta, s.Deliveries[:3]...).State()
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := Restore(pub(1), state)
		if err != nil {
			t.Fatal(err)
		}
		res := v.Next(b, time.Time{})
		if !res.Verdict.Accepted() || genuine[string(b)] {
			return
		}
		// Blocks left out and an anchor added are no change of the leaf.
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			t.Fatalf("%s, but it does not parse: %v", res.Verdict, err)
		}
		for _, own := range s.Deliveries {
			if o, _ := evidence.ParseDelivery(own); o.Hash() == d.Hash() {
				return
			}
		}
		t.Fatalf("%s: a leaf the box never signed", res.Verdict)
	})
}

func FuzzRestore(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 3)
	f.Add(follow(f, s.Meta, s.Deliveries[:3]...).State())
	f.Add(follow(f, nil).State())
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := Restore(pub(1), b); err == nil {
			v.Next(s.Deliveries[3], time.Time{})
			v.Receipt()
			v.State()
		}
	})
}

// endless is a bundle's head followed by items of the given size that are no
// deliveries.
func endless(t *testing.T, items, size int) io.Reader {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 0)
	head := archive(t, s, 0, 1, nil)
	item := append([]byte{0x5a, byte(size >> 24), byte(size >> 16), byte(size >> 8), byte(size)}, make([]byte, size)...)
	readers := []io.Reader{bytes.NewReader(head)}
	for range items {
		readers = append(readers, bytes.NewReader(item))
	}
	return io.MultiReader(readers...)
}

// TestBundleMemory: a file of any length is checked in the memory of one item,
// and a thousand faults are listed as examples of all.
func TestBundleMemory(t *testing.T) {
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before, peak := heap(), uint64(0)
	s := evidencetest.NewStream(t, 1, 0)
	n := 0
	sum, err := Bundle(endless(t, 256, 1<<20), trusting(s), func(Result) {
		if n++; n%64 == 0 {
			peak = max(peak, heap())
		}
	})
	if err != nil || sum.Verdict != Unreadable || sum.Faults != 256 {
		t.Fatalf("%+v %v", sum, err)
	}
	if grown := int64(peak) - int64(before); grown > 8<<20 {
		t.Errorf("256 MiB of items: heap grew by %d bytes", grown)
	}
	sum, err = Bundle(endless(t, 5000, 1<<16), trusting(s), nil)
	if err != nil || sum.Faults != 5000 || len(sum.Altered) != 0 || len(sum.Refused) != listed {
		t.Errorf("%d faults, %d listed, %v", sum.Faults, len(sum.Refused), err)
	}
	if _, err := Bundle(bytes.NewReader(nil), Policy{}, nil); !errors.Is(err, bundle.ErrNotBundle) {
		t.Errorf("an empty file: %v", err)
	}
}
