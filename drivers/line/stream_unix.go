//go:build unix

package line

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

func (s *stream) discard(b []byte) (total int, _ error) {
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	err := s.raw.Read(func(fd uintptr) bool {
		for {
			n, err := unix.Read(int(fd), b)
			if n <= 0 && err != unix.EINTR {
				return true // empty; where it is closed or broken, the next read says so
			}
			total += max(n, 0)
		}
	})
	return total, err
}

// hungUp reports whether err is what a tty says whose other end is gone.
func hungUp(err error) bool { return errors.Is(err, unix.EIO) }
