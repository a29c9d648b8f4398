package checkpoint

import (
	"fmt"
	"slices"

	"github.com/transparency-dev/merkle"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
)

// Prover makes the RFC 6962 consistency proof between two sizes of a log from
// the leaf hashes passing by, without a tree: it holds the compact range so
// far and the hashes of the proof, O(log n) in all. It may not be used from
// several goroutines.
type Prover struct {
	hasher merkle.LogHasher
	new    uint64
	nodes  proof.Nodes
	hashes [][]byte // of nodes.IDs, as far as known
	tree   *compact.Range
}

// NewProver proves from size old to size new. The leaves start after any
// earlier state of the log, of size from <= old, of which hashes is the compact
// range: the hashes of the perfect subtrees that the binary digits of from
// name, largest first. Size 0 has none, and old itself will do.
func NewProver(hasher merkle.LogHasher, from uint64, hashes [][32]byte, old, new uint64) (*Prover, error) {
	if from > old || old > new || new > maxSize {
		return nil, fmt.Errorf("prove consistency of sizes %d and %d: leaves from %d on cannot do it", old, new, from)
	}
	nodes, err := proof.Consistency(old, new)
	if err != nil {
		return nil, err
	}
	p := &Prover{hasher: hasher, new: new, nodes: nodes, hashes: make([][]byte, len(nodes.IDs))}
	start := make([][]byte, len(hashes))
	for i := range hashes {
		start[i] = slices.Clone(hashes[i][:])
	}
	f := &compact.RangeFactory{Hash: hasher.HashChildren}
	if p.tree, err = f.NewRange(0, from, start); err != nil {
		return nil, fmt.Errorf("prove consistency: compact range of size %d: %w", from, err)
	}
	for i, id := range compact.RangeNodes(0, from, nil) {
		p.keep(id, start[i])
	}
	return p, nil
}

// Append adds the hash of the next leaf, of index from at first.
func (p *Prover) Append(leaf [32]byte) error {
	if p.tree.End() == p.new {
		return fmt.Errorf("prove consistency: a leaf too many, expected %d", p.new)
	}
	return p.tree.Append(leaf[:], p.keep)
}

func (p *Prover) keep(id compact.NodeID, hash []byte) {
	if i := slices.Index(p.nodes.IDs, id); i >= 0 {
		p.hashes[i] = hash
	}
}

// Proof is the proof and the root of size new, once its last leaf is appended.
func (p *Prover) Proof() (hashes [][32]byte, root [32]byte, err error) {
	if p.tree.End() != p.new {
		return nil, root, fmt.Errorf("prove consistency: have leaves up to %d, expected %d", p.tree.End(), p.new)
	}
	hs, err := p.nodes.Rehash(slices.Clone(p.hashes), p.hasher.HashChildren)
	if err != nil {
		return nil, root, err
	}
	for _, h := range hs {
		hashes = append(hashes, [32]byte(h))
	}
	if p.new == 0 {
		return hashes, [32]byte(p.hasher.EmptyRoot()), nil
	}
	r, err := p.tree.GetRootHash(nil)
	if err != nil {
		return nil, root, err
	}
	return hashes, [32]byte(r), nil
}
