package evidencetest

import (
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// Consent is a grant that holds in the year after Start.
func Consent() record.Consent {
	return record.Consent{
		Header: record.Header{ID: [16]byte{1, 2, 3}, Version: 1, Act: record.Grant, Language: "zh-CN", Notice: record.NoticeHash("notice")},
		Terms: &record.Terms{
			Factory:      record.Factory{Kind: record.Company, Pseudonym: "demo-plant"},
			Signatory:    record.Signatory{Name: "signatory", Capacity: "legal representative"},
			Recipient:    record.Recipient{Name: "Bank A", Contact: "privacy@bank-a.example", Licence: "commercial bank"},
			Purpose:      record.Purpose{Kinds: []record.PurposeKind{record.Monitoring}, Loan: record.NoticeHash("loan")},
			Scope:        record.Scope{Channels: []evidence.Channel{evidence.Energy, evidence.Power}, Resolution: 10_000, History: 86_400_000},
			Method:       record.Direct,
			Retention:    record.Retention{Days: 365, Erasure: "erased"},
			Onward:       []string{},
			Storage:      record.Storage{Place: "CN"},
			Automated:    record.Automated{Review: true, How: "on request"},
			Consequences: record.Consequences{Refusal: "none for the agent", Withdrawal: "nothing more is sent"},
			Term:         record.Term{From: Start, Until: Start + 365*86_400_000, Withdraw: "tallystick consent withdraw"},
			Rights:       []record.Right{record.RightCopy, record.RightCorrection, record.RightDispute},
			Separate:     []record.SeparateConsent{{What: record.ProvideToRecipient, At: Start}},
		},
		Signed: record.Signed{At: Start, Counter: []byte{}},
	}
}
