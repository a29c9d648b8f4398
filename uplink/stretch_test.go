package uplink

import (
	"math"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// stretch is what a consent allows; it changes while the shipper runs.
type stretch struct{ lo, hi atomic.Uint64 }

func (s *stretch) set(lo, hi uint64)           { s.lo.Store(lo); s.hi.Store(hi) }
func (s *stretch) now() (lo uint64, hi uint64) { return s.lo.Load(), s.hi.Load() }

// TestNothingIsSentAfterTheEnd: the last leaf goes out, its receipt is waited
// for, then the connection is closed and what is recorded passes the lender by.
func TestNothingIsSentAfterTheEnd(t *testing.T) {
	for _, ack := range []AckPolicy{Receipt, PUBACK} {
		bubble(t, func(t *testing.T) {
			w := newWorld(t, 20) // 22 leaves
			var allowed stretch
			allowed.set(0, 16) // leaf 15 is the withdrawal
			cfg := w.config()
			cfg.Ack, cfg.Stretch = ack, allowed.now
			w.fate = func(n uint64, nth int) fate {
				if n == 15 && nth == 0 && ack == Receipt {
					return dropped // and comes again: it has to reach the lender
				}
				return arrives
			}
			s, stop := w.run(cfg)
			ends(t, s, time.Hour)
			for range 3 {
				w.log.add(t, nextWindow(t, w))
				ends(t, s, time.Hour)
			}
			if w.got != 16 || slices.Max(w.order) != 15 {
				t.Fatalf("%s: the lender has %d leaves, sent were %v", ack, w.got, w.order)
			}
			if len(w.dials) != 1 || s.Status().Connected || w.state[len(w.state)-1] != "offline" {
				t.Errorf("%s: %d connections, %+v", ack, len(w.dials), s.Status())
			}
			if len(w.kinds(Ended)) != 1 || len(w.kinds(Disconnected)) != 0 || w.cursor.Get() != 25 {
				t.Errorf("%s: events %+v, cursor %d", ack, w.events, w.cursor.Get())
			}
			stop()

			// A restart changes nothing.
			s, stop = w.run(cfg)
			ends(t, s, time.Hour)
			if len(w.dials) != 1 {
				t.Errorf("%s: connected again after a restart", ack)
			}

			// A new consent, in the next leaf, begins a stretch of its own.
			allowed.set(25, math.MaxUint64)
			w.log.add(t, nextWindow(t, w))
			ends(t, s, time.Hour)
			stop()
			if got := w.order[len(w.order)-1]; got != 25 || w.anchors[25].N != 25 {
				t.Errorf("%s: after the new consent leaf %d goes out, anchors %v", ack, got, w.anchors)
			}
			for n := uint64(16); n < 25; n++ {
				if w.sent[n] > 0 {
					t.Errorf("%s: leaf %d was sent", ack, n)
				}
			}
		})
	}
}

// TestTimeIsOver: what waits when the time is over waits for nothing.
func TestTimeIsOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		until := time.Now().Add(time.Minute)
		cfg := w.config()
		cfg.Stretch = func() (uint64, uint64) {
			if time.Now().Before(until) {
				return 0, math.MaxUint64
			}
			return 0, 0
		}
		w.fate = func(n uint64, _ int) fate {
			if n >= 5 {
				return dropped
			}
			return arrives
		}
		s, stop := w.run(cfg)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		sent := len(w.order)
		w.log.add(t, nextWindow(t, w))
		ends(t, s, time.Hour)
		stop()
		if w.got != 5 || len(w.order) != sent || w.cursor.Get() != 23 {
			t.Errorf("the lender has %d, %d sent after the end, cursor %d", w.got, len(w.order)-sent, w.cursor.Get())
		}
	})
}

// TestBeforeTheStretch: neither a lender that lost everything nor a request
// brings back what lies before the stretch, but for what is granted of it.
func TestBeforeTheStretch(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		starts := make([]int64, 22)
		for n := range starts {
			d, err := evidence.ParseDelivery(w.log.records[n])
			if err != nil {
				t.Fatal(err)
			}
			starts[n] = d.Manifest.Start
		}
		var allowed stretch
		allowed.set(12, math.MaxUint64)
		cfg := w.config()
		cfg.Stretch = allowed.now
		cfg.Grants = func(at int64) []evidence.Channel {
			if at >= starts[9] {
				return []evidence.Channel{evidence.Energy}
			}
			return nil
		}
		s, stop := w.run(cfg)
		defer stop()
		ends(t, s, time.Hour)
		synctest.Wait()
		w.got = 0
		w.tell(w.receipt(0, "gap")) // a lender that lost what it had
		time.Sleep(time.Minute)
		synctest.Wait()
		ends(t, s, time.Hour)
		if slices.Min(w.order) != 12 || w.got != 22 {
			t.Fatalf("sent %v, the lender has %d", w.order, w.got)
		}
		ask := func(issued int64) {
			b, err := evidence.SignReplay(w.key, evidence.Replay{Log: w.id, Issued: issued, Hi: 13, Channels: []evidence.Channel{evidence.Energy}})
			if err != nil {
				t.Fatal(err)
			}
			w.tell(b)
			time.Sleep(time.Minute)
			synctest.Wait()
		}
		ask(1)
		var again []uint64
		for _, b := range w.replayed {
			d, err := evidence.ParseDelivery(b)
			if err != nil {
				t.Fatal(err)
			}
			again = append(again, d.Manifest.N)
		}
		if !slices.Equal(again, []uint64{9, 10, 11, 12, 13}) {
			t.Errorf("leaves %v came again, want those of the history granted", again)
		}
		w.replayed = nil
		allowed.set(12, 13) // withdrawn in leaf 12
		ask(2)
		if len(w.replayed) != 0 {
			t.Errorf("%d deliveries came again after the withdrawal", len(w.replayed))
		}
	})
}

// TestNewConsentBeforeTheEndArrived: a lender that does not confirm the
// withdrawal gets what a later consent allows.
func TestNewConsentBeforeTheEndArrived(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		var allowed stretch
		allowed.set(0, 10)
		cfg := w.config()
		cfg.Stretch = allowed.now
		w.silent = true
		s, stop := w.run(cfg)
		defer stop()
		synctest.Wait()
		if slices.Max(w.order) > 9 {
			t.Fatalf("sent %v", w.order)
		}
		w.mu.Lock()
		w.silent, w.got = false, 0
		w.mu.Unlock()
		allowed.set(22, math.MaxUint64)
		w.log.add(t, nextWindow(t, w))
		ends(t, s, time.Minute)
		if w.got != 23 || slices.Contains(w.order, 11) {
			t.Errorf("the lender has %d, sent %v", w.got, w.order)
		}
	})
}
