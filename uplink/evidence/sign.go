package evidence

import (
	"crypto/ed25519"
	"errors"
	"io"

	"github.com/veraison/go-cose"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

const signatureSize = 64 // of every suite

// ErrSignature says a COSE_Sign1 was not signed by the given key, or was
// changed since.
var ErrSignature = errors.New("the signature does not verify")

// Signer is a private key, wherever it is kept.
type Signer interface {
	// Public describes the key; it must not change during the life of a log
	// but by a rotation leaf.
	Public() KeyRecord
	// Sign returns the signature over message itself, not over a digest of it:
	// 64 bytes, for ES256 and SM2 r || s. The result belongs to the caller.
	Sign(message []byte) (signature []byte, err error)
}

// NewEd25519Signer signs with a key held in memory. custody says where it is
// kept at rest ("file"). Safe for concurrent use.
func NewEd25519Signer(key ed25519.PrivateKey, custody string) Signer {
	return &memorySigner{key: key, custody: custody}
}

type memorySigner struct {
	key     ed25519.PrivateKey
	custody string
}

func (s *memorySigner) Public() KeyRecord {
	return NewKeyRecord(Ed25519PublicKey(s.key.Public().(ed25519.PublicKey)), s.custody)
}

func (s *memorySigner) Sign(message []byte) ([]byte, error) { return ed25519.Sign(s.key, message), nil }

// Sign1 makes a tagged COSE_Sign1 over payload: protected header {1: alg}
// only, empty unprotected header.
func Sign1(s Signer, payload []byte) ([]byte, error) {
	alg := cose.Algorithm(s.Public().Alg)
	headers := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: alg}}
	return cose.Sign1(nil, coseSigner{alg, s}, headers, payload, nil)
}

// coseSigner is a Signer as go-cose wants it.
type coseSigner struct {
	alg cose.Algorithm
	s   Signer
}

func (c coseSigner) Algorithm() cose.Algorithm { return c.alg }

func (c coseSigner) Sign(_ io.Reader, content []byte) ([]byte, error) {
	sig, err := c.s.Sign(content)
	if err == nil && len(sig) != signatureSize {
		err = canon.Malformed("signature", "%d bytes, want %d", len(sig), signatureSize)
	}
	if err == nil && suiteOf(int64(c.alg)) == SuiteES256 {
		lowS(sig)
	}
	return sig, err
}

// UnverifiedSign1 is a COSE_Sign1 whose form has been checked and whose
// signature has not.
type UnverifiedSign1 struct {
	Payload []byte // what is signed; slice of what was parsed
	alg     int64
	sig     []byte // slice of what was parsed
}

// protectedHeaders are the accepted protected headers, by their bytes.
var protectedHeaders = map[string]int64{
	"\xa1\x01\x27":                 algEdDSA,
	"\xa1\x01\x32":                 algEd25519,
	"\xa1\x01\x26":                 algES256,
	"\xa1\x01\x28":                 algESP256,
	"\xa1\x01\x3a\x00\x01\x01\x07": algSM2,
}

// ParseSign1 accepts exactly: tag 18, array of 4, protected {1: alg} with
// an algorithm of SPEC.md section 15, empty unprotected map, payload, 64-byte
// signature, nothing after. The result aliases raw.
func ParseSign1(where string, raw []byte) (UnverifiedSign1, error) {
	r := canon.NewReader(where, raw)
	var e UnverifiedSign1
	if tag := r.Head(canon.Tag, "COSE_Sign1 tag 18"); r.Err() == nil && tag != cose.CBORTagSign1Message {
		r.Fail("tag %d, want 18 (COSE_Sign1)", tag)
	}
	if n := r.Head(canon.Array, "COSE_Sign1 array"); r.Err() == nil && n != 4 {
		r.Fail("COSE_Sign1 array of %d, want 4", n)
	}
	protected := r.Bytes("protected header")
	if n := r.Head(canon.Map, "unprotected header"); r.Err() == nil && n != 0 {
		r.Fail("unprotected header holds %d entries, want none", n)
	}
	e.Payload = r.Bytes("payload")
	e.sig = r.Bytes("signature")
	if err := r.End(); err != nil {
		return UnverifiedSign1{}, err
	}
	var ok bool
	if e.alg, ok = protectedHeaders[string(protected)]; !ok {
		return UnverifiedSign1{}, canon.Malformed(where, "protected header %x, want {1: algorithm} with -8, -19, -7, -9 or -65800", protected[:min(len(protected), 16)])
	}
	if len(e.sig) != signatureSize {
		return UnverifiedSign1{}, canon.Malformed(where, "signature of %d bytes, want %d", len(e.sig), signatureSize)
	}
	if len(e.Payload) > MaxPayload {
		return UnverifiedSign1{}, canon.Malformed(where, "payload of %d bytes, limit %d", len(e.Payload), MaxPayload)
	}
	return e, nil
}

// Suite is that of the algorithm it claims to be signed with.
func (e UnverifiedSign1) Suite() Suite { return suiteOf(e.alg) }

// VerifySignature returns nil when pub made the signature, with the algorithm of
// its suite, ErrSignature when it did not.
func (e UnverifiedSign1) VerifySignature(pub PublicKey) error {
	if e.Suite() != pub.suite {
		return ErrSignature
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.Algorithm(e.alg)}}
	msg := cose.Sign1Message{Headers: headers, Payload: e.Payload, Signature: e.sig}
	if err := msg.Verify(nil, coseVerifier{alg: cose.Algorithm(e.alg), pub: pub}); err != nil {
		return ErrSignature
	}
	return nil
}

// coseVerifier is a PublicKey as go-cose wants it, under any of the numbers of
// its algorithm.
type coseVerifier struct {
	alg cose.Algorithm
	pub PublicKey
}

func (v coseVerifier) Algorithm() cose.Algorithm { return v.alg }

func (v coseVerifier) Verify(content, signature []byte) error {
	if !v.pub.Verify(content, signature) {
		return ErrSignature
	}
	return nil
}
