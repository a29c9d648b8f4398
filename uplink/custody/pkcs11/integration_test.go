//go:build integration && pkcs11

package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/custodytest"
	"github.com/tallystick/tallystick/uplink/custody/suite"
)

const (
	module = "/usr/lib/softhsm/libsofthsm2.so" // Debian softhsm2
	pin    = "47110815"
)

// newToken makes a token in a directory of the test's own.
func newToken(t *testing.T) Config {
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(conf, []byte("directories.tokendir = "+dir+"\nobjectstore.backend = file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command("softhsm2-util", "--init-token", "--free", "--label", "box", "--pin", pin, "--so-pin", "12345678").CombinedOutput(); err != nil {
		t.Fatalf("Debian package softhsm2 is needed: %v\n%s", err, out)
	}
	file := filepath.Join(dir, "pin")
	if err := os.WriteFile(file, []byte(pin+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return Config{Module: module, Token: "box", PINFile: file}
}

func open(t *testing.T, c Config) *token {
	t.Helper()
	opened, err := Dial(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opened.Close() })
	return opened.(*token)
}

func TestKey(t *testing.T) {
	c := newToken(t)
	first, err := Dial(c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := first.Open("device"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no key: %v, want ErrNotExist", err)
	}
	key, err := first.Create("device")
	if err != nil {
		t.Fatal(err)
	}
	if key.Suite() != suite.ES256 || key.Custody() != "pkcs11" {
		t.Fatalf("suite %d in %s", key.Suite(), key.Custody())
	}
	message := []byte("a window's leaf")
	sig, err := key.Sign(message)
	if err != nil || !suite.VerifyES256(key.Public(), message, sig) {
		t.Fatalf("the token's signature is refused (%v)", err)
	}
	custodytest.OpenSSLVerify(t, suite.ES256, key.Public(), message, sig)
	for range 300 { // some with leading zeros
		if sig, err := key.Sign(message); err != nil || !suite.VerifyES256(key.Public(), message, sig) {
			t.Fatalf("signature %x is refused (%v)", sig, err)
		}
	}
	if _, err := first.Create("device"); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over a key: %v, want ErrExist", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := open(t, c).Open("device")
	if err != nil || !bytes.Equal(again.Public(), key.Public()) {
		t.Fatalf("opened again the key is another (%v)", err)
	}
}

func TestConcurrentUse(t *testing.T) {
	key, err := open(t, newToken(t)).Create("device")
	if err != nil {
		t.Fatal(err)
	}
	errs := make(chan error)
	for i := range 8 {
		go func() {
			message := []byte{byte(i)}
			for range 20 {
				sig, err := key.Sign(message)
				if err == nil && !suite.VerifyES256(key.Public(), message, sig) {
					err = errors.New("signature refused")
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestDialRefused(t *testing.T) {
	c := newToken(t)
	wrong := filepath.Join(t.TempDir(), "pin")
	if err := os.WriteFile(wrong, []byte("99999999"), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, bad := range map[string]Config{
		"no such file, or no PKCS#11 library":                     {Module: "/nowhere.so", Token: c.Token, PINFile: c.PINFile},
		`0 tokens have this label, expected 1; present are "box"`: {Module: c.Module, Token: "other", PINFile: c.PINFile},
		"log in as user: pkcs11: 0xA0: CKR_PIN_INCORRECT":         {Module: c.Module, Token: c.Token, PINFile: wrong},
	} {
		if _, err := Dial(bad); err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "99999999") {
			t.Errorf("error %v, want one about %q and without the PIN", err, want)
		}
	}
	open(t, c) // what failed left nothing open
}

// Keys that another program put into the token, of kinds we must not sign with.
func TestForeignKeysAreRefused(t *testing.T) {
	tok := open(t, newToken(t))
	plant := func(label string, extractable bool, curve string, publicID string) {
		t.Helper()
		_, _, err := tok.ctx.GenerateKeyPair(tok.sess, []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)},
			append(public([]byte(publicID)), p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_EC_PARAMS, []byte(curve))),
			append(privateKey(label), p11.NewAttribute(p11.CKA_ID, []byte(label)), p11.NewAttribute(p11.CKA_TOKEN, true),
				p11.NewAttribute(p11.CKA_SENSITIVE, true), p11.NewAttribute(p11.CKA_EXTRACTABLE, extractable), p11.NewAttribute(p11.CKA_SIGN, true)))
		if err != nil {
			t.Fatal(err)
		}
	}
	plant("readable", true, p256, "readable")
	plant("p384", false, "\x06\x05\x2b\x81\x04\x00\x22", "p384")
	plant("strangers", false, p256, "somebody")
	plant("helper", false, p256, "strangers")
	plant("twice", false, p256, "twice")
	plant("twice", false, p256, "twice")
	for label, want := range map[string]string{
		"readable":  "can be read out of the token",
		"p384":      "expected P-256",
		"strangers": "the public key with its id is another's",
		"helper":    "0 public keys have its id",
		"twice":     "2 private keys have this label",
	} {
		if _, err := tok.Open(label); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one about %q", label, err, want)
		}
	}
}

// Power cuts after every step of Replace: Promote ends with the successor under
// the label, and with two objects, its private and its public key.
func TestRotationSurvivesPowerCuts(t *testing.T) {
	for steps := range len((*token)(nil).replacing("", "")) + 1 {
		t.Run(fmt.Sprint(steps), func(t *testing.T) {
			tok := open(t, newToken(t))
			r := custody.Rotation{Store: tok, Current: "device", Next: "next"}
			old, err := tok.Create(r.Current)
			if err != nil {
				t.Fatal(err)
			}
			next, err := r.Successor()
			if err != nil {
				t.Fatal(err)
			}
			for _, step := range tok.replacing(r.Current, r.Next)[:steps] {
				if err := step(); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				key, err := r.Promote(next.Public())
				if err != nil || !bytes.Equal(key.Public(), next.Public()) {
					t.Fatalf("the successor is not the current key (%v)", err)
				}
			}
			if _, err := tok.Open(r.Next); !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("the successor's label: %v, want ErrNotExist", err)
			}
			if _, err := old.Sign(nil); err == nil {
				t.Fatal("the old key signs")
			}
			if left, err := tok.objects(); err != nil || len(left) != 2 {
				t.Fatalf("%d objects in the token (%v), expected a private and a public key", len(left), err)
			}
			if labelled, err := tok.objects(p11.NewAttribute(p11.CKA_LABEL, r.Current)); err != nil || len(labelled) != 2 {
				t.Fatalf("%d objects have the label (%v), expected 2", len(labelled), err)
			}
		})
	}
}
