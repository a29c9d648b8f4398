package line

import (
	"errors"
	"fmt"
	"os"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
)

// Serial is a serial port and its line settings.
type Serial struct {
	Path string // device node or a link to one: /dev/serial/by-id/...
	drivers.Settings
}

// openSerial opens, locks and sets up a port. go.bug.st/serial does the set-up;
// bytes then go through our own descriptor, because the library's reads return
// (0, nil) at a time-out, its writes may block for ever, it closes a descriptor
// somebody may still be reading, leaks it into child processes and does not say
// when it could not lock the port.
func openSerial(s Serial) (port, error) {
	f, err := os.OpenFile(s.Path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(s.Path, err)
	}
	if err := control(f, lock); err != nil {
		f.Close()
		return nil, openError(s.Path, err)
	}
	if err := setUp(s); err != nil {
		f.Close()
		return nil, openError(s.Path, err)
	}
	if err := control(f, exclude); err != nil {
		f.Close()
		return nil, openError(s.Path, err)
	}
	p, err := newStream(f)
	if err != nil {
		return nil, openError(s.Path, err)
	}
	return &serialPort{p, f}, nil
}

// serialPort is a locked port.
type serialPort struct {
	port
	f *os.File
}

// Close lets other programs in again, also while one of them has the port open.
func (p *serialPort) Close() error {
	err := control(p.f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCNXCL, 0) })
	if errors.Is(err, unix.EIO) {
		err = nil // unplugged
	}
	return errors.Join(err, p.port.Close())
}

// errHeld says another program holds the port's lock.
var errHeld = errors.New("used by another program")

// lock makes sure that no other program that locks its ports has this one.
func lock(fd int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return err
	}
	if held, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL); err == nil && held != 0 {
		return errHeld // root is let in all the same
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return errHeld
		}
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// setUp gives the port its line settings. They stay while it is open.
func setUp(s Serial) error {
	mode := serial.Mode{BaudRate: s.Baud, DataBits: s.DataBits}
	switch s.Parity {
	case 'E':
		mode.Parity = serial.EvenParity
	case 'O':
		mode.Parity = serial.OddParity
	}
	if s.StopBits == 2 {
		mode.StopBits = serial.TwoStopBits
	}
	p, err := serial.Open(s.Path, &mode)
	if err != nil {
		return fmt.Errorf("set up as %v: %w", s.Settings, err)
	}
	return p.Close()
}

// exclude keeps out programs that do not look at locks. Not on a pty: the mark
// stays as long as anybody has it open, and its other end may, so that after a
// kill we would keep ourselves out.
func exclude(fd int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if major := unix.Major(uint64(st.Rdev)); major >= 136 && major <= 143 { // Unix98 ptys
		return nil
	}
	return markExclusive(fd)
}

func markExclusive(fd int) error {
	if err := unix.IoctlSetInt(fd, unix.TIOCEXCL, 0); err != nil {
		return fmt.Errorf("lock: %w", err)
	}
	return nil
}

// control runs do on the descriptor of f.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}
