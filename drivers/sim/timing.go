package sim

import (
	"context"
	"time"
)

// timing is how fast a line and the meters on it are. The zero timing answers
// at once.
type timing struct {
	baud int // 0: no wire at all, bytes pass at once
	bits int // of a character on the wire
	// delay is the meter's own time between the silence that ends a request and
	// the first bit of the reply.
	delay time.Duration
}

// char is the time of n characters.
func (t timing) char(n int) time.Duration {
	if t.baud == 0 {
		return 0
	}
	return time.Duration(n*t.bits) * time.Second / time.Duration(t.baud)
}

// silence is what ends a frame: 3.5 characters, above 19200 baud fixed (Modbus
// over Serial Line V1.02, section 2.5.1.1).
func (t timing) silence() time.Duration {
	if t.baud > 19200 {
		return 1750 * time.Microsecond
	}
	return t.char(7) / 2
}

// landed is when byte i of the reply (from 0) has fully arrived, counted from
// the moment the request was handed to the line: a pseudo-terminal passes the
// request at once, so its own time on the wire is added here.
func (t timing) landed(request, i int) time.Duration {
	return t.char(request) + t.silence() + t.delay + t.char(i+1)
}

// sleep waits for d or until ctx is done.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
