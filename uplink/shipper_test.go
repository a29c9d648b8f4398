package uplink

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// bubble runs a test on a clock of its own: hours pass in no time, and a
// shipper that waits for ever is a deadlock.
func bubble(t *testing.T, f func(*testing.T)) { synctest.Test(t, f) }

// ends waits, on that clock, until the shipper has nothing left to ship.
func ends(t *testing.T, s *Shipper, within time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatalf("after %v: %v (%+v)", within, err, s.Status())
	}
}

func TestShipsInOrderAndSaysGoodbye(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 50)
		s, stop := w.run(w.config())
		ends(t, s, time.Second)
		w.log.add(t, nextWindow(t, w)) // and goes on with what is recorded later
		ends(t, s, time.Second)
		if st := s.Status(); !st.Connected || st.Waiting != 0 || st.Receipted != 53 || st.Resent != 0 || st.Sent != 53 {
			t.Errorf("status %+v", st)
		}
		stop()
		w.complete(t)
		for i, n := range w.order {
			if n != uint64(i) {
				t.Fatalf("sent as number %d: record %d", i, n)
			}
		}
		if w.maxOpen > 8 {
			t.Fatalf("%d records without a receipt", w.maxOpen)
		}
		if got := strings.Join(w.state, " "); got != "online offline" {
			t.Fatalf("state %q", got)
		}
		if len(w.dials) != 1 || s.Status().Connected {
			t.Fatalf("%d connections, status %+v", len(w.dials), s.Status())
		}
	})
}

// nextWindow seals one more window on the world's log.
func nextWindow(t *testing.T, w *world) []byte {
	t.Helper()
	writer, err := seal.Resume(evidencetest.Signer(1), evidencetest.Secret(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range w.log.records {
		if err := writer.Replay(r); err != nil {
			t.Fatal(err)
		}
	}
	k := len(w.log.records) - 2
	d, err := writer.Window(evidencetest.Event(k, evidencetest.SmallMS), evidencetest.SmallWindow(k), nil)
	if err != nil {
		t.Fatal(err)
	}
	return append([]byte(nil), d...)
}

func TestLossyBroker(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 600)
		rnd := rand.New(rand.NewPCG(1, 2))
		w.fate = func(uint64, int) fate {
			switch r := rnd.IntN(1000); {
			case r < 200:
				return dropped
			case r < 203:
				return hangUp
			case r < 204:
				return unacked
			}
			return arrives
		}
		s, stop := w.run(w.config())
		ends(t, s, 24*time.Hour)
		stop()
		w.complete(t)
		if w.maxOpen > 8 {
			t.Fatalf("%d records without a receipt", w.maxOpen)
		}
	})
}

func TestPubackIsNoReceipt(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		w.silent = true
		s, stop := w.run(w.config())
		time.Sleep(10 * time.Minute)
		if w.cursor.Get() != 0 || s.Status().Receipted != 0 {
			t.Fatal("the cursor moved without a receipt")
		}
		// A new session now and then: the broker may have forgotten something.
		if n := len(w.dials); len(w.kinds(NoReceipts)) == 0 || n < 3 || n > 6 {
			t.Fatalf("events %+v, %d connections", w.events, n)
		}
		if n := w.sent[0]; n < 6 || n > 18 {
			t.Fatalf("record 0 sent %d times in ten minutes", n)
		}
		w.mu.Lock()
		w.silent = false
		w.mu.Unlock()
		ends(t, s, 10*time.Minute)
		stop()
		w.complete(t)
	})
}

func TestBrokerThatAcknowledgesNothing(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		w.fate = func(_ uint64, nth int) fate {
			if nth == 0 {
				return unacked
			}
			return arrives
		}
		s, stop := w.run(w.config())
		ends(t, s, time.Hour)
		stop()
		w.complete(t)
		if len(w.dials) < 2 || !errors.Is(w.kinds(Disconnected)[0].Err, errNoPuback) {
			t.Fatalf("%d connections, %+v", len(w.dials), w.kinds(Disconnected))
		}
	})
}

func TestReceiptsThatAreNotBelieved(t *testing.T) {
	for name, c := range map[string]struct {
		receipt func(w *world) []byte
		kind    EventKind
		err     error
	}{
		"forged": {func(w *world) []byte {
			b, _ := evidence.SignReceipt(evidencetest.Signer(8), evidence.Receipt{Log: w.id, N: 5, Root: w.log.root(6), Status: "ok"})
			return b
		}, BadReceipt, ErrForgedReceipt},
		"changed on the way": {func(w *world) []byte { b := w.receipt(6, "ok"); b[len(b)-1] ^= 1; return b }, BadReceipt, ErrForgedReceipt},
		"garbage":            {func(*world) []byte { return []byte("ok") }, BadReceipt, ErrForgedReceipt},
		"empty":              {func(*world) []byte { return nil }, BadReceipt, ErrForgedReceipt},
		"for another log": {func(w *world) []byte {
			return w.receipt(6, "ok", func(r *evidence.Receipt) { r.Log[3] ^= 1 })
		}, BadReceipt, ErrForeignReceipt},
		"beyond the log": {func(w *world) []byte { return w.receipt(23, "ok") }, LenderAhead, nil},
		"at the end of numbers": {func(w *world) []byte {
			return w.receipt(1, "ok", func(r *evidence.Receipt) { r.N = 1<<64 - 1 })
		}, LenderAhead, nil},
		"another history": {func(w *world) []byte {
			return w.receipt(6, "ok", func(r *evidence.Receipt) { r.Root[0] ^= 1 })
		}, HistoryDiffers, nil},
		"another history, not yet sent": {func(w *world) []byte {
			return w.receipt(22, "ok", func(r *evidence.Receipt) { r.Root[0] ^= 1 })
		}, HistoryDiffers, nil},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 20)
				w.silent = true
				_, stop := w.run(w.config())
				synctest.Wait()
				w.tell(c.receipt(w))
				synctest.Wait()
				if w.cursor.Get() != 0 {
					t.Fatalf("believed: the cursor moved to %d", w.cursor.Get())
				}
				found := w.kinds(c.kind)
				if len(found) != 1 || c.err != nil && !errors.Is(found[0].Err, c.err) {
					t.Fatalf("events %+v", w.events)
				}
				w.tell(w.receipt(6, "ok")) // the true one
				synctest.Wait()
				if w.cursor.Get() != 6 {
					t.Fatalf("the cursor stands at %d", w.cursor.Get())
				}
				stop()
			})
		})
	}
}

func TestFloodOfForgedReceiptsIsReportedRarely(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.silent = true
		s, stop := w.run(w.config())
		synctest.Wait()
		for range 1000 {
			w.tell([]byte("x"))
		}
		synctest.Wait()
		if n, c := len(w.kinds(BadReceipt)), s.Status().BadReceipts; n > 11 || c != 1000 {
			t.Fatalf("%d reports of %d", n, c)
		}
		stop()
	})
}

func TestReceiptsAreCumulativeAndIdempotent(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		w.silent = true
		s, stop := w.run(w.config())
		synctest.Wait()
		third := w.receipt(3, "ok")
		for _, step := range []struct {
			b    []byte
			want uint64
		}{{w.receipt(5, "ok"), 5}, {third, 5}, {third, 5}, {w.receipt(5, "ok"), 5}, {w.receipt(7, "ok"), 7}} {
			w.tell(step.b)
			synctest.Wait()
			if w.cursor.Get() != step.want || s.Status().Receipted != step.want {
				t.Fatalf("cursor %d, want %d", w.cursor.Get(), step.want)
			}
		}
		// A lender that is further than this session has sent (the box
		// restarted with an old cursor) is believed where the roots agree.
		w.tell(w.receipt(22, "ok"))
		synctest.Wait()
		if w.cursor.Get() != 22 {
			t.Fatalf("cursor %d", w.cursor.Get())
		}
		stop()
	})
}

func TestHoleIsFilledWithoutWaiting(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		w.fate = func(n uint64, nth int) fate {
			if n == 3 && nth == 0 {
				return dropped
			}
			return arrives
		}
		began := time.Now()
		s, stop := w.run(w.config())
		ends(t, s, time.Hour)
		if took := time.Since(began); took > time.Second {
			t.Fatalf("took %v", took)
		}
		stop()
		w.complete(t)
		if w.sent[3] != 2 || w.sent[4] > 2 {
			t.Fatalf("sent %v", w.sent)
		}
	})
}

func TestLostRecordsAreBridgedByAnAnchor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 40)
		w.dialErr = errors.New("down")
		w.got = 4
		w.cursor.at = 4
		w.log.trim(30)
		s, stop := w.run(w.config())
		time.Sleep(time.Minute)
		w.mu.Lock()
		w.dialErr = nil
		w.fate = func(n uint64, nth int) fate { // the anchor must survive a re-send
			if n == 30 && nth == 0 {
				return dropped
			}
			return arrives
		}
		w.mu.Unlock()
		ends(t, s, time.Hour)
		stop()
		w.complete(t)
		if lost := w.kinds(Lost); lost[0].Lo != 4 || lost[0].Hi != 29 {
			t.Fatalf("%+v", lost)
		}
		if a, ok := w.anchors[30]; !ok || a.Root(evidence.SuiteEd25519) != w.log.root(30) || len(w.anchors) != 1 {
			t.Fatalf("anchors %+v", w.anchors)
		}
	})
}

func TestDamagedRecordIsBridgedByAnAnchor(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 40)
		w.log.broken[10] = true
		s, stop := w.run(w.config())
		ends(t, s, time.Hour)
		stop()
		w.complete(t)
		if _, ok := w.anchors[13]; !ok || len(w.kinds(ReadFailed)) < 3 {
			t.Fatalf("anchors at %v, events %+v", len(w.anchors), w.events)
		}
		if lost := w.kinds(Lost); len(lost) != 1 || lost[0].Lo != 10 || lost[0].Hi != 12 {
			t.Fatalf("%+v", lost)
		}
	})
}

func TestRecordReadableAgainIsNotLost(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 40)
		w.log.broken[10] = true
		s, stop := w.run(w.config())
		time.Sleep(7 * time.Second)
		w.log.mu.Lock()
		delete(w.log.broken, 10)
		w.log.mu.Unlock()
		ends(t, s, time.Hour)
		stop()
		w.complete(t)
		if len(w.anchors) != 0 || len(w.kinds(Lost)) != 0 {
			t.Fatal("a record was given up that could be read again")
		}
	})
}

func TestLenderRestoredFromABackup(t *testing.T) {
	for name, has := range map[string]uint64{"an old state": 7, "nothing": 0} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 40)
				s, stop := w.run(w.config())
				ends(t, s, time.Second)
				old := w.receipt(7, "gap") // signed before the newest ones
				w.mu.Lock()
				w.clock += 1000
				w.got = has
				w.mu.Unlock()
				w.log.add(t, nextWindow(t, w)) // makes the lender ask
				ends(t, s, time.Hour)
				synctest.Wait()
				w.complete(t)
				if r := w.kinds(Rewound); len(r) != 1 || r[0].Lo != has {
					t.Fatalf("%+v", r)
				}
				// Repeating an old request causes nothing.
				time.Sleep(time.Hour)
				before := s.Status().Sent
				w.tell(old)
				synctest.Wait()
				if s.Status().Sent != before || len(w.kinds(Rewound)) != 1 {
					t.Fatal("an old receipt caused re-sends")
				}
				stop()
			})
		})
	}
}

func TestPoisonRecord(t *testing.T) {
	for name, f := range map[string]fate{"hangs up": hangUp, "refused": tooLarge} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				w := newWorld(t, 40)
				w.fate = func(n uint64, _ int) fate {
					if n == 11 {
						return f
					}
					return arrives
				}
				s, stop := w.run(w.config())
				time.Sleep(24 * time.Hour)
				if w.cursor.Get() != 11 || w.got != 11 {
					t.Fatalf("the cursor stands at %d, the lender at %d", w.cursor.Get(), w.got)
				}
				p := w.kinds(Poisoned)
				if len(p) == 0 || p[0].Lo != 11 || p[0].Err == nil {
					t.Fatalf("%+v", w.events)
				}
				if n := w.sent[11]; n < 3 || n > 3000 {
					t.Fatalf("tried %d times in a day", n)
				}
				// How many go out with it before it is known depends on when the broker
				// hangs up; afterwards none do.
				if n := w.sent[15]; n > 12 || n*10 > w.sent[11] && f == hangUp {
					t.Fatalf("records behind it sent %d times, it %d times: it was not isolated", n, w.sent[11])
				}
				w.mu.Lock()
				w.fate = func(uint64, int) fate { return arrives } // the broker's limit was raised
				w.mu.Unlock()
				ends(t, s, time.Hour)
				stop()
				w.complete(t)
			})
		})
	}
}

func TestTakenOver(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 4)
		s, stop := w.run(w.config())
		ends(t, s, time.Minute)
		for range 4 {
			w.mu.Lock()
			last := w.sessions[len(w.sessions)-1]
			w.mu.Unlock()
			last.finish(byBroker{io.EOF})
			time.Sleep(time.Minute / 2)
		}
		if len(w.kinds(TakenOver)) == 0 {
			t.Fatalf("%+v", w.events)
		}
		stop()
	})
}

func TestPubackPolicy(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 40)
		w.silent = true
		w.fate = func(n uint64, nth int) fate {
			switch {
			case n == 9 && nth == 0:
				return unacked
			case n == 20 && nth == 0:
				return hangUp
			}
			return arrives
		}
		cfg := w.config()
		cfg.Ack, cfg.Key = PUBACK, evidence.PublicKey{}
		s, stop := w.run(cfg)
		synctest.Wait()
		if w.cursor.Get() != 9 {
			t.Fatalf("the cursor stands at %d with record 9 not acknowledged", w.cursor.Get())
		}
		ends(t, s, time.Hour)
		stop()
		if w.cursor.Get() != 42 || w.sessions[0].rx != nil {
			t.Fatalf("cursor %d", w.cursor.Get())
		}
	})
}

func TestOutageOfTwoWeeks(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 200)
		w.dialErr = errors.New("connect to broker: connection refused")
		s, stop := w.run(w.config())
		time.Sleep(14 * 24 * time.Hour)
		if st := s.Status(); st.Waiting != 202 || st.Connected || st.LastErr == nil {
			t.Fatalf("%+v", st)
		}
		if n := len(w.dials); n < 14*24*60/2 || n > 14*24*60*2 {
			t.Fatalf("%d attempts in two weeks", n)
		}
		w.mu.Lock()
		w.dialErr = nil
		w.mu.Unlock()
		ends(t, s, time.Hour)
		stop()
		w.complete(t)
	})
}

func TestDrainIsBounded(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 20)
		w.silent = true
		s, stop := w.run(w.config())
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := s.Drain(ctx)
		if err == nil || !strings.Contains(err.Error(), "22 records wait") {
			t.Fatal(err)
		}
		stop()
	})
}

func TestMetaFollowsTheDictionary(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5)
		s, stop := w.run(w.config())
		ends(t, s, time.Second)
		w.log.mu.Lock()
		w.log.meta = append([]byte(nil), append(w.log.meta, 0)...)
		w.log.mu.Unlock()
		w.log.add(t, nextWindow(t, w))
		ends(t, s, time.Second)
		stop()
		if len(w.metas) != 2 {
			t.Fatalf("meta published %d times", len(w.metas))
		}
	})
}

func TestCursorThatCannotBeStored(t *testing.T) {
	bubble(t, func(t *testing.T) {
		w := newWorld(t, 5)
		w.cursor.err = errors.New("no space left on device")
		s, stop := w.run(w.config())
		ends(t, s, time.Second)
		stop()
		if len(w.kinds(CursorFailed)) == 0 {
			t.Fatal("not reported")
		}
	})
}

func TestConfigFaults(t *testing.T) {
	w := newWorld(t, 0)
	for words, change := range map[string]func(*Config){
		"1 to 32 of a-z":       func(c *Config) { c.Lender = "a/b" },
		"no public key":        func(c *Config) { c.Key = evidence.PublicKey{} },
		`expected "receipt"`:   func(c *Config) { c.Ack = "none" },
		"dial, source, cursor": func(c *Config) { c.Source = nil },
	} {
		cfg := w.config()
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

func TestBackoffSpreads(t *testing.T) {
	b := Backoff{Min: time.Second, Max: time.Minute}
	for failures := range 200 {
		whole := min(time.Second<<min(max(failures-1, 0), 16), time.Minute)
		if d := b.Delay(failures); d < whole/4 || d > whole {
			t.Fatalf("after %d failures: %v", failures, d)
		}
	}
	if d := (Backoff{}).Delay(1 << 30); d < 30*time.Second || d > 2*time.Minute {
		t.Fatal(d)
	}
}
