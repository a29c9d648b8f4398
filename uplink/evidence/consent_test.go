package evidence_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// body is the body of a record for bank-a.
func body(t testing.TB, content any) []byte {
	t.Helper()
	b, err := evidence.EncodeRecord("bank-a", content)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// golden compares a record's body with testdata/records.txt: one name and hex a line.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	file, err := os.ReadFile("testdata/records.txt")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(file)) {
		if n, want, _ := strings.Cut(strings.TrimSpace(line), " "); n == name {
			if want != hex.EncodeToString(got) {
				t.Errorf("%s %x", name, got)
			}
			return
		}
	}
	t.Errorf("not in testdata/records.txt: %s %x", name, got)
}

func TestConsentComesBack(t *testing.T) {
	grant := evidencetest.Consent()
	withdrawal := evidence.Consent{Record: grant.Record, Signed: evidence.ConsentSigned{At: evidencetest.Start + 5, Counter: []byte{}}}
	withdrawal.Record.Version, withdrawal.Record.Act = 2, evidence.WithdrawConsent
	for name, c := range map[string]evidence.Consent{"grant": grant, "withdrawal": withdrawal} {
		b := body(t, c)
		golden(t, name, b)
		r, err := evidence.ParseRecordBody(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Consent()
		if err != nil || !reflect.DeepEqual(got, c) {
			t.Errorf("%s: %+v, %v\nwant %+v", name, got, err, c)
		}
	}
}

func TestConsentRefuses(t *testing.T) {
	for name, edit := range map[string]func(c *evidence.Consent){
		"no act":                     func(c *evidence.Consent) { c.Record.Act = 0 },
		"a fourth act":               func(c *evidence.Consent) { c.Record.Act = 4 },
		"version 0":                  func(c *evidence.Consent) { c.Record.Version = 0 },
		"a notice nobody reads":      func(c *evidence.Consent) { c.Record.Language = "la" },
		"terms in a withdrawal":      func(c *evidence.Consent) { c.Record.Act = evidence.WithdrawConsent },
		"no terms in a grant":        func(c *evidence.Consent) { c.ConsentTerms = nil },
		"no purpose":                 func(c *evidence.Consent) { c.Purpose.Purposes = nil },
		"purposes out of order":      func(c *evidence.Consent) { c.Purpose.Purposes = []evidence.Purpose{2, 1} },
		"another purpose":            func(c *evidence.Consent) { c.Purpose.Purposes = []evidence.Purpose{4} },
		"no channel":                 func(c *evidence.Consent) { c.Scope.Channels = nil },
		"the records' channel":       func(c *evidence.Consent) { c.Scope.Channels = []evidence.Channel{evidence.Records} },
		"raw frames by the way":      func(c *evidence.Consent) { c.Scope.Channels = []evidence.Channel{1, evidence.RawFrames} },
		"passed on by the way":       func(c *evidence.Consent) { c.Onward = []string{"somebody"} },
		"abroad by the way":          func(c *evidence.Consent) { c.Storage.Export = true },
		"decided by the way":         func(c *evidence.Consent) { c.Automated.Used = true },
		"nothing given separately":   func(c *evidence.Consent) { c.Separate = nil },
		"another factory":            func(c *evidence.Consent) { c.Factory.Kind = 0 },
		"another method":             func(c *evidence.Consent) { c.Method = 2 },
		"an end before the begin":    func(c *evidence.Consent) { c.Term.Until = c.Term.From },
		"no way to withdraw":         func(c *evidence.Consent) { c.Term.Withdraw = "" },
		"nobody signs":               func(c *evidence.Consent) { c.Signatory.Name = "" },
		"a long text":                func(c *evidence.Consent) { c.Consequences.Refusal = strings.Repeat("x", 4097) },
		"a text that is none":        func(c *evidence.Consent) { c.Recipient.Contact = "\xff" },
		"a right nobody has":         func(c *evidence.Consent) { c.Rights = []evidence.Right{1, 1} },
		"a time before all time":     func(c *evidence.Consent) { c.Signed.At = -1 },
		"a countersignature of 5 kB": func(c *evidence.Consent) { c.Signed.Counter = make([]byte, 5000) },
	} {
		c := evidencetest.Consent()
		edit(&c)
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
		if b, err := evidence.EncodeRecord("bank-a", c); err == nil {
			if r, err := evidence.ParseRecordBody(b); err == nil {
				if _, err := r.Consent(); err == nil {
					t.Errorf("%s is read", name)
				}
			}
		}
	}
}

func TestEverySeparateConsentIsNeeded(t *testing.T) {
	c := evidencetest.Consent()
	c.Scope.Channels = []evidence.Channel{1, evidence.RawFrames}
	c.Onward, c.Storage.Export, c.Automated.Used = []string{"somebody"}, true, true
	c.Separate = nil
	for _, k := range []evidence.SeparateKind{1, 2, 3, 4, 5} {
		c.Separate = append(c.Separate, evidence.SeparateConsent{What: k, At: 1})
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	all := c.Separate
	for i := range all {
		c.Separate = append(append([]evidence.SeparateConsent(nil), all[:i]...), all[i+1:]...)
		if c.Validate() == nil {
			t.Errorf("accepted without %d", all[i].What)
		}
	}
}

func TestCountersignature(t *testing.T) {
	for _, suite := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2} {
		key, other := evidencetest.SuiteSigner(suite, 9), evidencetest.SuiteSigner(suite, 8)
		public, stranger := key.Public(), other.Public()
		terms := evidencetest.Consent().ConsentTerms
		sig, err := evidence.Countersign(key, terms)
		if err != nil {
			t.Fatal(err)
		}
		if err := evidence.VerifyCountersignature(public.Key(), terms, sig); err != nil {
			t.Errorf("suite %d: %v", suite, err)
		}
		if err := evidence.VerifyCountersignature(stranger.Key(), terms, sig); !errors.Is(err, evidence.ErrSignature) {
			t.Errorf("suite %d, another key: %v", suite, err)
		}
		changed := *terms
		changed.Retention.Days++
		if evidence.VerifyCountersignature(public.Key(), &changed, sig) == nil {
			t.Errorf("suite %d: of other terms, accepted", suite)
		}
		b, err := terms.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := evidence.DecodeConsentTerms(b); err != nil || !reflect.DeepEqual(&again, terms) {
			t.Errorf("terms come back as %+v, %v", again, err)
		}
	}
}

func TestDeclarationComesBack(t *testing.T) {
	closure := evidence.Declaration{ID: [16]byte{1}, Kind: evidence.PlannedClosure, Made: 1000, From: 2000, To: 3000, Text: "春节"}
	exchange := evidence.Declaration{ID: [16]byte{2}, Kind: evidence.MeterExchange, Made: 1000, From: 2000, To: 2000, Text: "verification due",
		Meter: "press-1", Old: &evidence.Decimal{Coef: 1234567, Exp: -2}, New: &evidence.Decimal{}}
	for name, d := range map[string]evidence.Declaration{"closure": closure, "exchange": exchange} {
		b := body(t, d)
		golden(t, name, b)
		r, err := evidence.ParseRecordBody(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Declaration(); err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, edit := range map[string]func(d *evidence.Declaration){
		"an eighth kind":            func(d *evidence.Declaration) { d.Kind = 8 },
		"no kind":                   func(d *evidence.Declaration) { d.Kind = 0 },
		"the end first":             func(d *evidence.Declaration) { d.To = d.From - 1 },
		"no reason":                 func(d *evidence.Declaration) { d.Text = "" },
		"an exchange of nothing":    func(d *evidence.Declaration) { d.Meter = "" },
		"one reading":               func(d *evidence.Declaration) { d.Old = nil },
		"readings without exchange": func(d *evidence.Declaration) { d.Kind = evidence.NewLoad },
		"a reading without meter":   func(d *evidence.Declaration) { d.Kind, d.Meter, d.New = evidence.NewLoad, "", nil },
	} {
		d := exchange
		edit(&d)
		if d.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func statements(t testing.TB) (claim, acceptance []byte) {
	t.Helper()
	log := evidence.LogID{7}
	claim, err := evidence.SignClaim(evidencetest.Signer(1), evidence.Claim{Log: &log, Site: "demo-plant", Issued: evidencetest.Start,
		Meters: []evidence.ClaimedMeter{{Name: "press-1", Profile: "eastron-sdm630", CT: evidence.Decimal{Coef: 4, Exp: 1}, PT: evidence.Decimal{Coef: 1}, Seal: "A 0815"}}})
	if err != nil {
		t.Fatal(err)
	}
	acceptance, err = evidence.SignAcceptance(evidencetest.Signer(9), claim, "bank-a", evidencetest.Start+1)
	if err != nil {
		t.Fatal(err)
	}
	return claim, acceptance
}

func TestCommissioningComesBack(t *testing.T) {
	claim, acceptance := statements(t)
	b := body(t, evidence.Commissioning{Claim: claim, Acceptance: acceptance})
	golden(t, "commissioning", b)
	r, err := evidence.ParseRecordBody(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Commissioning()
	if err != nil || !bytes.Equal(got.Claim, claim) {
		t.Fatalf("%+v, %v", got, err)
	}
	c, err := evidence.OpenClaim(claim)
	if err != nil || c.Key.Key() != evidencetest.PublicKey(1) || c.Meters[0].Seal != "A 0815" {
		t.Errorf("%+v, %v", c, err)
	}
	a, err := evidence.OpenAcceptance(acceptance, claim)
	if err != nil || a.Key.Key() != evidencetest.PublicKey(9) || a.Lender != "bank-a" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestStatementsRefuse(t *testing.T) {
	claim, acceptance := statements(t)
	other, err := evidence.SignClaim(evidencetest.Signer(2), evidence.Claim{Site: "demo-plant", Issued: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := evidence.OpenAcceptance(acceptance, other); err == nil {
		t.Error("an acceptance of another claim is taken")
	}
	for i := range claim {
		b := bytes.Clone(claim)
		b[i] ^= 1
		if _, err := evidence.OpenClaim(b); err == nil {
			t.Fatalf("claim with byte %d changed is taken", i)
		}
	}
	for i := range acceptance {
		b := bytes.Clone(acceptance)
		b[i] ^= 1
		if _, err := evidence.OpenAcceptance(b, claim); err == nil {
			t.Fatalf("acceptance with byte %d changed is taken", i)
		}
	}
	// None of the statements can be taken for another.
	if _, err := evidence.OpenClaim(acceptance); err == nil {
		t.Error("an acceptance is taken for a claim")
	}
	if _, err := evidence.OpenReceipt(evidencetest.PublicKey(9), acceptance); err == nil {
		t.Error("an acceptance is taken for a receipt")
	}
	if _, err := evidence.ParseLeaf(claim); err == nil {
		t.Error("a claim is taken for a leaf")
	}
	if _, err := evidence.SignClaim(evidencetest.Signer(1), evidence.Claim{Site: "x", Meters: []evidence.ClaimedMeter{{Name: "m"}}}); err == nil {
		t.Error("a ratio of zero is claimed")
	}
	rotated, err := evidence.SignClaim(evidencetest.Signer(2), evidence.Claim{Site: "x", Opened: evidencetest.PublicKey(1).String()})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := evidence.OpenClaim(rotated); err != nil || c.Pin() != evidencetest.PublicKey(1) {
		t.Errorf("after a rotation the key to pin is %s, %v", c.Pin(), err)
	}
	for _, opened := range []string{"x", evidencetest.PublicKey(2).String()} {
		if _, err := evidence.SignClaim(evidencetest.Signer(2), evidence.Claim{Site: "x", Opened: opened}); err == nil {
			t.Errorf("%q opened the log: claimed", opened)
		}
	}
	if _, err := evidence.SignAcceptance(evidencetest.Signer(9), claim, "Bank A", 1); err == nil {
		t.Error("a name that is no name accepts")
	}
}

// FuzzRecordContents: what is read as a content is what its encoding says, and
// nothing panics.
func FuzzRecordContents(f *testing.F) {
	claim, acceptance := statements(f)
	d := evidence.Declaration{ID: [16]byte{2}, Kind: evidence.MeterExchange, From: 2, To: 2, Text: "x", Meter: "m", Old: &evidence.Decimal{Coef: 1}, New: &evidence.Decimal{}}
	for _, content := range []any{evidencetest.Consent(), d, evidence.Commissioning{Claim: claim, Acceptance: acceptance}} {
		f.Add(body(f, content))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := evidence.ParseRecordBody(b)
		if err != nil {
			return
		}
		same := func(content any) {
			if again, err := evidence.EncodeRecord(r.For, content); err != nil || !bytes.Equal(again, b) {
				t.Fatalf("%+v re-encodes to %x (%v)", content, again, err)
			}
		}
		if c, err := r.Consent(); err == nil {
			same(c)
		}
		if d, err := r.Declaration(); err == nil {
			same(d)
		}
		if c, err := r.Commissioning(); err == nil {
			same(c)
		}
	})
}

func FuzzStatements(f *testing.F) {
	claim, acceptance := statements(f)
	f.Add(claim)
	f.Add(acceptance)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, open := range []func() error{
			func() error { _, err := evidence.OpenClaim(b); return err },
			func() error { _, err := evidence.OpenAcceptance(b, claim); return err },
			func() error { _, err := evidence.DecodeConsentTerms(b); return err },
			func() error {
				return evidence.VerifyCountersignature(evidencetest.PublicKey(9), evidencetest.Consent().ConsentTerms, b)
			},
		} {
			if err := open(); err != nil && !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
		}
	})
}
