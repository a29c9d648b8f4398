// Package pkcs11 keeps the signing keys of suite 2 in a PKCS #11 token: a secure
// element, a smart card, an HSM. It needs the vendor's library and C, so it is
// there only in binaries built with CGO_ENABLED=1 and -tags pkcs11; in others
// Dial says so.
package pkcs11

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/tallystick/tallystick/buffer/vfs/private"
	"github.com/tallystick/tallystick/uplink/custody"
)

// PINVariable is the environment variable read where no PIN file is named. The
// file is better: a process's children and its core dumps have its environment.
const PINVariable = "TALLYSTICK_PKCS11_PIN"

// maxPIN is in bytes; PKCS #11 knows no limit, tokens allow some tens.
const maxPIN = 256

// Config says which token. There is no place for the PIN itself, because a
// configuration is printed, mailed and put under version control.
type Config struct {
	Module  string // path of the vendor's library
	Token   string // the token's label
	PINFile string // holds the user PIN and nothing else, mode 0600; empty: PINVariable
}

// Token is an open token: a custody.Store in which a key's name is its label.
// Its methods, and those of its keys, are safe for concurrent use until Close,
// after which the keys are of no use. A module has one Token in a process.
type Token interface {
	custody.Store
	Close() error
}

// pin reads the PIN. No error holds any of it.
func (c Config) pin() (string, error) {
	if c.PINFile == "" {
		if pin := os.Getenv(PINVariable); pin != "" {
			return pin, nil
		}
		return "", fmt.Errorf("no PIN: name a file that holds it, or set %s", PINVariable)
	}
	f, err := os.Open(c.PINFile)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if mode := info.Mode(); !mode.IsRegular() {
		return "", fmt.Errorf("PIN file %s: mode %v, expected a file with mode 0600", c.PINFile, mode)
	}
	if how, err := private.Exposed(c.PINFile, 0o077); err != nil {
		return "", err
	} else if how != "" {
		return "", fmt.Errorf("PIN file %s: %s", c.PINFile, how)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxPIN+1))
	if err != nil {
		return "", err
	}
	pin := bytes.TrimRight(data, "\r\n")
	switch {
	case len(pin) == 0:
		return "", fmt.Errorf("PIN file %s: is empty", c.PINFile)
	case len(data) > maxPIN:
		return "", fmt.Errorf("PIN file %s: over %d bytes, expected a PIN", c.PINFile, maxPIN)
	case bytes.ContainsAny(pin, "\r\n"):
		return "", fmt.Errorf("PIN file %s: several lines, expected the PIN alone", c.PINFile)
	}
	return string(pin), nil
}

// point returns x||y of a CKA_EC_POINT: the DER OCTET STRING of an uncompressed
// point (PKCS #11 v2.40 current mechanisms, section 2.3.3), or the bare point
// that older tokens give.
func point(attribute []byte) ([]byte, error) {
	bare := attribute
	if len(bare) == 67 && bare[0] == 4 && bare[1] == 65 {
		bare = bare[2:]
	}
	if len(bare) != 65 || bare[0] != 4 {
		return nil, errors.New("its public key is no uncompressed point of P-256")
	}
	return bare[1:], nil
}
