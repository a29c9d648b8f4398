// Package line owns one physical bus: a serial port, or a TCP connection to a
// serial server or to a device that speaks Modbus TCP. It sends one request at
// a time and hands back the one reply that belongs to it; what a reply looks
// like is the driver's business (drivers.Exchange.Match).
//
// A line promises that no byte received before a request was sent is taken for
// its reply, and that after an unanswered request the line has fallen silent
// before the next one goes out. Every exchange may bring line settings of its
// own, so that meters of several protocols and speeds share a pair. A Station is
// one device's place on the line: it keeps a dead device from costing the others
// their time. It runs on Linux and Windows.
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
	// maxDrain bounds the wait for that on a line that never falls silent: a
	// readout may be given minutes, a pause may not.
	maxDrain = 2 * time.Second
	// stalled is how late a time-out is noticed by a process that did not get to
	// run. Its reply may have come in time, and is looked for once more.
	stalled = 5 * time.Millisecond
	// slice bounds the wait for a reply between two looks at the context.
	slice = 100 * time.Millisecond
	// writeTimeout bounds handing a request to the kernel, which buffers it.
	writeTimeout = time.Second

	// guard is the least quiet time around a change of line settings. Meters at
	// the other speed have heard what was said as garbage and need a pause that
	// is one for them; and an adapter obeys the change by itself, up to the 16 ms
	// an FTDI holds bytes back after it was told.
	guard = 20 * time.Millisecond

	firstRetry = 500 * time.Millisecond // pause after the line was lost or could not be opened,
	lastRetry  = 15 * time.Second       // doubled up to this one

	bufferSize = 512     // more than most frames (Modbus RTU: 256 bytes, TCP: 260)
	maxReply   = 1 << 16 // more than an IEC 62056-21 readout
	fifo       = 64      // characters a UART may hold back before it hands over the first
	excerpt    = 16      // bytes of an unusable reply quoted in a fault
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
	// Warn, when set, is told once of something the port cannot do that the
	// line goes on without, on the goroutine that called Exchange.
	Warn func(error)
}

// port is an open serial port or TCP connection. discard throws away what has
// already arrived, using b as scratch, and reports how much that was; configure
// changes the line settings once all that was written has gone out; the rest is
// as in net.Conn.
type port interface {
	Read(b []byte) (int, error)
	Write(b []byte) (int, error)
	SetDeadline(time.Time) error
	SetReadDeadline(time.Time) error
	discard(b []byte) (int, error)
	configure(drivers.Settings) error
	Close() error
}

// Line is one bus. All methods belong to one goroutine.
type Line struct {
	cfg   Config
	sleep func(time.Duration)
	tick  time.Duration // how coarse the clock is

	dial    func(context.Context) (port, error)
	port    port      // nil while closed
	proven  bool      // port has carried a valid reply since it was opened
	unclear bool      // bytes may still come that belong to no request to be made
	last    time.Time // when the line last carried a byte, as far as known
	// settings in force; zero on TCP, and when not known
	settings drivers.Settings
	took     time.Duration // from the end of the last answered request to the start of its reply
	warned   bool

	retry   time.Duration // pause after the next failure
	retryAt time.Time     // not opened again before
	lostBy  error         // why the line is closed

	buf []byte // reply of the current exchange; stays as long as it once had to be
}

// New returns the line that cfg describes. It is opened by the first exchange.
func New(cfg Config) *Line {
	l := &Line{cfg: cfg, sleep: pause, tick: clockTick, retry: firstRetry, buf: make([]byte, bufferSize)}
	l.dial = func(ctx context.Context) (port, error) { return dialTCP(ctx, cfg.TCP) }
	if cfg.Serial != nil {
		l.dial = func(context.Context) (port, error) { return openPort(*cfg.Serial, l.warn) }
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
	return l.exchangeWithin(ctx, &x, x.Timeout)
}

// exchangeWithin is Exchange for a reply that begins within first or x.Timeout,
// whichever is shorter.
func (l *Line) exchangeWithin(ctx context.Context, x *drivers.Exchange, first time.Duration) ([]byte, error) {
	again := l.proven
	reply, fault := l.exchange(ctx, x, first)
	if fault != nil && fault.Kind == drivers.Disconnected && again && len(reply) == 0 {
		// A serial server closes a connection it thinks idle. That is found
		// out only by asking, and must not cost a reading.
		l.retryAt = time.Time{}
		reply, fault = l.exchange(ctx, x, first)
	}
	if fault != nil {
		return nil, fault
	}
	return reply, nil
}

// exchange is one attempt. With a fault it returns the bytes that did come.
func (l *Line) exchange(ctx context.Context, x *drivers.Exchange, first time.Duration) ([]byte, *drivers.Fault) {
	if ctx.Err() != nil {
		return nil, skipped(ctx)
	}
	if fault := l.open(ctx); fault != nil {
		return nil, fault
	}
	if err := l.quieten(ctx, x); err != nil {
		return nil, l.trouble(err)
	}
	if ctx.Err() != nil {
		return nil, skipped(ctx)
	}
	sent := time.Now()
	reply, got, fault := l.ask(ctx, x, first, sent)
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
// every byte that came (the last of them where they are many).
func (l *Line) ask(ctx context.Context, x *drivers.Exchange, first time.Duration, sent time.Time) (reply, got []byte, _ *drivers.Fault) {
	asked := sent.Add(l.settings.Characters(len(x.Request)))
	limit := asked.Add(min(x.Timeout, first+l.settings.Characters(fifo)))
	// Both deadlines in one call: it is cheaper, and the kernel has room for a
	// request at once or the port is stuck.
	if err := l.port.SetDeadline(earlier(limit, sent.Add(slice))); err != nil {
		return nil, nil, l.lose(err)
	}
	if err := l.write(x.Request, sent); err != nil {
		return nil, nil, l.lose(err)
	}
	if l.cfg.Serial != nil && x.Reply != (drivers.Settings{}) && x.Reply != l.settings {
		// The kernel waits for its own buffer, the adapter has one more.
		l.wait(ctx, asked)
		if err := l.configure(x.Reply); err != nil {
			return nil, nil, l.trouble(err)
		}
	}
	start, n := 0, 0 // buf[:start] is noise, buf[start:n] not yet understood
	dropped := 0     // noise bytes that had to make room
	looked := false
	for {
		k, err := l.port.Read(l.buf[n:])
		if k > 0 {
			n += k
			skip, size := x.Match(l.buf[start:n])
			start += skip
			if size > 0 && start+size <= n {
				l.last = time.Now()
				l.took = max(0, l.last.Sub(asked)-l.settings.Characters(size))
				return l.buf[start : start+size], l.buf[:n], nil
			}
			if start < n {
				limit = asked.Add(x.Timeout) // it has begun
			}
			if n == len(l.buf) {
				noise := l.makeRoom(start)
				dropped += noise
				start, n = max(0, start-noise), n-noise
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
		case now.Before(limit):
			if err := l.port.SetReadDeadline(earlier(limit, now.Add(slice))); err != nil {
				return nil, l.buf[:n], l.lose(err)
			}
		case !looked && now.Sub(limit) > stalled:
			looked = true
			if err := l.port.SetReadDeadline(now.Add(time.Millisecond)); err != nil {
				return nil, l.buf[:n], l.lose(err)
			}
		case n+dropped == 0:
			return nil, nil, &drivers.Fault{Kind: drivers.Timeout, Err: fmt.Errorf("timeout after %v", limit.Sub(asked))}
		default:
			return nil, l.buf[:n], &drivers.Fault{Kind: drivers.BadFrame, Err: unusable(l.buf[:n], n+dropped, limit.Sub(asked))}
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

// makeRoom makes the full buffer longer, or drops bytes from its front and
// returns how many: noise where that is half of it, or half of it where it may
// not grow further.
func (l *Line) makeRoom(noise int) (dropped int) {
	half := len(l.buf) / 2
	if noise < half && len(l.buf) < maxReply {
		l.buf = append(l.buf, make([]byte, len(l.buf))...)
		return 0
	}
	dropped = max(noise, half)
	copy(l.buf, l.buf[dropped:])
	return dropped
}

// quieten makes sure that nothing which came before the request is read after
// it, that the port has the settings the request needs, and that the line has
// been silent as long as its protocol needs.
func (l *Line) quieten(ctx context.Context, x *drivers.Exchange) error {
	if x.Numbered && l.cfg.Serial == nil && !l.unclear {
		return nil // a stale reply would be told by its number
	}
	if l.unclear && (!x.Numbered || l.cfg.Serial != nil) {
		if err := l.drain(min(x.Timeout, maxDrain)); err != nil {
			return err
		}
	}
	var quiet time.Duration
	if l.cfg.Serial != nil {
		s := x.Settings
		if s == (drivers.Settings{}) {
			s = l.cfg.Serial.Settings
		}
		quiet = max(l.settings.Silence(), s.Silence(), x.Silence) + l.tick
		if s != l.settings {
			quiet = max(quiet, guard)
			if err := l.configure(s); err != nil {
				return err
			}
		}
	}
	// Bytes that came meanwhile broke the silence, which begins anew.
	for end := time.Now().Add(quiet + settle); ; {
		l.wait(ctx, l.last.Add(quiet))
		n, err := l.port.discard(l.buf)
		if n > 0 {
			l.last = time.Now()
		}
		if n == 0 || err != nil || quiet == 0 || l.last.After(end) {
			return err
		}
	}
}

// configure changes the line settings.
func (l *Line) configure(s drivers.Settings) error {
	l.settings = drivers.Settings{} // not known where it fails
	err := l.port.configure(s)
	if err == nil {
		l.settings = s
	}
	return err
}

// wait sleeps until at or, within 100 ms, the end of ctx.
func (l *Line) wait(ctx context.Context, at time.Time) {
	for d := time.Until(at); d > 0 && ctx.Err() == nil; d = time.Until(at) {
		l.sleep(min(d, slice))
	}
}

// drain reads until nothing has come for settle. A line that never falls
// silent is asked all the same after limit: Match finds a reply among noise.
func (l *Line) drain(limit time.Duration) error {
	for end := time.Now().Add(limit + settle); time.Now().Before(end); {
		if err := l.port.SetReadDeadline(time.Now().Add(settle)); err != nil {
			return err
		}
		switch _, err := l.port.Read(l.buf); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil:
			return err
		}
		l.last = time.Now()
	}
	return nil
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
	if l.cfg.Serial != nil {
		l.settings = l.cfg.Serial.Settings
	}
	l.last = time.Now()
	// What a bus carries when we join it is not for us, and some serial servers
	// greet with a registration text.
	l.unclear = true
	return nil
}

// trouble is lose, except that the port stays open where it is only that it
// cannot have the settings one device needs.
func (l *Line) trouble(err error) *drivers.Fault {
	if _, ok := errors.AsType[*settingsError](err); ok {
		return &drivers.Fault{Kind: drivers.Disconnected, Err: fmt.Errorf("line %s: %w", l.cfg.Name, err)}
	}
	return l.lose(err)
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

// warn passes on the first warning.
func (l *Line) warn(err error) {
	if l.cfg.Warn != nil && !l.warned {
		l.cfg.Warn(fmt.Errorf("line %s: %w", l.cfg.Name, err))
	}
	l.warned = true
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

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
