// Package custodytest asks OpenSSL's command line for a second opinion on a
// signature. For integration tests.
package custodytest

import (
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/uplink/custody/suite"
)

// OpenSSLVerify fails the test unless OpenSSL accepts sig, in the form of the suite's
// package, as a signature over message under pub.
func OpenSSLVerify(t *testing.T, s uint64, pub, message, sig []byte) {
	t.Helper()
	if out, err := verify(t, s, pub, message, sig); err != nil {
		t.Fatalf("OpenSSL refuses a signature of suite %d: %v\n%s\nmessage %x\nsignature %x", s, err, out, message, sig)
	}
	if _, err := verify(t, s, pub, append([]byte{0}, message...), sig); err == nil {
		t.Fatalf("OpenSSL accepts a signature of suite %d over another message: this check checks nothing", s)
	}
}

func verify(t *testing.T, s uint64, pub, message, sig []byte) ([]byte, error) {
	// SubjectPublicKeyInfo up to the key's own bytes: RFC 8410, RFC 5480,
	// GM/T 0015-2012.
	prefix := map[uint64]string{
		suite.Ed25519: "302a300506032b6570032100",
		suite.ES256:   "3059301306072a8648ce3d020106082a8648ce3d03010703420004",
		suite.SM2:     "3059301306072a8648ce3d020106082a811ccf5501822d03420004",
	}[s]
	arguments := map[uint64][]string{
		suite.Ed25519: {},
		suite.ES256:   {"-digest", "sha256"},
		suite.SM2:     {"-digest", "sm3", "-pkeyopt", "distid:1234567812345678"},
	}[s]
	if s != suite.Ed25519 {
		var err error
		if sig, err = asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:])}); err != nil {
			t.Fatal(err)
		}
	}
	head, err := hex.DecodeString(prefix)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	return exec.Command("openssl", append([]string{"pkeyutl", "-verify", "-rawin",
		"-pubin", "-inkey", file("pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: append(head, pub...)})),
		"-in", file("message", message), "-sigfile", file("sig", sig)}, arguments...)...).CombinedOutput()
}

// RawSignature turns OpenSSL's ASN.1 signature of suite 2 or 3 into the suite's r||s.
func RawSignature(t *testing.T, der []byte) []byte {
	t.Helper()
	var sig struct{ R, S *big.Int }
	if rest, err := asn1.Unmarshal(der, &sig); err != nil || len(rest) != 0 {
		t.Fatalf("signature %x: %v", der, err)
	}
	return suite.Join(sig.R, sig.S)
}
