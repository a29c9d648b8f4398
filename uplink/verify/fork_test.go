package verify

import (
	"errors"
	"slices"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// forked are two histories of one log that part at leaf 3, and the anchor of
// each leaf in both.
func forked(t testing.TB) (a, b *evidencetest.Stream, anchorsA, anchorsB []evidence.Anchor) {
	t.Helper()
	anchors := func(s *evidencetest.Stream) (as []evidence.Anchor) {
		var tree evidence.Anchor
		for _, raw := range s.Deliveries {
			as = append(as, tree)
			d, err := evidence.ParseDelivery(raw)
			if err != nil {
				t.Fatal(err)
			}
			tree.Append(d.Suite(), d.Hash())
		}
		return as
	}
	a, b = evidencetest.NewStream(t, 1, 6), evidencetest.NewStream(t, 1, 1)
	for k := 1; k < 6; k++ {
		d, err := b.Writer.Window(evidencetest.Event(k, evidencetest.SmallMS), evidencetest.SmallWindow(k+20), nil)
		b.Add(t, d, err)
	}
	return a, b, anchors(a), anchors(b)
}

func TestForkProofs(t *testing.T) {
	a, b, anchorsA, anchorsB := forked(t)
	with := func(s *evidencetest.Stream, anchors []evidence.Anchor, n int) []byte {
		return withAnchor(t, s.Deliveries[n], anchors[n])
	}
	flipped := slices.Clone(b.Deliveries[4])
	flipped[20] ^= 1
	for name, tt := range map[string]struct {
		a, b []byte
		code string // "" for no proof
	}{
		"two leaves of one index":              {a.Deliveries[4], b.Deliveries[4], "second-leaf"},
		"the other way round":                  {b.Deliveries[5], a.Deliveries[5], "second-leaf"},
		"a leaf and the next of another":       {with(a, anchorsA, 3), b.Deliveries[4], "anchor-fork"},
		"two anchors":                          {with(a, anchorsA, 4), with(b, anchorsB, 7), "anchor-fork"},
		"the same leaf":                        {a.Deliveries[4], a.Deliveries[4], ""},
		"two leaves of one history":            {with(a, anchorsA, 4), with(a, anchorsA, 7), ""},
		"before they part":                     {with(a, anchorsA, 1), with(b, anchorsB, 5), ""},
		"an anchor that was not signed":        {withAnchor(t, a.Deliveries[3], evidence.Anchor{N: 3, Hashes: []evidence.Hash{{1}, {2}}}), b.Deliveries[4], ""},
		"a leaf whose signature does not hold": {a.Deliveries[4], flipped, ""},
	} {
		p := bundle.FraudProof{Meta: a.Meta, A: tt.a, B: tt.b}
		got, err := bundle.ParseFraudProof(p.Encode())
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		r, err := Fork(pub(1), got)
		if (err == nil) != (tt.code != "") || r.Code != tt.code {
			t.Errorf("%s: %q, %v, want %q", name, r.Code, err, tt.code)
		}
	}
	p := bundle.FraudProof{Meta: a.Meta, A: a.Deliveries[4], B: b.Deliveries[4]}
	if _, err := Fork(pub(2), p); !errors.Is(err, ErrWrongKey) {
		t.Errorf("under another key: %v", err)
	}
	encoded := p.Encode()
	for i := range encoded {
		if _, err := bundle.ParseFraudProof(encoded[:i]); err == nil {
			t.Fatalf("cut at %d: accepted", i)
		}
	}
}
