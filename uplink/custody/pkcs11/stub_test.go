//go:build !pkcs11

package pkcs11

import (
	"strings"
	"testing"
)

func TestStubSaysSo(t *testing.T) {
	if _, err := Dial(Config{}); err == nil || !strings.Contains(err.Error(), "built without PKCS#11") {
		t.Fatalf("error %v, want one that says the binary has no PKCS #11", err)
	}
}
