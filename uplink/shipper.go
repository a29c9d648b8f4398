package uplink

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Retained texts of the state topic: a hint, never evidence.
const (
	online  = "online"
	offline = "offline"
)

const (
	announceTimeout = 30 * time.Second
	goodbyeTimeout  = 2 * time.Second

	poisonSuspect = 2 // sessions a record must have ended before it is sent alone
	poisonCertain = 3 // ... before it is reported
	kickedOften   = 3 // sessions the broker ended for no visible reason before it is reported
)

// Shipper sends one log to one lender. Run may be called once; the other
// methods from any goroutine.
type Shipper struct {
	cfg Config

	// Owned by Run's goroutine.
	base    uint64 // first record the lender is not known to have
	jump    uint64 // record sent with an anchor, because what is before it is lost; 0 = none
	newest  int64  // ReceivedAt of the newest receipt believed, Unix ms
	rewound time.Time
	asked   int64 // Issued of the newest request believed, Unix ms: older ones are repetitions
	suspect suspicion
	kicked  int

	mu      sync.Mutex
	status  Status        // Receipted mirrors base
	changed chan struct{} // closed and replaced when status changes
}

// suspicion is the record the broker hung up on, and how often in a row.
type suspicion struct {
	seq   uint64
	times int
}

// New checks the configuration. Nothing is opened before Run.
func New(cfg Config) (*Shipper, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Shipper{cfg: cfg, base: cfg.Cursor.Get(), changed: make(chan struct{})}
	s.status = Status{Lender: cfg.Lender, Receipted: s.base}
	return s, nil
}

// Run ships until ctx ends, then says good-bye to the broker and returns nil.
// No fault of network, broker or lender ends it.
func (s *Shipper) Run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; {
		s.rest(ctx)
		if ctx.Err() != nil {
			break
		}
		began, from := time.Now(), s.base
		err := s.connect(ctx)
		if ctx.Err() != nil {
			break
		}
		if errors.Is(err, errEnded) {
			s.update(func(st *Status) { st.Connected, st.LastErr = false, nil })
			continue
		}
		s.update(func(st *Status) { st.Connected, st.LastErr = false, err })
		s.event(Event{Kind: Disconnected, Err: err})
		failures++
		if long := time.Since(began) > s.cfg.Backoff.slowest(); long || s.base > from {
			failures = 1
			if long {
				s.kicked = 0
			}
		}
		pause := s.cfg.Backoff.Delay(failures)
		if s.suspect.times >= poisonCertain {
			pause = s.cfg.Backoff.slowest()
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
	}
	s.update(func(st *Status) { st.Connected = false })
	return nil
}

// rest returns when there may be something to send. Until then it lets what the
// lender must not have pass by, so that nothing is kept for it.
func (s *Shipper) rest(ctx context.Context) {
	for told := false; ctx.Err() == nil; {
		next := s.cfg.Source.Next() // before the stretch: what is in it has had its effect
		if _, hi := s.cfg.Stretch(); s.base < hi {
			return
		}
		if !told {
			told = true
			s.event(Event{Kind: Ended})
		}
		if next > s.base {
			s.skip(next)
		}
		if s.cfg.Source.Wait(ctx, next) != nil {
			<-ctx.Done() // the log is at its end, and the agent with it
		}
	}
}

// skip moves on to leaf n, over leaves the lender is not to have. The next one it
// gets has an anchor.
func (s *Shipper) skip(n uint64) {
	if n > s.cfg.Cursor.Get() {
		if err := s.cfg.Cursor.Set(n); err != nil {
			s.event(Event{Kind: CursorFailed, Lo: n, Hi: n, Err: err})
		}
	}
	s.jump = n
	s.rebase(n)
}

// connect runs one session from log-in to its end.
func (s *Shipper) connect(ctx context.Context) error {
	state := evidence.Topic(evidence.StateTopic, s.cfg.Log, "")
	sess, err := s.cfg.Dial(ctx, Will{Topic: state, Payload: []byte(offline)})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbyeTimeout)
		defer cancel()
		if sess.Err() == nil {
			// The broker keeps the last word anyway when this one is lost.
			_ = sess.Publish(ctx, state, 1, true, []byte(offline))
		}
		_ = sess.Close(ctx)
	}()
	e := newEpoch(s, sess)
	defer e.end()
	if err := e.announce(ctx, state); err != nil {
		return err
	}
	s.update(func(st *Status) { st.Connected, st.LastErr = true, nil })
	s.event(Event{Kind: Connected})
	err = e.run(ctx)
	if ctx.Err() == nil {
		s.blame(e, err)
	}
	return err
}

// blame decides, after a session the broker ended, whether one record or a
// rival with the same client id is behind it.
func (s *Shipper) blame(e *epoch, err error) {
	var lost interface{ ByBroker() bool }
	if !errors.As(err, &lost) || !lost.ByBroker() {
		return
	}
	seq, any := e.unacknowledged()
	if !any {
		if s.kicked++; s.kicked >= kickedOften {
			s.event(Event{Kind: TakenOver, Err: err})
			s.kicked = 0
		}
		return
	}
	s.poisoned(seq, err)
}

// poisoned counts a failure of record seq.
func (s *Shipper) poisoned(seq uint64, err error) {
	if s.suspect.seq != seq {
		s.suspect = suspicion{seq: seq}
	}
	if s.suspect.times++; s.suspect.times >= poisonCertain {
		s.event(Event{Kind: Poisoned, Lo: seq, Hi: seq, Err: err})
	}
}

// advance notes that the lender has every record below to.
func (s *Shipper) advance(to uint64) {
	from := s.base
	s.base = to
	if s.jump < to {
		s.jump = 0
	}
	s.suspect = suspicion{}
	if to > s.cfg.Cursor.Get() {
		if err := s.cfg.Cursor.Set(to); err != nil {
			s.event(Event{Kind: CursorFailed, Lo: to, Hi: to, Err: err})
		}
	}
	s.update(func(st *Status) { st.Receipted, st.ReceiptAt = to, time.Now() })
	s.event(Event{Kind: Receipted, Lo: from, Hi: to - 1})
}

// rebase moves the position without a receipt: back, or over lost records.
func (s *Shipper) rebase(to uint64) {
	s.base = to
	s.update(func(st *Status) { st.Receipted = to })
}

// rootBefore is the root of leaves 0..n-1 by this log.
func (s *Shipper) rootBefore(n uint64) (evidence.Hash, error) {
	if n >= s.cfg.Source.First() && n < s.cfg.Source.Next() {
		// The leaf itself carries it, which is cheaper than an anchor.
		b, err := s.cfg.Source.Read(n, nil)
		if err == nil {
			if d, err := evidence.ParseDelivery(b); err == nil {
				return d.Manifest.Root, nil
			}
		}
	}
	a, err := s.cfg.Source.Anchor(n)
	if err != nil {
		return evidence.Hash{}, fmt.Errorf("root before leaf %d: %w", n, err)
	}
	return a.Root(s.cfg.Suite), nil
}

// Drain waits until everything durable at the time of the call has its
// receipt. It returns an error with the number of records still waiting when
// ctx ends first; they stay in the log.
func (s *Shipper) Drain(ctx context.Context) error {
	target := s.cfg.Source.Next()
	for {
		s.mu.Lock()
		at, changed := s.status.Receipted, s.changed
		s.mu.Unlock()
		if at >= target {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("lender %s: %d records wait for their receipt and are kept", s.cfg.Lender, target-at)
		}
	}
}

// Status returns how things stand.
func (s *Shipper) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.status
	if next := s.cfg.Source.Next(); next > st.Receipted {
		st.Waiting = next - st.Receipted
	}
	return st
}

func (s *Shipper) update(f func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(&s.status)
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *Shipper) event(e Event) {
	e.Lender = s.cfg.Lender
	s.cfg.Logger.Debug("uplink", "event", string(e.Kind), "lender", e.Lender, "lo", e.Lo, "hi", e.Hi, "err", e.Err)
	s.cfg.OnEvent(e)
}
