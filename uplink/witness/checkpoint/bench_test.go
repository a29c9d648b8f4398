package checkpoint

import "testing"

// One leaf passing by on the way from a large size to one a day later.
func BenchmarkProverAppend(b *testing.B) {
	const old, new = 1_000_000, 1_001_440
	start := make([][32]byte, 7) // 1,000,000 has seven binary ones
	var p *Prover
	b.ReportAllocs()
	for i := uint64(old); b.Loop(); i++ {
		if p == nil || i == new {
			var err error
			if p, err = NewProver(SHA256(), old, start, old, new); err != nil {
				b.Fatal(err)
			}
			i = old
		}
		if err := p.Append(leaf(i)); err != nil {
			b.Fatal(err)
		}
	}
}
