package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

const (
	readRetry  = 5 * time.Second
	readsTried = 3 // reads of a record before it is taken for lost
	maxStalls  = 3 // times the receipt timeout may pass, each twice as long, before a new session is tried
)

// errNoPuback ends a session whose broker takes records and acknowledges none.
var errNoPuback = errors.New("the broker acknowledges nothing")

// errNoReceipts ends a session in which nothing comes back. Mostly the lender
// is away; but brokers have been seen to forget a subscription, or a retained
// meta message, and a new session brings both back.
var errNoReceipts = errors.New("no receipts come back; the records are kept")

// errEnded ends a session after the last thing the lender may have.
var errEnded = errors.New("the consent has ended")

// epoch is the shipping within one session. Its fields belong to Run's
// goroutine; only the channels are shared.
type epoch struct {
	*Shipper
	sess Session

	receipts chan []byte
	settled  chan settlement
	more     chan struct{} // the record waited for is durable
	stop     context.CancelFunc
	ctx      context.Context // ends with the epoch

	next    uint64          // next record to send
	highest uint64          // end of what was ever sent in this session
	acked   map[uint64]bool // sent and settled, not receipted: true when the broker took it
	meta    []byte          // as published last
	head    []byte          // as published last
	buf     []byte          // reused for reading
	waiting bool            // a goroutine waits in Source.Wait

	timer   *time.Timer // fires when nothing has moved for the receipt timeout
	armed   bool
	stalls  int  // times in a row it fired
	hurried bool // a fast re-send was made for this base
	repeats int  // receipts that said nothing new for this base

	again    *replay       // what the lender asked to get again; nil for nothing
	replayed chan struct{} // the broker has taken, or refused, the message of again under way

	readFails int         // in a row, of the next record
	readRetry *time.Timer // nothing is read until it fires
	readHeld  bool
}

// replay is a request under way.
type replay struct {
	next, hi uint64
	channels []evidence.Channel
	anchored bool // an anchor has gone out
	busy     bool // a message is on its way to the broker
}

type settlement struct {
	seq uint64
	err error
}

func newEpoch(s *Shipper, sess Session) *epoch {
	e := &epoch{
		Shipper: s, sess: sess,
		receipts: make(chan []byte, 16), settled: make(chan settlement, 16), more: make(chan struct{}), replayed: make(chan struct{}),
		next: s.base, highest: s.base, acked: make(map[uint64]bool),
		timer: time.NewTimer(time.Hour), readRetry: time.NewTimer(time.Hour),
	}
	e.timer.Stop()
	e.readRetry.Stop()
	e.ctx, e.stop = context.WithCancel(context.Background())
	return e
}

// end releases whoever still wants to tell the epoch something.
func (e *epoch) end() {
	e.stop()
	e.timer.Stop()
	e.readRetry.Stop()
}

// announce subscribes to the receipts, then says who is there.
func (e *epoch) announce(ctx context.Context, state string) error {
	ctx, cancel := context.WithTimeout(ctx, announceTimeout)
	defer cancel()
	if e.cfg.Ack == Receipt {
		topic := evidence.Topic(evidence.ReceiptTopic, e.cfg.Log, e.cfg.Lender)
		err := e.sess.Subscribe(ctx, topic, 0, func(_ string, b []byte) {
			select {
			case e.receipts <- b:
			case <-e.ctx.Done():
			}
		})
		if err != nil {
			return err
		}
	}
	e.meta = e.cfg.Source.Meta()
	if err := e.sess.Publish(ctx, evidence.Topic(evidence.MetaTopic, e.cfg.Log, ""), 1, true, e.meta); err != nil {
		return err
	}
	return e.sess.Publish(ctx, state, 1, true, []byte(online))
}

// run ships until the session or ctx ends.
func (e *epoch) run(ctx context.Context) error {
	for {
		lo, hi := e.cfg.Stretch()
		if e.base >= hi {
			return errEnded
		}
		e.fill(lo, hi)
		e.replay(lo, hi)
		e.arm()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-e.sess.Done():
			return e.sess.Err()
		case b := <-e.receipts:
			e.message(b)
		case <-e.replayed:
			e.again.busy = false
		case x := <-e.settled:
			e.settle(x)
		case <-e.more:
			e.waiting = false
		case <-e.readRetry.C:
			e.readHeld = false
		case <-e.timer.C:
			e.armed = false
			if err := e.stalled(); err != nil {
				return err
			}
		}
	}
}

// fill sends what the window allows of the leaves from lo and below hi.
func (e *epoch) fill(lo, hi uint64) {
	switch {
	case e.next < lo:
		e.skip(lo)
		e.next = lo
	case e.next == lo:
		e.jump = lo
	}
	window := uint64(e.cfg.InFlight)
	if e.suspect.times >= poisonSuspect {
		window = 1
	}
	for e.next-e.base < window && e.next < hi && !e.readHeld {
		if first := e.cfg.Source.First(); e.next < first {
			e.skipTo(first)
		}
		if e.next >= e.cfg.Source.Next() {
			e.await(e.next)
			return
		}
		if err := e.send(e.next); err != nil {
			e.unreadable(err)
			continue
		}
		e.readFails = 0
		e.next++
	}
	if e.next >= hi {
		e.await(e.cfg.Source.Next()) // a new consent comes as a leaf
	}
}

// await lets a goroutine of its own wait for record seq.
func (e *epoch) await(seq uint64) {
	if e.waiting {
		return
	}
	e.waiting = true
	go func() {
		if e.cfg.Source.Wait(e.ctx, seq) != nil {
			return
		}
		select {
		case e.more <- struct{}{}:
		case <-e.ctx.Done():
		}
	}()
}

// skipTo gives up records that are no longer in the log: the next one goes out
// with an anchor, so that the lender can check the history behind the hole.
func (e *epoch) skipTo(seq uint64) {
	e.event(Event{Kind: Lost, Lo: e.next, Hi: seq - 1})
	e.jump, e.next = seq, seq
	e.rebase(seq)
}

// send publishes record seq. An error is the log's.
func (e *epoch) send(seq uint64) error {
	stored, err := e.cfg.Source.Read(seq, e.buf)
	if err != nil {
		return err
	}
	e.buf = stored
	var anchor *evidence.Anchor
	if seq == e.jump && seq > 0 {
		a, err := e.cfg.Source.Anchor(seq)
		if err != nil {
			return err
		}
		anchor = &a
	}
	payload, err := e.share(stored, nil, anchor)
	if err != nil {
		return err
	}
	if m := e.cfg.Source.Meta(); !bytes.Equal(m, e.meta) {
		e.meta = m
		e.sess.PublishAsync(evidence.Topic(evidence.MetaTopic, e.cfg.Log, ""), 1, true, m, func(error) {})
	}
	if h := e.cfg.Source.Head(); !bytes.Equal(h, e.head) {
		e.head = h
		e.sess.PublishAsync(evidence.Topic(evidence.HeadTopic, e.cfg.Log, ""), 1, true, h, func(error) {})
	}
	delete(e.acked, seq)
	topic := evidence.Topic(evidence.DeliveryTopic, e.cfg.Log, e.cfg.Lender)
	e.sess.PublishAsync(topic, 1, false, payload, func(err error) {
		select {
		case e.settled <- settlement{seq, err}:
		case <-e.ctx.Done():
		}
	})
	again := seq < e.highest
	e.highest = max(e.highest, seq+1)
	e.update(func(st *Status) {
		if st.Sent++; again {
			st.Resent++
		}
	})
	return nil
}

// share is what the lender gets of a stored delivery: of the channels asked for,
// or of all when wanted is nil, those it may have.
func (e *epoch) share(stored []byte, wanted []evidence.Channel, anchor *evidence.Anchor) ([]byte, error) {
	d, err := evidence.ParseDelivery(stored)
	if err != nil {
		return nil, err
	}
	granted := e.cfg.Grants(d.Manifest.Start)
	if wanted != nil {
		granted = slices.DeleteFunc(slices.Clone(granted), func(c evidence.Channel) bool { return !slices.Contains(wanted, c) })
	}
	return evidence.FilterDelivery(nil, stored, record.Granted(e.cfg.Lender, granted), anchor)
}

// replay sends the next delivery that was asked for again, when the one before
// has reached the broker. What the log cannot give is left out; the first one
// that goes out has an anchor, so that they can be judged by themselves. Of the
// leaves before lo only those go out of which something is granted.
func (e *epoch) replay(lo, hi uint64) {
	r := e.again
	if r == nil || r.busy {
		return
	}
	for r.next = max(r.next, e.cfg.Source.First()); r.next <= r.hi && r.next < min(hi, e.cfg.Source.Next()); r.next++ {
		stored, err := e.cfg.Source.Read(r.next, nil)
		if err != nil || r.next < lo && !e.reached(stored) {
			continue
		}
		var anchor *evidence.Anchor
		if !r.anchored && r.next > 0 {
			a, err := e.cfg.Source.Anchor(r.next)
			if err != nil {
				continue
			}
			anchor = &a
		}
		payload, err := e.share(stored, r.channels, anchor)
		if err != nil {
			continue
		}
		r.next++
		r.busy, r.anchored = true, true
		topic := evidence.Topic(evidence.ReplayTopic, e.cfg.Log, e.cfg.Lender)
		e.sess.PublishAsync(topic, 1, false, payload, func(error) {
			select {
			case e.replayed <- struct{}{}:
			case <-e.ctx.Done():
			}
		})
		return
	}
	e.again = nil
}

// reached reports whether anything is granted of a leaf's time.
func (e *epoch) reached(stored []byte) bool {
	d, err := evidence.ParseDelivery(stored)
	return err == nil && len(e.cfg.Grants(d.Manifest.Start)) > 0
}

// unreadable reports a record the log cannot give. A record that stays
// unreadable is given up like one that was dropped, once everything before it
// has its receipt and a later record with an anchor can be had.
func (e *epoch) unreadable(err error) {
	e.readFails++
	e.event(Event{Kind: ReadFailed, Lo: e.next, Hi: e.next, Err: err})
	e.readRetry.Reset(readRetry)
	e.readHeld = true
	if e.readFails < readsTried || e.next != e.base {
		return
	}
	for seq := e.next + 1; seq < e.cfg.Source.Next(); seq++ {
		if _, err := e.cfg.Source.Anchor(seq); err != nil {
			continue
		}
		if _, err := e.cfg.Source.Read(seq, nil); err != nil {
			continue
		}
		e.skipTo(seq)
		e.readFails, e.readHeld = 0, false
		e.readRetry.Stop()
		return
	}
}

// settle takes the broker's word for one record.
func (e *epoch) settle(x settlement) {
	switch {
	case x.seq < e.base:
		return
	case x.err != nil:
		if e.sess.Err() == nil { // the session lives: it is the record
			e.acked[x.seq] = false
			e.poisoned(x.seq, x.err)
		}
		return
	}
	e.acked[x.seq] = true
	if e.suspect.seq == x.seq {
		e.suspect = suspicion{}
	}
	if e.cfg.Ack != PUBACK {
		return
	}
	to := e.base
	for e.acked[to] {
		to++
	}
	if to > e.base {
		e.progress(to)
	}
}

// progress moves on and starts afresh with patience and haste.
func (e *epoch) progress(to uint64) {
	for seq := e.base; seq < min(to, e.next); seq++ {
		delete(e.acked, seq)
	}
	e.advance(to)
	e.next = max(e.next, to)
	e.stalls, e.hurried, e.repeats = 0, false, 0
	e.disarm()
}

// unacknowledged is the oldest record sent that the broker has not taken.
func (e *epoch) unacknowledged() (seq uint64, any bool) {
	for seq := e.base; seq < e.next; seq++ {
		if _, ok := e.acked[seq]; !ok {
			return seq, true
		}
	}
	return 0, false
}

// message judges what came on the receipt topic.
func (e *epoch) message(b []byte) {
	m, err := evidence.OpenMessage(e.cfg.Key, b)
	if err != nil {
		e.badReceipt(fmt.Errorf("%w: %v", ErrForgedReceipt, err))
		return
	}
	switch {
	case m.Receipt != nil && m.Receipt.Log == e.cfg.Log:
		e.receipt(b, *m.Receipt)
	case m.Challenge != nil && m.Challenge.Log == e.cfg.Log:
		if e.fresh(m.Challenge.Issued) {
			e.cfg.Heard(b, m)
		}
	case m.Replay != nil && m.Replay.Log == e.cfg.Log:
		if q := m.Replay; e.fresh(q.Issued) {
			busy := e.again != nil && e.again.busy
			e.again = &replay{next: q.Lo, hi: q.Hi, channels: q.Channels, busy: busy}
			e.event(Event{Kind: Replaying, Lo: q.Lo, Hi: q.Hi})
		}
	default:
		e.badReceipt(ErrForeignReceipt)
	}
}

// fresh reports whether a request is newer than every one before, so that
// nobody can make the box work by repeating old ones.
func (e *epoch) fresh(issued int64) bool {
	if issued <= e.asked {
		return false
	}
	e.asked = issued
	return true
}

// receipt judges a receipt signed by the lender.
func (e *epoch) receipt(raw []byte, r evidence.Receipt) {
	needs := r.N + 1 // the first record the lender does not have
	if r.Empty {
		needs = 0
	}
	if !r.Empty && (needs > e.cfg.Source.Next() || needs == 0) {
		// Storage that lost what it had acknowledged, or a copied box.
		e.event(Event{Kind: LenderAhead, Lo: e.cfg.Source.Next(), Hi: r.N})
		return
	}
	switch {
	case needs > e.base:
		if e.sameHistory(r, needs) {
			e.newest = max(e.newest, r.ReceivedAt)
			e.cfg.Heard(raw, evidence.Message{Receipt: &r})
			e.progress(needs)
		}
	case needs == e.base:
		if r.ReceivedAt > e.newest {
			e.newest = r.ReceivedAt
			e.cfg.Heard(raw, evidence.Message{Receipt: &r})
		}
		e.repeats++
		if e.next > e.base && !e.hurried && (r.Status == gapStatus || e.repeats >= 2) {
			e.hurried = true
			e.resend()
		}
	case r.Status == gapStatus:
		e.rewind(r, needs)
	}
}

// gapStatus in a receipt says that later records have come than the one
// needed.
const gapStatus = "gap"

// sameHistory compares the lender's root with this log's.
func (e *epoch) sameHistory(r evidence.Receipt, needs uint64) bool {
	root, err := e.rootBefore(needs)
	if err != nil {
		e.event(Event{Kind: ReadFailed, Lo: needs, Hi: needs, Err: err})
		return false
	}
	if root != r.Root {
		e.event(Event{Kind: HistoryDiffers, Lo: r.N, Hi: r.N})
		return false
	}
	return true
}

// rewind serves a lender that has lost what it once receipted (restored from a
// backup, or new under the old key). Receipts from before the newest one are
// ignored, so that nobody can cause re-sends by repeating old ones; the cursor
// stays where it is.
func (e *epoch) rewind(r evidence.Receipt, needs uint64) {
	if r.ReceivedAt <= e.newest || time.Since(e.rewound) < e.cfg.ReceiptTimeout {
		return
	}
	if !r.Empty && needs >= e.cfg.Source.First() && !e.sameHistory(r, needs) {
		return
	}
	e.newest, e.rewound = r.ReceivedAt, time.Now()
	e.event(Event{Kind: Rewound, Lo: needs, Hi: e.base - 1})
	e.rebase(needs)
	e.next = needs
	e.disarm()
}

// badReceipt counts and reports, ever more rarely, so that a flood of them
// does not become a flood of reports.
func (e *epoch) badReceipt(err error) {
	var n uint64
	e.update(func(st *Status) { st.BadReceipts++; n = st.BadReceipts })
	if n&(n-1) == 0 {
		e.event(Event{Kind: BadReceipt, Err: err})
	}
}

// resend goes back to the first record without a receipt.
func (e *epoch) resend() {
	e.event(Event{Kind: Resent, Lo: e.base, Hi: e.next - 1})
	e.next = e.base
	e.disarm()
}

// stalled is called when nothing has moved for the receipt timeout.
func (e *epoch) stalled() error {
	if e.next == e.base {
		return nil
	}
	if _, ok := e.acked[e.base]; !ok {
		return errNoPuback
	}
	if e.stalls++; e.stalls >= maxStalls {
		e.event(Event{Kind: NoReceipts, Lo: e.base, Hi: e.next - 1})
		return errNoReceipts
	}
	e.hurried, e.repeats = false, 0
	e.resend()
	return nil
}

// arm starts the receipt timer when something is under way and it is not
// running.
func (e *epoch) arm() {
	if e.armed || e.next == e.base {
		return
	}
	e.armed = true
	e.timer.Reset(e.cfg.ReceiptTimeout << e.stalls)
}

func (e *epoch) disarm() {
	e.timer.Stop()
	e.armed = false
}
