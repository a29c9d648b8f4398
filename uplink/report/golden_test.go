package report

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/verify"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with testdata/name.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as it was; look at what go test ./uplink/report -update changes\n%s", path, got)
	}
}

// pack makes a bundle of all deliveries that are not nil.
func pack(t testing.TB, deliveries [][]byte) []byte {
	t.Helper()
	genesis, err := evidence.ParseDelivery(deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w, err := bundle.NewWriter(&b, bundle.Header{Log: genesis.Manifest.Log, Hi: uint64(len(deliveries)) - 1,
		Meta: evidence.Meta{Genesis: genesis.Sign1, Dictionary: genesis.Sign1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range deliveries {
		if d == nil {
			continue
		}
		if err := w.Append(d); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// check verifies a bundle under the key of seed 1. Golden files hold no text of
// package verify: one reason stands for all.
func check(t testing.TB, bundle []byte, each func(verify.Result)) verify.Summary {
	t.Helper()
	reasons := []verify.Reason{{Code: "why", En: "a reason", Zh: "一条理由"}}
	policy := verify.Policy{Pinned: []evidence.PublicKey{evidencetest.PublicKey(1)}}
	sum, err := verify.Bundle(bytes.NewReader(bundle), policy, func(r verify.Result) {
		r.Reasons = reasons
		each(r)
	})
	if err != nil {
		t.Fatal(err)
	}
	sum.Reasons = reasons
	return sum
}

// damaged is a copy of b with one of the last bytes changed.
func damaged(b []byte) []byte {
	b = bytes.Clone(b)
	b[len(b)-1] ^= 1
	return b
}
