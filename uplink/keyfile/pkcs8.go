package keyfile

import (
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"slices"

	"github.com/emmansun/gmsm/sm2"

	"github.com/tallystick/tallystick/uplink/custody/suite"
)

// The standard library knows every key of ours in PKCS #8 but SM2, and the
// package of gmsm that does (smx509) brings half a megabyte of algorithms
// nobody here uses, resident on a box of 64 MB. So SM2 is wrapped here.

// privateKeyInfo is PrivateKeyInfo of RFC 5208, section 5.
type privateKeyInfo struct {
	Version   int
	Algorithm pkix.AlgorithmIdentifier
	Key       []byte // an ecPrivateKey
}

// ecPrivateKey is ECPrivateKey of RFC 5915, section 3.
type ecPrivateKey struct {
	Version int
	D       []byte                // 32 bytes, most significant first
	Curve   asn1.ObjectIdentifier `asn1:"optional,explicit,tag:0"`
	Public  asn1.BitString        `asn1:"optional,explicit,tag:1"` // uncompressed
}

func sm2Algorithm() (pkix.AlgorithmIdentifier, error) {
	curve, err := asn1.Marshal(asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301}) // GM/T 0006-2012: sm2
	return pkix.AlgorithmIdentifier{
		Algorithm:  asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, // RFC 5480, section 2.1.1: id-ecPublicKey
		Parameters: asn1.RawValue{FullBytes: curve},
	}, err
}

func marshalPKCS8(key crypto.Signer) ([]byte, error) {
	k, ok := key.(*sm2.PrivateKey)
	if !ok {
		return x509.MarshalPKCS8PrivateKey(key)
	}
	algorithm, err := sm2Algorithm()
	if err != nil {
		return nil, err
	}
	_, public, err := suite.Public(k)
	if err != nil {
		return nil, err
	}
	point := append([]byte{4}, public...) // SEC 1, section 2.3.3
	inner, err := asn1.Marshal(ecPrivateKey{Version: 1, D: k.D.FillBytes(make([]byte, 32)), Public: asn1.BitString{Bytes: point, BitLength: 8 * len(point)}})
	if err != nil {
		return nil, err
	}
	return asn1.Marshal(privateKeyInfo{Algorithm: algorithm, Key: inner})
}

// parsePKCS8 is total on any input.
func parsePKCS8(der []byte) (any, error) {
	algorithm, err := sm2Algorithm()
	if err != nil {
		return nil, err
	}
	var info privateKeyInfo
	rest, err := asn1.Unmarshal(der, &info)
	if err != nil || !info.Algorithm.Algorithm.Equal(algorithm.Algorithm) || !slices.Equal(info.Algorithm.Parameters.FullBytes, algorithm.Parameters.FullBytes) {
		return x509.ParsePKCS8PrivateKey(der)
	}
	var inner ecPrivateKey
	after, err := asn1.Unmarshal(info.Key, &inner)
	if err != nil {
		return nil, err
	}
	if len(rest)+len(after) > 0 || inner.Version != 1 || len(inner.D) != 32 {
		return nil, errors.New("not an SM2 key as RFC 5915 has it")
	}
	return sm2.NewPrivateKey(inner.D)
}
