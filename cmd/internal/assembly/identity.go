package assembly

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/identity"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// KeyError says that a box does not have the key its history is signed with.
type KeyError struct {
	Path   string // of the key file
	Dir    string // of the history
	Has    string // the public key found, "" when there is no key file
	Signed string // the public key of the history
}

func (e *KeyError) Error() string {
	found := "holds " + e.Has
	if e.Has == "" {
		found = "does not exist"
	}
	return fmt.Sprintf("key file %s %s, but the history in %s is signed with %s", e.Path, found, e.Dir, e.Signed)
}

// Identity loads the box's key or, on a box without a history, makes it. Where
// there is a history but no key the error is a *KeyError: a new key could not
// go on with it. A key file that cannot be used is a *keyfile.Error.
func Identity(site *configs.Site) (id *identity.Identity, created bool, err error) {
	if _, err := os.Stat(site.Key); errors.Is(err, fs.ErrNotExist) {
		if signed := signedWith(site.Buffer.Directory); signed != "" {
			return nil, false, &KeyError{Path: site.Key, Dir: site.Buffer.Directory, Signed: signed}
		}
	}
	return identity.LoadOrCreate(site.Key)
}

// blameKey turns a history whose signatures do not verify into a *KeyError when
// it is the key that is wrong.
func blameKey(site *configs.Site, id *identity.Identity, err error) error {
	if !errors.Is(err, evidence.ErrSignature) {
		return err
	}
	has := id.Public().String()
	if signed := signedWith(site.Buffer.Directory); signed != "" && signed != has {
		return &KeyError{Path: site.Key, Dir: site.Buffer.Directory, Has: has, Signed: signed}
	}
	return err
}

// signedWith is the public key of the history in dir, "" when there is none
// that can be read.
func signedWith(dir string) string {
	h, err := agent.OpenHistory(dir)
	if err != nil {
		return ""
	}
	defer h.Close()
	return h.Current().String()
}
