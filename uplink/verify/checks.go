package verify

import (
	"maps"
	"slices"
	"time"

	"github.com/tallystick/tallystick/uplink/custody/counter"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// incoming is one delivery on its way through the checks.
type incoming struct {
	v    *Verifier
	d    *evidence.UnverifiedDelivery
	m    *evidence.Manifest // &d.Manifest
	leaf evidence.Hash
	res  Result

	jumped      bool            // leaves before this one are missing
	missing     uint64          // leaves missing in all
	rooted      bool            // tree is the proven state before this leaf
	tree        evidence.Anchor // valid when rooted
	dict        *dictionaryLeaf // in force for this window, nil when not at hand
	unexplained bool
	beacon      int64 // newest nonce's issue, Unix ms
	rebooted    bool  // since the last counter leaf

	counter uint64
	counted bool
	skipped bool // the counter went up by more or less than it may
}

// fault notes a reason and worsens the verdict; the reason that decided it
// stands first.
func (in *incoming) fault(v Verdict, code string, args ...any) {
	if v.severity() <= in.res.Verdict.severity() {
		in.note(code, args...)
		return
	}
	in.res.Verdict = v
	in.res.Reasons = append([]Reason{newReason(code, args...)}, in.res.Reasons...)
}

func (in *incoming) note(code string, args ...any) {
	in.res.Reasons = append(in.res.Reasons, newReason(code, args...))
}

// unreadable says that the block of a channel is not what it must be, and ends
// the checks.
func (in *incoming) unreadable(ch evidence.Channel, code string, args ...any) bool {
	in.res.Channel = ch
	in.fault(Unreadable, code, append([]any{in.m.N, ch}, args...)...)
	return false
}

// check is one rule of SPEC.md "Checks". run returns false when nothing after
// it can be judged.
type check struct {
	name string
	run  func(in *incoming) bool
}

// leafChecks judge the signed leaf alone, in this order.
func leafChecks() []check {
	return []check{
		{"genesis key", checkGenesisKey},
		{"signature", checkSignature},
		{"log", checkLog},
		{"announced leaf", checkAnnouncedLeaf},
		{"known index", checkKnownIndex},
		{"contiguous index", checkContiguous},
		{"anchor", checkAnchor},
		{"history root", checkHistoryRoot},
		{"rotation", checkRotation},
		{"dictionary", checkDictionary},
		{"channel set", checkChannelSet},
		{"channel sequence", checkChannelSequence},
		{"restart", checkRestart},
		{"counter", checkCounter},
	}
}

// blockChecks judge the blocks beside a leaf that has passed.
func blockChecks() []check {
	return []check{
		{"block digest", checkBlockDigest},
		{"block form", checkBlockForm},
	}
}

// checkGenesisKey: a genesis leaf must name the pinned key, whoever signed it.
func checkGenesisKey(in *incoming) bool {
	if g := in.m.Genesis; g != nil && in.v.key != g.Key.Key() {
		in.fault(WrongKey, "key-not-pinned", g.Key.Key(), in.v.key)
		return false
	}
	return true
}

// checkSignature: the key whose epoch covers this index signed these bytes. A
// leaf that claims another log, or any leaf while no log is known, is a
// stranger's; a leaf of our log whose signature fails has been changed. Where
// leaves before it are missing, one of them may have put another key in force.
func checkSignature(in *incoming) bool {
	if in.v.Signed(in.d) {
		return true
	}
	v, n := in.v, in.m.N
	key := v.keyAt(n)
	if in.m.Log != v.log {
		in.fault(WrongKey, "signed-by-other", in.m.Log, key)
		return false
	}
	for i, e := range v.epochs {
		if (i == 0 || e.n < n) && e.key != key && in.d.VerifySignature(e.key) == nil {
			in.fault(Altered, "retired-key", n, e.key, key)
			return false
		}
	}
	if n > v.pos.next && v.mayRotate() {
		in.fault(Unreadable, "signature-or-rotation", n)
	} else {
		in.fault(Altered, "signature", n)
	}
	return false
}

// checkRotation: a key comes into force only when the one before it committed
// to it; whoever steals a key cannot name another of their own.
func checkRotation(in *incoming) bool {
	r := in.m.Rotation
	if r == nil {
		return true
	}
	epochs := in.v.epochs
	switch e := epochAt(epochs, in.m.N); {
	case slices.ContainsFunc(epochs, func(e epoch) bool { return e.n == in.m.N }): // announced, and checked then
	case e != nil && epochs[len(epochs)-1].n > in.m.N: // the next one is of the meta message
		in.fault(Forked, "second-rotation", in.m.N, epochs[len(epochs)-1].n)
		return false
	case e == nil || e.unchecked: // the log was met late, without its meta message
		in.fault(Gap, "rotation-unchecked", in.m.N)
	case !e.leadsTo(r):
		in.fault(Forked, "rotation-uncommitted", in.m.N, r.Key.Key())
		return false
	}
	return true
}

// checkLog: one key may have signed several logs; this is only one of them.
func checkLog(in *incoming) bool {
	if in.v.log == (evidence.LogID{}) || in.m.Log == in.v.log {
		return true
	}
	in.fault(WrongKey, "other-log", in.m.Log, in.v.log)
	return false
}

// checkKnownIndex: an index that was passed before is a repetition, or proof
// of two histories.
func checkKnownIndex(in *incoming) bool {
	if !in.v.pos.started || in.m.N >= in.v.pos.next {
		return true
	}
	known, ok := in.v.pos.recent.find(in.m.N)
	if !ok && in.v.Seen != nil {
		known, ok = in.v.Seen(in.m.N)
	}
	switch {
	case !ok:
		in.fault(Replayed, "replayed-unchecked", in.m.N, in.v.pos.next)
	case known == in.leaf:
		in.fault(Replayed, "replayed", in.m.N)
	default:
		in.fault(Forked, "second-leaf", in.m.N, known, in.leaf)
	}
	return false
}

// checkAnnouncedLeaf: the leaf the meta message announced for this index, as
// dictionary or rotation, is the leaf that stands here.
func checkAnnouncedLeaf(in *incoming) bool {
	other := func(n uint64, leaf evidence.Hash) bool {
		if n != in.m.N || leaf == in.leaf {
			return false
		}
		in.fault(Forked, "second-leaf", n, leaf, in.leaf)
		return true
	}
	if a := &in.v.meta.dict; a.Dictionary != nil && other(a.n, a.leaf) {
		return false
	}
	for i := 1; i < len(in.v.epochs); i++ {
		if e := &in.v.epochs[i]; other(e.n, e.leaf) {
			return false
		}
	}
	return true
}

// checkContiguous: no index is left out.
func checkContiguous(in *incoming) bool {
	p := &in.v.pos
	in.missing = p.missing
	if in.m.N > p.next {
		in.missing += in.m.N - p.next
	}
	if p.started && in.m.N > p.next {
		in.jumped = true
		in.res.Missing = &Range{Lo: p.next, Hi: in.m.N - 1}
		in.fault(Gap, "missing", p.next, in.m.N-1)
	}
	return true
}

// checkAnchor settles which state of the tree the history root is compared
// with: our own, or after a gap and at a late start the anchor sent along.
func checkAnchor(in *incoming) bool {
	p := &in.v.pos
	switch {
	case p.started && !in.jumped && p.rooted:
		in.rooted, in.tree = true, p.tree
		return true
	case !p.started && in.m.N == 0:
		in.rooted = true
		return true
	}
	a := in.d.Anchor
	switch {
	case a == nil:
		in.fault(Gap, "history-unchecked", in.m.N)
	case a.Root(in.v.key.Suite()) != in.m.Root:
		in.fault(Gap, "anchor-mismatch", in.m.N)
	case a.Disagrees(p.tree) || p.recent.disagrees(*a, in.v.key.Suite()):
		in.fault(Forked, "anchor-fork", p.tree.N, in.m.N)
		return false
	default:
		in.rooted, in.tree = true, *a
		if !p.started {
			in.note("starts-late", in.m.N)
		}
	}
	return true
}

// checkHistoryRoot: the leaf was signed over exactly the leaves seen before.
func checkHistoryRoot(in *incoming) bool {
	if in.rooted && in.tree.Root(in.v.key.Suite()) != in.m.Root {
		in.fault(Forked, "history-root", in.m.N)
		return false
	}
	return true
}

// checkDictionary: the window is to be read with the newest dictionary.
func checkDictionary(in *incoming) bool {
	if in.m.Type != evidence.WindowLeaf {
		return true
	}
	p, newest := &in.v.pos, in.v.dictionaryBefore(in.m.N)
	at := in.m.DictionaryAt
	_, received := p.recent.find(at)
	switch {
	case newest.Dictionary != nil && at == newest.n:
		in.dict = &newest
	case received, newest.Dictionary != nil && (at < newest.n || at < p.dictNext):
		in.fault(Unreadable, "dictionary-index", in.m.N, at, newest.n)
		return false
	default:
		in.fault(Gap, "dictionary-unseen", in.m.N, at)
	}
	return true
}

// checkChannelSet: the window accounts for every commissioned channel and no
// other.
func checkChannelSet(in *incoming) bool {
	if in.dict == nil {
		return true
	}
	for _, ch := range in.dict.ChannelList() {
		if _, ok := in.m.Channels[ch]; !ok {
			in.fault(Gap, "channel-missing", in.m.N, ch)
		}
	}
	for _, ch := range slices.Sorted(maps.Keys(in.m.Channels)) {
		if _, ok := in.dict.Channels[ch]; !ok {
			return in.unreadable(ch, "channel-unknown")
		}
	}
	return true
}

// checkChannelSequence: no block of a channel is left out, disclosed to this
// lender or not.
func checkChannelSequence(in *incoming) bool {
	p := &in.v.pos
	for _, ch := range slices.Sorted(maps.Keys(in.m.Channels)) {
		cd, s := in.m.Channels[ch], p.seqs[ch]
		// The leaves missing since may hold as many blocks of it.
		if cd.Seq < s.Next || cd.Seq-s.Next > in.missing-s.Missing {
			in.fault(Gap, "channel-sequence", in.m.N, ch, s.Next, cd.Seq)
		}
	}
	return true
}

// checkRestart: a restart of the agent shows as a boot leaf. One that does
// not fails nothing, but lowers the grade until the next boot leaf.
func checkRestart(in *incoming) bool {
	p, m := &in.v.pos, in.m
	switch {
	case !p.started:
	case m.Type == evidence.BootLeaf:
		in.unexplained = m.Event.Boot < p.boot
	case in.jumped: // the boot leaf may be among the missing
		in.unexplained = p.unexplained
	default:
		in.unexplained = p.unexplained || m.Event.Boot != p.boot || m.UptimeMS < p.uptime
	}
	return true
}

// checkCounter: the attestation key has signed the counter over this history, and
// nobody has counted in between. A jump fails nothing, but lowers the grade. A box
// that was cut off between counting and writing has one number too many, and
// begins anew with a boot leaf.
func checkCounter(in *incoming) bool {
	p := &in.v.pos
	in.rebooted = p.rebooted || in.m.Type == evidence.BootLeaf
	c, e := in.m.Counter, epochAt(in.v.epochs, in.m.N)
	if c == nil || e == nil || e.unchecked {
		return true
	}
	value, err := counter.Verify(e.record.Attestation, c.Handle, c.Attest, c.Signature, in.m.Root)
	if err != nil {
		in.fault(Unreadable, "counter", in.m.N, err.Error())
		return false
	}
	in.counter, in.counted = value, true
	in.skipped = p.hasCounter && !in.jumped && value != p.counter+1 && !(in.rebooted && value == p.counter+2)
	in.rebooted = false
	return true
}

// checkBlockDigest: each block is the one the leaf was signed over.
func checkBlockDigest(in *incoming) bool {
	for _, b := range in.d.Blocks {
		cd, ok := in.m.Channels[b.Channel]
		switch {
		case !ok:
			in.res.Channel = b.Channel
			in.fault(Altered, "block-unsigned", in.m.N, b.Channel)
		case b.Digest(in.v.key.Suite()) != cd.Digest:
			in.res.Channel = b.Channel
			in.fault(Altered, "block-digest", in.m.N, b.Channel)
		}
	}
	return in.res.Verdict != Altered
}

// checkBlockForm: each block is what its leaf and its dictionary say, in the
// one canonical form; it fills the window.
func checkBlockForm(in *incoming) bool {
	if in.m.Type.Record() {
		return checkRecordForm(in)
	}
	if in.dict == nil {
		return checkBlockHeaders(in)
	}
	w, readings := &Window{dict: in.dict.Dictionary, start: in.m.Start}, 0
	for _, b := range in.d.Blocks {
		blk, err := evidence.DecodeBlock(b.Bytes, in.dict.Channels[b.Channel])
		if err != nil {
			return in.unreadable(b.Channel, "block-form", err.Error())
		}
		if blk.Channel != b.Channel || blk.Seq != in.m.Channels[b.Channel].Seq {
			return in.unreadable(b.Channel, "block-header")
		}
		w.add(&blk)
		if b.Channel.Measured() {
			for i := range blk.Meters {
				readings += blk.Meters[i].Present()
			}
		}
	}
	in.res.Window, in.res.Readings = w, readings
	return true
}

// checkBlockHeaders is what can be said of blocks without a dictionary.
func checkBlockHeaders(in *incoming) bool {
	for _, b := range in.d.Blocks {
		blk, _, err := evidence.SplitBlock(b.Bytes)
		if err != nil {
			return in.unreadable(b.Channel, "block-form", err.Error())
		}
		if blk.Channel != b.Channel || blk.Seq != in.m.Channels[b.Channel].Seq {
			return in.unreadable(b.Channel, "block-header")
		}
	}
	return true
}

// checkRecordForm: the one block of a record leaf is a record.
func checkRecordForm(in *incoming) bool {
	for _, b := range in.d.Blocks {
		r, err := record.Parse(b.Bytes)
		if err != nil {
			return in.unreadable(b.Channel, "block-form", err.Error())
		}
		if r.Seq != in.m.Channels[b.Channel].Seq {
			return in.unreadable(b.Channel, "block-header")
		}
		in.res.Record = &r
	}
	return true
}

// Grades by age of the evidence when it was received (SPEC.md "Grades").
const (
	ageA    = 5 * time.Minute
	ageB    = 24 * time.Hour
	ageC    = 7 * 24 * time.Hour
	ahead   = 5 * time.Minute  // a window that ends later than this after its reception
	beacons = 30 * time.Minute // age of a nonce
)

// answered finds the newest nonce this leaf, or one before it, is known to
// have been made after.
func (in *incoming) answered() {
	in.beacon = in.v.pos.beacon
	if in.v.Issued == nil {
		return
	}
	for _, h := range in.m.Beacon {
		if at, ok := in.v.Issued(h); ok {
			in.beacon = max(in.beacon, at.UnixMilli())
		}
	}
	if in.beacon != 0 {
		in.res.NotBefore = time.UnixMilli(in.beacon).UTC()
	}
}

// grade says how good the accepted evidence is.
func (in *incoming) grade(received time.Time) {
	in.answered()
	g := GradeA
	lower := func(to Grade, code string, args ...any) {
		g = max(g, to) // 'A' < 'B' < 'C' < 'D'
		in.note(code, args...)
	}
	if in.unexplained {
		lower(GradeD, "restart-unexplained", in.m.N)
	}
	if in.skipped {
		lower(GradeD, "counter-skipped", in.m.N, in.v.pos.counter, in.counter)
	}
	if in.m.TimeFlag == evidence.Unsynchronised || in.m.TimeFlag == evidence.Relative {
		lower(GradeC, "clock-unsynchronised", string(in.m.TimeFlag))
	}
	if p := &in.v.pos; p.started && in.m.Start < p.end && in.m.Type == evidence.WindowLeaf {
		lower(GradeC, "clock-backwards", time.Duration(p.end-in.m.Start)*time.Millisecond)
	}
	switch age := received.Sub(in.res.To); {
	case received.IsZero():
		lower(GradeD, "reception-unknown")
	case age < -ahead:
		lower(GradeC, "from-the-future", -age.Round(time.Second))
	case age > ageC:
		lower(GradeD, "late", age.Round(time.Second), 7)
	case age > ageB:
		lower(GradeC, "late", age.Round(time.Second), 1)
	case age > ageA:
		lower(GradeB, "not-live", age.Round(time.Second))
	}
	switch since := in.m.End() - in.beacon; {
	case in.beacon == 0:
		lower(GradeB, "no-beacon")
	case since > beacons.Milliseconds():
		lower(GradeB, "old-beacon", (time.Duration(since) * time.Millisecond).Round(time.Second))
	case since < -ahead.Milliseconds():
		lower(GradeC, "before-beacon", (time.Duration(-since) * time.Millisecond).Round(time.Second))
	}
	in.res.Grade = g
}
