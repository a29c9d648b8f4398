package evidencetest

import (
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// Small is a dictionary of two meters in three channels, with 2 s polls.
func Small() evidence.Dictionary {
	return evidence.Dictionary{
		Meters: []evidence.Meter{
			{Name: "press-1", Profile: "chint-dtsu666", ProfileVersion: 1, IntervalMS: 10_000},
			{Name: "oven", Profile: "acrel-adw300", ProfileVersion: 2, IntervalMS: 10_000},
		},
		Channels: map[evidence.Channel][]evidence.ChannelMeter{
			evidence.Energy: {
				{Meter: 0, Columns: []evidence.Column{{Quantity: "energy_import", Unit: "kWh", Exp: -2, MulCoef: 40}}},
				{Meter: 1, Columns: []evidence.Column{{Quantity: "energy_import", Unit: "kWh", Exp: -2, MulCoef: 1}}},
			},
			evidence.VoltageCurrent: {
				{Meter: 0, Columns: []evidence.Column{
					{Quantity: "voltage_l1", Unit: "V", Exp: -1, MulCoef: 1},
					{Quantity: "current_l1", Unit: "A", Exp: -3, MulCoef: 40}}},
				{Meter: 1, Columns: []evidence.Column{{Quantity: "voltage_l1", Unit: "V", Exp: -1, MulCoef: 1}}},
			},
			evidence.Timing: {
				{Meter: 0, Columns: []evidence.Column{{Quantity: "poll_offset", Unit: "ms", MulCoef: 1}}},
				{Meter: 1, Columns: []evidence.Column{{Quantity: "poll_offset", Unit: "ms", MulCoef: 1}}},
			},
		},
	}
}

// SmallWindow is data for window k of Small: three slots. In every third
// window the oven does not answer the last poll.
func SmallWindow(k int) map[evidence.Channel][]evidence.Samples {
	base := int64(k)
	row := func(first, step int64) []int64 { return []int64{first, first + step, first + 2*step} }
	data := map[evidence.Channel][]evidence.Samples{
		evidence.Energy: {
			{Slots: 3, Values: [][]int64{row(812345+30*base, 10)}},
			{Slots: 3, Values: [][]int64{row(5200+3*base, 1)}},
		},
		evidence.VoltageCurrent: {
			{Slots: 3, Values: [][]int64{row(2301+base%7, -2), row(3120+base%11, 15)}},
			{Slots: 3, Values: [][]int64{row(2298-base%5, 1)}},
		},
		evidence.Timing: {
			{Slots: 3, Values: [][]int64{row(41, 1)}},
			{Slots: 3, Values: [][]int64{row(112, -1)}},
		},
	}
	if k%3 == 2 {
		for ch := range data {
			data[ch][1].Codes = [][]evidence.Code{{evidence.OK, evidence.OK, evidence.Timeout}}
		}
	}
	return data
}

// SmallMS is the length of a window of Small.
const SmallMS = 30_000

// Stream is a log of Small with its writer at the end: genesis, boot, then
// windows.
type Stream struct {
	Writer     *seal.Writer
	Deliveries [][]byte // by leaf index
	Meta       []byte
}

// NewStream seals genesis, boot and the given number of windows with the key
// of the given seed, in suite 1 and without a successor.
func NewStream(t testing.TB, key byte, windows int) *Stream {
	t.Helper()
	return NewStreamOf(t, Signer(key), nil, windows)
}

// NewStreamOf is NewStream with any key; the genesis commits to successor where
// it is not nil.
func NewStreamOf(t testing.TB, key, successor evidence.Signer, windows int) *Stream {
	t.Helper()
	g := evidence.Genesis{Event: Point(0), Dictionary: Small()}
	if successor != nil {
		record := successor.Public()
		h := record.Digest()
		g.Successor = &h
	}
	w, first, err := seal.NewWriter(key, Secret(), g)
	if err != nil {
		t.Fatal(err)
	}
	s := &Stream{Writer: w}
	s.Add(t, first, nil)
	boot, err := w.Boot(Point(0), evidence.Boot{Clean: true, Software: "test"})
	s.Add(t, boot, err)
	for range windows {
		s.Window(t)
	}
	s.Meta = w.Meta().Encode()
	return s
}

// Point is a point event at the start of window k of a test log.
func Point(k int) evidence.Event {
	e := Event(k, SmallMS)
	e.Duration, e.UptimeMS = 0, uint64(k)*SmallMS
	return e
}

// Add keeps a delivery the writer has just returned.
func (s *Stream) Add(t testing.TB, delivery []byte, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	s.Deliveries = append(s.Deliveries, append([]byte(nil), delivery...))
}

// Rotate puts next in force, which commits to after.
func (s *Stream) Rotate(t testing.TB, next, after evidence.Signer) {
	t.Helper()
	record := after.Public()
	d, err := s.Writer.Rotate(Point(len(s.Deliveries)-2), next, record.Digest())
	s.Add(t, d, err)
	s.Meta = s.Writer.Meta().Encode()
}

// Window seals one more window; number k is leaf k+2 in a plain stream.
func (s *Stream) Window(t testing.TB) {
	t.Helper()
	k := len(s.Deliveries) - 2
	d, err := s.Writer.Window(Event(k, SmallMS), SmallWindow(k), nil)
	s.Add(t, d, err)
}
