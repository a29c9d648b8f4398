package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/verify"
)

// eventful is a short log with a leaf of every type, one window missing and
// one damaged.
func eventful(t testing.TB) [][]byte {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 3)
	w := s.Writer
	d, err := w.Events(evidencetest.Point(3), []evidence.Happening{
		{At: evidencetest.Start + 80_000, Kind: "meter_silent", Subject: "oven", Count: 1},
		{At: evidencetest.Start + 85_000, Kind: "something_new", Subject: "press-1", Quantity: "energy_import", Count: 3}})
	s.Add(t, d, err)
	d, err = w.Shutdown(evidencetest.Point(3), "stopped by the service manager")
	s.Add(t, d, err)
	again := evidencetest.Point(5)
	again.Boot, again.UptimeMS = 2, 0
	d, err = w.Boot(again, evidence.Boot{Clean: true, LastRecordedMS: evidencetest.Start + 90_000, Software: "test 2"})
	s.Add(t, d, err)
	d, err = w.Loss(again, []evidence.LostRange{{Lo: 3, Hi: 3, Reason: "quota"}})
	s.Add(t, d, err)
	d, err = w.Config(again, evidencetest.Small(), evidence.Hash{1})
	s.Add(t, d, err)
	for k := 5; k < 7; k++ {
		e := evidencetest.Event(k, evidencetest.SmallMS)
		e.Boot, e.UptimeMS = 2, uint64(k-4)*evidencetest.SmallMS
		d, err = w.Window(e, evidencetest.SmallWindow(k), nil)
		s.Add(t, d, err)
	}
	s.Deliveries[3] = nil
	last := len(s.Deliveries) - 1
	s.Deliveries[last] = damaged(s.Deliveries[last])
	return s.Deliveries
}

func TestListingGolden(t *testing.T) {
	b := bytes.NewBufferString(ListHead)
	check(t, pack(t, eventful(t)), func(r verify.Result) {
		l := Describe(r)
		b.WriteString(l.Line(time.UTC))
	})
	golden(t, "listing.txt", b.Bytes())
}

func TestLeavesGolden(t *testing.T) {
	var words, object bytes.Buffer
	check(t, pack(t, eventful(t)), func(r verify.Result) {
		if err := WriteLeaf(&words, r, time.UTC); err != nil {
			t.Fatal(err)
		}
		if err := WriteLeafJSON(&object, r); err != nil {
			t.Fatal(err)
		}
	})
	golden(t, "leaves.txt", words.Bytes())
	golden(t, "leaves.jsonl", object.Bytes())
	for line := range strings.Lines(object.String()) {
		var any map[string]any
		if err := json.Unmarshal([]byte(line), &any); err != nil {
			t.Error(err)
		}
	}
}

// What a lender was not given shows as such, and its samples do not.
func TestWithheldChannelsAreNamed(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	d, err := evidence.FilterDelivery(nil, s.Deliveries[2], func(b evidence.RawBlock) bool { return b.Channel == evidence.Energy }, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.Deliveries[2] = d
	check(t, pack(t, s.Deliveries), func(r verify.Result) {
		if l := Describe(r); r.N == 2 && (len(l.Channels) != 1 || l.Channels[0] != (ChannelCount{"energy", 6, 6}) ||
			strings.Join(l.Withheld, " ") != "voltage/current timing") {
			t.Errorf("%+v", l)
		}
	})
}
