package uplink

import (
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// FuzzReceipt: nothing but a receipt the lender signed moves the cursor.
func FuzzReceipt(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 5)
	log := newMemLog(f, s)
	good, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{Log: s.Writer.LogID(), N: 2, Root: log.root(3), Status: "ok"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good[:len(good)-1])
	f.Add([]byte{0xd2, 0x84})
	w := &world{id: s.Writer.LogID(), log: log, cursor: &memCursor{}, key: evidencetest.Signer(9), sent: map[uint64]int{}}
	f.Fuzz(func(t *testing.T, b []byte) {
		if string(b) == string(good) {
			return
		}
		sh, err := New(w.config())
		if err != nil {
			t.Fatal(err)
		}
		e := newEpoch(sh, &fakeSession{w: w, done: make(chan struct{})})
		defer e.end()
		e.message(b)
		if sh.base != 0 || w.cursor.Get() != 0 {
			t.Fatalf("believed %x", b)
		}
	})
}
