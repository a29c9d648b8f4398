package window

import (
	"math"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

var one = []drivers.Reading{{Coef: 7}}

func rec() *Recorder { return NewRecorder(time.Minute, [][]int{{0}}) }

func ms(v int64) time.Time { return time.UnixMilli(v) }

func TestPollsGoToTheWindowTheyBeganIn(t *testing.T) {
	r := rec()
	r.Begin(ms(60_000))
	r.Add(0, ms(119_999), one) // began just before the boundary
	r.Add(0, ms(120_000), one) // began on it
	w, following := r.Take(ms(121_000))
	if w.Start != 60_000 || len(w.meters[0].at) != 1 || w.Last != 119_999 || following != 120_000 {
		t.Fatalf("first window: start %d, %d polls, last %d, next %d; want 60000, 1, 119999, 120000", w.Start, len(w.meters[0].at), w.Last, following)
	}
	if w, _ := r.Take(ms(181_000)); w.Start != 120_000 || len(w.meters[0].at) != 1 {
		t.Fatalf("second window: start %d with %d polls, want 120000 with 1", w.Start, len(w.meters[0].at))
	}
}

func TestLatePollIsKept(t *testing.T) {
	r := rec()
	r.Begin(ms(60_000))
	r.Take(ms(121_000))
	r.Add(0, ms(119_000), one) // its window is sealed already
	w, _ := r.Take(ms(181_000))
	if w.Start != 120_000 || len(w.meters[0].at) != 1 || w.meters[0].at[0] != 119_000 {
		t.Fatalf("late poll: window %d holds %v, want it in 120000 at its true time", w.Start, w.meters[0].at)
	}
}

func TestAWindowIsAlwaysOpen(t *testing.T) {
	r := rec()
	if w, _ := r.Take(ms(1)); w != nil {
		t.Fatal("a window before begin")
	}
	r.Begin(ms(60_500))
	w, following := r.Take(ms(600_000)) // the box slept
	if w.Start != 60_500 || w.End != 120_000 || following != 600_000 {
		t.Fatalf("window %d to %d, next %d; want 60500 to 120000, 600000", w.Start, w.End, following)
	}
}

func TestClockSetBackDoesNotHoldTheWindowOpen(t *testing.T) {
	r := rec()
	now := time.Now()
	r.Begin(now.Add(24 * time.Hour)) // opened by a clock one day ahead
	r.open[0].opened = now           // in truth just now
	if due := r.Due(time.Second); due.After(now.Add(time.Minute + 2*time.Second)) {
		t.Fatalf("due in %v, want one window from now", due.Sub(now))
	}
}

func TestJournalFollowsTheOpenWindows(t *testing.T) {
	r := rec()
	r.Begin(ms(60_000))
	if b := r.Unjournaled(nil, 5, 0); len(b) != 0 || r.JournaledFrom() != math.MaxUint64 {
		t.Fatalf("without a poll: batch of %d bytes, from %d", len(b), r.JournaledFrom())
	}
	r.Add(0, ms(61_000), one)
	if b := r.Unjournaled(nil, 5, 0); len(b) == 0 || r.JournaledFrom() != 5 {
		t.Fatalf("batch of %d bytes, from %d; want some, 5", len(b), r.JournaledFrom())
	}
	r.Add(0, ms(120_100), one)
	r.Unjournaled(nil, 6, 0)
	r.Take(ms(121_000))
	if from := r.JournaledFrom(); from != 6 {
		t.Fatalf("after the first window is sealed the journal is needed from %d, want 6", from)
	}
	r.Add(0, ms(130_000), one)
	r.Take(ms(181_000))
	if b := r.Unjournaled(nil, 7, 0); len(b) != 0 {
		t.Fatal("polls of a sealed window are journaled again")
	}
}

func TestRecycledWindowIsEmpty(t *testing.T) {
	r := rec()
	r.Begin(ms(60_000))
	r.Add(0, ms(61_000), one)
	w, _ := r.Take(ms(121_000))
	r.Recycle(w)
	w, _ = r.Take(ms(181_000)) // opened before recycling
	r.Recycle(w)
	r.Begin(ms(240_000))
	for range 2 {
		if w, _ = r.Take(ms(301_000)); w != nil && len(w.meters[0].at)+len(w.meters[0].rows)+w.meters[0].journaled != 0 {
			t.Fatalf("reused window holds %v", w.meters[0])
		}
	}
}
