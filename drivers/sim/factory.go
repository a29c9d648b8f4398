package sim

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// Kind is how a simulated line is reached.
type Kind string

const (
	RTU        Kind = "rtu"     // serial line on a pseudo-terminal
	RTUOverTCP Kind = "rtu-tcp" // serial line behind a serial server
	TCP        Kind = "tcp"     // Modbus TCP
)

// Line is one line of a factory.
type Line struct {
	Kind Kind
	// Address is a host:port to listen on; for RTU the path of a link to the
	// pseudo-terminal, which may be empty. Port 0 takes a free port.
	Address string
	// Serial is the setting of the wire that sets the pace. Its zero value
	// answers at once; a TCP line ignores it.
	Serial drivers.Settings
	// Units are the Modbus meters with the line's settings.
	Units meter.Units
	// Stations are meters of any protocol, each with settings of its own if it
	// has any; not on Modbus TCP.
	Stations []Station
	Echo     bool // a serial line gives back what it is sent, like an RS-485 adapter that hears itself
	// Garbage is what who sends or listens with foreign settings gets, instead
	// of nothing.
	Garbage bool
}

// wire is a serial line with everybody on it. host says how the far end has set
// its port, nil where the line itself has settings that never change.
func (l Line) wire(rw io.ReadWriter, host func() (drivers.Settings, bool)) *wire {
	w := &wire{rw: rw, host: host, echo: l.Echo, garbage: l.Garbage}
	if host == nil && l.Serial.Baud > 0 {
		w.host = func() (drivers.Settings, bool) { return l.Serial, true }
	}
	if len(l.Units) > 0 {
		w.add(Station{Meter: l.Units}, l.Serial)
	}
	for _, s := range l.Stations {
		w.add(s, l.Serial)
	}
	return w
}

func (w *wire) add(s Station, line drivers.Settings) {
	e := &ear{Listener: s.Meter, serial: s.Serial}
	pace := s.Serial
	if pace.Baud == 0 {
		pace = line
	}
	if pace.Baud > 0 {
		e.timing = timing{baud: pace.Baud, bits: pace.Bits(), delay: cmp.Or(s.Delay, s.Meter.Delay())}
	}
	w.ears = append(w.ears, e)
}

// Serve runs the line on rw until ctx is done, then closes rw and returns nil;
// any other end of rw is returned as an error. Kind and Address are ignored.
// host says how the far end has set its port; nil where nobody can know, and
// every station then hears everything.
func Serve(ctx context.Context, rw io.ReadWriteCloser, l Line, host func() (drivers.Settings, bool)) error {
	return serve(ctx, rw, l.wire(rw, host))
}

// Factory is simulated lines that are open: clients can connect from the
// moment it exists and are answered while it runs.
type Factory struct {
	// Lines as opened: Address is what a client uses.
	Lines   []Line
	serving []server
}

// server is one open line. Exactly one of serve and close ends it.
type server struct {
	serve func(context.Context) error
	close func() error
}

// Open opens all lines, or none.
func Open(lines ...Line) (*Factory, error) {
	f := &Factory{}
	for _, l := range lines {
		s, address, err := open(l)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("line %s:%s: %w", l.Kind, l.Address, err), f.Close())
		}
		l.Address = address
		f.Lines = append(f.Lines, l)
		f.serving = append(f.serving, s)
	}
	return f, nil
}

func open(l Line) (server, string, error) {
	switch l.Kind {
	case RTU:
		p, err := OpenPTY(l.Address)
		if err != nil {
			return server{}, "", err
		}
		return server{
			serve: func(ctx context.Context) error { return serve(ctx, p, l.wire(p, p.Settings)) },
			close: p.Close,
		}, p.Path(), nil
	case RTUOverTCP, TCP:
		if l.Kind == TCP && len(l.Stations) > 0 {
			return server{}, "", errors.New("no stations on a line of Modbus TCP, units only")
		}
		ln, err := net.Listen("tcp", l.Address)
		if err != nil {
			return server{}, "", err
		}
		s := server{close: ln.Close}
		s.serve = func(ctx context.Context) error { return serveModbusTCP(ctx, ln, l.Units) }
		if l.Kind == RTUOverTCP {
			s.serve = func(ctx context.Context) error {
				return accept(ctx, ln, func(ctx context.Context, conn net.Conn) error {
					return serve(ctx, conn, l.wire(conn, nil))
				})
			}
		}
		return s, ln.Addr().String(), nil
	}
	return server{}, "", fmt.Errorf("unknown kind %q: expected rtu, rtu-tcp or tcp", l.Kind)
}

// Run answers on all lines until ctx is done, then closes them and returns
// nil. A line that fails ends the others, and its error is returned. Run is
// called once.
func (f *Factory) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := make([]error, len(f.serving))
	var lines sync.WaitGroup
	for i, s := range f.serving {
		lines.Go(func() {
			defer cancel()
			if err := s.serve(ctx); err != nil {
				failed[i] = fmt.Errorf("line %s:%s: %w", f.Lines[i].Kind, f.Lines[i].Address, err)
			}
		})
	}
	lines.Wait()
	return errors.Join(failed...)
}

// Close closes the lines of a factory that was never run.
func (f *Factory) Close() error {
	var errs []error
	for _, s := range f.serving {
		errs = append(errs, s.close())
	}
	return errors.Join(errs...)
}
