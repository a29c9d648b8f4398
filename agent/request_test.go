package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// act is a consent of the given version, of a term that begins now.
func act(a record.Act, version uint64) record.Consent {
	c := evidencetest.Consent()
	now := time.Now().UnixMilli()
	c.Header.Act, c.Header.Version, c.Signed.At = a, version, now
	c.Term.From, c.Term.Until = now, now+1000*3600*1000
	if a == record.Withdraw {
		c.Terms = nil
	}
	return c
}

func leave(t *testing.T, dir string, typ evidence.LeafType, lender string, content any) string {
	t.Helper()
	name, err := desk.Leave(dir, typ, lender, content)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func reason(kind record.DeclarationKind) record.Declaration {
	return record.Declaration{ID: [16]byte{byte(kind)}, Kind: kind, Text: "x"}
}

// standing reads, as somebody beside the agent does.
func standing(t *testing.T, dir, lender string) desk.Standing {
	t.Helper()
	h, err := history.OpenReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	s, err := desk.StandingIn(dir, h, lender)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRequestsBecomeLeaves: left while the agent runs, or before it starts, in the
// order in which they were made; the files go.
func TestRequestsBecomeLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		leave(t, s.Dir, evidence.DeclarationLeaf, "", reason(record.PlannedClosure))
		time.Sleep(time.Microsecond)
		first := leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Grant, 1))
		if info, err := os.Stat(first); err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		if ps, err := desk.Pending(s.Dir); err != nil || len(ps) != 2 || ps[1].Type != evidence.ConsentLeaf || ps[1].Record.For != "bank-a" {
			t.Fatalf("pending %+v, %v", ps, err)
		}
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		if st := a.Standing("bank-a"); st.Consent == nil || st.Leaf != 2 { // before anything is sent
			t.Fatalf("%+v", st)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
		defer cancel()
		go func() {
			time.Sleep(30 * time.Second)
			leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Withdraw, 2))
			time.Sleep(11 * time.Second) // the sync interval is 10
			if st := a.Standing("bank-a"); st.Consent.Header.Act != record.Withdraw {
				t.Errorf("after the sync interval: %+v", st)
			}
		}()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, r := range sealed(t, s) {
			if r.Record != nil {
				got = append(got, r.Type.String()+" "+r.Record.For)
			}
		}
		if want := []string{"declaration ", "consent bank-a", "consent bank-a"}; !slices.Equal(got, want) {
			t.Errorf("records %q, want %q", got, want)
		}
		if ps, err := desk.Pending(s.Dir); err != nil || len(ps) != 0 {
			t.Errorf("still there: %+v, %v", ps, err)
		}
	})
}

// TestRequestIsRecordedOnce: a crash after the leaf and before the file was gone.
func TestRequestIsRecordedOnce(t *testing.T) {
	for name, also := range map[string]string{"consents stored": "", "consents not stored": "consents"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := testSite(t.TempDir(), &device{})
				runFor(t, s, time.Minute)
				file := leave(t, s.Dir, evidence.DeclarationLeaf, "bank-a", reason(record.PlannedClosure))
				b, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				abandon(t, s, 30*time.Second)
				// As the crash leaves it: the file is back, and the consents are
				// as they were when it was there, or not at all.
				if err := os.WriteFile(file, b, 0o600); err != nil {
					t.Fatal(err)
				}
				if also != "" {
					if err := os.Remove(filepath.Join(s.Dir, also)); err != nil {
						t.Fatal(err)
					}
				}
				runFor(t, s, time.Minute)
				n := 0
				for _, r := range sealed(t, s) {
					if r.Type == evidence.DeclarationLeaf {
						n++
					}
				}
				if n != 1 {
					t.Errorf("recorded %d times", n)
				}
				if _, err := os.Stat(file); err == nil {
					t.Error("the file is still there")
				}
			})
		})
	}
}

// TestWhatIsNoRequest is put aside, and stops nothing.
func TestWhatIsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		left := filepath.Join(s.Dir, "desk")
		if err := os.MkdirAll(left, 0o700); err != nil {
			t.Fatal(err)
		}
		withdrawal := act(record.Withdraw, 2)
		forAll, err := record.Encode("", withdrawal)
		if err != nil {
			t.Fatal(err)
		}
		receipt, err := record.Encode("bank-a", []byte{1})
		if err != nil {
			t.Fatal(err)
		}
		for name, b := range map[string][]byte{
			"1.record": nil, "2.record": []byte("hello"), "3.record": append([]byte{byte(evidence.ReceiptLeaf)}, receipt...),
			"4.record": append([]byte{byte(evidence.ConsentLeaf)}, forAll...), "5.record": append([]byte{byte(evidence.DeclarationLeaf)}, receipt...),
			"6.record": make([]byte, 1<<20), "notes.txt": []byte("x"),
		} {
			if err := os.WriteFile(filepath.Join(left, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := desk.Leave(s.Dir, evidence.ConsentLeaf, "", withdrawal); err == nil {
			t.Error("a consent for everybody is left")
		}
		runFor(t, s, time.Minute)
		for _, r := range sealed(t, s) {
			if r.Record != nil {
				t.Errorf("leaf %d: %+v", r.N, r.Record)
			}
		}
		refused, err := filepath.Glob(filepath.Join(left, "*"+".refused"))
		if err != nil || len(refused) != 6 {
			t.Errorf("put aside: %v, %v", refused, err)
		}
	})
}

// TestStanding: what the newest consent says, and to which grant it goes back.
func TestStanding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		runFor(t, s, time.Minute)
		type want struct {
			act     record.Act
			since   uint64 // which of the acts below it goes back to
			renewed bool
		}
		var leaves []uint64
		for i, w := range []want{
			{record.Grant, 0, false}, {record.Change, 0, false}, {record.Withdraw, 0, false},
			{record.Withdraw, 0, false}, {record.Grant, 4, true}, {record.Change, 4, true},
		} {
			leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(w.act, uint64(i+1)))
			leave(t, s.Dir, evidence.DeclarationLeaf, "bank-a", reason(record.NewLoad))
			runFor(t, s, 10*time.Second)
			if i%2 == 1 {
				os.Remove(filepath.Join(s.Dir, "consents")) // it follows from the leaves
			}
			st := standing(t, s.Dir, "bank-a")
			leaves = append(leaves, st.Leaf)
			if st.Consent == nil || st.Consent.Header.Act != w.act || st.Consent.Header.Version != uint64(i+1) || st.Since != leaves[w.since] || st.Renewed != w.renewed || st.Lost {
				t.Fatalf("act %d: %+v, want %+v, leaves %v", i, st, w, leaves)
			}
		}
		if st := standing(t, s.Dir, "bank-b"); st.Consent != nil || st.Lost {
			t.Errorf("another lender: %+v", st)
		}
		time.Sleep(2000 * time.Hour) // the term is over
		leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Grant, 7))
		runFor(t, s, 10*time.Second)
		if st := standing(t, s.Dir, "bank-a"); !st.Renewed || st.Since != st.Leaf {
			t.Errorf("after the term: %+v", st)
		}
	})
}

// TestWithdrawalOutlivesItsLeaf: the box lets go of the leaf, and still knows. If
// even the file is gone, it knows that it does not know.
func TestWithdrawalOutlivesItsLeaf(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		s.Quota = 64 << 10
		leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Withdraw, 1))
		abandon(t, s, 3*time.Hour)
		h, err := history.OpenReader(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		first := h.First()
		h.Close()
		if st := standing(t, s.Dir, "bank-a"); st.Leaf >= first || st.Consent == nil || st.Consent.Header.Act != record.Withdraw {
			t.Fatalf("%+v, the log begins at %d", st, first)
		}
		if st := standing(t, s.Dir, "bank-b"); st.Lost {
			t.Errorf("of a lender without a consent: %+v", st)
		}
		if err := os.Remove(filepath.Join(s.Dir, "consents")); err != nil {
			t.Fatal(err)
		}
		if st := standing(t, s.Dir, "bank-a"); !st.Lost || st.Consent != nil {
			t.Errorf("without the file: %+v", st)
		}
		runFor(t, s, 2*time.Hour) // and does not forget that
		if st := standing(t, s.Dir, "bank-a"); !st.Lost {
			t.Errorf("later: %+v", st)
		}
	})
}

// TestWithdrawalOutlivesItsLog: a history is gone and another begins. What the
// factory said to its lenders is said again in it; where nobody knows what that was,
// no lender has a consent.
func TestWithdrawalOutlivesItsLog(t *testing.T) {
	removeLog := func(t *testing.T, s *Site) {
		for _, dir := range []string{"sealed", journalDir} {
			if err := os.RemoveAll(filepath.Join(s.Dir, dir)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, lose := range map[string]func(*testing.T, *Site){
		"and says so":    func(t *testing.T, s *Site) { removeLog(t, s); s.DeclareLoss = true },
		"without a word": func(t *testing.T, s *Site) { removeLog(t, s); s.Used = "" },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := usedSite(t.TempDir())
				leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Grant, 1))
				leave(t, s.Dir, evidence.ConsentLeaf, "bank-b", act(record.Grant, 1))
				leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Withdraw, 2))
				runFor(t, s, time.Minute)
				lose(t, &s)
				runFor(t, s, time.Minute)
				s.DeclareLoss = false
				runFor(t, s, time.Minute)
				for lender, want := range map[string]record.Act{"bank-a": record.Withdraw, "bank-b": record.Grant} {
					st := standing(t, s.Dir, lender)
					if st.Consent == nil || st.Consent.Header.Act != want || st.Leaf == 0 || st.Lost {
						t.Errorf("%s: %+v, want act %d", lender, st, want)
					}
				}
				if st := standing(t, s.Dir, "bank-c"); st.Consent != nil || st.Lost {
					t.Errorf("a lender without one: %+v", st)
				}
				if got := strings.Count(strings.Join(types(sealed(t, s)), " "), "consent"); got != 2 {
					t.Errorf("%d consents in the new history, want each lender's newest, once", got)
				}
			})
		})
	}
	t.Run("with everything", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := usedSite(t.TempDir())
			leave(t, s.Dir, evidence.ConsentLeaf, "bank-a", act(record.Withdraw, 1))
			runFor(t, s, time.Minute)
			if err := os.RemoveAll(s.Dir); err != nil {
				t.Fatal(err)
			}
			s.DeclareLoss = true
			runFor(t, s, time.Minute)
			runFor(t, s, time.Minute)
			if st := standing(t, s.Dir, "bank-a"); !st.Lost {
				t.Errorf("%+v", st)
			}
		})
	})
}
