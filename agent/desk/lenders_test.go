package desk

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

func TestNoncesAreAnsweredOnce(t *testing.T) {
	d := NewLenders(evidence.SuiteEd25519)
	hear := func(lender string, nonce byte) {
		r := evidence.Receipt{Nonce: bytes.Repeat([]byte{nonce}, 16)}
		d.Heard(lender, []byte{nonce}, evidence.Message{Receipt: &r}, nil)
	}
	hear("bank-a", 1)
	hear("bank-a", 2) // the newer one counts
	hear("bank-b", 3)
	got := map[evidence.NonceHash]bool{}
	for _, h := range d.Beacon() {
		got[h] = true
	}
	for nonce, want := range map[byte]bool{1: false, 2: true, 3: true} {
		if h := evidence.SuiteEd25519.NonceHash(bytes.Repeat([]byte{nonce}, 16)); got[h] != want {
			t.Errorf("nonce %d answered: %v, want %v", nonce, got[h], want)
		}
	}
	if again := d.Beacon(); len(again) != 0 {
		t.Errorf("%d nonces answered a second time", len(again))
	}
}

// The nonce in a receipt that was recorded is answered though a newer one has come:
// who has nothing but the history knows no other nonce.
func TestTheNonceOfARecordedReceiptIsAnswered(t *testing.T) {
	d := NewLenders(evidence.SuiteEd25519)
	heard := func(b byte) evidence.NonceHash {
		nonce := bytes.Repeat([]byte{b}, 16)
		d.Heard("bank-a", []byte{b}, evidence.Message{Receipt: &evidence.Receipt{Nonce: nonce}}, nil)
		return evidence.SuiteEd25519.NonceHash(nonce)
	}
	recorded := heard(1)
	if got := d.TakeReceipts(false)["bank-a"]; !bytes.Equal(got, []byte{1}) {
		t.Fatalf("recorded %x", got)
	}
	newest := heard(2)
	if hs := d.Beacon(); len(hs) != 2 || !slices.Contains(hs, recorded) || !slices.Contains(hs, newest) {
		t.Errorf("answered %x, want %x and %x", hs, recorded, newest)
	}
	if hs := d.Beacon(); len(hs) != 0 {
		t.Errorf("answered again: %x", hs)
	}
	if got := d.TakeReceipts(true)["bank-a"]; !bytes.Equal(got, []byte{2}) {
		t.Fatalf("recorded %x", got)
	}
	if hs := d.Beacon(); len(hs) != 0 { // it was answered before
		t.Errorf("answered again: %x", hs)
	}
}

func TestReceiptsAreRecordedEveryQuarter(t *testing.T) {
	d := NewLenders(evidence.SuiteEd25519)
	now := time.Unix(1e9, 0)
	d.now = func() time.Time { return now }
	hear := func(raw string) { d.Heard("bank-a", []byte(raw), evidence.Message{Receipt: &evidence.Receipt{}}, nil) }
	hear("first")
	if got := d.TakeReceipts(false); string(got["bank-a"]) != "first" {
		t.Fatalf("took %q", got)
	}
	hear("second")
	now = now.Add(14 * time.Minute)
	if got := d.TakeReceipts(false); len(got) != 0 {
		t.Errorf("took %q after 14 minutes", got)
	}
	hear("third")
	now = now.Add(time.Minute)
	if got := d.TakeReceipts(false); string(got["bank-a"]) != "third" {
		t.Errorf("took %q, want the newest", got)
	}
	if got := d.TakeReceipts(true); len(got) != 0 {
		t.Errorf("took %q again", got)
	}
	hear("fourth")
	if got := d.TakeReceipts(true); string(got["bank-a"]) != "fourth" {
		t.Errorf("at the end took %q", got)
	}
}

// TestChallenge: the answer is one record with every read, whatever came of it;
// a second challenge before that is not served.
func TestChallenge(t *testing.T) {
	d := NewLenders(evidence.SuiteEd25519)
	c := evidence.Challenge{Nonce: [16]byte{5}, Reads: []evidence.RegisterRead{{Meter: "a", Count: 1}, {Meter: "b", Count: 1}}}
	tells := make(chan func(record.RegisterAnswer), 8)
	ask := func(r evidence.RegisterRead, tell func(record.RegisterAnswer)) { tells <- tell }
	d.Heard("bank-a", nil, evidence.Message{Challenge: &c}, ask)
	first := <-tells
	first(record.RegisterAnswer{Code: evidence.OK})
	d.Heard("bank-a", nil, evidence.Message{Challenge: &evidence.Challenge{Nonce: [16]byte{6}, Reads: c.Reads}}, ask)
	if as := d.TakeAnswers(); len(as) != 0 {
		t.Fatalf("answered before everything was read: %+v", as)
	}
	(<-tells)(record.RegisterAnswer{Code: evidence.Timeout})
	as := d.TakeAnswers()
	if len(as) != 1 || as[0].Nonce != c.Nonce || as[0].Lender != "bank-a" || len(as[0].Reads) != 2 {
		t.Fatalf("%+v", as)
	}
	if len(tells) != 0 {
		t.Error("the second challenge was served beside the first")
	}
}

// TestCosignedIsRecordedAndAnswered: a checkpoint with cosignatures becomes one
// leaf, and the next window says that it was made after them.
func TestCosignedIsRecordedAndAnswered(t *testing.T) {
	d := NewLenders(evidence.SuiteEd25519)
	sig := bytes.Repeat([]byte{3}, 72)
	d.Cosigned("first", nil)
	d.Cosigned("second", [][]byte{sig})
	if note := d.TakeNote(); note != "second" {
		t.Errorf("note %q", note)
	}
	if note := d.TakeNote(); note != "" {
		t.Errorf("note %q again", note)
	}
	if b := d.Beacon(); len(b) != 1 || b[0] != evidence.SuiteEd25519.NonceHash(sig) {
		t.Errorf("beacon %v", b)
	}
	if b := d.Beacon(); len(b) != 0 {
		t.Errorf("beacon %v again", b)
	}
}
