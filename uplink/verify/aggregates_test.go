package verify

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// TestTimeOfAPeriod: a value of channels 7 and 12 is shown at the end of its
// period, which may lie before the window, and never as if it were polled then.
func TestTimeOfAPeriod(t *testing.T) {
	end := evidence.Column{Quantity: "period_end", Unit: "ms", MulCoef: 1}
	offset := evidence.Column{Quantity: "poll_offset", Unit: "ms", MulCoef: 1}
	for ch, quantity := range map[evidence.Channel]string{evidence.Aggregates: "energy_import_15min", evidence.DailyTotals: "energy_import_day"} {
		w := Window{start: 1_800_000_000_000, dict: &evidence.Dictionary{
			Meters: []evidence.Meter{{Name: "press-1", IntervalMS: 10_000}},
			Channels: map[evidence.Channel][]evidence.ChannelMeter{
				evidence.Timing: {{Columns: []evidence.Column{offset}}},
				ch:              {{Columns: []evidence.Column{end, {Quantity: quantity, Unit: "kWh", MulCoef: 1}}}},
			},
		}}
		w.add(&evidence.Block{Channel: evidence.Timing, Meters: []evidence.Samples{{Slots: 2, Values: [][]int64{{7, 8}}}}})
		w.add(&evidence.Block{Channel: ch, Meters: []evidence.Samples{{Slots: 2, Values: [][]int64{{-3_600_000, 60_000}, {5, 6}}}}})
		var got []Value
		for v := range w.Values() {
			got = append(got, v)
		}
		if len(got) != 2 {
			t.Fatalf("channel %d: %d values, want 2: %+v", ch, len(got), got)
		}
		for i, want := range []int64{w.start - 3_600_000, w.start + 60_000} {
			if v := got[i]; v.Quantity != quantity || v.Polled || !v.Time.Equal(time.UnixMilli(want)) {
				t.Errorf("channel %d: %s at %v, polled %v, want %v", ch, v.Quantity, v.Time, v.Polled, time.UnixMilli(want).UTC())
			}
		}
	}
}
