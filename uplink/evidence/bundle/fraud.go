package bundle

import (
	"bytes"
	"fmt"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// FraudProof is a file that shows two histories of one log to anybody who has
// the box's public key (SPEC.md section 10.1). Nothing in it is believed
// before package verify has checked it.
type FraudProof struct {
	Meta []byte // the meta message
	A, B []byte // deliveries, with or without blocks and anchors; A's index is not above B's
}

const fraudMagic = "tally-fraud"

// Encode is the content of the file.
func (p *FraudProof) Encode() []byte {
	b := canon.AppendHead(nil, canon.Array, 5)
	b = append(canon.AppendHead(b, canon.Text, uint64(len(fraudMagic))), fraudMagic...)
	b = canon.AppendHead(b, canon.Uint, version)
	return canon.AppendBytes(canon.AppendBytes(canon.AppendBytes(b, p.Meta), p.A), p.B)
}

// IsFraudProof reports whether a file that begins with start is meant as one.
func IsFraudProof(start []byte) bool {
	return bytes.HasPrefix(start, append([]byte{0x85, canon.Text<<5 | byte(len(fraudMagic))}, fraudMagic...))
}

// ParseFraudProof takes a file apart. The result aliases b.
func ParseFraudProof(b []byte) (FraudProof, error) {
	const where = "fraud proof"
	if !IsFraudProof(b) {
		return FraudProof{}, canon.Malformed(where, "does not begin like one")
	}
	r := canon.NewReader(where, b[2+len(fraudMagic):])
	if v := r.Head(canon.Uint, "version"); r.Err() == nil && v != version {
		return FraudProof{}, fmt.Errorf("fraud proof of version %d, this is version %d: %w", v, version, evidence.ErrVersion)
	}
	p := FraudProof{Meta: r.Bytes("meta message"), A: r.Bytes("first delivery"), B: r.Bytes("second delivery")}
	return p, r.End()
}
