//go:build !linux

package mqtt

import (
	"syscall"
	"time"
)

// userTimeout: only Linux lets a program bound how long sent data may stay
// unacknowledged. Elsewhere the ping reply that does not come ends the session.
func userTimeout(time.Duration) func(network, address string, c syscall.RawConn) error { return nil }
