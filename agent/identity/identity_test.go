package identity

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

func config(path string) Config { return Config{Path: path, Suite: evidence.SuiteEd25519} }

func open(t *testing.T, path string) *Identity {
	t.Helper()
	id, _, err := Open(config(path))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { id.Close() })
	return id
}

func TestMadeOnceThenLoaded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "device.key")
	a, created, err := Open(config(path))
	if err != nil || !created {
		t.Fatalf("first run: created %v, %v", created, err)
	}
	b, created, err := Open(config(path))
	if err != nil || created {
		t.Fatalf("second run: created %v, %v", created, err)
	}
	if a.Public() != b.Public() || !bytes.Equal(a.Salt, b.Salt) || !a.Checkpoint.Equal(b.Checkpoint) || !bytes.Equal(a.next.Public(), b.next.Public()) {
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
	if _, _, err := Open(config(path)); !errors.As(err, &e) {
		t.Fatalf("%v, want a *keyfile.Error", err)
	}
}

// TestRotation: the successor becomes the key, what was committed to becomes
// the successor, the secrets stay, the old key is gone.
func TestRotation(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	id := open(t, path)
	salt, was := bytes.Clone(id.Salt), id.Public()
	next, err := id.Commitment()
	if err != nil {
		t.Fatal(err)
	}
	after, err := id.After()
	if err != nil {
		t.Fatal(err)
	}
	if err := id.Promote(); err != nil {
		t.Fatal(err)
	}
	again := open(t, path)
	for name, got := range map[string]*Identity{"promoted": id, "loaded again": again} {
		s, err := got.Signer()
		if err != nil {
			t.Fatal(err)
		}
		record := s.Public()
		successor, err := got.Commitment()
		if err != nil || record.Digest() != next || successor != after || !bytes.Equal(got.Salt, salt) || got.Public() == was {
			t.Errorf("%s: key %s, successor %s, %v", name, got.Public(), successor, err)
		}
	}
	if _, err := os.Stat(path + ".after"); err == nil {
		t.Error("the key after the successor is left where it was")
	}
}

// TestRotationCutShort: the log says that the successor is in force, the files
// do not yet.
func TestRotationCutShort(t *testing.T) {
	path := filepath.Join(t.TempDir(), "device.key")
	id := open(t, path)
	after, err := id.After()
	if err != nil {
		t.Fatal(err)
	}
	next, err := id.Next()
	if err != nil {
		t.Fatal(err)
	}
	record := next.Public()
	again := open(t, path) // as after a power cut
	for i, want := range []bool{true, false} {
		did, err := again.Follow(record.Key())
		if err != nil || did != want || again.Public() != record.Key() {
			t.Fatalf("%d: followed %v, %v, key %s, want %s", i, did, err, again.Public(), record.Key())
		}
	}
	if c, err := again.Commitment(); err != nil || c != after {
		t.Errorf("the successor is not the one committed to: %v", err)
	}
	if did, err := again.Follow(evidence.PublicKey{}); did || err != nil {
		t.Errorf("followed a key that is none: %v", err)
	}
}
