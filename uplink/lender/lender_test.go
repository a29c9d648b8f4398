package lender

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/verify"
)

// desk is a lender without a broker: messages are put in by hand, receipts are
// caught.
type desk struct {
	t        *testing.T
	l        *Lender
	cfg      Config
	now      time.Time
	windows  []verify.Result
	events   []Event
	receipts [][]byte
}

func public(k ed25519.PrivateKey) evidence.PublicKey {
	return evidence.Ed25519PublicKey(k.Public().(ed25519.PublicKey))
}

func newDesk(t *testing.T) *desk {
	d := &desk{t: t, now: time.UnixMilli(evidencetest.Start).Add(time.Hour)}
	d.cfg = Config{
		Name: "bank-a", Key: evidencetest.Signer(9), Dir: t.TempDir(), Patience: time.Minute,
		Boxes:    []Box{{"box-1", public(evidencetest.Key(1))}, {"box-2", public(evidencetest.Key(2))}},
		Dial:     func(context.Context) (uplink.Session, error) { return nil, errors.New("no broker") },
		Now:      func() time.Time { return d.now },
		OnWindow: func(_ string, r verify.Result) { d.windows = append(d.windows, r) },
		OnEvent:  func(e Event) { d.events = append(d.events, e) },
	}
	d.open()
	return d
}

func (d *desk) open() {
	d.t.Helper()
	l, err := New(d.cfg)
	if err != nil {
		d.t.Fatal(err)
	}
	d.l = l
	d.t.Cleanup(l.closeLogs)
}

// crash opens the archives again without any good-bye.
func (d *desk) crash() {
	d.t.Helper()
	d.l.closeLogs()
	d.windows, d.events, d.receipts = nil, nil, nil
	d.open()
}

// catch is the session the receipts go to.
type catch struct{ *desk }

func (c catch) PublishAsync(topic string, qos byte, retained bool, payload []byte, done func(error)) {
	if !strings.HasSuffix(topic, "/rx/bank-a") || qos != 0 || retained {
		c.t.Errorf("published on %s with qos %d, retained %v", topic, qos, retained)
	}
	c.receipts = append(c.receipts, payload)
	done(nil)
}
func (catch) Publish(context.Context, string, byte, bool, []byte) error { return nil }
func (catch) Subscribe(context.Context, string, byte, func(string, []byte)) error {
	return nil
}
func (catch) Done() <-chan struct{}       { return nil }
func (catch) Err() error                  { return nil }
func (catch) Close(context.Context) error { return nil }

// meta and put hand in messages; commit ends the batch.
func (d *desk) meta(s *evidencetest.Stream) {
	d.l.handle(message{evidence.Topic(evidence.MetaTopic, s.Writer.LogID(), ""), s.Meta})
}

func (d *desk) put(s *evidencetest.Stream, deliveries ...[]byte) {
	for _, b := range deliveries {
		d.l.handle(message{evidence.Topic(evidence.DeliveryTopic, s.Writer.LogID(), "bank-a"), b})
	}
}

func (d *desk) commit() {
	d.t.Helper()
	if err := d.l.commit(catch{d}); err != nil {
		d.t.Fatal(err)
	}
}

// take hands in one batch.
func (d *desk) take(s *evidencetest.Stream, deliveries ...[]byte) {
	d.t.Helper()
	d.put(s, deliveries...)
	d.commit()
}

// last opens the newest receipt.
func (d *desk) last() evidence.Receipt {
	d.t.Helper()
	if len(d.receipts) == 0 {
		d.t.Fatal("no receipt")
	}
	r, err := evidence.OpenReceipt(evidencetest.PublicKey(9), d.receipts[len(d.receipts)-1])
	if err != nil {
		d.t.Fatal(err)
	}
	return r
}

func (d *desk) wantReceipt(s *evidencetest.Stream, n uint64, status string) {
	d.t.Helper()
	r := d.last()
	anchor := rootAfter(d.t, s, n)
	if r.Empty || r.N != n || r.Status != status || r.Log != s.Writer.LogID() || r.Root != anchor {
		d.t.Fatalf("receipt %+v, want leaf %d, status %s, root %s", r, n, status, anchor)
	}
}

func rootAfter(t *testing.T, s *evidencetest.Stream, n uint64) evidence.Hash {
	t.Helper()
	return anchorAt(t, s, n+1).Root(evidence.SuiteEd25519)
}

func anchorAt(t *testing.T, s *evidencetest.Stream, n uint64) evidence.Anchor {
	t.Helper()
	var a evidence.Anchor
	for _, b := range s.Deliveries[:n] {
		p, err := evidence.ParseDelivery(b)
		if err != nil {
			t.Fatal(err)
		}
		a.Append(p.Suite(), p.Hash())
	}
	return a
}

func (d *desk) dir(s *evidencetest.Stream, box string) string {
	return filepath.Join(d.cfg.Dir, box, s.Writer.LogID().String())
}

// bundle verifies the archive of a stream.
func (d *desk) bundle(s *evidencetest.Stream) verify.Summary {
	d.t.Helper()
	sum, err := verifyArchive(d.dir(s, boxOf(s)))
	if err != nil {
		d.t.Fatal(err)
	}
	return sum
}

func (d *desk) kinds(kind EventKind) (found []Event) {
	for _, e := range d.events {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func TestOneReceiptForABatch(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 20)
	d.meta(s)
	d.commit()
	if r := d.last(); !r.Empty || r.Status != okStatus || r.Log != s.Writer.LogID() {
		t.Fatalf("answer to the first meta message: %+v", r)
	}
	d.take(s, s.Deliveries[:10]...)
	d.take(s, s.Deliveries[10:]...)
	if len(d.receipts) != 3 || len(d.windows) != 22 {
		t.Fatalf("%d receipts, %d results", len(d.receipts), len(d.windows))
	}
	d.wantReceipt(s, 21, okStatus)
	if r := d.last(); r.Channels[evidence.Energy] != 19 || r.ReceivedAt != d.now.UnixMilli() {
		t.Fatalf("%+v", r)
	}
	for i, r := range d.windows {
		if r.Verdict != verify.Verified || r.N != uint64(i) {
			t.Fatalf("result %d: %+v", i, r)
		}
	}
	if sum := d.bundle(s); sum.Verdict != verify.Verified || sum.Windows != 20 {
		t.Fatalf("archive: %+v", sum)
	}
}

func TestDuplicateGetsTheStoredReceipt(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 5)
	d.meta(s)
	d.take(s, s.Deliveries...)
	first := d.receipts[len(d.receipts)-1]
	d.now = d.now.Add(time.Hour)
	d.take(s, s.Deliveries[3], s.Deliveries[4])
	if got := d.receipts[len(d.receipts)-1]; !bytes.Equal(got, first) {
		t.Fatal("another receipt than the stored one")
	}
	if len(d.windows) != 7 {
		t.Fatalf("%d results: duplicates were counted", len(d.windows))
	}
	n := len(d.receipts)
	d.commit()
	if len(d.receipts) != n {
		t.Fatal("a receipt nobody was owed")
	}
}

func TestHoleAsksForWhatIsMissing(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 10)
	d.meta(s)
	d.take(s, s.Deliveries[:4]...)
	d.take(s, s.Deliveries[6], s.Deliveries[7], s.Deliveries[5])
	d.wantReceipt(s, 3, gapStatus)
	if len(d.windows) != 4 {
		t.Fatal("a delivery behind a hole was accepted")
	}
	tick := func(after time.Duration) {
		d.now = d.now.Add(after)
		for _, b := range d.l.logs {
			b.losePatience(d.now)
		}
		d.commit()
	}
	tick(59 * time.Second)
	if len(d.kinds(Waiting)) != 0 {
		t.Fatal("reported too early")
	}
	tick(2 * time.Second)
	tick(time.Hour)
	if w := d.kinds(Waiting); len(w) != 1 || w[0].Lo != 4 || w[0].Hi != 6 {
		t.Fatalf("%+v", w)
	}
	d.take(s, s.Deliveries[4:]...)
	d.wantReceipt(s, 11, okStatus)
	if f := d.kinds(Filled); len(f) != 1 || f[0].Hi != 6 {
		t.Fatalf("%+v", f)
	}
	if sum := d.bundle(s); sum.Verdict != verify.Verified {
		t.Fatalf("%+v", sum)
	}
}

func TestForgedDeliveryAheadMakesNoHole(t *testing.T) {
	d, s, foreign := newDesk(t), evidencetest.NewStream(t, 1, 10), evidencetest.NewStream(t, 3, 10)
	d.meta(s)
	d.take(s, s.Deliveries[:4]...)
	d.take(s, foreign.Deliveries[8])
	parsed, err := evidence.ParseDelivery(s.Deliveries[8])
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(s.Deliveries[8]) // the right log and index, another signature
	bad[bytes.Index(bad, parsed.Sign1)+len(parsed.Sign1)-1] ^= 1
	d.take(s, bad, []byte("junk"), nil)
	d.now = d.now.Add(time.Hour)
	for _, b := range d.l.logs {
		b.losePatience(d.now)
	}
	if len(d.kinds(Waiting)) != 0 {
		t.Fatal("a forged delivery counts as proof of a hole")
	}
	d.take(s, s.Deliveries[4:]...)
	d.wantReceipt(s, 11, okStatus)
}

// withAnchor is a stored delivery as a box sends it after a loss.
func withAnchor(t *testing.T, s *evidencetest.Stream, n uint64) []byte {
	t.Helper()
	a := anchorAt(t, s, n)
	b, err := evidence.FilterDelivery(nil, s.Deliveries[n], record.Granted("", []evidence.Channel{evidence.Energy, evidence.VoltageCurrent, evidence.Timing}), &a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestLossWithAnchorIsAcceptedAndNamed(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 20)
	d.meta(s)
	d.take(s, s.Deliveries[:4]...)
	wrong := anchorAt(t, s, 10)
	wrong.Hashes[0][0] ^= 1
	b, err := evidence.FilterDelivery(nil, s.Deliveries[10], record.Granted("", nil), &wrong)
	if err != nil {
		t.Fatal(err)
	}
	d.take(s, b) // an anchor the leaf is not signed over is none
	d.wantReceipt(s, 3, gapStatus)
	d.take(s, append([][]byte{withAnchor(t, s, 10)}, s.Deliveries[11:]...)...)
	d.wantReceipt(s, 21, okStatus)
	r := d.windows[4]
	if r.Verdict != verify.Gap || r.Missing == nil || r.Missing.Lo != 4 || r.Missing.Hi != 9 {
		t.Fatalf("%+v", r)
	}
	d.crash()
	d.meta(s)
	d.commit()
	d.wantReceipt(s, 21, okStatus)
	if sum := d.bundle(s); sum.Verdict != verify.Gap {
		t.Fatalf("%+v", sum)
	}
	// The anchor of another history opens no door.
	other := &evidencetest.Stream{Writer: forkAt(t, s, 15), Deliveries: append([][]byte(nil), s.Deliveries[:15]...)}
	for len(other.Deliveries) < 30 {
		b, err := other.Writer.Window(evidencetest.Event(99, evidencetest.SmallMS), evidencetest.SmallWindow(99), nil)
		other.Add(t, b, err)
	}
	d.take(s, withAnchor(t, other, 25))
	if r := d.windows[len(d.windows)-1]; d.last().N != 21 || r.Verdict != verify.Forked {
		t.Fatalf("%+v, %+v", d.last(), r)
	}
}

func TestHistoryThatBeginsLate(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 20)
	d.meta(s)
	d.take(s, s.Deliveries[10]) // without an anchor: not to be checked
	if r := d.last(); !r.Empty || r.Status != gapStatus {
		t.Fatalf("%+v", r)
	}
	d.take(s, append([][]byte{withAnchor(t, s, 10)}, s.Deliveries[11:]...)...)
	d.wantReceipt(s, 21, okStatus)
	d.crash()
	d.meta(s)
	d.commit()
	d.wantReceipt(s, 21, okStatus)
	if sum := d.bundle(s); sum.Windows != 12 {
		t.Fatalf("%+v", sum)
	}
}

func TestForkKeepsBoth(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 400)
	d.meta(s)
	d.take(s, s.Deliveries...)
	// The same genesis and boot, then another window 3 under the same key.
	other := fork(t, s, 5)
	d.take(s, other, other)
	r := d.windows[len(d.windows)-1]
	if r.Verdict != verify.Forked || r.N != 5 || len(d.windows) != 403 {
		t.Fatalf("%d results, the last %+v", len(d.windows), r)
	}
	kept, err := filepath.Glob(filepath.Join(d.dir(s, "box-1"), fraudDir, "5-*.fork"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("kept %v, %v", kept, err)
	}
	file, err := os.ReadFile(kept[0])
	if err != nil {
		t.Fatal(err)
	}
	proof, err := bundle.ParseFraudProof(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify.Fork(evidencetest.PublicKey(1), proof); err != nil {
		t.Fatalf("%s proves nothing: %v", kept[0], err)
	}
}

// forkAt is the box's writer as it stood before leaf n.
func forkAt(t *testing.T, s *evidencetest.Stream, n int) *seal.Writer {
	t.Helper()
	w, err := seal.Resume(evidencetest.Signer(1), evidencetest.Secret(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range s.Deliveries[:n] {
		if err := w.Replay(b); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// fork makes a second leaf n for a stream.
func fork(t *testing.T, s *evidencetest.Stream, n int) []byte {
	t.Helper()
	b, err := forkAt(t, s, n).Window(evidencetest.Event(n, evidencetest.SmallMS), evidencetest.SmallWindow(n+1), nil)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b)
}

// alteredCopy flips a bit in the last block of a delivery.
func alteredCopy(b []byte) []byte {
	c := bytes.Clone(b)
	c[len(c)-1] ^= 1
	return c
}

func TestAlteredOnTheWay(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 10)
	d.meta(s)
	d.take(s, s.Deliveries[:5]...)
	bad := alteredCopy(s.Deliveries[5])
	d.take(s, bad)
	d.wantReceipt(s, 4, alteredStatus)
	d.take(s, bad, bad)
	if r := d.windows[len(d.windows)-1]; r.Verdict != verify.Altered || len(d.windows) != 6 {
		t.Fatalf("%d results, the last %+v", len(d.windows), r)
	}
	d.take(s, s.Deliveries[5:]...) // the true one comes
	d.wantReceipt(s, 11, okStatus)
	if sum := d.bundle(s); sum.Verdict != verify.Verified {
		t.Fatalf("%+v", sum)
	}
}

func TestAlteredAtTheSource(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 10)
	d.meta(s)
	d.take(s, s.Deliveries[:5]...)
	d.take(s, alteredCopy(s.Deliveries[5]), s.Deliveries[6])
	d.now = d.now.Add(61 * time.Second)
	for _, b := range d.l.logs {
		b.losePatience(d.now)
	}
	d.commit()
	d.wantReceipt(s, 5, alteredStatus)
	d.take(s, s.Deliveries[6:]...)
	d.wantReceipt(s, 11, okStatus)
	d.crash()
	d.meta(s)
	d.commit()
	d.wantReceipt(s, 11, okStatus)
	if sum := d.bundle(s); sum.Verdict != verify.Altered {
		t.Fatalf("%+v", sum)
	}
}

func TestStrangers(t *testing.T) {
	d, foreign := newDesk(t), evidencetest.NewStream(t, 3, 3)
	d.meta(foreign)
	d.meta(foreign)
	d.take(foreign, foreign.Deliveries...)
	if u := d.kinds(UnknownBox); len(u) != 1 || !strings.Contains(u[0].Err.Error(), "ed25519:") {
		t.Fatalf("%+v", u)
	}
	if len(d.receipts)+len(d.windows) != 0 {
		t.Fatal("a stranger got an answer")
	}
	for k := range 100 { // and many of them do not fill the memory
		w, _, err := seal.NewWriter(evidencetest.Signer(50), evidencetest.Secret(),
			evidence.Genesis{Event: evidencetest.Point(k + 1), Dictionary: evidencetest.Small()})
		if err != nil {
			t.Fatal(err)
		}
		d.meta(&evidencetest.Stream{Writer: w, Meta: w.Meta().Encode()})
	}
	if len(d.kinds(UnknownBox)) > strangersMax {
		t.Fatal("unbounded")
	}
	// A stranger's meta under a known log's topic changes nothing.
	s := evidencetest.NewStream(t, 1, 3)
	d.l.handle(message{evidence.Topic(evidence.MetaTopic, s.Writer.LogID(), ""), foreign.Meta})
	d.l.handle(message{"tally/1/zz/x/meta", s.Meta})
	d.l.handle(message{evidence.Topic(evidence.MetaTopic, s.Writer.LogID(), ""), []byte("junk")})
	d.meta(s)
	d.l.handle(message{evidence.Topic(evidence.MetaTopic, s.Writer.LogID(), ""), foreign.Meta})
	d.take(s, s.Deliveries...)
	d.wantReceipt(s, 4, okStatus)
}

func TestManyBoxes(t *testing.T) {
	d := newDesk(t)
	one, two := evidencetest.NewStream(t, 1, 30), evidencetest.NewStream(t, 2, 30)
	d.meta(one)
	d.meta(two)
	for i := range one.Deliveries {
		d.put(one, one.Deliveries[i])
		d.put(two, two.Deliveries[i])
	}
	d.commit()
	if len(d.receipts) != 2 || len(d.windows) != 64 {
		t.Fatalf("%d receipts, %d results", len(d.receipts), len(d.windows))
	}
	d.crash()
	d.take(one, one.Deliveries[31])
	d.wantReceipt(one, 31, okStatus)
	d.take(two, two.Deliveries[31])
	d.wantReceipt(two, 31, okStatus)
}

func TestNoReceiptWithoutTheDisk(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 10)
	d.meta(s)
	d.take(s, s.Deliveries[:5]...)
	n := len(d.receipts)
	d.l.logs[s.Writer.LogID()].archive.file.Close() // every later write fails
	d.put(s, s.Deliveries[5:]...)
	var disk *diskError
	if err := d.l.commit(catch{d}); !errors.As(err, &disk) {
		t.Fatalf("commit: %v", err)
	}
	if err := d.l.commit(catch{d}); !errors.As(err, &disk) {
		t.Fatalf("the fault did not stick: %v", err)
	}
	if len(d.receipts) != n || len(d.windows) != 5 {
		t.Fatal("a receipt or a result for what is not on the disk")
	}
	d.crash()
	d.take(s, s.Deliveries[5:]...)
	d.wantReceipt(s, 11, okStatus)
}

func TestConfigFaults(t *testing.T) {
	d := newDesk(t)
	for words, change := range map[string]func(*Config){
		"1 to 32 of a-z":     func(c *Config) { c.Name = "Bank A" },
		"no key to sign":     func(c *Config) { c.Key = nil },
		"directory and dial": func(c *Config) { c.Dir = "" },
		"box b: no key":      func(c *Config) { c.Boxes = []Box{{Name: "b"}} },
	} {
		cfg := d.cfg
		change(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%v, want %q", err, words)
		}
	}
}

// boxOf is the name a test lender gives the signer of a stream.
func boxOf(s *evidencetest.Stream) string {
	leaf, err := evidence.ParseDelivery(s.Deliveries[0])
	if err != nil {
		panic(err)
	}
	for i := byte(1); ; i++ {
		if evidencetest.PublicKey(i) == leaf.Manifest.Genesis.Key.Key() {
			return fmt.Sprintf("box-%d", i)
		}
	}
}

// verifyArchive reads an archive as a stranger would.
func verifyArchive(dir string) (verify.Summary, error) {
	f, err := os.Open(filepath.Join(dir, archiveFile))
	if err != nil {
		return verify.Summary{}, err
	}
	defer f.Close()
	var pinned []evidence.PublicKey
	for i := range byte(3) {
		pinned = append(pinned, public(evidencetest.Key(i+1)))
	}
	return verify.Bundle(f, verify.Policy{Pinned: pinned}, nil)
}

// TestGradeA: a box that answers the nonce of the newest receipt, at once, gives
// evidence of the best grade; the archive keeps when it came and what it is after.
func TestGradeA(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 2)
	d.meta(s)
	d.now = time.UnixMilli(evidencetest.Start).Add(2 * 30 * time.Second)
	d.take(s, s.Deliveries...)
	receipt := d.last()
	if len(receipt.Nonce) != 16 {
		t.Fatalf("%+v", receipt)
	}
	issued := d.now
	for k, tt := range []struct {
		nonce []byte
		pause time.Duration // until the window ends
		want  verify.Grade
	}{{receipt.Nonce, 30 * time.Second, verify.GradeA}, {nil, 28 * time.Minute, verify.GradeA}, {nil, 2 * time.Minute, verify.GradeB}, {make([]byte, 16), 30 * time.Second, verify.GradeB}} {
		d.now = d.now.Add(tt.pause)
		var beacon []evidence.NonceHash
		if tt.nonce != nil {
			beacon = append(beacon, evidence.SuiteEd25519.NonceHash(tt.nonce))
		}
		e := evidencetest.Event(0, evidencetest.SmallMS)
		e.Start, e.UptimeMS = d.now.UnixMilli()-evidencetest.SmallMS, uint64(60_000+k)
		w, err := s.Writer.Window(e, evidencetest.SmallWindow(k), beacon)
		s.Add(t, w, err)
		d.take(s, s.Deliveries[len(s.Deliveries)-1])
		if r := d.windows[len(d.windows)-1]; r.Verdict != verify.Verified || r.Grade != tt.want || !r.NotBefore.Equal(issued.UTC()) {
			t.Errorf("window %d: %s, grade %s, made after %v, want grade %s after %v: %v", k, r.Verdict, r.Grade, r.NotBefore, tt.want, issued, r.Reasons)
		}
	}
	times, err := os.ReadFile(filepath.Join(d.dir(s, "box-1"), timesFile))
	if err != nil || len(times) != timeSize*len(s.Deliveries) {
		t.Fatalf("%d bytes of times for %d leaves, %v", len(times), len(s.Deliveries), err)
	}
}

// TestSecondLog: a box whose history was deleted begins another log under the
// same key, and that is said.
func TestSecondLog(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 3)
	d.meta(s)
	d.take(s, s.Deliveries...)
	w, first, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(), evidence.Genesis{
		Event: evidencetest.Point(9), Dictionary: evidencetest.Small(),
		Prev: &evidence.Previous{Log: s.Writer.LogID(), N: 4, Why: "loss"}})
	if err != nil {
		t.Fatal(err)
	}
	again := &evidencetest.Stream{Writer: w, Deliveries: [][]byte{first}, Meta: w.Meta().Encode()}
	d.meta(again)
	var told []string
	for _, e := range d.events {
		if e.Kind == SecondLog {
			told = append(told, e.Err.Error())
		}
	}
	if len(told) != 1 || !strings.Contains(told[0], "loss, after 4 leaves") || !strings.Contains(told[0], "5 leaves were received") {
		t.Errorf("told %q", told)
	}
}
