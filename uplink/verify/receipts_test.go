package verify

import (
	"bytes"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// receipted is a log in which a lender's receipts stand: after windows 0 to 3 one
// with a nonce, which window 4 answers, and after that one for everything.
func receipted(t *testing.T, signer byte) *evidencetest.Stream {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 4)
	nonce := bytes.Repeat([]byte{5}, 16)
	record := func(k int, pause time.Duration) {
		r := evidence.Receipt{Log: s.Writer.LogID(), N: s.Writer.N() - 1, Root: s.Writer.Anchor().Root(evidence.SuiteEd25519),
			ReceivedAt: evidencetest.Point(k).Start + pause.Milliseconds(), Status: "ok", Nonce: nonce}
		raw, err := evidence.SignReceipt(evidencetest.Signer(signer), r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := record.Encode("bank-a", raw)
		if err != nil {
			t.Fatal(err)
		}
		e := evidencetest.Point(k)
		d, err := s.Writer.Record(e, evidence.ReceiptLeaf, body)
		s.Add(t, d, err)
	}
	record(4, 2*time.Second)
	d, err := s.Writer.Window(evidencetest.Event(4, evidencetest.SmallMS), evidencetest.SmallWindow(4), []evidence.NonceHash{evidence.SuiteEd25519.NonceHash(nonce)})
	s.Add(t, d, err)
	nonce = bytes.Repeat([]byte{6}, 16)
	record(5, time.Minute)
	d, err = s.Writer.Window(evidencetest.Event(5, evidencetest.SmallMS), evidencetest.SmallWindow(5), nil)
	s.Add(t, d, err)
	return s
}

// TestReceiptsInTheLog: a bundle alone, and the lender's public key, show when the
// windows had been received and that one was made after a nonce.
func TestReceiptsInTheLog(t *testing.T) {
	for name, tt := range map[string]struct {
		signer byte
		want   map[Grade]uint64
	}{
		"of the lender":     {9, map[Grade]uint64{GradeB: 4, GradeA: 1, GradeD: 1}},
		"of somebody else":  {8, map[Grade]uint64{GradeD: 6}},
		"signed by the box": {1, map[Grade]uint64{GradeD: 6}},
	} {
		s := receipted(t, tt.signer)
		file := archive(t, s, 0, uint64(len(s.Deliveries)-1), nil)
		policy := trusting(s)
		policy.Times = nil
		var err error
		if policy.Receipts, err = CollectReceipts(bytes.NewReader(file), Believed{Lenders: []evidence.PublicKey{pub(9)}}); err != nil {
			t.Fatal(err)
		}
		sum, err := Bundle(bytes.NewReader(file), policy, nil)
		if err != nil || sum.Verdict != Verified {
			t.Fatalf("%s: %s %v, %v", name, sum.Verdict, sum.Reasons, err)
		}
		for g, n := range tt.want {
			if sum.Grades[g] != n {
				t.Errorf("%s: %v, want %v", name, sum.Grades, tt.want)
			}
		}
	}
}

// TestRepeatedReceipts: a box that puts one receipt into its log again and again takes
// no more of a reader's memory than with one.
func TestRepeatedReceipts(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	raw, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{Log: s.Writer.LogID(), N: 2, Root: s.Writer.Anchor().Root(evidence.SuiteEd25519),
		ReceivedAt: evidencetest.Start, Status: "ok", Nonce: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	body, err := record.Encode("bank-a", raw)
	if err != nil {
		t.Fatal(err)
	}
	for range 50 {
		d, err := s.Writer.Record(evidencetest.Point(1), evidence.ReceiptLeaf, body)
		s.Add(t, d, err)
	}
	rs, err := CollectReceipts(bytes.NewReader(archive(t, s, 0, uint64(len(s.Deliveries)-1), nil)), Believed{Lenders: []evidence.PublicKey{pub(9)}})
	if err != nil || len(rs.confirmed) != 1 || len(rs.nonces) != 1 {
		t.Errorf("%d receipts and %d nonces are kept, want one of each: %v", len(rs.confirmed), len(rs.nonces), err)
	}
}
