package keyfile

import (
	"bytes"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/tallystick/tallystick/uplink/custody/suite"
)

// The reader nobody here wrote writes the same file, and each reads the
// other's, a key that begins with zeros too.
func TestSM2AsOthersWriteIt(t *testing.T) {
	short, err := sm2.NewPrivateKeyFromInt(big.NewInt(0x0102))
	if err != nil {
		t.Fatal(err)
	}
	any, err := suite.Generate(suite.SM2)
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []*sm2.PrivateKey{short, any.(*sm2.PrivateKey)} {
		ours, err := marshalPKCS8(key)
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := smx509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(ours, theirs) {
			t.Errorf("PKCS #8 of an SM2 key\n%x, expected\n%x", ours, theirs)
		}
		for _, der := range [][]byte{ours, withCurve(t, ours)} {
			if got, err := parsePKCS8(der); err != nil || !key.Equal(got) {
				t.Errorf("%x came back as %v, %v", der, got, err)
			}
		}
	}
}

// withCurve names the curve in the inner structure too, as some do.
func withCurve(t *testing.T, der []byte) []byte {
	t.Helper()
	var outer privateKeyInfo
	var inner ecPrivateKey
	if _, err := asn1.Unmarshal(der, &outer); err != nil {
		t.Fatal(err)
	}
	if _, err := asn1.Unmarshal(outer.Key, &inner); err != nil {
		t.Fatal(err)
	}
	inner.Curve = asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301}
	var err error
	if outer.Key, err = asn1.Marshal(inner); err != nil {
		t.Fatal(err)
	}
	if der, err = asn1.Marshal(outer); err != nil {
		t.Fatal(err)
	}
	return der
}

func FuzzParsePKCS8(f *testing.F) {
	for _, s := range []uint64{suite.Ed25519, suite.ES256, suite.SM2} {
		key, err := suite.Generate(s)
		if err != nil {
			f.Fatal(err)
		}
		der, err := marshalPKCS8(key)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(der)
		f.Add(slices.Concat(der, []byte{0}))
		f.Add(der[:len(der)-1])
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		key, err := parsePKCS8(der)
		if k, ok := key.(*sm2.PrivateKey); ok && err == nil {
			if _, _, err := suite.Public(k); err != nil {
				t.Errorf("%x: accepted, and yet %v", der, err)
			}
		}
	})
}
