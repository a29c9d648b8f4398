package evidence

import (
	"crypto/sha256"
	"slices"
	"unicode/utf8"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Consent is the content of a consent leaf (RECORDS.md). The keys of the map are
// the numbers of the sixteen things a consent has to say. The leaf around it is
// the factory's signature.
type Consent struct {
	Record        ConsentRecord `cbor:"1,keyasint"`
	*ConsentTerms               // 2 to 15; nil exactly where the act is a withdrawal
	Signed        ConsentSigned `cbor:"16,keyasint"`
}

// ConsentRecord says which record this is, and what the factory had before it.
type ConsentRecord struct {
	_        struct{} `cbor:",toarray"`
	ID       [16]byte // the same in a grant and what changes or withdraws it
	Version  uint64   // from 1, one more each time
	Act      ConsentAct
	Language string // of the notice, "zh-CN" or "en"
	Notice   Hash   // SHA-256 of the notice's text as shown
}

// ConsentAct is what a consent leaf does.
type ConsentAct uint

const (
	GrantConsent    ConsentAct = 1
	ChangeConsent   ConsentAct = 2 // its terms take the place of those before
	WithdrawConsent ConsentAct = 3
)

// ConsentTerms are what is consented to.
type ConsentTerms struct {
	Factory      ConsentFactory      `cbor:"2,keyasint"`
	Signatory    ConsentSignatory    `cbor:"3,keyasint"`
	Recipient    ConsentRecipient    `cbor:"4,keyasint"`
	Purpose      ConsentPurpose      `cbor:"5,keyasint"`
	Scope        ConsentScope        `cbor:"6,keyasint"`
	Method       DeliveryMethod      `cbor:"7,keyasint"`
	Retention    ConsentRetention    `cbor:"8,keyasint"`
	Onward       []string            `cbor:"9,keyasint"` // whom the recipient may pass the data on to; none
	Storage      ConsentStorage      `cbor:"10,keyasint"`
	Automated    ConsentAutomated    `cbor:"11,keyasint"`
	Consequences ConsentConsequences `cbor:"12,keyasint"`
	Term         ConsentTerm         `cbor:"13,keyasint"`
	Rights       []Right             `cbor:"14,keyasint"` // ascending
	Separate     []SeparateConsent   `cbor:"15,keyasint"` // ascending by kind
}

// ConsentFactory is who consents. Legal name and credit code stay with factory
// and lender.
type ConsentFactory struct {
	_         struct{} `cbor:",toarray"`
	Kind      FactoryKind
	Pseudonym string // the site's name as used in the evidence
}

// FactoryKind is what the factory is in law.
type FactoryKind uint

const (
	Company       FactoryKind = 1
	SoleTrader    FactoryKind = 2 // 个体工商户
	NaturalPerson FactoryKind = 3
)

// Personal reports whether the data are those of a person: working hours are
// private life.
func (k FactoryKind) Personal() bool { return k == SoleTrader || k == NaturalPerson }

// ConsentSignatory is who signs for the factory.
type ConsentSignatory struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Capacity string // in what capacity
}

// ConsentRecipient is the lender as a legal person.
type ConsentRecipient struct {
	_       struct{} `cbor:",toarray"`
	Name    string   // legal name
	Contact string
	Licence string // kind of licence
}

// ConsentPurpose is what the data are for.
type ConsentPurpose struct {
	_        struct{}  `cbor:",toarray"`
	Purposes []Purpose // ascending, at least one
	Loan     Hash      // SHA-256 of the loan's reference; zeros for none
}

// Purpose is one of a closed list.
type Purpose uint

const (
	Application   Purpose = 1 // 申请评估
	Monitoring    Purpose = 2 // 贷后监测
	StagedRelease Purpose = 3 // 分阶段放款
)

// ConsentScope is what is sent.
type ConsentScope struct {
	_          struct{}  `cbor:",toarray"`
	Channels   []Channel // ascending, at least one
	Resolution uint64    // the finest, ms between two readings
	History    uint64    // how far before the begin of the term data may be from, ms
}

// DeliveryMethod is how the data reach the recipient.
type DeliveryMethod uint

// Direct is encrypted delivery from the box to the recipient, nobody in between.
const Direct DeliveryMethod = 1

// ConsentRetention is how long the recipient keeps the data.
type ConsentRetention struct {
	_       struct{} `cbor:",toarray"`
	Days    uint64   // after the end of the term
	Erasure string   // what happens then
}

// ConsentStorage is where the recipient keeps the data.
type ConsentStorage struct {
	_      struct{} `cbor:",toarray"`
	Place  string
	Export bool // they leave the country
}

// ConsentAutomated says whether programs decide.
type ConsentAutomated struct {
	_      struct{} `cbor:",toarray"`
	Used   bool
	Review bool // a person looks at the result on request
	How    string
}

// ConsentConsequences are told in plain words.
type ConsentConsequences struct {
	_          struct{} `cbor:",toarray"`
	Refusal    string
	Withdrawal string
}

// ConsentTerm is when the consent holds.
type ConsentTerm struct {
	_        struct{} `cbor:",toarray"`
	From     int64    // Unix ms
	Until    int64    // Unix ms; nothing is sent from then on
	Withdraw string   // how to withdraw
}

// Right is what the factory may ask of the recipient.
type Right uint

const (
	RightCopy       Right = 1
	RightCorrection Right = 2
	RightDispute    Right = 3
)

// SeparateConsent is an act of its own, never given together with another.
type SeparateConsent struct {
	_    struct{} `cbor:",toarray"`
	What SeparateKind
	At   int64 // when it was given, Unix ms
}

// SeparateKind is what needs an act of its own.
type SeparateKind uint

const (
	ProvideToRecipient SeparateKind = 1 // always
	ProvideRawFrames   SeparateKind = 2 // with channel 10
	ProvideOnward      SeparateKind = 3 // where somebody is named in 9
	ExportAbroad       SeparateKind = 4 // where 10 says so
	DecideByProgram    SeparateKind = 5 // where 11 says so
)

// ConsentSigned is when the factory acted, and the recipient's signature.
type ConsentSigned struct {
	_       struct{} `cbor:",toarray"`
	At      int64    // Unix ms
	Counter []byte   // the recipient's countersignature, empty for none
}

// MaxRecordText bounds a text in a record, in bytes.
const MaxRecordText = 4096

// Consent returns the content of a consent leaf.
func (r *Record) Consent() (c Consent, err error) {
	if err := r.Decode(&c); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// Validate reports what a consent must not say.
func (c *Consent) Validate() error {
	const where = "consent"
	r := &c.Record
	switch {
	case r.Version == 0 || r.Act < GrantConsent || r.Act > WithdrawConsent:
		return canon.Malformed(where, "version %d, act %d", r.Version, r.Act)
	case r.Language != "zh-CN" && r.Language != "en":
		return canon.Malformed(where, "notice in language %.20q, want zh-CN or en", r.Language)
	case !instant(c.Signed.At) || len(c.Signed.Counter) > MaxRecordText:
		return canon.Malformed(where, "made at %d, countersignature of %d bytes", c.Signed.At, len(c.Signed.Counter))
	case (r.Act == WithdrawConsent) != (c.ConsentTerms == nil):
		return canon.Malformed(where, "a withdrawal has no terms, every other act has them")
	case c.ConsentTerms == nil && len(c.Signed.Counter) > 0:
		return canon.Malformed(where, "a withdrawal needs nobody's countersignature")
	case c.ConsentTerms == nil:
		return nil
	}
	return c.ConsentTerms.Validate()
}

// Validate reports what terms must not say.
func (t *ConsentTerms) Validate() error {
	const where = "consent"
	texts := append([]string{t.Factory.Pseudonym, t.Signatory.Name, t.Signatory.Capacity, t.Recipient.Name, t.Recipient.Contact, t.Recipient.Licence,
		t.Retention.Erasure, t.Storage.Place, t.Automated.How, t.Consequences.Refusal, t.Consequences.Withdrawal, t.Term.Withdraw}, t.Onward...)
	for _, s := range texts {
		if !recordText(s) {
			return canon.Malformed(where, "a text that is not UTF-8 of at most %d bytes", MaxRecordText)
		}
	}
	for _, s := range append([]string{t.Factory.Pseudonym, t.Signatory.Name, t.Signatory.Capacity, t.Recipient.Name, t.Term.Withdraw}, t.Onward...) {
		if s == "" {
			return canon.Malformed(where, "factory, signatory, recipient, others named, or how to withdraw: a text is missing")
		}
	}
	switch {
	case t.Factory.Kind < Company || t.Factory.Kind > NaturalPerson:
		return canon.Malformed(where, "factory of kind %d", t.Factory.Kind)
	case !listed(t.Purpose.Purposes, Application, StagedRelease) || len(t.Purpose.Purposes) == 0:
		return canon.Malformed(where, "purposes %v, want some of 1 to 3, ascending", t.Purpose.Purposes)
	case !listed(t.Scope.Channels, Energy, DailyTotals) || len(t.Scope.Channels) == 0 || slices.Contains(t.Scope.Channels, Records):
		return canon.Malformed(where, "channels %v, want some of 1 to 10 and 12, ascending", t.Scope.Channels)
	case !instant(int64(min(t.Scope.Resolution, 1<<62))) || !instant(int64(min(t.Scope.History, 1<<62))):
		return canon.Malformed(where, "resolution %d ms, history %d ms", t.Scope.Resolution, t.Scope.History)
	case t.Method != Direct:
		return canon.Malformed(where, "delivery method %d, want 1", t.Method)
	case t.Retention.Days > 100*366:
		return canon.Malformed(where, "kept for %d days", t.Retention.Days)
	case len(t.Onward) > 64:
		return canon.Malformed(where, "passed on to %d", len(t.Onward))
	case !instant(t.Term.From) || !instant(t.Term.Until) || t.Term.Until <= t.Term.From:
		return canon.Malformed(where, "from %d until %d", t.Term.From, t.Term.Until)
	case !listed(t.Rights, RightCopy, RightDispute):
		return canon.Malformed(where, "rights %v, want some of 1 to 3, ascending", t.Rights)
	}
	return t.validateSeparate()
}

// validateSeparate holds the rule that each of these has an act of its own, and
// that there is none for what the terms do not say.
func (t *ConsentTerms) validateSeparate() error {
	var given []SeparateKind
	for _, s := range t.Separate {
		if !instant(s.At) {
			return canon.Malformed("consent", "separate consent %d given at %d", s.What, s.At)
		}
		given = append(given, s.What)
	}
	if want := t.Needs(); !slices.Equal(given, want) {
		return canon.Malformed("consent", "separate consents %v, the terms need %v", given, want)
	}
	return nil
}

// Needs are the separate consents without which the terms must not be, ascending.
func (t *ConsentTerms) Needs() []SeparateKind {
	need := []SeparateKind{ProvideToRecipient}
	if slices.Contains(t.Scope.Channels, RawFrames) {
		need = append(need, ProvideRawFrames)
	}
	if len(t.Onward) > 0 {
		need = append(need, ProvideOnward)
	}
	if t.Storage.Export {
		need = append(need, ExportAbroad)
	}
	if t.Automated.Used {
		need = append(need, DecideByProgram)
	}
	return need
}

// Encode is what a recipient countersigns: the map of keys 2 to 15.
func (t *ConsentTerms) Encode() ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return canon.Marshal(t)
}

// DecodeConsentTerms reads what Encode wrote.
func DecodeConsentTerms(b []byte) (t ConsentTerms, err error) {
	const where = "consent terms"
	if err := canon.Unmarshal(where, b, &t); err != nil {
		return t, err
	}
	if err := t.Validate(); err != nil {
		return t, err
	}
	return t, canon.Check(where, b, &t)
}

// wireStatement is a payload that says of what it is a statement, so that it
// cannot be taken for a leaf or a receipt.
type wireStatement struct {
	About  string `cbor:"1,keyasint"`
	Digest Hash   `cbor:"2,keyasint"`
}

const aboutConsent = "consent"

// Countersign signs terms with the recipient's key.
func Countersign(key Signer, t *ConsentTerms) ([]byte, error) {
	b, err := t.Encode()
	if err != nil {
		return nil, err
	}
	public := key.Public()
	payload, err := canon.Marshal(wireStatement{aboutConsent, public.Key().Suite().Sum(b)})
	if err != nil {
		return nil, err
	}
	return Sign1(key, payload)
}

// VerifyCountersignature returns nil when pub countersigned the terms.
func VerifyCountersignature(pub PublicKey, t *ConsentTerms, sign1 []byte) error {
	const where = "countersignature"
	terms, err := t.Encode()
	if err != nil {
		return err
	}
	e, err := parseEnvelope(where, sign1)
	if err != nil {
		return err
	}
	if err := e.verify(pub); err != nil {
		return err
	}
	want, err := canon.Marshal(wireStatement{aboutConsent, e.suite().Sum(terms)})
	if err == nil && string(want) != string(e.payload) {
		err = canon.Malformed(where, "it is of other terms")
	}
	return err
}

// NoticeHash is how a record names the text that was shown.
func NoticeHash(text string) Hash { return sha256.Sum256([]byte(text)) }

// recordText reports whether s may stand in a record.
func recordText(s string) bool { return len(s) <= MaxRecordText && utf8.ValidString(s) }

// listed reports whether vs is strictly ascending and within lo to hi.
func listed[T ~uint | ~uint16](vs []T, lo, hi T) bool {
	for i, v := range vs {
		if v < lo || v > hi || i > 0 && v <= vs[i-1] {
			return false
		}
	}
	return true
}
