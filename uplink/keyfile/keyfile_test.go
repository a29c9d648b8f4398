package keyfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs/private"
	"github.com/tallystick/tallystick/uplink/custody/suite"
)

func TestCreateThenLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var", "state", "my.key")
	made, err := Create(path, &pem.Block{Type: "SALT", Bytes: []byte{1, 2, 3}})
	if err != nil {
		t.Fatal(err)
	}
	key, rest, err := Load(path)
	if err != nil || !key.Equal(made) || !bytes.Equal(rest["SALT"], []byte{1, 2, 3}) {
		t.Fatalf("loaded another key or block: %v %v", rest, err)
	}
	if how, err := private.Exposed(path, 0o177); how != "" || err != nil {
		t.Fatalf("the key is not its owner's alone: %s %v", how, err)
	}
	if _, err := Create(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over an existing key: %v, want ErrExist", err)
	}
	if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".key-*")); len(left) != 0 {
		t.Fatalf("temporary files left: %v", left)
	}
	if _, _, err := Load(path + ".none"); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("missing file: %v, want ErrNotExist", err)
	}
}

func TestUnusableFiles(t *testing.T) {
	good := filepath.Join(t.TempDir(), "my.key")
	if _, err := Create(good); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		data []byte
		mode os.FileMode
		want string
	}{
		"readable by others": {data, 0o640, "other users can read it (mode 0640, expected 0600)"},
		"empty":              {nil, 0o600, "holds no PRIVATE KEY"},
		"damaged":            {bytes.Replace(data, []byte("MC4C"), []byte("AAAA"), 1), 0o600, "the PRIVATE KEY in it is damaged"},
		"certificate":        {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0o600, "holds no PRIVATE KEY"},
		"two keys":           {append(bytes.Clone(data), data...), 0o600, "holds two PRIVATE KEY blocks"},
		"P-384":              {p384(t), 0o600, "holds an ECDSA key on P-384, expected P-256"},
		"huge":               {make([]byte, maxFile+1), 0o600, "expected a PEM file of a few hundred"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "my.key")
			if err := os.WriteFile(path, c.data, c.mode); err != nil {
				t.Fatal(err)
			}
			_, _, err := Load(path)
			var e *Error
			if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) || e.Fix == "" {
				t.Fatalf("error %v, want one about %q that names the file and a fix", err, c.want)
			}
		})
	}
}

func p384(t *testing.T) []byte {
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: keyBlock, Bytes: der})
}

func TestEverySuite(t *testing.T) {
	for _, s := range []uint64{suite.Ed25519, suite.ES256, suite.SM2} {
		path := filepath.Join(t.TempDir(), "my.key")
		made, err := suite.Generate(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := Save(path, made, &pem.Block{Type: "SALT", Bytes: []byte{1}}); err != nil {
			t.Fatal(err)
		}
		if err := Save(path, made); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("suite %d: Save over an existing key: %v, want ErrExist", s, err)
		}
		key, rest, err := LoadSigner(path)
		if err != nil || len(rest) != 1 || !bytes.Equal(rest["SALT"], []byte{1}) {
			t.Fatalf("suite %d: %v, blocks %v", s, err, rest)
		}
		_, want, _ := suite.Public(made)
		got, pub, err := suite.Public(key)
		if err != nil || got != s || !bytes.Equal(pub, want) {
			t.Fatalf("suite %d came back as %d, %x (%v), want %x", s, got, pub, err, want)
		}
		sig, err := suite.Sign(key, []byte("window"))
		if err != nil || !suite.Verify(s, want, []byte("window"), sig) {
			t.Fatalf("suite %d: the key from the file does not sign as the one made (%v)", s, err)
		}
		var e *Error
		if _, _, err := Load(path); (s == suite.Ed25519) != (err == nil) || (err != nil && (!errors.As(err, &e) || !strings.Contains(err.Error(), "expected an Ed25519 key"))) {
			t.Fatalf("suite %d: Load, which is for Ed25519: %v", s, err)
		}
	}
}

// Power cuts after every step of Replace, and in Create before it: Replace
// again ends with the new key under the name and nothing of the old one.
func TestReplaceSurvivesPowerCuts(t *testing.T) {
	for steps := range len(replacing("", "")) + 1 {
		dir := t.TempDir()
		current, next := filepath.Join(dir, "device.key"), filepath.Join(dir, "next.key")
		for _, path := range []string{current, next} {
			if _, err := Create(path); err != nil {
				t.Fatal(err)
			}
		}
		old, want := read(t, current), read(t, next)
		// Two Creates that were cut: one after its link, one before.
		if err := os.Link(current, filepath.Join(dir, ".key-1")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, ".key-2"), []byte("half a k"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, step := range replacing(current, next)[:steps] {
			if err := step(); err != nil {
				t.Fatal(err)
			}
		}
		if got := read(t, current); !bytes.Equal(got, old) && !bytes.Equal(got, want) {
			t.Fatalf("after %d steps the current key is neither the old nor the new one", steps)
		}
		if err := Replace(current, next); err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		if !bytes.Equal(read(t, current), want) {
			t.Fatalf("after %d steps the current key is not the new one", steps)
		}
		names, err := os.ReadDir(dir)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range names {
			if bytes.Equal(read(t, filepath.Join(dir, n.Name())), old) {
				t.Fatalf("after %d steps %s still holds the old key", steps, n.Name())
			}
		}
		if len(names) != 2 { // device.key, and the half file, which is nobody's
			t.Fatalf("after %d steps: %v", steps, names)
		}
	}
}

func TestReplaceStaysInOneDirectory(t *testing.T) {
	a, b := filepath.Join(t.TempDir(), "a.key"), filepath.Join(t.TempDir(), "b.key")
	for _, path := range []string{a, b} {
		if _, err := Create(path); err != nil {
			t.Fatal(err)
		}
	}
	old := read(t, a)
	if err := Replace(a, b); err == nil || !strings.Contains(err.Error(), "two directories") || !bytes.Equal(read(t, a), old) {
		t.Fatalf("across directories: %v", err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
