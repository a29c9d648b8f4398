package line

import (
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// serialRS485 is struct serial_rs485 of linux/serial.h.
type serialRS485 struct {
	flags                   uint32
	delayBefore, delayAfter uint32 // ms
	_                       [5]uint32
}

const (
	rs485Enabled = 1 << iota
	rs485RTSOnSend
	rs485RTSAfterSend
)

// request is the switch as the kernel takes it.
func (r *RS485) request() serialRS485 {
	s := serialRS485{flags: rs485Enabled | rs485RTSAfterSend, delayBefore: milliseconds(r.DelayBefore), delayAfter: milliseconds(r.DelayAfter)}
	if r.RTSOnSend {
		s.flags = rs485Enabled | rs485RTSOnSend
	}
	return s
}

// enable asks the driver of fd for it; ENOTTY and EINVAL say it cannot.
func (r *RS485) enable(fd int) error {
	s := r.request()
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TIOCSRS485, uintptr(unsafe.Pointer(&s))); errno != 0 {
		return errno
	}
	return nil
}

// milliseconds rounds up.
func milliseconds(d time.Duration) uint32 {
	return uint32((d + time.Millisecond - 1) / time.Millisecond)
}
