package tpm

import (
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"
)

// block is the PEM type of a wrapped key.
const block = "TSS2 PRIVATE KEY"

// loadableKey is id-loadablekey: for TPM2_Load under the parent named.
var loadableKey = asn1.ObjectIdentifier{2, 23, 133, 10, 1, 3}

// wrapped is TPMKey without the fields for passwords and policies, which our
// keys do not have. The parent is the hierarchy whose storage root key wraps it.
type wrapped struct {
	Type      asn1.ObjectIdentifier
	EmptyAuth bool `asn1:"optional,explicit,tag:0"`
	Parent    int64
	Public    []byte // TPM2B_PUBLIC
	Private   []byte // TPM2B_PRIVATE
}

type blobs struct {
	public  tpm2.TPM2BPublic
	private tpm2.TPM2BPrivate
}

func parseWrapped(der []byte) (*blobs, error) {
	var w wrapped
	rest, err := asn1.Unmarshal(der, &w)
	switch {
	case err != nil:
		return nil, err
	case len(rest) != 0:
		return nil, errors.New("it does not end where it says")
	case !w.Type.Equal(loadableKey):
		return nil, fmt.Errorf("type %s, expected %s", w.Type, loadableKey)
	case !w.EmptyAuth:
		return nil, errors.New("the key has a password, expected none")
	case w.Parent != int64(tpm2.TPMRHOwner):
		return nil, fmt.Errorf("parent 0x%x, expected 0x%x", w.Parent, int64(tpm2.TPMRHOwner))
	}
	public, err := tpm2.Unmarshal[tpm2.TPM2BPublic](w.Public)
	if err != nil {
		return nil, fmt.Errorf("public area: %w", err)
	}
	private, err := tpm2.Unmarshal[tpm2.TPM2BPrivate](w.Private)
	if err != nil {
		return nil, fmt.Errorf("private area: %w", err)
	}
	return &blobs{*public, *private}, nil
}
