package custody_test

import (
	"bytes"
	"crypto/elliptic"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

func TestFiles(t *testing.T) {
	for _, s := range []uint64{suite.Ed25519, suite.ES256, suite.SM2} {
		store := custody.Files{Suite: s, Further: []*pem.Block{{Type: "SALT", Bytes: []byte{9}}}}
		path := filepath.Join(t.TempDir(), "device.key")
		if _, err := store.Open(path); !errors.Is(err, fs.ErrNotExist) {
			t.Fatalf("no file: %v, want ErrNotExist", err)
		}
		made, err := store.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := store.Create(path); !errors.Is(err, fs.ErrExist) {
			t.Fatalf("a second Create: %v, want ErrExist", err)
		}
		key, err := store.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := key.Sign([]byte("window"))
		if err != nil || !suite.Verify(s, made.Public(), []byte("window"), sig) {
			t.Fatalf("suite %d: signature refused (%v)", s, err)
		}
		if key.Suite() != s || key.Custody() != "file" || key.Close() != nil {
			t.Fatalf("suite %d: key says %d, %s", s, key.Suite(), key.Custody())
		}
		if _, blocks, _ := keyfile.LoadSigner(path); !bytes.Equal(blocks["SALT"], []byte{9}) {
			t.Fatalf("blocks beside the key: %v", blocks)
		}
		var e *keyfile.Error
		if _, err := (custody.Files{Suite: s%3 + 1}).Open(path); !errors.As(err, &e) || !strings.Contains(err.Error(), fmt.Sprintf("signature suite %d, expected %d", s, s%3+1)) {
			t.Fatalf("opened as another suite: %v", err)
		}
	}
}

// The evidence's own verifier, which is another piece of code, accepts what a
// key signs, under the record that stands in the genesis leaf.
func TestSigner(t *testing.T) {
	for _, s := range []uint64{suite.Ed25519, suite.ES256, suite.SM2} {
		key, err := custody.Files{Suite: s}.Create(filepath.Join(t.TempDir(), "device.key"))
		if err != nil {
			t.Fatal(err)
		}
		signer, err := custody.Signer(key, []byte{7})
		if err != nil {
			t.Fatal(err)
		}
		record := signer.Public()
		pub := record.Key()
		if uint64(pub.Suite()) != s || !bytes.Equal(pub.Bytes(), key.Public()) || record.Custody != "file" || !bytes.Equal(record.Attestation, []byte{7}) {
			t.Fatalf("suite %d: record %+v", s, record)
		}
		for n := range byte(50) {
			sig, err := signer.Sign([]byte{n})
			if err != nil {
				t.Fatal(err)
			}
			if s == suite.ES256 { // as evidence.Sign1 does
				order := elliptic.P256().Params().N
				if v := new(big.Int).SetBytes(sig[32:]); v.Cmp(new(big.Int).Rsh(order, 1)) > 0 {
					v.Sub(order, v).FillBytes(sig[32:])
				}
			}
			if !pub.Verify([]byte{n}, sig) || !suite.Verify(s, key.Public(), []byte{n}, sig) {
				t.Fatalf("suite %d: signature %x is refused", s, sig)
			}
		}
		if signed, err := evidence.Sign1(signer, []byte{1}); err != nil || len(signed) < 64 {
			t.Fatalf("suite %d: %v", s, err)
		}
	}
	if _, err := custody.Signer(foreign{}, nil); err == nil {
		t.Fatal("a key of suite 9 signs evidence")
	}
}

type foreign struct{ custody.Key }

func (foreign) Suite() uint64  { return 9 }
func (foreign) Public() []byte { return make([]byte, 64) }

// cut is a store that loses its power before or after its n-th call.
type cut struct {
	custody.Store
	left  int
	after bool // the call is done, and nobody learns of it
}

var errPower = errors.New("power cut")

func (c *cut) do(f func() error) error {
	if c.left--; c.left < 0 {
		return errPower
	} else if c.left > 0 {
		return f()
	}
	if c.after {
		if err := f(); err != nil {
			return err
		}
	}
	return errPower
}

func (c *cut) Open(name string) (key custody.Key, err error) {
	err = c.do(func() (err error) { key, err = c.Store.Open(name); return })
	return key, err
}

func (c *cut) Create(name string) (key custody.Key, err error) {
	err = c.do(func() (err error) { key, err = c.Store.Create(name); return })
	return key, err
}

func (c *cut) Replace(name, by string) error {
	return c.do(func() error { return c.Store.Replace(name, by) })
}

// A box that rotates its key as Rotation says, with the power cut at every call
// of the store, comes to the same end: one current key, which the log names,
// and the old one gone. At no moment is the log's key missing.
func TestRotationSurvivesPowerCuts(t *testing.T) {
	for _, after := range []bool{false, true} {
		for calls := 1; ; calls++ {
			dir := t.TempDir()
			store := custody.Files{Suite: suite.SM2}
			names := custody.Rotation{Current: filepath.Join(dir, "device.key"), Next: filepath.Join(dir, "next.key")}
			first, err := store.Create(names.Current)
			if err != nil {
				t.Fatal(err)
			}
			old, err := os.ReadFile(names.Current)
			if err != nil {
				t.Fatal(err)
			}

			// What the log holds survives every cut.
			var committed, ended []byte
			run := func(s custody.Store) (custody.Key, error) {
				r := names
				r.Store = s
				if committed == nil {
					next, err := r.Successor()
					if err != nil {
						return nil, err
					}
					committed = next.Public()
				}
				ended = committed
				key, err := r.Promote(ended)
				if err != nil {
					return nil, err
				}
				_, err = r.Successor()
				return key, err
			}

			_, err = run(&cut{Store: store, left: calls, after: after})
			uncut := err == nil
			if !uncut && !errors.Is(err, errPower) {
				t.Fatalf("cut at call %d: %v", calls, err)
			}
			if current, err := store.Open(names.Current); err != nil || (!bytes.Equal(current.Public(), first.Public()) && !bytes.Equal(current.Public(), committed)) {
				t.Fatalf("cut at call %d: the current key is neither the first nor its successor (%v)", calls, err)
			}
			key, err := run(store)
			if err != nil {
				t.Fatalf("cut at call %d, second run: %v", calls, err)
			}
			if !bytes.Equal(key.Public(), committed) || bytes.Equal(key.Public(), first.Public()) {
				t.Fatalf("cut at call %d: the current key is not the successor", calls)
			}
			left, err := os.ReadDir(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range left {
				if data, err := os.ReadFile(filepath.Join(dir, f.Name())); err != nil || bytes.Equal(data, old) {
					t.Fatalf("cut at call %d: %s holds the old key (%v)", calls, f.Name(), err)
				}
			}
			if len(left) != 2 {
				t.Fatalf("cut at call %d: files %v", calls, left)
			}
			if uncut {
				if calls < 8 {
					t.Fatalf("only %d calls were cut", calls)
				}
				break
			}
		}
	}
}

func TestPromoteRefusesAStranger(t *testing.T) {
	dir := t.TempDir()
	r := custody.Rotation{Store: custody.Files{Suite: suite.ES256}, Current: filepath.Join(dir, "a.key"), Next: filepath.Join(dir, "b.key")}
	current, err := r.Store.Create(r.Current)
	if err != nil {
		t.Fatal(err)
	}
	for _, stranger := range [][]byte{nil, {}, make([]byte, 64)} {
		if _, err := r.Promote(stranger); err == nil {
			t.Fatalf("promoted %x, which is nobody's, without a successor", stranger)
		}
	}
	if _, err := r.Successor(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Promote(make([]byte, 64)); err == nil {
		t.Fatal("promoted a key that is nobody's")
	}
	if key, err := r.Promote(current.Public()); err != nil || !bytes.Equal(key.Public(), current.Public()) {
		t.Fatalf("the current key is promoted already: %v", err)
	}
	if _, err := r.Store.Open(r.Next); err != nil {
		t.Fatalf("the successor is gone: %v", err)
	}
}

// A key that was erased is gone, and with it the leftover of a power cut while it was
// written; to erase it again is no error.
func TestErase(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "device.key")
	files := custody.Files{Suite: suite.Ed25519}
	if _, err := files.Create(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(path, filepath.Join(dir, ".key-1")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := files.Erase(path); err != nil {
			t.Fatal(err)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
			t.Errorf("left: %v, %v", left, err)
		}
	}
	if _, err := files.Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("opened: %v", err)
	}
}
