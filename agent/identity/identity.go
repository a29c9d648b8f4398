// Package identity is what only this box knows: the key that signs the evidence
// and the secret the block salts are derived from. Both live in one key file,
// made on the first run and never rewritten.
package identity

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

const (
	saltBlock = "TALLYSTICK SALT SECRET"
	saltSize  = 32
)

// Identity is a box's key and salt secret.
type Identity struct {
	Key  ed25519.PrivateKey
	Salt []byte // 32 bytes
}

// Signer signs with the key.
func (id *Identity) Signer() evidence.Signer { return evidence.NewEd25519Signer(id.Key, "file") }

// Public is the public half of the key.
func (id *Identity) Public() evidence.PublicKey {
	return evidence.Ed25519PublicKey(id.Key.Public().(ed25519.PublicKey))
}

// LoadOrCreate loads the identity at path or, where there is no file, makes
// it. A file that cannot be used is a *keyfile.Error.
func LoadOrCreate(path string) (id *Identity, created bool, err error) {
	key, blocks, err := keyfile.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		id, err = create(path)
		return id, err == nil, err
	}
	if err != nil {
		return nil, false, err
	}
	salt := blocks[saltBlock]
	if len(salt) != saltSize {
		return nil, false, &keyfile.Error{Path: path,
			Why: fmt.Sprintf("holds %d bytes of %s, expected %d: it is no key of a Tallystick box, or damaged", len(salt), saltBlock, saltSize),
			Fix: "name the box's own key file as key: in the site file, or restore it from your backup"}
	}
	return &Identity{Key: key, Salt: salt}, false, nil
}

func create(path string) (*Identity, error) {
	salt := make([]byte, saltSize)
	if _, err := rand.Read(salt); err != nil {
		return nil, err
	}
	key, err := keyfile.Create(path, &pem.Block{Type: saltBlock, Bytes: salt})
	if err != nil {
		return nil, err
	}
	return &Identity{Key: key, Salt: salt}, nil
}
