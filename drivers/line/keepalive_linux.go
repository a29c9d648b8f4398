package line

import (
	"time"

	"golang.org/x/sys/unix"
)

// limitUnacknowledged sets how long what was sent may stay unacknowledged. It is
// an optimisation of fault detection: a kernel without it still has keepalive.
func limitUnacknowledged(fd uintptr, d time.Duration) {
	_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(d.Milliseconds()))
}
