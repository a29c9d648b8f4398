package plant

import (
	"context"
	"math"
	"testing"
	"testing/synctest"
	"time"
)

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClock(100, Hold{FirstPoll: true, For: time.Second}, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		at := func(want time.Duration) {
			t.Helper()
			if got := c.Elapsed(); got != want {
				t.Errorf("%v, want %v", got, want)
			}
		}
		time.Sleep(time.Hour)
		at(0)
		c.Polled()
		at(0)
		time.Sleep(time.Second)
		c.Polled() // the first poll counts
		at(0)
		time.Sleep(100 * time.Millisecond)
		at(10 * time.Second)
		before := time.Now()
		if err := c.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(before); waited != 500*time.Millisecond {
			t.Errorf("waited %v for the end", waited)
		}
		at(time.Minute)
		time.Sleep(time.Hour)
		at(time.Minute)
		if !c.Ended() {
			t.Error("not ended")
		}
	})
}

func TestClockWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, err := NewClock(1e9, Hold{}, 0)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 365*24*time.Hour)
		defer cancel()
		if err := c.Wait(ctx); err != context.DeadlineExceeded {
			t.Errorf("Wait: %v", err)
		}
		if got := c.Elapsed(); got != math.MaxInt64 {
			t.Errorf("%v, want the clock to stand at the end of what it can count", got)
		}
	})
}

func TestClockSpeed(t *testing.T) {
	for _, speed := range []float64{0, -1, math.NaN(), math.Inf(1)} {
		if _, err := NewClock(speed, Hold{}, 0); err == nil {
			t.Errorf("speed %v: no error", speed)
		}
	}
}

func TestParseHold(t *testing.T) {
	for s, want := range map[string]Hold{
		"0": {}, "5s": {For: 5 * time.Second}, "first-poll": {FirstPoll: true}, "first-poll+2s": {true, 2 * time.Second},
	} {
		if got, err := ParseHold(s); err != nil || got != want {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, s := range []string{"", "5", "-1s", "first-poll+", "first-poll5s", "first-poll+-1s", "poll"} {
		if got, err := ParseHold(s); err == nil {
			t.Errorf("%q: %+v", s, got)
		}
	}
}
