package verify

import (
	"crypto/ed25519"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// BenchmarkVerify checks windows of the factory workload: 2040 readings, six
// channels; signature, history, digests, decoding.
func BenchmarkVerify(b *testing.B) {
	f := evidencetest.NewFactory(20, 1)
	w, genesis, err := evidence.NewWriter(evidencetest.Signer(1), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Event(0, 0), Dictionary: f.Dictionary()})
	if err != nil {
		b.Fatal(err)
	}
	v, err := New(pub(1), nil)
	if err != nil {
		b.Fatal(err)
	}
	v.Next(genesis, time.Time{})
	var windows [][]byte
	for k := range 64 {
		d, err := w.Window(evidencetest.Event(k, evidencetest.WindowMS), f.Window(), nil)
		if err != nil {
			b.Fatal(err)
		}
		windows = append(windows, append([]byte(nil), d...))
	}
	start, i := v.State(), 0
	received := time.UnixMilli(evidencetest.Start).Add(2 * time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if i == len(windows) {
			b.StopTimer()
			if v, err = Restore(pub(1), start); err != nil {
				b.Fatal(err)
			}
			i = 0
			b.StartTimer()
		}
		if res := v.Next(windows[i], received); res.Verdict != Verified || res.Readings != 2040 {
			b.Fatalf("%s %d %v", res.Verdict, res.Readings, res.Reasons)
		}
		i++
	}
}

// BenchmarkBareEd25519 is the floor of BenchmarkVerify: the one signature check
// a window cannot do without, over a payload of its size.
func BenchmarkBareEd25519(b *testing.B) {
	payload := make([]byte, 330)
	sig := ed25519.Sign(evidencetest.Key(1), payload)
	key := evidencetest.Key(1).Public().(ed25519.PublicKey)
	for b.Loop() {
		if !ed25519.Verify(key, payload, sig) {
			b.Fatal("does not verify")
		}
	}
}
