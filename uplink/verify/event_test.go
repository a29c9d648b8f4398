package verify

import (
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// TestEventsWithinAWindow: events are signed before the window they lie in, and
// that is no clock set back.
func TestEventsWithinAWindow(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	at := evidencetest.Event(1, evidencetest.SmallMS)
	at.Start, at.Duration = at.Start+20_000, 0
	d, err := s.Writer.Events(at, []evidence.Happening{{At: at.Start, Kind: "line_lost", Subject: "hall-a", Count: 1}})
	s.Add(t, d, err)
	d, err = s.Writer.Window(evidencetest.Event(1, evidencetest.SmallMS), evidencetest.SmallWindow(1), nil)
	s.Add(t, d, err)
	v := follow(t, s.Meta, s.Deliveries[:4]...)
	if res := v.Next(s.Deliveries[4], soon(s.Deliveries[4])); res.Grade != GradeB || has(res, "clock-backwards") {
		t.Errorf("window around an event: grade %s, %v, want B", res.Grade, res.Reasons)
	}
}
