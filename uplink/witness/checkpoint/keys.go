package checkpoint

import (
	"crypto/ed25519"
	"encoding/base64"
	"fmt"
	"strings"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// LogKey is an Ed25519 key as the checkpoint key of the log named (signature
// type 0x01), and the vkey its witnesses and verifiers are given.
func LogKey(origin string, key ed25519.PrivateKey) (_ note.Signer, vkey string, err error) {
	vkey, err = note.NewEd25519VerifierKey(origin, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", err
	}
	v, err := LogVerifier(vkey) // refuses names a note cannot hold
	if err != nil {
		return nil, "", err
	}
	return logSigner{v, key}, vkey, nil
}

type logSigner struct {
	note.Verifier // name and key ID
	key           ed25519.PrivateKey
}

func (s logSigner) Sign(msg []byte) ([]byte, error) { return ed25519.Sign(s.key, msg), nil }

// LogVerifier reads the vkey of a log.
func LogVerifier(vkey string) (note.Verifier, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("log key %.200q: %w", vkey, err)
	}
	return v, nil
}

// WitnessKey is an Ed25519 key as the cosignature/v1 key of the witness named
// (signature type 0x04), and the vkey its users are given. The signer takes the
// time of this machine. The key must not serve another purpose or name: the
// signed message does not hold them (tlog-cosignature).
func WitnessKey(name string, key ed25519.PrivateKey) (_ note.Signer, vkey string, err error) {
	plain, err := note.NewEd25519VerifierKey(name, key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, "", err
	}
	vkey, err = fnote.VKeyToCosignatureV1(plain)
	if err != nil {
		return nil, "", fmt.Errorf("witness name %q: %w", name, err)
	}
	v, err := WitnessVerifier(vkey)
	if err != nil {
		return nil, "", err
	}
	const ed25519Cosignature = 0x04
	secret := base64.StdEncoding.EncodeToString(append([]byte{ed25519Cosignature}, key.Seed()...))
	s, err := fnote.NewSignerForCosignatureV1(fmt.Sprintf("PRIVATE+KEY+%s+%08x+%s", name, v.KeyHash(), secret))
	return s, vkey, err
}

// WitnessVerifier reads the vkey of a witness: Ed25519 or ML-DSA-44.
func WitnessVerifier(vkey string) (note.Verifier, error) {
	v, err := fnote.NewVerifierForCosignatureV1(vkey)
	if err != nil {
		return nil, fmt.Errorf("witness key %.200q: %w", vkey, err)
	}
	// The library takes a log's key for a witness's and does not look at the ID.
	if want := fmt.Sprintf("%s+%08x+", v.Name(), v.KeyHash()); !strings.HasPrefix(vkey, want) {
		return nil, fmt.Errorf("witness key %.200q: not a cosignature key, which would begin %s", vkey, want)
	}
	return v, nil
}
