package evidence_test

import (
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
)

func TestTopics(t *testing.T) {
	id, err := evidence.ParseLogID("8925918a7e3d78a9c4de55389f0ee716")
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[evidence.Kind]string{
		evidence.MetaTopic:     "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/meta",
		evidence.StateTopic:    "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/state",
		evidence.DeliveryTopic: "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/d/bank-a",
		evidence.ReceiptTopic:  "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/rx/bank-a",
		evidence.ReplayTopic:   "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/re/bank-a",
	} {
		topic := evidence.Topic(kind, id, "bank-a")
		k, log, lender, err := evidence.ParseTopic(topic)
		if topic != want || err != nil || k != kind || log != id || (lender != "") != (k != evidence.MetaTopic && k != evidence.StateTopic) {
			t.Errorf("%s: %q, parsed %s %s %q %v", kind, topic, k, log, lender, err)
		}
	}
	if got := evidence.TopicFilter(evidence.DeliveryTopic, "bank-a"); got != "tally/1/+/+/d/bank-a" {
		t.Error(got)
	}
	for _, bad := range []string{"", "tally/1/", "tally/2/89/8925918a7e3d78a9c4de55389f0ee716/meta",
		"tally/1/88/8925918a7e3d78a9c4de55389f0ee716/meta", "tally/1/89/8925918A7e3d78a9c4de55389f0ee716/meta",
		"tally/1/89/8925918a7e3d78a9c4de55389f0ee716/d", "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/meta/x",
		"tally/1/89/8925918a7e3d78a9c4de55389f0ee716/d/+", "tally/1/89/8925918a7e3d78a9c4de55389f0ee716/d/a/b"} {
		if _, _, _, err := evidence.ParseTopic(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
