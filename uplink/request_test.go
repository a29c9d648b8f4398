package uplink

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// TestReplay: what the lender asks for again comes again, of the channels it
// may have, the first one with an anchor; the cursor does not move.
func TestReplay(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		cfg := w.config()
		allowed := []evidence.Channel{evidence.Energy, evidence.Timing}
		cfg.Grants = func(int64) []evidence.Channel { return allowed }
		s, stop := w.run(cfg)
		defer stop()
		ends(t, s, time.Hour)
		at := w.cursor.Get()
		ask := func(issued int64, lo, hi uint64, channels ...evidence.Channel) {
			b, err := evidence.SignReplay(w.key, evidence.Replay{Log: w.id, Issued: issued, Lo: lo, Hi: hi, Channels: channels})
			if err != nil {
				t.Fatal(err)
			}
			w.tell(b)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		ask(10, 5, 9, evidence.Energy, evidence.VoltageCurrent)
		ask(10, 5, 9, evidence.Energy) // the same again: somebody repeats it
		if len(w.replayed) != 5 {
			t.Fatalf("%d deliveries came again, want 5", len(w.replayed))
		}
		for i, b := range w.replayed {
			d, err := evidence.ParseDelivery(b)
			if err != nil || d.Manifest.N != uint64(5+i) || (d.Anchor != nil) != (i == 0) {
				t.Fatalf("delivery %d: leaf %d, anchor %v, %v", i, d.Manifest.N, d.Anchor, err)
			}
			if len(d.Blocks) != 1 || d.Blocks[0].Channel != evidence.Energy {
				t.Errorf("leaf %d came with %d blocks", d.Manifest.N, len(d.Blocks))
			}
		}
		w.replayed = nil
		ask(11, 18, 500, evidence.Timing) // beyond the end
		if len(w.replayed) != 4 || w.cursor.Get() != at {
			t.Errorf("%d deliveries for 18 to the end, cursor %d, was %d", len(w.replayed), w.cursor.Get(), at)
		}
	})
}

// TestHeard: challenges and receipts of the lender are passed on, those of
// others and repeated ones are not.
func TestHeard(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 3)
		cfg := w.config()
		var challenges, receipts int
		cfg.Heard = func(raw []byte, m evidence.Message) {
			switch again, err := evidence.OpenMessage(cfg.Key, raw); {
			case err != nil:
				t.Errorf("passed on what is not the lender's: %v", err)
			case m.Challenge != nil && again.Challenge.Issued == m.Challenge.Issued:
				challenges++
			case m.Receipt != nil && again.Receipt.N == m.Receipt.N:
				receipts++
			}
		}
		s, stop := w.run(cfg)
		defer stop()
		ends(t, s, time.Hour)
		c := evidence.Challenge{Log: w.id, Issued: 5, Reads: []evidence.RegisterRead{{Meter: "oven", Table: evidence.HoldingRegisters, Count: 2}}}
		good, err := evidence.SignChallenge(w.key, c)
		if err != nil {
			t.Fatal(err)
		}
		forged := append([]byte(nil), good...)
		forged[len(forged)-1] ^= 1
		c.Log[0] ^= 1
		c.Issued = 6
		foreign, err := evidence.SignChallenge(w.key, c)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range [][]byte{good, good, forged, foreign} {
			w.tell(b)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		if challenges != 1 || receipts == 0 {
			t.Errorf("%d challenges, %d receipts passed on", challenges, receipts)
		}
		if n := s.Status().BadReceipts; n != 2 {
			t.Errorf("%d messages refused, want the forged and the foreign one", n)
		}
	})
}
