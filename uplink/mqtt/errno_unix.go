//go:build !windows

package mqtt

import (
	"errors"
	"syscall"
)

// What the system's error numbers of a connection mean.

func refused(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

func unreachable(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EHOSTUNREACH)
}

func reset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}
