//go:build !pkcs11

package pkcs11

import "errors"

// Dial opens no token: this binary has no PKCS #11.
func Dial(Config) (Token, error) {
	return nil, errors.New("built without PKCS#11; use a binary built with CGO_ENABLED=1 and -tags pkcs11, or keep the key in a file or TPM")
}
