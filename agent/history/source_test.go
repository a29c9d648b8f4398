package history

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// Every way to an anchor gives the same: the one at hand, and the one rolled
// forward from a segment's start.
func TestAnchors(t *testing.T) {
	h, _, err := OpenWriter(crashfs.New(), &Config{
		Dir: "/box", Quota: 512 << 10, // segments of 32 KiB
		Signer: evidencetest.Signer(1), Salt: make([]byte, 32),
		Uptime: func() time.Duration { return 0 },
	}, &evidence.Dictionary{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	happened := make([]evidence.Happening, 100)
	for i := range happened {
		happened[i] = evidence.Happening{Kind: "line_lost", Subject: "hall-a", Count: 1}
	}
	for range 40 {
		if err := h.Events(happened); err != nil {
			t.Fatal(err)
		}
	}
	src := h.Source()
	if n, err := src.SegmentOf(src.Next() - 1); err != nil || n == 0 {
		t.Fatalf("the newest segment begins at leaf %d, %v; want several segments", n, err)
	}
	suite := h.Suite()
	var want evidence.Anchor
	var rec []byte
	for n := src.First(); n < src.Next(); n++ {
		got, err := src.Anchor(n)
		if err != nil || got.Root(suite) != want.Root(suite) {
			t.Fatalf("anchor of leaf %d: root %v, want %v (%v)", n, got.Root(suite), want.Root(suite), err)
		}
		if rec, err = src.Read(n, rec[:0]); err != nil {
			t.Fatal(err)
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			t.Fatal(err)
		}
		want.Append(d.Suite(), d.Hash())
	}
	for range 2 {
		got, err := src.Anchor(src.Next())
		if err != nil || got.Root(suite) != want.Root(suite) {
			t.Fatalf("anchor of the next leaf: root %v, want %v (%v)", got.Root(suite), want.Root(suite), err)
		}
		src.newest.Store(nil) // now from the log
	}
}
