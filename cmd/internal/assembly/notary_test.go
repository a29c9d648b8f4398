package assembly

import (
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/witness"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// stored is a stream as a notary reads it.
type stored struct{ *evidencetest.Stream }

func (h stored) Read(n uint64, dst []byte) ([]byte, error) { return h.Deliveries[n], nil }

func (h stored) Anchor(n uint64) (a evidence.Anchor, err error) {
	for _, b := range h.Deliveries[:n] {
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			return a, err
		}
		a.Append(d.Suite(), d.Hash())
	}
	return a, nil
}

// TestNotary: a box shows its heads to a real witness, again after it has
// forgotten what the witness knows, in each hash there is.
func TestNotary(t *testing.T) {
	for _, suite := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteSM2} {
		s := stored{evidencetest.NewStreamOf(t, evidencetest.SuiteSigner(suite, 1), nil, 3)}
		log := s.Writer.LogID()
		key, vkey, err := checkpoint.LogKey(checkpoint.Origin(log), evidencetest.Key(20))
		if err != nil {
			t.Fatal(err)
		}
		verifier, err := checkpoint.LogVerifier(vkey)
		if err != nil {
			t.Fatal(err)
		}
		own, name, err := checkpoint.WitnessKey("witness.example/w", evidencetest.Key(21))
		if err != nil {
			t.Fatal(err)
		}
		tree := checkpoint.SHA256()
		if suite == evidence.SuiteSM2 {
			tree = checkpoint.SM3()
		}
		w, err := witness.Open(witness.Config{FS: vfs.OS(), Dir: t.TempDir(), Key: own, Logger: slog.New(slog.DiscardHandler),
			Logs: []witness.Log{{Key: verifier, Tree: tree}}})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Close()
		server := httptest.NewServer(w)
		defer server.Close()
		policy, err := checkpoint.ParsePolicy(fmt.Appendf(nil, "witness w %s %s\nquorum w\n", name, server.URL))
		if err != nil {
			t.Fatal(err)
		}
		fresh := func() *notary {
			return &notary{origin: checkpoint.Origin(log), hasher: tree, client: witness.NewClient(), witnesses: policy.Witnesses,
				sizes: map[string]uint64{}, sign: func(c checkpoint.Checkpoint) ([]byte, error) { return checkpoint.Sign(c, key) }}
		}
		n := fresh()
		show := func(windows int) {
			t.Helper()
			for range windows {
				s.Window(t)
			}
			c, err := n.notarize(t.Context(), s.Writer.Anchor(), suite, s)
			if err != nil {
				t.Fatal(err)
			}
			st, err := policy.Evaluate([]byte(c.Note), verifier)
			if err != nil || !st.Met || st.Checkpoint.Size != s.Writer.N() || st.Checkpoint.Root != s.Writer.Anchor().Root(suite) || len(c.Cosignatures) != 1 || len(c.Cosignatures[0]) != 72 {
				t.Fatalf("suite %d: %+v, %v, %d cosignatures", suite, st, err, len(c.Cosignatures))
			}
		}
		show(0)
		show(4)
		n = fresh() // a box that was restarted
		show(3)
		show(0)
		// A box whose history is another one now is not cosigned, and hears it.
		other := stored{evidencetest.NewStreamOf(t, evidencetest.SuiteSigner(suite, 1), nil, 1)}
		for k := range 12 {
			d, err := other.Writer.Window(evidencetest.Event(k+1, evidencetest.SmallMS), evidencetest.SmallWindow(k+40), nil)
			other.Add(t, d, err)
		}
		c, err := n.notarize(t.Context(), other.Writer.Anchor(), suite, other)
		if err == nil || len(c.Cosignatures) != 0 || !strings.Contains(err.Error(), "witness w") {
			t.Errorf("suite %d: another history was cosigned: %v", suite, err)
		}
		if _, err := note.Open([]byte(c.Note), note.VerifierList(verifier)); err != nil {
			t.Errorf("the checkpoint itself: %v", err)
		}
	}
}
