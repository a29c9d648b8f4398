package evidencetest

import "github.com/tallystick/tallystick/uplink/evidence"

// Consent is a grant that holds in the year after Start.
func Consent() evidence.Consent {
	return evidence.Consent{
		Record: evidence.ConsentRecord{ID: [16]byte{1, 2, 3}, Version: 1, Act: evidence.GrantConsent, Language: "zh-CN", Notice: evidence.NoticeHash("notice")},
		ConsentTerms: &evidence.ConsentTerms{
			Factory:      evidence.ConsentFactory{Kind: evidence.Company, Pseudonym: "demo-plant"},
			Signatory:    evidence.ConsentSignatory{Name: "signatory", Capacity: "legal representative"},
			Recipient:    evidence.ConsentRecipient{Name: "Bank A", Contact: "privacy@bank-a.example", Licence: "commercial bank"},
			Purpose:      evidence.ConsentPurpose{Purposes: []evidence.Purpose{evidence.Monitoring}, Loan: evidence.NoticeHash("loan")},
			Scope:        evidence.ConsentScope{Channels: []evidence.Channel{evidence.Energy, evidence.Power}, Resolution: 10_000, History: 86_400_000},
			Method:       evidence.Direct,
			Retention:    evidence.ConsentRetention{Days: 365, Erasure: "erased"},
			Onward:       []string{},
			Storage:      evidence.ConsentStorage{Place: "CN"},
			Automated:    evidence.ConsentAutomated{Review: true, How: "on request"},
			Consequences: evidence.ConsentConsequences{Refusal: "none for the agent", Withdrawal: "nothing more is sent"},
			Term:         evidence.ConsentTerm{From: Start, Until: Start + 365*86_400_000, Withdraw: "tallystick consent withdraw"},
			Rights:       []evidence.Right{evidence.RightCopy, evidence.RightCorrection, evidence.RightDispute},
			Separate:     []evidence.SeparateConsent{{What: evidence.ProvideToRecipient, At: Start}},
		},
		Signed: evidence.ConsentSigned{At: Start, Counter: []byte{}},
	}
}
