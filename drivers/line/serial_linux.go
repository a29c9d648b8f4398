package line

import (
	"errors"
	"fmt"
	"os"

	"go.bug.st/serial"
	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
)

// openPort opens the port of s. warn is told what the port cannot do.
func openPort(s Serial, warn func(error)) (port, error) { return openSerial(s, lockFolder, warn) }

// openSerial opens, locks and sets up a port. go.bug.st/serial does the set-up;
// bytes then go through our own descriptor, because the library's reads return
// (0, nil) at a time-out, its writes may block for ever, it closes a descriptor
// somebody may still be reading, leaks it into child processes and does not say
// when it could not lock the port.
//
// locks is the folder of UUCP lock files.
func openSerial(s Serial, locks string, warn func(error)) (_ port, failed error) {
	f, err := os.OpenFile(s.Path, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, openError(s.Path, err)
	}
	unlock := func() {}
	defer func() {
		if failed != nil {
			unlock()
			f.Close()
			failed = openError(s.Path, failed)
		}
	}()
	if err := control(f, lock); err != nil {
		return nil, err
	}
	taken, err := lockFile(locks, s.Path)
	if err != nil {
		return nil, err
	}
	unlock = taken
	if err := setUp(s); err != nil {
		return nil, err
	}
	if err := control(f, func(fd int) error { return verify(fd, s.Path, s.Settings) }); err != nil {
		return nil, err
	}
	if s.RS485 != nil {
		if err := control(f, s.RS485.enable); errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EINVAL) {
			warn(fmt.Errorf("port %s: %w", s.Path, errNoRS485))
		} else if err != nil {
			return nil, err
		}
	}
	if err := control(f, exclude); err != nil {
		return nil, err
	}
	p, err := newStream(f)
	if err != nil {
		return nil, err
	}
	return &serialPort{p, f, unlock}, nil
}

// serialPort is a locked port.
type serialPort struct {
	port
	f      *os.File
	unlock func() // removes the lock file
}

// Close lets other programs in again, also while one of them has the port open.
func (p *serialPort) Close() error {
	err := control(p.f, func(fd int) error { return unix.IoctlSetInt(fd, unix.TIOCNXCL, 0) })
	if errors.Is(err, unix.EIO) {
		err = nil // unplugged
	}
	p.unlock()
	return errors.Join(err, p.port.Close())
}

// configure lets what was written go out, then changes the settings. The speed
// is set as a number, so that odd ones work too.
func (p *serialPort) configure(s drivers.Settings) error {
	return control(p.f, func(fd int) error {
		t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
		if err != nil {
			return err
		}
		apply(t, s)
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.IoctlSetTermios(fd, unix.TCSETSW2, t)
		}
		switch {
		case errors.Is(err, unix.EINVAL):
			return &settingsError{p.f.Name(), s, err}
		case err != nil:
			return err
		}
		return verify(fd, p.f.Name(), s)
	})
}

// verify reads the settings back: a driver that cannot do some leaves or takes
// others without a word. A pty is always 8N, and nothing comes of it.
func verify(fd int, path string, s drivers.Settings) error {
	t, err := unix.IoctlGetTermios(fd, unix.TCGETS2)
	if err != nil {
		return err
	}
	pty, err := isPTY(fd)
	if err != nil {
		return err
	}
	if pty {
		t.Cflag &^= unix.CSIZE | unix.PARENB | unix.PARODD
		want := unix.Termios{}
		apply(&want, s)
		t.Cflag |= want.Cflag & (unix.CSIZE | unix.PARENB | unix.PARODD)
	}
	if err := difference(settingsIn(t), s); err != nil {
		return &settingsError{path, s, err}
	}
	return nil
}

// settingsIn are those that t holds.
func settingsIn(t *unix.Termios) drivers.Settings {
	s := drivers.Settings{Baud: int(t.Ospeed), Parity: 'N', StopBits: 1}
	s.DataBits = map[uint32]int{unix.CS5: 5, unix.CS6: 6, unix.CS7: 7, unix.CS8: 8}[t.Cflag&unix.CSIZE]
	switch t.Cflag & (unix.PARENB | unix.PARODD) {
	case unix.PARENB:
		s.Parity = 'E'
	case unix.PARENB | unix.PARODD:
		s.Parity = 'O'
	}
	if t.Cflag&unix.CSTOPB != 0 {
		s.StopBits = 2
	}
	return s
}

// apply puts settings into t.
func apply(t *unix.Termios, s drivers.Settings) {
	t.Cflag &^= unix.CBAUD | unix.CBAUD<<unix.IBSHIFT | unix.CSIZE | unix.CSTOPB | unix.PARENB | unix.PARODD
	t.Iflag &^= unix.INPCK
	t.Cflag |= unix.BOTHER
	t.Ispeed, t.Ospeed = uint32(s.Baud), uint32(s.Baud)
	if s.DataBits == 7 {
		t.Cflag |= unix.CS7
	} else {
		t.Cflag |= unix.CS8
	}
	if s.StopBits == 2 {
		t.Cflag |= unix.CSTOPB
	}
	if s.Parity != 'N' {
		t.Cflag |= unix.PARENB
		t.Iflag |= unix.INPCK
	}
	if s.Parity == 'O' {
		t.Cflag |= unix.PARODD
	}
}

// heldError says another program holds the port, and which where the lock says so.
type heldError string

func (heldError) Error() string { return "used by another program" }

// lock makes sure that no other program that locks its ports has this one.
func lock(fd int) error {
	if _, err := unix.IoctlGetTermios(fd, unix.TCGETS); err != nil {
		return err
	}
	if held, err := unix.IoctlGetInt(fd, unix.TIOCGEXCL); err == nil && held != 0 {
		return heldError("") // root is let in all the same
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return heldError("")
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
	if pty, err := isPTY(fd); pty || err != nil {
		return err
	}
	return markExclusive(fd)
}

func isPTY(fd int) (bool, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return false, err
	}
	major := unix.Major(uint64(st.Rdev))
	return major >= 136 && major <= 143, nil // Unix98 ptys
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
