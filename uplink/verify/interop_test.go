//go:build integration

package verify

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
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

// TestForeignReader lets interop/verify.py check what this package writes:
// signatures, leaf hashes, roots, digests, and every sample.
func TestForeignReader(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 0)
	anchors := []evidence.Anchor{{}, {}}
	for range 20 {
		anchors = append(anchors, s.Writer.Anchor())
		s.Window(t)
	}
	d, err := s.Writer.Config(evidencetest.Point(20), evidencetest.Small(), evidence.Hash{1})
	s.Add(t, d, err)
	for k := 20; k < 23; k++ {
		data := evidencetest.SmallWindow(k)
		data[evidence.Energy][0].Codes = [][]evidence.Code{{evidence.TooFast, evidence.Backwards, evidence.Skipped}}
		data[evidence.Energy][1].Codes = [][]evidence.Code{{evidence.Frozen, evidence.Stale, evidence.Suspect}}
		d, err := s.Writer.Window(evidencetest.Event(k, evidencetest.SmallMS), data, nil)
		s.Add(t, d, err)
	}
	d, err = s.Writer.Events(evidencetest.Point(23), []evidence.Happening{
		{At: evidencetest.Start, Kind: "meter_exchanged", Subject: "press-1", Count: 1},
		{At: evidencetest.Start, Kind: "check_failed", Subject: "press-1", Quantity: "phase_sum", Count: 2}})
	s.Add(t, d, err)
	last := uint64(len(s.Deliveries) - 1)
	for name, file := range map[string][]byte{"whole": archive(t, s, 0, last, nil), "part": archive(t, s, 7, last, &anchors[7])} {
		values, sum := 0, int64(0)
		summary, err := Bundle(bytes.NewReader(file), trusting(s), func(r Result) {
			if r.Window == nil {
				return
			}
			for _, b := range r.Window.blocks {
				for i := range b.Meters {
					values += b.Meters[i].Present()
					for _, row := range b.Meters[i].Values {
						for _, v := range row {
							sum += v
						}
					}
				}
			}
		})
		if err != nil || summary.Verdict != Verified {
			t.Fatalf("%s: %+v %v", name, summary, err)
		}
		out, err := foreign(t, file)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var got struct {
			Leaves, Windows uint64
			Values          int
			Sum             int64
			Root            string
			Events          int
		}
		if err := json.Unmarshal(out, &got); err != nil {
			t.Fatal(err)
		}
		if got.Events != 3 {
			t.Errorf("%s: %d events, here 3", name, got.Events)
		}
		if got.Leaves != summary.Leaves || got.Windows != summary.Windows || got.Values != values || got.Sum != sum ||
			got.Root != s.Writer.Anchor().Root(evidence.SuiteEd25519).String() {
			t.Errorf("%s: %s, here %d leaves, %d windows, %d values, sum %d, root %s", name, out,
				summary.Leaves, summary.Windows, values, sum, s.Writer.Anchor().Root(evidence.SuiteEd25519))
		}
		for _, at := range []int{len(file) / 3, len(file) / 2, len(file) - 2} {
			bad := slices.Clone(file)
			bad[at] ^= 1
			if out, err := foreign(t, bad); err == nil {
				t.Errorf("%s, byte %d flipped: the foreign reader says %s", name, at, out)
			}
		}
	}
}

func foreign(t *testing.T, file []byte) ([]byte, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "x.tally")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/usr/bin/python3", "../evidence/interop/verify.py", path, pub(1).String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if strings.Contains(stderr.String(), "Traceback") || err != nil && cmd.ProcessState.ExitCode() < 1 {
		t.Fatalf("the foreign reader broke: %v %s", err, stderr.String())
	}
	return out, err
}
