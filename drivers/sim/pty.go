//go:build linux

package sim

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
)

// PTY is the meters' end of a pseudo-terminal that stands for a serial line.
// Reads and writes end when it is closed.
type PTY struct {
	*os.File        // the master
	Device   string // what the other side opens: /dev/pts/N
	link     string // symbolic link to Device, or ""
	slave    *os.File
	cancel   context.CancelFunc
	done     chan struct{}
	close    sync.Once
}

// OpenPTY makes a pseudo-terminal in raw mode and, unless link is empty, a
// symbolic link to it. A symbolic link that is already there is replaced; any
// other file is left alone and is an error. Close removes the link.
func OpenPTY(link string) (*PTY, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	defer master.Close()
	if err := makeRaw(slave); err != nil {
		slave.Close()
		return nil, fmt.Errorf("set %s to raw mode: %w", slave.Name(), err)
	}
	// pty.Open leaves the master blocking, so that a Read could not be ended by
	// Close; a copy of the descriptor joins the runtime's poller.
	fd, err := unix.FcntlInt(master.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err == nil {
		err = unix.SetNonblock(fd, true)
	}
	if err != nil {
		slave.Close()
		return nil, fmt.Errorf("open pseudo-terminal: %w", err)
	}
	p := &PTY{File: os.NewFile(uintptr(fd), master.Name()), Device: slave.Name(), slave: slave, done: make(chan struct{})}
	if err := p.linkAt(link); err != nil {
		p.File.Close()
		slave.Close()
		return nil, err
	}
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.Background())
	go p.share(ctx)
	return p, nil
}

// Path is what the other side opens: the link if there is one.
func (p *PTY) Path() string {
	if p.link != "" {
		return p.link
	}
	return p.Device
}

// Close ends pending reads and removes the link. Further calls do nothing.
func (p *PTY) Close() error {
	var err error
	p.close.Do(func() {
		p.cancel()
		<-p.done
		if target, e := os.Readlink(p.link); p.link != "" && e == nil && target == p.Device {
			err = os.Remove(p.link)
		}
		err = errors.Join(err, p.slave.Close(), p.File.Close())
	})
	return err
}

func (p *PTY) linkAt(link string) error {
	if link == "" {
		return nil
	}
	switch info, err := os.Lstat(link); {
	case err == nil && info.Mode()&fs.ModeSymlink == 0:
		return fmt.Errorf("link %s to the pseudo-terminal: a file of that name is already there", link)
	case err == nil:
		if err := os.Remove(link); err != nil {
			return err
		}
	}
	if err := os.Symlink(p.Device, link); err != nil {
		return fmt.Errorf("link %s to the pseudo-terminal: %w", link, errors.Unwrap(err))
	}
	abs, err := filepath.Abs(link)
	p.link = abs
	return err
}

// share takes back exclusive use of the device again and again. A real port
// forgets that a killed program had it to itself when its last user is gone; a
// pseudo-terminal remembers as long as this end is open, and nobody could open
// it any more.
func (p *PTY) share(ctx context.Context) {
	defer close(p.done)
	for sleep(ctx, 100*time.Millisecond) == nil {
		// Best effort: it can only fail when the device is gone, which Read reports.
		_ = unix.IoctlSetInt(int(p.slave.Fd()), unix.TIOCNXCL, 0)
	}
}

// makeRaw passes every byte as it is, both ways (termios(3), cfmakeraw).
func makeRaw(f *os.File) error {
	t, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return err
	}
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8 | unix.CREAD | unix.CLOCAL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, t)
}

// Settings are those with which the other side has set the port. A
// pseudo-terminal keeps the speed, but drops parity and data bits from c_cflag;
// whether parity is checked (INPCK) and which it would be (PARODD) stays, and
// that is how programs set a port with parity.
func (p *PTY) Settings() (drivers.Settings, bool) {
	var t *unix.Termios
	slave, err := p.slave.SyscallConn() // which, unlike Fd, may meet a Close
	if err == nil {
		err = slave.Control(func(fd uintptr) { t, _ = unix.IoctlGetTermios(int(fd), unix.TCGETS2) })
	}
	if err != nil || t == nil {
		return drivers.Settings{}, false
	}
	s := drivers.Settings{Baud: int(t.Ospeed), DataBits: 8, Parity: 'N', StopBits: 1}
	if t.Cflag&unix.PARENB != 0 || t.Iflag&unix.INPCK != 0 {
		s.Parity = 'E'
		if t.Cflag&unix.PARODD != 0 {
			s.Parity = 'O'
		}
	}
	if t.Cflag&unix.CSTOPB != 0 {
		s.StopBits = 2
	}
	return s, true
}
