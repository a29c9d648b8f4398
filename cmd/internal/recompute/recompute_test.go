package recompute

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent/aggregate"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/verify"
)

const minute = 60_000

// dictionary is a meter whose energy and power are told whole and as totals.
func dictionary() evidence.Dictionary {
	energy := []evidence.Column{{Quantity: "energy_import", Unit: "kWh", Exp: -2, MulCoef: 40}}
	power := []evidence.Column{{Quantity: "power", Unit: "W", MulCoef: 40}}
	d := evidence.Dictionary{
		Meters: []evidence.Meter{{Name: "press-1", Profile: "chint-dtsu666", ProfileVersion: 1, IntervalMS: minute / 2}},
		Channels: map[evidence.Channel][]evidence.ChannelMeter{
			evidence.Energy: {{Columns: energy}}, evidence.Power: {{Columns: power}},
		},
	}
	for _, ch := range []evidence.Channel{evidence.Aggregates, evidence.DailyTotals} {
		d.Channels[ch] = []evidence.ChannelMeter{{Columns: aggregate.Columns(ch, energy, power)}}
	}
	return d
}

// box seals windows of a minute from six in the evening on, as an agent does; lie
// changes what it says of totals before they are signed.
func box(t *testing.T, windows int, lie func(k int, data map[evidence.Channel][]evidence.Samples)) *evidencetest.Stream {
	t.Helper()
	d := dictionary()
	w, genesis, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(), evidence.Genesis{Event: evidencetest.Point(0), Dictionary: d})
	s := &evidencetest.Stream{Writer: w}
	s.Add(t, genesis, err)
	sums := aggregate.New(func(string, string) int64 { return 0 }, time.UTC)
	sums.Follow(&d)
	start := int64(evidencetest.Start + 18*60*minute)
	for k := range windows {
		reading := int64(k * 10)
		data := map[evidence.Channel][]evidence.Samples{
			evidence.Energy: {{Slots: 2, Values: [][]int64{{reading, reading + 5}}, Codes: make([][]evidence.Code, 1)}},
			evidence.Power:  {{Slots: 2, Values: [][]int64{{int64(k % 7), 100}}, Codes: make([][]evidence.Code, 1)}},
		}
		at := start + int64(k)*minute
		sums.Window(at, at+minute, data)
		lie(k, data)
		e := evidencetest.Event(k, minute)
		e.Start = at
		leaf, err := w.Window(e, data, nil)
		s.Add(t, leaf, err)
	}
	s.Meta = w.Meta().Encode()
	return s
}

func honest(int, map[evidence.Channel][]evidence.Samples) {}

// recomputed is what is found in deliveries.
func recomputed(t *testing.T, s *evidencetest.Stream, zone *time.Location, deliveries [][]byte) Totals {
	t.Helper()
	v, err := verify.New(evidencetest.PublicKey(1), s.Meta)
	if err != nil {
		t.Fatal(err)
	}
	c := New(profile.Builtin(), zone)
	for _, d := range deliveries {
		r := v.Next(d, time.Time{})
		if !r.Verdict.Accepted() {
			t.Fatalf("%+v", r)
		}
		c.Add(&r)
	}
	return c.Totals
}

func TestTotalsOfReadings(t *testing.T) {
	const day = 7 * 60 // windows, so that a day ends in them
	totals := func(ch evidence.Channel, f func(s *evidence.Samples)) func(int, map[evidence.Channel][]evidence.Samples) {
		return func(k int, data map[evidence.Channel][]evidence.Samples) {
			if s := &data[ch][0]; k > 300 && s.Slots > 0 { // once that many are over
				f(s)
			}
		}
	}
	whole := box(t, day, honest)
	for name, c := range map[string]struct {
		s          *evidencetest.Stream
		zone       *time.Location
		deliveries func([][]byte) [][]byte
		different  bool
		uncovered  bool
	}{
		"honest":                {whole, time.UTC, nil, false, false},
		"no word of the zone":   {whole, nil, nil, false, true},
		"begun in the middle":   {whole, time.UTC, func(ds [][]byte) [][]byte { return ds[100:] }, false, true},
		"with a hole":           {whole, time.UTC, func(ds [][]byte) [][]byte { return append(ds[:100:100], ds[107:]...) }, false, true},
		"energy not disclosed":  {whole, time.UTC, func(ds [][]byte) [][]byte { return without(t, ds, evidence.Energy) }, false, true},
		"a quarter inflated":    {box(t, day, totals(evidence.Aggregates, func(s *evidence.Samples) { s.Values[1][0]++ })), time.UTC, nil, true, false},
		"a greatest power more": {box(t, day, totals(evidence.Aggregates, func(s *evidence.Samples) { s.Values[4][0]++ })), time.UTC, nil, true, false},
		"a quarter left out": {box(t, day, totals(evidence.Aggregates, func(s *evidence.Samples) {
			*s = evidence.Samples{Values: make([][]int64, len(s.Values)), Codes: make([][]evidence.Code, len(s.Codes))}
		})), time.UTC, nil, true, false},
		"a quarter without a value": {box(t, day, totals(evidence.Aggregates, func(s *evidence.Samples) { s.Values[1][0], s.Codes[1][0] = 0, evidence.Timeout })), time.UTC, nil, true, false},
		"a day invented":            {box(t, day, totals(evidence.DailyTotals, func(s *evidence.Samples) { s.Values[1][0], s.Codes[1][0] = 9000, evidence.OK })), time.UTC, nil, true, false},
	} {
		ds := c.s.Deliveries
		if c.deliveries != nil {
			ds = c.deliveries(ds)
		}
		got := recomputed(t, c.s, c.zone, ds)
		if (got.Different > 0) != c.different || (got.NotCovered > 0) != c.uncovered || got.Equal == 0 && name != "energy not disclosed" || len(got.Differences) == 0 && c.different {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

// without takes a channel out of deliveries, as a box does that did not grant it.
func without(t *testing.T, ds [][]byte, ch evidence.Channel) (kept [][]byte) {
	t.Helper()
	for _, d := range ds {
		b, err := evidence.FilterDelivery(nil, d, func(b evidence.RawBlock) bool { return b.Channel != ch }, nil)
		if err != nil {
			t.Fatal(err)
		}
		kept = append(kept, b)
	}
	return kept
}
