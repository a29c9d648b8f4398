package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// fileOf writes a stream as a bundle.
func fileOf(t *testing.T, s *evidencetest.Stream) string {
	t.Helper()
	meta, err := evidence.ParseMeta(s.Writer.Meta().Encode())
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := bundle.NewWriter(&b, bundle.Header{Log: s.Writer.LogID(), Hi: uint64(len(s.Deliveries) - 1), Meta: meta.Raw()})
	for _, d := range s.Deliveries {
		if err == nil {
			err = w.Append(d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.tally")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCompareProvesAFork: two lenders who were shown two histories get a file
// that convinces anybody; two who were shown one agree.
func TestCompareProvesAFork(t *testing.T) {
	one, other := evidencetest.NewStream(t, 1, 4), evidencetest.NewStream(t, 1, 1)
	d, err := other.Writer.Window(evidencetest.Event(1, evidencetest.SmallMS), evidencetest.SmallWindow(9), nil)
	other.Add(t, d, err)
	a, b, key := fileOf(t, one), fileOf(t, other), evidencetest.PublicKey(1).String()
	proof := filepath.Join(t.TempDir(), "x.fraud")
	if exit, _, stderr := command("compare", a, a, "--key", key); exit != 0 || !strings.Contains(stderr, "agree on 6 leaves, 0 to 5") {
		t.Errorf("one history: exit %d, %s", exit, stderr)
	}
	if exit, stdout, stderr := command("compare", a, b, "--key", key, "--proof", proof, "--json"); exit != 4 || !strings.Contains(stdout, `"agree":false`) || !strings.Contains(stderr, "index 3") {
		t.Fatalf("two histories: exit %d, %s %s", exit, stdout, stderr)
	}
	if exit, stdout, stderr := command("verify", proof, "--key", key, "--json"); exit != 4 || !strings.Contains(stdout, `"verdict":"forked"`) {
		t.Errorf("the proof: exit %d, %s %s", exit, stdout, stderr)
	}
	if exit, _, stderr := command("verify", proof, "--key", evidencetest.PublicKey(2).String()); exit != 4 || strings.Contains(stderr, "forked") {
		t.Errorf("the proof under another key: exit %d, %s", exit, stderr)
	}
}

// TestCompareTwoLogs: a log that continues the other under another key is told from a
// second log under the same key, and from a stranger's.
func TestCompareTwoLogs(t *testing.T) {
	one := evidencetest.NewStream(t, 1, 2)
	d, err := one.Writer.Shutdown(evidencetest.Point(3), evidence.SucceededBy(evidencetest.PublicKey(2)))
	one.Add(t, d, err)
	begun := func(key byte, prev *evidence.Previous) string {
		w, genesis, err := seal.NewWriter(evidencetest.Signer(key), evidencetest.Secret(), evidence.Genesis{Event: evidencetest.Point(9), Dictionary: evidencetest.Small(), Prev: prev})
		s := &evidencetest.Stream{Writer: w}
		s.Add(t, genesis, err)
		return fileOf(t, s)
	}
	end := &evidence.Previous{Log: one.Writer.LogID(), N: one.Writer.N(), Root: one.Writer.Anchor().Root(evidence.SuiteEd25519), Why: "custody"}
	old, key := fileOf(t, one), evidencetest.PublicKey(1).String()
	for name, c := range map[string]struct {
		file string
		exit int
		says string
	}{
		"the heir":       {begun(2, end), 0, evidencetest.PublicKey(2).String()},
		"one key":        {begun(1, end), 4, "E-419 "},
		"one key, says":  {begun(1, end), 4, "two logs that one key has opened"},
		"a stranger":     {begun(3, end), 4, "the second log does not continue the first"},
		"says of no end": {begun(2, nil), 4, "does not name log"},
	} {
		if exit, _, stderr := command("compare", old, c.file, "--key", key); exit != c.exit || !strings.Contains(stderr, c.says) {
			t.Errorf("%s: exit %d, %s", name, exit, stderr)
		}
	}
}

// TestPolicyFile: the receipts of a lender of the policy give the windows their
// grade; without it the bundle alone gives D.
func TestPolicyFile(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 2)
	raw, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{Log: s.Writer.LogID(), N: 3, Root: s.Writer.Anchor().Root(evidence.SuiteEd25519),
		ReceivedAt: evidencetest.Start + 70_000, Status: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	body, err := record.Encode("bank-a", raw)
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Writer.Record(evidencetest.Point(2), evidence.ReceiptLeaf, body)
	s.Add(t, d, err)
	file := fileOf(t, s)
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	text := "boxes: [{name: mill, key: " + evidencetest.PublicKey(1).String() + "}]\nlenders: [{name: bank-a, key: " + evidencetest.PublicKey(9).String() + "}]\n"
	if err := os.WriteFile(policy, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args  []string
		grade string
	}{{[]string{"--policy", policy}, "B"}, {[]string{"--key", evidencetest.PublicKey(1).String()}, "D"}} {
		exit, stdout, stderr := command(append([]string{"verify", file, "--json"}, tt.args...)...)
		var r struct {
			Verdict string            `json:"verdict"`
			Grades  map[string]uint64 `json:"grade_counts"`
			Forks   []any             `json:"forks"`
			Assumed []any             `json:"assumptions"`
		}
		if err := json.Unmarshal([]byte(stdout), &r); err != nil || exit != 0 || r.Verdict != "verified" || r.Grades[tt.grade] != 2 || r.Forks == nil || len(r.Assumed) == 0 {
			t.Errorf("%v: exit %d, %s, %s, want two windows of grade %s (%v)", tt.args, exit, stdout, stderr, tt.grade, err)
		}
	}
	if err := os.WriteFile(policy, []byte("boxes: [{name: mill, key: 'ed25519:abc'}]\nwitness: x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, _, stderr := command("verify", file, "--policy", policy); exit != 2 || !strings.Contains(stderr, ":1:") || !strings.Contains(stderr, "witnesses") {
		t.Errorf("a faulty policy: exit %d, %s", exit, stderr)
	}
}
