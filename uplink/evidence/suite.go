package evidence

import (
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"math/big"
	"strings"

	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Suite is a pair of hash and signature that a log keeps for life (SPEC.md
// section 15). It is fixed by the key record of the genesis leaf.
type Suite uint64

const (
	SuiteEd25519 Suite = 1 // SHA-256, Ed25519 (RFC 8032)
	SuiteES256   Suite = 2 // SHA-256, ECDSA on P-256 (FIPS 186-5), s in its lower half
	SuiteSM2     Suite = 3 // SM3 (GB/T 32905), SM2 (GB/T 32918) with SM2UserID
)

// SM2UserID is the signer's distinguishing identifier that every SM2 signature
// here is made with; it also stands in the key record.
const SM2UserID = "1234567812345678"

// COSE algorithm numbers (RFC 9053, RFC 9864; SM2 from the private range). The
// first of a suite is written, all are read.
const (
	algEdDSA   = -8
	algEd25519 = -19
	algES256   = -7
	algESP256  = -9
	algSM2     = -65800
)

func (s Suite) known() bool { return s >= SuiteEd25519 && s <= SuiteSM2 }

// alg is the COSE algorithm a suite is written with.
func (s Suite) alg() int64 {
	return map[Suite]int64{SuiteEd25519: algEdDSA, SuiteES256: algES256, SuiteSM2: algSM2}[s]
}

// suiteOf is the suite a COSE algorithm belongs to, 0 for none.
func suiteOf(alg int64) Suite {
	switch alg {
	case algEdDSA, algEd25519:
		return SuiteEd25519
	case algES256, algESP256:
		return SuiteES256
	case algSM2:
		return SuiteSM2
	}
	return 0
}

// Sum is the suite's hash of b.
func (s Suite) Sum(b []byte) Hash {
	h, ok := suite.Sum(uint64(s), b)
	if !ok {
		panic("hash of an unknown suite") // parsers refuse them
	}
	return h
}

// NonceHash is how a window names an outstanding nonce (SPEC.md section 9.1).
func (s Suite) NonceHash(nonce []byte) NonceHash {
	h := s.Sum(append([]byte{nonceTag}, nonce...))
	return NonceHash(h[:len(NonceHash{})])
}

// NonceHash is the first 16 bytes of H(0x02 || nonce).
type NonceHash [16]byte

// Prefixes of what is hashed; 0 and 1 are RFC 6962's.
const (
	leafTag  = 0
	nodeTag  = 1
	nonceTag = 2
)

// prefix is how public keys of a suite begin in files, and size their bytes.
func (s Suite) prefix() string {
	return map[Suite]string{SuiteEd25519: "ed25519:", SuiteES256: "es256:", SuiteSM2: "sm2:"}[s]
}

func (s Suite) keySize() int {
	if s == SuiteEd25519 {
		return ed25519.PublicKeySize
	}
	return 64
}

// PublicKey is a key that signs a log, a claim or a receipt. It can be compared;
// the zero value is no key.
type PublicKey struct {
	suite Suite
	b     [64]byte // suite 1: 32 bytes; 2 and 3: x || y
}

// NewPublicKey takes the bytes of a key record: 32 for Ed25519, x || y (64) for
// the others, which must be a point of the curve.
func NewPublicKey(s Suite, b []byte) (PublicKey, error) {
	const where = "public key"
	if !s.known() || len(b) != s.keySize() {
		return PublicKey{}, canon.Malformed(where, "%d bytes for suite %d", len(b), s)
	}
	k := PublicKey{suite: s}
	copy(k.b[:], b)
	if k.b == ([64]byte{}) {
		return PublicKey{}, canon.Malformed(where, "all bytes are zero")
	}
	if err := suite.CheckPublic(uint64(s), b); err != nil {
		return PublicKey{}, canon.Malformed(where, "%v", err)
	}
	return k, nil
}

// Ed25519PublicKey is a key of suite 1.
func Ed25519PublicKey(pub ed25519.PublicKey) PublicKey {
	k := PublicKey{suite: SuiteEd25519}
	copy(k.b[:], pub)
	return k
}

// Suite is the suite the key signs with; 0 for the zero key.
func (k PublicKey) Suite() Suite { return k.suite }

// IsZero reports whether k is no key.
func (k PublicKey) IsZero() bool { return k.suite == 0 }

// Bytes are those of the key record; the caller may change them.
func (k PublicKey) Bytes() []byte { return append([]byte(nil), k.b[:k.suite.keySize()]...) }

// String is the form configuration files hold: the suite's name, a colon and
// unpadded base64url (43 or 86 characters).
func (k PublicKey) String() string {
	if k.IsZero() {
		return "none"
	}
	return k.suite.prefix() + base64.RawURLEncoding.EncodeToString(k.b[:k.suite.keySize()])
}

// MarshalText makes a PublicKey a JSON string.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// ParsePublicKey reads what PublicKey.String writes, and nothing else.
func ParsePublicKey(text string) (PublicKey, error) {
	for s := SuiteEd25519; s.known(); s++ {
		rest, ok := strings.CutPrefix(text, s.prefix())
		if !ok {
			continue
		}
		b, err := base64.RawURLEncoding.Strict().DecodeString(rest)
		if err != nil || len(b) != s.keySize() {
			break
		}
		k, err := NewPublicKey(s, b)
		if err == nil && k.String() != text {
			break // the decoder overlooks line feeds
		}
		return k, err
	}
	return PublicKey{}, canon.Malformed("public key", "%.60q, want ed25519:, es256: or sm2: and 43 or 86 characters of base64url", text)
}

// Verify reports whether sig, in the form COSE carries, was made over message
// by k. Each signature has one accepted form.
func (k PublicKey) Verify(message, sig []byte) bool {
	if len(sig) != signatureSize || k.IsZero() {
		return false
	}
	if k.suite == SuiteES256 && new(big.Int).SetBytes(sig[32:]).Cmp(halfP256()) > 0 {
		return false
	}
	return suite.Verify(uint64(k.suite), k.b[:k.suite.keySize()], message, sig)
}

// halfP256 is half the order of P-256, rounded down: of the two values s that
// verify, the smaller is the one accepted.
func halfP256() *big.Int { return new(big.Int).Rsh(elliptic.P256().Params().N, 1) }

// lowS replaces s by n-s where that is smaller.
func lowS(sig []byte) {
	s := new(big.Int).SetBytes(sig[32:])
	if s.Cmp(halfP256()) > 0 {
		s.Sub(elliptic.P256().Params().N, s).FillBytes(sig[32:])
	}
}
