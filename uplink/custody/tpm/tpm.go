// Package tpm keeps a box's keys in a TPM 2.0: the signing keys of suite 2, the
// attestation key and a counter that only rises.
//
// A key is made in the TPM and never leaves it in the clear; what is stored is
// a file with the key wrapped by the TPM's storage root key, of use to this TPM
// only. Files are in the form other programs read (ASN.1 Specification for TPM
// 2.0 Key Files, block TSS2 PRIVATE KEY), under the rules of uplink/keyfile.
//
// Keys have no password, because the box must start alone: whoever may use the
// device may sign. What the TPM adds to a file is that a key cannot be copied
// to another machine.
package tpm

import (
	"crypto/sha256"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/google/go-tpm/tpm2"
	"github.com/google/go-tpm/tpm2/transport"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

// TPM is an open TPM. As a custody.Store it keeps signing keys; a key's name is
// the path of its file. Its methods, and those of what it returns, are safe for
// concurrent use until Close.
type TPM struct {
	device string
	mu     sync.Mutex
	t      transport.TPMCloser
	// room is held while keys are loaded: a TPM has memory for three, and an
	// emulator no resource manager that swaps them.
	room sync.Mutex
}

// Dial opens the TPM at device: a resource-managed character device, on Linux
// /dev/tpmrm0, or the Unix socket of an emulator. Windows has one TPM, whatever
// the name.
func Dial(device string) (*TPM, error) {
	t, err := dial(device)
	if err != nil {
		return nil, fmt.Errorf("open TPM %s: %w", device, err)
	}
	return &TPM{device: device, t: t}, nil
}

// Close ends the connection. Keys still open are of no use after it.
func (t *TPM) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.t.Close()
}

// Send makes TPM a transport: a command at a time.
func (t *TPM) Send(command []byte) ([]byte, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.t.Send(command)
}

func (t *TPM) failed(what string, err error) error {
	return fmt.Errorf("%s in TPM %s: %w", what, t.device, err)
}

// Open loads the signing key from the file at path. Anything wrong with an
// existing file is a *keyfile.Error.
func (t *TPM) Open(path string) (custody.Key, error) {
	k, err := t.open(path, signing)
	if err != nil {
		return nil, err
	}
	return &signingKey{k}, nil
}

// Create makes a signing key and stores it, wrapped, in a new file at path.
func (t *TPM) Create(path string) (custody.Key, error) {
	k, err := t.create(path, signing)
	if err != nil {
		return nil, err
	}
	return &signingKey{k}, nil
}

// Replace is keyfile.Replace. With the file erased the TPM cannot load the key
// again; who kept a copy of the file can, in this TPM, until its owner clears
// it. A key that is open can be used until its Close.
func (t *TPM) Replace(path, by string) error { return keyfile.Replace(path, by) }

// Erase is keyfile.Erase; what that is worth in a TPM Replace says.
func (t *TPM) Erase(path string) error { return keyfile.Erase(path) }

type signingKey struct{ *key }

// Sign signs with TPM2_Sign; some hundred milliseconds on a real chip.
func (k *signingKey) Sign(message []byte) ([]byte, error) {
	digest := sha256.Sum256(message)
	var rsp *tpm2.SignResponse
	err := k.use(func(h tpm2.AuthHandle) (err error) {
		rsp, err = tpm2.Sign{
			KeyHandle:  h,
			Digest:     tpm2.TPM2BDigest{Buffer: digest[:]},
			Validation: tpm2.TPMTTKHashCheck{Tag: tpm2.TPMSTHashCheck, Hierarchy: tpm2.TPMRHNull},
		}.Execute(k.tpm)
		return err
	})
	if err != nil {
		return nil, k.tpm.failed("sign", err)
	}
	return raw(&rsp.Signature)
}

func (k *signingKey) Suite() uint64   { return suite.ES256 }
func (k *signingKey) Custody() string { return "tpm" }

// AttestationKey is a P-256 key restricted to signing what the TPM itself says.
type AttestationKey struct{ *key }

// OpenAttestationKey loads the attestation key from the file at path, as Open
// does for a signing key.
func (t *TPM) OpenAttestationKey(path string) (*AttestationKey, error) {
	k, err := t.open(path, attesting)
	if err != nil {
		return nil, err
	}
	return &AttestationKey{k}, nil
}

// CreateAttestationKey makes an attestation key and stores it in a new file at
// path, as Create does with a signing key.
func (t *TPM) CreateAttestationKey(path string) (*AttestationKey, error) {
	k, err := t.create(path, attesting)
	if err != nil {
		return nil, err
	}
	return &AttestationKey{k}, nil
}

// key is a key of the TPM. Between uses it lies here, encrypted by the TPM.
type key struct {
	tpm     *TPM
	context *tpm2.TPMSContext // nil after Close
	name    tpm2.TPM2BName
	pub     []byte
}

// Public returns x||y, 64 bytes.
func (k *key) Public() []byte { return k.pub }

// Close forgets the key; its file stays.
func (k *key) Close() error {
	k.tpm.room.Lock()
	defer k.tpm.room.Unlock()
	k.context = nil
	return nil
}

// use loads the key for as long as f runs.
func (k *key) use(f func(tpm2.AuthHandle) error) error {
	k.tpm.room.Lock()
	defer k.tpm.room.Unlock()
	if k.context == nil {
		return errors.New("the key is closed")
	}
	loaded, err := tpm2.ContextLoad{Context: *k.context}.Execute(k.tpm)
	if err != nil {
		return err
	}
	err = f(auth(loaded.LoadedHandle, k.name))
	return errors.Join(err, k.tpm.flush(loaded.LoadedHandle))
}

// auth is a loaded object as commands name it.
func auth(h tpm2.TPMHandle, name tpm2.TPM2BName) tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: h, Name: name, Auth: tpm2.PasswordAuth(nil)}
}

func (t *TPM) flush(h tpm2.TPMHandle) error {
	_, err := tpm2.FlushContext{FlushHandle: h}.Execute(t)
	return err
}

// purpose is what a key is for; its value stands in error texts.
type purpose string

const (
	signing   purpose = "signing key"
	attesting purpose = "attestation key"
)

// template is the public area asked of the TPM, and expected of a file.
func (p purpose) template() tpm2.TPMTPublic {
	return tpm2.TPMTPublic{
		Type:    tpm2.TPMAlgECC,
		NameAlg: tpm2.TPMAlgSHA256,
		ObjectAttributes: tpm2.TPMAObject{
			FixedTPM:            true,
			FixedParent:         true,
			SensitiveDataOrigin: true,
			UserWithAuth:        true,
			NoDA:                true, // an empty password is not worth a lockout
			Restricted:          p == attesting,
			SignEncrypt:         true,
		},
		Parameters: tpm2.NewTPMUPublicParms(tpm2.TPMAlgECC, &tpm2.TPMSECCParms{
			Scheme: tpm2.TPMTECCScheme{
				Scheme:  tpm2.TPMAlgECDSA,
				Details: tpm2.NewTPMUAsymScheme(tpm2.TPMAlgECDSA, &tpm2.TPMSSigSchemeECDSA{HashAlg: tpm2.TPMAlgSHA256}),
			},
			CurveID: tpm2.TPMECCNistP256,
		}),
		Unique: tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{}),
	}
}

// check returns x||y of a public area that has the purpose's template.
func (p purpose) check(public *tpm2.TPMTPublic) ([]byte, error) {
	point, err := public.Unique.ECC()
	if err != nil {
		return nil, err
	}
	want := p.template()
	want.Unique = public.Unique
	if string(tpm2.Marshal(want)) != string(tpm2.Marshal(*public)) {
		return nil, fmt.Errorf("is no %s: its attributes, scheme or curve are others", p)
	}
	if len(point.X.Buffer) > 32 || len(point.Y.Buffer) > 32 {
		return nil, errors.New("has a public key of over 64 bytes")
	}
	pub := suite.Join(new(big.Int).SetBytes(point.X.Buffer), new(big.Int).SetBytes(point.Y.Buffer))
	return pub, suite.CheckPublic(suite.ES256, pub)
}

func (t *TPM) create(path string, p purpose) (*key, error) {
	var made *tpm2.CreateResponse
	err := t.below(func(parent tpm2.AuthHandle) (err error) {
		made, err = tpm2.Create{ParentHandle: parent, InPublic: tpm2.New2B(p.template())}.Execute(t)
		return err
	})
	if err != nil {
		return nil, t.failed("make a "+string(p), err)
	}
	der, err := asn1.Marshal(wrapped{
		Type: loadableKey, EmptyAuth: true, Parent: int64(tpm2.TPMRHOwner),
		Public: tpm2.Marshal(made.OutPublic), Private: tpm2.Marshal(made.OutPrivate),
	})
	if err != nil {
		return nil, err
	}
	if err := keyfile.WriteBlocks(path, &pem.Block{Type: block, Bytes: der}); err != nil {
		return nil, err
	}
	return t.open(path, p)
}

func (t *TPM) open(path string, p purpose) (*key, error) {
	unusable := func(why string, args ...any) error {
		return &keyfile.Error{Path: path, Why: fmt.Sprintf(why, args...),
			Fix: "restore the file from your backup, on this machine: a TPM's key works in no other TPM"}
	}
	blocks, err := keyfile.ReadBlocks(path)
	if err != nil {
		return nil, err
	}
	der, ok := blocks[block]
	if !ok {
		return nil, unusable("holds no %s, expected the key of a TPM", block)
	}
	w, err := parseWrapped(der)
	if err != nil {
		return nil, unusable("the %s in it is damaged: %v", block, err)
	}
	public, err := w.public.Contents()
	if err != nil {
		return nil, unusable("the %s in it is damaged: %v", block, err)
	}
	pub, err := p.check(public)
	if err != nil {
		return nil, unusable("the key in it %v", err)
	}

	k := &key{tpm: t, pub: pub}
	err = t.below(func(parent tpm2.AuthHandle) error {
		loaded, err := tpm2.Load{ParentHandle: parent, InPrivate: w.private, InPublic: w.public}.Execute(t)
		if err != nil {
			return err
		}
		k.name = loaded.Name
		saved, err := tpm2.ContextSave{SaveHandle: loaded.ObjectHandle}.Execute(t)
		if err == nil {
			k.context = &saved.Context
		}
		return errors.Join(err, t.flush(loaded.ObjectHandle))
	})
	if errors.Is(err, tpm2.TPMRCIntegrity) {
		return nil, unusable("its key is not one of TPM %s as it is now: it was made in another, or this one was cleared", t.device)
	}
	if err != nil {
		return nil, t.failed("load key file "+path, err)
	}
	return k, nil
}

// below runs f with the storage root key of the owner hierarchy: the same one
// each time, from the TPM's seed, by the template of the TCG's Provisioning
// Guidance section 7.5.1 with an empty unique field, as the format of the key
// files has it.
func (t *TPM) below(f func(parent tpm2.AuthHandle) error) error {
	t.room.Lock()
	defer t.room.Unlock()
	template := tpm2.ECCSRKTemplate
	template.Unique = tpm2.NewTPMUPublicID(tpm2.TPMAlgECC, &tpm2.TPMSECCPoint{})
	rsp, err := tpm2.CreatePrimary{
		PrimaryHandle: auth(tpm2.TPMRHOwner, tpm2.TPM2BName{}),
		InPublic:      tpm2.New2B(template),
	}.Execute(t)
	if err != nil {
		return fmt.Errorf("make the storage root key (the owner hierarchy must have no password): %w", err)
	}
	err = f(auth(rsp.ObjectHandle, rsp.Name))
	return errors.Join(err, t.flush(rsp.ObjectHandle))
}

// raw is an ECDSA signature as r||s; a TPM may leave out leading zeros.
func raw(s *tpm2.TPMTSignature) ([]byte, error) {
	sig, err := s.Signature.ECDSA()
	if err != nil {
		return nil, err
	}
	r, v := new(big.Int).SetBytes(sig.SignatureR.Buffer), new(big.Int).SetBytes(sig.SignatureS.Buffer)
	if r.BitLen() > 256 || v.BitLen() > 256 {
		return nil, fmt.Errorf("the TPM's signature has numbers of %d and %d bits, expected at most 256", r.BitLen(), v.BitLen())
	}
	return suite.Join(r, v), nil
}
