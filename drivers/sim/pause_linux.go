package sim

import (
	"context"
	"io"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sleepExactly is sleep, exact to a few microseconds where rw is a descriptor,
// whose far end can tell: time.Sleep may be a millisecond late, and a thread
// wakes 50 to 100 us late.
func sleepExactly(ctx context.Context, rw io.ReadWriter, d time.Duration) error {
	const coarse, spin = 2 * time.Millisecond, 100 * time.Microsecond
	if _, real := rw.(syscall.Conn); !real || d <= 0 {
		return sleep(ctx, d)
	}
	end := time.Now().Add(d)
	err := sleep(ctx, d-coarse)
	for d := time.Until(end); d > 0 && err == nil; d = time.Until(end) {
		if d > spin {
			t := unix.NsecToTimespec(int64(d - spin))
			_ = unix.Nanosleep(&t, nil) // cut short by a signal, it is called again
		}
	}
	return err
}
