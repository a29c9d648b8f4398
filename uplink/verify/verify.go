// Package verify turns what a box sent into a verdict. It is pure: the result
// is a function of the messages, the pinned key and the time of reception
// that the caller states; there is no network, no clock and no logger.
//
// A verdict says what the checks of uplink/evidence/SPEC.md ("Checks") found;
// a grade says how good the evidence is; neither says anything of the firm.
// Every result carries its reasons in words a person can act on.
package verify

import (
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// Verdict is the outcome of the checks on one delivery or one bundle.
type Verdict string

const (
	Verified   Verdict = "verified"   // every check holds
	Replayed   Verdict = "replayed"   // received before; nothing wrong with the log itself
	Gap        Verdict = "gap"        // authentic, but something before or in it is missing
	WrongKey   Verdict = "wrong-key"  // not from the box that was pinned
	Unreadable Verdict = "unreadable" // does not follow the format this version knows
	Altered    Verdict = "altered"    // signature or digest does not fit the bytes
	Forked     Verdict = "forked"     // the box signed two different histories
)

// severity orders verdicts, worst last.
func (v Verdict) severity() int {
	switch v {
	case Verified:
		return 0
	case Replayed:
		return 1
	case Gap:
		return 2
	case WrongKey:
		return 3
	case Unreadable:
		return 4
	case Altered:
		return 5
	}
	return 6 // Forked, and anything unknown
}

// Worst returns the worse of two verdicts.
func Worst(a, b Verdict) Verdict {
	if b.severity() > a.severity() {
		return b
	}
	return a
}

// Chinese is the word shown to people who read Chinese.
func (v Verdict) Chinese() string {
	switch v {
	case Verified:
		return "核验通过"
	case Replayed:
		return "重复"
	case Gap:
		return "有缺失"
	case WrongKey:
		return "密钥不符"
	case Unreadable:
		return "无法读取"
	case Altered:
		return "被改动"
	case Forked:
		return "分叉"
	}
	return string(v)
}

// Accepted reports whether a delivery of this verdict becomes part of the log.
func (v Verdict) Accepted() bool { return v == Verified || v == Gap }

// Grade is the quality of the evidence, A to D, or X where it does not
// verify (SPEC.md "Grades"). It never describes the firm.
type Grade string

const (
	GradeA Grade = "A"
	GradeB Grade = "B"
	GradeC Grade = "C"
	GradeD Grade = "D"
	GradeX Grade = "X"
)

// Result is what is known of one delivery after the checks.
type Result struct {
	Verdict  Verdict
	Log      evidence.LogID
	N        uint64
	Leaf     evidence.Hash // leaf hash; zero when the delivery could not be parsed
	Type     evidence.LeafType
	From, To time.Time // as the box states it, UTC
	Readings int       // values received in measured channels
	Grade    Grade
	Reasons  []Reason // what decided verdict and grade, most important first

	// NotBefore is when the newest nonce was given out that this leaf, or one
	// before it, answers: it was made after that. Zero when none is known.
	NotBefore time.Time

	// Missing is the range of leaves found missing just before this one;
	// nil when there is none.
	Missing *Range
	// Channel is the channel an Altered or Unreadable block belongs to; 0
	// when the fault is not in a block.
	Channel evidence.Channel
	// Manifest and Window are set only when Verdict.Accepted. Window is nil
	// for leaves of other types, and where the dictionary is not at hand.
	Manifest *evidence.Manifest
	Window   *Window
	Record   *record.Record // of a record leaf, where it was disclosed
}

// Range is a stretch of leaf indexes, both ends included.
type Range struct {
	Lo uint64 `json:"lo"`
	Hi uint64 `json:"hi"`
}

// ErrWrongKey says that a log's genesis names another key than the one pinned.
var ErrWrongKey = errors.New("the log belongs to another key than the one pinned for this box")

// Verifier follows one log. Not safe for concurrent use.
type Verifier struct {
	// Seen, where set, remembers leaf hashes for longer than the Verifier
	// does (the last 256): it lets an old index be told apart as replayed or
	// forked. It must answer from what was accepted.
	Seen func(n uint64) (evidence.Hash, bool)

	// Issued, where set, says when a nonce was given out, by its hash: the
	// windows that answer it were made after that. It must know only what the
	// caller, or a lender it believes, has given out.
	Issued func(evidence.NonceHash) (at time.Time, ok bool)

	key    evidence.PublicKey // pinned: of the genesis leaf
	log    evidence.LogID
	meta   metaLeaves
	epochs []epoch // by n; none before the genesis leaf is known
	pos    position

	leafChecks, blockChecks []check
}

// metaLeaves are the signed leaves a verifier was given beside the stream.
type metaLeaves struct {
	raw           []byte // as encoded, nil before the first
	genesis, dict dictionaryLeaf
}

// epoch is a key and the leaf that put it in force: it signs the leaves after
// that one, up to the next rotation (and the genesis leaf itself).
type epoch struct {
	n         uint64
	leaf      evidence.Hash // of the rotation leaf; zero for the genesis
	key       evidence.PublicKey
	successor *evidence.Hash // nil: this key is never rotated
	record    evidence.KeyRecord
	unchecked bool // the genesis leaf is not at hand: whether it has a successor is not known
}

// dictionaryLeaf is a dictionary and the signed leaf it came from.
type dictionaryLeaf struct {
	n     uint64
	leaf  evidence.Hash
	sign1 []byte
	*evidence.Dictionary
}

// position is how far the log has been followed.
type position struct {
	started bool
	next    uint64          // index expected next
	tree    evidence.Anchor // leaves 0..tree.N-1, as far as they are proven
	rooted  bool            // tree.N == next: history roots can be checked
	missing uint64          // how many leaves before next were not received

	dict     dictionaryLeaf
	dictNext uint64 // no leaf below this index holds a newer dictionary than dict

	seqs   map[evidence.Channel]sequence
	stored map[evidence.Channel]uint64 // newest block received
	recent recent

	boot, uptime uint64
	end          int64 // Unix ms, end of the newest window
	unexplained  bool  // since a restart no boot leaf explains
	beacon       int64 // Unix ms, when the newest nonce answered so far was issued; 0 = none

	counter    uint64 // newest certified value
	hasCounter bool
	rebooted   bool // a boot leaf, or a gap, since then
}

// sequence is where a channel stands.
type sequence struct {
	_       struct{} `cbor:",toarray"`
	Next    uint64   // number of its next block
	Missing uint64   // position.missing when the last one was seen
}

// New follows the log whose genesis leaf names key. meta is the retained meta
// message, or nil when the stream begins with the genesis leaf. Errors:
// ErrWrongKey, ErrRotation, evidence.ErrSignature, evidence.ErrVersion,
// *canon.FormatError.
func New(key evidence.PublicKey, meta []byte) (*Verifier, error) {
	if key.IsZero() {
		return nil, errors.New("no key is pinned")
	}
	v := &Verifier{
		key:        key,
		pos:        position{seqs: map[evidence.Channel]sequence{}, stored: map[evidence.Channel]uint64{}},
		leafChecks: leafChecks(), blockChecks: blockChecks(),
	}
	if meta == nil {
		return v, nil
	}
	return v, v.Meta(meta)
}

// ErrRotation says that a key was put in force that the one before had not
// committed to.
var ErrRotation = errors.New("the log has a key that its predecessor did not commit to")

// Meta takes over a newer retained meta message of the same log, so that
// dictionary and keys are at hand after a gap. On error nothing has changed.
func (v *Verifier) Meta(meta []byte) error {
	m, err := evidence.ParseMeta(meta)
	if err != nil {
		return err
	}
	if v.key != m.Genesis.Manifest.Genesis.Key.Key() {
		return ErrWrongKey
	}
	epochs := []epoch{genesisEpoch(&m.Genesis.Manifest)}
	if err := m.Genesis.VerifySignature(v.key); err != nil {
		return fmt.Errorf("meta, leaf 0: %w", err)
	}
	for i := range m.Rotations {
		r, last := &m.Rotations[i], &epochs[len(epochs)-1]
		if err := r.VerifySignature(last.key); err != nil {
			return fmt.Errorf("meta, leaf %d: %w", r.Manifest.N, err)
		}
		if !last.leadsTo(r.Manifest.Rotation) {
			return fmt.Errorf("meta, leaf %d: %w", r.Manifest.N, ErrRotation)
		}
		epochs = append(epochs, rotationEpoch(&r.Manifest, r.Hash()))
	}
	if err := m.Dictionary.VerifySignature(keyAt(epochs, m.Dictionary.Manifest.N)); err != nil {
		return fmt.Errorf("meta, leaf %d: %w", m.Dictionary.Manifest.N, err)
	}
	if log := m.Genesis.Manifest.Log; v.log != (evidence.LogID{}) && v.log != log {
		return fmt.Errorf("meta of log %s, following log %s", log, v.log)
	}
	v.log = m.Genesis.Manifest.Log
	v.meta = metaLeaves{raw: append([]byte(nil), meta...),
		genesis: newDictionaryLeaf(&m.Genesis), dict: newDictionaryLeaf(&m.Dictionary)}
	if len(epochs) > len(v.epochs) || v.epochs[0].unchecked && len(epochs) == len(v.epochs) {
		v.epochs = epochs
	}
	return nil
}

func genesisEpoch(m *evidence.Manifest) epoch {
	g := m.Genesis
	return epoch{key: g.Key.Key(), successor: g.Successor, record: g.Key}
}

func rotationEpoch(m *evidence.Manifest, leaf evidence.Hash) epoch {
	r := m.Rotation
	return epoch{n: m.N, leaf: leaf, key: r.Key.Key(), successor: &r.Successor, record: r.Key}
}

// leadsTo reports whether r's key is the successor e has committed to.
func (e *epoch) leadsTo(r *evidence.Rotation) bool {
	return e.successor != nil && *e.successor == r.Key.Digest()
}

// epochAt is the epoch that covers leaf n; nil when epochs is empty.
func epochAt(epochs []epoch, n uint64) (e *epoch) {
	for i := range epochs {
		if i == 0 || epochs[i].n < n {
			e = &epochs[i]
		}
	}
	return e
}

// keyAt is the key whose epoch covers leaf n; epochs must not be empty.
func keyAt(epochs []epoch, n uint64) evidence.PublicKey { return epochAt(epochs, n).key }

// mayRotate reports whether the newest key known may have been followed by
// another.
func (v *Verifier) mayRotate() bool {
	last := len(v.epochs) - 1
	return last < 0 || v.epochs[last].successor != nil || v.epochs[last].unchecked
}

func newDictionaryLeaf(l *evidence.UnverifiedLeaf) dictionaryLeaf {
	return dictionaryLeaf{n: l.Manifest.N, leaf: l.Hash(), sign1: append([]byte(nil), l.Sign1...), Dictionary: l.Manifest.Dictionary()}
}

// Signed reports whether the key whose epoch covers its index signed d.
func (v *Verifier) Signed(d *evidence.UnverifiedDelivery) bool {
	return d.VerifySignature(v.keyAt(d.Manifest.N)) == nil
}

// keyAt is the key whose epoch covers leaf n, as far as is known.
func (v *Verifier) keyAt(n uint64) evidence.PublicKey {
	if len(v.epochs) == 0 {
		return v.key
	}
	return keyAt(v.epochs, n)
}

// Log is the log followed; zero before the first leaf when New got no meta.
func (v *Verifier) Log() evidence.LogID { return v.log }

// N is the leaf index expected next.
func (v *Verifier) N() uint64 { return v.pos.next }

// Next checks the next delivery. received is when it arrived, by the caller's
// clock; zero when that is not known. The state moves on only when the
// verdict is Accepted.
func (v *Verifier) Next(delivery []byte, received time.Time) Result {
	d, err := evidence.ParseDelivery(delivery)
	return v.run(&d, err, received, v.leafChecks, v.blockChecks)
}

// Admit takes over the signed leaf of a delivery whose blocks are altered or
// unreadable, after the caller has kept it as such and no better copy can be
// had, so that the rest of the log can be checked. Its result speaks of the
// leaf alone and never holds a Window.
func (v *Verifier) Admit(delivery []byte, received time.Time) Result {
	d, err := evidence.ParseDelivery(delivery)
	return v.run(&d, err, received, v.leafChecks, nil)
}

// run takes a delivery through lists of checks; err is why it could not be
// parsed.
func (v *Verifier) run(d *evidence.UnverifiedDelivery, err error, received time.Time, lists ...[]check) Result {
	in := incoming{v: v, res: Result{Verdict: Verified, Log: v.log, Grade: GradeX}}
	if err != nil {
		code := "malformed"
		if errors.Is(err, evidence.ErrVersion) {
			code = "newer-version"
		}
		in.fault(Unreadable, code, err.Error())
		return in.res
	}
	in.d, in.m, in.leaf = d, &d.Manifest, d.Hash()
	in.res.Log, in.res.N, in.res.Type, in.res.Leaf = in.m.Log, in.m.N, in.m.Type, in.leaf
	in.res.From, in.res.To = time.UnixMilli(in.m.Start).UTC(), time.UnixMilli(in.m.End()).UTC()
	for _, checks := range lists {
		for _, c := range checks {
			if !c.run(&in) {
				return in.res
			}
		}
	}
	in.res.Manifest = in.m
	in.changed()
	in.grade(received)
	v.advance(&in, lists[len(lists)-1] != nil)
	return in.res
}

// advance moves the position behind an accepted leaf.
func (v *Verifier) advance(in *incoming, withBlocks bool) {
	p, m := &v.pos, in.m
	if !p.started {
		v.log = m.Log
	}
	p.missing = in.missing
	p.started, p.next, p.rooted = true, m.N+1, in.rooted
	if in.rooted {
		p.tree = in.tree
		p.tree.Append(v.key.Suite(), in.leaf)
	}
	if m.Dictionary() != nil {
		p.dict, p.dictNext = newDictionaryLeaf(&in.d.UnverifiedLeaf), p.next
	} else if in.dict != nil {
		p.dict, p.dictNext = *in.dict, p.next
	} else if p.dict.Dictionary != nil && p.dictNext == m.N {
		p.dictNext = p.next
	}
	switch last := len(v.epochs) - 1; {
	case m.Genesis != nil && last < 0:
		v.epochs = []epoch{genesisEpoch(m)}
	case m.Rotation != nil && last < 0:
		pinned := epoch{key: v.key, record: evidence.NewKeyRecord(v.key, ""), unchecked: true}
		v.epochs = []epoch{pinned, rotationEpoch(m, in.leaf)}
	case m.Rotation != nil && m.N > v.epochs[last].n:
		v.epochs = append(v.epochs, rotationEpoch(m, in.leaf))
	}
	if in.jumped {
		p.hasCounter = false
	}
	if in.counted {
		p.counter, p.hasCounter = in.counter, true
	}
	p.beacon, p.rebooted = in.beacon, in.rebooted
	for ch, cd := range m.Channels {
		p.seqs[ch] = sequence{Next: cd.Seq + 1, Missing: in.missing}
	}
	if withBlocks {
		for _, b := range in.d.Blocks {
			p.stored[b.Channel] = m.Channels[b.Channel].Seq
		}
	}
	p.recent.add(m.N, in.leaf)
	p.boot, p.uptime, p.unexplained = m.Event.Boot, m.UptimeMS, in.unexplained
	if m.Type == evidence.WindowLeaf {
		p.end = m.End()
	}
}

// Receipt returns what a receipt can promise now: Log, Empty, N, Root and
// Channels are set. After a gap that no anchor bridges it stays at the last
// leaf whose history is proven.
func (v *Verifier) Receipt() evidence.Receipt {
	p := &v.pos
	r := evidence.Receipt{Log: v.log, Empty: p.tree.N == 0, Channels: map[evidence.Channel]uint64{}}
	if !r.Empty {
		r.N, r.Root = p.tree.N-1, p.tree.Root(v.key.Suite())
	}
	for ch, seq := range p.stored {
		r.Channels[ch] = seq
	}
	return r
}

// remembered is how many leaf hashes a Verifier keeps of its own.
const remembered = 256

// disagrees reports whether a holds another hash than the remembered leaves
// have, for a subtree of which all are remembered.
func (r *recent) disagrees(a evidence.Anchor, s evidence.Suite) bool {
	start := uint64(0)
	for i, size := range a.Sizes() {
		if size <= remembered {
			var sub evidence.Anchor
			for n := start; n < start+size; n++ {
				leaf, ok := r.find(n)
				if !ok {
					break
				}
				sub.Append(s, leaf)
			}
			if sub.N == size && sub.Hashes[0] != a.Hashes[i] {
				return true
			}
		}
		start += size
	}
	return false
}

// recent holds the newest leaf hashes by index.
type recent struct {
	leaves []recentLeaf // ring, by n modulo remembered
}

type recentLeaf struct {
	_    struct{} `cbor:",toarray"`
	N    uint64
	Hash evidence.Hash
}

func (r *recent) add(n uint64, h evidence.Hash) {
	if len(r.leaves) == 0 {
		r.leaves = make([]recentLeaf, remembered)
	}
	r.leaves[n%remembered] = recentLeaf{N: n, Hash: h}
}

func (r *recent) find(n uint64) (evidence.Hash, bool) {
	if len(r.leaves) == 0 {
		return evidence.Hash{}, false
	}
	l := r.leaves[n%remembered]
	return l.Hash, l.N == n && l.Hash != evidence.Hash{}
}
