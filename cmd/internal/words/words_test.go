package words

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// TestEveryThingIsSaid: each of the sixteen that has words is in the notice, in
// both languages, and the words the product never uses are not.
func TestEveryThingIsSaid(t *testing.T) {
	c := evidencetest.Consent()
	c.Scope.Channels = []evidence.Channel{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 12}
	c.Purpose.Kinds = []record.PurposeKind{1, 2, 3}
	c.Separate = nil
	for k := record.ProvideToRecipient; k <= record.DecideByProgram; k++ {
		c.Separate = append(c.Separate, record.SeparateConsent{What: k})
	}
	never := regexp.MustCompile(`(?i)score|rating|AAA|default prediction|risky|fraud|forged|smart contract|anonymous|guaranteed|信用评分|造假|匿名`)
	for _, lang := range []string{Chinese, English} {
		text := Terms(c.Terms, lang)
		for _, n := range []string{" 2 ", " 3 ", " 4 ", " 5 ", " 6 ", " 7 ", " 8 ", " 9 ", "10 ", "11 ", "12 ", "13 ", "14 ", "15 "} {
			if !strings.Contains("\n"+text, "\n"+n) {
				t.Errorf("%s: nothing is said of %s:\n%s", lang, n, text)
			}
		}
		if never.MatchString(text) {
			t.Errorf("%s: %s", lang, never.FindString(text))
		}
		if strings.Contains(text, ", , ") || regexp.MustCompile(`[::] ?\n`).MatchString(text) {
			t.Errorf("%s: something has no words:\n%s", lang, text)
		}
	}
	if Terms(c.Terms, Chinese) == Terms(c.Terms, English) {
		t.Error("one language")
	}
}

func TestDeclarationWords(t *testing.T) {
	leaf := time.UnixMilli(evidencetest.Start)
	d := record.Declaration{Kind: record.MeterExchange, From: evidencetest.Start - 1, To: evidencetest.Start, Text: "x", Meter: "press-1",
		Old: &record.Decimal{Coef: 5, Exp: -2}, New: &record.Decimal{Coef: -12, Exp: 1}}
	if got := Declaration(&d, leaf); !strings.Contains(got, "press-1: 0.05 -> -120") || !strings.Contains(got, "事后申报") {
		t.Error(got)
	}
	d.From = evidencetest.Start
	if got := Declaration(&d, leaf); strings.Contains(got, "事后申报") {
		t.Error(got)
	}
	for k := record.PlannedClosure; k <= record.DeclaredReason; k++ {
		if got := Declaration(&record.Declaration{Kind: k}, leaf); !strings.Contains(got, " / ") {
			t.Errorf("kind %d: %s", k, got)
		}
	}
}

func TestFingerprint(t *testing.T) {
	k := evidencetest.PublicKey(1)
	f := Fingerprint(k)
	if len(f) != 64+15 || !SameFingerprint(k, f) || !SameFingerprint(k, strings.ToUpper(strings.ReplaceAll(f, " ", ""))+"\n") {
		t.Error(f)
	}
	for _, other := range []string{"", f[:len(f)-1], f + "0", Fingerprint(evidencetest.PublicKey(2))} {
		if SameFingerprint(k, other) {
			t.Errorf("%q is taken", other)
		}
	}
}
