// Package suite knows the three signature suites of evidence: which hash, which
// curve, how a public key and a signature are written. It verifies, and signs
// with keys held in memory; it opens no file and no device.
//
//	1  SHA-256 and Ed25519          RFC 8032
//	2  SHA-256 and ES256            FIPS 186-5, RFC 9053 section 2.1
//	3  SM3 and SM2                  GB/T 32905-2016, GB/T 32918.2-2016
//
// A public key is 32 bytes in suite 1, and x||y of 64 bytes in suites 2 and 3
// (the uncompressed point of SEC 1 section 2.3.3 without its 04). A signature is
// 64 bytes: RFC 8032's own form in suite 1, r||s big-endian in suites 2 and 3.
//
// In suite 2 whoever sees a signature can write a second one, r||n-s. Chips make
// either, and both verify here; the evidence takes the lower s only. And any
// signer can sign twice: a signature names nothing, compare what was signed.
package suite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/sm3"
)

// The suites, as their numbers stand in the evidence.
const (
	Ed25519 uint64 = 1
	ES256   uint64 = 2
	SM2     uint64 = 3
)

const (
	scalar  = 32         // bytes of r, s, x or y
	sigSize = 2 * scalar // bytes of every signature
)

// Sum is the suite's hash of data, and false for an unknown suite.
func Sum(suite uint64, data []byte) (digest [32]byte, ok bool) {
	switch suite {
	case Ed25519, ES256:
		return sha256.Sum256(data), true
	case SM2:
		return sm3.Sum(data), true
	}
	return digest, false
}

// Verify reports whether sig is the suite's signature over message by the
// holder of pub. False for an unknown suite, a key of another length or not on
// the curve, and a signature in another form; it panics on no input.
func Verify(suite uint64, pub, message, sig []byte) bool {
	switch suite {
	case Ed25519:
		return len(pub) == ed25519.PublicKeySize && ed25519.Verify(pub, message, sig)
	case ES256:
		return VerifyES256(pub, message, sig)
	case SM2:
		return VerifySM2(pub, message, sig)
	}
	return false
}

// VerifyES256 is Verify for suite 2.
func VerifyES256(pub, message, sig []byte) bool {
	r, s, ok := split(sig, elliptic.P256().Params().N)
	if !ok {
		return false
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point(pub))
	if err != nil {
		return false
	}
	digest := sha256.Sum256(message)
	return ecdsa.Verify(key, digest[:], r, s)
}

// VerifySM2 is Verify for suite 3. The user id is 1234567812345678, the
// default of GM/T 0009-2023 chapter 7.
func VerifySM2(pub, message, sig []byte) bool {
	r, s, ok := split(sig, sm2.P256().Params().N)
	if !ok {
		return false
	}
	key, err := sm2.ParseUncompressedPublicKey(point(pub))
	if err != nil {
		return false
	}
	return sm2.VerifyWithSM2(key, nil, message, r, s)
}

// CheckPublic says why pub is no public key of the suite.
func CheckPublic(suite uint64, pub []byte) error {
	var err error
	switch suite {
	case Ed25519:
		if len(pub) != ed25519.PublicKeySize {
			err = fmt.Errorf("%d bytes, expected %d", len(pub), ed25519.PublicKeySize)
		} else if !onEdwards25519(pub) {
			err = errors.New("not a point of edwards25519")
		}
	case ES256:
		_, err = ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point(pub))
	case SM2:
		_, err = sm2.ParseUncompressedPublicKey(point(pub))
	default:
		return fmt.Errorf("signature suite %d, expected 1, 2 or 3", suite)
	}
	if err != nil {
		return fmt.Errorf("public key of suite %d: %w", suite, err)
	}
	return nil
}

// onEdwards25519 reports whether RFC 8032 section 5.1.3 decodes b to a point;
// crypto/ed25519 does not say so of a key before a signature is at hand.
func onEdwards25519(b []byte) bool {
	little := slices.Clone(b)
	slices.Reverse(little)
	sign := little[0] >> 7
	little[0] &= 0x7f
	one := big.NewInt(1)
	p := new(big.Int).Sub(new(big.Int).Lsh(one, 255), big.NewInt(19))
	y := new(big.Int).SetBytes(little)
	if y.Cmp(p) >= 0 {
		return false
	}
	// x² = (y² - 1) / (d y² + 1), d = -121665 / 121666: multiplied out, so that
	// only whether the quotient is a square is asked.
	yy := new(big.Int).Mul(y, y)
	u := new(big.Int).Mul(new(big.Int).Sub(yy, one), big.NewInt(121666))
	v := new(big.Int).Sub(big.NewInt(121666), new(big.Int).Mul(yy, big.NewInt(121665)))
	square := new(big.Int).Mul(u, v)
	switch big.Jacobi(square.Mod(square, p), p) {
	case 1:
		return true
	case 0: // x = 0 has one sign
		return sign == 0
	}
	return false
}

// split returns the two halves of a signature if both are in 1..n-1.
func split(sig []byte, n *big.Int) (r, s *big.Int, ok bool) {
	if len(sig) != sigSize {
		return nil, nil, false
	}
	r, s = new(big.Int).SetBytes(sig[:scalar]), new(big.Int).SetBytes(sig[scalar:])
	return r, s, inRange(r, n) && inRange(s, n)
}

func inRange(v, n *big.Int) bool { return v.Sign() > 0 && v.Cmp(n) < 0 }

// Join writes the two numbers of a signature as r||s. They must be below 2^256.
func Join(r, s *big.Int) []byte {
	sig := make([]byte, sigSize)
	r.FillBytes(sig[:scalar])
	s.FillBytes(sig[scalar:])
	return sig
}

// point puts SEC 1's "uncompressed" in front of x||y.
func point(xy []byte) []byte { return append([]byte{4}, xy...) }

// Generate makes a key of the suite: an ed25519.PrivateKey, an
// *ecdsa.PrivateKey on P-256 or an *sm2.PrivateKey.
func Generate(suite uint64) (crypto.Signer, error) {
	switch suite {
	case Ed25519:
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case ES256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case SM2:
		return sm2.GenerateKey(rand.Reader)
	}
	return nil, fmt.Errorf("signature suite %d, expected 1, 2 or 3", suite)
}

// Public returns the suite of a key made by Generate, or of its equal from a
// file, and its public half. A key of no suite is an error that names its type.
func Public(key crypto.Signer) (suite uint64, pub []byte, err error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return Ed25519, k.Public().(ed25519.PublicKey), nil
	case *ecdsa.PrivateKey:
		if k.Curve == elliptic.P256() {
			pub, err = k.PublicKey.Bytes()
			if err != nil {
				return 0, nil, err
			}
			return ES256, pub[1:], nil
		}
		return 0, nil, fmt.Errorf("an ECDSA key on %s, expected P-256", k.Curve.Params().Name)
	case *sm2.PrivateKey:
		return SM2, Join(k.X, k.Y), nil
	}
	return 0, nil, fmt.Errorf("a %T, expected an Ed25519, P-256 or SM2 key", key)
}

// Sign signs message with a key that Public accepts. Safe for concurrent use.
func Sign(key crypto.Signer, message []byte) ([]byte, error) {
	switch k := key.(type) {
	case ed25519.PrivateKey:
		return ed25519.Sign(k, message), nil
	case *ecdsa.PrivateKey:
		digest := sha256.Sum256(message)
		r, s, err := ecdsa.Sign(rand.Reader, k, digest[:])
		if err != nil {
			return nil, err
		}
		return Join(r, s), nil
	case *sm2.PrivateKey:
		// sm2.SignWithSM2 returns the two numbers, but inverts d+1 for each
		// signature; the key's own method keeps the inverse.
		der, err := k.Sign(rand.Reader, message, sm2.DefaultSM2SignerOpts)
		if err != nil {
			return nil, err
		}
		var sig struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(der, &sig); err != nil {
			return nil, err
		}
		return Join(sig.R, sig.S), nil
	}
	return nil, fmt.Errorf("sign with a %T, expected an Ed25519, P-256 or SM2 key", key)
}
