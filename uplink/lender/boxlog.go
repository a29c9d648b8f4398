package lender

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Statuses of a receipt. A box acts on them only to choose when to send what
// again (uplink).
const (
	okStatus      = "ok"
	gapStatus     = "gap"
	alteredStatus = "altered"
)

// boxLog is one log of one box. It belongs to Run's goroutine.
type boxLog struct {
	box      Box
	id       evidence.LogID
	key      evidence.Signer // the lender's
	patience time.Duration
	event    func(Event)

	v       *verify.Verifier
	meta    []byte // newest meta message; nil when the log was opened from the disk
	archive *archive

	results []verify.Result // not yet reported
	unsaved int             // accepted since the last snapshot

	answer string // status of the receipt owed; "" = none
	issued nonces
	stored []byte // newest receipt, for its n and status
	forN   uint64

	hole    hole
	altered altered
	refused map[refusal]bool
}

// hole is what is missing in front of deliveries that have come.
type hole struct {
	hi       uint64 // newest index known to be missing; 0 = no hole
	since    time.Time
	reported bool
}

// altered is a delivery of the index expected next whose blocks do not fit.
type altered struct {
	delivery []byte
	n        uint64
	since    time.Time
}

// refusal keeps a delivery that comes again and again from being reported
// again and again.
type refusal struct {
	n       uint64
	verdict verify.Verdict
	leaf    evidence.Hash
}

const refusalsMax = 1024

func (l *Lender) newLog(box Box, id evidence.LogID) *boxLog {
	return &boxLog{
		box: box, id: id, key: l.cfg.Key, patience: l.cfg.Patience,
		event: func(e Event) { e.Box, e.Log = box.Name, id; l.event(e) },

		archive: newArchive(filepath.Join(l.cfg.Dir, box.Name, id.String())),
		refused: make(map[refusal]bool),
	}
}

// follow sets the verifier, whose memory of old leaves is the archive's.
func (b *boxLog) follow(v *verify.Verifier) {
	b.v = v
	v.Seen, v.Issued = b.archive.leaf, b.issued.find
}

// takeMeta takes a newer dictionary into account and answers, so that a box
// that has just connected learns where this lender stands.
func (b *boxLog) takeMeta(meta []byte) {
	if b.v.Meta(meta) == nil {
		b.meta = meta
		b.owe(okStatus)
	}
}

// owe notes that a receipt is due. A request to send again outweighs a plain
// one.
func (b *boxLog) owe(status string) {
	if b.answer == "" || status != okStatus {
		b.answer = status
	}
}

// take judges one delivery.
func (b *boxLog) take(payload []byte, now time.Time) {
	if d, err := evidence.ParseDelivery(payload); err == nil && b.early(&d, now) {
		return
	}
	r := b.v.Next(payload, now)
	switch {
	case r.Verdict.Accepted():
		b.accept(payload, r, now)
	case r.Verdict == verify.Replayed:
		b.owe(okStatus)
	case r.Verdict == verify.Forked:
		b.report(r)
		if err := b.archive.keepFraud(r.N, r.Leaf, payload, b.meta); err != nil {
			b.archive.fail(err)
		}
	case r.Verdict == verify.WrongKey:
		b.report(r) // somebody else's; the box is not asked to repeat it
	default:
		b.report(r)
		b.owe(alteredStatus)
		if r.Channel != 0 && r.N == b.v.N() && b.altered.delivery == nil {
			b.altered = altered{delivery: payload, n: r.N, since: now}
		}
	}
}

// early reports whether a delivery is from further ahead than this log has
// come and does not prove that the box has lost what is between. Such a one is
// not accepted: what is missing may still come.
func (b *boxLog) early(d *evidence.UnverifiedDelivery, now time.Time) bool {
	n := d.Manifest.N
	if d.Manifest.Log != b.id || n <= b.v.N() {
		return false
	}
	if d.Anchor != nil && d.Anchor.Root(d.Suite()) == d.Manifest.Root {
		return false
	}
	if !b.v.Signed(d) {
		return false // not the box's word; Next says what it is
	}
	if b.hole.hi == 0 {
		b.hole.since = now
	}
	b.hole.hi = max(b.hole.hi, n-1)
	b.owe(gapStatus)
	return true
}

// accept stores a delivery that has become part of the log.
func (b *boxLog) accept(payload []byte, r verify.Result, now time.Time) {
	b.archive.append(payload, r, now, b.meta)
	b.results = append(b.results, r)
	b.unsaved++
	b.altered = altered{}
	clear(b.refused)
	b.owe(okStatus)
	if b.hole.hi != 0 && b.v.N() > b.hole.hi {
		if b.hole.reported {
			b.event(Event{Kind: Filled, Hi: b.hole.hi})
			b.archive.filled()
		}
		b.hole = hole{}
	}
}

// report passes on a refused delivery once.
func (b *boxLog) report(r verify.Result) {
	key := refusal{r.N, r.Verdict, r.Leaf}
	if b.refused[key] || len(b.refused) >= refusalsMax {
		return
	}
	b.refused[key] = true
	b.results = append(b.results, r)
}

// losePatience reports a hole that stays, and keeps an altered delivery for
// which no better copy has come: its leaf is signed and part of the history,
// and without it nothing after it could be accepted.
func (b *boxLog) losePatience(now time.Time) {
	if h := &b.hole; h.hi != 0 && !h.reported && now.Sub(h.since) >= b.patience {
		h.reported = true
		b.event(Event{Kind: Waiting, Lo: b.v.N(), Hi: h.hi})
		b.archive.waits(Waited{Lo: b.v.N(), Hi: h.hi, Since: h.since})
		b.owe(gapStatus)
	}
	if a := b.altered; a.delivery != nil && a.n == b.v.N() && now.Sub(a.since) >= b.patience {
		b.altered = altered{}
		r := b.v.Admit(a.delivery, now)
		if r.Verdict.Accepted() {
			b.archive.admit(a.delivery)
			b.archive.append(a.delivery, r, now, b.meta)
			b.unsaved++
			b.owe(alteredStatus)
		}
	}
}

// flush makes what was accepted durable.
func (b *boxLog) flush() error {
	if err := b.archive.flush(); err != nil {
		return fmt.Errorf("archive of box %s: %w", b.box.Name, err)
	}
	if b.unsaved < snapshotEvery {
		return nil
	}
	return b.snapshot()
}

// snapshot stores where the verifier stands, so that a restart need not read
// the whole archive.
func (b *boxLog) snapshot() error {
	if b.unsaved == 0 {
		return nil
	}
	b.unsaved = 0
	if err := b.archive.snapshot(b.v.State()); err != nil {
		return fmt.Errorf("state of box %s: %w", b.box.Name, err)
	}
	return nil
}

// receipt returns the receipt owed, or nil. It must follow flush.
func (b *boxLog) receipt(now time.Time) ([]byte, error) {
	status := b.answer
	b.answer = ""
	if status == "" {
		return nil, nil
	}
	r := b.v.Receipt()
	if status == okStatus && b.stored != nil && !r.Empty && r.N == b.forN {
		return b.stored, nil
	}
	r.Log, r.ReceivedAt, r.Status, r.Nonce = b.id, now.UnixMilli(), status, b.issued.issue(b.box.Key.Suite(), now)
	signed, err := evidence.SignReceipt(b.key, r)
	if err != nil {
		return nil, err
	}
	if status == okStatus && !r.Empty {
		b.stored, b.forN = signed, r.N
	}
	return signed, nil
}

func (b *boxLog) close() { b.archive.close() }
