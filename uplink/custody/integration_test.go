//go:build integration

package custody_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/custodytest"
	"github.com/tallystick/tallystick/uplink/custody/suite"
)

// OpenSSL accepts what we sign, and we accept what it signs with our key file.
func TestOpenSSL(t *testing.T) {
	sign := map[uint64][]string{
		suite.Ed25519: {},
		suite.ES256:   {"-digest", "sha256"},
		suite.SM2:     {"-digest", "sm3", "-pkeyopt", "distid:1234567812345678"},
	}
	for s, arguments := range sign {
		path := filepath.Join(t.TempDir(), "device.key")
		key, err := custody.Files{Suite: s}.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for n := range 4 {
			message := bytes.Repeat([]byte{byte(n)}, 30*n+1)
			sig, err := key.Sign(message)
			if err != nil {
				t.Fatal(err)
			}
			custodytest.OpenSSLVerify(t, s, key.Public(), message, sig)
		}

		message, out := filepath.Join(t.TempDir(), "m"), filepath.Join(t.TempDir(), "s")
		if err := os.WriteFile(message, []byte("hello"), 0o600); err != nil {
			t.Fatal(err)
		}
		if said, err := exec.Command("openssl", append([]string{"pkeyutl", "-sign", "-rawin", "-inkey", path, "-in", message, "-out", out}, arguments...)...).CombinedOutput(); err != nil {
			t.Fatalf("suite %d: OpenSSL does not sign with our key file: %v\n%s", s, err, said)
		}
		sig, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		if s != suite.Ed25519 {
			sig = custodytest.RawSignature(t, sig)
		}
		if !suite.Verify(s, key.Public(), []byte("hello"), sig) {
			t.Fatalf("suite %d: what OpenSSL signed with our key file is refused", s)
		}
	}
}
