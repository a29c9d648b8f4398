package line

import (
	"errors"
	"os"
	"slices"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

func (s *stream) discard(b []byte) (total int, _ error) {
	if err := s.SetReadDeadline(time.Time{}); err != nil {
		return 0, err
	}
	for {
		n, err := s.waiting()
		if n == 0 || err != nil {
			return total, err // where it is closed, the next read says so
		}
		n, err = s.Read(b[:min(n, len(b))])
		total += n
		if err != nil {
			return total, err
		}
	}
}

// waiting is how many bytes a read gets without waiting for more.
func (s *stream) waiting() (n int, _ error) {
	_, serial := s.file.(*os.File)
	var failed error
	err := s.raw.Control(func(fd uintptr) {
		if serial {
			var stat windows.ComStat
			failed = windows.ClearCommError(windows.Handle(fd), new(uint32), &stat)
			n = int(stat.CBInQue)
			return
		}
		const fionread = 0x4004667f // ws2def.h
		var count, size uint32
		failed = windows.WSAIoctl(windows.Handle(fd), fionread, nil, 0,
			(*byte)(unsafe.Pointer(&count)), uint32(unsafe.Sizeof(count)), &size, nil, 0)
		n = int(count)
	})
	return n, errors.Join(err, failed)
}

// hungUp reports whether err is what a serial port says whose adapter is gone.
// Drivers differ in which of these it is.
func hungUp(err error) bool {
	var code syscall.Errno
	return errors.As(err, &code) && slices.Contains([]syscall.Errno{
		windows.ERROR_ACCESS_DENIED, windows.ERROR_BAD_COMMAND, windows.ERROR_GEN_FAILURE, windows.ERROR_NO_SUCH_DEVICE,
		windows.ERROR_OPERATION_ABORTED, windows.ERROR_DEVICE_NOT_CONNECTED, windows.ERROR_DEVICE_REMOVED,
	}, code)
}

// limitUnacknowledged sets how long what was sent may stay unacknowledged. It is
// an optimisation of fault detection: where it is not known there is keepalive.
func limitUnacknowledged(fd uintptr, d time.Duration) {
	const tcpMaxRT = 5 // TCP_MAXRT of ws2ipdef.h, in seconds
	_ = windows.SetsockoptInt(windows.Handle(fd), windows.IPPROTO_TCP, tcpMaxRT, int(d.Seconds()))
}
