package assembly

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"

	"github.com/transparency-dev/merkle"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/witness"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// newNotary signs checkpoints of a log and shows them to the witnesses of the
// policy in a file that have an address there; an empty path is no policy.
func newNotary(log evidence.LogID, suite evidence.Suite, key ed25519.PrivateKey, path string) (agent.Notary, error) {
	n := &notary{origin: checkpoint.Origin(log), client: witness.NewClient(), sizes: map[string]uint64{}, hasher: checkpoint.SHA256()}
	if suite == evidence.SuiteSM2 {
		n.hasher = checkpoint.SM3()
	}
	signer, _, err := checkpoint.LogKey(n.origin, key)
	if err != nil {
		return nil, err
	}
	n.sign = func(c checkpoint.Checkpoint) ([]byte, error) { return checkpoint.Sign(c, signer) }
	run := func(ctx context.Context, head evidence.Anchor, suite evidence.Suite, source *history.Source) (agent.Cosigned, error) {
		return n.notarize(ctx, head, suite, source)
	}
	if path == "" {
		return run, nil
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	policy, err := checkpoint.ParsePolicy(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, w := range policy.Witnesses {
		if w.URL != "" {
			n.witnesses = append(n.witnesses, w)
		}
	}
	return run, nil
}

type notary struct {
	origin    string
	hasher    merkle.LogHasher
	sign      func(checkpoint.Checkpoint) ([]byte, error)
	client    *witness.Client
	witnesses []checkpoint.Witness
	sizes     map[string]uint64 // newest checkpoint each witness is known to have, by its name
}

// leaves is what a notary reads of the history (history.Source).
type leaves interface {
	Anchor(n uint64) (evidence.Anchor, error)
	Read(n uint64, dst []byte) ([]byte, error)
}

func (n *notary) notarize(ctx context.Context, head evidence.Anchor, suite evidence.Suite, source leaves) (c agent.Cosigned, err error) {
	signed, err := n.sign(checkpoint.Checkpoint{Origin: n.origin, Size: head.N, Root: head.Root(suite)})
	if err != nil {
		return c, err
	}
	var errs []error
	note := signed
	for _, w := range n.witnesses {
		cosigned, err := n.show(ctx, w, head.N, signed, source)
		if err != nil {
			errs = append(errs, fmt.Errorf("witness %s: %w", w.Name, err))
			continue
		}
		note = append(note, cosigned.Line...)
		c.Cosignatures = append(c.Cosignatures, cosigned.Bytes())
	}
	c.Note = string(note)
	return c, errors.Join(errs...)
}

// show has one witness cosign; a witness that knows another size than thought
// says so once.
func (n *notary) show(ctx context.Context, w checkpoint.Witness, size uint64, signed []byte, source leaves) (checkpoint.Cosignature, error) {
	var conflict *witness.Conflict
	for try := 0; ; try++ {
		old := n.sizes[w.Name]
		proof, err := n.prove(old, size, source)
		if err != nil {
			return checkpoint.Cosignature{}, fmt.Errorf("prove size %d from %d: %w", size, old, err)
		}
		c, err := n.client.Cosign(ctx, w, old, proof, signed)
		if try == 0 && errors.As(err, &conflict) && conflict.Size <= size {
			n.sizes[w.Name] = conflict.Size
			continue
		}
		if err == nil {
			n.sizes[w.Name] = size
		}
		return c, err
	}
}

// prove is the consistency proof from old to size, from the leaves between.
func (n *notary) prove(old, size uint64, source leaves) ([][32]byte, error) {
	if old == 0 || old == size {
		return nil, nil
	}
	anchor, err := source.Anchor(old)
	if err != nil {
		return nil, err
	}
	hashes := make([][32]byte, len(anchor.Hashes))
	for i, h := range anchor.Hashes {
		hashes[i] = h
	}
	p, err := checkpoint.NewProver(n.hasher, old, hashes, old, size)
	if err != nil {
		return nil, err
	}
	var rec []byte
	for i := old; i < size; i++ {
		if rec, err = source.Read(i, rec[:0]); err != nil {
			return nil, err
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			return nil, err
		}
		if err := p.Append(d.Hash()); err != nil {
			return nil, err
		}
	}
	proof, _, err := p.Proof()
	return proof, err
}
