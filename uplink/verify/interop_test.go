//go:build integration

package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// TestForeignVectors has interop/verify.py, written from SPEC.md alone, say of
// every vector what the vector expects.
func TestForeignVectors(t *testing.T) {
	out, err := exec.Command("/usr/bin/python3", "../evidence/interop/verify.py", "--vectors", vectorDir).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestForeignSuccession: the reader in Python finds the same logs to continue others.
func TestForeignSuccession(t *testing.T) {
	for name, c := range successions(t) {
		dir := t.TempDir()
		old, next := filepath.Join(dir, "old.tally"), filepath.Join(dir, "next.tally")
		if err := errors.Join(os.WriteFile(old, c.old, 0o600), os.WriteFile(next, c.next, 0o600)); err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("/usr/bin/python3", "../evidence/interop/verify.py", "--continues", old, next, c.key.String()).CombinedOutput()
		if says := string(out); (err == nil) != (c.why == "") || strings.HasPrefix(says, "continued") != (c.why == "") || strings.HasPrefix(says, "unreadable") {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

const bouncyCastle = "/usr/share/java/bcprov.jar"

// foreignReaders are commands that check a bundle and print a summary; their
// arguments are a file and a key.
func foreignReaders(t *testing.T) map[string][]string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("javac", "-Xlint:all", "-Werror", "-d", dir, "../evidence/interop/Verify.java").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return map[string][]string{
		"Python": {"/usr/bin/python3", "../evidence/interop/verify.py"},
		"Java":   {"java", "-XX:TieredStopAtLevel=1", "-cp", bouncyCastle + ":" + dir, "Verify"},
	}
}

// foreignSummary is what they have in common.
type foreignSummary struct {
	Verdict         Verdict
	Leaves, Windows uint64
	Values          int
	Sum             int64
	Root            string
	Events          int
}

// TestForeignReaders lets the readers in interop, written from SPEC.md with
// the libraries of other languages, check what this package writes, in every
// suite: signatures, keys, leaf hashes, roots, digests, and every sample.
func TestForeignReaders(t *testing.T) {
	readers := foreignReaders(t)
	for _, suite := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2} {
		key := evidencetest.SuiteSigner(suite, 1).Public()
		s, anchors := foreignStream(t, suite)
		last := uint64(len(s.Deliveries) - 1)
		for name, file := range map[string][]byte{
			"whole": archive(t, s, 0, last, nil), "part": archive(t, s, 7, last, &anchors[7]), "behind the rotation": archive(t, s, 13, last, &anchors[13]),
		} {
			want := foreignSummary{Verdict: Verified, Events: 3, Root: s.Writer.Anchor().Root(suite).String()}
			summary, err := Bundle(bytes.NewReader(file), Policy{Pinned: []evidence.PublicKey{key.Key()}}, func(r Result) {
				if r.Window == nil {
					return
				}
				for _, b := range r.Window.blocks {
					for i := range b.Meters {
						want.Values += b.Meters[i].Present()
						for _, row := range b.Meters[i].Values {
							for _, v := range row {
								want.Sum += v
							}
						}
					}
				}
			})
			if err != nil || summary.Verdict != Verified {
				t.Fatalf("suite %d, %s: %+v %v", suite, name, summary, err)
			}
			want.Leaves, want.Windows = summary.Leaves, summary.Windows
			for reader, command := range readers {
				got, code := foreign(t, command, file, key.Key())
				if code != 0 || got != want {
					t.Errorf("suite %d, %s: %s says %+v with status %d, here %+v", suite, name, reader, got, code, want)
				}
				if name == "whole" {
					damaged(t, command, file, key.Key())
				}
			}
		}
	}
}

// damaged wants a reader to refuse a file with a bit flipped, and one of
// another key.
func damaged(t *testing.T, command []string, file []byte, key evidence.PublicKey) {
	t.Helper()
	for _, at := range []int{len(file) / 3, len(file) / 2, len(file) - 2} {
		bad := slices.Clone(file)
		bad[at] ^= 1
		if got, code := foreign(t, command, bad, key); code == 0 {
			t.Errorf("suite %d, byte %d flipped: %s says %+v", key.Suite(), at, command[0], got)
		}
	}
	other := evidencetest.SuiteSigner(key.Suite(), 2).Public()
	if got, code := foreign(t, command, file, other.Key()); code != 4 {
		t.Errorf("suite %d, another key: %s says %+v with status %d", key.Suite(), command[0], got, code)
	}
}

// foreignStream is a log with a rotation (leaf 12), another dictionary and
// events, and the anchor before each leaf.
func foreignStream(t *testing.T, suite evidence.Suite) (*evidencetest.Stream, []evidence.Anchor) {
	t.Helper()
	signer := func(seed byte) evidence.Signer { return evidencetest.SuiteSigner(suite, seed) }
	s := evidencetest.NewStreamOf(t, signer(1), signer(3), 0)
	anchors := []evidence.Anchor{{}, {}}
	for range 10 {
		anchors = append(anchors, s.Writer.Anchor())
		s.Window(t)
	}
	anchors = append(anchors, s.Writer.Anchor())
	s.Rotate(t, signer(3), signer(4))
	anchors = append(anchors, s.Writer.Anchor())
	d, err := s.Writer.Config(evidencetest.Point(11), evidencetest.Small(), evidence.Hash{1})
	s.Add(t, d, err)
	for k := 11; k < 14; k++ {
		data := evidencetest.SmallWindow(k)
		data[evidence.Energy][0].Codes = [][]evidence.Code{{evidence.TooFast, evidence.Backwards, evidence.Skipped}}
		data[evidence.Energy][1].Codes = [][]evidence.Code{{evidence.Frozen, evidence.Stale, evidence.Suspect}}
		d, err := s.Writer.Window(evidencetest.Event(k, evidencetest.SmallMS), data, nil)
		s.Add(t, d, err)
	}
	d, err = s.Writer.Events(evidencetest.Point(14), []evidence.Happening{
		{At: evidencetest.Start, Kind: "meter_exchanged", Subject: "press-1", Count: 1},
		{At: evidencetest.Start, Kind: "check_failed", Subject: "press-1", Quantity: "phase_sum", Count: 2}})
	s.Add(t, d, err)
	return s, anchors
}

func foreign(t *testing.T, command []string, file []byte, key evidence.PublicKey) (got foreignSummary, code int) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tally")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], slices.Concat(command[1:], []string{path, key.String()})...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	code = cmd.ProcessState.ExitCode()
	if code < 0 || code == 2 || strings.Contains(stderr.String(), "Traceback") || strings.Contains(stderr.String(), "Exception") {
		t.Fatalf("%s broke: %v %s", command[0], err, stderr.String())
	}
	if len(out) > 0 {
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatalf("%s: %v: %s", command[0], err, out)
		}
	}
	return got, code
}

// TestForeignFraudProofs has verify.py judge proofs of a fork, as one file and as
// two deliveries.
func TestForeignFraudProofs(t *testing.T) {
	a, b, anchorsA, anchorsB := forked(t)
	with := func(s *evidencetest.Stream, anchors []evidence.Anchor, n int) []byte {
		return withAnchor(t, s.Deliveries[n], anchors[n])
	}
	for name, tt := range map[string]struct {
		a, b []byte
		code int
	}{
		"two leaves of one index":        {a.Deliveries[4], b.Deliveries[4], 4},
		"a leaf and the next of another": {with(a, anchorsA, 3), b.Deliveries[4], 4},
		"two anchors":                    {with(a, anchorsA, 4), with(b, anchorsB, 7), 4},
		"the same leaf":                  {a.Deliveries[4], a.Deliveries[4], 0},
		"two leaves of one history":      {with(a, anchorsA, 4), with(a, anchorsA, 7), 0},
		"before they part":               {with(a, anchorsA, 1), with(b, anchorsB, 5), 0},
	} {
		dir := t.TempDir()
		write := func(name string, content []byte) string {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
		proof := bundle.FraudProof{Meta: a.Meta, A: tt.a, B: tt.b}
		for _, arguments := range [][]string{
			{write("proof", proof.Encode()), pub(1).String()},
			{write("a", tt.a), write("b", tt.b), pub(1).String(), write("meta", a.Meta)},
			{write("b", tt.b), write("a", tt.a), pub(1).String()},
		} {
			cmd := exec.Command("/usr/bin/python3", slices.Concat([]string{"../evidence/interop/verify.py", "--fraud"}, arguments)...)
			out, err := cmd.CombinedOutput()
			if cmd.ProcessState.ExitCode() != tt.code {
				t.Errorf("%s, %d files: %v %s", name, len(arguments)-1, err, out)
			}
		}
	}
}
