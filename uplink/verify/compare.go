package verify

import (
	"bytes"
	"errors"
	"io"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Comparison is what two lenders find who hold bundles of one log.
type Comparison struct {
	Log    evidence.LogID `json:"log"`
	Common uint64         `json:"common"` // leaves both hold
	Lo     uint64         `json:"lo"`     // the first and the last of them
	Hi     uint64         `json:"hi"`
	Agree  bool           `json:"agree"` // every common leaf is the same

	Reason *Reason            `json:"reason,omitempty"` // of the fork
	Proof  *bundle.FraudProof `json:"-"`                // of the fork, for anybody
}

// ErrOtherLog says that two bundles are of different logs.
var ErrOtherLog = errors.New("the two files are of different logs")

// ErrNotSigned says that two bundles differ where a leaf is not signed by the
// box, so that nothing is proved.
var ErrNotSigned = errors.New("the files differ in a leaf that the box did not sign: verify them first")

// Compare reads two bundles of one log side by side, in bounded memory, and
// looks for a leaf of which they hold different signed versions. key is the
// pinned key of the box. The bundles need not hold the same channels, and should
// have been verified: a leaf is looked at closely only where they differ.
func Compare(key evidence.PublicKey, a, b io.Reader) (Comparison, error) {
	ra, err := newLeafReader(a)
	if err != nil {
		return Comparison{}, err
	}
	rb, err := newLeafReader(b)
	if err != nil {
		return Comparison{}, err
	}
	c := Comparison{Log: ra.br.Header().Log, Agree: true}
	if rb.br.Header().Log != c.Log {
		return c, ErrOtherLog
	}
	for {
		switch errA, errB := ra.to(rb.n), rb.to(ra.n); {
		case errA == io.EOF || errB == io.EOF:
			return c, nil
		case errA != nil || errB != nil:
			return c, errors.Join(errA, errB)
		}
		if ra.n != rb.n {
			continue
		}
		if c.Common == 0 {
			c.Lo = ra.n
		}
		c.Common, c.Hi = c.Common+1, ra.n
		if ra.d.Hash() != rb.d.Hash() {
			return c.forked(key, ra, rb)
		}
		if err := ra.next(); err == io.EOF {
			return c, nil
		} else if err != nil {
			return c, err
		}
	}
}

// forked makes the proof of a difference.
func (c Comparison) forked(key evidence.PublicKey, a, b *leafReader) (Comparison, error) {
	meta := a.br.Header().Meta
	if other := b.br.Header().Meta; len(other.Rotations) > len(meta.Rotations) {
		meta = other
	}
	meta.Rotations = append(meta.Rotations, a.rotations...)
	p := &bundle.FraudProof{Meta: meta.Encode(), A: bytes.Clone(a.item), B: bytes.Clone(b.item)}
	r, err := Fork(key, *p)
	if err != nil {
		return c, errors.Join(ErrNotSigned, err)
	}
	c.Agree, c.Reason, c.Proof = false, &r, p
	return c, nil
}

// leafReader walks the leaves of a bundle.
type leafReader struct {
	br        *bundle.Reader
	item      []byte
	d         evidence.UnverifiedDelivery
	n         uint64
	rotations [][]byte // met on the way
}

func newLeafReader(r io.Reader) (*leafReader, error) {
	br, err := bundle.NewReader(r)
	if err != nil {
		return nil, err
	}
	l := &leafReader{br: br}
	if err := l.next(); err != nil && err != io.EOF {
		return nil, err
	} else if err == io.EOF {
		return nil, &canon.FormatError{Where: "bundle", Why: "holds no leaf"}
	}
	return l, nil
}

// next goes on to the next leaf; io.EOF at the end.
func (l *leafReader) next() (err error) {
	if l.d.Manifest.Rotation != nil {
		l.rotations = append(l.rotations, bytes.Clone(l.d.Sign1))
	}
	if l.item, err = l.br.Next(); err != nil {
		return err
	}
	if l.d, err = evidence.ParseDelivery(l.item); err != nil {
		return err
	}
	l.n = l.d.Manifest.N
	return nil
}

// to goes on to the first leaf at or behind n.
func (l *leafReader) to(n uint64) error {
	for l.n < n {
		if err := l.next(); err != nil {
			return err
		}
	}
	return nil
}
