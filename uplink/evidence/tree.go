package evidence

import (
	"math/bits"

	"github.com/transparency-dev/merkle/compact"
)

// Anchor is the RFC 6962 compact range of leaves 0..N-1: the hashes of the
// perfect subtrees they fall into, largest first. It is all a reader needs of
// the past to check the history root of leaf N and of every leaf after it.
// The zero Anchor is the empty log. Its hashes are of the log's suite, which
// methods that hash are told.
type Anchor struct {
	_      struct{} `cbor:",toarray"`
	N      uint64
	Hashes []Hash // one for each 1 bit of N
}

// Valid reports whether the number of hashes fits N.
func (a Anchor) Valid() bool { return len(a.Hashes) == bits.OnesCount64(a.N) }

// Root is the Merkle tree hash of leaves 0..N-1 (of the empty string for
// N = 0). The result for an anchor that is not Valid means nothing.
func (a Anchor) Root(s Suite) Hash {
	if !a.Valid() || a.N == 0 {
		return s.Sum(nil)
	}
	root, err := a.compactRange(s).GetRootHash(nil)
	if err != nil {
		panic(err) // a range from 0 always has a root
	}
	return Hash(root)
}

// Append adds the leaf with index N. a must be Valid; its hashes are replaced,
// not overwritten, so copies of a keep their value.
func (a *Anchor) Append(s Suite, leaf Hash) {
	r := a.compactRange(s)
	if err := r.Append(leaf[:], nil); err != nil {
		panic(err) // impossible for a valid range
	}
	a.N++
	a.Hashes = make([]Hash, len(r.Hashes()))
	for i, h := range r.Hashes() {
		a.Hashes[i] = Hash(h)
	}
}

func (a Anchor) compactRange(s Suite) *compact.Range {
	f := &compact.RangeFactory{Hash: s.nodeHash}
	hashes := make([][]byte, len(a.Hashes), len(a.Hashes)+1)
	for i := range a.Hashes {
		hashes[i] = a.Hashes[i][:]
	}
	r, err := f.NewRange(0, a.N, hashes)
	if err != nil {
		panic(err) // callers check Valid where the hashes come from outside
	}
	return r
}

// Sizes are the numbers of leaves under each of the hashes of a Valid anchor.
func (a Anchor) Sizes() (sizes []uint64) {
	for i := 63; i >= 0; i-- {
		if size := uint64(1) << i; a.N&size != 0 {
			sizes = append(sizes, size)
		}
	}
	return sizes
}

// Disagrees reports whether a and b cannot belong to one history: they hold
// different hashes for the same subtree. False does not prove they agree.
func (a Anchor) Disagrees(b Anchor) bool {
	if !a.Valid() || !b.Valid() {
		return true
	}
	ids := make(map[compact.NodeID]Hash, len(a.Hashes))
	for i, id := range compact.RangeNodes(0, a.N, nil) {
		ids[id] = a.Hashes[i]
	}
	for i, id := range compact.RangeNodes(0, b.N, nil) {
		if h, ok := ids[id]; ok && h != b.Hashes[i] {
			return true
		}
	}
	return false
}

// leafHash and nodeHash are those of RFC 6962 section 2.1, with the suite's
// hash.
func (s Suite) leafHash(payload []byte) Hash {
	return s.Sum(append([]byte{leafTag}, payload...))
}

func (s Suite) nodeHash(left, right []byte) []byte {
	b := make([]byte, 0, 65)
	b = append(append(append(b, nodeTag), left...), right...)
	h := s.Sum(b)
	return h[:]
}
