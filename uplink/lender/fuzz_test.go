package lender

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// FuzzHandle: whatever a broker hands over, nothing is accepted that the box
// has not signed, and the log can still be followed.
func FuzzHandle(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 2)
	id := s.Writer.LogID()
	f.Add(evidence.Topic(evidence.DeliveryTopic, id, "bank-a"), s.Deliveries[2][:100])
	f.Add(evidence.Topic(evidence.DeliveryTopic, id, "bank-a"), alteredCopy(s.Deliveries[1]))
	f.Add(evidence.Topic(evidence.MetaTopic, id, ""), s.Meta[:50])
	f.Add("tally/1/aa/bb/meta", []byte{})
	f.Fuzz(func(t *testing.T, topic string, payload []byte) {
		for _, b := range s.Deliveries {
			if string(b) == string(payload) {
				return
			}
		}
		d := newDesk(t)
		d.meta(s)
		d.put(s, s.Deliveries[0])
		d.l.handle(message{topic, payload})
		b := d.l.logs[id]
		if b.v.N() != 1 {
			t.Fatalf("accepted %x", payload)
		}
		b.take(s.Deliveries[1], time.Now())
		if b.v.N() != 2 {
			t.Fatal("cannot be followed any more")
		}
	})
}
