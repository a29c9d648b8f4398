package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

func command(args ...string) (exit int, stdout, stderr string) {
	var out, errs bytes.Buffer
	exit = run(context.Background(), args, &out, &errs)
	return exit, out.String(), errs.String()
}

// bundleOf writes the deliveries of a stream as a .tally file, as edited.
func bundleOf(t *testing.T, edit func(ds [][]byte) [][]byte) (file, key string) {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 6)
	hi := uint64(len(s.Deliveries)) - 1
	genesis, err := evidence.ParseDelivery(s.Deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := bundle.NewWriter(&b, bundle.Header{Log: genesis.Manifest.Log, Hi: hi, Meta: evidence.Meta{Genesis: genesis.Sign1, Dictionary: genesis.Sign1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range edit(slices.Clone(s.Deliveries)) {
		if err := w.Append(d); err != nil {
			t.Fatal(err)
		}
	}
	file = filepath.Join(t.TempDir(), "x.tally")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return file, evidencetest.PublicKey(1).String()
}

func TestVerifyExitCodesAndFields(t *testing.T) {
	for name, c := range map[string]struct {
		edit    func(ds [][]byte) [][]byte
		verdict string
		exit    int
	}{
		"honest":       {func(ds [][]byte) [][]byte { return ds }, "verified", 0},
		"window taken": {func(ds [][]byte) [][]byte { return slices.Delete(ds, 3, 4) }, "gaps", 1},
		"byte changed": {func(ds [][]byte) [][]byte {
			ds[3] = bytes.Clone(ds[3])
			ds[3][len(ds[3])-1] ^= 1
			return ds
		}, "altered", 4},
	} {
		t.Run(name, func(t *testing.T) {
			file, key := bundleOf(t, c.edit)
			exit, stdout, stderr := command("verify", file, "--key", key, "--json")
			var r map[string]any
			if err := json.Unmarshal([]byte(stdout), &r); err != nil {
				t.Fatalf("%q: %v", stdout, err)
			}
			if exit != c.exit || r["verdict"] != c.verdict {
				t.Errorf("exit %d, verdict %v, want %d, %s\n%s", exit, r["verdict"], c.exit, c.verdict, stderr)
			}
			for _, field := range []string{"windows", "readings", "gaps", "altered", "reasons"} {
				if r[field] == nil {
					t.Errorf("field %s is missing in %s", field, stdout)
				}
			}
		})
	}
}

func TestVerifyShowsEvents(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	d, err := s.Writer.Events(evidencetest.Point(1), []evidence.Happening{{At: evidencetest.Start, Kind: "meter_exchanged", Subject: "press-1", Count: 1}})
	s.Add(t, d, err)
	genesis, err := evidence.ParseDelivery(s.Deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := bundle.NewWriter(&b, bundle.Header{Log: genesis.Manifest.Log, Hi: 3, Meta: evidence.Meta{Genesis: genesis.Sign1, Dictionary: genesis.Sign1}})
	for _, d := range s.Deliveries {
		if err == nil {
			err = w.Append(d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "x.tally")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if exit, _, stderr := command("verify", file); exit != 0 || !strings.Contains(stderr, "press-1: another meter answers at this address") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestVerifyNeverTrustsSilently(t *testing.T) {
	file, _ := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	exit, stdout, stderr := command("verify", file, "--json")
	if exit != 0 || !strings.Contains(stdout, "key-assumed") || !strings.Contains(stderr, "ed25519:") {
		t.Errorf("exit %d; want the assumption named\n%s%s", exit, stdout, stderr)
	}
	other := evidencetest.PublicKey(2).String()
	if exit, stdout, _ := command("verify", file, "--key", other, "--json"); exit != 4 || !strings.Contains(stdout, `"verdict":"wrong-key"`) {
		t.Errorf("another key: exit %d, %s", exit, stdout)
	}
}

func TestVerifyOfWhatIsNoBundle(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"empty": "", "text": "meter readings\n", "zeros": strings.Repeat("\x00", 100)} {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if exit, _, stderr := command("verify", file); exit != 3 || !strings.Contains(stderr, "E-409") || !strings.Contains(stderr, "hint") {
			t.Errorf("%s: exit %d, %s", name, exit, stderr)
		}
	}
	if exit, _, stderr := command("verify", filepath.Join(dir, "none.tally")); exit != 3 || !strings.Contains(stderr, "no such file") {
		t.Errorf("missing: exit %d, %s", exit, stderr)
	}
	if exit, _, _ := command("verify"); exit != 2 {
		t.Errorf("no argument: exit %d, want 2", exit)
	}
}

func TestKeygen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "lender.key")
	exit, first, _ := command("keygen", file)
	if exit != 0 || !strings.HasPrefix(first, "ed25519:") {
		t.Fatalf("exit %d, %q", exit, first)
	}
	exit, again, stderr := command("keygen", file)
	if exit != 0 || again != first || !strings.Contains(stderr, "exists already") {
		t.Errorf("second run: exit %d, %q after %q, %s", exit, again, first, stderr)
	}
	if _, err := evidence.ParsePublicKey(strings.TrimSpace(first)); err != nil {
		t.Error(err)
	}
}

func TestWatchNeedsItsKey(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "lender.yaml")
	text := "name: bank-a\nbroker: mqtt://127.0.0.1:1\ndirectory: bank\nkey: lender.key\nboxes: [{name: box, key: " +
		evidencetest.PublicKey(1).String() + "}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	exit, _, stderr := command("watch", "--config", config)
	if exit != 2 || !strings.Contains(stderr, "E-502") || !strings.Contains(stderr, "tally-lender keygen") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}
