package record_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// body is the body of a record for bank-a.
func body(t testing.TB, content any) []byte {
	t.Helper()
	b, err := record.Encode("bank-a", content)
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
	withdrawal := record.Consent{Header: grant.Header, Signed: record.Signed{At: evidencetest.Start + 5, Counter: []byte{}}}
	withdrawal.Header.Version, withdrawal.Header.Act = 2, record.Withdraw
	for name, c := range map[string]record.Consent{"grant": grant, "withdrawal": withdrawal} {
		b := body(t, c)
		golden(t, name, b)
		r, err := record.ParseBody(b)
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
	for name, edit := range map[string]func(c *record.Consent){
		"no act":                     func(c *record.Consent) { c.Header.Act = 0 },
		"a fourth act":               func(c *record.Consent) { c.Header.Act = 4 },
		"version 0":                  func(c *record.Consent) { c.Header.Version = 0 },
		"a notice nobody reads":      func(c *record.Consent) { c.Header.Language = "la" },
		"terms in a withdrawal":      func(c *record.Consent) { c.Header.Act = record.Withdraw },
		"no terms in a grant":        func(c *record.Consent) { c.Terms = nil },
		"no purpose":                 func(c *record.Consent) { c.Purpose.Kinds = nil },
		"purposes out of order":      func(c *record.Consent) { c.Purpose.Kinds = []record.PurposeKind{2, 1} },
		"another purpose":            func(c *record.Consent) { c.Purpose.Kinds = []record.PurposeKind{4} },
		"no channel":                 func(c *record.Consent) { c.Scope.Channels = nil },
		"the records' channel":       func(c *record.Consent) { c.Scope.Channels = []evidence.Channel{evidence.Records} },
		"raw frames by the way":      func(c *record.Consent) { c.Scope.Channels = []evidence.Channel{1, evidence.RawFrames} },
		"passed on by the way":       func(c *record.Consent) { c.Onward = []string{"somebody"} },
		"abroad by the way":          func(c *record.Consent) { c.Storage.Export = true },
		"decided by the way":         func(c *record.Consent) { c.Automated.Used = true },
		"nothing given separately":   func(c *record.Consent) { c.Separate = nil },
		"another factory":            func(c *record.Consent) { c.Factory.Kind = 0 },
		"another method":             func(c *record.Consent) { c.Method = 2 },
		"an end before the begin":    func(c *record.Consent) { c.Term.Until = c.Term.From },
		"no way to withdraw":         func(c *record.Consent) { c.Term.Withdraw = "" },
		"nobody signs":               func(c *record.Consent) { c.Signatory.Name = "" },
		"a long text":                func(c *record.Consent) { c.Consequences.Refusal = strings.Repeat("x", 4097) },
		"a text that is none":        func(c *record.Consent) { c.Recipient.Contact = "\xff" },
		"a right nobody has":         func(c *record.Consent) { c.Rights = []record.Right{1, 1} },
		"a time before all time":     func(c *record.Consent) { c.Signed.At = -1 },
		"a countersignature of 5 kB": func(c *record.Consent) { c.Signed.Counter = make([]byte, 5000) },
	} {
		c := evidencetest.Consent()
		edit(&c)
		if c.Validate() == nil {
			t.Errorf("%s is accepted", name)
		}
		if b, err := record.Encode("bank-a", c); err == nil {
			if r, err := record.ParseBody(b); err == nil {
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
	for _, k := range []record.SeparateKind{1, 2, 3, 4, 5} {
		c.Separate = append(c.Separate, record.SeparateConsent{What: k, At: 1})
	}
	if err := c.Validate(); err != nil {
		t.Fatal(err)
	}
	all := c.Separate
	for i := range all {
		c.Separate = append(append([]record.SeparateConsent(nil), all[:i]...), all[i+1:]...)
		if c.Validate() == nil {
			t.Errorf("accepted without %d", all[i].What)
		}
	}
}

func TestCountersignature(t *testing.T) {
	for _, suite := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2} {
		key, other := evidencetest.SuiteSigner(suite, 9), evidencetest.SuiteSigner(suite, 8)
		public, stranger := key.Public(), other.Public()
		terms := evidencetest.Consent().Terms
		sig, err := record.Countersign(key, terms)
		if err != nil {
			t.Fatal(err)
		}
		if err := record.VerifyCountersignature(public.Key(), terms, sig); err != nil {
			t.Errorf("suite %d: %v", suite, err)
		}
		if err := record.VerifyCountersignature(stranger.Key(), terms, sig); !errors.Is(err, evidence.ErrSignature) {
			t.Errorf("suite %d, another key: %v", suite, err)
		}
		changed := *terms
		changed.Retention.Days++
		if record.VerifyCountersignature(public.Key(), &changed, sig) == nil {
			t.Errorf("suite %d: of other terms, accepted", suite)
		}
		b, err := terms.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if again, err := record.DecodeTerms(b); err != nil || !reflect.DeepEqual(&again, terms) {
			t.Errorf("terms come back as %+v, %v", again, err)
		}
	}
}

func TestDeclarationComesBack(t *testing.T) {
	closure := record.Declaration{ID: [16]byte{1}, Kind: record.PlannedClosure, Made: 1000, From: 2000, To: 3000, Text: "春节"}
	exchange := record.Declaration{ID: [16]byte{2}, Kind: record.MeterExchange, Made: 1000, From: 2000, To: 2000, Text: "verification due",
		Meter: "press-1", Old: &record.Decimal{Coef: 1234567, Exp: -2}, New: &record.Decimal{}}
	for name, d := range map[string]record.Declaration{"closure": closure, "exchange": exchange} {
		b := body(t, d)
		golden(t, name, b)
		r, err := record.ParseBody(b)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := r.Declaration(); err != nil || !reflect.DeepEqual(got, d) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for name, edit := range map[string]func(d *record.Declaration){
		"an eighth kind":            func(d *record.Declaration) { d.Kind = 8 },
		"no kind":                   func(d *record.Declaration) { d.Kind = 0 },
		"the end first":             func(d *record.Declaration) { d.To = d.From - 1 },
		"no reason":                 func(d *record.Declaration) { d.Text = "" },
		"an exchange of nothing":    func(d *record.Declaration) { d.Meter = "" },
		"one reading":               func(d *record.Declaration) { d.Old = nil },
		"readings without exchange": func(d *record.Declaration) { d.Kind = record.NewLoad },
		"a reading without meter":   func(d *record.Declaration) { d.Kind, d.Meter, d.New = record.NewLoad, "", nil },
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
	claim, err := record.SignClaim(evidencetest.Signer(1), record.Claim{Log: &log, Site: "demo-plant", Issued: evidencetest.Start,
		Meters: []record.ClaimedMeter{{Name: "press-1", Profile: "eastron-sdm630", CT: record.Decimal{Coef: 4, Exp: 1}, PT: record.Decimal{Coef: 1}, Seal: "A 0815"}}})
	if err != nil {
		t.Fatal(err)
	}
	acceptance, err = record.SignAcceptance(evidencetest.Signer(9), claim, "bank-a", evidencetest.Start+1)
	if err != nil {
		t.Fatal(err)
	}
	return claim, acceptance
}

func TestCommissioningComesBack(t *testing.T) {
	claim, acceptance := statements(t)
	b := body(t, record.Commissioning{Claim: claim, Acceptance: acceptance})
	golden(t, "commissioning", b)
	r, err := record.ParseBody(b)
	if err != nil {
		t.Fatal(err)
	}
	got, err := r.Commissioning()
	if err != nil || !bytes.Equal(got.Claim, claim) {
		t.Fatalf("%+v, %v", got, err)
	}
	c, err := record.OpenClaim(claim)
	if err != nil || c.Key.Key() != evidencetest.PublicKey(1) || c.Meters[0].Seal != "A 0815" {
		t.Errorf("%+v, %v", c, err)
	}
	a, err := record.OpenAcceptance(acceptance, claim)
	if err != nil || a.Key.Key() != evidencetest.PublicKey(9) || a.Lender != "bank-a" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestStatementsRefuse(t *testing.T) {
	claim, acceptance := statements(t)
	other, err := record.SignClaim(evidencetest.Signer(2), record.Claim{Site: "demo-plant", Issued: 1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := record.OpenAcceptance(acceptance, other); err == nil {
		t.Error("an acceptance of another claim is taken")
	}
	for i := range claim {
		b := bytes.Clone(claim)
		b[i] ^= 1
		if _, err := record.OpenClaim(b); err == nil {
			t.Fatalf("claim with byte %d changed is taken", i)
		}
	}
	for i := range acceptance {
		b := bytes.Clone(acceptance)
		b[i] ^= 1
		if _, err := record.OpenAcceptance(b, claim); err == nil {
			t.Fatalf("acceptance with byte %d changed is taken", i)
		}
	}
	// None of the statements can be taken for another.
	if _, err := record.OpenClaim(acceptance); err == nil {
		t.Error("an acceptance is taken for a claim")
	}
	if _, err := evidence.OpenReceipt(evidencetest.PublicKey(9), acceptance); err == nil {
		t.Error("an acceptance is taken for a receipt")
	}
	if _, err := evidence.ParseLeaf(claim); err == nil {
		t.Error("a claim is taken for a leaf")
	}
	if _, err := record.SignClaim(evidencetest.Signer(1), record.Claim{Site: "x", Meters: []record.ClaimedMeter{{Name: "m"}}}); err == nil {
		t.Error("a ratio of zero is claimed")
	}
	rotated, err := record.SignClaim(evidencetest.Signer(2), record.Claim{Site: "x", Opened: evidencetest.PublicKey(1).String()})
	if err != nil {
		t.Fatal(err)
	}
	if c, err := record.OpenClaim(rotated); err != nil || c.Pin() != evidencetest.PublicKey(1) {
		t.Errorf("after a rotation the key to pin is %s, %v", c.Pin(), err)
	}
	for _, opened := range []string{"x", evidencetest.PublicKey(2).String()} {
		if _, err := record.SignClaim(evidencetest.Signer(2), record.Claim{Site: "x", Opened: opened}); err == nil {
			t.Errorf("%q opened the log: claimed", opened)
		}
	}
	if _, err := record.SignAcceptance(evidencetest.Signer(9), claim, "Bank A", 1); err == nil {
		t.Error("a name that is no name accepts")
	}
}

// known reports whether a decoder's error is one it promises.
func known(err error) bool {
	var format *canon.FormatError
	return errors.As(err, &format) || errors.Is(err, evidence.ErrSignature)
}

// FuzzRecordContents: what is read as a content is what its encoding says, and
// nothing panics.
func FuzzRecordContents(f *testing.F) {
	claim, acceptance := statements(f)
	d := record.Declaration{ID: [16]byte{2}, Kind: record.MeterExchange, From: 2, To: 2, Text: "x", Meter: "m", Old: &record.Decimal{Coef: 1}, New: &record.Decimal{}}
	for _, content := range []any{evidencetest.Consent(), d, record.Commissioning{Claim: claim, Acceptance: acceptance}} {
		f.Add(body(f, content))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.ParseBody(b)
		if err != nil {
			return
		}
		same := func(content any) {
			if again, err := record.Encode(r.For, content); err != nil || !bytes.Equal(again, b) {
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
			func() error { _, err := record.OpenClaim(b); return err },
			func() error { _, err := record.OpenAcceptance(b, claim); return err },
			func() error { _, err := record.DecodeTerms(b); return err },
			func() error {
				return record.VerifyCountersignature(evidencetest.PublicKey(9), evidencetest.Consent().Terms, b)
			},
		} {
			if err := open(); err != nil && !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
		}
	})
}
