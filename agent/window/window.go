// Package window keeps what the meters give until it is sealed: the polls of the
// open windows in memory (Recorder) and on disk (Journal), and their form for the
// sealer (Layout).
package window

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Recorder collects polls into open windows. Pollers add, the sealer takes.
//
// Two windows can be open at once: the sealer closes one a little after its
// end, so that a poll that began before the boundary still finds its window.
type Recorder struct {
	length time.Duration // of a window
	order  [][]int       // by meter: which readings are recorded, in dictionary order

	mu   sync.Mutex
	open []*Window // by start; guarded by mu
	free *Window   // one emptied window for reuse; guarded by mu
}

// Window is what the meters gave in one stretch of time.
type Window struct {
	Start int64 // Unix ms
	End   int64 // Unix ms; a multiple of the window length, unless the run ended before
	Last  int64 // begin of the newest poll, Unix ms; 0 without one

	opened    time.Time
	meters    []meterWindow
	framed    int    // most bytes the frames of all meters can take
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

// NewRecorder makes a recorder of windows of that length. order says by meter which of its
// readings are recorded, in dictionary order.
func NewRecorder(length time.Duration, order [][]int) *Recorder {
	return &Recorder{length: length, order: order}
}

// Begin opens the first window of a run: from now to the next boundary.
func (r *Recorder) Begin(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.windowOf(now).Start = now.UnixMilli()
}

// Add records one poll of meter that began at start, and the frames it took
// where those are sealed.
func (r *Recorder) Add(meter int, start time.Time, readings []drivers.Reading, frames ...evidence.Exchange) {
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
	w.Last = max(w.Last, ms)
}

// windowOf finds or opens the window that t lies in. What belongs to a window
// already sealed goes to the oldest open one: it is late, not lost.
func (r *Recorder) windowOf(t time.Time) *Window {
	length := r.length.Milliseconds()
	ms := t.UnixMilli()
	end := ms - ms%length + length
	for _, w := range r.open {
		if w.End == end {
			return w
		}
	}
	if len(r.open) > 0 && end < r.open[0].End {
		return r.open[0]
	}
	w := r.free
	r.free = nil
	if w == nil {
		w = r.Empty()
	}
	w.Start, w.End, w.opened, w.Last, w.framed, w.journaled = end-length, end, t, 0, 0, math.MaxUint64
	r.open = append(r.open, w)
	return w
}

// Due says when the oldest open window is to be sealed: grace after its end by
// the wall clock or, should that clock be set back, by the time that passed.
func (r *Recorder) Due(grace time.Duration) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.open) == 0 {
		return time.Time{}
	}
	w := r.open[0]
	byWall := time.Until(time.UnixMilli(w.End).Add(grace))
	return time.Now().Add(min(byWall, time.Until(w.opened.Add(r.length+grace))))
}

// Take removes the oldest open window and opens the one of now, so that one is
// always open. following is the start of the next. It returns nil when none is
// open.
func (r *Recorder) Take(now time.Time) (w *Window, following int64) {
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
	return w, r.open[0].Start
}

// Empty makes a window for the recorder's meters.
func (r *Recorder) Empty() *Window { return newWindow(len(r.order)) }

// Rest removes all open windows, oldest first.
func (r *Recorder) Rest() []*Window {
	r.mu.Lock()
	defer r.mu.Unlock()
	ws := r.open
	r.open = nil
	return ws
}

// Recycle gives a window back for reuse.
func (r *Recorder) Recycle(w *Window) {
	for i := range w.meters {
		m := &w.meters[i]
		*m = meterWindow{at: m.at[:0], rows: m.rows[:0]}
	}
	r.mu.Lock()
	r.free = w
	r.mu.Unlock()
}

// Unjournaled appends to dst the batch of polls of open windows that no call
// has returned before; nothing when there are none. seq is the journal record
// the batch is to become, leaf the index of the next leaf.
func (r *Recorder) Unjournaled(dst []byte, seq, leaf uint64) []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	b := batch{buf: dst, leaf: leaf}
	for _, w := range r.open {
		for i := range w.meters {
			m := &w.meters[i]
			cols := len(r.order[i])
			for ; m.journaled < len(m.at); m.journaled++ {
				b.add(w.Start, i, m.at[m.journaled], m.rows[m.journaled*cols:(m.journaled+1)*cols])
				w.journaled = min(w.journaled, seq)
			}
		}
	}
	return b.buf
}

// JournaledFrom is the oldest journal record an open window may need.
func (r *Recorder) JournaledFrom() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	from := uint64(math.MaxUint64)
	for _, w := range r.open {
		from = min(from, w.journaled)
	}
	return from
}

func newWindow(meters int) *Window {
	return &Window{meters: make([]meterWindow, meters)}
}

// addFrames adds the exchanges of one poll of m. Those that do not fit a block,
// and all after them, are counted.
func (w *Window) addFrames(m *meterWindow, frames []evidence.Exchange) {
	for _, x := range frames {
		size := evidence.ExchangeOverhead + len(x.Request) + len(x.Reply)
		if m.frames.Dropped > 0 || max(len(x.Request), len(x.Reply)) > evidence.MaxFrame ||
			m.framed+size > evidence.MaxMeterFrames || w.framed+size > evidence.MaxWindowFrames {
			m.frames.Dropped++
			continue
		}
		x.At -= w.Start
		m.frames.Exchanges = append(m.frames.Exchanges, x)
		m.framed += size
		w.framed += size
	}
}
