package evidencetest

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"math/big"

	"github.com/emmansun/gmsm/sm2"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// SuiteSigner signs in any suite with a fixed key; different seeds (not 0) give
// different keys. ES256 signatures are deterministic (RFC 6979), SM2's are not.
func SuiteSigner(suite evidence.Suite, seed byte) evidence.Signer {
	switch secret := bytes.Repeat([]byte{seed}, 32); suite {
	case evidence.SuiteES256:
		key, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), secret)
		if err != nil {
			panic(err)
		}
		return &curveSigner{suite: suite, public: &key.PublicKey, sign: func(message []byte) ([]byte, error) {
			digest := sha256.Sum256(message)
			return key.Sign(nil, digest[:], crypto.SHA256)
		}}
	case evidence.SuiteSM2:
		key, err := sm2.NewPrivateKey(secret)
		if err != nil {
			panic(err)
		}
		return &curveSigner{suite: suite, public: &key.PublicKey, sign: func(message []byte) ([]byte, error) {
			return key.SignWithSM2(rand.Reader, []byte(evidence.SM2UserID), message)
		}}
	}
	return Signer(seed)
}

// curveSigner turns signatures in DER into those of COSE.
type curveSigner struct {
	suite  evidence.Suite
	public *ecdsa.PublicKey
	sign   func(message []byte) (der []byte, err error)
}

func (s *curveSigner) Public() evidence.KeyRecord {
	point := make([]byte, 64)
	s.public.X.FillBytes(point[:32])
	s.public.Y.FillBytes(point[32:])
	pub, err := evidence.NewPublicKey(s.suite, point)
	if err != nil {
		panic(err)
	}
	return evidence.NewKeyRecord(pub, "file")
}

func (s *curveSigner) Sign(message []byte) ([]byte, error) {
	der, err := s.sign(message)
	if err != nil {
		return nil, err
	}
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		return nil, err
	}
	raw := make([]byte, 64)
	sig.R.FillBytes(raw[:32])
	sig.S.FillBytes(raw[32:])
	return raw, nil
}
