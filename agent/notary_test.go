package agent

import (
	"bytes"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// TestCosignedIsRecordedAndAnswered: a checkpoint with cosignatures becomes one
// leaf, and the next window says that it was made after them.
func TestCosignedIsRecordedAndAnswered(t *testing.T) {
	d := newDesk(evidence.SuiteEd25519)
	sig := bytes.Repeat([]byte{3}, 72)
	d.cosigned(Cosigned{Note: "first"})
	d.cosigned(Cosigned{Note: "second", Cosignatures: [][]byte{sig}})
	if note := d.takeNote(); note != "second" {
		t.Errorf("note %q", note)
	}
	if note := d.takeNote(); note != "" {
		t.Errorf("note %q again", note)
	}
	if b := d.beacon(); len(b) != 1 || b[0] != evidence.SuiteEd25519.NonceHash(sig) {
		t.Errorf("beacon %v", b)
	}
	if b := d.beacon(); len(b) != 0 {
		t.Errorf("beacon %v again", b)
	}
}
