package verify

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Policy says whom to believe when a bundle is checked. The zero Policy
// believes nobody.
type Policy struct {
	Keys   map[evidence.LogID]evidence.PublicKey // pinned by log
	Pinned []evidence.PublicKey                  // pinned for any log they sign

	// Times says when a leaf arrived and when it was made at the earliest, as far
	// as the caller knows (its archive). Zero times, or nil, say nothing.
	Times func(n uint64) (received, notBefore time.Time)
	// Receipts are what lenders confirmed; nil for none.
	Receipts *Receipts
}

// KeyFor returns the pinned key of the log that a genesis leaf opens. The leaf
// need not be verified: it only says which key to look for.
func (p *Policy) KeyFor(genesis *evidence.Manifest) (evidence.PublicKey, bool) {
	if genesis.Genesis == nil {
		return evidence.PublicKey{}, false
	}
	return p.keyFor(genesis.Log, genesis.Genesis.Key.Key())
}

// keyFor returns the pinned key for a log whose genesis names claimed.
func (p *Policy) keyFor(log evidence.LogID, claimed evidence.PublicKey) (evidence.PublicKey, bool) {
	if key, ok := p.Keys[log]; ok {
		return key, true
	}
	for _, key := range p.Pinned {
		if key == claimed {
			return key, true
		}
	}
	return evidence.PublicKey{}, false
}

// Lost is a stretch of leaves a bundle does not hold.
type Lost struct {
	Range
	Reason string // what the box declared, or "not declared"
}

// MarshalJSON writes [lo, hi, "reason"].
func (l Lost) MarshalJSON() ([]byte, error) { return json.Marshal([]any{l.Lo, l.Hi, l.Reason}) }

// Fault is one delivery of a bundle that did not verify.
type Fault struct {
	N       uint64           `json:"n"`
	Channel evidence.Channel `json:"channel,omitempty"`
	Verdict Verdict          `json:"verdict"`
	Reason  string           `json:"reason"`
}

// listed bounds the lists of a Summary; counts go on.
const listed = 1000

// Summary is the result of checking a bundle.
type Summary struct {
	Verdict  Verdict        `json:"verdict"` // the worst of all
	Log      evidence.LogID `json:"log"`
	Lo       uint64         `json:"lo"` // first and last leaf accepted
	Hi       uint64         `json:"hi"`
	Leaves   uint64         `json:"leaves"`   // accepted, of any type
	Windows  uint64         `json:"windows"`  // accepted windows
	Verified uint64         `json:"verified"` // of these, without any reservation
	Readings uint64         `json:"readings"`
	Grade    Grade          `json:"grade"` // the worst
	// Grades counts accepted windows by grade, and under X what was not accepted.
	Grades  map[Grade]uint64 `json:"grade_counts"`
	Gaps    []Lost           `json:"gaps"`    // at most 1000
	Altered []Fault          `json:"altered"` // at most 1000
	Forks   []Fault          `json:"forks"`   // at most 1000
	Refused []Fault          `json:"refused"` // not accepted and neither: repeated, unreadable, of a stranger; at most 1000
	Faults  uint64           `json:"faults"`  // how many were not accepted
	Reasons []Reason         `json:"reasons"` // each code once, as first met; dictionary-changed each time
	// Assumptions are what the result rests on and the bundle cannot show.
	Assumptions []Reason `json:"assumptions"`
}

// MarshalJSON writes the verdict Gap as "gaps": it is about many leaves.
func (s Summary) MarshalJSON() ([]byte, error) {
	type plain Summary
	p := struct {
		plain
		Verdict string `json:"verdict"`
	}{plain(s), string(s.Verdict)}
	if s.Verdict == Gap {
		p.Verdict = "gaps"
	}
	return json.Marshal(p)
}

// Bundle checks a `.tally` file from front to back in bounded memory. The
// error is about reading r, or about a file that is no bundle
// (bundle.ErrNotBundle, evidence.ErrVersion, *canon.FormatError for its
// head); everything found in it is in the Summary. each, where not nil, sees
// every result in order.
func Bundle(r io.Reader, policy Policy, each func(Result)) (Summary, error) {
	b, err := readBundle(r, policy, each)
	if err != nil {
		return Summary{}, err
	}
	return b.sum, nil
}

func readBundle(r io.Reader, policy Policy, each func(Result)) (*bundleCheck, error) {
	br, err := bundle.NewReader(r)
	if err != nil {
		return nil, err
	}
	b := &bundleCheck{header: br.Header(), policy: policy, each: each,
		sum: Summary{Verdict: Verified, Grade: GradeA, Grades: map[Grade]uint64{}, Gaps: []Lost{}, Altered: []Fault{}, Forks: []Fault{}, Refused: []Fault{},
			Reasons: []Reason{}, Assumptions: []Reason{}}}
	b.sum.Log = b.header.Log
	if !b.begin() {
		b.sum.Grade = GradeX
		return b, nil
	}
	if err := b.deliveries(br); err != nil {
		return nil, err
	}
	b.finish()
	return b, nil
}

// bundleCheck is one check under way.
type bundleCheck struct {
	header bundle.Header
	policy Policy
	each   func(Result)
	v      *Verifier
	sum    Summary

	notBefore time.Time // by Policy.Times, of the delivery under way
}

func (b *bundleCheck) fault(v Verdict, code string, args ...any) {
	b.sum.Verdict = Worst(b.sum.Verdict, v)
	b.reason(newReason(code, args...))
}

// reason notes each code once, as first met; but each change of what readings mean.
func (b *bundleCheck) reason(r Reason) {
	for _, have := range b.sum.Reasons {
		if have.Code == r.Code && (r.Code != "dictionary-changed" || have == r || len(b.sum.Reasons) >= listed) {
			return
		}
	}
	b.sum.Reasons = append(b.sum.Reasons, r)
}

// begin settles the key and the signed leaves of the header.
func (b *bundleCheck) begin() bool {
	meta, err := b.header.Meta.Parse()
	if err != nil {
		b.fault(Unreadable, "header", err.Error())
		return false
	}
	log, claimed := meta.Genesis.Manifest.Log, meta.Genesis.Manifest.Genesis.Key.Key()
	key, ok := b.policy.keyFor(log, claimed)
	if !ok {
		b.fault(WrongKey, "no-pinned-key", log, claimed)
		return false
	}
	if log != b.header.Log {
		b.fault(Unreadable, "header", "it names log "+b.header.Log.String()+", its genesis leaf is of log "+log.String())
		return false
	}
	b.v, err = New(key, b.header.Meta.Encode())
	switch {
	case errors.Is(err, ErrWrongKey):
		b.fault(WrongKey, "key-not-pinned", claimed, key)
		return false
	case err != nil:
		b.fault(Altered, "header", err.Error())
		return false
	}
	b.v.Issued = b.issued
	b.assume(&meta)
	return true
}

// assume states what has to be taken for granted.
func (b *bundleCheck) assume(meta *evidence.UnverifiedMeta) {
	record := meta.Genesis.Manifest.Genesis.Key
	if n := len(meta.Rotations); n > 0 {
		record = meta.Rotations[n-1].Manifest.Rotation.Key
	}
	b.sum.Assumptions = append(b.sum.Assumptions, newReason("custody", record.Custody))
	if b.policy.Receipts == nil || b.policy.Receipts.Cosigned == 0 {
		b.sum.Assumptions = append(b.sum.Assumptions, newReason("no-witness"))
	}
	if b.policy.Times == nil && b.policy.Receipts == nil {
		b.sum.Assumptions = append(b.sum.Assumptions, newReason("no-times"))
	}
}

// issued says when a nonce was given out, by a receipt or by the caller's own
// note about the leaf under way.
func (b *bundleCheck) issued(h evidence.NonceHash) (time.Time, bool) {
	if at, ok := b.policy.Receipts.issued(h); ok {
		return at, true
	}
	return b.notBefore, !b.notBefore.IsZero()
}

func (b *bundleCheck) deliveries(br *bundle.Reader) error {
	for first := true; ; first = false {
		at := br.Offset()
		item, err := br.Next()
		var damaged *canon.FormatError
		switch {
		case err == io.EOF:
			return nil
		case err == io.ErrUnexpectedEOF:
			b.fault(Unreadable, "cut-short", at, "the last item is incomplete")
			return nil
		case errors.As(err, &damaged):
			b.fault(Unreadable, "cut-short", at, err.Error())
			return nil
		case err != nil:
			return err
		}
		d, err := evidence.ParseDelivery(item)
		if first && err == nil && d.Manifest.N == b.header.Lo && b.header.Anchor != nil {
			d.Anchor = b.header.Anchor
		}
		b.delivery(&d, err, first)
	}
}

// delivery judges the next one; err is why it could not be parsed.
func (b *bundleCheck) delivery(d *evidence.UnverifiedDelivery, err error, first bool) {
	received := b.received(d.Manifest.N)
	res := b.v.run(d, err, received, b.v.leafChecks, b.v.blockChecks)
	b.confirmations(&res)
	if b.each != nil {
		b.each(res)
	}
	b.sum.Verdict = Worst(b.sum.Verdict, res.Verdict)
	for _, r := range res.Reasons {
		if r.Code != "starts-late" || b.header.Lo == 0 { // the header says so
			b.reason(r)
		}
	}
	if !res.Verdict.Accepted() {
		b.refused(res)
		if res.Channel == 0 {
			return
		}
		if leaf := b.v.run(d, nil, received, b.v.leafChecks, nil); leaf.Missing != nil {
			b.missing(leaf.Missing.Lo, leaf.Missing.Hi)
		}
		return
	}
	if res.Missing != nil {
		b.missing(res.Missing.Lo, res.Missing.Hi)
	}
	if first && res.N > b.header.Lo {
		b.missing(b.header.Lo, res.N-1)
		b.fault(Gap, "missing", b.header.Lo, res.N-1)
	}
	b.accepted(res)
}

// confirmations compares what others have signed about the leaves before this
// one with the root it is signed over. A checkpoint is the box's own word, so
// that another root in it is a fork; a receipt is the lender's.
func (b *bundleCheck) confirmations(res *Result) {
	if !res.Verdict.Accepted() {
		return
	}
	c, ok := b.policy.Receipts.differs(res.N, res.Manifest.Root)
	switch {
	case ok && c.witness:
		b.fault(Forked, "checkpoint-fork", res.N)
	case ok:
		b.fault(Gap, "receipt-differs", res.N)
	}
}

// received is when a delivery had arrived at the latest, by whoever knows it
// best; zero when nobody does. It notes when it was made at the earliest.
func (b *bundleCheck) received(n uint64) (at time.Time) {
	b.notBefore = time.Time{}
	if b.policy.Times != nil {
		at, b.notBefore = b.policy.Times(n)
	}
	if r := b.policy.Receipts.received(n); !r.IsZero() && (at.IsZero() || r.Before(at)) {
		at = r
	}
	return at
}

func (b *bundleCheck) accepted(res Result) {
	if b.sum.Leaves == 0 {
		b.sum.Lo = res.N
	}
	b.sum.Leaves++
	b.sum.Hi = res.N
	b.sum.Grade = max(b.sum.Grade, res.Grade)
	if res.Type == evidence.WindowLeaf {
		b.sum.Windows++
		b.sum.Readings += uint64(res.Readings)
		b.sum.Grades[res.Grade]++
		if res.Verdict == Verified {
			b.sum.Verified++
		}
	}
	for _, r := range res.Manifest.Lost {
		b.reason(newReason("loss-declared", r.Lo, r.Hi, r.Reason))
		for i := range b.sum.Gaps {
			if g := &b.sum.Gaps[i]; r.Lo <= g.Lo && g.Hi <= r.Hi {
				g.Reason = r.Reason
			}
		}
	}
}

func (b *bundleCheck) refused(res Result) {
	b.sum.Grade = GradeX
	b.sum.Faults++
	b.sum.Grades[GradeX]++
	list := &b.sum.Refused
	switch res.Verdict {
	case Altered:
		list = &b.sum.Altered
	case Forked:
		list = &b.sum.Forks
	}
	if len(*list) < listed {
		*list = append(*list, Fault{N: res.N, Channel: res.Channel, Verdict: res.Verdict, Reason: res.Reasons[0].En})
	}
}

func (b *bundleCheck) missing(lo, hi uint64) {
	if len(b.sum.Gaps) < listed {
		b.sum.Gaps = append(b.sum.Gaps, Lost{Range: Range{Lo: lo, Hi: hi}, Reason: "not declared"})
	}
}

// finish compares where the file ended with what its head announced.
func (b *bundleCheck) finish() {
	next := max(b.v.N(), b.header.Lo)
	switch {
	case b.header.Open:
		if b.sum.Leaves == 0 {
			b.fault(Gap, "ends-early", b.header.Lo, next)
		}
	case next <= b.header.Hi:
		b.missing(next, b.header.Hi)
		b.fault(Gap, "ends-early", b.header.Hi, next)
	case next > b.header.Hi+1:
		b.fault(Unreadable, "beyond-end", b.header.Hi, next-1)
	}
	if b.sum.Leaves == 0 {
		b.sum.Grade = GradeX
	}
}
