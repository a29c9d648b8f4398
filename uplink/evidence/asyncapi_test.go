package evidence_test

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// TestAsyncAPI holds docs/asyncapi.yaml to the code: addresses, rules of the
// CDDL, examples. CI has the AsyncAPI project's own parser check the rest.
func TestAsyncAPI(t *testing.T) {
	text, err := os.ReadFile("../../docs/asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Channels   map[string]struct{ Address string }
		Components struct {
			Messages map[string]struct {
				Payload struct {
					Ref string `yaml:"$ref"`
				}
				Examples []struct{ Payload string }
			}
			Schemas map[string]struct {
				MaxLength int                                  `yaml:"maxLength"`
				CDDL      struct{ File, Rule, Payload string } `yaml:"x-cddl"`
			}
		}
	}
	if err := yaml.Unmarshal(text, &doc); err != nil {
		t.Fatal(err)
	}

	log := evidence.LogID{0x89}
	fill := strings.NewReplacer("{s}", "89", "{log}", log.String(), "{lender}", "bank-a")
	kinds := map[string]evidence.Kind{"meta": evidence.MetaTopic, "head": evidence.HeadTopic, "state": evidence.StateTopic,
		"deliveries": evidence.DeliveryTopic, "answers": evidence.ReplayTopic, "requests": evidence.ReceiptTopic}
	for name, kind := range kinds {
		if got, want := fill.Replace(doc.Channels[name].Address), evidence.Topic(kind, log, "bank-a"); got != want {
			t.Errorf("channel %s is at %q, want %q", name, got, want)
		}
	}
	if len(doc.Channels) != len(kinds) {
		t.Errorf("%d channels, want %d", len(doc.Channels), len(kinds))
	}

	g := readCDDL(t)
	for name, s := range doc.Components.Schemas {
		for _, rule := range []string{s.CDDL.Rule, s.CDDL.Payload} {
			if _, ok := g[rule]; rule != "" && !ok {
				t.Errorf("schema %s names rule %s, which evidence.cddl does not have", name, rule)
			}
		}
	}
	if got := doc.Components.Schemas["delivery"].MaxLength; got != evidence.MaxDelivery {
		t.Errorf("deliveries of at most %d bytes, want %d", got, evidence.MaxDelivery)
	}
	for message, want := range map[string][]byte{
		"delivery": readVectorFile(t, exampleVector).messages[3],
		"receipt":  readVectorFile(t, "testdata/vectors/receipt.txt").messages[0],
	} {
		m := doc.Components.Messages[message]
		if len(m.Examples) != 1 || m.Examples[0].Payload != hex.EncodeToString(want) {
			t.Errorf("the example of message %s is not that of the vector", message)
		}
		rule := doc.Components.Schemas[strings.TrimPrefix(m.Payload.Ref, "#/components/schemas/")].CDDL.Rule
		if err := g.check(rule, want); err != nil {
			t.Errorf("the example of message %s: %v", message, err)
		}
	}
}
