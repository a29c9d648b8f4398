// Package history is a site's history on disk: the durable log of leaves, the one
// Writer that extends it, the Source that shippers read it from meanwhile, and the
// Reader of everybody else.
package history

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"time"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

const sealedDir = "sealed" // below the history's directory: the log of leaves

// Config is what opens a history.
type Config struct {
	Dir       string        // owned by one writer at a time
	Quota     int64         // bytes of log on disk, 0 for no limit
	Retention time.Duration // age after which delivered leaves go, 0 for quota only

	Signer     evidence.Signer
	Salt       []byte         // secret the block salts come from
	Successor  *evidence.Hash // a new history commits to it; nil: its key is never rotated
	Checkpoint []byte         // public half of the key that signs checkpoints; nil for none
	Site       evidence.Hash  // digest of the site file in force

	Used        string   // file that remembers what the key has signed; empty: none
	DeclareLoss bool     // begin a new history where the one that was signed is gone
	Beside      []string // names below Dir that mean nothing without that history, and are put aside with it

	Continues *evidence.Previous // what a new history says of one that was concluded; nil: none was

	Uptime func() time.Duration // of the machine
	// ClockState is what disciplines the wall clock, and its error in ms; nil: as the
	// system says.
	ClockState func() (flag evidence.TimeFlag, errorMS uint64)
}

// Writer is the site's history: the durable log of leaves and the one writer
// that extends it. It belongs to the sealer.
//
// A leaf is built, appended, flushed and only then seen by anybody else:
// shippers wait for durable records. A crash before the flush loses a leaf
// nobody has seen, so its index is free again; a crash after it leaves the
// Record that will be sent. No index is ever used for two payloads.
type Writer struct {
	dir      string
	log      *buffer.Log
	writer   *seal.Writer
	source   *Source
	uptime   func() time.Duration
	preamble []byte // the writer's state before the leaf being appended
	boot     uint64
	lost     []evidence.LostRange // dropped by quota, not yet stated in a leaf
	used     used
	clock    clock.System
	state    func() (evidence.TimeFlag, uint64) // of clock, or what stands for it
	clockSet bool                               // in this run, by something else than a time server
}

// Past is what a history ends with when it is opened.
type Past struct {
	Begun      bool            // there was a run before
	RecordedTo int64           // up to when its windows are sealed, Unix ms; 0 when none
	Found      buffer.Recovery // what could not be read
	clean      bool            // its last leaf is a shutdown
}

// ErrRolledBack says that a history once went further than it does now. To go on
// would sign a second history over indexes that lenders may have.
var ErrRolledBack = errors.New("the history once went further than it does now: the disk lost what was recorded, or an older copy was put back")

// OpenWriter opens the history below c.Dir, beginning it with a genesis leaf
// where there is none. dict is the dictionary of a new one; one there is goes on
// with its own until Configure.
func OpenWriter(fsys vfs.FS, c *Config, dict *evidence.Dictionary) (h *Writer, p Past, err error) {
	h = &Writer{dir: c.Dir, uptime: c.Uptime, used: used{path: c.Used}}
	if h.state = c.ClockState; h.state == nil {
		h.state = h.clock.State
	}
	if err := h.used.load(); err != nil {
		return nil, p, err
	}
	before, err := h.used.settle(fsys, c)
	if err != nil {
		return nil, p, err
	}
	h.log, p.Found, err = buffer.Open(fsys, filepath.Join(c.Dir, sealedDir), buffer.Options{
		SegmentBytes: segmentBytes(c.Quota),
		QuotaBytes:   c.Quota,
		Retention:    c.Retention,
		Preamble:     func() []byte { return h.preamble },
	})
	if err != nil {
		return nil, p, err
	}
	log := h.log
	defer func() {
		if err != nil {
			log.Close()
		}
	}()
	h.source = &Source{log: log}
	if p.Found.TailLost {
		return nil, p, fmt.Errorf("%s: %w", c.Dir, ErrRolledBack)
	}
	if before == nil {
		before = c.Continues
	}
	if log.Next() == 0 {
		err = h.begin(c, dict, before)
	} else {
		err = h.resume(c, &p)
	}
	if err != nil {
		return nil, p, err
	}
	if err = h.used.agrees(h.writer); err != nil {
		return nil, p, err
	}
	if err = h.Remember(); err != nil {
		return nil, p, err
	}
	anchor := h.writer.Anchor()
	h.source.newest.Store(&anchor)
	h.source.id = h.writer.LogID()
	meta, err := h.writer.Meta().Parse()
	if err != nil {
		return nil, p, err
	}
	h.source.continues = meta.Genesis.Manifest.Genesis.Prev != nil
	h.source.setMeta(h.writer.Meta().Encode())
	h.lose(p.Found.Behind) // said again: the run before may not have come to say it
	return h, p, nil
}

// LogID names the history, Suite is that of its signatures.
func (h *Writer) LogID() evidence.LogID { return h.writer.LogID() }
func (h *Writer) Suite() evidence.Suite { return h.writer.Suite() }

// Next is the index of the next leaf.
func (h *Writer) Next() uint64 { return h.writer.N() }

// Dictionary is the one in force.
func (h *Writer) Dictionary() *evidence.Dictionary { return h.writer.Dictionary() }

// Source is the history as others read it meanwhile.
func (h *Writer) Source() *Source { return h.source }

// segmentBytes keeps a segment, the unit in which old leaves are let go, small
// against the quota.
func segmentBytes(quota int64) int64 {
	const most = 1 << 20
	if quota == 0 {
		return most
	}
	return min(most, quota/16)
}

// begin writes the genesis leaf of a new history, which says what became of the
// one before.
func (h *Writer) begin(c *Config, dict *evidence.Dictionary, prev *evidence.Previous) error {
	w, genesis, err := seal.NewWriter(c.Signer, c.Salt, evidence.Genesis{
		Event:         h.event(time.Now(), 0),
		Dictionary:    *dict,
		Commissioning: c.Site,
		Successor:     c.Successor,
		Checkpoint:    c.Checkpoint,
		Prev:          prev,
	})
	if err != nil {
		return err
	}
	h.writer = w
	return h.store(genesis)
}

// resume takes the history up where it ended.
func (h *Writer) resume(c *Config, p *Past) error {
	last := h.log.Next() - 1
	n, preamble, err := h.log.Preamble(last)
	if err != nil {
		return err
	}
	if h.writer, err = seal.Resume(c.Signer, c.Salt, preamble); err != nil {
		return err
	}
	var rec []byte
	for ; n <= last; n++ {
		if rec, err = h.log.Read(n, rec[:0]); err != nil {
			return err
		}
		if err := h.writer.Replay(rec); err != nil {
			return err
		}
	}
	if err := h.writer.Ready(); err != nil {
		return err
	}
	p.Begun = true
	return h.readTail(last, p)
}

// readTail reads from the newest leaves the boot they belong to, whether the
// run ended cleanly, and the end of its newest window.
func (h *Writer) readTail(last uint64, p *Past) error {
	look := 64 // restarted that often without a window: none is worth looking for
	var rec []byte
	for n := last; ; n-- {
		var err error
		rec, err = h.log.Read(n, rec[:0])
		if damaged := new(buffer.DamagedError); errors.As(err, &damaged) {
			return nil // an old leaf; that there is no window is all it can hide
		}
		if err != nil {
			return err
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			return err
		}
		m := &d.Manifest
		if n == last {
			h.boot, p.clean = m.Event.Boot+1, m.Type == evidence.ShutdownLeaf
		}
		if m.Type == evidence.WindowLeaf {
			p.RecordedTo = m.End()
			return nil
		}
		if m.Type != evidence.EventsLeaf {
			look--
		}
		if n == h.log.First() || look == 0 {
			return nil
		}
	}
}

// Sealed reports whether the window that begins at start is in a leaf already. It
// was open when leaf was the next one, so it is among the next few windows or not
// sealed yet; that goes by indexes and not by the clock, which may have been
// set back.
func (h *Writer) Sealed(leaf uint64, start int64) bool {
	const soon = 6 // two open windows, a hole, what a restart adds
	windows := 0
	for n := leaf; n < h.log.Next() && windows < soon; n++ {
		switch h.windowStart(n) {
		case start:
			return true
		case math.MinInt64:
		default:
			windows++
		}
	}
	return false
}

// windowStart is the begin of the window in leaf n, MinInt64 where there is none
// or it cannot be read: its polls are then sealed again rather than lost.
func (h *Writer) windowStart(n uint64) int64 {
	rec, err := h.log.Read(n, nil)
	if err != nil {
		return math.MinInt64
	}
	d, err := evidence.ParseDelivery(rec)
	if err != nil || d.Manifest.Type != evidence.WindowLeaf {
		return math.MinInt64
	}
	return d.Manifest.Start
}

// event is the time and clock part of a leaf about the duration from start.
func (h *Writer) event(start time.Time, duration time.Duration) evidence.Event {
	flag, errorMS := h.state()
	return evidence.Event{
		Start:       max(0, start.UnixMilli()),
		Duration:    uint64(duration.Milliseconds()),
		TimeFlag:    clock.Flag(flag, start, h.clockSet),
		TimeErrorMS: errorMS,
		Boot:        h.boot,
		UptimeMS:    uint64(h.uptime().Milliseconds()),
	}
}

// leaf extends the history by what build returns.
func (h *Writer) leaf(build func(*seal.Writer) ([]byte, error)) (err error) {
	if h.preamble, err = h.writer.Preamble(); err != nil {
		return err
	}
	delivery, err := build(h.writer)
	if err != nil {
		return err
	}
	return h.store(delivery)
}

// store makes the leaf the writer built last durable.
func (h *Writer) store(delivery []byte) error {
	n, err := h.log.Append(delivery)
	if err != nil {
		return err
	}
	if want := h.writer.N() - 1; n != want {
		return fmt.Errorf("leaf %d was stored as record %d of %s: something else has written there", want, n, h.dir)
	}
	// An error other than ErrSync concerns the cursors alone, which the next
	// Sync writes again; without them records would only be sent twice.
	if err := h.log.Sync(); errors.Is(err, buffer.ErrSync) {
		return err
	}
	a := h.writer.Anchor()
	h.source.newest.Store(&a)
	return nil
}

// Boot states what became of the run before: software takes it up, and readings of
// it survive up to recordedTo, Unix ms.
func (h *Writer) Boot(p *Past, recordedTo int64, software string) error {
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Boot(h.event(time.Now(), 0), evidence.Boot{Clean: p.clean, LastRecordedMS: recordedTo, Software: software})
	})
}

// Configure states a changed site file or dictionary in the history.
func (h *Writer) Configure(dict *evidence.Dictionary, digest evidence.Hash) error {
	meta, err := h.writer.Meta().Parse()
	if err != nil {
		return err
	}
	inForce := &meta.Dictionary
	was := evidence.Hash{}
	switch m := &inForce.Manifest; {
	case m.Genesis != nil:
		was = m.Genesis.Commissioning
	case m.Config != nil:
		was = m.Config.Digest
	}
	if was == digest && reflect.DeepEqual(inForce.Manifest.Dictionary(), dict) {
		return nil
	}
	err = h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Config(h.event(time.Now(), 0), *dict, digest)
	})
	h.source.setMeta(h.writer.Meta().Encode())
	return err
}

// Window seals the samples of a window, whose begin and end are in Unix ms; beacon
// are the nonces it answers.
func (h *Writer) Window(start, end int64, samples map[evidence.Channel][]evidence.Samples, beacon []evidence.NonceHash) error {
	length := time.Duration(end-start) * time.Millisecond
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Window(h.event(time.UnixMilli(start), length), samples, beacon)
	})
}

// Loss states the leaves dropped by quota since it was last called.
func (h *Writer) Loss() error {
	if len(h.lost) == 0 {
		return nil
	}
	err := h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Loss(h.event(time.Now(), 0), h.lost)
	})
	h.lost = nil
	return err
}

// Events states what happened besides measuring.
func (h *Writer) Events(news []evidence.Happening) error {
	if len(news) == 0 {
		return nil
	}
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Events(h.event(time.Now(), 0), news)
	})
}

// Step states that the clock was set, in Unix ms.
func (h *Writer) Step(before, after int64) error {
	h.clockSet = true
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Step(h.event(time.Now(), 0), before, after)
	})
}

// Witnessed records a checkpoint with its cosignatures.
func (h *Writer) Witnessed(note string) error {
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Witnessed(h.event(time.Now(), 0), note)
	})
}

// Record seals a record for one lender, or with "" for all.
func (h *Writer) Record(t evidence.LeafType, lender string, content any) error {
	body, err := record.Encode(lender, content)
	if err != nil {
		return err
	}
	return h.RecordBody(t, body)
}

// RecordBody seals a record that is encoded already.
func (h *Writer) RecordBody(t evidence.LeafType, body []byte) error {
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Record(h.event(time.Now(), 0), t, body)
	})
}

// Shutdown ends a run in order.
func (h *Writer) Shutdown(reason string) error {
	err := h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Shutdown(h.event(time.Now(), 0), reason)
	})
	if err != nil {
		return err
	}
	return h.Remember()
}

// Count has a counter that only rises certified over the head of the history.
func (h *Writer) Count(certify func(over evidence.Hash) (evidence.Counter, error)) error {
	c, err := certify(h.writer.CounterOver())
	if err != nil {
		return err
	}
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Counter(h.event(time.Now(), 0), c)
	})
}

// Rotate puts next in force, which was committed to, and commits to the one
// after it.
func (h *Writer) Rotate(next evidence.Signer, after evidence.Hash) error {
	return h.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Rotate(h.event(time.Now(), 0), next, after)
	})
}

// Remember notes beside the key how far the history has gone.
func (h *Writer) Remember() error {
	return h.used.store(evidence.Previous{Log: h.writer.LogID(), N: h.writer.N(), Root: h.writer.Anchor().Root(h.writer.Suite())})
}

// Trim deletes what quota and retention let go and keeps note of what some
// lender has not confirmed, for the next loss leaf.
func (h *Writer) Trim() error {
	t, err := h.log.Trim()
	h.lose(t.Undelivered)
	return err
}

// lose notes leaves dropped before some lender had confirmed them, for the next
// Loss leaf.
func (h *Writer) lose(dropped []buffer.UndeliveredRange) {
	if len(dropped) == 0 {
		return
	}
	lost := buffer.Span{Lo: dropped[0].Lo, Hi: dropped[0].Hi}
	for _, u := range dropped {
		lost = buffer.Span{Lo: min(lost.Lo, u.Lo), Hi: max(lost.Hi, u.Hi)}
	}
	if n := len(h.lost); n > 0 && lost.Lo <= h.lost[n-1].Hi+1 {
		h.lost[n-1].Hi = max(h.lost[n-1].Hi, lost.Hi-1)
		return
	}
	h.lost = append(h.lost, evidence.LostRange{Lo: lost.Lo, Hi: lost.Hi - 1, Reason: "quota"})
}

// Cursors, by lender, are the first leaves without its receipt.
func (h *Writer) Cursors() map[string]uint64 { return h.log.Cursors() }

// Cursor is that of one lender, which begins it where there is none.
func (h *Writer) Cursor(lender string) (*buffer.Cursor, error) { return h.log.Cursor(lender) }

// RemoveCursor forgets a lender: its leaves are kept no longer for it.
func (h *Writer) RemoveCursor(lender string) error { return h.log.RemoveCursor(lender) }

// Close ends the writing.
func (h *Writer) Close() error { return h.log.Close() }
