package tpm

import (
	"bytes"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-tpm/tpm2"

	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

// public is a public area as a TPM would make it, and its x||y.
func public(t testing.TB, p purpose, change func(*tpm2.TPMTPublic)) (area, pub []byte) {
	t.Helper()
	key, err := suite.Generate(suite.ES256)
	if err != nil {
		t.Fatal(err)
	}
	_, pub, err = suite.Public(key)
	if err != nil {
		t.Fatal(err)
	}
	template := p.template()
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
		X: tpm2.TPM2BECCParameter{Buffer: pub[:32]}, Y: tpm2.TPM2BECCParameter{Buffer: pub[32:]}})
	if change != nil {
		change(&template)
	}
	return tpm2.Marshal(tpm2.New2B(template)), pub
}

func wrap(area []byte) wrapped {
	return wrapped{Type: loadableKey, EmptyAuth: true, Parent: int64(tpm2.TPMRHOwner), Public: area, Private: []byte{0, 3, 1, 2, 3}}
}

func encode(t testing.TB, w wrapped) []byte {
	t.Helper()
	der, err := asn1.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func TestPurposes(t *testing.T) {
	for _, p := range []purpose{signing, attesting} {
		area, want := public(t, p, nil)
		b, err := parseWrapped(encode(t, wrap(area)))
		if err != nil {
			t.Fatal(err)
		}
		contents, err := b.public.Contents()
		if err != nil {
			t.Fatal(err)
		}
		if pub, err := p.check(contents); err != nil || !bytes.Equal(pub, want) || !bytes.Equal(b.private.Buffer, []byte{1, 2, 3}) {
			t.Fatalf("%s: %x, %v; want %x", p, pub, err, want)
		}
		other := map[purpose]purpose{signing: attesting, attesting: signing}[p]
		if _, err := other.check(contents); err == nil {
			t.Fatalf("a %s passes as %s", p, other)
		}
	}
}

// None of these reaches a TPM.
func TestUnusableFiles(t *testing.T) {
	good, _ := public(t, signing, nil)
	movable, _ := public(t, signing, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.FixedTPM = false })
	imported, _ := public(t, signing, func(p *tpm2.TPMTPublic) { p.ObjectAttributes.SensitiveDataOrigin = false })
	offCurve, _ := public(t, signing, func(p *tpm2.TPMTPublic) {
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: []byte{1}}, Y: tpm2.TPM2BECCParameter{Buffer: []byte{1}}})
	})
	long, _ := public(t, signing, func(p *tpm2.TPMTPublic) {
		p.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{
			X: tpm2.TPM2BECCParameter{Buffer: bytes.Repeat([]byte{1}, 33)}, Y: tpm2.TPM2BECCParameter{Buffer: []byte{1}}})
	})
	ours := wrap(good)
	with := func(change func(*wrapped)) []byte {
		w := ours
		change(&w)
		return encode(t, w)
	}
	for name, c := range map[string]struct {
		block pem.Block
		want  string
	}{
		"a key in the clear":     {pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}}, "expected the key of a TPM"},
		"no ASN.1":               {pem.Block{Type: block, Bytes: []byte{1}}, "is damaged"},
		"more behind it":         {pem.Block{Type: block, Bytes: append(encode(t, ours), 0)}, "does not end where it says"},
		"importable":             {pem.Block{Type: block, Bytes: with(func(w *wrapped) { w.Type = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 4} })}, "type 2.23.133.10.1.4, expected 2.23.133.10.1.3"},
		"with a password":        {pem.Block{Type: block, Bytes: with(func(w *wrapped) { w.EmptyAuth = false })}, "has a password"},
		"under another parent":   {pem.Block{Type: block, Bytes: with(func(w *wrapped) { w.Parent = 0x81000001 })}, "parent 0x81000001"},
		"public area cut":        {pem.Block{Type: block, Bytes: with(func(w *wrapped) { w.Public = w.Public[:20] })}, "is damaged"},
		"private area cut":       {pem.Block{Type: block, Bytes: with(func(w *wrapped) { w.Private = w.Private[:3] })}, "private area"},
		"may move to others":     {pem.Block{Type: block, Bytes: encode(t, wrap(movable))}, "is no signing key"},
		"was somewhere before":   {pem.Block{Type: block, Bytes: encode(t, wrap(imported))}, "is no signing key"},
		"not on the curve":       {pem.Block{Type: block, Bytes: encode(t, wrap(offCurve))}, "public key of suite 2"},
		"public key of 65 bytes": {pem.Block{Type: block, Bytes: encode(t, wrap(long))}, "over 64 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "device.key")
			if err := keyfile.WriteBlocks(path, &c.block); err != nil {
				t.Fatal(err)
			}
			_, err := (&TPM{}).Open(path)
			var e *keyfile.Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || e.Fix == "" {
				t.Fatalf("error %v, want one about %q with a fix", err, c.want)
			}
		})
	}
}

func TestDialNothing(t *testing.T) {
	dir := t.TempDir()
	for _, device := range []string{dir, filepath.Join(dir, "none")} {
		if tpm, err := Dial(device); err == nil || !strings.Contains(err.Error(), "open TPM "+device) {
			t.Errorf("TPM %v, error %v; want one that names the device", tpm, err)
		}
	}
}

// A TPM leaves out leading zeros, and a broken one may send anything.
func TestRaw(t *testing.T) {
	signature := func(r, s []byte) *tpm2.TPMTSignature {
		return &tpm2.TPMTSignature{SigAlg: tpm2.TPMAlgECDSA, Signature: tpm2.NewTPMUSignature(tpm2.TPMAlgECDSA, &tpm2.TPMSSignatureECC{
			Hash: tpm2.TPMAlgSHA256, SignatureR: tpm2.TPM2BECCParameter{Buffer: r}, SignatureS: tpm2.TPM2BECCParameter{Buffer: s}})}
	}
	if got, err := raw(signature([]byte{1}, []byte{0, 2})); err != nil || !bytes.Equal(got, suite.Join(big.NewInt(1), big.NewInt(2))) {
		t.Fatalf("short numbers: %x, %v", got, err)
	}
	if got, err := raw(signature(bytes.Repeat([]byte{1}, 33), []byte{1})); err == nil {
		t.Fatalf("a number of 33 bytes became %x", got)
	}
}

// A file as it is, and a public area in a file that is right otherwise.
func FuzzParseWrapped(f *testing.F) {
	for _, p := range []purpose{signing, attesting} {
		area, _ := public(f, p, nil)
		f.Add(encode(f, wrap(area)), area)
	}
	f.Fuzz(func(t *testing.T, der, area []byte) {
		for _, file := range [][]byte{der, encode(t, wrap(area))} {
			b, err := parseWrapped(file)
			if err != nil {
				continue
			}
			contents, err := b.public.Contents()
			if err != nil {
				continue
			}
			if pub, err := signing.check(contents); err == nil && suite.CheckPublic(suite.ES256, pub) != nil {
				t.Fatalf("accepted with public key %x", pub)
			}
		}
	})
}
