// Package custody is where a box's signing keys are kept, and how one follows
// another. Keys in files are here; uplink/custody/tpm and uplink/custody/pkcs11
// keep theirs in chips. uplink/custody/suite verifies what any of them signed.
package custody

import (
	"bytes"
	"crypto"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

// Key is a private key that can be used and not read. Its methods are safe for
// concurrent use until Close.
type Key interface {
	// Sign returns the raw COSE signature over message, the bytes to be signed
	// and not their digest: 64 bytes in the form of the suite's package.
	Sign(message []byte) ([]byte, error)
	Suite() uint64
	Public() []byte  // in the form of the suite's package
	Custody() string // "file", "tpm" or "pkcs11"
	Close() error    // gives back what the key holds open; the key itself stays
}

// Signer is the key as the evidence wants it. attestation is the public half of
// the key that certifies the TPM's counter, nil where there is none.
func Signer(k Key, attestation []byte) (evidence.Signer, error) {
	pub, err := evidence.NewPublicKey(evidence.Suite(k.Suite()), k.Public())
	if err != nil {
		return nil, err
	}
	record := evidence.NewKeyRecord(pub, k.Custody())
	record.Attestation = attestation
	return &signer{k, record}, nil
}

type signer struct {
	key    Key
	record evidence.KeyRecord
}

func (s *signer) Public() evidence.KeyRecord          { return s.record }
func (s *signer) Sign(message []byte) ([]byte, error) { return s.key.Sign(message) }

// Store keeps keys by name.
type Store interface {
	// Open returns the key of that name; a missing one is fs.ErrNotExist.
	Open(name string) (Key, error)
	// Create makes a key, durable on return. It never replaces one: a name that
	// is taken is fs.ErrExist.
	Create(name string) (Key, error)
	// Replace gives the key by the name and erases the key that had it, durable
	// on return. After an error or a crash on its way, Replace with the same
	// names finishes it; without a key by, it only does what may be left to do.
	Replace(name, by string) error
	// Erase erases the key of that name for good, durable on return; a missing one
	// is erased already. Close it first.
	Erase(name string) error
}

// Rotation is the key in use and its successor, which is made early so that its
// public half can be committed to before it signs anything. In this order:
//
//	Successor, and its Public in a leaf signed by the current key
//	... an epoch ...
//	a leaf, signed by the current key, that ends its epoch
//	Promote, with the public half that leaf or an earlier one names
//
// Whoever finds on start that the log has such a leaf and the current key is
// not the one it names calls Promote again.
type Rotation struct {
	Store         Store
	Current, Next string
}

// Successor returns the next key, making it where there is none yet.
func (r Rotation) Successor() (Key, error) {
	key, err := r.Store.Open(r.Next)
	if errors.Is(err, fs.ErrNotExist) {
		return r.Store.Create(r.Next)
	}
	return key, err
}

// Promote makes the key with the public half given the current one, erases the
// key before it and returns the key now current. Close the old key first.
// Promote may be called again, after an error, a crash or success, and ends the
// same. A public half that is neither the next nor the current key's is an
// error that changes nothing.
func (r Rotation) Promote(public []byte) (Key, error) {
	next, err := r.public(r.Next)
	if err != nil {
		return nil, err
	}
	current, err := r.public(r.Current)
	if err != nil {
		return nil, err
	}
	switch named := func(have []byte) bool { return have != nil && bytes.Equal(have, public) }; {
	case named(next):
	case named(current) && next == nil:
		// Promoted, but perhaps not to the end.
	case named(current):
		// Promoted, and the next successor made after it.
		return r.Store.Open(r.Current)
	default:
		return nil, fmt.Errorf("promote key %x: key %s is %x and key %s is %x", public, r.Next, next, r.Current, current)
	}
	if err := r.Store.Replace(r.Current, r.Next); err != nil {
		return nil, err
	}
	return r.Store.Open(r.Current)
}

// public is the public half of the key of that name, nil where there is none.
func (r Rotation) public(name string) ([]byte, error) {
	key, err := r.Store.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return key.Public(), key.Close()
}

// Files keeps keys of one suite in key files; a key's name is its path.
type Files struct {
	Suite   uint64
	Further []*pem.Block // what Create writes beside a key
}

// Open reads the key file at path. Anything wrong with an existing file, or a
// key of another suite, is a *keyfile.Error.
func (f Files) Open(path string) (Key, error) {
	key, _, err := keyfile.LoadSigner(path)
	if err != nil {
		return nil, err
	}
	opened, err := FileKey(key)
	if err != nil {
		return nil, err
	}
	if opened.Suite() != f.Suite {
		return nil, &keyfile.Error{Path: path,
			Why: fmt.Sprintf("holds a key of signature suite %d, expected %d", opened.Suite(), f.Suite),
			Fix: "name the file of the key this log was begun with; another suite is another log"}
	}
	return opened, nil
}

// Create makes a key in a new file at path.
func (f Files) Create(path string) (Key, error) {
	key, err := suite.Generate(f.Suite)
	if err != nil {
		return nil, err
	}
	if err := keyfile.Save(path, key, f.Further...); err != nil {
		return nil, err
	}
	return FileKey(key)
}

// Replace is keyfile.Replace, which says what erasing is worth.
func (f Files) Replace(path, by string) error { return keyfile.Replace(path, by) }

// Erase is keyfile.Erase.
func (f Files) Erase(path string) error { return keyfile.Erase(path) }

// FileKey is the Key of a private key that keyfile.LoadSigner read.
func FileKey(key crypto.Signer) (Key, error) {
	s, pub, err := suite.Public(key)
	if err != nil {
		return nil, err
	}
	return &fileKey{key, s, pub}, nil
}

type fileKey struct {
	key   crypto.Signer
	suite uint64
	pub   []byte
}

func (k *fileKey) Sign(message []byte) ([]byte, error) { return suite.Sign(k.key, message) }
func (k *fileKey) Suite() uint64                       { return k.suite }
func (k *fileKey) Public() []byte                      { return k.pub }
func (k *fileKey) Custody() string                     { return "file" }
func (k *fileKey) Close() error                        { return nil }
