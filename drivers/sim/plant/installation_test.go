package plant

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/drivers"
)

func installed(t *testing.T, seed uint64, l *Load, share, ratio int64) *Installation {
	t.Helper()
	in, err := NewInstallation(seed, l, share, ratio, nil)
	if err != nil {
		t.Fatal(err)
	}
	return in
}

// The counter is the base plus the energy drawn, at any moment and to the
// millionth.
func TestCounterIsExact(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLoad(rt)
		l.loop = false
		ratio := rapid.SampledFrom([]int64{1, 7, 40}).Draw(rt, "ratio")
		base := rapid.Int64Range(0, 1e10).Draw(rt, "base")
		in, err := NewInstallation(1, l, 1000, ratio, &drivers.Decimal{Coef: base, Exp: Exp})
		if err != nil {
			rt.Fatal(err)
		}
		for i := range 40 {
			at := l.Length() / 39 * time.Duration(i)
			var v Values
			in.At(at, &v)
			if want := base + l.energy(at).Active/ratio; v[EnergyImport][0] != want {
				rt.Fatalf("at %v the counter holds %d, want %d", at, v[EnergyImport][0], want)
			}
		}
	})
}

func TestPhysicsIsConsistent(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		l := drawLoad(rt)
		in := installed(t, rapid.Uint64().Draw(rt, "seed"), l, rapid.Int64Range(1, 1000).Draw(rt, "share"), rapid.Int64Range(1, 200).Draw(rt, "ratio"))
		at := time.Duration(rapid.Int64Range(0, int64(100*time.Hour)).Draw(rt, "at"))
		var v Values
		in.At(at, &v)
		for _, k := range []Kind{Power, ReactivePower} {
			if sum := v[k][1] + v[k][2] + v[k][3]; sum != v[k][0] {
				rt.Fatalf("kind %d: phases sum to %d, total %d", k, sum, v[k][0])
			}
		}
		for i := 1; i <= 3; i++ {
			u, a, pf := float64(v[Voltage][i])/1e6, float64(v[Current][i])/1e6, float64(v[PowerFactor][i])/1e6
			p, q, s := float64(v[Power][i])/1e6, float64(v[ReactivePower][i])/1e6, float64(v[ApparentPower][i])/1e6
			if u < 220 || u > 240 {
				rt.Fatalf("phase %d: %f V", i, u)
			}
			// A millionth of U, I and PF each bounds the difference.
			tolerance := 1e-6 * (a*pf + u*pf + u*a + 1)
			if math.Abs(u*a*pf-p) > tolerance {
				rt.Fatalf("phase %d: U x I x PF = %f x %f x %f = %f W, P = %f W", i, u, a, pf, u*a*pf, p)
			}
			if math.Abs(math.Hypot(p, q)-s) > 1e-5 || pf < 0 || pf > 1 {
				rt.Fatalf("phase %d: P %f, Q %f, S %f, PF %f", i, p, q, s, pf)
			}
		}
		if f := v[Frequency][0]; f < 49.9e6 || f > 50.1e6 {
			rt.Fatalf("%d uHz", f)
		}
		for _, k := range []Kind{EnergyImport, ReactiveImport, ReactiveExport} {
			if d := v[k][0] - v[k][1] - v[k][2] - v[k][3]; d < 0 || d > 2 {
				rt.Fatalf("kind %d: the phases' counters miss %d of the total", k, d)
			}
		}
	})
}

// CT ratio, share and seed change what they should and nothing else.
func TestInstallations(t *testing.T) {
	l := NewLoad(time.Time{}, time.Hour, false, []Interval{{Active: 12e6, Lagging: 5e6}})
	var whole, part, again Values
	installed(t, 7, l, 1000, 1).At(time.Minute, &whole)
	installed(t, 7, l, 500, 40).At(time.Minute, &part)
	installed(t, 7, l, 1000, 1).At(time.Minute, &again)
	if whole != again {
		t.Error("equal seeds gave different meters")
	}
	if part[Power][0] != whole[Power][0]/80 || part[Voltage] != whole[Voltage] || part[PowerFactor][0] != whole[PowerFactor][0] {
		t.Errorf("half the load behind 200/5: P %d of %d, U %v of %v", part[Power][0], whole[Power][0], part[Voltage], whole[Voltage])
	}
	a, b := installed(t, 1, l, 1000, 1), installed(t, 2, l, 1000, 1)
	if a.base == b.base || a.phase == b.phase {
		t.Error("different seeds gave equal meters")
	}
	if a.base%10_000 != 0 || a.base < 1000e6 || a.base >= 10000e6 {
		t.Errorf("base %d", a.base)
	}
}
