//go:build linux

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// TestEnrol: a claim, a lender's answer to it, and the record of both.
func TestEnrol(t *testing.T) {
	t.Parallel()
	dir, path := site(t, tcpSite("127.0.0.1:1", ""))
	seals := put(t, filepath.Join(dir, "seals.csv"), "# name,seal\npress-1, A 0815\n")
	claimPath := filepath.Join(dir, "claim.tally-claim")
	var out, errs text
	if exit := run(t.Context(), []string{"enrol", "--meters-sealed", seals, "-o", claimPath, "--config", path}, &out, &errs); exit != 0 {
		t.Fatal(errs.String())
	}
	b, err := os.ReadFile(claimPath)
	if err != nil {
		t.Fatal(err)
	}
	claim, err := record.OpenClaim(b)
	if err != nil {
		t.Fatal(err)
	}
	if m := claim.Meters[0]; m.Seal != "A 0815" || m.CT != (record.Decimal{Coef: 1}) || m.Name != "press-1" || claim.Site != "workshop" {
		t.Errorf("%+v", claim)
	}
	if f := words.Fingerprint(claim.Key.Key()); !strings.Contains(out.String(), f) || !strings.Contains(out.String(), "█") {
		t.Errorf("no fingerprint or code:\n%s", out.String())
	}

	answer := func(name, lender string, key evidence.Signer, of []byte) string {
		a, err := record.SignAcceptance(key, of, lender, 1)
		if err != nil {
			t.Fatal(err)
		}
		return put(t, filepath.Join(dir, name), string(a))
	}
	other, err := record.SignClaim(evidencetest.Signer(1), record.Claim{Site: "workshop"})
	if err != nil {
		t.Fatal(err)
	}
	k := evidencetest.Signer(9)
	exit, _, stderr := command(t, dir, "enrol", "-o", claimPath, "--accept", answer("wrong", "bank-a", k, other), "--config", path)
	if exit != 4 || !strings.Contains(stderr, "E-707") {
		t.Errorf("an answer to another claim: exit %d, %s", exit, stderr)
	}
	foreign := put(t, filepath.Join(dir, "foreign"), string(other))
	if exit, _, stderr := command(t, dir, "enrol", "-o", foreign, "--accept", filepath.Join(dir, "wrong"), "--config", path); exit != 4 || !strings.Contains(stderr, "another box's key") {
		t.Errorf("another box's claim: exit %d, %s", exit, stderr)
	}
	good := answer("good", "bank-a", k, b)
	out = text{}
	if exit := run(t.Context(), []string{"enrol", "-o", claimPath, "--accept", good, "--config", path}, &out, &errs); exit != 0 {
		t.Fatal(errs.String())
	}
	for _, want := range []string{"- name: bank-a", "public_key: " + publicOf(k), "consent: required", words.Fingerprint(evidencetest.PublicKey(9))} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in:\n%s", want, out.String())
		}
	}
	rs, err := desk.Pending(filepath.Join(dir, "box"))
	if err != nil || len(rs) != 1 || rs[0].Type != evidence.CommissioningLeaf || rs[0].Record.For != "bank-a" {
		t.Errorf("left: %+v, %v", rs, err)
	}
	_, with := site(t, tcpSite("127.0.0.1:1", "lenders:\n  - {name: bank-a, broker: \"mqtt://127.0.0.1:1\", share: [energy], public_key: \""+publicOf(evidencetest.Signer(8))+"\"}\nkey: "+dir+"/box/device.key\n"))
	if exit, _, stderr := command(t, dir, "enrol", "-o", claimPath, "--accept", good, "--config", with); exit != 4 || !strings.Contains(stderr, "E-708") {
		t.Errorf("another key than the one pinned: exit %d, %s", exit, stderr)
	}
}

// TestDeclare: what cannot be is refused; an exchange has both readings.
func TestDeclare(t *testing.T) {
	t.Parallel()
	dir, path := site(t, tcpSite("127.0.0.1:1", ""))
	declare := func(args ...string) (int, string) {
		exit, out, errs := command(t, dir, append(append([]string{"declare"}, args...), "--config", path)...)
		return exit, out + errs
	}
	for _, args := range [][]string{
		{"closure", "--from", "2030-02-01"},
		{"closure", "--from", "1.2.2030", "--reason", "x"},
		{"closure", "--from", "2030-02-02", "--to", "2030-01-31", "--reason", "x"},
		{"closure", "--from", "2030-02-01", "--reason", "x", "--lender", "nobody"},
		{"meter-exchange", "--from", "2030-02-01", "--reason", "x", "--meter", "press-1", "--old", "12.3e4", "--new", "0"},
		{"meter-exchange", "--from", "2030-02-01", "--reason", "x", "--meter", "none", "--old", "1", "--new", "0"},
		{"meter-exchange", "--from", "2030-02-01", "--reason", "x"},
	} {
		if exit, said := declare(args...); exit != 2 {
			t.Errorf("%v: exit %d, %s", args, exit, said)
		}
	}
	if exit, said := declare("meter-exchange", "--from", "2030-02-01T08:00", "--reason", "verification due", "--meter", "press-1", "--old", "12345.67", "--new", "0.00"); exit != 0 || !strings.Contains(said, "press-1: 12345.67 -> 0.00") {
		t.Errorf("exit %d, %s", exit, said)
	}
	rs, err := desk.Pending(filepath.Join(dir, "box"))
	if err != nil || len(rs) != 1 {
		t.Fatalf("%+v, %v", rs, err)
	}
	if d, err := rs[0].Record.Declaration(); err != nil || d.Old.Coef != 1234567 || d.Old.Exp != -2 || d.From != d.To {
		t.Errorf("%+v, %v", d, err)
	}
}
