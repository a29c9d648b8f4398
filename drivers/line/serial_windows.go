package line

import (
	"errors"
	"math"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"

	"github.com/tallystick/tallystick/drivers"
)

// Fields of DCB.Flags (winbase.h). What is not named stays off: flow control,
// replaced characters, and that one bad character ends all reads.
const (
	dcbBinary    = 0x0001
	dcbParity    = 0x0002
	dcbDTREnable = 0x0010
	dcbRTSEnable = 0x1000
)

// openPort opens and sets up a port, which Windows gives to one program alone.
// go.bug.st/serial only lists the ports here: its reads cannot be given a
// deadline, and a port that it has open is not to be had otherwise. warn is told
// what the port cannot do.
func openPort(s Serial, warn func(error)) (_ port, failed error) {
	name, err := windows.UTF16PtrFromString(`\\.\` + s.Path) // COM10 and up have no other name
	if err != nil {
		return nil, openError(s.Path, err)
	}
	h, err := windows.CreateFile(name, windows.GENERIC_READ|windows.GENERIC_WRITE, 0, nil, windows.OPEN_EXISTING, windows.FILE_FLAG_OVERLAPPED, 0)
	if err != nil {
		return nil, openError(s.Path, err)
	}
	// Opened so, reads and writes wait in Go's poller and have deadlines
	// (os.NewFile).
	f := os.NewFile(uintptr(h), s.Path)
	defer func() {
		if failed != nil {
			f.Close()
			failed = openError(s.Path, failed)
		}
	}()
	p := &serialPort{f: f}
	if err := p.configure(s.Settings); err != nil {
		return nil, err
	}
	// A read returns what has come as soon as anything has. The longest wait is
	// not MAXDWORD, which some drivers take for none.
	err = control(f, func(h windows.Handle) error {
		return windows.SetCommTimeouts(h, &windows.CommTimeouts{
			ReadIntervalTimeout:        math.MaxUint32,
			ReadTotalTimeoutMultiplier: math.MaxUint32,
			ReadTotalTimeoutConstant:   math.MaxInt32 - 1,
		})
	})
	if err != nil {
		return nil, err
	}
	if s.RS485 != nil {
		warn(errNoRS485)
	}
	if p.port, err = newStream(f); err != nil {
		return nil, err
	}
	p.restore = finerClock()
	return p, nil
}

// serialPort is an open port.
type serialPort struct {
	port
	f       *os.File
	restore func()
}

func (p *serialPort) Close() error {
	p.restore()
	return p.port.Close()
}

// configure lets what was written go out, then changes the settings and reads
// them back: a driver that cannot do some takes others without a word.
func (p *serialPort) configure(s drivers.Settings) error {
	return control(p.f, func(h windows.Handle) error {
		if err := windows.FlushFileBuffers(h); err != nil {
			return err
		}
		d := windows.DCB{DCBlength: uint32(unsafe.Sizeof(windows.DCB{}))}
		if err := windows.GetCommState(h, &d); err != nil {
			return err
		}
		apply(&d, s)
		if err := windows.SetCommState(h, &d); errors.Is(err, windows.ERROR_INVALID_PARAMETER) {
			return &settingsError{p.f.Name(), s, err}
		} else if err != nil {
			return err
		}
		if err := windows.GetCommState(h, &d); err != nil {
			return err
		}
		if err := difference(settingsIn(&d), s); err != nil {
			return &settingsError{p.f.Name(), s, err}
		}
		return nil
	})
}

// apply puts settings into d.
func apply(d *windows.DCB, s drivers.Settings) {
	d.Flags = dcbBinary | dcbDTREnable | dcbRTSEnable
	d.BaudRate, d.ByteSize = uint32(s.Baud), uint8(s.DataBits)
	d.Parity, d.StopBits = windows.NOPARITY, windows.ONESTOPBIT
	switch s.Parity {
	case 'E':
		d.Parity = windows.EVENPARITY
	case 'O':
		d.Parity = windows.ODDPARITY
	}
	if s.Parity != 'N' {
		d.Flags |= dcbParity
	}
	if s.StopBits == 2 {
		d.StopBits = windows.TWOSTOPBITS
	}
}

// settingsIn are those that d holds.
func settingsIn(d *windows.DCB) drivers.Settings {
	s := drivers.Settings{Baud: int(d.BaudRate), DataBits: int(d.ByteSize), Parity: 'N', StopBits: 1}
	switch d.Parity {
	case windows.EVENPARITY:
		s.Parity = 'E'
	case windows.ODDPARITY:
		s.Parity = 'O'
	}
	if d.StopBits == windows.TWOSTOPBITS {
		s.StopBits = 2
	}
	return s
}

// finerClock has the clock move each millisecond until restore is called.
func finerClock() (restore func()) {
	if windows.TimeBeginPeriod(1) != nil {
		return func() {}
	}
	return sync.OnceFunc(func() { _ = windows.TimeEndPeriod(1) })
}

// control runs do on the handle of f.
func control(f *os.File, do func(windows.Handle) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := c.Control(func(fd uintptr) { failed = do(windows.Handle(fd)) }); err != nil {
		return err
	}
	return failed
}
