package line

import (
	"errors"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// RS485 has the kernel switch the direction of an RS-485 port by its RTS line,
// where the board has wired it so and nothing does it in hardware.
type RS485 struct {
	RTSOnSend   bool          // RTS is high while sending, otherwise low
	DelayBefore time.Duration // from switching to the first bit sent, in whole ms
	DelayAfter  time.Duration // from the last bit sent to switching back, in whole ms
}

var errNoRS485 = errors.New("its driver does not switch the direction of an RS-485 line; going on without, as where the hardware does it")

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
