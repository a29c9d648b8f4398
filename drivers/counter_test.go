package drivers

import (
	"math"
	"testing"
)

func TestThroughEnd(t *testing.T) {
	for _, c := range []struct {
		was, v, modulus, step int64
		ok                    bool
	}{
		{999_990, 5, 1_000_000, 15, true},
		{990_000, 0, 1_000_000, 10_000, true},
		{999_999, 9_999, 1_000_000, 10_000, true},
		{999_999, 10_000, 1_000_000, 0, false},                      // further than a hundredth
		{989_999, 0, 1_000_000, 0, false},                           // not at its end
		{1_000_000, 0, 1_000_000, 0, false},                         // beyond its end
		{999_999, -1, 1_000_000, 0, false},                          // no counter
		{999_990, 5, 0, 0, false},                                   // end not known
		{999_990, 5, -1_000_000, 0, false},                          // no end
		{math.MaxInt64 - 2, 3, math.MaxInt64, 5, true},              // the whole of an int64
		{math.MaxInt64 - 2, math.MaxInt64, math.MaxInt64, 0, false}, // beyond it
	} {
		if step, ok := ThroughEnd(c.was, c.v, c.modulus); ok != c.ok || ok && step != c.step {
			t.Errorf("%d to %d of %d: %d, %v", c.was, c.v, c.modulus, step, ok)
		}
	}
}
