package seal_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// rootOf is RFC 6962 section 2.1 written down plainly.
func rootOf(leaves [][]byte) []byte {
	h := rfc6962.DefaultHasher
	switch len(leaves) {
	case 0:
		return h.EmptyRoot()
	case 1:
		return h.HashLeaf(leaves[0])
	}
	k := 1
	for k*2 < len(leaves) {
		k *= 2
	}
	return h.HashChildren(rootOf(leaves[:k]), rootOf(leaves[k:]))
}

func TestEveryRootIsThatOfTheLeavesBefore(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 40)
	var payloads [][]byte
	for n, b := range s.Deliveries {
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			t.Fatal(err)
		}
		if want := rootOf(payloads); !bytes.Equal(d.Manifest.Root[:], want) || d.Manifest.N != uint64(n) {
			t.Fatalf("leaf %d: index %d, root %s, want %x", n, d.Manifest.N, d.Manifest.Root, want)
		}
		if d.Manifest.Log != s.Writer.LogID() {
			t.Fatalf("leaf %d: log %s", n, d.Manifest.Log)
		}
		payloads = append(payloads, d.Payload)
	}
	if got := s.Writer.Anchor().Root(evidence.SuiteEd25519); !bytes.Equal(got[:], rootOf(payloads)) {
		t.Errorf("anchor root %s", got)
	}
}

func resume(t *testing.T, preamble []byte) *seal.Writer {
	t.Helper()
	w, err := seal.Resume(evidencetest.Signer(1), evidencetest.Secret(), preamble)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestResume restarts a writer from every segment boundary: the next leaf is
// the very one an uninterrupted writer makes.
func TestResume(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 0)
	preambles := [][]byte{nil, nil}
	note := func() {
		p, err := s.Writer.Preamble()
		if err != nil {
			t.Fatal(err)
		}
		preambles = append(preambles, p)
	}
	for range 5 {
		note()
		s.Window(t)
	}
	note()
	d, err := s.Writer.Config(evidencetest.Point(5), evidencetest.Small(), evidence.Hash{3})
	s.Add(t, d, err)
	note()
	d, err = s.Writer.Window(evidencetest.Event(5, evidencetest.SmallMS), evidencetest.SmallWindow(5), nil)
	s.Add(t, d, err)
	meta := s.Writer.Meta().Encode()

	last := len(s.Deliveries) - 1
	for start := range s.Deliveries {
		from := start
		if preambles[start] == nil {
			from = 0
		}
		w := resume(t, preambles[start])
		for _, d := range s.Deliveries[from:last] {
			if err := w.Replay(d); err != nil {
				t.Fatalf("from %d: %v", start, err)
			}
		}
		if w.N() != uint64(last) || w.LogID() != s.Writer.LogID() || !bytes.Equal(w.Meta().Encode(), meta) {
			t.Fatalf("from %d: at leaf %d of log %s", start, w.N(), w.LogID())
		}
		got, err := w.Window(evidencetest.Event(5, evidencetest.SmallMS), evidencetest.SmallWindow(5), nil)
		if err != nil || !bytes.Equal(got, s.Deliveries[last]) {
			t.Errorf("from %d: the next leaf differs (%v)", start, err)
		}
		if preambles[start] != nil {
			a, err := seal.Anchor(preambles[start])
			if err != nil || a.N != uint64(start) {
				t.Errorf("anchor of preamble %d: %+v, %v", start, a, err)
			}
		}
	}
	w := resume(t, preambles[3]) // a preamble newer than the segment's first record
	for _, d := range s.Deliveries[2:] {
		if err := w.Replay(d); err != nil {
			t.Fatal(err)
		}
	}
	if w.Anchor().Root(evidence.SuiteEd25519) != s.Writer.Anchor().Root(evidence.SuiteEd25519) {
		t.Error("replay over a newer preamble lost its way")
	}
}

func TestReplayRefuses(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 3)
	foreign := evidencetest.NewStream(t, 2, 3)
	fresh := func(n int) *seal.Writer {
		w := resume(t, nil)
		for _, d := range s.Deliveries[:n] {
			if err := w.Replay(d); err != nil {
				t.Fatal(err)
			}
		}
		return w
	}
	if err := fresh(2).Replay(s.Deliveries[3]); err == nil {
		t.Error("a missing record was not noticed")
	}
	if err := fresh(2).Replay(foreign.Deliveries[2]); !errors.Is(err, evidence.ErrSignature) {
		t.Errorf("another box's record: %v", err)
	}
	flipped := bytes.Clone(s.Deliveries[2])
	flipped[60] ^= 1
	if err := fresh(2).Replay(flipped); err == nil {
		t.Error("a changed record was not noticed")
	}
	other := evidencetest.NewStream(t, 1, 0)
	other.Deliveries = append(other.Deliveries, nil)
	other.Window(t)
	other.Window(t)
	if err := fresh(3).Replay(other.Deliveries[4]); err == nil {
		t.Error("a record of another history was not noticed")
	}
	p, err := s.Writer.Preamble()
	if err != nil {
		t.Fatal(err)
	}
	w, err := seal.Resume(evidencetest.Signer(2), evidencetest.Secret(), p)
	if err == nil {
		err = w.Ready()
	}
	if !errors.Is(err, evidence.ErrSignature) {
		t.Errorf("resumed with another key: %v", err)
	}
	for i := range p {
		cut := p[:i]
		if _, err := seal.Anchor(cut); err == nil {
			t.Fatalf("preamble cut to %d bytes accepted", i)
		}
	}
}

// failing is a signer whose key is out of reach.
type failing struct{ evidence.Signer }

func (failing) Sign([]byte) ([]byte, error) { return nil, errors.New("no token in the slot") }

// TestErrorChangesNothing: after a refusal the writer goes on as if it had
// not been asked.
func TestErrorChangesNothing(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	data := evidencetest.SmallWindow(1)
	delete(data, evidence.Energy)
	e := evidencetest.Event(1, evidencetest.SmallMS)
	if _, err := s.Writer.Window(e, data, nil); err == nil {
		t.Error("a window without a channel was sealed")
	}
	data = evidencetest.SmallWindow(1)
	data[evidence.Energy] = data[evidence.Energy][:1]
	if _, err := s.Writer.Window(e, data, nil); err == nil {
		t.Error("a window without a meter was sealed")
	}
	bad := e
	bad.TimeFlag = "X"
	if _, err := s.Writer.Window(bad, evidencetest.SmallWindow(1), nil); err == nil {
		t.Error("an unknown time flag was sealed")
	}
	if _, err := s.Writer.Config(e, evidence.Dictionary{Meters: []evidence.Meter{{}}}, evidence.Hash{}); err == nil {
		t.Error("a meter without a name was sealed")
	}
	if _, err := s.Writer.Loss(e, []evidence.LostRange{{Lo: 1, Hi: 99}}); err == nil {
		t.Error("the loss of leaves to come was sealed")
	}
	s.Window(t)
	if want := evidencetest.NewStream(t, 1, 2); !bytes.Equal(s.Deliveries[3], want.Deliveries[3]) {
		t.Error("the refusals left a trace")
	}
	if _, _, err := seal.NewWriter(failing{evidence.NewEd25519Signer(evidencetest.Key(1), "token")}, evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Point(0)}); err == nil {
		t.Error("a genesis without a signature")
	}
	if _, _, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), ""), []byte("short"), evidence.Genesis{}); err == nil {
		t.Error("a secret of 5 bytes was accepted")
	}
}

// TestSaltsDiffer: equal readings never give equal blocks, so a lender cannot
// guess a block it was not given by trying likely values.
func TestSaltsDiffer(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 0)
	seen := map[evidence.Hash]bool{}
	for range 4 {
		d, err := s.Writer.Window(evidencetest.Event(0, evidencetest.SmallMS), evidencetest.SmallWindow(0), nil)
		if err != nil {
			t.Fatal(err)
		}
		p, err := evidence.ParseDelivery(d)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range p.Blocks {
			blk, err := evidence.DecodeBlock(b.Bytes, evidencetest.Small().Channels[b.Channel])
			if err != nil {
				t.Fatal(err)
			}
			if h := (evidence.Hash)(append(blk.Salt[:], make([]byte, 16)...)); seen[h] {
				t.Error("a salt was used twice")
			} else {
				seen[h] = true
			}
		}
	}
}

func TestCompleteness(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 3)
	for n, want := range map[int]uint16{2: 1000, 4: 866} { // 15 samples, 2 of them missing
		d, err := evidence.ParseDelivery(s.Deliveries[n])
		if err != nil || d.Manifest.Completeness != want {
			t.Errorf("leaf %d: %d permille, want %d (%v)", n, d.Manifest.Completeness, want, err)
		}
	}
}
