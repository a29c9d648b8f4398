package sim

import (
	"bytes"
	"context"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// Listener is what hangs on a serial line: a Named meter, or the Units that
// speak Modbus. It hears whatever is sent and answers what is meant for it.
type Listener interface {
	// Find looks for a request of the protocol in b, whoever it is for: skip
	// bytes that are certainly none, then size bytes of request; size 0 means
	// more are needed.
	Find(b []byte) (skip, size int)
	// Answer is the reply to a request that Find found, built in buf's storage.
	Answer(buf, request []byte) meter.Reply
	// Delay is the usual time from the end of a request to the reply.
	Delay() time.Duration
}

// Station is a Listener at its place on a serial line.
type Station struct {
	Meter Listener
	// Serial, if set, are its own settings: it hears only what is sent with
	// them, and is understood only by who listens with them. With zero Serial it
	// keeps the line's pace and hears everything.
	Serial drivers.Settings
	// Delay is the time from the end of a request to its reply; 0 is usual for
	// the protocol. Without a speed there is no delay either.
	Delay time.Duration
}

// ear is a Station with what it has heard of a request so far.
type ear struct {
	Listener
	serial drivers.Settings // zero: hears everything
	also   drivers.Settings // what it hears besides, for one request
	timing timing
	heard  []byte
	last   time.Time // when the last of heard came
}

// wire is a serial line at work: everybody hears everything, and who speaks at
// the same time as another is garbled.
type wire struct {
	rw io.ReadWriter
	// host is how the far end has set its port now; nil where nobody can know.
	host    func() (drivers.Settings, bool)
	ears    []*ear
	echo    bool // what is sent comes back to the sender
	garbage bool // who uses foreign settings gets noise, not silence

	sending sync.Mutex // one Write at a time
	late    sync.WaitGroup
	noise   *rand.Rand // used by serve alone
}

// transmission is a reply on its way.
type transmission struct {
	end     int // of the request, counted in bytes from the start of the line
	bytes   []byte
	arrived time.Time // the request; for a late reply, that much later
	late    bool
	request int // its length, with the wake-up bytes before it
	serial  drivers.Settings
	timing  timing
}

const (
	maxHeard = 256 // bytes; more than the longest request of any protocol
	// A UART hands bytes to the computer when its buffer holds this many, or
	// the line falls silent.
	fifo = 16
	// What lay unfinished this long is noise. Far above 3.5 characters, because
	// a serial server or a busy machine may stretch a frame.
	stale = 100 * time.Millisecond
)

// serve runs the wire until ctx is done, then closes rw and returns nil; any
// other end of rw is returned as an error.
func serve(ctx context.Context, rw io.Closer, w *wire) error {
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	defer rw.Close()
	err := w.run(ctx)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func (w *wire) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer w.late.Wait()
	defer cancel()
	var in [maxHeard]byte
	var out [1024]byte
	var due []transmission
	w.noise = rand.New(rand.NewPCG(0, 0x6a4b))
	for position := 0; ; {
		n, err := w.rw.Read(in[:])
		if err != nil {
			return err
		}
		arrived := time.Now()
		position += n
		if w.echo {
			if err := w.write(in[:n]); err != nil {
				return err
			}
		}
		sent, known := drivers.Settings{}, false
		if w.host != nil {
			sent, known = w.host()
		}
		due = due[:0]
		room, deaf := out[:0], 0
		for _, e := range w.ears {
			text, ok := in[:n], true
			if known {
				text, ok = e.understands(text, sent)
			}
			if !ok {
				e.heard = e.heard[:0]
				deaf++
				continue
			}
			due, room = e.hear(due, room, text, arrived, position)
		}
		if w.garbage && deaf == len(w.ears) {
			if err := w.write(w.rubbish(n)); err != nil {
				return err
			}
		}
		if err := w.send(ctx, due); err != nil {
			return err
		}
	}
}

// understands is what arrives of bytes sent with the given settings, and
// whether anything does. A pseudo-terminal knows no stop bits that matter and
// always carries eight bits, so seven with parity may also come as eight with
// the parity in the highest.
func (e *ear) understands(b []byte, sent drivers.Settings) ([]byte, bool) {
	if e.serial.Baud == 0 || e.also.Baud > 0 && e.also.Baud == sent.Baud {
		return sevenBits(b, e.serial), true
	}
	if sent.Baud != e.serial.Baud {
		return nil, false
	}
	if sent.Parity != e.serial.Parity {
		if e.serial.DataBits != 7 || sent.Parity != 'N' || !bytes.Equal(b, withParity(b, e.serial.Parity)) {
			return nil, false
		}
	}
	return sevenBits(b, e.serial), true
}

// sevenBits drops the highest bit where a meter has only seven.
func sevenBits(b []byte, s drivers.Settings) []byte {
	if s.DataBits != 7 {
		return b
	}
	seven := bytes.Clone(b)
	for i := range seven {
		seven[i] &= 0x7F
	}
	return seven
}

// withParity sets the highest bit of seven-bit characters to their parity.
func withParity(b []byte, parity byte) []byte {
	out := sevenBits(b, drivers.Settings{DataBits: 7})
	for i, c := range out {
		odd := c ^ c>>4
		odd ^= odd >> 2
		odd = (odd ^ odd>>1) & 1
		if parity == 'O' {
			odd ^= 1
		}
		out[i] |= odd << 7
	}
	return out
}

// hear adds to due what the listener answers to b, which ends at position of
// the line. The replies are built in room, what is left of it is returned.
func (e *ear) hear(due []transmission, room, b []byte, arrived time.Time, position int) ([]transmission, []byte) {
	if len(e.heard) > 0 && arrived.Sub(e.last) > stale {
		e.heard = e.heard[:0]
	}
	e.heard, e.last = append(e.heard, b...), arrived
	for len(e.heard) > 0 {
		skip, size := e.Find(e.heard)
		rest := e.heard[skip+size:]
		if size > 0 {
			r := e.Answer(room, e.heard[skip:skip+size])
			if len(r.Bytes) > 0 {
				t := transmission{end: position - len(rest), bytes: r.Bytes, arrived: arrived.Add(r.Late),
					late: r.Late > 0, request: skip + size, serial: e.serial, timing: e.timing}
				if r.Speed.Baud > 0 && t.timing.baud > 0 {
					t.arrived, t.request = t.arrived.Add(e.timing.char(skip+size)), 0
					t.timing.baud, t.timing.bits = r.Speed.Baud, r.Speed.Bits()
				}
				if r.Speed.Baud > 0 && e.serial.Baud > 0 {
					t.serial = r.Speed
				}
				due = append(due, t)
				room = r.Bytes[len(r.Bytes):]
			}
			e.also = r.Next
		}
		e.heard = e.heard[:copy(e.heard, rest)]
		if size == 0 {
			break
		}
	}
	if n := len(e.heard); n > maxHeard {
		e.heard = e.heard[:copy(e.heard, e.heard[n-maxHeard:])]
	}
	return due, room
}

// send paces the replies out in the order of their requests. Two stations that
// answer one request collide. A late reply goes its own way.
func (w *wire) send(ctx context.Context, due []transmission) error {
	slices.SortStableFunc(due, func(s, t transmission) int { return s.end - t.end })
	for i := 0; i < len(due); i++ {
		t := due[i]
		if t.late {
			t.bytes = bytes.Clone(t.bytes)
			w.late.Go(func() {
				// The line's end is told by Read.
				_ = w.transmit(ctx, t)
			})
			continue
		}
		for i+1 < len(due) && due[i+1].end == t.end && !due[i+1].late {
			i++
			t = t.collide(due[i])
		}
		if err := w.transmit(ctx, t); err != nil {
			return err
		}
	}
	return nil
}

func (w *wire) transmit(ctx context.Context, t transmission) error {
	return speaker{w, t.serial}.pace(ctx, t.bytes, t.arrived, t.request, t.timing)
}

// collide is what is left of two replies of which the later begins while the
// earlier is still on the line: a 0 of either wins, as on a line with a pull-up.
func (t transmission) collide(o transmission) transmission {
	if o.timing.landed(o.request, -1) < t.timing.landed(t.request, -1) {
		t, o = o, t
	}
	from := 0
	if c := t.timing.char(1); c > 0 {
		from = int((o.timing.landed(o.request, -1) - t.timing.landed(t.request, -1)) / c)
	}
	mixed := bytes.Clone(t.bytes)
	for i, c := range o.bytes {
		if from+i < len(mixed) {
			mixed[from+i] &= c
		} else {
			mixed = append(mixed, c)
		}
	}
	t.bytes = mixed
	return t
}

// speaker puts bytes on the line as they arrive at the host, if they do.
type speaker struct {
	*wire
	serial drivers.Settings
}

func (s speaker) Write(b []byte) (int, error) {
	out := b
	if s.serial.Baud > 0 && s.host != nil {
		if host, known := s.host(); known {
			switch {
			case host.Baud == s.serial.Baud && host.Parity == s.serial.Parity:
			case host.Baud == s.serial.Baud && host.Parity == 'N' && s.serial.DataBits == 7:
				out = withParity(b, s.serial.Parity)
			case s.garbage:
				out = bytes.Repeat([]byte{0xF8}, len(b)/2)
			default:
				return len(b), nil
			}
		}
	}
	return len(b), s.write(out)
}

func (w *wire) write(p []byte) error {
	w.sending.Lock()
	defer w.sending.Unlock()
	_, err := w.rw.Write(p)
	return err
}

// rubbish is what a host reads when the answer to n bytes comes at another
// speed than its own.
func (w *wire) rubbish(n int) []byte {
	out := make([]byte, 1+n/2)
	for i := range out {
		out[i] = byte(w.noise.Uint32())
	}
	return out
}

// pace writes a reply to a request of the given length that came at arrived.
func (s speaker) pace(ctx context.Context, reply []byte, arrived time.Time, request int, timing timing) error {
	step := fifo
	if timing.baud == 0 {
		step = len(reply)
	}
	for lo := 0; lo < len(reply); lo += step {
		hi := min(lo+step, len(reply))
		if err := sleepExactly(ctx, s.rw, time.Until(arrived.Add(timing.landed(request, hi-1)))); err != nil {
			return err
		}
		if _, err := s.Write(reply[lo:hi]); err != nil {
			return err
		}
	}
	return nil
}
