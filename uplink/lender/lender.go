// Package lender is the far end of the wire: it receives deliveries of many
// boxes, verifies each, keeps what was accepted in an append-only archive per
// log, and answers with signed receipts.
//
// A receipt leaves only after the archive has been flushed to the disk. Windows
// that arrive together share one flush and one cumulative receipt. Deliveries
// are taken in the order of their index; one from further ahead is not
// accepted unless it comes with an anchor, which says that the box no longer
// has what is missing. The receipt that answers it (status "gap") makes the
// box send the missing ones.
//
// Layout of Config.Dir:
//
//	{box}/{log id}/archive.tally   bundle: header, then deliveries as received
//	{box}/{log id}/leaves          32-byte leaf hash of each index from the header's first one on; zero = not known
//	{box}/{log id}/state           where the verifier stood, and at which byte of the archive
//	{box}/{log id}/altered         SHA-256 of each delivery that was kept although its blocks do not fit
//	{box}/{log id}/waiting         leaves waited for although later ones have come, only while there are some
//	{box}/{log id}/times           16 bytes a leaf: when it came, and the newest nonce it answers was given out, Unix ms
//	{box}/{log id}/forks/          proofs that the box has signed two histories (SPEC.md section 10.1)
//	{box}/{log id}/cut-{offset}    bytes that could not be read when the archive was opened
//
// The archive is the truth; leaves and state can be deleted and come back from
// it.
package lender

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Box is a gateway whose key is pinned.
type Box struct {
	Name string // names its folder
	Key  evidence.PublicKey
}

// Config is all a Lender needs. Name, Key, Boxes, Dir and Dial must be set.
type Config struct {
	Name  string // as in the topics (evidence.ValidLender)
	Key   evidence.Signer
	Boxes []Box
	Dir   string
	Dial  func(context.Context) (uplink.Session, error)
	// Patience is how long a hole or an altered window may wait for a better
	// copy before it is reported (hole) or kept as it is (altered); default
	// one minute.
	Patience time.Duration
	// Silence is how long nothing at all may arrive before a new session is
	// tried: brokers have been seen to forget the subscriptions of a client
	// that came back quickly. Default three times Patience.
	Silence time.Duration
	Backoff uplink.Backoff
	Now     func() time.Time // default time.Now
	Logger  *slog.Logger     // default: discard
	// OnWindow is called for each delivery that says something new: accepted
	// ones once each, in order, after they are on the disk; refused ones once
	// per index and verdict. OnEvent is called for the rest. Both from Run's
	// goroutine; while they block, nothing is received.
	OnWindow func(box string, r verify.Result)
	OnEvent  func(Event)
}

// EventKind says what an Event reports. The words never change meaning.
type EventKind string

const (
	Connected    EventKind = "connected"
	Disconnected EventKind = "disconnected" // Err: why; also for an attempt that failed
	NewLog       EventKind = "new-log"      // a pinned box began a log, or this lender began to follow it
	UnknownBox   EventKind = "unknown-box"  // a log under a key that is not pinned; Err says which key
	Waiting      EventKind = "waiting"      // leaves Lo..Hi have not come although later ones have
	Filled       EventKind = "filled"       // the hole up to Hi is closed
	CutTail      EventKind = "cut-tail"     // the archive ended in bytes that cannot be read; Err says which
	SecondLog    EventKind = "second-log"   // the box began another log beside Log, of which leaves below Hi were received; Err says how it explains that
)

// Event is something a person may want to know. Lo and Hi are leaf indexes,
// both included.
type Event struct {
	Kind   EventKind
	Box    string
	Log    evidence.LogID
	Lo, Hi uint64
	Err    error
}

const (
	batch         = 256 // deliveries that may share a flush
	snapshotEvery = 256 // accepted deliveries
	strangersMax  = 64  // logs of unknown boxes reported in one run
	subscribeWait = 30 * time.Second
)

// Lender receives for one name at one broker.
type Lender struct {
	cfg Config

	// Owned by Run's goroutine.
	logs      map[evidence.LogID]*boxLog
	strangers map[evidence.LogID]bool
	inbox     chan message
}

type message struct {
	topic   string
	payload []byte
}

// New checks the configuration and opens the archives under Dir.
func New(cfg Config) (*Lender, error) {
	switch {
	case !evidence.ValidLender(cfg.Name):
		return nil, fmt.Errorf("lender %q: a name is 1 to 32 of a-z, 0-9 and '-'", cfg.Name)
	case cfg.Key == nil:
		return nil, fmt.Errorf("lender %s: no key to sign receipts with", cfg.Name)
	case cfg.Dir == "" || cfg.Dial == nil:
		return nil, fmt.Errorf("lender %s: directory and dial must be set", cfg.Name)
	}
	if cfg.Patience <= 0 {
		cfg.Patience = time.Minute
	}
	if cfg.Silence <= 0 {
		cfg.Silence = 3 * cfg.Patience
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.OnWindow == nil {
		cfg.OnWindow = func(string, verify.Result) {}
	}
	if cfg.OnEvent == nil {
		cfg.OnEvent = func(Event) {}
	}
	l := &Lender{
		cfg: cfg, logs: make(map[evidence.LogID]*boxLog), strangers: make(map[evidence.LogID]bool),
		inbox: make(chan message, batch),
	}
	for _, box := range cfg.Boxes {
		if box.Key.IsZero() {
			return nil, fmt.Errorf("box %s: no key is pinned", box.Name)
		}
		if err := l.openLogs(box); err != nil {
			l.closeLogs()
			return nil, err
		}
	}
	return l, nil
}

// Run receives until ctx ends, then closes the archives and returns nil. No
// fault of network, broker or box ends it; a disk that does not take what was
// accepted does, because no receipt may be given for it. It may be called once.
func (l *Lender) Run(ctx context.Context) error {
	defer l.closeLogs()
	for failures := 0; ctx.Err() == nil; {
		began := time.Now()
		err := l.connect(ctx)
		var disk *diskError
		if errors.As(err, &disk) {
			return disk.err
		}
		if ctx.Err() != nil {
			break
		}
		l.event(Event{Kind: Disconnected, Err: err})
		if failures++; time.Since(began) > time.Minute {
			failures = 1
		}
		select {
		case <-time.After(l.cfg.Backoff.Delay(failures)):
		case <-ctx.Done():
		}
	}
	return l.snapshotAll()
}

// diskError is a fault of the archive, the one kind that ends Run.
type diskError struct{ err error }

func (e *diskError) Error() string { return e.err.Error() }

// connect serves one session.
func (l *Lender) connect(ctx context.Context) error {
	sess, err := l.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	over, end := context.WithCancel(context.Background())
	defer func() {
		end()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = sess.Close(ctx)
	}()
	take := func(topic string, payload []byte) {
		select {
		case l.inbox <- message{topic, payload}:
		case <-over.Done():
		}
	}
	// The inbox is read only after both subscriptions stand, which is safe:
	// a take that waits holds up nothing but other messages.
	waiting, cancel := context.WithTimeout(ctx, subscribeWait)
	defer cancel()
	for _, filter := range []string{
		evidence.TopicFilter(evidence.MetaTopic, ""), // first: it says whose log it is
		evidence.TopicFilter(evidence.DeliveryTopic, l.cfg.Name),
	} {
		if err := sess.Subscribe(waiting, filter, 1, take); err != nil {
			return err
		}
	}
	l.event(Event{Kind: Connected})
	return l.serve(ctx, sess)
}

func (l *Lender) serve(ctx context.Context, sess uplink.Session) error {
	tick := time.NewTicker(max(l.cfg.Patience/4, time.Millisecond))
	defer tick.Stop()
	silence := time.NewTimer(l.cfg.Silence)
	defer silence.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-sess.Done():
			return sess.Err()
		case <-tick.C:
			for _, b := range l.logs {
				b.losePatience(l.cfg.Now())
			}
		case <-silence.C:
			return fmt.Errorf("nothing received for %v; connecting afresh", l.cfg.Silence)
		case m := <-l.inbox:
			silence.Reset(l.cfg.Silence)
			l.handle(m)
			for n := len(l.inbox); n > 0; n-- {
				l.handle(<-l.inbox)
			}
		}
		if err := l.commit(sess); err != nil {
			return err
		}
	}
}

// handle takes one message into account; nothing is durable before commit.
func (l *Lender) handle(m message) {
	kind, id, _, err := evidence.ParseTopic(m.topic)
	if err != nil {
		return // a topic under our filter that no box of ours would use
	}
	b := l.logs[id]
	switch {
	case kind == evidence.MetaTopic && b == nil:
		l.begin(id, m.payload)
	case kind == evidence.MetaTopic:
		b.takeMeta(m.payload)
	case b != nil:
		b.take(m.payload, l.cfg.Now())
	}
}

// begin follows a log that was announced for the first time.
func (l *Lender) begin(id evidence.LogID, meta []byte) {
	m, err := evidence.ParseMeta(meta)
	if err != nil || m.Genesis.Manifest.Log != id {
		return // not a box's doing; a box repeats its meta message with each connection
	}
	for _, box := range l.cfg.Boxes {
		v, err := verify.New(box.Key, meta)
		if err != nil {
			continue
		}
		l.secondLog(box, &m.Genesis)
		b := l.newLog(box, id)
		b.follow(v)
		b.meta = meta
		b.answer = okStatus
		l.logs[id] = b
		l.event(Event{Kind: NewLog, Box: box.Name, Log: id})
		return
	}
	if !l.strangers[id] && len(l.strangers) < strangersMax {
		l.strangers[id] = true
		g := m.Genesis.Manifest.Genesis
		err := fmt.Errorf("log %s names key %s, which is not pinned", id, g.Key.Key())
		if g.Prev != nil && l.logs[g.Prev.Log] != nil { // its own word; to be compared before anybody believes it
			err = fmt.Errorf("%w; it says that it continues log %s of box %s (%s)", err, g.Prev.Log, l.logs[g.Prev.Log].box.Name, g.Prev.Why)
		}
		l.event(Event{Kind: UnknownBox, Log: id, Err: err})
	}
}

// secondLog reports that a box whose log is followed has begun another one under
// the same key: its history was deleted, or put back, or there are two boxes.
func (l *Lender) secondLog(box Box, genesis *evidence.UnverifiedLeaf) {
	prev := genesis.Manifest.Genesis.Prev
	for id, b := range l.logs {
		if b.box.Name != box.Name {
			continue
		}
		said := "and does not say why"
		if prev != nil && prev.Log == id {
			said = fmt.Sprintf("and declares for it: %s, after %d leaves", prev.Why, prev.N)
		}
		l.event(Event{Kind: SecondLog, Box: box.Name, Log: id, Lo: 0, Hi: b.v.N(),
			Err: fmt.Errorf("the same key has begun log %s, %s; of log %s %d leaves were received", genesis.Manifest.Log, said, id, b.v.N())})
	}
}

// commit makes durable what was accepted, reports it, and answers.
func (l *Lender) commit(sess uplink.Session) error {
	for _, b := range l.logs {
		if err := b.flush(); err != nil {
			return &diskError{err}
		}
		for _, r := range b.results {
			l.cfg.OnWindow(b.box.Name, r)
		}
		b.results = b.results[:0]
		receipt, err := b.receipt(l.cfg.Now())
		if err != nil {
			return &diskError{err}
		}
		if receipt != nil {
			// Receipts are cumulative: one that is lost is replaced by the next.
			sess.PublishAsync(evidence.Topic(evidence.ReceiptTopic, b.id, l.cfg.Name), 0, false, receipt, func(error) {})
		}
	}
	return nil
}

func (l *Lender) snapshotAll() error {
	var errs []error
	for _, b := range l.logs {
		errs = append(errs, b.snapshot())
	}
	return errors.Join(errs...)
}

func (l *Lender) closeLogs() {
	for _, b := range l.logs {
		b.close()
	}
}

func (l *Lender) event(e Event) {
	l.cfg.Logger.Debug("lender", "event", string(e.Kind), "box", e.Box, "log", e.Log, "lo", e.Lo, "hi", e.Hi, "err", e.Err)
	l.cfg.OnEvent(e)
}
