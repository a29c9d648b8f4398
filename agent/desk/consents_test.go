package desk

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// blank is a history that holds nothing to read.
type blank struct {
	next    uint64
	sealing func()
}

func (*blank) LogID() evidence.LogID               { return evidence.LogID{1} }
func (*blank) Continues() bool                     { return false }
func (*blank) First() uint64                       { return 0 }
func (b *blank) Next() uint64                      { return b.next }
func (*blank) Read(uint64, []byte) ([]byte, error) { panic("there is no leaf") }
func (b *blank) RecordBody(evidence.LeafType, []byte) error {
	b.next++
	b.sealing()
	return nil
}

// TestNobodyKnowsOfALeafBeforeItsEffect: a shipper that is woken by the leaf of a
// withdrawal finds the withdrawal.
func TestNobodyKnowsOfALeafBeforeItsEffect(t *testing.T) {
	disk, h := crashfs.New(), &blank{}
	c, err := OpenConsents(disk, "/box", h)
	if err != nil {
		t.Fatal(err)
	}
	withdrawal := evidencetest.Consent()
	withdrawal.Header.Act, withdrawal.Terms = record.Withdraw, nil
	body, err := record.Encode("bank-a", withdrawal)
	if err != nil {
		t.Fatal(err)
	}
	if err := disk.MkdirAll("/box/desk"); err != nil {
		t.Fatal(err)
	}
	f, err := disk.Create("/box/desk/1.record")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(append([]byte{byte(evidence.ConsentLeaf)}, body...), 0); err != nil {
		t.Fatal(err)
	}
	found := make(chan Standing, 1)
	h.sealing = func() { // the leaf is there, and somebody is woken by it
		go func() { found <- c.Of("bank-a") }()
		for range 100 {
			runtime.Gosched()
		}
		if len(found) > 0 {
			t.Errorf("the lender stands as before: %+v", <-found)
		}
	}
	if err := NewRequests(disk, "/box", c, slog.New(slog.DiscardHandler)).Seal(h); err != nil {
		t.Fatal(err)
	}
	if st := <-found; st.Consent == nil || st.Consent.Header.Act != record.Withdraw || st.Leaf != 0 {
		t.Errorf("%+v", st)
	}
}
