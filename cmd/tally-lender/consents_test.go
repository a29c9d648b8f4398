package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// TestReadingsBeyondTheConsent: the lender is told which readings are not covered
// by the consent it was shown, and shown consents and declarations in words.
func TestReadingsBeyondTheConsent(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	keep := func(typ evidence.LeafType, content any) {
		body, err := record.Encode("bank-a", content)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Writer.Record(evidencetest.Point(1), typ, body)
		s.Add(t, d, err)
	}
	c := evidencetest.Consent()
	c.Scope.Channels = []evidence.Channel{evidence.Power}
	keep(evidence.ConsentLeaf, c)
	s.Window(t)
	keep(evidence.DeclarationLeaf, record.Declaration{Kind: record.PlannedClosure, From: evidencetest.Start, To: evidencetest.Start, Text: "holiday"})
	c.Header.Act, c.Terms = record.Withdraw, nil
	keep(evidence.ConsentLeaf, c)
	s.Window(t)
	v, err := verify.New(evidencetest.PublicKey(1), s.Meta)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	show := printer(&out, false)
	var lines []string
	for _, d := range s.Deliveries {
		out.Reset()
		show("box", v.Next(d, time.Time{}))
		lines = append(lines, out.String())
	}
	for i, want := range map[int]string{
		3: "leaf 3: consent granted / 授予同意: power / 功率",
		4: "not covered by the consent in force: energy",
		5: "declared: planned closure / 计划停产",
		6: "leaf 6: consent withdrawn",
		7: "not covered by the consent in force: energy",
	} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("leaf %d: %s\nwant %s", i, lines[i], want)
		}
	}
	for i := range 3 {
		if strings.Contains(lines[i], "not covered") {
			t.Errorf("before any consent: %s", lines[i])
		}
	}
	if strings.Contains(lines[4], "power,") {
		t.Errorf("what is covered is named: %s", lines[4])
	}
}
