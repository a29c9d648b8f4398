package verify

import (
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
)

// ErrNoFork says that two deliveries do not contradict each other.
var ErrNoFork = errors.New("the two leaves do not contradict each other")

// Fork checks a fraud proof under the pinned key of the box: nil error and a
// reason when the box signed both leaves and they cannot belong to one history.
// Errors are ErrNoFork, or why the proof proves nothing.
func Fork(key evidence.PublicKey, p bundle.FraudProof) (Reason, error) {
	v, err := New(key, p.Meta)
	if err != nil {
		return Reason{}, err
	}
	a, err := v.signed(p.A)
	if err != nil {
		return Reason{}, fmt.Errorf("first delivery: %w", err)
	}
	b, err := v.signed(p.B)
	if err != nil {
		return Reason{}, fmt.Errorf("second delivery: %w", err)
	}
	return contradiction(key.Suite(), &a, &b)
}

// signed parses a delivery of the log followed that its key signed, with an
// anchor only if it is the one that was signed.
func (v *Verifier) signed(delivery []byte) (evidence.UnverifiedDelivery, error) {
	d, err := evidence.ParseDelivery(delivery)
	switch {
	case err != nil:
		return d, err
	case d.Manifest.Log != v.log:
		return d, fmt.Errorf("leaf %d is of log %s, the proof is about log %s", d.Manifest.N, d.Manifest.Log, v.log)
	case !v.Signed(&d):
		return d, fmt.Errorf("leaf %d: %w", d.Manifest.N, evidence.ErrSignature)
	}
	if d.Anchor != nil && d.Anchor.Root(d.Suite()) != d.Manifest.Root {
		d.Anchor = nil
	}
	return d, nil
}

// contradiction compares two signed leaves of one log (SPEC.md section 10.1).
func contradiction(suite evidence.Suite, a, b *evidence.UnverifiedDelivery) (Reason, error) {
	n, m := a.Manifest.N, b.Manifest.N
	if n > m {
		return contradiction(suite, b, a)
	}
	if n == m && a.Hash() != b.Hash() {
		return newReason("second-leaf", n, a.Hash(), b.Hash()), nil
	}
	if a.Anchor == nil || n == m {
		return Reason{}, ErrNoFork
	}
	after := *a.Anchor
	after.Append(suite, a.Hash())
	switch {
	case m == n+1 && after.Root(suite) != b.Manifest.Root, b.Anchor != nil && after.Disagrees(*b.Anchor):
		return newReason("anchor-fork", n+1, m), nil
	}
	return Reason{}, ErrNoFork
}
