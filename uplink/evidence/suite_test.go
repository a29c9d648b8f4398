package evidence_test

import (
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

func TestKeysAsText(t *testing.T) {
	pub := evidencetest.PublicKey(1)
	text := pub.String()
	got, err := evidence.ParsePublicKey(text)
	if err != nil || pub != got {
		t.Fatalf("%s: %v", text, err)
	}
	for _, bad := range []string{"", "ed25519:", text[1:], text + "A", text[:len(text)-1], text[8:], "ed25519:" + text[8:len(text)-1] + "!", text + "\n"} {
		if _, err := evidence.ParsePublicKey(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
