package agent

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"time"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// device counts: its energy register rises by one at every poll.
type device struct {
	energy int64
	fail   error
}

func (d *device) Read(_ context.Context, dst []drivers.Reading) error {
	if d.fail != nil {
		for i := range dst {
			dst[i] = drivers.Reading{Quality: drivers.Timeout}
		}
		return d.fail
	}
	d.energy++
	dst[0] = drivers.Reading{Coef: 2301}
	dst[1] = drivers.Reading{Coef: d.energy}
	return nil
}

var key = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func testSite(dir string, devices ...Device) Site {
	line := Line{Name: "hall-a"}
	for i, d := range devices {
		line.Meters = append(line.Meters, Meter{
			Name: fmt.Sprintf("press-%d", i+1), Profile: "test", Interval: 10 * time.Second, Device: d,
			Columns: []Column{
				{Quantity: drivers.Quantity{Name: "voltage_l1", Unit: "V", Exp: -1}, Multiplier: drivers.Decimal{Coef: 1}},
				{Quantity: drivers.Quantity{Name: "energy_import", Unit: "kWh", Exp: -2}, Multiplier: drivers.Decimal{Coef: 40}},
			},
		})
	}
	return Site{
		Lines:    []Line{line},
		Channels: []evidence.Channel{evidence.Energy, evidence.VoltageCurrent, evidence.Timing},
		Window:   time.Minute, Sync: 10 * time.Second, Dir: dir,
		Signer: evidence.NewEd25519Signer(key, "file"), Salt: make([]byte, 32),
		Software: "tallystick test", Drain: time.Second, Log: slog.New(slog.DiscardHandler),
	}
}

// runFor opens and runs s for d, then stops it in order.
func runFor(t *testing.T, s Site, d time.Duration) {
	t.Helper()
	a, err := openHastily(s)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := a.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// sealed verifies everything in dir as a lender would and returns the results.
func sealed(t *testing.T, s Site) []verify.Result {
	t.Helper()
	h, err := history.OpenReader(s.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	v, err := verify.New(evidence.Ed25519PublicKey(key.Public().(ed25519.PublicKey)), nil)
	if err != nil {
		t.Fatal(err)
	}
	var results []verify.Result
	for n := uint64(0); n < h.Next(); n++ {
		rec, err := h.Read(n, nil)
		if err != nil {
			t.Fatal(err)
		}
		r := v.Next(rec, time.Time{})
		if r.Verdict != verify.Verified {
			t.Fatalf("leaf %d (%v): %s: %v", n, r.Type, r.Verdict, r.Reasons)
		}
		results = append(results, r)
	}
	return results
}

func types(rs []verify.Result) (s []string) {
	for _, r := range rs {
		s = append(s, r.Type.String())
	}
	return s
}

func TestEveryReadingArrivesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{}
		s := testSite(t.TempDir(), d)
		runFor(t, s, 3*time.Minute)
		rs := sealed(t, s)
		if rs[0].Type != evidence.GenesisLeaf || rs[len(rs)-1].Type != evidence.ShutdownLeaf {
			t.Fatalf("leaves %v", types(rs))
		}
		next := int64(1)
		end := int64(0)
		for _, r := range rs {
			if r.Type == evidence.WindowLeaf {
				if end != 0 && r.Manifest.Start != end {
					t.Fatalf("leaf %d begins at %d, the window before ended at %d", r.N, r.Manifest.Start, end)
				}
				end = r.Manifest.End()
			}
			for _, v := range values(r, "energy_import") {
				if v.Coef != next {
					t.Fatalf("leaf %d: energy %d, want %d: a reading is missing or there twice", r.N, v.Coef, next)
				}
				if want := (drivers.Decimal{Coef: 40 * next, Exp: -2}).String(); v.Decimal() != want {
					t.Fatalf("leaf %d: value %s, want %s", r.N, v.Decimal(), want)
				}
				next++
			}
		}
		if next-1 != d.energy {
			t.Fatalf("%d readings in the evidence, the meter gave %d", next-1, d.energy)
		}
	})
}

// stopper answers its only poll after the agent was told to stop.
type stopper struct {
	device
	stop context.CancelFunc
}

func (d *stopper) Read(ctx context.Context, dst []drivers.Reading) error {
	d.stop()
	return d.device.Read(ctx, dst)
}

func TestAnswerThatCameBeforeTheStopIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		d := &stopper{stop: stop}
		s := testSite(t.TempDir(), d)
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, r := range sealed(t, s) {
			seen += len(values(r, "energy_import"))
		}
		if seen != 1 {
			t.Fatalf("%d readings in the evidence, the meter gave 1", seen)
		}
	})
}

func TestDeadMeterIsStatedNotInvented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{fail: errors.New("timeout")}, &device{})
		runFor(t, s, 2*time.Minute)
		seen := 0
		for _, r := range sealed(t, s) {
			for _, v := range values(r, "voltage_l1") {
				switch v.Meter {
				case "press-1":
					seen++
					if v.Code != evidence.Timeout || v.Decimal() != "" {
						t.Fatalf("dead meter: %+v, want no value and the code timeout", v)
					}
				case "press-2":
					if v.Code != evidence.OK || v.Coef != 2301 {
						t.Fatalf("live meter: %+v", v)
					}
				}
			}
		}
		if seen < 12 {
			t.Fatalf("dead meter has %d slots in two minutes, want one each 10 s", seen)
		}
	})
}

func TestRestartAfterCleanStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		runFor(t, s, time.Minute)
		runFor(t, s, time.Minute)
		rs := sealed(t, s)
		boots := 0
		for _, r := range rs {
			if b := r.Manifest.BootInfo; b != nil {
				boots++
				if !b.Clean || r.Manifest.Event.Boot != 1 || b.Software != "tallystick test" {
					t.Fatalf("boot leaf %+v of boot %d, want clean and boot 1", b, r.Manifest.Event.Boot)
				}
			}
		}
		if boots != 1 {
			t.Fatalf("%d boot leaves, want 1: %v", boots, types(rs))
		}
	})
}

// abandon runs the agent for d and then leaves it as a kill would: nothing is
// sealed, nothing is closed in order.
func abandon(t *testing.T, s Site, d time.Duration) {
	t.Helper()
	a, err := openHastily(s)
	if err != nil {
		t.Fatal(err)
	}
	work(t, a, d)
	if err := a.store.close(); err != nil { // frees the lock; what is not written stays unwritten
		t.Fatal(err)
	}
}

// work polls and seals for d, and leaves open what is open then.
func work(t *testing.T, a *Agent, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	a.seal.rec.Begin(time.Now())
	p := &poller{line: a.site.Lines[0], rec: a.seal.rec, news: a.seal.news, judge: a.seal.judge, ids: a.seal.ids, log: a.site.Log}
	done := make(chan error, 2)
	go func() { done <- p.run(ctx) }()
	go func() { done <- a.seal.run(ctx) }()
	for range 2 {
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

func TestKilledRunLosesAtMostTheSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{}
		s := testSite(t.TempDir(), d)
		time.Sleep(time.Until(time.Now().Truncate(time.Minute).Add(time.Minute))) // begin with a window
		abandon(t, s, 2*time.Minute+35*time.Second)
		polled := d.energy
		killed := time.Now()
		runFor(t, s, time.Second)

		rs := sealed(t, s)
		var last int64
		next := int64(1)
		for _, r := range rs {
			if b := r.Manifest.BootInfo; b != nil {
				if b.Clean {
					t.Fatal("boot leaf says the stop was clean")
				}
				if lost := killed.UnixMilli() - b.LastRecordedMS; lost < 0 || lost > 2*s.Sync.Milliseconds() {
					t.Fatalf("boot leaf says readings survive up to %d ms before the kill, sync interval is %v", lost, s.Sync)
				}
			}
			if r.Type == evidence.WindowLeaf && r.Manifest.Start >= killed.UnixMilli() {
				break // of the run that follows
			}
			for _, v := range values(r, "energy_import") {
				if v.Coef != next {
					t.Fatalf("leaf %d: energy %d, want %d", r.N, v.Coef, next)
				}
				last = next
				next++
			}
		}
		if missing := polled - last; missing > 1 { // one poll each 10 s, sync each 10 s
			t.Fatalf("%d of %d readings are lost, want at most the one of the last sync interval", missing, polled)
		}
	})
}

// A clock that was set back before the kill must not make recorded readings
// look as if they were in a leaf already.
func TestJournalSurvivesAClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		for _, at := range []time.Time{now, now.Add(-time.Hour)} { // a window of now, then one of an hour ago
			a.seal.rec.Begin(at)
			a.seal.rec.Add(0, at.Add(time.Second), []drivers.Reading{{Coef: 2301}, {Coef: at.Unix()}})
			if err := a.seal.journalize(); err != nil {
				t.Fatal(err)
			}
			if at.Equal(now) {
				if err := a.seal.next(at); err != nil {
					t.Fatal(err)
				}
				a.seal.rec.Rest()
			}
		}
		if err := a.store.close(); err != nil {
			t.Fatal(err)
		}
		runFor(t, s, time.Second)
		seen := map[int64]int{}
		for _, r := range sealed(t, s) {
			for _, v := range values(r, "energy_import") {
				seen[v.Coef]++
			}
		}
		for _, at := range []time.Time{now, now.Add(-time.Hour)} {
			if seen[at.Unix()] != 1 {
				t.Errorf("the reading of %v is in the history %d times, want once", at, seen[at.Unix()])
			}
		}
	})
}

func TestChangedSiteIsStatedAndOldWindowKeepsItsDictionary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{}
		s := testSite(t.TempDir(), d)
		abandon(t, s, 35*time.Second)
		changed := testSite(s.Dir, d)
		changed.Lines[0].Meters[0].Name = "lathe-1"
		changed.ConfigDigest = evidence.Hash{1}
		runFor(t, changed, time.Second)
		rs := sealed(t, changed)
		var configs int
		for _, r := range rs {
			if c := r.Manifest.Config; c != nil {
				configs++
				if c.Digest != changed.ConfigDigest || c.Dictionary.Meters[0].Name != "lathe-1" {
					t.Fatalf("config leaf %+v", c)
				}
			}
			for _, v := range values(r, "energy_import") {
				if want := map[bool]string{false: "press-1", true: "lathe-1"}[configs > 0]; v.Meter != want {
					t.Fatalf("leaf %d: reading of %s, want %s", r.N, v.Meter, want)
				}
			}
		}
		if configs != 1 {
			t.Fatalf("%d config leaves, want 1: %v", configs, types(rs))
		}
	})
}

func TestSleepLeavesNoUnspokenHole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		defer a.store.close()
		a.seal.rec.Begin(time.Now())
		at := time.Now().UnixMilli()
		time.Sleep(10 * time.Minute) // no sealer runs meanwhile
		if err := a.seal.next(time.Now()); err != nil {
			t.Fatal(err)
		}
		for n := uint64(1); n < a.store.Next(); n++ {
			rec, err := a.store.Source().Read(n, nil)
			if err != nil {
				t.Fatal(err)
			}
			d, err := evidence.ParseDelivery(rec)
			if err != nil {
				t.Fatal(err)
			}
			if d.Manifest.Start != at {
				t.Fatalf("leaf %d begins at %d, the one before ended at %d", n, d.Manifest.Start, at)
			}
			at = d.Manifest.End()
		}
		if want := time.Now().Truncate(time.Minute).UnixMilli(); at != want {
			t.Fatalf("windows cover up to %d, want %d", at, want)
		}
	})
}

// values are the samples of one quantity in a verified window.
func values(r verify.Result, quantity string) (vs []verify.Value) {
	if r.Window == nil {
		return nil
	}
	for v := range r.Window.Values() {
		if v.Quantity == quantity {
			vs = append(vs, v)
		}
	}
	return vs
}

func TestExportVerifiesFromAnyLeaf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &device{}
		s := testSite(t.TempDir(), d)
		runFor(t, s, 3*time.Minute)
		changed := testSite(s.Dir, d)
		changed.ConfigDigest = evidence.Hash{1}
		runFor(t, changed, 2*time.Minute)
		h, err := history.OpenReader(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		for lo := h.First(); lo < h.Next(); lo++ {
			var b bytes.Buffer
			if err := h.Export(&b, lo, h.Next()-1, false); err != nil {
				t.Fatalf("export from %d: %v", lo, err)
			}
			sum, err := verify.Bundle(&b, verify.Policy{Pinned: []evidence.PublicKey{h.PublicKey()}}, nil)
			if err != nil {
				t.Fatal(err)
			}
			if sum.Verdict != verify.Verified {
				t.Fatalf("bundle from leaf %d: %s %v", lo, sum.Verdict, sum.Reasons)
			}
		}
	})
}

// slow answers only after a while.
type slow struct {
	device
	takes time.Duration
}

func (d *slow) Read(ctx context.Context, dst []drivers.Reading) error {
	time.Sleep(d.takes)
	return d.device.Read(ctx, dst)
}

func TestPollsNotMadeAreStated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slow{takes: 25 * time.Second} // due each 10 s
		s := testSite(t.TempDir(), d)
		runFor(t, s, 5*time.Minute)
		asked, skipped := 0, 0
		for _, r := range sealed(t, s) {
			for _, v := range values(r, "energy_import") {
				switch v.Code {
				case evidence.OK:
					asked++
				case evidence.Skipped:
					skipped++
				}
			}
		}
		if asked < 9 || skipped < 15 || skipped > 21 {
			t.Fatalf("%d polls made and %d stated as skipped in five minutes at one each 10 s that takes 25 s", asked, skipped)
		}
	})
}

// A lender that is no longer in the site file must not hold back deletion, nor
// make the box state losses nobody suffers.
func TestCursorOfAFormerLenderIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		s.Lenders = []Lender{{Name: "bank-a", Ship: func(Feed) (Shipper, error) { return deaf{}, nil }}}
		runFor(t, s, time.Minute)
		s.Lenders[0].Name = "bank-b"
		runFor(t, s, time.Minute)
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		defer a.store.close()
		if c := a.store.Cursors(); len(c) != 1 || c["bank-b"] != 0 {
			t.Fatalf("cursors %v, want bank-b alone", c)
		}
	})
}

// A loss that a crash kept from being stated is stated after the next start.
func TestLossIsStatedAfterACrash(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		s.Quota = 64 << 10
		s.Lenders = []Lender{{Name: "bank-a", Ship: func(Feed) (Shipper, error) { return deaf{}, nil }}}
		runFor(t, s, 5*time.Hour)
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		defer a.store.close()
		first := a.store.Source().First()
		if first == 0 {
			t.Fatal("the quota dropped nothing: the test shows nothing")
		}
		if err := a.store.Loss(); err != nil {
			t.Fatal(err)
		}
		rec, err := a.store.Source().Read(a.store.Next()-1, nil)
		if err != nil {
			t.Fatal(err)
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			t.Fatal(err)
		}
		if l := d.Manifest.Lost; len(l) != 1 || l[0].Lo != 0 || l[0].Hi != first-1 {
			t.Fatalf("stated as lost: %+v, want 0 to %d", l, first-1)
		}
	})
}

// deaf is a shipper whose lender never confirms anything.
type deaf struct{}

func (deaf) Run(ctx context.Context) error   { <-ctx.Done(); return nil }
func (deaf) Drain(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }

func TestDropByQuotaIsStatedUnderSignature(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		s.Quota = 64 << 10
		s.Lenders = []Lender{{Name: "bank-a", Ship: func(Feed) (Shipper, error) { return deaf{}, nil }}}
		runFor(t, s, 6*time.Hour)
		h, err := history.OpenReader(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if h.First() == 0 {
			t.Fatal("the quota dropped nothing: the test shows nothing")
		}
		stated := uint64(0) // leaves below this are stated as lost
		var rec []byte
		for n := h.First(); n < h.Next(); n++ {
			if rec, err = h.Read(n, rec[:0]); err != nil {
				t.Fatal(err)
			}
			d, err := evidence.ParseDelivery(rec)
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range d.Manifest.Lost {
				if r.Reason != "quota" || r.Hi >= n {
					t.Fatalf("leaf %d states %+v as lost", n, r)
				}
				stated = max(stated, r.Hi+1)
			}
		}
		// The newest drop is stated with the next window.
		if stated == 0 || stated > h.First() {
			t.Fatalf("leaves up to %d are stated as lost, the log begins at %d", stated, h.First())
		}
		if err := h.Export(&bytes.Buffer{}, h.First(), h.Next()-1, false); err != nil {
			t.Fatal(err)
		}
	})
}

func TestWindowTooLargeToSealIsRefusedAtTheStart(t *testing.T) {
	s := testSite(t.TempDir(), &device{})
	s.Lines[0].Meters[0].Interval = time.Millisecond
	s.Window = 10 * time.Minute
	if _, err := openHastily(s); err == nil || !strings.Contains(err.Error(), "shorten window") {
		t.Fatalf("Open: %v, want a refusal that says what to do", err)
	}
}

// Damage in old segments is reported; it does not keep the box from going on.
func TestOldDamageDoesNotStopTheBox(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		s.Quota = 64 << 10 // segments of 4 KiB
		runFor(t, s, 5*time.Minute)
		for range 24 { // boot leaves fill the newest segment: no window in it
			abandon(t, s, time.Millisecond)
		}
		segments, err := filepath.Glob(filepath.Join(s.Dir, "sealed", "*.log"))
		if err != nil || len(segments) < 2 {
			t.Fatalf("%d segments, want several (%v)", len(segments), err)
		}
		for _, old := range segments[:len(segments)-1] {
			b, err := os.ReadFile(old)
			if err != nil {
				t.Fatal(err)
			}
			for i := 2000; i < len(b); i += 100 {
				b[i] ^= 1
			}
			if err := os.WriteFile(old, b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		runFor(t, s, 2*time.Minute)
	})
}
