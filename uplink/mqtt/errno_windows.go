package mqtt

import (
	"errors"

	"golang.org/x/sys/windows"
)

// What the system's error numbers of a connection mean. Sockets of Windows have
// their own, and not those of package syscall.

func refused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

func unreachable(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAEHOSTUNREACH)
}

func reset(err error) bool {
	return errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAECONNABORTED)
}
