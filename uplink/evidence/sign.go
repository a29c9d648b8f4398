package evidence

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/veraison/go-cose"
)

// COSE algorithm numbers for Ed25519: the polymorphic one (RFC 9053) that is
// written, and the fully specified one (RFC 9864) that is also read.
const (
	algEdDSA   = -8
	algEd25519 = -19
)

// ErrSignature says a COSE_Sign1 was not signed by the given key, or was
// changed since.
var ErrSignature = errors.New("the signature does not verify")

// Signer signs leaf payloads with the box's key.
type Signer interface {
	// Public describes the key; it must not change during the life of a log.
	Public() KeyRecord
	// Sign returns a tagged COSE_Sign1 over payload: protected header {1: alg}
	// only, empty unprotected header. The result belongs to the caller.
	Sign(payload []byte) (sign1 []byte, err error)
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
	return KeyRecord{Alg: algEdDSA, Public: s.key.Public().(ed25519.PublicKey), Custody: s.custody}
}

func (s *memorySigner) Sign(payload []byte) ([]byte, error) { return sign1(s.key, payload) }

func sign1(key ed25519.PrivateKey, payload []byte) ([]byte, error) {
	signer, err := cose.NewSigner(cose.AlgorithmEdDSA, key)
	if err != nil {
		return nil, err
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.AlgorithmEdDSA}}
	return cose.Sign1(nil, signer, headers, payload, nil)
}

// envelope is a COSE_Sign1 whose form has been checked and whose signature
// has not.
type envelope struct {
	raw     []byte
	alg     int64
	payload []byte // slice of raw
	sig     []byte // slice of raw
}

// parseEnvelope accepts exactly: tag 18, array of 4, protected {1: -8} or
// {1: -19}, empty unprotected map, payload, 64-byte signature, nothing after.
func parseEnvelope(where string, raw []byte) (envelope, error) {
	r := reader{where: where, b: raw}
	e := envelope{raw: raw}
	if tag := r.head(majorTag, "COSE_Sign1 tag 18"); r.err == nil && tag != cose.CBORTagSign1Message {
		r.fail("tag %d, want 18 (COSE_Sign1)", tag)
	}
	if n := r.head(majorArray, "COSE_Sign1 array"); r.err == nil && n != 4 {
		r.fail("COSE_Sign1 array of %d, want 4", n)
	}
	protected := r.bytes("protected header")
	if n := r.head(majorMap, "unprotected header"); r.err == nil && n != 0 {
		r.fail("unprotected header holds %d entries, want none", n)
	}
	e.payload = r.bytes("payload")
	e.sig = r.bytes("signature")
	if err := r.end(); err != nil {
		return envelope{}, err
	}
	switch {
	case bytes.Equal(protected, []byte{0xa1, 0x01, 0x27}):
		e.alg = algEdDSA
	case bytes.Equal(protected, []byte{0xa1, 0x01, 0x32}):
		e.alg = algEd25519
	default:
		return envelope{}, malformed(where, "protected header %x, want {1: -8} or {1: -19}", protected[:min(len(protected), 16)])
	}
	if len(e.sig) != ed25519.SignatureSize {
		return envelope{}, malformed(where, "signature of %d bytes, want %d", len(e.sig), ed25519.SignatureSize)
	}
	if len(e.payload) > MaxPayload {
		return envelope{}, malformed(where, "payload of %d bytes, limit %d", len(e.payload), MaxPayload)
	}
	return e, nil
}

// verify reports ErrSignature unless pub made the signature.
func (e envelope) verify(pub ed25519.PublicKey) error {
	if len(pub) != ed25519.PublicKeySize {
		return malformed("public key", "%d bytes, want %d", len(pub), ed25519.PublicKeySize)
	}
	headers := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.Algorithm(e.alg)}}
	msg := cose.Sign1Message{Headers: headers, Payload: e.payload, Signature: e.sig}
	if err := msg.Verify(nil, ed25519Verifier{alg: cose.Algorithm(e.alg), pub: pub}); err != nil {
		return ErrSignature
	}
	return nil
}

// ed25519Verifier is go-cose's verifier under either algorithm number.
type ed25519Verifier struct {
	alg cose.Algorithm
	pub ed25519.PublicKey
}

func (v ed25519Verifier) Algorithm() cose.Algorithm { return v.alg }

func (v ed25519Verifier) Verify(content, signature []byte) error {
	if !ed25519.Verify(v.pub, content, signature) {
		return ErrSignature
	}
	return nil
}

const keyPrefix = "ed25519:"

// FormatPublicKey writes a public key the way configuration files hold it:
// "ed25519:" and 43 characters of unpadded base64url.
func FormatPublicKey(pub ed25519.PublicKey) string {
	return keyPrefix + base64.RawURLEncoding.EncodeToString(pub)
}

// ParsePublicKey reads what FormatPublicKey writes, and nothing else.
func ParsePublicKey(s string) (ed25519.PublicKey, error) {
	rest, ok := strings.CutPrefix(s, keyPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || err != nil || len(b) != ed25519.PublicKeySize || FormatPublicKey(b) != s {
		return nil, malformed("public key", "%.60q, want %q and 43 characters of base64url", s, keyPrefix)
	}
	return b, nil
}
