package plant

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Hold says when a simulation begins to move. The zero Hold begins at once.
// Until then every meter answers with the state at the load's start.
type Hold struct {
	FirstPoll bool          // wait until some meter is asked for the first time
	For       time.Duration // and then, or from the start, this much longer
}

// ParseHold reads "0", "5s", "first-poll" or "first-poll+5s".
func ParseHold(s string) (Hold, error) {
	var h Hold
	rest := s
	if after, ok := strings.CutPrefix(s, "first-poll"); ok {
		h.FirstPoll = true
		if after == "" {
			return h, nil
		}
		if rest, ok = strings.CutPrefix(after, "+"); !ok {
			rest = ""
		}
	}
	d, err := time.ParseDuration(rest)
	if err != nil || d < 0 {
		return Hold{}, fmt.Errorf("hold %q: expected a duration, first-poll, or first-poll+DURATION", s)
	}
	h.For = d
	return h, nil
}

// Clock maps real time to simulated time. It is safe for concurrent use.
type Clock struct {
	speed  float64
	hold   Hold
	length time.Duration // 0: endless
	began  atomic.Pointer[time.Time]
	moving chan struct{} // closed once began is set
	once   sync.Once
}

// NewClock makes a clock that runs speed times as fast as real time, from the
// moment hold allows, for length of simulated time (0: for ever).
func NewClock(speed float64, hold Hold, length time.Duration) (*Clock, error) {
	if !(speed > 0) || math.IsInf(speed, 0) {
		return nil, fmt.Errorf("speed %v: expected a number above 0", speed)
	}
	c := &Clock{speed: speed, hold: hold, length: length, moving: make(chan struct{})}
	if !hold.FirstPoll {
		c.release()
	}
	return c, nil
}

// Polled tells the clock that a meter is being asked.
func (c *Clock) Polled() {
	if c.began.Load() == nil {
		c.release()
	}
}

func (c *Clock) release() {
	c.once.Do(func() {
		began := time.Now().Add(c.hold.For)
		c.began.Store(&began)
		close(c.moving)
	})
}

// Elapsed is the simulated time since the load's start. It never runs
// backwards and stops at the end of the load.
func (c *Clock) Elapsed() time.Duration {
	began := c.began.Load()
	if began == nil {
		return 0
	}
	sim := max(0, float64(time.Since(*began))*c.speed)
	if c.length > 0 && sim >= float64(c.length) {
		return c.length
	}
	if sim >= math.MaxInt64 {
		return math.MaxInt64
	}
	return time.Duration(sim)
}

// Ended reports whether the end of the load has been reached.
func (c *Clock) Ended() bool { return c.length > 0 && c.Elapsed() == c.length }

// Wait returns nil when the end of the load is reached, which it never is on
// an endless one, or ctx's error.
func (c *Clock) Wait(ctx context.Context) error {
	select {
	case <-c.moving:
	case <-ctx.Done():
		return ctx.Err()
	}
	for !c.Ended() {
		left := time.Hour
		if c.length > 0 {
			real := float64(c.length)/c.speed - float64(time.Since(*c.began.Load()))
			left = time.Duration(min(max(real, float64(time.Millisecond)), float64(time.Hour)))
		}
		select {
		case <-time.After(left):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
