package line

import (
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is how coarse the clock is: time.Now may be as much behind.
const clockTick = 0

// spin is how long before the instant a pause begins to watch the clock: a
// sleeping thread wakes 50 to 100 µs late.
const spin = 100 * time.Microsecond

// pause sleeps for d, exact to a few microseconds, so that a bus is neither
// asked too early nor left idle. time.Sleep may be a millisecond late, because
// the runtime of an idle process waits in whole milliseconds.
func pause(d time.Duration) {
	end := time.Now().Add(d)
	for {
		d := time.Until(end)
		if d <= 0 {
			return
		}
		if d > spin {
			// Cut short by a signal, it is called again.
			t := unix.NsecToTimespec(int64(d - spin))
			_ = unix.Nanosleep(&t, nil)
		}
	}
}
