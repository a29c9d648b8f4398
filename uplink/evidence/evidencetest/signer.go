package evidencetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"

	"github.com/emmansun/gmsm/sm2"

	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// SuiteSigner signs in any suite with a fixed key; different seeds (not 0) give
// different keys. ES256 signatures are deterministic (RFC 6979), SM2's are not.
func SuiteSigner(s evidence.Suite, seed byte) evidence.Signer {
	switch secret := bytes.Repeat([]byte{seed}, 32); s {
	case evidence.SuiteES256:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
		if err != nil {
			panic(err)
		}
		return curveSigner{key, func(message []byte) ([]byte, error) {
			digest := sha256.Sum256(message)
			der, err := key.Sign(nil, digest[:], crypto.SHA256)
			if err != nil {
				return nil, err
			}
			var sig struct{ R, S *big.Int }
			_, err = asn1.Unmarshal(der, &sig)
			return suite.Join(sig.R, sig.S), err
		}}
	case evidence.SuiteSM2:
		key, err := sm2.NewPrivateKey(secret)
		if err != nil {
			panic(err)
		}
		return curveSigner{key, func(message []byte) ([]byte, error) { return suite.Sign(key, message) }}
	}
	return Signer(seed)
}

// curveSigner is a key of suite 2 or 3 and how it signs.
type curveSigner struct {
	key  crypto.Signer
	sign func(message []byte) ([]byte, error)
}

func (c curveSigner) Public() evidence.KeyRecord {
	s, b, err := suite.Public(c.key)
	if err != nil {
		panic(err)
	}
	pub, err := evidence.NewPublicKey(evidence.Suite(s), b)
	if err != nil {
		panic(err)
	}
	return evidence.NewKeyRecord(pub, "file")
}

func (c curveSigner) Sign(message []byte) ([]byte, error) { return c.sign(message) }
