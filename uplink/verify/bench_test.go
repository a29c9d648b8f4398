package verify

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// factoryBundle is an hour of the factory workload, 2040 readings a window in
// six channels, in one suite.
func factoryBundle(b *testing.B, suite evidence.Suite) (file []byte, key evidence.PublicKey, readings int) {
	b.Helper()
	const windows = 60
	f := evidencetest.NewFactory(20, 1)
	signer := evidencetest.SuiteSigner(suite, 1)
	w, genesis, err := seal.NewWriter(signer, evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Event(0, 0), Dictionary: f.Dictionary()})
	if err != nil {
		b.Fatal(err)
	}
	var out bytes.Buffer
	bw, err := bundle.NewWriter(&out, bundle.Header{Log: w.LogID(), Hi: windows, Meta: w.Meta()})
	if err == nil {
		err = bw.Append(genesis)
	}
	for k := range windows {
		d, e := w.Window(evidencetest.Event(k, evidencetest.WindowMS), f.Window(), nil)
		if err == nil {
			err = e
		}
		if err == nil {
			err = bw.Append(d)
		}
	}
	if err != nil {
		b.Fatal(err)
	}
	record := signer.Public()
	return out.Bytes(), record.Key(), windows * 2040
}

// BenchmarkBundle verifies and decodes a bundle from front to back: signatures,
// history, digests, every sample. BenchmarkFloor is what no reader can do
// without.
func BenchmarkBundle(b *testing.B) {
	for _, suite := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2} {
		b.Run(fmt.Sprintf("suite%d", suite), func(b *testing.B) {
			file, key, readings := factoryBundle(b, suite)
			policy := Policy{Pinned: []evidence.PublicKey{key}, Times: func(uint64) (time.Time, time.Time) {
				return time.UnixMilli(evidencetest.Start).Add(time.Hour), time.Time{}
			}}
			b.ReportAllocs()
			for b.Loop() {
				sum, err := Bundle(bytes.NewReader(file), policy, nil)
				if err != nil || sum.Verdict != Verified || sum.Readings != uint64(readings) {
					b.Fatalf("%s, %d readings, %v, %v", sum.Verdict, sum.Readings, sum.Reasons, err)
				}
			}
			b.ReportMetric(float64(readings)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mreadings/s")
		})
	}
}

// BenchmarkFloor is the least a reader of the same bundle must do: one signature
// check a leaf, one hash of every byte, one pass over the numbers.
func BenchmarkFloor(b *testing.B) {
	for _, suite := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2} {
		b.Run(fmt.Sprintf("suite%d", suite), func(b *testing.B) {
			file, key, readings := factoryBundle(b, suite)
			var leaves []evidence.UnverifiedDelivery
			br, err := bundle.NewReader(bytes.NewReader(file))
			if err != nil {
				b.Fatal(err)
			}
			for {
				item, err := br.Next()
				if err != nil {
					break
				}
				d, err := evidence.ParseDelivery(bytes.Clone(item))
				if err != nil {
					b.Fatal(err)
				}
				leaves = append(leaves, d)
			}
			var sum uint64
			for b.Loop() {
				for i := range leaves {
					d := &leaves[i]
					if d.VerifySignature(key) != nil {
						b.Fatal("does not verify")
					}
					suite.Sum(d.Payload)
					for _, blk := range d.Blocks {
						suite.Sum(blk.Bytes)
						for body := blk.Bytes[20:]; len(body) > 0; {
							v, n := binary.Uvarint(body)
							if n <= 0 {
								break
							}
							sum, body = sum+v, body[n:]
						}
					}
				}
			}
			_ = sum
			b.ReportMetric(float64(readings)*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mreadings/s")
		})
	}
}
