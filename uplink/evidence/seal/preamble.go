package seal

import (
	"fmt"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// preamble is the resumable state of a Writer.
type preamble struct {
	_          struct{} `cbor:",toarray"`
	Version    uint64
	Tree       evidence.Anchor
	Seqs       map[evidence.Channel]uint64
	Genesis    []byte // COSE_Sign1, empty before the genesis leaf
	Dictionary []byte // COSE_Sign1 of the leaf in force, empty when that is the genesis
	Rotations  [][]byte
}

func decodePreamble(b []byte) (preamble, error) {
	const where = "log preamble"
	var p preamble
	if err := canon.Unmarshal(where, b, &p); err != nil {
		return preamble{}, err
	}
	switch {
	case p.Version != evidence.Version:
		return preamble{}, fmt.Errorf("%s: version %d: %w", where, p.Version, evidence.ErrVersion)
	case !p.Tree.Valid():
		return preamble{}, canon.Malformed(where, "%d hashes do not fit %d leaves", len(p.Tree.Hashes), p.Tree.N)
	case (len(p.Genesis) == 0) != (p.Tree.N == 0):
		return preamble{}, canon.Malformed(where, "%d leaves and a genesis leaf of %d bytes", p.Tree.N, len(p.Genesis))
	}
	if p.Seqs == nil {
		p.Seqs = map[evidence.Channel]uint64{}
	}
	return p, nil
}

// Anchor returns the state of the tree a preamble holds: the anchor for the
// first record of its segment.
func Anchor(stored []byte) (evidence.Anchor, error) {
	p, err := decodePreamble(stored)
	return p.Tree, err
}

// Meta returns the signed leaves a preamble holds, with the dictionary in force
// at the start of its segment; all are nil for a segment that begins with the
// genesis leaf.
func Meta(stored []byte) (evidence.Meta, error) {
	p, err := decodePreamble(stored)
	if err != nil || len(p.Genesis) == 0 {
		return evidence.Meta{}, err
	}
	m := evidence.Meta{Genesis: p.Genesis, Dictionary: p.Dictionary, Rotations: p.Rotations}
	if len(p.Dictionary) == 0 {
		m.Dictionary = p.Genesis
	}
	return m, nil
}
