// Package identity is what only this box knows: the key that signs the evidence
// and its successor, the key of its checkpoints, and the secret the block salts
// are derived from.
//
// With keys in files everything lies in the key file, made on the first run, and
// in that of the successor; keys in a chip have a file of secrets beside them.
package identity

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

const (
	saltBlock       = "TALLYSTICK SALT SECRET"
	saltSize        = 32
	checkpointBlock = "TALLYSTICK CHECKPOINT KEY" // an Ed25519 seed
)

// Config says where a box's keys are.
type Config struct {
	// Path names the key: the key file, or for a chip what Store calls it. The
	// successor has the same name and ".next", the one after it ".after".
	Path  string
	Suite evidence.Suite
	Store custody.Store // nil: key files of that suite
	// Secrets is the file of salt and checkpoint key where Store is set.
	Secrets string
	// Attestation is the public key of the chip that certifies its counter, nil
	// for none.
	Attestation []byte
}

// Erase erases a box's keys for good: the one in use, those to come after it, and
// the secrets beside them. It may be called again after an error. No Identity may be
// open on them.
func Erase(c Config) error {
	store := c.Store
	if store == nil {
		store = custody.Files{Suite: uint64(c.Suite)}
	}
	for _, name := range []string{c.Path + ".after", c.Path + ".next", c.Path} {
		if err := store.Erase(name); err != nil {
			return err
		}
	}
	if c.Store == nil {
		return nil
	}
	return keyfile.Erase(c.Secrets)
}

// Identity is a box's keys and secrets. Close it in the end.
type Identity struct {
	Salt       []byte             // 32 bytes
	Checkpoint ed25519.PrivateKey // nil for a box from before there were checkpoints

	config  Config
	store   custody.Store
	current custody.Key
	next    custody.Key
}

// Open loads the identity or, where there is none, makes it. A file that cannot
// be used is a *keyfile.Error.
func Open(c Config) (id *Identity, created bool, err error) {
	id = &Identity{config: c}
	secrets, err := id.secrets()
	if err != nil {
		return nil, false, err
	}
	if id.store = c.Store; id.store == nil {
		id.store = custody.Files{Suite: uint64(c.Suite), Further: secrets}
	}
	if id.current, err = id.store.Open(c.Path); errors.Is(err, fs.ErrNotExist) {
		id.current, err = id.store.Create(c.Path)
		created = err == nil
	}
	if err != nil {
		return nil, false, err
	}
	if id.next, err = id.successor(id.nextName()); err != nil {
		return nil, false, err
	}
	return id, created, nil
}

func (id *Identity) nextName() string  { return id.config.Path + ".next" }
func (id *Identity) afterName() string { return id.config.Path + ".after" }

// secrets loads or makes the blocks beside the key.
func (id *Identity) secrets() ([]*pem.Block, error) {
	path := id.config.Path
	var blocks map[string][]byte
	var err error
	if id.config.Store != nil {
		path = id.config.Secrets
		blocks, err = keyfile.ReadBlocks(path)
	} else {
		_, blocks, err = keyfile.LoadSigner(path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		id.Salt, id.Checkpoint = make([]byte, saltSize), ed25519.NewKeyFromSeed(random(ed25519.SeedSize))
		rand.Read(id.Salt) // never fails (crypto/rand)
		made := id.blocks()
		if id.config.Store == nil {
			return made, nil // written beside the key
		}
		return made, keyfile.WriteBlocks(path, made...)
	}
	if err != nil {
		return nil, err
	}
	if id.Salt = blocks[saltBlock]; len(id.Salt) != saltSize {
		return nil, &keyfile.Error{Path: path,
			Why: fmt.Sprintf("holds %d bytes of %s, expected %d: it is no key of a Tallystick box, or damaged", len(id.Salt), saltBlock, saltSize),
			Fix: "name the box's own key file as key: in the site file, or restore it from your backup"}
	}
	if seed := blocks[checkpointBlock]; len(seed) == ed25519.SeedSize {
		id.Checkpoint = ed25519.NewKeyFromSeed(seed)
	}
	return id.blocks(), nil
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (id *Identity) blocks() []*pem.Block {
	bs := []*pem.Block{{Type: saltBlock, Bytes: id.Salt}}
	if id.Checkpoint != nil {
		bs = append(bs, &pem.Block{Type: checkpointBlock, Bytes: id.Checkpoint.Seed()})
	}
	return bs
}

// successor loads the key of that name, making it where there is none.
func (id *Identity) successor(name string) (custody.Key, error) {
	key, err := id.store.Open(name)
	if errors.Is(err, fs.ErrNotExist) {
		return id.store.Create(name)
	}
	return key, err
}

// Signer signs with the key in use.
func (id *Identity) Signer() (evidence.Signer, error) { return id.signer(id.current) }

// Next signs with the successor.
func (id *Identity) Next() (evidence.Signer, error) { return id.signer(id.next) }

func (id *Identity) signer(k custody.Key) (evidence.Signer, error) {
	return custody.Signer(k, id.config.Attestation)
}

// Public is the public half of the key in use.
func (id *Identity) Public() evidence.PublicKey {
	pub, err := evidence.NewPublicKey(evidence.Suite(id.current.Suite()), id.current.Public())
	if err != nil {
		panic(err) // custody keeps no other
	}
	return pub
}

// Commitment is what the log says of the successor before it is used.
func (id *Identity) Commitment() (evidence.Hash, error) { return id.commitment(id.next) }

func (id *Identity) commitment(k custody.Key) (evidence.Hash, error) {
	s, err := id.signer(k)
	if err != nil {
		return evidence.Hash{}, err
	}
	record := s.Public()
	return record.Digest(), nil
}

// After makes the key after the successor, if need be, and returns what the
// rotation leaf says of it.
func (id *Identity) After() (evidence.Hash, error) {
	key, err := id.successor(id.afterName())
	if err != nil {
		return evidence.Hash{}, err
	}
	defer key.Close()
	return id.commitment(key)
}

// Follow makes the key that the log has in force the one in use, erasing the
// ones before it, where a rotation was cut short; it reports whether there was
// something to do. A key it does not know changes nothing.
func (id *Identity) Follow(inForce evidence.PublicKey) (bool, error) {
	if inForce == id.Public() || !bytes.Equal(inForce.Bytes(), id.next.Public()) {
		return false, nil
	}
	return true, id.Promote()
}

// Promote makes the successor the key in use and the one after it the
// successor. The log must have said so before. It may be called again after a
// crash or an error.
func (id *Identity) Promote() error {
	public := id.next.Public()
	for _, k := range []custody.Key{id.current, id.next} {
		if err := k.Close(); err != nil {
			return err
		}
	}
	r := custody.Rotation{Store: id.store, Current: id.config.Path, Next: id.nextName()}
	var err error
	if id.current, err = r.Promote(public); err != nil {
		return err
	}
	if key, err := id.store.Open(id.afterName()); err == nil {
		if err := key.Close(); err != nil {
			return err
		}
		if err := id.store.Replace(id.nextName(), id.afterName()); err != nil {
			return err
		}
	}
	id.next, err = id.successor(id.nextName())
	return err
}

// Close gives back what the keys hold open.
func (id *Identity) Close() error { return errors.Join(id.current.Close(), id.next.Close()) }
