package line

import (
	"bytes"
	"context"
	"errors"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// wire is a port whose far end the test plays. Inside a synctest bubble its
// time is exact.
type wire struct {
	mu       sync.Mutex
	pending  []byte
	failed   error
	deadline time.Time
	wake     chan struct{}
	requests [][]byte
	sentAt   []time.Time
	onWrite  func(n int) // called with the number of the request, 1 for the first
	closed   bool
	settings []drivers.Settings // one for each change
	changed  []time.Time        // when
	refuse   drivers.Settings   // cannot be had
}

func newWire(onWrite func(n int)) *wire {
	return &wire{wake: make(chan struct{}, 1), onWrite: onWrite}
}

func (w *wire) Read(b []byte) (int, error) {
	for {
		w.mu.Lock()
		n, err, d := copy(b, w.pending), w.failed, w.deadline
		w.pending = w.pending[n:]
		w.mu.Unlock()
		switch {
		case n > 0:
			return n, nil
		case err != nil:
			return 0, err
		case !time.Now().Before(d):
			return 0, os.ErrDeadlineExceeded
		}
		timer := time.NewTimer(time.Until(d))
		select {
		case <-w.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.requests = append(w.requests, slices.Clone(b))
	w.sentAt = append(w.sentAt, time.Now())
	n, err := len(w.requests), w.failed
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if w.onWrite != nil {
		w.onWrite(n)
	}
	return len(b), nil
}

// send delivers bytes to the line's end.
func (w *wire) send(b string) {
	w.mu.Lock()
	w.pending = append(w.pending, b...)
	w.mu.Unlock()
	w.signal()
}

func (w *wire) after(d time.Duration, b string) { time.AfterFunc(d, func() { w.send(b) }) }

// hangUp makes the port fail once what is pending has been read.
func (w *wire) hangUp(err error) {
	w.mu.Lock()
	w.failed = err
	w.mu.Unlock()
	w.signal()
}

func (w *wire) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *wire) SetDeadline(t time.Time) error { return w.SetReadDeadline(t) }

func (w *wire) SetReadDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.deadline = t
	return nil
}

func (w *wire) discard([]byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.pending)
	w.pending = nil
	return n, w.failed
}

func (w *wire) configure(s drivers.Settings) error {
	if s == w.refuse && s.Baud != 0 {
		return &settingsError{"/dev/none", s, errors.New("the driver kept 1200 baud")}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settings, w.changed = append(w.settings, s), append(w.changed, time.Now())
	return nil
}

func (w *wire) Close() error {
	w.closed = true
	return nil
}

// on returns a line that finds the given wires, one at each opening, and then
// no more.
func on(cfg Config, wires ...*wire) *Line {
	l := New(cfg)
	l.sleep, l.tick = time.Sleep, 0 // of a bubble
	l.dial = func(context.Context) (port, error) {
		if len(wires) == 0 {
			return nil, errors.New("nothing there")
		}
		w := wires[0]
		wires = wires[1:]
		return w, nil
	}
	return l
}

var (
	bus    = Config{Name: "hall-a", Serial: &Serial{Path: "/dev/none", Settings: drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}}}
	server = Config{Name: "hall-b", TCP: "192.0.2.1:4001"}
)

// poll asks for "reply" followed by a digit, whatever the digit.
func poll() drivers.Exchange {
	return drivers.Exchange{Request: []byte("ask"), Timeout: 300 * time.Millisecond, Match: matchReply}
}

// matchReply finds "<reply?>", '?' being any byte.
func matchReply(b []byte) (skip, size int) {
	i := bytes.Index(b, []byte("<reply"))
	if i < 0 {
		return max(0, len(b)-len("<reply")), 0
	}
	if len(b) < i+8 {
		return i, 0
	}
	return i, 8
}
