package agent

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// recorder collects polls into open windows. Pollers add, the sealer takes.
//
// Two windows can be open at once: the sealer closes one a little after its
// end, so that a poll that began before the boundary still finds its window.
type recorder struct {
	length time.Duration // of a window
	order  [][]int       // by meter: which readings are recorded, in dictionary order

	mu   sync.Mutex
	open []*window            // by start; guarded by mu
	news []evidence.Happening // not in a leaf yet; guarded by mu
	free *window              // one emptied window for reuse; guarded by mu
}

// window is what the meters gave in one stretch of time.
type window struct {
	start  int64 // Unix ms
	end    int64 // Unix ms; a multiple of the window length, unless the run ended before
	opened time.Time
	meters []meterWindow
	last   int64 // begin of the newest poll, Unix ms; 0 without one
	framed int   // most bytes the frames of all meters can take

	journaled uint64 // first journal record with polls of this window; MaxUint64 without one
}

// meterWindow is what one meter gave: row after row, a row a poll.
type meterWindow struct {
	at        []int64           // begin of each poll, Unix ms
	rows      []drivers.Reading // len(at) rows of the meter's columns
	journaled int               // polls already in the journal

	frames evidence.Frames // of a meter whose raw frames are sealed
	framed int             // most bytes they can take
}

func newRecorder(length time.Duration, order [][]int) *recorder {
	return &recorder{length: length, order: order}
}

// begin opens the first window of a run: from now to the next boundary.
func (r *recorder) begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windowOf(now).start = now.UnixMilli()
}

// add records one poll of meter that began at start, and the frames it took
// where those are sealed.
func (r *recorder) add(meter int, start time.Time, readings []drivers.Reading, frames ...evidence.Exchange) {
	r.mu.Lock()
	defer r.mu.Unlock()
	ms := start.UnixMilli()
	w := r.windowOf(start)
	m := &w.meters[meter]
	m.at = append(m.at, ms)
	for _, i := range r.order[meter] {
		m.rows = append(m.rows, readings[i])
	}
	w.addFrames(m, frames)
	w.last = max(w.last, ms)
}

// happened takes note of events, for the next events leaf. Beyond what a leaf
// holds the newest are dropped: somebody is cutting a cable again and again.
func (r *recorder) happened(events []judge.Event) {
	if len(events) == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range events {
		if len(r.news) < evidence.MaxEvents {
			r.news = append(r.news, evidence.Happening{
				At: max(0, e.At.UnixMilli()), Kind: e.Kind, Subject: e.Subject, Quantity: e.Quantity, Count: e.Count,
			})
		}
	}
}

// takeNews returns the events since it was last called.
func (r *recorder) takeNews() []evidence.Happening {
	r.mu.Lock()
	defer r.mu.Unlock()
	news := r.news
	r.news = nil
	return news
}

// windowOf finds or opens the window that t lies in. What belongs to a window
// already sealed goes to the oldest open one: it is late, not lost.
func (r *recorder) windowOf(t time.Time) *window {
	length := r.length.Milliseconds()
	ms := t.UnixMilli()
	end := ms - ms%length + length
	for _, w := range r.open {
		if w.end == end {
			return w
		}
	}
	if len(r.open) > 0 && end < r.open[0].end {
		return r.open[0]
	}
	w := r.free
	r.free = nil
	if w == nil {
		w = r.empty()
	}
	w.start, w.end, w.opened, w.last, w.framed, w.journaled = end-length, end, t, 0, 0, math.MaxUint64
	r.open = append(r.open, w)
	return w
}

// due says when the oldest open window is to be sealed: grace after its end by
// the wall clock or, should that clock be set back, by the time that passed.
func (r *recorder) due(grace time.Duration) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) == 0 {
		return time.Time{}
	}
	w := r.open[0]
	byWall := time.Until(time.UnixMilli(w.end).Add(grace))
	return time.Now().Add(min(byWall, time.Until(w.opened.Add(r.length+grace))))
}

// take removes the oldest open window and opens the one of now, so that one is
// always open. following is the start of the next. It returns nil when none is
// open.
func (r *recorder) take(now time.Time) (w *window, following int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) == 0 {
		return nil, 0
	}
	w = r.open[0]
	r.open = slices.Delete(r.open, 0, 1)
	if len(r.open) == 0 {
		r.windowOf(now)
	}
	return w, r.open[0].start
}

// empty makes a window for the recorder's meters.
func (r *recorder) empty() *window { return newWindow(len(r.order)) }

// rest removes all open windows, oldest first.
func (r *recorder) rest() []*window {
	r.mu.Lock()
	defer r.mu.Unlock()
	ws := r.open
	r.open = nil
	return ws
}

// recycle gives a window back for reuse.
func (r *recorder) recycle(w *window) {
	for i := range w.meters {
		m := &w.meters[i]
		*m = meterWindow{at: m.at[:0], rows: m.rows[:0]}
	}
	r.mu.Lock()
	r.free = w
	r.mu.Unlock()
}

// unjournaled appends to dst the batch of polls of open windows that no call
// has returned before; nothing when there are none. seq is the journal record
// the batch is to become, leaf the index of the next leaf.
func (r *recorder) unjournaled(dst []byte, seq, leaf uint64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := batch{buf: dst, leaf: leaf}
	for _, w := range r.open {
		for i := range w.meters {
			m := &w.meters[i]
			cols := len(r.order[i])
			for ; m.journaled < len(m.at); m.journaled++ {
				b.add(w.start, i, m.at[m.journaled], m.rows[m.journaled*cols:(m.journaled+1)*cols])
				w.journaled = min(w.journaled, seq)
			}
		}
	}
	return b.buf
}

// journaledFrom is the oldest journal record an open window may need.
func (r *recorder) journaledFrom() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := uint64(math.MaxUint64)
	for _, w := range r.open {
		from = min(from, w.journaled)
	}
	return from
}

func newWindow(meters int) *window {
	return &window{meters: make([]meterWindow, meters)}
}
