package verify

import (
	"bytes"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// framed is a log whose site switches raw frames on for press-1 and seals two
// windows with them.
func framed(t *testing.T) *evidencetest.Stream {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 1)
	dict := evidencetest.Small()
	dict.Channels[evidence.RawFrames] = []evidence.ChannelMeter{{Columns: []evidence.Column{{Quantity: "frames", MulCoef: 1}}}}
	d, err := s.Writer.Config(evidencetest.Point(1), dict, evidence.Hash{1})
	s.Add(t, d, err)
	for k := 1; k < 3; k++ {
		data := evidencetest.SmallWindow(k)
		data[evidence.RawFrames] = []evidence.Samples{{Frames: &evidence.Frames{Exchanges: []evidence.Exchange{
			{At: 41, Took: 30, Request: []byte("ask"), Reply: []byte("answer")}, {At: 10_042, Took: 1000, Request: []byte("ask")},
		}}}}
		d, err := s.Writer.Window(evidencetest.Event(k, evidencetest.SmallMS), data, nil)
		s.Add(t, d, err)
	}
	return s
}

// Who was given the frames can walk them; who was not misses nothing else.
func TestFramesOfAWindow(t *testing.T) {
	s := framed(t)
	for _, given := range []bool{true, false} {
		v, err := New(pub(1), nil)
		if err != nil {
			t.Fatal(err)
		}
		windows := 0
		for _, d := range s.Deliveries {
			d, err := evidence.FilterDelivery(nil, d, func(b evidence.RawBlock) bool { return given || b.Channel != evidence.RawFrames }, nil)
			if err != nil {
				t.Fatal(err)
			}
			r := v.Next(d, soon(d))
			if r.Verdict != Verified {
				t.Fatalf("leaf %d: %s %v", r.N, r.Verdict, r.Reasons)
			}
			if r.Window == nil || r.N < 4 {
				continue
			}
			windows++
			met := 0
			for m, f := range r.Window.Frames() {
				if met++; m.Name != "press-1" || len(f.Exchanges) != 2 || string(f.Exchanges[0].Reply) != "answer" {
					t.Errorf("leaf %d: %s %+v", r.N, m.Name, f)
				}
			}
			if want := map[bool]int{true: 1}[given]; met != want {
				t.Errorf("leaf %d, given %v: frames of %d meters, want %d", r.N, given, met, want)
			}
			for v := range r.Window.Values() {
				if v.Channel == evidence.RawFrames {
					t.Errorf("leaf %d: frames among the values: %+v", r.N, v)
				}
			}
		}
		if windows != 2 {
			t.Errorf("%d windows", windows)
		}
	}
}

// A changed byte of the meter is an altered block, and named so.
func TestFramesAltered(t *testing.T) {
	s := framed(t)
	v, err := New(pub(1), nil)
	if err != nil {
		t.Fatal(err)
	}
	last := len(s.Deliveries) - 1
	for _, d := range s.Deliveries[:last] {
		v.Next(d, soon(d))
	}
	d := bytes.Replace(s.Deliveries[last], []byte("answer"), []byte("Answer"), 1)
	if r := v.Next(d, soon(d)); r.Verdict != Altered || r.Channel != evidence.RawFrames {
		t.Errorf("%s, channel %v: %v", r.Verdict, r.Channel, r.Reasons)
	}
}
