package line

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
	"time"
)

const (
	dialTimeout = 3 * time.Second
	// stall is how long sent bytes may stay unacknowledged: a serial server
	// that lost its power is noticed even while requests keep the connection
	// from being idle.
	stall = 10 * time.Second
)

// dialTCP connects to host:port. TCP_NODELAY is Go's default.
func dialTCP(ctx context.Context, address string) (port, error) {
	d := net.Dialer{
		Timeout:         dialTimeout,
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: stall, Interval: stall / 2, Count: 3},
		Control: func(_, _ string, c syscall.RawConn) error {
			return c.Control(func(fd uintptr) { limitUnacknowledged(fd, stall) })
		},
	}
	c, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		if n := net.Error(nil); errors.As(err, &n) && n.Timeout() {
			return nil, fmt.Errorf("connect to %s: no answer within %v", address, dialTimeout)
		}
		return nil, fmt.Errorf("connect to %s: %w", address, plain(err))
	}
	return newStream(c.(*net.TCPConn))
}
