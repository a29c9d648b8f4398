package plant

import (
	"testing"
	"time"

	"pgregory.net/rapid"
)

// drawLoad draws a load of up to 50 steps of 10 s and more.
func drawLoad(t *rapid.T) *Load {
	energy := rapid.Int64Range(0, 2e9)
	steps := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Interval {
		return Interval{energy.Draw(t, "active"), energy.Draw(t, "lagging"), energy.Draw(t, "leading")}
	}), 1, 50).Draw(t, "steps")
	step := time.Duration(rapid.Int64Range(int64(10*time.Second), int64(time.Hour)).Draw(t, "step"))
	return NewLoad(time.Time{}, step, rapid.Bool().Draw(t, "loop"), steps)
}

// The energy never runs backwards, is exact at every step's end, and at any
// moment equals the power's integral to within the millionth it is cut to.
func TestLoadEnergyIsTheIntegralOfPower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := drawLoad(t)
		n := len(l.sum) - 1
		for i := range n + 1 {
			if got := l.energy(l.step * time.Duration(i)); got != l.sum[i] {
				t.Fatalf("after %d steps: %v, want the sum of their rows %v", i, got, l.sum[i])
			}
		}
		round := l.step * time.Duration(n)
		at := time.Duration(rapid.Int64Range(0, 3*int64(round)).Draw(t, "at"))
		more := time.Duration(rapid.Int64Range(0, int64(l.step)).Draw(t, "more"))
		a, b := l.energy(at), l.energy(at+more)
		if b.Active < a.Active || b.Lagging < a.Lagging || b.Leading < a.Leading {
			t.Fatalf("from %v to %v the energy fell from %v to %v", at, at+more, a, b)
		}
		if l.loop {
			want := l.sum[n].times(int64(at/round), 1).plus(l.energy(at % round))
			if a != want {
				t.Fatalf("energy(%v) = %v, want %v", at, a, want)
			}
		} else if at > round && a != l.sum[n] {
			t.Fatalf("past the end: %v, want %v", a, l.sum[n])
		}
		// P over the rest of one step, against what the energy gained in it.
		if i, into, _ := l.at(at); into < l.step && int(i) < n && (l.loop || at < round) {
			rest := l.step - into
			p, _ := l.power(at)
			gained := l.energy(at + rest).minus(a).Active
			byPower := float64(p) * rest.Seconds() / 3600 / 1e3 // uW s -> 10^-6 kWh
			if d := float64(gained) - byPower; d < -1 || d > 2 {
				t.Fatalf("in %v at %d uW the energy grew by %d, the power's integral is %f", rest, p, gained, byPower)
			}
		}
	})
}

func TestLoadBetween(t *testing.T) {
	start := time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)
	l := NewLoad(start, time.Hour, false, []Interval{{Active: 1}, {Active: 20}, {Active: 300}, {Active: 4000}})
	at := func(h, m int) time.Time { return start.Add(time.Duration(h)*time.Hour + time.Duration(m)*time.Minute) }
	for _, c := range []struct {
		name     string
		from, to time.Time
		total    int64
		start    time.Time
	}{
		{"all", time.Time{}, time.Time{}, 4321, at(0, 0)},
		{"wider than all", at(-5, 0), at(99, 0), 4321, at(0, 0)},
		{"from", at(1, 0), time.Time{}, 4320, at(1, 0)},
		{"to", time.Time{}, at(3, 0), 321, at(0, 0)},
		{"whole steps only", at(0, 30), at(2, 30), 20, at(1, 0)},
	} {
		cut, err := l.Between(c.from, c.to)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if got := cut.Total().Coef; got != c.total || !cut.start.Equal(c.start) {
			t.Errorf("%s: %d from %s, want %d from %s", c.name, got, cut.start, c.total, c.start)
		}
	}
	for _, c := range [][2]time.Time{{at(2, 0), at(2, 0)}, {at(3, 0), at(1, 0)}, {at(4, 0), {}}, {{}, at(0, 59)}, {{}, at(-9, 0)}} {
		if _, err := l.Between(c[0], c[1]); err == nil {
			t.Errorf("between %v and %v: no error", c[0], c[1])
		}
	}
}

func TestShiftPattern(t *testing.T) {
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	l := ShiftPattern(1, monday)
	kw := func(day, hour, minute int) float64 {
		at := time.Duration(24*day+hour)*time.Hour + time.Duration(minute)*time.Minute
		return float64(l.energy(at+10*time.Minute).minus(l.energy(at)).Active) / 1e6 * 6
	}
	for _, c := range []struct {
		what              string
		day, hour, minute int
		lo, hi            float64
	}{
		{"Monday night", 0, 3, 0, 5.9, 6.1},
		{"Monday first shift", 0, 9, 0, 55, 100},
		{"Monday meal", 0, 12, 15, 20, 50},
		{"Tuesday second shift", 1, 17, 0, 45, 95},
		{"Saturday", 5, 10, 0, 35, 75},
		{"Saturday evening", 5, 20, 0, 5.9, 6.1},
		{"Sunday", 6, 10, 0, 5.9, 6.1},
		{"next Monday", 7, 9, 0, 55, 100},
	} {
		if got := kw(c.day, c.hour, c.minute); got < c.lo || got > c.hi {
			t.Errorf("%s: %.1f kW, want %v to %v", c.what, got, c.lo, c.hi)
		}
	}
	if l.Length() != 0 {
		t.Errorf("length %v, want 0: it repeats", l.Length())
	}
	sunday := ShiftPattern(1, monday.AddDate(0, 0, 6).Add(10*time.Hour))
	if p, _ := sunday.power(0); p > 7e9 {
		t.Errorf("a pattern begun on a Sunday draws %d uW at once", p)
	}
}
