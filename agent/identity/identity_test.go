package identity

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/uplink/keyfile"
)

func TestMadeOnceThenLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "device.key")
	a, created, err := LoadOrCreate(path)
	if err != nil || !created {
		t.Fatalf("first run: created %v, %v", created, err)
	}
	b, created, err := LoadOrCreate(path)
	if err != nil || created {
		t.Fatalf("second run: created %v, %v", created, err)
	}
	if !a.Key.Equal(b.Key) || !bytes.Equal(a.Salt, b.Salt) {
		t.Fatal("second run loaded another identity")
	}
	if len(a.Salt) != saltSize || bytes.Equal(a.Salt, make([]byte, saltSize)) {
		t.Fatalf("salt secret %x is no secret", a.Salt)
	}
}

func TestALendersKeyIsNoIdentity(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lender.key")
	if _, err := keyfile.Create(path); err != nil {
		t.Fatal(err)
	}
	var e *keyfile.Error
	if _, _, err := LoadOrCreate(path); !errors.As(err, &e) {
		t.Fatalf("%v, want a *keyfile.Error", err)
	}
}
