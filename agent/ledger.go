package agent

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"time"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

const (
	sealedDir  = "sealed" // the log of leaves
	journalDir = "open"   // the polls of the windows not yet sealed
)

// ledger is the site's history: the durable log of leaves and the one writer
// that extends it. It belongs to the sealer.
//
// A leaf is built, appended, flushed and only then seen by anybody else:
// shippers wait for durable records. A crash before the flush loses a leaf
// nobody has seen, so its index is free again; a crash after it leaves the
// record that will be sent. No index is ever used for two payloads.
type ledger struct {
	dir      string
	log      *buffer.Log
	journal  *window.Journal
	writer   *seal.Writer
	source   *Source
	totals   *totals
	consents *consents
	fsys     vfs.FS
	preamble []byte // the writer's state before the leaf being appended
	boot     uint64
	lost     []evidence.LostRange // dropped by quota, not yet stated in a leaf
	used     used
	clock    clock.System
	clockSet bool // in this run, by something else than a time server
}

// past is what the log of an earlier run ends with.
type past struct {
	begun      bool             // there was a run before
	boot       uint64           // its boot counter
	clean      bool             // its last leaf is a shutdown
	recordedTo int64            // up to when readings survive, Unix ms; 0 when none
	left       []*window.Window // that the run before left open, with what of them is on disk
	damaged    []string         // what could not be read, in words
}

// note keeps what a log's recovery found, for people.
func (p *past) note(what string, r buffer.Recovery) {
	for _, d := range r.Damaged {
		p.damaged = append(p.damaged, fmt.Sprintf("%s: %v cannot be read", what, d))
	}
	for _, f := range r.Faults {
		p.damaged = append(p.damaged, what+": "+f)
	}
}

// ErrRolledBack says that a history once went further than it does now. To go on
// would sign a second history over indexes that lenders may have.
var ErrRolledBack = errors.New("the history once went further than it does now: the disk lost what was recorded, or an older copy was put back")

// openLedger opens the history below s.Dir, beginning it with a genesis leaf
// where there is none.
func openLedger(fsys vfs.FS, s *Site, dict *evidence.Dictionary) (l *ledger, p past, err error) {
	l = &ledger{dir: s.Dir, fsys: fsys, used: used{path: s.Used}}
	if err := l.used.load(); err != nil {
		return nil, p, err
	}
	lost, err := l.used.settle(fsys, s)
	if err != nil {
		return nil, p, err
	}
	log, rec, err := buffer.Open(fsys, filepath.Join(s.Dir, sealedDir), buffer.Options{
		SegmentBytes: segmentBytes(s.Quota),
		QuotaBytes:   s.Quota,
		Retention:    s.Retention,
		Preamble:     func() []byte { return l.preamble },
	})
	if err != nil {
		return nil, p, err
	}
	l.log, l.source = log, &Source{log: log}
	defer func() {
		if err != nil {
			log.Close()
		}
	}()
	p.note("sealed log", rec)
	if rec.TailLost {
		return nil, p, fmt.Errorf("%s: %w", s.Dir, ErrRolledBack)
	}
	if log.Next() == 0 {
		err = l.begin(s, dict, lost)
	} else {
		err = l.resume(s, &p)
	}
	if err != nil {
		return nil, p, err
	}
	if err = l.used.agrees(l.writer); err != nil {
		return nil, p, err
	}
	if err = l.remember(); err != nil {
		return nil, p, err
	}
	l.source.setMeta(l.writer.Meta().Encode())
	var lacking error
	if l.totals, lacking = openTotals(fsys, s, l); lacking != nil {
		p.damaged = append(p.damaged, lacking.Error())
	}
	if l.consents, lacking = openConsents(fsys, s.Dir, l.writer.LogID(), log); lacking != nil {
		p.damaged = append(p.damaged, lacking.Error())
	}
	if err = l.openJournal(fsys, &p); err != nil {
		return nil, p, err
	}
	l.lose(rec.Behind) // said again: the run before may not have come to say it
	return l, p, nil
}

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
func (l *ledger) begin(s *Site, dict *evidence.Dictionary, prev *evidence.Previous) error {
	w, genesis, err := seal.NewWriter(s.Signer, s.Salt, evidence.Genesis{
		Event:         l.event(time.Now(), 0),
		Dictionary:    *dict,
		Commissioning: s.ConfigDigest,
		Successor:     s.Successor,
		Checkpoint:    s.Checkpoint,
		Prev:          prev,
	})
	if err != nil {
		return err
	}
	l.writer = w
	return l.store(genesis)
}

// resume takes the history up where it ended.
func (l *ledger) resume(s *Site, p *past) error {
	last := l.log.Next() - 1
	n, preamble, err := l.log.Preamble(last)
	if err != nil {
		return err
	}
	if l.writer, err = seal.Resume(s.Signer, s.Salt, preamble); err != nil {
		return err
	}
	var rec []byte
	for ; n <= last; n++ {
		if rec, err = l.log.Read(n, rec[:0]); err != nil {
			return err
		}
		if err := l.writer.Replay(rec); err != nil {
			return err
		}
	}
	if err := l.writer.Ready(); err != nil {
		return err
	}
	p.begun = true
	return l.readTail(last, p)
}

// readTail reads from the newest leaves the boot they belong to, whether the
// run ended cleanly, and the end of its newest window.
func (l *ledger) readTail(last uint64, p *past) error {
	look := 64 // restarted that often without a window: none is worth looking for
	var rec []byte
	for n := last; ; n-- {
		var err error
		rec, err = l.log.Read(n, rec[:0])
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
			p.boot, p.clean = m.Event.Boot, m.Type == evidence.ShutdownLeaf
		}
		if m.Type == evidence.WindowLeaf {
			p.recordedTo = m.End()
			return nil
		}
		if m.Type != evidence.EventsLeaf {
			look--
		}
		if n == l.log.First() || look == 0 {
			return nil
		}
	}
}

// openJournal opens the journal and reads back what the run before left in it.
func (l *ledger) openJournal(fsys vfs.FS, p *past) error {
	j, rec, err := window.OpenJournal(fsys, filepath.Join(l.dir, journalDir))
	if err != nil {
		return err
	}
	p.note("journal", rec)
	meta, err := l.writer.Meta().Parse()
	if err != nil {
		return err
	}
	var damaged []string
	p.left, damaged = j.Left(l.writer.Dictionary(), meta.Dictionary.Manifest.N, l.sealed)
	p.damaged = append(p.damaged, damaged...)
	l.journal = j
	return nil
}

// sealed reports whether the window that begins at start is in a leaf already. It
// was open when leaf was the next one, so it is among the next few windows or not
// sealed yet; that goes by indexes and not by the clock, which may have been
// set back.
func (l *ledger) sealed(leaf uint64, start int64) bool {
	const soon = 6 // two open windows, a hole, what a restart adds
	windows := 0
	for n := leaf; n < l.log.Next() && windows < soon; n++ {
		switch l.windowStart(n) {
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
func (l *ledger) windowStart(n uint64) int64 {
	rec, err := l.log.Read(n, nil)
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
func (l *ledger) event(start time.Time, duration time.Duration) evidence.Event {
	flag, errorMS := l.clock.State()
	return evidence.Event{
		Start:       max(0, start.UnixMilli()),
		Duration:    uint64(duration.Milliseconds()),
		TimeFlag:    clock.Flag(flag, start, l.clockSet),
		TimeErrorMS: errorMS,
		Boot:        l.boot,
		UptimeMS:    uint64(clock.Uptime().Milliseconds()),
	}
}

// leaf extends the history by what build returns.
func (l *ledger) leaf(build func(*seal.Writer) ([]byte, error)) (err error) {
	if l.preamble, err = l.writer.Preamble(); err != nil {
		return err
	}
	delivery, err := build(l.writer)
	if err != nil {
		return err
	}
	return l.store(delivery)
}

// store makes the leaf the writer built last durable.
func (l *ledger) store(delivery []byte) error {
	n, err := l.log.Append(delivery)
	if err != nil {
		return err
	}
	if want := l.writer.N() - 1; n != want {
		return fmt.Errorf("leaf %d was stored as record %d of %s: something else has written there", want, n, l.dir)
	}
	// An error other than ErrSync concerns the cursors alone, which the next
	// Sync writes again; without them records would only be sent twice.
	if err := l.log.Sync(); errors.Is(err, buffer.ErrSync) {
		return err
	}
	a := l.writer.Anchor()
	l.source.newest.Store(&a)
	return nil
}

// restart states in the history what became of the run before: a boot leaf
// says up to when readings survived, then the windows it left open are sealed with
// what of them is on disk. The boot leaf stands first, for it explains the new boot
// counter that they bear too. A new history has no run before.
func (l *ledger) restart(p *past, software string) error {
	if !p.begun {
		return nil
	}
	l.boot = p.boot + 1
	dict := l.writer.Dictionary()
	lay := window.LayoutOf(dict)
	for _, w := range p.left {
		p.recordedTo = max(p.recordedTo, w.Last)
	}
	err := l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Boot(l.event(time.Now(), 0), evidence.Boot{Clean: p.clean, LastRecordedMS: p.recordedTo, Software: software})
	})
	if err != nil {
		return err
	}
	for _, w := range p.left {
		w.End = max(w.Start, w.Last)
		if err := l.window(w, &lay, nil); err != nil {
			return err
		}
	}
	return l.journal.Trim(l.journal.Next())
}

// configure states a changed site file or dictionary in the history.
func (l *ledger) configure(dict *evidence.Dictionary, digest evidence.Hash) error {
	meta, err := l.writer.Meta().Parse()
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
	err = l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Config(l.event(time.Now(), 0), *dict, digest)
	})
	l.totals.Follow(l.writer.Dictionary())
	l.source.setMeta(l.writer.Meta().Encode())
	return err
}

// window seals w; beacon are the nonces it answers.
func (l *ledger) window(w *window.Window, lay *window.Layout, beacon []evidence.NonceHash) error {
	length := time.Duration(w.End-w.Start) * time.Millisecond
	samples := lay.Fill(w)
	l.totals.Window(w.Start, w.End, samples)
	return l.leaf(func(wr *seal.Writer) ([]byte, error) {
		return wr.Window(l.event(time.UnixMilli(w.Start), length), samples, beacon)
	})
}

// loss states the leaves dropped by quota since it was last called.
func (l *ledger) loss() error {
	if len(l.lost) == 0 {
		return nil
	}
	err := l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Loss(l.event(time.Now(), 0), l.lost)
	})
	l.lost = nil
	return err
}

// events states what happened besides measuring.
func (l *ledger) events(news []evidence.Happening) error {
	if len(news) == 0 {
		return nil
	}
	l.totals.Events(news)
	return l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Events(l.event(time.Now(), 0), news)
	})
}

// step states that the clock was set.
func (l *ledger) step(before, after int64) error {
	return l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Step(l.event(time.Now(), 0), before, after)
	})
}

// witnessed records a checkpoint with its cosignatures.
func (l *ledger) witnessed(note string) error {
	return l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Witnessed(l.event(time.Now(), 0), note)
	})
}

// record seals a record for one lender, or with "" for all.
func (l *ledger) record(t evidence.LeafType, lender string, content any) error {
	body, err := record.Encode(lender, content)
	if err != nil {
		return err
	}
	return l.recordBody(t, body)
}

// recordBody seals a record that is encoded already.
func (l *ledger) recordBody(t evidence.LeafType, body []byte) error {
	return l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Record(l.event(time.Now(), 0), t, body)
	})
}

// shutdown ends a run in order.
func (l *ledger) shutdown(reason string) error {
	err := l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Shutdown(l.event(time.Now(), 0), reason)
	})
	if err != nil {
		return err
	}
	return l.remember()
}

// count has a chip's counter certified with the head.
func (l *ledger) count(count Count) error {
	c, err := count(l.writer.CounterOver())
	if err != nil {
		return err
	}
	return l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Counter(l.event(time.Now(), 0), c)
	})
}

// rotate puts next in force, which was committed to, and commits to the one
// after it.
func (l *ledger) rotate(next evidence.Signer, after evidence.Hash) error {
	return l.leaf(func(w *seal.Writer) ([]byte, error) {
		return w.Rotate(l.event(time.Now(), 0), next, after)
	})
}

// remember notes beside the key how far the history has gone.
func (l *ledger) remember() error {
	return l.used.store(evidence.Previous{Log: l.writer.LogID(), N: l.writer.N(), Root: l.writer.Anchor().Root(l.writer.Suite())})
}

// trim deletes what quota and retention let go and keeps note of what some
// lender has not confirmed, for the next loss leaf.
func (l *ledger) trim() error {
	t, err := l.log.Trim()
	l.lose(t.Undelivered)
	return err
}

// lose notes leaves dropped before some lender had confirmed them, for the next
// loss leaf.
func (l *ledger) lose(dropped []buffer.UndeliveredRange) {
	if len(dropped) == 0 {
		return
	}
	lost := buffer.Span{Lo: dropped[0].Lo, Hi: dropped[0].Hi}
	for _, u := range dropped {
		lost = buffer.Span{Lo: min(lost.Lo, u.Lo), Hi: max(lost.Hi, u.Hi)}
	}
	if n := len(l.lost); n > 0 && lost.Lo <= l.lost[n-1].Hi+1 {
		l.lost[n-1].Hi = max(l.lost[n-1].Hi, lost.Hi-1)
		return
	}
	l.lost = append(l.lost, evidence.LostRange{Lo: lost.Lo, Hi: lost.Hi - 1, Reason: "quota"})
}

func (l *ledger) close() error {
	return errors.Join(l.journal.Close(), l.log.Close())
}
