package main

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
	show := printer(&out, false, consents{})
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
	// A consent shown in an earlier run holds from the first window on.
	v, err = verify.New(evidencetest.PublicKey(1), s.Meta)
	if err != nil {
		t.Fatal(err)
	}
	again := printer(&out, false, consents{s.Writer.LogID(): c})
	out.Reset()
	for _, d := range s.Deliveries[:3] {
		again("box", v.Next(d, time.Time{}))
	}
	if !strings.Contains(out.String(), "not covered by the consent in force: energy") {
		t.Errorf("after a restart: %s", out.String())
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

// TestVerifyNamesReadingsBeyondTheConsent: a bundle in which the box sent more than was
// consented to verifies, and the lender it was for is told; nobody else is.
func TestVerifyNamesReadingsBeyondTheConsent(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	c := evidencetest.Consent()
	c.Scope.Channels = []evidence.Channel{evidence.Power}
	body, err := record.Encode("bank-a", c)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Writer.Record(evidencetest.Point(1), evidence.ConsentLeaf, body)
	s.Add(t, d, err)
	s.Window(t)
	file, dir := fileOf(t, s), t.TempDir()
	for lender, told := range map[string]bool{"bank-a": true, "bank-b": false} {
		config := filepath.Join(dir, lender+".yaml")
		text := "{name: " + lender + ", key: none.key, directory: " + dir + ", broker: 'mqtt://127.0.0.1:1', boxes: [{name: mill, key: '" + evidencetest.PublicKey(1).String() + "'}]}\n"
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		exit, stdout, stderr := command("verify", file, "--json", "--config", config)
		if exit != 0 || strings.Contains(stdout, "beyond-consent") != told || strings.Contains(stderr, "超出现行同意的范围") != told {
			t.Errorf("%s: exit %d\n%s%s", lender, exit, stdout, stderr)
		}
	}
	if _, stdout, _ := command("verify", file, "--json", "--key", evidencetest.PublicKey(1).String()); strings.Contains(stdout, "beyond-consent") {
		t.Error("told to nobody in particular")
	}
}
