package line

import "time"

// clockTick is how coarse the clock is: time.Now may be as much behind. It reads
// what the last timer interrupt left, and finerClock has that come each
// millisecond instead of every 15.6.
const clockTick = time.Millisecond

// pause sleeps for d and up to a millisecond longer. Go's own timers wait on a
// CREATE_WAITABLE_TIMER_HIGH_RESOLUTION timer (release notes of Go 1.23); to
// watch the clock for the rest would need a clock that is finer than they are.
func pause(d time.Duration) { time.Sleep(d) }
