package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// memLog is a Source in memory, and the truth tests compare with.
type memLog struct {
	mu      sync.Mutex
	records [][]byte
	anchors []evidence.Anchor // [n]: leaves 0..n-1
	first   uint64
	meta    []byte
	broken  map[uint64]bool // records that cannot be read
	grown   chan struct{}
}

func newMemLog(t testing.TB, s *evidencetest.Stream) *memLog {
	l := &memLog{meta: s.Meta, broken: map[uint64]bool{}, grown: make(chan struct{}), anchors: make([]evidence.Anchor, 1)}
	for _, d := range s.Deliveries {
		l.add(t, d)
	}
	return l
}

func (l *memLog) add(t testing.TB, delivery []byte) {
	t.Helper()
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	a := l.anchors[len(l.anchors)-1]
	a.Append(d.Suite(), d.Hash())
	l.records, l.anchors = append(l.records, delivery), append(l.anchors, a)
	close(l.grown)
	l.grown = make(chan struct{})
}

func (l *memLog) First() uint64 { l.mu.Lock(); defer l.mu.Unlock(); return l.first }
func (l *memLog) Next() uint64  { l.mu.Lock(); defer l.mu.Unlock(); return uint64(len(l.records)) }
func (l *memLog) Head() []byte  { return nil }
func (l *memLog) Meta() []byte  { l.mu.Lock(); defer l.mu.Unlock(); return l.meta }

func (l *memLog) Read(seq uint64, dst []byte) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.broken[seq] || seq < l.first {
		return nil, fmt.Errorf("record %d: damaged", seq)
	}
	return append(dst[:0], l.records[seq]...), nil
}

func (l *memLog) Wait(ctx context.Context, seq uint64) error {
	for {
		l.mu.Lock()
		n, grown := uint64(len(l.records)), l.grown
		l.mu.Unlock()
		if seq < n {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *memLog) Anchor(seq uint64) (evidence.Anchor, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.broken {
		if n < seq && seq < n+3 { // as if the next segment began 3 records later
			return evidence.Anchor{}, errors.New("no anchor")
		}
	}
	return l.anchors[seq], nil
}

func (l *memLog) trim(first uint64) { l.mu.Lock(); defer l.mu.Unlock(); l.first = first }

func (l *memLog) root(n uint64) evidence.Hash {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.anchors[n].Root(evidence.SuiteEd25519)
}

type memCursor struct {
	mu  sync.Mutex
	at  uint64
	err error
}

func (c *memCursor) Get() uint64 { c.mu.Lock(); defer c.mu.Unlock(); return c.at }
func (c *memCursor) Set(n uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n < c.at {
		return errors.New("cursor set back")
	}
	c.at = n
	return c.err
}

// world is a broker and a lender behind it, both doing what the test says.
type world struct {
	t      *testing.T
	log    *memLog
	cursor *memCursor
	key    evidence.Signer // the lender's
	id     evidence.LogID

	mu       sync.Mutex
	sessions []*fakeSession
	dials    []time.Time
	dialErr  error
	fate     func(n uint64, nth int) fate // nth: the how-manieth time n is sent, from 0
	sent     map[uint64]int
	order    []uint64
	maxOpen  int
	state    []string
	metas    [][]byte
	replayed [][]byte
	events   []Event

	// The lender.
	silent  bool
	got     uint64                     // has all below
	anchors map[uint64]evidence.Anchor // as sent along
	clock   int64
}

// fate of a delivery at the broker.
type fate int

const (
	arrives  fate = iota
	dropped       // acknowledged, then forgotten
	unacked       // taken, not acknowledged
	hangUp        // the broker closes the connection on it
	tooLarge      // refused before it is sent
)

func newWorld(t *testing.T, windows int) *world {
	s := evidencetest.NewStream(t, 1, windows)
	return &world{
		t: t, log: newMemLog(t, s), cursor: &memCursor{}, key: evidencetest.Signer(9), id: s.Writer.LogID(),
		sent: map[uint64]int{}, anchors: map[uint64]evidence.Anchor{}, clock: 1000,
		fate: func(uint64, int) fate { return arrives },
	}
}

func (w *world) config() Config {
	return Config{
		Lender: "bank-a", Log: w.id, Grants: func(int64) []evidence.Channel { return []evidence.Channel{evidence.Energy} }, Suite: evidence.SuiteEd25519, Key: evidencetest.PublicKey(9),
		Dial: w.dial, Source: w.log, Cursor: w.cursor,
		OnEvent: func(e Event) { w.mu.Lock(); w.events = append(w.events, e); w.mu.Unlock() },
	}
}

func (w *world) dial(_ context.Context, will Will) (Session, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.dials = append(w.dials, time.Now())
	if w.dialErr != nil {
		return nil, w.dialErr
	}
	if will.Topic != evidence.Topic(evidence.StateTopic, w.id, "") || string(will.Payload) != "offline" {
		w.t.Errorf("last will %+v", will)
	}
	s := &fakeSession{w: w, done: make(chan struct{})}
	w.sessions = append(w.sessions, s)
	return s, nil
}

// run starts a shipper; stop ends it and waits.
func (w *world) run(cfg Config) (s *Shipper, stop func()) {
	w.t.Helper()
	s, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Run(ctx); err != nil {
			w.t.Errorf("run: %v", err)
		}
	}()
	return s, func() { cancel(); <-done }
}

func (w *world) kinds(kind EventKind) (found []Event) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, e := range w.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

// receipt signs what the lender would say; change may make it a lie.
func (w *world) receipt(needs uint64, status string, change ...func(*evidence.Receipt)) []byte {
	w.clock++
	r := evidence.Receipt{Log: w.id, Empty: needs == 0, ReceivedAt: w.clock, Status: status}
	if needs > 0 {
		r.N = needs - 1
		if needs <= w.log.Next() {
			r.Root = w.log.root(needs)
		}
	}
	for _, f := range change {
		f(&r)
	}
	b, err := evidence.SignReceipt(w.key, r)
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// tell publishes on the receipt topic of the newest session.
func (w *world) tell(b []byte) {
	w.mu.Lock()
	s := w.sessions[len(w.sessions)-1]
	w.mu.Unlock()
	s.receive(b)
}

// fakeSession is one connection of the world.
type fakeSession struct {
	w    *world
	mu   sync.Mutex
	rx   func(string, []byte)
	err  error
	done chan struct{}
}

func (s *fakeSession) receive(b []byte) {
	s.mu.Lock()
	rx := s.rx
	s.mu.Unlock()
	if rx != nil {
		rx("", b)
	}
}

func (s *fakeSession) finish(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
	}
}

func (s *fakeSession) Done() <-chan struct{}       { return s.done }
func (s *fakeSession) Err() error                  { s.mu.Lock(); defer s.mu.Unlock(); return s.err }
func (s *fakeSession) Close(context.Context) error { s.finish(errors.New("closed")); return nil }

func (s *fakeSession) Subscribe(_ context.Context, filter string, qos byte, f func(string, []byte)) error {
	if want := evidence.Topic(evidence.ReceiptTopic, s.w.id, "bank-a"); filter != want || qos != 0 {
		s.w.t.Errorf("subscribed to %s", filter)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rx = f
	return nil
}

func (s *fakeSession) Publish(ctx context.Context, topic string, qos byte, retained bool, payload []byte) error {
	if !retained || qos != 1 {
		s.w.t.Errorf("%s: retained %v, qos %d", topic, retained, qos)
	}
	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	switch {
	case strings.HasSuffix(topic, "/state"):
		s.w.state = append(s.w.state, string(payload))
	case strings.HasSuffix(topic, "/meta"):
		s.w.metas = append(s.w.metas, payload)
	}
	return s.Err()
}

// byBroker is the end of a session the broker chose.
type byBroker struct{ error }

func (byBroker) ByBroker() bool { return true }

func (s *fakeSession) PublishAsync(topic string, qos byte, retained bool, payload []byte, done func(error)) {
	w := s.w
	if retained {
		go done(s.Publish(context.Background(), topic, qos, retained, payload))
		return
	}
	if topic == evidence.Topic(evidence.ReplayTopic, w.id, "bank-a") {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.replayed = append(w.replayed, payload)
		go done(nil)
		return
	}
	d, err := evidence.ParseDelivery(payload)
	if err != nil || topic != evidence.Topic(evidence.DeliveryTopic, w.id, "bank-a") {
		w.t.Errorf("published on %s: %v", topic, err)
	}
	n := d.Manifest.N
	w.mu.Lock()
	defer w.mu.Unlock()
	nth := w.sent[n]
	w.sent[n]++
	w.order = append(w.order, n)
	w.maxOpen = max(w.maxOpen, int(n-w.cursor.Get())+1)
	switch w.fate(n, nth) {
	case unacked:
	case hangUp:
		s.finish(byBroker{io.EOF})
		go done(io.EOF)
	case tooLarge:
		go done(errors.New("payload too large"))
	case dropped:
		go done(nil)
	default:
		go done(nil)
		w.arrive(s, n, d.Anchor)
	}
}

// arrive is the lender: cumulative receipts, status gap for what is too early.
func (w *world) arrive(s *fakeSession, n uint64, a *evidence.Anchor) {
	if a != nil {
		w.anchors[n] = *a
	}
	status := "ok"
	switch {
	case n == w.got || a != nil && n > w.got:
		w.got = n + 1
	case n > w.got:
		status = "gap"
	}
	if !w.silent {
		b := w.receipt(w.got, status)
		go s.receive(b)
	}
}

// inOrder checks that the lender got everything and that each session sent
// without leaving anything out.
func (w *world) complete(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	if next := uint64(len(w.log.records)); w.got != next || w.cursor.at != next {
		t.Fatalf("the lender has %d of %d records, the cursor stands at %d", w.got, next, w.cursor.at)
	}
	if i := slices.IndexFunc(w.events, func(e Event) bool { return e.Kind == HistoryDiffers || e.Kind == LenderAhead }); i >= 0 {
		t.Fatalf("unexpected event %+v", w.events[i])
	}
}
