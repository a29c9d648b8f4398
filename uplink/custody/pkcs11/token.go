//go:build pkcs11

package pkcs11

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/suite"
)

// p256 is CKA_EC_PARAMS of P-256: the DER of OID 1.2.840.10045.3.1.7 (RFC 5480).
const p256 = "\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07"

// token is one logged-in session. A session does one thing at a time.
type token struct {
	label string
	mu    sync.Mutex
	ctx   *p11.Ctx
	sess  p11.SessionHandle
}

// Dial loads the module, finds the token and logs in as its user. A wrong PIN is
// tried once: tokens lock after a few.
func Dial(c Config) (Token, error) {
	pin, err := c.pin()
	if err != nil {
		return nil, err
	}
	ctx := p11.New(c.Module)
	if ctx == nil {
		return nil, fmt.Errorf("load PKCS#11 module %s: no such file, or no PKCS#11 library for this machine", c.Module)
	}
	if err := ctx.Initialize(); err != nil {
		ctx.Destroy()
		return nil, fmt.Errorf("initialize PKCS#11 module %s: %w", c.Module, err)
	}
	t := &token{label: c.Token, ctx: ctx}
	if err := t.login(pin); err != nil {
		ctx.Finalize()
		ctx.Destroy()
		return nil, fmt.Errorf("open PKCS#11 token %q of module %s: %w", c.Token, c.Module, err)
	}
	return t, nil
}

func (t *token) login(pin string) error {
	slots, err := t.ctx.GetSlotList(true)
	if err != nil {
		return err
	}
	var found []uint
	var labels []string
	for _, slot := range slots {
		info, err := t.ctx.GetTokenInfo(slot)
		if err != nil {
			return err
		}
		label := strings.TrimRight(info.Label, " \x00")
		labels = append(labels, fmt.Sprintf("%q", label))
		if label == t.label {
			found = append(found, slot)
		}
	}
	if len(found) != 1 {
		return fmt.Errorf("%d tokens have this label, expected 1; present are %s", len(found), strings.Join(labels, ", "))
	}
	if t.sess, err = t.ctx.OpenSession(found[0], p11.CKF_SERIAL_SESSION|p11.CKF_RW_SESSION); err != nil {
		return err
	}
	if err := t.ctx.Login(t.sess, p11.CKU_USER, pin); err != nil {
		return fmt.Errorf("log in as user: %w", err)
	}
	return nil
}

// Close logs out and unloads the module.
func (t *token) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	err := t.ctx.Finalize()
	t.ctx.Destroy()
	return err
}

// Open finds the key with that label. One that can be read out of the token is
// an error: it would be worth no more than a file.
func (t *token) Open(label string) (custody.Key, error) {
	t.mu.Lock()
	k, err := t.find(label)
	t.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("key %q in PKCS#11 token %q: %w", label, t.label, err)
	}
	// Private and public key are two objects that only an id ties together.
	// Were they strangers, every leaf would be refused.
	challenge := make([]byte, 32)
	if _, err := rand.Read(challenge); err != nil {
		return nil, err
	}
	sig, err := k.Sign(challenge)
	if err != nil {
		return nil, err
	}
	if !suite.VerifyES256(k.pub, challenge, sig) {
		return nil, fmt.Errorf("key %q in PKCS#11 token %q: the public key with its id is another's", label, t.label)
	}
	return k, nil
}

func (t *token) find(label string) (*key, error) {
	privates, err := t.objects(privateKey(label)...)
	if err != nil {
		return nil, err
	}
	switch len(privates) {
	case 0:
		return nil, fs.ErrNotExist
	case 1:
	default:
		return nil, fmt.Errorf("%d private keys have this label, expected 1", len(privates))
	}
	a, err := t.ctx.GetAttributeValue(t.sess, privates[0], []*p11.Attribute{
		p11.NewAttribute(p11.CKA_ID, nil), p11.NewAttribute(p11.CKA_KEY_TYPE, nil),
		p11.NewAttribute(p11.CKA_SENSITIVE, nil), p11.NewAttribute(p11.CKA_EXTRACTABLE, nil)})
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(a[1].Value, p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_EC).Value) {
		return nil, errors.New("is no elliptic-curve key, expected P-256")
	}
	if !isTrue(a[2]) || isTrue(a[3]) {
		return nil, errors.New("can be read out of the token, expected one that cannot")
	}
	publics, err := t.objects(public(a[0].Value)...)
	if err != nil {
		return nil, err
	}
	if len(publics) != 1 {
		return nil, fmt.Errorf("%d public keys have its id, expected 1", len(publics))
	}
	b, err := t.ctx.GetAttributeValue(t.sess, publics[0], []*p11.Attribute{
		p11.NewAttribute(p11.CKA_EC_PARAMS, nil), p11.NewAttribute(p11.CKA_EC_POINT, nil)})
	if err != nil {
		return nil, err
	}
	if string(b[0].Value) != p256 {
		return nil, fmt.Errorf("its curve is %x, expected P-256", b[0].Value)
	}
	pub, err := point(b[1].Value)
	if err != nil {
		return nil, err
	}
	return &key{t, privates[0], pub}, suite.CheckPublic(suite.ES256, pub)
}

// Create makes a key in the token.
func (t *token) Create(label string) (custody.Key, error) {
	if err := t.generate(label); err != nil {
		return nil, fmt.Errorf("make key %q in PKCS#11 token %q: %w", label, t.label, err)
	}
	return t.Open(label)
}

func (t *token) generate(label string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	taken, err := t.objects(privateKey(label)...)
	if err != nil {
		return err
	}
	if len(taken) != 0 {
		return fs.ErrExist
	}
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return err
	}
	_, made, err := t.ctx.GenerateKeyPair(t.sess, []*p11.Mechanism{p11.NewMechanism(p11.CKM_EC_KEY_PAIR_GEN, nil)},
		append(public(id),
			p11.NewAttribute(p11.CKA_LABEL, label),
			p11.NewAttribute(p11.CKA_TOKEN, true),
			p11.NewAttribute(p11.CKA_VERIFY, true),
			p11.NewAttribute(p11.CKA_EC_PARAMS, []byte(p256))),
		append(privateKey(label),
			p11.NewAttribute(p11.CKA_ID, id),
			p11.NewAttribute(p11.CKA_TOKEN, true),
			p11.NewAttribute(p11.CKA_PRIVATE, true),
			p11.NewAttribute(p11.CKA_SENSITIVE, true),
			p11.NewAttribute(p11.CKA_EXTRACTABLE, false),
			p11.NewAttribute(p11.CKA_SIGN, true)))
	if err != nil {
		return err
	}
	// Replace will want to change the label. A token that forbids it shows here,
	// before the key is in use.
	if err := t.relabel(made, label); err != nil {
		return errors.Join(fmt.Errorf("its label cannot be set again, which rotation needs: %w", err), t.ctx.DestroyObject(t.sess, made))
	}
	return nil
}

// Replace destroys the key labelled label and gives the label to the key by.
func (t *token) Replace(label, by string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, step := range t.replacing(label, by) {
		if err := step(); err != nil {
			return fmt.Errorf("replace key %q in PKCS#11 token %q by %q: %w", label, t.label, by, err)
		}
	}
	return nil
}

// Erase destroys the key labelled label.
func (t *token) Erase(label string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys, err := t.objects(privateKey(label)...)
	if err == nil {
		err = t.destroy(keys)
	}
	if err == nil {
		err = t.dropWidows(label)
	}
	if err != nil {
		return fmt.Errorf("erase key %q in PKCS#11 token %q: %w", label, t.label, err)
	}
	return nil
}

// replacing is what Replace does, cut where the power may be. A private key
// carries the name; its public key is found by id, and its label only pleases
// the eye.
func (t *token) replacing(label, by string) []func() error {
	return []func() error{
		func() error {
			if next, err := t.objects(privateKey(by)...); err != nil || len(next) == 0 {
				return err // an earlier Replace got beyond this
			}
			old, err := t.objects(privateKey(label)...)
			if err != nil {
				return err
			}
			return t.destroy(old)
		},
		func() error {
			for _, l := range []string{label, by} {
				if err := t.dropWidows(l); err != nil {
					return err
				}
			}
			return nil
		},
		func() error {
			next, err := t.objects(privateKey(by)...)
			if err != nil || len(next) == 0 {
				return err
			}
			return t.relabel(next[0], label)
		},
		func() error {
			now, err := t.objects(privateKey(label)...)
			if err != nil || len(now) == 0 {
				return err
			}
			id, err := t.id(now[0])
			if err != nil {
				return err
			}
			publics, err := t.objects(public(id)...)
			if err != nil || len(publics) == 0 {
				return err
			}
			return t.relabel(publics[0], label)
		},
	}
}

// dropWidows destroys public keys with that label whose private key is gone.
func (t *token) dropWidows(label string) error {
	publics, err := t.objects(
		p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY), p11.NewAttribute(p11.CKA_LABEL, label))
	if err != nil {
		return err
	}
	for _, o := range publics {
		id, err := t.id(o)
		if err != nil {
			return err
		}
		privates, err := t.objects(p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_ID, id))
		if err != nil {
			return err
		}
		if len(privates) == 0 {
			if err := t.destroy([]p11.ObjectHandle{o}); err != nil {
				return err
			}
		}
	}
	return nil
}

func (t *token) id(o p11.ObjectHandle) ([]byte, error) {
	a, err := t.ctx.GetAttributeValue(t.sess, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil)})
	if err != nil {
		return nil, err
	}
	return a[0].Value, nil
}

func (t *token) destroy(objects []p11.ObjectHandle) error {
	for _, o := range objects {
		if err := t.ctx.DestroyObject(t.sess, o); err != nil {
			return err
		}
	}
	return nil
}

func (t *token) relabel(o p11.ObjectHandle, label string) error {
	return t.ctx.SetAttributeValue(t.sess, o, []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, label)})
}

// objects finds up to 16 objects with the attributes; more than one is an error
// or a remainder to whoever asks.
func (t *token) objects(with ...*p11.Attribute) ([]p11.ObjectHandle, error) {
	if err := t.ctx.FindObjectsInit(t.sess, with); err != nil {
		return nil, err
	}
	found, _, err := t.ctx.FindObjects(t.sess, 16)
	return found, errors.Join(err, t.ctx.FindObjectsFinal(t.sess))
}

func privateKey(label string) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PRIVATE_KEY), p11.NewAttribute(p11.CKA_LABEL, label)}
}

func public(id []byte) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY), p11.NewAttribute(p11.CKA_ID, id)}
}

func isTrue(a *p11.Attribute) bool { return len(a.Value) == 1 && a.Value[0] != 0 }

type key struct {
	t   *token
	o   p11.ObjectHandle
	pub []byte
}

// Sign has the token sign the SHA-256 digest: CKM_ECDSA is in every token, and
// gives r||s.
func (k *key) Sign(message []byte) ([]byte, error) {
	k.t.mu.Lock()
	defer k.t.mu.Unlock()
	digest := sha256.Sum256(message)
	err := k.t.ctx.SignInit(k.t.sess, []*p11.Mechanism{p11.NewMechanism(p11.CKM_ECDSA, nil)}, k.o)
	var sig []byte
	if err == nil {
		sig, err = k.t.ctx.Sign(k.t.sess, digest[:])
	}
	if err == nil && len(sig) != 64 {
		err = fmt.Errorf("a signature of %d bytes, expected 64", len(sig))
	}
	if err != nil {
		return nil, fmt.Errorf("sign in PKCS#11 token %q: %w", k.t.label, err)
	}
	return sig, nil
}

func (k *key) Suite() uint64   { return suite.ES256 }
func (k *key) Public() []byte  { return k.pub }
func (k *key) Custody() string { return "pkcs11" }
func (k *key) Close() error    { return nil }
