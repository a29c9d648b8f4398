package line

import (
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// file is what *os.File and *net.TCPConn have in common.
type file interface {
	io.ReadWriteCloser
	syscall.Conn
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
}

// stream makes a port of a descriptor that Go's poller watches.
type stream struct {
	file
	raw syscall.RawConn
}

func newStream(f file) (port, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, err
	}
	return &stream{f, raw}, nil
}

// configure does nothing: the settings are the serial server's.
func (s *stream) configure(drivers.Settings) error { return nil }

var (
	errClosed    = errors.New("closed by the other end")
	errUnplugged = errors.New("port is gone: was its adapter unplugged?")
)

// plain takes the wrapping off an error of net and os, which repeats what the
// message around it already says.
func plain(err error) error {
	var op *net.OpError
	var call *os.SyscallError
	var path *fs.PathError
	switch {
	case errors.Is(err, io.EOF), hungUp(err):
		return errClosed
	case errors.As(err, &call):
		return call.Err
	case errors.As(err, &op):
		return op.Err
	case errors.As(err, &path):
		return path.Err
	}
	return err
}
