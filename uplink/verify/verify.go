// Package verify turns what a box sent into a verdict. It is pure: the result
// is a function of the messages, the pinned key and the time of reception
// that the caller states; there is no network, no clock and no logger.
//
// A verdict says what the checks of uplink/evidence/SPEC.md ("Checks") found;
// a grade says how good the evidence is; neither says anything of the firm.
// Every result carries its reasons in words a person can act on.
package verify

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
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

	key  ed25519.PublicKey
	log  evidence.LogID
	meta metaLeaves
	pos  position

	leafChecks, blockChecks []check
}

// metaLeaves are the signed leaves a verifier was given beside the stream.
type metaLeaves struct {
	genesis []byte
	dict    dictionaryLeaf
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
	whole   bool            // followed from leaf 0 without a gap

	dict     dictionaryLeaf
	dictSure bool // dict is known to be in force at next

	seqs   map[evidence.Channel]uint64 // next sequence, for channels seen
	stored map[evidence.Channel]uint64 // newest block received
	recent recent

	boot, uptime uint64
	end          int64 // Unix ms, end of the newest window
	unexplained  bool  // since a restart no boot leaf explains
}

// New follows the log that key signs. meta is the retained meta message, or
// nil when the stream begins with the genesis leaf. Errors: ErrWrongKey,
// evidence.ErrSignature, evidence.ErrVersion, *evidence.FormatError.
func New(key ed25519.PublicKey, meta []byte) (*Verifier, error) {
	if len(key) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("pinned key: %d bytes, want %d", len(key), ed25519.PublicKeySize)
	}
	v := &Verifier{
		key:        key,
		pos:        position{seqs: map[evidence.Channel]uint64{}, stored: map[evidence.Channel]uint64{}},
		leafChecks: leafChecks(), blockChecks: blockChecks(),
	}
	if meta == nil {
		return v, nil
	}
	return v, v.Meta(meta)
}

// Meta takes over a newer retained meta message of the same log, so that a
// dictionary is at hand after a gap. On error nothing has changed.
func (v *Verifier) Meta(meta []byte) error {
	genesis, dict, err := evidence.ParseMeta(meta)
	if err != nil {
		return err
	}
	if !v.key.Equal(ed25519.PublicKey(genesis.Manifest.Genesis.Key.Public)) {
		return ErrWrongKey
	}
	for _, leaf := range []*evidence.UnverifiedLeaf{&genesis, &dict} {
		if err := leaf.VerifySignature(v.key); err != nil {
			return fmt.Errorf("meta, leaf %d: %w", leaf.Manifest.N, err)
		}
	}
	if v.log != (evidence.LogID{}) && v.log != genesis.Manifest.Log {
		return fmt.Errorf("meta of log %s, following log %s", genesis.Manifest.Log, v.log)
	}
	v.log = genesis.Manifest.Log
	v.meta = metaLeaves{
		genesis: append([]byte(nil), genesis.Sign1...),
		dict:    newDictionaryLeaf(&dict),
	}
	return nil
}

func newDictionaryLeaf(l *evidence.UnverifiedLeaf) dictionaryLeaf {
	return dictionaryLeaf{n: l.Manifest.N, leaf: l.Hash(), sign1: append([]byte(nil), l.Sign1...), Dictionary: l.Manifest.Dictionary()}
}

// Log is the log followed; zero before the first leaf when New got no meta.
func (v *Verifier) Log() evidence.LogID { return v.log }

// N is the leaf index expected next.
func (v *Verifier) N() uint64 { return v.pos.next }

// Next checks the next delivery. received is when it arrived, by the caller's
// clock; zero when that is not known. The state moves on only when the
// verdict is Accepted.
func (v *Verifier) Next(delivery []byte, received time.Time) Result {
	return v.run(delivery, received, v.leafChecks, v.blockChecks)
}

// Admit takes over the signed leaf of a delivery whose blocks are altered or
// unreadable, after the caller has kept it as such and no better copy can be
// had, so that the rest of the log can be checked. Its result speaks of the
// leaf alone and never holds a Window.
func (v *Verifier) Admit(delivery []byte, received time.Time) Result {
	return v.run(delivery, received, v.leafChecks, nil)
}

func (v *Verifier) run(delivery []byte, received time.Time, lists ...[]check) Result {
	in := incoming{v: v, res: Result{Verdict: Verified, Log: v.log, Grade: GradeX}}
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		code := "malformed"
		if errors.Is(err, evidence.ErrVersion) {
			code = "newer-version"
		}
		in.fault(Unreadable, code, err.Error())
		return in.res
	}
	in.d, in.m, in.leaf = &d, &d.Manifest, d.Hash()
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
	in.grade(received)
	v.advance(&in, lists[len(lists)-1] != nil)
	return in.res
}

// advance moves the position behind an accepted leaf.
func (v *Verifier) advance(in *incoming, withBlocks bool) {
	p, m := &v.pos, in.m
	if !p.started {
		v.log = m.Log
		p.whole = m.N == 0
	}
	if in.jumped {
		p.whole, p.dictSure = false, false
	}
	p.started, p.next, p.rooted = true, m.N+1, in.rooted
	if in.rooted {
		p.tree = in.tree
		p.tree.Append(in.leaf)
	}
	if m.Dictionary() != nil {
		p.dict, p.dictSure = newDictionaryLeaf(&in.d.UnverifiedLeaf), true
	} else if in.dict != nil {
		p.dict, p.dictSure = *in.dict, true
	}
	for ch, cd := range m.Channels {
		p.seqs[ch] = cd.Seq + 1
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
		r.N, r.Root = p.tree.N-1, p.tree.Root()
	}
	for ch, seq := range p.stored {
		r.Channels[ch] = seq
	}
	return r
}

// remembered is how many leaf hashes a Verifier keeps of its own.
const remembered = 256

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
