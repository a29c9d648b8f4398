package schedule

import (
	"testing"
	"time"
)

func at(ms int64) time.Time { return time.UnixMilli(ms) }

func TestFirstPollIsDueAtOnce(t *testing.T) {
	p := New(at(12_345), []time.Duration{10 * time.Second, time.Second})
	if i, due := p.Next(); i != 0 || !due.Equal(at(12_345)) {
		t.Fatalf("Next = %d at %v, want entry 0 at the start", i, due.UnixMilli())
	}
	p.Done(0, at(12_400))
	if i, due := p.Next(); i != 1 || !due.Equal(at(12_345)) {
		t.Fatalf("Next = %d at %v, want entry 1 at the start", i, due.UnixMilli())
	}
}

func TestPollsLieOnTheGrid(t *testing.T) {
	p := New(at(12_345), []time.Duration{10 * time.Second})
	for _, c := range []struct{ now, due, skipped int64 }{
		{12_400, 20_000, 0}, // start is off the grid, the next is on it
		{20_100, 30_000, 0},
		{30_000, 40_000, 0}, // finished exactly on a grid time: that one is past
		{40_500, 50_000, 0},
		{71_000, 80_000, 2}, // due 50, finished 71: the polls of 60 and 70 were not made
	} {
		skipped := p.Done(0, at(c.now))
		if _, due := p.Next(); due.UnixMilli() != c.due || skipped != int(c.skipped) {
			t.Errorf("after a poll that ended at %d: due %d skipped %d, want %d and %d", c.now, due.UnixMilli(), skipped, c.due, c.skipped)
		}
	}
}

// The clock is set back just when two meters are due: both are asked, then they
// are on the grid of the new time.
func TestClockSetLosesNoPoll(t *testing.T) {
	p := New(at(1_000_000), []time.Duration{time.Second, time.Second})
	p.Done(0, at(1_000_000))
	p.Done(1, at(1_000_000))
	p.Shift(at(500).Sub(at(1_001_000)))
	for range 2 {
		i, due := p.Next()
		if due.UnixMilli() != 500 {
			t.Fatalf("meter %d is due at %d, want 500, the instant it was due before", i, due.UnixMilli())
		}
		if skipped := p.Done(i, at(510)); skipped != 0 {
			t.Fatalf("meter %d: %d polls passed over", i, skipped)
		}
	}
	if i, due := p.Next(); due.UnixMilli() != 1000 {
		t.Fatalf("meter %d is due at %d, want 1000", i, due.UnixMilli())
	}
}

func TestEmptyPlan(t *testing.T) {
	if i, _ := New(at(0), nil).Next(); i != -1 {
		t.Fatalf("Next of an empty plan = %d, want -1", i)
	}
}
