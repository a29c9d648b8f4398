package aggregate

import (
	"encoding/json"
	"math"
	"math/big"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

const minute, quarter = int64(60_000), int64(900_000)

var (
	register = evidence.Column{Quantity: "energy_import", Unit: "kWh", Exp: -2, MulCoef: 40}
	load     = evidence.Column{Quantity: "power", Unit: "W", MulCoef: 40}
)

func dictionary() *evidence.Dictionary {
	one := func(cols ...evidence.Column) []evidence.ChannelMeter { return []evidence.ChannelMeter{{Columns: cols}} }
	d := &evidence.Dictionary{Meters: []evidence.Meter{{Name: "press-1", IntervalMS: 10_000}}}
	d.Channels = map[evidence.Channel][]evidence.ChannelMeter{evidence.Energy: one(register), evidence.Power: one(load)}
	for _, ch := range []evidence.Channel{evidence.Aggregates, evidence.DailyTotals} {
		d.Channels[ch] = one(Columns(ch, []evidence.Column{register}, []evidence.Column{load})...)
	}
	return d
}

func newSums(zone *time.Location, modulus int64) *Sums {
	s := New(func(string, string) int64 { return modulus }, zone)
	s.Follow(dictionary())
	return s
}

// sample is a register reading, a power reading and the code of both.
type sample struct {
	energy, power int64
	code          evidence.Code
}

func good(energy int64) sample { return sample{energy: energy, power: energy} }

var silent = sample{code: evidence.Timeout}

// window gives s one window and returns channels 7 and 12 of it.
func window(s *Sums, start, end int64, samples ...sample) (quarters, days evidence.Samples) {
	n := len(samples)
	e := evidence.Samples{Slots: n, Values: [][]int64{make([]int64, n)}, Codes: [][]evidence.Code{make([]evidence.Code, n)}}
	p := evidence.Samples{Slots: n, Values: [][]int64{make([]int64, n)}, Codes: [][]evidence.Code{make([]evidence.Code, n)}}
	for i, v := range samples {
		e.Values[0][i], p.Values[0][i], e.Codes[0][i], p.Codes[0][i] = v.energy, v.power, v.code, v.code
	}
	data := map[evidence.Channel][]evidence.Samples{evidence.Energy: {e}, evidence.Power: {p}}
	s.Window(start, end, data)
	return data[evidence.Aggregates][0], data[evidence.DailyTotals][0]
}

// told is the content of one slot, for comparison.
type told struct {
	end    int64
	values []int64
	codes  []evidence.Code
}

func slot(s evidence.Samples, start int64, k int) (t told) {
	t.end = start + s.Values[0][k]
	for c := 1; c < len(s.Values); c++ {
		t.values, t.codes = append(t.values, s.Values[c][k]), append(t.codes, s.Code(c, k))
	}
	return t
}

// TestQuarter: what a quarter of an hour says, by what went on in it. The one
// before ended with the register at 1000.
func TestQuarter(t *testing.T) {
	exchanged := []evidence.Happening{{Kind: "meter_exchanged", Subject: "press-1", Count: 1}}
	reset := []evidence.Happening{{Kind: "counter_reset", Subject: "press-1", Quantity: "energy_import", Count: 1}}
	other := []evidence.Happening{{Kind: "meter_exchanged", Subject: "press-2", Count: 1}, {Kind: "line_lost", Subject: "press-1", Count: 1}}
	for name, c := range map[string]struct {
		samples []sample
		events  []evidence.Happening
		moved   int64
		code    evidence.Code
		next    int64         // of the quarter after, which ends 10 above the last good reading
		after   evidence.Code // of it
	}{
		"moves":                           {samples: []sample{good(1002), good(1005)}, moved: 5, next: 10},
		"stands still":                    {samples: []sample{good(1000), good(1000)}, next: 10},
		"silent at its end":               {samples: []sample{good(1002), silent}, moved: 2, next: 10},
		"silent":                          {samples: []sample{silent, silent}, code: evidence.Timeout, next: 10},
		"silent, then not asked":          {samples: []sample{silent, {code: evidence.Skipped}}, code: evidence.Skipped, next: 10},
		"not due":                         {code: evidence.Skipped, next: 10},
		"doubted":                         {samples: []sample{{energy: 5, code: evidence.Backwards}}, code: evidence.Invalid, next: 10},
		"glitch":                          {samples: []sample{{energy: 5, code: evidence.Backwards}, good(1003)}, moved: 3, next: 10},
		"goes back":                       {samples: []sample{good(7)}, code: evidence.Invalid, next: 10},
		"through its end":                 {samples: []sample{good(99_990), good(15)}, moved: 99_015, next: 10},
		"back from near its end, too far": {samples: []sample{good(99_990), good(1_001)}, code: evidence.Invalid, next: 10},
		"exchanged":                       {samples: []sample{good(5000)}, events: exchanged, code: evidence.Invalid, next: 10},
		"exchanged, and not read since":   {samples: nil, events: exchanged, code: evidence.Skipped, after: evidence.Invalid},
		"begins anew":                     {samples: []sample{good(5000)}, events: reset, code: evidence.Invalid, next: 10},
		"another is exchanged":            {samples: []sample{good(1004)}, events: other, moved: 4, next: 10},
		"beyond an int64":                 {samples: []sample{good(math.MinInt64), good(math.MaxInt64)}, code: evidence.Invalid},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSums(time.UTC, 100_000)
			start := 40 * quarter
			window(s, start-minute, start, good(1000))
			window(s, start, start+minute)
			s.Events(c.events)
			q, _ := window(s, start+quarter-minute, start+quarter, c.samples...)
			if q.Slots != 1 {
				t.Fatalf("%d slots, want 1", q.Slots)
			}
			got := slot(q, start+quarter-minute, 0)
			if got.end != start+quarter || got.codes[0] != c.code || got.moved() != c.moved {
				t.Errorf("told %+v, want %d with code %v at %d", got, c.moved, c.code, start+quarter)
			}
			last := int64(1000)
			for _, v := range c.samples {
				if v.code == evidence.OK {
					last = v.energy
				}
			}
			if last > math.MaxInt64-10 {
				return
			}
			q, _ = window(s, start+2*quarter-minute, start+2*quarter, good(last+10))
			if got := slot(q, 0, 0); got.moved() != c.next || got.codes[0] != c.after {
				t.Errorf("the quarter after: %+v, want %d with code %v", got, c.next, c.after)
			}
		})
	}
}

// moved is the difference of the register, 0 where there is none.
func (t told) moved() int64 {
	if !t.codes[0].HasValue() {
		return 0
	}
	return t.values[0]
}

// TestFirstPeriodHasNoDifference: where it began nobody read the register.
func TestFirstPeriodHasNoDifference(t *testing.T) {
	s := newSums(time.UTC, 0)
	q, _ := window(s, quarter-minute, quarter, good(5), good(9))
	got := slot(q, quarter-minute, 0)
	want := told{quarter, []int64{0, 5, 7, 9}, []evidence.Code{evidence.Invalid, 0, 0, 0}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("told %+v, want %+v", got, want)
	}
}

// TestPeriodThatNoWindowEnds: the box was off, or asleep, when a quarter and a
// day ended. Both are told with the next window, and nothing is lost.
func TestPeriodThatNoWindowEnds(t *testing.T) {
	shanghai := location(t, "Asia/Shanghai")
	midnight := time.Date(2026, 3, 5, 0, 0, 0, 0, shanghai).UnixMilli()
	s := newSums(shanghai, 0)
	window(s, midnight-minute, midnight, good(1000))
	off := midnight + 20*4*quarter + 7*minute // 20:07
	window(s, off-minute, off, good(1400))
	on := midnight + (24+7)*4*quarter - minute // 06:59
	q, d := window(s, on, on+minute, good(1410))
	if q.Slots != 2 || d.Slots != 1 {
		t.Fatalf("%d quarters and %d days are told, want 2 and 1", q.Slots, d.Slots)
	}
	if got := slot(q, on, 0); got.end != off+8*minute || got.values[0] != 400 {
		t.Errorf("the quarter left open: %+v, want 400 at %d", got, off+8*minute)
	}
	if got := slot(q, on, 1); got.end != on+minute || got.values[0] != 10 {
		t.Errorf("the quarter at hand: %+v, want 10 at %d", got, on+minute)
	}
	if got := slot(d, on, 0); got.end != midnight+24*4*quarter || got.values[0] != 400 {
		t.Errorf("the day left open: %+v, want 400 at midnight", got)
	}
	if q, d := window(s, on+minute, on+3*24*4*quarter); q.Slots != 1 || d.Slots != 1 { // slept for three days
		t.Errorf("%d quarters and %d days are told by a window over days, want one each: the others have no samples", q.Slots, d.Slots)
	}
}

func location(t *testing.T, name string) *time.Location {
	t.Helper()
	zone, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return zone
}

// TestDays: a day ends when the local date changes, also where there is no
// midnight, or two, and where the offset is no whole hour.
func TestDays(t *testing.T) {
	for _, c := range []struct{ zone, at, end string }{
		{"Asia/Shanghai", "2026-03-04T15:59:59Z", "2026-03-04T16:00:00Z"},
		{"Asia/Shanghai", "2026-03-04T16:00:00Z", "2026-03-05T16:00:00Z"},
		{"Asia/Kathmandu", "2026-03-04T12:00:00Z", "2026-03-04T18:15:00Z"},
		{"Europe/Berlin", "2026-03-29T00:00:00Z", "2026-03-29T22:00:00Z"},  // 23 hours
		{"Europe/Berlin", "2026-10-25T00:00:00Z", "2026-10-25T23:00:00Z"},  // 25 hours
		{"Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-23T22:00:00Z"},   // 00:00 does not exist
		{"America/Havana", "2025-11-01T12:00:00Z", "2025-11-02T04:00:00Z"}, // 00:00 comes twice
		{"UTC", "1970-01-01T00:00:00Z", "1970-01-02T00:00:00Z"},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		end := New(nil, location(t, c.zone)).ends(evidence.DailyTotals, at.UnixMilli())
		if got := time.UnixMilli(end).UTC().Format(time.RFC3339); got != c.end {
			t.Errorf("%s at %s: the day ends at %s, want %s", c.zone, c.at, got, c.end)
		}
	}
}

// TestNothingIsLost: whatever happens to windows and readings, what is told adds
// up to what the register moved; and a state that was stored goes on as the one
// that was not.
func TestNothingIsLost(t *testing.T) {
	for seed := range uint64(60) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		s := newSums(time.UTC, 0)
		energy, last := int64(1e6), int64(0)
		first, moved := [2]int64{-1, -1}, [2]int64{} // the register where differences begin, and what they add up to
		at := 1000*quarter + rnd.Int64N(quarter/minute)*minute
		for range 3000 {
			if rnd.IntN(40) == 0 {
				at += rnd.Int64N(200) * minute // off
			}
			if rnd.IntN(400) == 0 {
				at -= rnd.Int64N(200) * minute // the clock is set
			}
			if rnd.IntN(20) == 0 {
				s = stored(t, s)
			}
			before := last
			var samples []sample
			for range rnd.IntN(4) {
				energy += rnd.Int64N(9)
				if rnd.IntN(3) == 0 {
					samples = append(samples, silent)
				} else {
					samples = append(samples, good(energy))
					last = energy
				}
			}
			quarters, days := window(s, at, at+minute, samples...)
			for i, o := range []evidence.Samples{quarters, days} {
				for k := range o.Slots {
					switch code := o.Code(1, k); {
					case code.HasValue():
						moved[i] += o.Values[1][k]
					case code != evidence.Invalid:
					case first[i] >= 0:
						t.Fatalf("seed %d: a second period without a begin", seed)
					case at+o.Values[0][k] == at+minute:
						first[i] = last
					default: // left open by the windows before
						first[i] = before
					}
				}
			}
			at += minute
		}
		for i, sp := range s.spans {
			if open := sp.Counters[0].Moved; first[i] < 0 || first[i]+moved[i]+open != last {
				t.Fatalf("seed %d, channel %d: the register went from %d to %d, told is %d and open %d", seed, sp.Channel, first[i], last, moved[i], open)
			}
		}
	}
}

// stored is s as it is after a restart.
func stored(t *testing.T, s *Sums) *Sums {
	t.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	again := New(s.modulus, s.zone)
	if err := json.Unmarshal(text, again); err != nil {
		t.Fatal(err)
	}
	again.Follow(dictionary())
	return again
}

func TestMean(t *testing.T) {
	for _, c := range [][3]int64{{5, 2, 2}, {7, 2, 4}, {-5, 2, -2}, {-7, 2, -4}, {-1, 3, 0}, {-2, 3, -1}, {math.MaxInt64, 1, math.MaxInt64}, {math.MinInt64, 1, math.MinInt64}, {9, 4, 2}, {11, 4, 3}} {
		if got := mean(c[0], c[1]); got != c[2] {
			t.Errorf("%d / %d: %d, want %d", c[0], c[1], got, c[2])
		}
	}
}

// TestPowerBeyondAnInt64 holds the mean against arithmetic without bounds.
func TestPowerBeyondAnInt64(t *testing.T) {
	rnd := rand.New(rand.NewPCG(2, 2))
	for range 1000 {
		var p power
		sum := new(big.Int)
		for range 1 + rnd.IntN(5) {
			v := int64(rnd.Uint64())
			p.add(v)
			sum.Add(sum, big.NewInt(v))
		}
		n := p.Count
		v, code := p.close()
		if code == evidence.Invalid {
			continue // a sum on the way, or in the end, was too great
		}
		if !sum.IsInt64() || v[1] != mean(sum.Int64(), n) || v[0] > v[1] || v[1] > v[2] {
			t.Fatalf("told %v of the sum %v of %d", v, sum, n)
		}
	}
}

// TestFollow: a register goes on where it is the same, and only there.
func TestFollow(t *testing.T) {
	same, renamed, ratio, gone := dictionary(), dictionary(), dictionary(), dictionary()
	renamed.Meters[0].Name = "lathe-1"
	other := register
	other.MulCoef = 60
	ratio.Channels[evidence.Energy][0].Columns[0] = other
	delete(gone.Channels, evidence.Aggregates)
	for name, c := range map[string]struct {
		d    *evidence.Dictionary
		code evidence.Code
	}{"same": {same, evidence.OK}, "renamed": {renamed, evidence.Invalid}, "other ratio": {ratio, evidence.Invalid}, "gone for a while": {gone, evidence.Invalid}} {
		s := newSums(time.UTC, 0)
		window(s, quarter-minute, quarter, good(5))
		s.Follow(c.d)
		if name == "gone for a while" {
			s.Follow(dictionary())
		}
		q, _ := window(s, 2*quarter-minute, 2*quarter, good(9))
		if got := q.Code(1, 0); got != c.code {
			t.Errorf("%s: code %v, want %v", name, got, c.code)
		}
	}
}

// FuzzState: no content of the file stops the agent, and what is taken up is
// written back the same.
func FuzzState(f *testing.F) {
	for _, text := range []string{"null", "[null]", "{}", `[{"Counters":[{}]}]`, `[{"Channel":7,"End":-5,"Powers":[{"Meter":"press-1","Count":-1}]}]`} {
		f.Add([]byte(text))
	}
	s := newSums(time.UTC, 0)
	window(s, quarter-minute, quarter, good(5), silent)
	text, err := json.Marshal(s)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Fuzz(func(t *testing.T, text []byte) {
		s := New(func(string, string) int64 { return 0 }, time.UTC)
		if err := json.Unmarshal(text, s); err != nil {
			return
		}
		s.Follow(dictionary())
		if again := stored(t, s); !reflect.DeepEqual(again.spans, s.spans) {
			t.Errorf("%+v became %+v", s.spans, again.spans)
		}
		window(s, 0, minute, good(1))
		window(s, minute, quarter, good(1))
	})
}
