package agent

import (
	"bytes"
	"errors"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Tap takes down what crosses a line while a meter is polled whose raw frames
// are sealed. It belongs to the line's goroutine.
type Tap struct {
	began  time.Time // of the poll being taken down; zero for none
	sent   time.Time // request of the newest frame
	frames []evidence.Exchange
}

// Frame is told of every exchange on the line, as line.Config.Tap is. One for
// which the line could not be used says nothing of the meter and is left out.
func (t *Tap) Frame(f drivers.Frame) {
	if t.began.IsZero() {
		return
	}
	if fault, ok := errors.AsType[*drivers.Fault](f.Err); ok && (fault.Kind == drivers.Disconnected || fault.Kind == drivers.Skipped) {
		return
	}
	t.sent = f.Sent
	t.frames = append(t.frames, evidence.Exchange{
		// By the clock as it was when the poll began: it may be set meanwhile.
		At:      t.began.UnixMilli() + f.Sent.Sub(t.began).Milliseconds(),
		Took:    f.Received.Sub(f.Sent).Milliseconds(),
		Request: bytes.Clone(f.Request),
		Reply:   bytes.Clone(f.Reply),
	})
}

// begin starts to take down a poll that begins now. It lets the millisecond of
// the newest frame pass, so that by its time every frame is of one poll.
func (t *Tap) begin() (now time.Time) {
	time.Sleep(time.Until(t.sent.Add(time.Millisecond)))
	t.began, t.frames = time.Now(), nil
	return t.began
}

// end returns what was taken down since begin, with times in Unix ms.
func (t *Tap) end() []evidence.Exchange {
	t.began = time.Time{}
	return t.frames
}
