package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// storedHistory puts a history into the buffer of a site with two lenders: six windows, a
// receipt of bank-a, an answer for bank-b, and consents for it; bank-a has confirmed
// leaves 0 to 4.
func storedHistory(t *testing.T, consents ...record.Consent) (config string, s *evidencetest.Stream) {
	t.Helper()
	dir := t.TempDir()
	s = evidencetest.NewStream(t, 1, 4)
	keep := func(lender string, typ evidence.LeafType, content any) {
		t.Helper()
		body, err := record.Encode(lender, content)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Writer.Record(evidencetest.Point(len(s.Deliveries)-2), typ, body)
		s.Add(t, d, err)
	}
	anchor := evidence.Anchor{}
	for _, b := range s.Deliveries[:5] {
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			t.Fatal(err)
		}
		anchor.Append(d.Suite(), d.Hash())
	}
	receipt, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{Log: s.Writer.LogID(), N: 4, Root: anchor.Root(evidence.SuiteEd25519),
		ReceivedAt: evidencetest.Start + 100_000, Status: "ok"})
	if err != nil {
		t.Fatal(err)
	}
	keep("bank-a", evidence.ReceiptLeaf, receipt) // leaf 6
	keep("bank-b", evidence.AnswerLeaf, map[int]any{1: [16]byte{1}, 2: []any{[]any{"press-1", 3, 0, 1, int64(evidencetest.Start), 0, []byte{1, 2}}}})
	s.Window(t)
	s.Window(t)
	for i := range consents {
		keep("bank-b", evidence.ConsentLeaf, &consents[i])
	}
	log, _, err := buffer.Open(vfs.OS(), filepath.Join(dir, "box", "sealed"), buffer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"bank-a", "bank-b"} {
		if _, err := log.Cursor(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range s.Deliveries {
		if _, err := log.Append(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Sync(); err != nil {
		t.Fatal(err)
	}
	c, err := log.Cursor("bank-a")
	if err == nil {
		err = c.Set(5)
	}
	if err == nil {
		err = log.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	config = filepath.Join(dir, "site.yaml")
	text := fmt.Sprintf(`site: {name: plant}
lines: [{name: hall-a, tcp: "127.0.0.1:502"}]
meters: [{name: press-1, line: hall-a, protocol: modbus-tcp, address: 1, profile: eastron-sdm630}]
lenders:
  - {name: bank-a, broker: "mqtts://mq.example", share: [energy, timing], public_key: "%s"}
  - {name: bank-b, broker: "mqtts://mq.example", share: [voltage-current], public_key: "%s"}
buffer: {directory: %s/box}
`, evidencetest.PublicKey(9), evidencetest.PublicKey(10), dir)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return config, s
}

func logCommand(t *testing.T, config string, args ...string) (exit int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	exit = run(t.Context(), append(append([]string{"log"}, args...), "--config", config), &out, &errs)
	return exit, out.String(), errs.String()
}

func TestLogShow(t *testing.T) {
	config, _ := storedHistory(t)
	exit, stdout, stderr := logCommand(t, config, "show")
	if exit != 0 || strings.Count(stdout, "\n") != 11 || !strings.Contains(stdout, "energy 5/6") && !strings.Contains(stdout, "energy 6/6") {
		t.Errorf("exit %d, %s\n%s", exit, stderr, stdout)
	}
	if exit, stdout, _ := logCommand(t, config, "show", "--from", "3", "--to", "4", "--json"); exit != 0 || strings.Count(stdout, `{"n":`) != 2 {
		t.Errorf("exit %d\n%s", exit, stdout)
	}
	exit, stdout, _ = logCommand(t, config, "show", "--leaf", "7")
	if exit != 0 || !strings.Contains(stdout, "press-1 holding 0x0000+1 = 0102 (258)") || !strings.Contains(stdout, "的答复") {
		t.Errorf("exit %d\n%s", exit, stdout)
	}
	if exit, _, stderr := logCommand(t, config, "show", "--leaf", "99"); exit != 1 || !strings.Contains(stderr, "E-405") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if exit, _, _ := logCommand(t, config, "show", "--from", "5", "--to", "4"); exit != 2 {
		t.Errorf("exit %d", exit)
	}
}

// The whole history verifies; a receipt in it says when leaves were with a
// lender. A block somebody changed is named.
func TestLogVerify(t *testing.T) {
	config, s := storedHistory(t)
	exit, stdout, stderr := logCommand(t, config, "verify", "--json")
	var sum struct {
		Verdict string
		Leaves  uint64
		Grades  map[string]int `json:"grade_counts"`
	}
	if err := json.Unmarshal([]byte(stdout), &sum); err != nil || exit != 0 || sum.Verdict != "verified" || sum.Leaves != 10 || !strings.Contains(stderr, "核验通过") {
		t.Errorf("exit %d, %v, %s%s", exit, err, stdout, stderr)
	}
	if sum.Grades["B"] != 3 || sum.Grades["D"] != 3 {
		t.Errorf("grades %v: leaves 2 to 4 have a receipt, the others none", sum.Grades)
	}

	damaged := filepath.Join(filepath.Dir(config), "box", "sealed")
	if err := os.RemoveAll(damaged); err != nil {
		t.Fatal(err)
	}
	log, _, err := buffer.Open(vfs.OS(), damaged, buffer.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s.Deliveries[3][len(s.Deliveries[3])-1] ^= 1
	for _, d := range s.Deliveries {
		if _, err := log.Append(d); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	if exit, _, stderr := logCommand(t, config, "verify"); exit != 4 || !strings.Contains(stderr, "被改动") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

// blocksExported counts the blocks of an export by channel.
func blocksExported(t *testing.T, config string, leaves uint64, args ...string) map[evidence.Channel]int {
	t.Helper()
	out := filepath.Join(t.TempDir(), "x.tally")
	if exit, _, stderr := logCommand(t, config, append([]string{"export", "-o", out}, args...)...); exit != 0 {
		t.Fatalf("exit %d, %s", exit, stderr)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := verify.Bundle(bytes.NewReader(b), verify.Policy{Pinned: []evidence.PublicKey{evidencetest.PublicKey(1)}}, nil)
	if err != nil || sum.Verdict != verify.Verified || sum.Leaves != leaves {
		t.Fatalf("%+v, %v", sum, err)
	}
	r, err := bundle.NewReader(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	n := map[evidence.Channel]int{}
	for {
		item, err := r.Next()
		if err != nil {
			return n
		}
		d, err := evidence.ParseDelivery(item)
		if err != nil {
			t.Fatal(err)
		}
		for _, b := range d.Blocks {
			n[b.Channel]++
		}
	}
}

// A lender's export holds its channels and its records, and nothing else.
func TestLogExportForALender(t *testing.T) {
	config, _ := storedHistory(t)
	blocks := func(args ...string) map[evidence.Channel]int {
		t.Helper()
		return blocksExported(t, config, 10, args...)
	}
	for name, want := range map[string]map[evidence.Channel]int{
		"bank-a": {evidence.Energy: 6, evidence.Timing: 6, evidence.Records: 1},
		"bank-b": {evidence.VoltageCurrent: 6, evidence.Records: 1},
	} {
		if got := blocks("--lender", name); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if got := blocks(); got[evidence.Energy] != 6 || got[evidence.VoltageCurrent] != 6 || got[evidence.Records] != 2 {
		t.Errorf("everything: %v", got)
	}
	out := filepath.Join(t.TempDir(), "x.tally")
	if exit, _, stderr := logCommand(t, config, "export", "-o", out, "--lender", "bank-c"); exit != 2 || !strings.Contains(stderr, "E-701") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
	if exit, _, _ := logCommand(t, config, "export", "-o", out, "--lender", "bank-a", "--raw-frames"); exit != 2 {
		t.Errorf("exit %d", exit)
	}
}

// What the consent does not reach is not in the file either, and after its end
// there is none.
func TestLogExportFollowsTheConsent(t *testing.T) {
	c := evidencetest.Consent()
	c.Scope.Channels = []evidence.Channel{evidence.Energy, evidence.VoltageCurrent}
	c.Scope.History = evidencetest.SmallMS
	c.Term.From, c.Term.Until = evidencetest.Start+2*evidencetest.SmallMS, 4102444800000 // 2100
	config, _ := storedHistory(t, c)
	if got := blocksExported(t, config, 11, "--lender", "bank-b"); got[evidence.VoltageCurrent] != 5 || got[evidence.Energy] != 0 || got[evidence.Records] != 2 {
		t.Errorf("%v: the first of six windows is before what the consent reaches back to", got)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("share: [voltage-current],"), []byte("share: [voltage-current], expires: 2026-01-06,"), 1)
	if err := os.WriteFile(config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "x.tally")
	if exit, _, stderr := logCommand(t, config, "export", "-o", out, "--lender", "bank-b"); exit != 1 || !strings.Contains(stderr, "E-418") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestLogStatus(t *testing.T) {
	config, s := storedHistory(t)
	exit, stdout, stderr := logCommand(t, config, "status", "--json")
	var st logStatus
	if err := json.Unmarshal([]byte(stdout), &st); err != nil || exit != 0 {
		t.Fatalf("exit %d, %v, %s", exit, err, stderr)
	}
	if st.Log != s.Writer.LogID().String() || st.Newest != 9 || st.End.UnixMilli() != evidencetest.Start+8*evidencetest.SmallMS || len(st.Lenders) != 2 {
		t.Errorf("%+v", st)
	}
	a, b := st.Lenders[0], st.Lenders[1]
	if a.Lender != "bank-a" || *a.Receipted != 4 || a.Waiting != 5 || a.End.UnixMilli() != evidencetest.Start+3*evidencetest.SmallMS || a.Receipt == nil || a.Receipt.UnixMilli() != evidencetest.Start+100_000 {
		t.Errorf("%+v", a)
	}
	if b.Lender != "bank-b" || b.Receipted != nil || b.Waiting != 10 || b.Receipt != nil {
		t.Errorf("%+v", b)
	}
	exit, stdout, _ = logCommand(t, config, "status")
	if exit != 0 || !strings.Contains(stdout, "lender bank-a: confirmed up to leaf 4 (ended ") || !strings.Contains(stdout, "5 waiting, newest receipt recorded ") ||
		!strings.Contains(stdout, "lender bank-b: nothing confirmed yet, 10 waiting, no receipt recorded lately") {
		t.Errorf("exit %d\n%s", exit, stdout)
	}
}
