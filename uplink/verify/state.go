package verify

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

const stateVersion = 2

// savedState is what State writes. The signed leaves in it are checked again
// when it is restored; the rest is the lender's own memory and only as good
// as the disk it lies on.
type savedState struct {
	_          struct{} `cbor:",toarray"`
	Version    uint64
	Log        evidence.LogID
	Meta       []byte // the meta message, empty for none
	Dictionary []byte // COSE_Sign1 in force, empty for none
	Epochs     []savedEpoch

	Started, Rooted bool

	Next    uint64
	Missing uint64

	DictNext uint64
	Tree     evidence.Anchor
	Seqs     map[evidence.Channel]sequence
	Stored   map[evidence.Channel]uint64
	Recent   []recentLeaf

	Boot, Uptime uint64
	End          int64
	Unexplained  bool
	Beacon       int64

	Counter    uint64
	HasCounter bool
	Rebooted   bool
}

type savedEpoch struct {
	_         struct{} `cbor:",toarray"`
	N         uint64
	Leaf      evidence.Hash
	Record    evidence.KeyRecord
	Successor []byte // empty for none
	Unchecked bool
}

// State encodes where the verifier stands, for Restore: some ten kilobytes,
// the same bytes for the same state.
func (v *Verifier) State() []byte {
	p := &v.pos
	enc, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err) // the options are constants
	}
	var epochs []savedEpoch
	for _, e := range v.epochs {
		s := savedEpoch{N: e.n, Leaf: e.leaf, Record: e.record, Unchecked: e.unchecked}
		if e.successor != nil {
			s.Successor = e.successor[:]
		}
		epochs = append(epochs, s)
	}
	b, err := enc.Marshal(savedState{
		Version: stateVersion, Log: v.log,
		Meta: v.meta.raw, Dictionary: p.dict.sign1, Epochs: epochs,
		Started: p.started, Rooted: p.rooted, DictNext: p.dictNext,
		Next: p.next, Missing: p.missing, Tree: p.tree, Seqs: p.seqs, Stored: p.stored, Recent: p.recent.leaves,
		Boot: p.boot, Uptime: p.uptime, End: p.end, Unexplained: p.unexplained,
		Beacon: p.beacon, Counter: p.counter, HasCounter: p.hasCounter, Rebooted: p.rebooted,
	})
	if err != nil {
		panic(err) // plain values always encode
	}
	return b
}

// Restore continues from a State under the same pinned key. Seen is to be set
// again by the caller.
func Restore(key evidence.PublicKey, state []byte) (*Verifier, error) {
	const where = "verifier state"
	var s savedState
	if err := cbor.Unmarshal(state, &s); err != nil {
		return nil, fmt.Errorf("%s: %w", where, &canon.FormatError{Where: where, Why: err.Error()})
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%s: version %d: %w", where, s.Version, evidence.ErrVersion)
	}
	if !s.Tree.Valid() || s.Rooted && s.Tree.N != s.Next || len(s.Recent) != 0 && len(s.Recent) != remembered {
		return nil, &canon.FormatError{Where: where, Why: "history does not fit the index"}
	}
	v, err := New(key, nil)
	if err != nil {
		return nil, err
	}
	if len(s.Meta) > 0 {
		if err := v.Meta(s.Meta); err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
	}
	if err := v.restoreEpochs(s.Epochs); err != nil {
		return nil, fmt.Errorf("%s: %w", where, err)
	}
	p := &v.pos
	if len(s.Dictionary) > 0 {
		leaf, err := evidence.ParseLeaf(s.Dictionary)
		if err == nil {
			err = leaf.VerifySignature(keyAt(v.epochs, leaf.Manifest.N))
		}
		if err == nil && leaf.Manifest.Dictionary() == nil {
			err = &canon.FormatError{Where: "dictionary leaf", Why: "holds no dictionary"}
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", where, err)
		}
		p.dict = newDictionaryLeaf(&leaf)
	}
	v.log = s.Log
	p.started, p.rooted, p.dictNext, p.missing = s.Started, s.Rooted, s.DictNext, s.Missing
	p.next, p.tree, p.recent = s.Next, s.Tree, recent{leaves: s.Recent}
	p.boot, p.uptime, p.end, p.unexplained = s.Boot, s.Uptime, s.End, s.Unexplained
	p.beacon, p.counter, p.hasCounter, p.rebooted = s.Beacon, s.Counter, s.HasCounter, s.Rebooted
	if s.Seqs != nil {
		p.seqs = s.Seqs
	}
	if s.Stored != nil {
		p.stored = s.Stored
	}
	return v, nil
}

// restoreEpochs takes the keys the stream has put in force. They are this
// lender's own memory; only that they begin with the pinned key is checked.
func (v *Verifier) restoreEpochs(saved []savedEpoch) error {
	var epochs []epoch
	for i, s := range saved {
		e := epoch{n: s.N, leaf: s.Leaf, record: s.Record, key: s.Record.Key(), unchecked: s.Unchecked}
		if len(s.Successor) > 0 {
			if len(s.Successor) != len(evidence.Hash{}) {
				return &canon.FormatError{Where: "epoch", Why: "the commitment is no hash"}
			}
			h := evidence.Hash(s.Successor)
			e.successor = &h
		}
		if e.key.IsZero() || i == 0 && e.key != v.key || i > 0 && e.n <= epochs[i-1].n {
			return &canon.FormatError{Where: "epoch", Why: "the keys do not follow from the pinned one"}
		}
		epochs = append(epochs, e)
	}
	if len(epochs) > len(v.epochs) {
		v.epochs = epochs
	}
	return nil
}
