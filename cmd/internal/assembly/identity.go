package assembly

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/agent/identity"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/counter"
	"github.com/tallystick/tallystick/uplink/custody/pkcs11"
	"github.com/tallystick/tallystick/uplink/custody/tpm"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
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

// Keys are a box's keys, wherever they live, and what counts beside them.
type Keys struct {
	*identity.Identity
	Count   agent.Count // nil: nothing counts
	Created bool        // the key was made now

	close func() error
}

// Close gives back the keys, and the chip that holds them.
func (k *Keys) Close() error { return errors.Join(k.Identity.Close(), k.close()) }

// OpenKeys loads the box's keys or, on a box without a history, makes them.
// Where there is a history but no key the error is a *KeyError: a new key could
// not go on with it. A key file that cannot be used is a *keyfile.Error. A
// rotation that was cut short is brought to its end.
func OpenKeys(site *configs.Site) (*Keys, error) {
	if _, err := os.Stat(site.Key); errors.Is(err, fs.ErrNotExist) {
		if signed := signedWith(site.Buffer.Directory); !signed.IsZero() {
			return nil, &KeyError{Path: site.Key, Dir: site.Buffer.Directory, Signed: signed.String()}
		}
	}
	k := &Keys{}
	c, err := k.custody(site)
	if err != nil {
		return nil, err
	}
	if k.Identity, k.Created, err = identity.Open(c); err != nil {
		return nil, errors.Join(err, k.close())
	}
	if _, err := k.Follow(signedWith(site.Buffer.Directory)); err != nil {
		return nil, errors.Join(err, k.Close())
	}
	return k, nil
}

// EraseKeys erases the keys of a site for good.
func EraseKeys(site *configs.Site) error {
	var k Keys
	c, err := k.custody(site)
	if err != nil {
		return err
	}
	return errors.Join(identity.Erase(c), k.close())
}

// custody says where the keys of a site are, and opens the chip that holds them.
func (k *Keys) custody(site *configs.Site) (c identity.Config, err error) {
	k.close = func() error { return nil }
	c = identity.Config{Path: site.Key, Suite: suite(site.Signing.Suite), Secrets: site.Key + ".secret"}
	switch g := site.Signing; {
	case g.TPM != "":
		err = k.openTPM(&c, site)
	case g.PKCS11.Module != "":
		var token pkcs11.Token
		if token, err = pkcs11.Dial(pkcs11.Config{Module: g.PKCS11.Module, Token: g.PKCS11.Token, PINFile: g.PKCS11.PINFile}); err == nil {
			c.Path, c.Store, k.close = "tallystick", token, token.Close
		}
	}
	if err != nil {
		return c, errors.Join(err, k.close())
	}
	return c, nil
}

// openTPM has the keys live in a TPM, and its counter certified by a key of its
// own.
func (k *Keys) openTPM(c *identity.Config, site *configs.Site) error {
	t, err := tpm.Dial(site.Signing.TPM)
	if err != nil {
		return err
	}
	path := site.Key + ".attest"
	ak, err := t.OpenAttestationKey(path)
	if errors.Is(err, fs.ErrNotExist) {
		ak, err = t.CreateAttestationKey(path)
	}
	if err != nil {
		return errors.Join(err, t.Close())
	}
	k.close = func() error { return errors.Join(ak.Close(), t.Close()) }
	handle := uint32(site.Signing.Counter)
	counter, err := t.Counter(handle, ak)
	if err != nil {
		return err
	}
	c.Store, c.Attestation = custody.Store(t), ak.Public()
	k.Count = func(over evidence.Hash) (evidence.Counter, error) {
		if _, err := counter.Increment(); err != nil {
			return evidence.Counter{}, err
		}
		attest, signature, err := counter.Certify(over)
		return evidence.Counter{Handle: handle, Attest: attest, Signature: signature}, err
	}
	return nil
}

// CheckKeys looks at the key file of a site without making anything. A missing
// one is no error: the first run makes it.
func CheckKeys(site *configs.Site) error {
	_, err := keyfile.ReadBlocks(site.Key)
	if err == nil && site.Signing.TPM == "" && site.Signing.PKCS11.Module == "" {
		_, _, err = keyfile.LoadSigner(site.Key)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func suite(s configs.Suite) evidence.Suite {
	switch s {
	case configs.ES256:
		return evidence.SuiteES256
	case configs.SM2:
		return evidence.SuiteSM2
	}
	return evidence.SuiteEd25519
}

// blameKey turns a history whose signatures do not verify into a *KeyError when
// it is the key that is wrong.
func blameKey(site *configs.Site, k *Keys, err error) error {
	if !errors.Is(err, evidence.ErrSignature) {
		return err
	}
	if signed := signedWith(site.Buffer.Directory); !signed.IsZero() && signed != k.Public() {
		return &KeyError{Path: site.Key, Dir: site.Buffer.Directory, Has: k.Public().String(), Signed: signed.String()}
	}
	return err
}

// signedWith is the key in force in the history in dir, none when there is no
// history that can be read.
func signedWith(dir string) evidence.PublicKey {
	h, err := history.OpenReader(dir)
	if err != nil {
		return evidence.PublicKey{}
	}
	defer h.Close()
	return h.Current()
}

// Pinned is the key lenders pin and the log it opened: of the history, or before
// there is one the key that will open it.
func Pinned(site *configs.Site, keys *Keys) (evidence.PublicKey, evidence.LogID) {
	h, err := history.OpenReader(site.Buffer.Directory)
	if err != nil {
		return keys.Public(), evidence.LogID{}
	}
	defer h.Close()
	return h.PublicKey(), h.LogID()
}

// CheckpointKey is the key of a log's checkpoints as witnesses are given it; ""
// for a box without one.
func CheckpointKey(log evidence.LogID, keys *Keys) (vkey string, err error) {
	if keys.Checkpoint == nil {
		return "", nil
	}
	_, vkey, err = checkpoint.LogKey(checkpoint.Origin(log), keys.Checkpoint)
	return vkey, err
}

// CheckCounter returns the value a chip has certified, if the certificate is
// good.
func CheckCounter(record evidence.KeyRecord, c evidence.Counter, over evidence.Hash) (uint64, error) {
	return counter.Verify(record.Attestation, c.Handle, c.Attest, c.Signature, over)
}
