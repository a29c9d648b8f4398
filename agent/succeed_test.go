package agent

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// TestSucceed: a history ends with the name of the next key, and only once its lenders
// have all of it; the next begins with that end and with the consents in force.
func TestSucceed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, next := usedSite(t.TempDir()), usedSite(t.TempDir())
		public := next.Signer.Public()
		heir := public.Key()
		old.Lenders = []Lender{{Name: "bank-a", Ship: func(Feed) (Shipper, error) { return deaf{}, nil }}}
		leave(t, old.Dir, evidence.ConsentLeaf, "bank-a", act(record.Grant, 1))
		leave(t, old.Dir, evidence.ConsentLeaf, "bank-b", act(record.Withdraw, 1))
		runFor(t, old, 2*time.Minute)

		var lacks *Unconfirmed
		if err := Conclude(old, heir); !errors.As(err, &lacks) || lacks.Lender != "bank-a" || lacks.Hi != uint64(len(sealed(t, old))-1) {
			t.Fatalf("ended although a lender lacks leaves, or another reason: %v", err)
		}
		old.Lenders = nil
		if err := Conclude(old, heir); err != nil {
			t.Fatal(err)
		}
		ended := sealed(t, old)
		end := ended[len(ended)-1]
		if named, ok := end.Manifest.Heir(); !ok || named != heir {
			t.Errorf("the last leaf says %q", end.Manifest.Shutdown)
		}
		if err := Continue(next, old.Dir, "suite"); err != nil {
			t.Fatal(err)
		}
		if err := Continue(next, old.Dir, "suite"); err == nil || !strings.Contains(err.Error(), "holds another history") {
			t.Errorf("begun twice: %v", err)
		}
		runFor(t, next, time.Minute)
		rs := sealed(t, next)
		prev := rs[0].Manifest.Genesis.Prev
		if prev == nil || prev.Log != end.Log || prev.N != uint64(len(ended)) || prev.Why != "suite" {
			t.Errorf("the new log says of the old one: %+v, want %d leaves of %s", prev, len(ended), end.Log)
		}
		for lender, want := range map[string]record.Act{"bank-a": record.Grant, "bank-b": record.Withdraw} {
			if st := standing(t, next.Dir, lender); st.Consent == nil || st.Consent.Header.Act != want || st.Lost {
				t.Errorf("%s: %+v, want act %d", lender, st, want)
			}
		}
		if m := rs[3].Manifest; m.Shutdown == "" || strings.Contains(strings.Join(types(rs[:4]), " "), "window") {
			t.Errorf("begins with %v", types(rs))
		}
	})
}
