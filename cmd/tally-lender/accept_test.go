package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// lenderFile writes a lender file and its key.
func lenderFile(t *testing.T, boxes string) (dir, path string) {
	t.Helper()
	dir = t.TempDir()
	path = filepath.Join(dir, "lender.yaml")
	text := "# our boxes\nname: bank-a\nbroker: mqtt://127.0.0.1:1\ndirectory: bank\nkey: lender.key\n" + boxes
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, _, stderr := command("keygen", filepath.Join(dir, "lender.key")); exit != 0 {
		t.Fatal(stderr)
	}
	return dir, path
}

func claimOf(t *testing.T, dir string) (path string, b []byte) {
	t.Helper()
	b, err := record.SignClaim(evidencetest.Signer(3), record.Claim{Site: "workshop", Issued: evidencetest.Start,
		Meters: []record.ClaimedMeter{{Name: "press-1", Profile: "p", CT: record.Decimal{Coef: 4, Exp: 1}, PT: record.Decimal{Coef: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "claim.tally-claim")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path, b
}

// TestAccept: a box whose fingerprint is right is pinned, with the file's comments
// kept, and gets an answer; any other is not.
func TestAccept(t *testing.T) {
	known := "  - name: old\n    key: " + evidencetest.PublicKey(1).String() + "   # since March\n"
	for name, c := range map[string]struct {
		boxes   string
		written bool
	}{
		"the first box":        {"", true},
		"beside another":       {"boxes:\n" + known + "patience: 2m\n", true},
		"without indent":       {"boxes:\n- name: old\n  key: " + evidencetest.PublicKey(1).String() + "\n  label: x", true},
		"on one line, by hand": {"boxes: [{name: old, key: " + evidencetest.PublicKey(1).String() + "}]\n", false},
		"its name is taken":    {"boxes:\n" + strings.Replace(known, "old", "workshop", 1), false},
	} {
		t.Run(name, func(t *testing.T) {
			dir, config := lenderFile(t, c.boxes)
			claim, b := claimOf(t, dir)
			before, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			f := words.Fingerprint(evidencetest.PublicKey(3))
			if exit, _, stderr := command("accept", claim, "-c", config, "--fingerprint", words.Fingerprint(evidencetest.PublicKey(2))); exit != 4 || !strings.Contains(stderr, "E-712") {
				t.Fatalf("another fingerprint: exit %d, %s", exit, stderr)
			}
			answers, _ := filepath.Glob(filepath.Join(dir, "*.tally-acceptance"))
			if len(answers) != 0 {
				t.Fatal("an answer was written all the same")
			}
			exit, stdout, stderr := command("accept", claim, "-c", config, "--fingerprint", f)
			if exit != 0 || !strings.Contains(stdout, "press-1: p") || !strings.Contains(stdout, "ct 40") {
				t.Fatalf("exit %d\n%s%s", exit, stdout, stderr)
			}
			answer, err := os.ReadFile(filepath.Join(dir, "claim.bank-a.tally-acceptance"))
			if err != nil {
				t.Fatal(err)
			}
			if a, err := record.OpenAcceptance(answer, b); err != nil || a.Lender != "bank-a" {
				t.Errorf("%+v, %v", a, err)
			}
			after, err := os.ReadFile(config)
			if err != nil {
				t.Fatal(err)
			}
			if !c.written {
				if string(after) != string(before) || !strings.Contains(stdout, "key: "+evidencetest.PublicKey(3).String()) {
					t.Errorf("file:\n%s\nprinted:\n%s", after, stdout)
				}
				return
			}
			w, err := configs.LoadWatch(config)
			if err != nil {
				t.Fatalf("%v\n%s", err, after)
			}
			if last := w.Boxes[len(w.Boxes)-1]; last.Key.String() != evidencetest.PublicKey(3).String() || last.Name != "workshop" || !strings.HasPrefix(string(after), "# our boxes\n") || strings.Contains(c.boxes, "March") && !strings.Contains(string(after), "# since March") {
				t.Errorf("%s", after)
			}
			if exit, _, stderr := command("accept", claim, "-c", config, "--fingerprint", f); exit != 0 || !strings.Contains(stderr, "has this box already") {
				t.Errorf("again: exit %d, %s", exit, stderr)
			}
		})
	}
}

func TestAcceptRefuses(t *testing.T) {
	dir, config := lenderFile(t, "")
	claim, b := claimOf(t, dir)
	b[len(b)-1] ^= 1
	if err := os.WriteFile(claim, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, _, stderr := command("accept", claim, "-c", config, "--fingerprint", words.Fingerprint(evidencetest.PublicKey(3))); exit != 4 || !strings.Contains(stderr, "E-711") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if exit, _, stderr := command("watch", "-c", config); exit != 2 || !strings.Contains(stderr, "E-714") {
		t.Errorf("watch without a box: exit %d, %s", exit, stderr)
	}
}

func TestCountersign(t *testing.T) {
	dir, config := lenderFile(t, "")
	c := evidencetest.Consent()
	b, err := c.Terms.Encode()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "terms")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	exit, stdout, stderr := command("countersign", file, "-c", config)
	if exit != 0 || !strings.HasPrefix(stdout, "countersignature: ") || !strings.Contains(stderr, "post-loan monitoring") || !strings.Contains(stderr, "贷后监测") {
		t.Errorf("exit %d\n%s%s", exit, stdout, stderr)
	}
	if err := os.WriteFile(file, b[:len(b)-1], 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, stdout, stderr := command("countersign", file, "-c", config); exit != 2 || stdout != "" || !strings.Contains(stderr, "E-713") {
		t.Errorf("exit %d\n%s%s", exit, stdout, stderr)
	}
}
