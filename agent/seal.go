package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// sealer turns windows into leaves. It is the only one that touches the
// store.
type sealer struct {
	store    *store
	rec      *window.Recorder
	news     *news
	judge    *judge.Judge
	lenders  *desk.Lenders
	requests *desk.Requests
	count    Count     // nil: none
	hourly   time.Time // when the counter was last certified, and the history noted beside the key
	clock    clock.Watch
	uptime   func() time.Duration
	ids      *identities
	log      *slog.Logger
	sync     time.Duration
	grace    time.Duration // how long after its end a window stays open
	layout   window.Layout
	batch    []byte
}

// run seals each window when it is over and keeps the journal of the open ones
// at most sync behind. It returns with ctx, leaving the open windows to finish.
func (s *sealer) run(ctx context.Context) error {
	lastSync := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		due := s.rec.Due(s.grace)
		wake := due
		if next := lastSync.Add(s.sync); next.Before(wake) {
			wake = next
		}
		timer.Reset(time.Until(wake))
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now := time.Now()
		if !now.Before(due) {
			if err := s.next(now); err != nil {
				return err
			}
		}
		if now.Sub(lastSync) >= s.sync {
			lastSync = now
			if err := s.journalize(); err != nil {
				return err
			}
		}
	}
}

// longestHole is how far ahead the clock may jump for the time between to count
// as time the box slept through. Beyond, the clock was set, and there was no
// such time.
const longestHole = 24 * time.Hour

// next seals the oldest open window. Where the box slept, an empty window
// covers the time until the next one, so that the history has no unspoken
// hole.
func (s *sealer) next(now time.Time) error {
	w, following := s.rec.Take(now)
	if w == nil {
		return nil
	}
	slept := s.rec.Empty()
	slept.Start, slept.End = w.End, following
	if err := s.seal(w); err != nil {
		return err
	}
	if hole := slept.End - slept.Start; hole <= 0 || hole > longestHole.Milliseconds() {
		return nil
	}
	return s.seal(slept)
}

// seal makes w a leaf of the history.
func (s *sealer) seal(w *window.Window) error {
	if err := s.store.Loss(); err != nil {
		return err
	}
	// Before the window, so that the totals in it know of an exchange.
	if err := s.store.events(s.news.take()); err != nil {
		return err
	}
	if err := s.store.seal(w, &s.layout, s.lenders.Beacon()); err != nil {
		return err
	}
	s.rec.Recycle(w)
	if err := s.store.totals.keep(s.store.LogID(), s.store.Next()); err != nil {
		s.log.Warn("the totals so far could not be stored; the next start reads more of the history", "err", err)
	}
	if err := s.store.keepConsents(); err != nil {
		s.log.Warn("the consents could not be stored", "err", err)
	}
	if err := s.store.Trim(); err != nil {
		return err
	}
	return s.tidyJournal()
}

// tidyJournal lets go of what no open window needs.
func (s *sealer) tidyJournal() error { return s.store.journal.Trim(s.rec.JournaledFrom()) }

// journalize makes the polls since the last call durable, and what happened
// besides a leaf of the history.
func (s *sealer) journalize() error {
	if err := s.step(); err != nil {
		return err
	}
	if err := s.events(time.Now()); err != nil {
		return err
	}
	if err := s.said(false); err != nil {
		return err
	}
	if err := s.everyHour(); err != nil {
		return err
	}
	if err := s.requests.Seal(s.store); err != nil {
		return err
	}
	s.batch = s.rec.Unjournaled(s.batch[:0], s.store.journal.Next(), s.store.Next())
	return s.store.journal.Append(s.batch)
}

// step states that the clock was set, where it was.
func (s *sealer) step() error {
	before, after, stepped := s.clock.Look(time.Now(), s.uptime())
	if !stepped {
		return nil
	}
	return s.store.Step(before, after)
}

// Count has a counter that only rises certified over a head of the history.
type Count func(over evidence.Hash) (evidence.Counter, error)

// countEvery is how often a chip's counter is certified: its memory wears out.
const countEvery = time.Hour

// everyHour has the counter certified and the history noted beside the key. A
// chip that fails is reported and asked again: readings go on without it.
func (s *sealer) everyHour() error {
	now := time.Now()
	if now.Sub(s.hourly) < countEvery {
		return nil
	}
	s.hourly = now
	if s.count != nil {
		if err := s.store.Count(s.count); err != nil {
			s.log.Warn("the counter could not be certified", "err", err)
		}
	}
	return s.store.Remember()
}

// said records what lenders said: answers to challenges, and receipts.
func (s *sealer) said(last bool) error {
	for _, a := range s.lenders.TakeAnswers() {
		if err := s.store.Record(evidence.AnswerLeaf, a.Lender, a.Content()); err != nil {
			return err
		}
	}
	if note := s.lenders.TakeNote(); note != "" {
		if err := s.store.Witnessed(note); err != nil {
			return err
		}
	}
	for lender, receipt := range s.lenders.TakeReceipts(last) {
		if err := s.store.Record(evidence.ReceiptLeaf, lender, receipt); err != nil {
			return err
		}
	}
	return nil
}

// events states what happened besides, then keeps who the meters are: were it
// the other way round, a kill in between would hide an exchange. A zero now is
// the end of the run.
func (s *sealer) events(now time.Time) error {
	known := s.ids.changed()
	s.news.add(s.judge.Waiting(now))
	if err := s.store.events(s.news.take()); err != nil {
		return err
	}
	if known == nil {
		return nil
	}
	// Without it an exchange is told again after the next start, or one until
	// then is missed: no reason to stop now.
	if err := s.ids.store(known); err != nil {
		s.log.Warn("who the meters are could not be stored", "err", err)
	}
	return nil
}

// finish seals what is open, the newest window only up to now, and
// ends the run with a shutdown leaf.
func (s *sealer) finish(reason string) error {
	now := time.Now()
	if err := s.events(time.Time{}); err != nil {
		return err
	}
	for _, w := range s.rec.Rest() {
		w.End = max(w.Start, min(w.End, now.UnixMilli()))
		if err := s.seal(w); err != nil {
			return err
		}
	}
	if err := s.said(true); err != nil {
		return err
	}
	return s.store.Shutdown(reason)
}
