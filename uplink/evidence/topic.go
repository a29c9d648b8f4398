package evidence

import (
	"regexp"
	"strings"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Kind is the last fixed level of a topic.
type Kind string

const (
	MetaTopic     Kind = "meta"  // retained: Meta.Encode
	HeadTopic     Kind = "head"  // retained: newest checkpoint, as text
	StateTopic    Kind = "state" // retained, last will: a hint, never evidence
	DeliveryTopic Kind = "d"     // up, per lender: deliveries
	ReceiptTopic  Kind = "rx"    // down, per lender: receipts
	ReplayTopic   Kind = "re"    // up, per lender: deliveries asked for again
)

const topicRoot = "tally/1/"

var lenderName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,31}$`)

// ValidLender reports whether a lender's name may stand in a topic: 1 to 32
// of a-z, 0-9 and '-', not starting with '-'.
func ValidLender(name string) bool { return lenderName.MatchString(name) }

// Topic builds tally/1/{first two hex digits}/{log}/{kind}[/{lender}]. lender
// is ignored for kinds that have none.
func Topic(kind Kind, log LogID, lender string) string {
	id := log.String()
	t := topicRoot + id[:2] + "/" + id + "/" + string(kind)
	if kind.perLender() {
		t += "/" + lender
	}
	return t
}

// TopicFilter is the subscription that matches Topic for every log.
func TopicFilter(kind Kind, lender string) string {
	t := topicRoot + "+/+/" + string(kind)
	if kind.perLender() {
		t += "/" + lender
	}
	return t
}

// ParseTopic takes apart what Topic builds.
func ParseTopic(topic string) (kind Kind, log LogID, lender string, err error) {
	parts := strings.Split(strings.TrimPrefix(topic, topicRoot), "/")
	if !strings.HasPrefix(topic, topicRoot) || len(parts) < 3 || len(parts) > 4 {
		return "", LogID{}, "", canon.Malformed("topic", "%.80q is not of the form tally/1/{shard}/{log}/{kind}", topic)
	}
	if log, err = ParseLogID(parts[1]); err != nil {
		return "", LogID{}, "", err
	}
	kind = Kind(parts[2])
	if len(parts) == 4 {
		lender = parts[3]
	}
	if kind.known() && (lender == "" || ValidLender(lender)) && Topic(kind, log, lender) == topic {
		return kind, log, lender, nil
	}
	return "", LogID{}, "", canon.Malformed("topic", "%.80q: shard, kind or lender does not fit", topic)
}

func (k Kind) perLender() bool { return k == DeliveryTopic || k == ReceiptTopic || k == ReplayTopic }

func (k Kind) known() bool {
	return k == MetaTopic || k == HeadTopic || k == StateTopic || k.perLender()
}
