// Package line owns one physical bus: a serial port, or a TCP connection to a
// serial server or to a device that speaks Modbus TCP. It sends one request at
// a time and hands back the one reply that belongs to it; what a reply looks
// like is the driver's business (drivers.Exchange.Match).
//
// A line promises that no byte received before a request was sent is taken for
// its reply, and that after an unanswered request the line has fallen silent
// before the next one goes out. It runs on Linux.
package line

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const (
	// settle is how long a line must be silent after an unanswered request
	// before the next: longer than the 16 ms an FTDI adapter and the 50 ms a
	// serial server may hold bytes back.
	settle = 60 * time.Millisecond
	// slice bounds the wait for a reply between two looks at the context.
	slice = 100 * time.Millisecond
	// writeTimeout bounds handing a request to the kernel, which buffers it.
	writeTimeout = time.Second

	firstRetry = 500 * time.Millisecond // pause after the line was lost or could not be opened,
	lastRetry  = 15 * time.Second       // doubled up to this one

	bufferSize = 512 // more than any one frame (Modbus RTU: 256 bytes, TCP: 260)
	excerpt    = 16  // bytes of an unusable reply quoted in a fault
)

// Config says what one line is. Exactly one of Serial and TCP is set.
type Config struct {
	Name   string  // as in the site file; used in messages and frames
	Serial *Serial // a serial port
	TCP    string  // host:port of a serial server or a Modbus TCP device
	// Tap, when set, is called after every request with everything that
	// crossed the wire, on the goroutine that called Exchange. The frame is
	// valid only during the call.
	Tap func(drivers.Frame)
}

// port is an open serial port or TCP connection. discard throws away what has
// already arrived, using b as scratch, and reports how much that was; the rest
// is as in net.Conn.
type port interface {
	Read(b []byte) (int, error)
	Write(b []byte) (int, error)
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	discard(b []byte) (int, error)
	Close() error
}

// Line is one bus. All methods belong to one goroutine.
type Line struct {
	cfg     Config
	char    time.Duration // time one character takes on the wire; 0 on TCP
	silence time.Duration // least quiet time before a request; 0 on TCP

	dial    func(context.Context) (port, error)
	port    port      // nil while closed
	proven  bool      // port has carried a valid reply since it was opened
	unclear bool      // bytes may still come that belong to no request to be made
	last    time.Time // when the line last carried a byte, as far as known

	retry   time.Duration // pause after the next failure
	retryAt time.Time     // not opened again before
	lostBy  error         // why the line is closed

	buf [bufferSize]byte // reply of the current exchange
}

// New returns the line that cfg describes. It is opened by the first exchange.
func New(cfg Config) *Line {
	l := &Line{cfg: cfg, retry: firstRetry}
	l.dial = func(ctx context.Context) (port, error) { return dialTCP(ctx, cfg.TCP) }
	if cfg.Serial != nil {
		l.dial = func(context.Context) (port, error) { return openSerial(*cfg.Serial) }
		l.char = cfg.Serial.Characters(1)
		l.silence = cfg.Serial.Silence()
	}
	return l
}

// Name returns the line's name.
func (l *Line) Name() string { return l.cfg.Name }

// Close closes the port. The next exchange opens it again at once.
func (l *Line) Close() error {
	if l.port == nil {
		return nil
	}
	err := l.port.Close()
	l.port, l.proven = nil, false
	return err
}

// Exchange sends x.Request and returns the reply x.Match finds, which is valid
// until the next call. It opens the line when needed. Its error is a
// *drivers.Fault without Op and Meter, of kind Timeout (no byte came), BadFrame
// (bytes came, no reply among them), Disconnected (the line cannot be used; at
// once while the line waits before it tries again) or Skipped (ctx ended,
// noticed within 100 ms).
func (l *Line) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	again := l.proven
	reply, fault := l.exchange(ctx, &x)
	if fault != nil && fault.Kind == drivers.Disconnected && again && len(reply) == 0 {
		// A serial server closes a connection it thinks idle. That is found
		// out only by asking, and must not cost a reading.
		l.retryAt = time.Time{}
		reply, fault = l.exchange(ctx, &x)
	}
	if fault != nil {
		return nil, fault
	}
	return reply, nil
}

// exchange is one attempt. With a fault it returns the bytes that did come.
func (l *Line) exchange(ctx context.Context, x *drivers.Exchange) ([]byte, *drivers.Fault) {
	if ctx.Err() != nil {
		return nil, skipped(ctx)
	}
	if fault := l.open(ctx); fault != nil {
		return nil, fault
	}
	if err := l.quieten(x); err != nil {
		return nil, l.lose(err)
	}
	sent := time.Now()
	reply, got, fault := l.ask(ctx, x, sent)
	l.unclear = fault != nil
	if l.cfg.Tap != nil {
		f := drivers.Frame{Line: l.cfg.Name, Request: x.Request, Reply: got, Sent: sent, Received: l.last}
		if fault != nil {
			f.Received, f.Err = time.Now(), fault
		}
		l.cfg.Tap(f)
	}
	if fault != nil {
		if x.Numbered && l.cfg.Serial == nil && fault.Kind == drivers.BadFrame {
			l.Close() // a byte stream that has lost its framing does not find it again
		}
		return got, fault
	}
	l.proven, l.retry = true, firstRetry
	return reply, nil
}

// ask writes the request and collects bytes until x.Match is content. got is
// every byte that came (the last 512 of them).
func (l *Line) ask(ctx context.Context, x *drivers.Exchange, sent time.Time) (reply, got []byte, _ *drivers.Fault) {
	deadline := sent.Add(x.Timeout + time.Duration(len(x.Request))*l.char)
	wait := sent.Add(slice)
	if deadline.Before(wait) {
		wait = deadline
	}
	// Both deadlines in one call: it is cheaper, and the kernel has room for a
	// request at once or the port is stuck.
	if err := l.port.SetDeadline(wait); err != nil {
		return nil, nil, l.lose(err)
	}
	if err := l.write(x.Request, sent); err != nil {
		return nil, nil, l.lose(err)
	}
	start, n := 0, 0 // buf[:start] is noise, buf[start:n] not yet understood
	dropped := 0     // noise bytes that had to make room
	for {
		k, err := l.port.Read(l.buf[n:])
		if k > 0 {
			n += k
			skip, size := x.Match(l.buf[start:n])
			start += skip
			if size > 0 && start+size <= n {
				l.last = time.Now()
				return l.buf[start : start+size], l.buf[:n], nil
			}
			if n == len(l.buf) {
				kept := l.makeRoom(start)
				dropped += n - kept
				start, n = 0, kept
			}
		}
		if err == nil {
			continue
		}
		now := time.Now()
		l.last = now
		switch {
		case !errors.Is(err, os.ErrDeadlineExceeded):
			return nil, l.buf[:n], l.lose(err)
		case ctx.Err() != nil:
			return nil, l.buf[:n], skipped(ctx)
		case now.Before(deadline):
			wait = now.Add(slice)
			if deadline.Before(wait) {
				wait = deadline
			}
			if err := l.port.SetReadDeadline(wait); err != nil {
				return nil, l.buf[:n], l.lose(err)
			}
		case n+dropped == 0:
			return nil, nil, &drivers.Fault{Kind: drivers.Timeout, Err: fmt.Errorf("timeout after %v", x.Timeout)}
		default:
			return nil, l.buf[:n], &drivers.Fault{Kind: drivers.BadFrame, Err: unusable(l.buf[:n], n+dropped, x.Timeout)}
		}
	}
}

// write hands the whole request over. A port that takes only part of it by the
// deadline gets a little longer before it counts as stuck.
func (l *Line) write(request []byte, sent time.Time) error {
	n, err := l.port.Write(request)
	if err == nil || !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if err := l.port.SetDeadline(sent.Add(writeTimeout)); err != nil {
		return err
	}
	if _, err = l.port.Write(request[n:]); errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("port takes no bytes for %v", writeTimeout)
	}
	return err
}

// makeRoom drops bytes from the front of the full buffer, known noise or, when
// Match cannot tell, half of it, and returns how many are left.
func (l *Line) makeRoom(noise int) int {
	if noise == 0 {
		noise = len(l.buf) / 2
	}
	return copy(l.buf[:], l.buf[noise:])
}

// quieten makes sure that nothing which came before the request is read after
// it, and that the line has been silent as long as its protocol needs.
func (l *Line) quieten(x *drivers.Exchange) error {
	if x.Numbered && l.cfg.Serial == nil {
		if !l.unclear {
			return nil // a stale reply would be told by its number
		}
		return l.discard()
	}
	if l.unclear {
		if err := l.drain(x.Timeout); err != nil {
			return err
		}
	}
	if l.cfg.Serial != nil {
		time.Sleep(max(l.silence, x.Silence) - time.Since(l.last))
	}
	return l.discard()
}

// drain reads until nothing has come for settle. A line that never falls
// silent is asked all the same after limit: Match finds a reply among noise.
func (l *Line) drain(limit time.Duration) error {
	for end := time.Now().Add(limit + settle); time.Now().Before(end); {
		if err := l.port.SetReadDeadline(time.Now().Add(settle)); err != nil {
			return err
		}
		switch _, err := l.port.Read(l.buf[:]); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
		l.last = time.Now()
	}
	return nil
}

// discard throws away what has already arrived, without waiting.
func (l *Line) discard() error {
	n, err := l.port.discard(l.buf[:])
	if n > 0 {
		l.last = time.Now()
	}
	return err
}

// open makes sure the port is open, or says why it is not.
func (l *Line) open(ctx context.Context) *drivers.Fault {
	if l.port != nil {
		return nil
	}
	if wait := time.Until(l.retryAt); wait > 0 {
		return &drivers.Fault{Kind: drivers.Disconnected,
			Err: fmt.Errorf("line %s: %w; next try in %v", l.cfg.Name, l.lostBy, wait.Round(100*time.Millisecond))}
	}
	p, err := l.dial(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return skipped(ctx)
		}
		return l.lose(err)
	}
	l.port = p
	l.last = time.Now()
	// What a bus carries when we join it is not for us, and some serial servers
	// greet with a registration text.
	l.unclear = true
	return nil
}

// lose closes the port and keeps it closed for a while.
func (l *Line) lose(err error) *drivers.Fault {
	l.Close()
	l.lostBy = plain(err)
	if l.lostBy == errClosed && l.cfg.Serial != nil {
		l.lostBy = errUnplugged
	}
	l.retryAt = time.Now().Add(l.retry)
	l.retry = min(2*l.retry, lastRetry)
	return &drivers.Fault{Kind: drivers.Disconnected, Err: fmt.Errorf("line %s: %w", l.cfg.Name, l.lostBy)}
}

func skipped(ctx context.Context) *drivers.Fault {
	return &drivers.Fault{Kind: drivers.Skipped, Err: ctx.Err()}
}

// unusable describes total bytes that held no reply, b being the last of them.
func unusable(b []byte, total int, d time.Duration) error {
	more := ""
	if len(b) > excerpt {
		b, more = b[:excerpt], " ..."
	}
	return fmt.Errorf("%d bytes but no valid reply within %v: % x%s", total, d, b, more)
}
