package agent

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"sync"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// identitiesFile is a JSON object: by name of a meter, the digest of who it said
// it is.
const identitiesFile = "identities"

// identities remembers over a restart who the meters are, so that one that was
// exchanged meanwhile is noticed. It holds digests only: the number on a meter
// is nobody's business but its owner's.
type identities struct {
	fsys   vfs.FS
	dir    string
	secret []byte

	mu    sync.Mutex
	known map[string]string // guarded by mu
	dirty bool              // known differs from the file; guarded by mu
}

// openIdentities reads what is stored. It is usable beside an error, which says
// that nothing is known.
func openIdentities(fsys vfs.FS, dir string, secret []byte) (*identities, error) {
	ids := &identities{fsys: fsys, dir: dir, secret: secret, known: map[string]string{}}
	name := filepath.Join(dir, identitiesFile)
	f, err := fsys.OpenRead(name)
	if errors.Is(err, fs.ErrNotExist) {
		return ids, nil
	}
	if err != nil {
		return ids, fmt.Errorf("who the meters were: %w", err)
	}
	defer f.Close()
	known := map[string]string{}
	if err := json.NewDecoder(io.NewSectionReader(f, 0, 1<<20)).Decode(&known); err != nil {
		return ids, fmt.Errorf("who the meters were: %s: %w", name, err)
	}
	if known != nil {
		ids.known = known
	}
	return ids, nil
}

// digest is the form in which an identity is compared and stored.
func (ids *identities) digest(identity string) string {
	h := hmac.New(sha256.New, ids.secret)
	h.Write([]byte(identity))
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// note is told who a meter is, after what follows from it was recorded. "" is
// that it did not say.
func (ids *identities) note(meter, digest string) {
	if digest == "" {
		return
	}
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if ids.known[meter] != digest {
		ids.known[meter], ids.dirty = digest, true
	}
}

// changed returns what is to be stored, nil when there is nothing new.
func (ids *identities) changed() map[string]string {
	ids.mu.Lock()
	defer ids.mu.Unlock()
	if !ids.dirty {
		return nil
	}
	ids.dirty = false
	return maps.Clone(ids.known)
}

// store writes what changed returned.
func (ids *identities) store(known map[string]string) error {
	text, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return vfs.Replace(ids.fsys, filepath.Join(ids.dir, identitiesFile), text)
}
