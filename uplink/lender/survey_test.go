package lender

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// What is waited for is to be seen from outside, also after a restart, and until
// it has come.
func TestSurveyShowsWhatIsWaitedFor(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 20)
	look := func() Kept {
		t.Helper()
		logs, err := Survey(d.cfg.Dir, "box-1")
		if err != nil || len(logs) != 1 {
			t.Fatalf("%+v, %v", logs, err)
		}
		return logs[0]
	}
	d.meta(s)
	d.take(s, s.Deliveries[:4]...)
	if k := look(); k.Waiting != nil || k.Forks != 0 || k.Log != s.Writer.LogID() || k.Began.UnixMilli() != evidencetest.Start || k.Prev != nil {
		t.Fatalf("%+v", k)
	}
	since := d.now
	d.take(s, s.Deliveries[9])
	d.now = d.now.Add(2 * time.Minute)
	d.l.logs[s.Writer.LogID()].losePatience(d.now)
	d.commit()
	want := Waited{Lo: 4, Hi: 8, Since: since}
	if k := look(); k.Waiting == nil || k.Waiting.Lo != want.Lo || k.Waiting.Hi != want.Hi || !k.Waiting.Since.Equal(want.Since) {
		t.Fatalf("%+v", k.Waiting)
	}
	d.crash()
	d.meta(s)
	d.take(s, s.Deliveries[4:8]...)
	if look().Waiting == nil {
		t.Fatal("the note is gone before leaf 8 has come")
	}
	d.take(s, s.Deliveries[8:]...)
	if k := look(); k.Waiting != nil || len(d.kinds(Filled)) != 1 {
		t.Fatalf("%+v, %v", k.Waiting, d.kinds(Filled))
	}
	// A note left by a crash between the archive's flush and its removal.
	if err := os.WriteFile(filepath.Join(d.dir(s, "box-1"), waitingFile), []byte("4 8 1000\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	d.crash()
	if k := look(); k.Waiting != nil {
		t.Errorf("%+v", k.Waiting)
	}
}

func TestSurveyOfForksAndSecondLogs(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 4)
	d.meta(s)
	d.take(s, s.Deliveries...)
	// The same key signs another leaf 5, and begins another log.
	other := evidencetest.NewStream(t, 1, 3)
	e, err := other.Writer.Shutdown(evidencetest.Point(4), "copied")
	other.Add(t, e, err)
	d.take(s, other.Deliveries[5])
	later := evidencetest.Point(9)
	w, first, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(), evidence.Genesis{Event: later, Dictionary: evidencetest.Small(),
		Prev: &evidence.Previous{Log: s.Writer.LogID(), N: 6, Why: "loss"}})
	if err != nil {
		t.Fatal(err)
	}
	second := &evidencetest.Stream{Writer: w, Meta: w.Meta().Encode()}
	second.Add(t, first, nil)
	d.meta(second)
	d.take(second, second.Deliveries...)
	logs, err := Survey(d.cfg.Dir, "box-1")
	if err != nil || len(logs) != 2 || logs[0].Forks != 1 || logs[1].Forks != 0 || logs[1].Prev == nil || logs[1].Prev.N != 6 {
		t.Errorf("%+v, %v", logs, err)
	}
	if logs, err := Survey(d.cfg.Dir, "box-2"); err != nil || len(logs) != 0 {
		t.Errorf("%+v, %v", logs, err)
	}
}

// The newest consent is to be seen from outside, by the next start above all; a log
// that says it continues one of ours under another key is named with it.
func TestSurveyShowsTheConsent(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 2)
	d.meta(s)
	d.take(s, s.Deliveries...)
	for version := range uint64(2) {
		c := evidencetest.Consent()
		c.Header.Version = version + 1
		body, err := record.Encode("bank-a", c)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := s.Writer.Record(evidencetest.Point(3), evidence.ConsentLeaf, body)
		s.Add(t, leaf, err)
		d.take(s, s.Deliveries[len(s.Deliveries)-1])
		d.crash()
		d.meta(s)
		logs, err := Survey(d.cfg.Dir, "box-1")
		if err != nil || len(logs) != 1 || !bytes.Equal(logs[0].Consent, body) {
			t.Fatalf("version %d: %+v, %v", version+1, logs, err)
		}
	}
	prev := &evidence.Previous{Log: s.Writer.LogID(), N: s.Writer.N(), Why: "suite"}
	w, _, err := seal.NewWriter(evidencetest.Signer(7), evidencetest.Secret(), evidence.Genesis{Event: evidencetest.Point(9), Dictionary: evidencetest.Small(), Prev: prev})
	if err != nil {
		t.Fatal(err)
	}
	d.meta(&evidencetest.Stream{Writer: w, Meta: w.Meta().Encode()})
	if u := d.kinds(UnknownBox); len(u) != 1 || !strings.Contains(u[0].Err.Error(), "it says that it continues log "+prev.Log.String()+" of box box-1 (suite)") {
		t.Errorf("%v", u)
	}
}
