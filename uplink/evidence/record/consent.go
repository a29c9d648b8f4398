package record

import (
	"crypto/sha256"
	"slices"
	"unicode/utf8"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Consent is the content of a consent leaf (RECORDS.md). The keys of the map are
// the numbers of the sixteen things a consent has to say. The leaf around it is
// the factory's signature.
type Consent struct {
	Header Header `cbor:"1,keyasint"`
	*Terms        // 2 to 15; nil exactly where the act is a withdrawal
	Signed Signed `cbor:"16,keyasint"`
}

// Header says which consent this is, and what the factory had before it.
type Header struct {
	_        struct{} `cbor:",toarray"`
	ID       [16]byte // the same in a grant and what changes or withdraws it
	Version  uint64   // from 1, one more each time
	Act      Act
	Language string        // of the notice, "zh-CN" or "en"
	Notice   evidence.Hash // SHA-256 of the notice's text as shown
}

// Act is what a consent leaf does.
type Act uint

const (
	Grant    Act = 1
	Change   Act = 2 // its terms take the place of those before
	Withdraw Act = 3
)

// Terms are what is consented to.
type Terms struct {
	Factory      Factory           `cbor:"2,keyasint"`
	Signatory    Signatory         `cbor:"3,keyasint"`
	Recipient    Recipient         `cbor:"4,keyasint"`
	Purpose      Purpose           `cbor:"5,keyasint"`
	Scope        Scope             `cbor:"6,keyasint"`
	Method       DeliveryMethod    `cbor:"7,keyasint"`
	Retention    Retention         `cbor:"8,keyasint"`
	Onward       []string          `cbor:"9,keyasint"` // whom the recipient may pass the data on to; none
	Storage      Storage           `cbor:"10,keyasint"`
	Automated    Automated         `cbor:"11,keyasint"`
	Consequences Consequences      `cbor:"12,keyasint"`
	Term         Term              `cbor:"13,keyasint"`
	Rights       []Right           `cbor:"14,keyasint"` // ascending
	Separate     []SeparateConsent `cbor:"15,keyasint"` // ascending by kind
}

// Factory is who consents. Legal name and credit code stay with factory
// and lender.
type Factory struct {
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

// Signatory is who signs for the factory.
type Signatory struct {
	_        struct{} `cbor:",toarray"`
	Name     string
	Capacity string // in what capacity
}

// Recipient is the lender as a legal person.
type Recipient struct {
	_       struct{} `cbor:",toarray"`
	Name    string   // legal name
	Contact string
	Licence string // kind of licence
}

// Purpose is what the data are for.
type Purpose struct {
	_     struct{}      `cbor:",toarray"`
	Kinds []PurposeKind // ascending, at least one
	Loan  evidence.Hash // SHA-256 of the loan's reference; zeros for none
}

// PurposeKind is one of a closed list.
type PurposeKind uint

const (
	Application   PurposeKind = 1 // 申请评估
	Monitoring    PurposeKind = 2 // 贷后监测
	StagedRelease PurposeKind = 3 // 分阶段放款
)

// Scope is what is sent.
type Scope struct {
	_          struct{}           `cbor:",toarray"`
	Channels   []evidence.Channel // ascending, at least one
	Resolution uint64             // the finest, ms between two readings
	History    uint64             // how far before the begin of the term data may be from, ms
}

// DeliveryMethod is how the data reach the recipient.
type DeliveryMethod uint

// Direct is encrypted delivery from the box to the recipient, nobody in between.
const Direct DeliveryMethod = 1

// Retention is how long the recipient keeps the data.
type Retention struct {
	_       struct{} `cbor:",toarray"`
	Days    uint64   // after the end of the term
	Erasure string   // what happens then
}

// Storage is where the recipient keeps the data.
type Storage struct {
	_      struct{} `cbor:",toarray"`
	Place  string
	Export bool // they leave the country
}

// Automated says whether programs decide.
type Automated struct {
	_      struct{} `cbor:",toarray"`
	Used   bool
	Review bool // a person looks at the result on request
	How    string
}

// Consequences are told in plain words.
type Consequences struct {
	_          struct{} `cbor:",toarray"`
	Refusal    string
	Withdrawal string
}

// Term is when the consent holds.
type Term struct {
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

// Signed is when the factory acted, and the recipient's signature.
type Signed struct {
	_       struct{} `cbor:",toarray"`
	At      int64    // Unix ms
	Counter []byte   // the recipient's countersignature, empty for none
}

// maxText bounds a text in a consent or a declaration, in bytes.
const maxText = 4096

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
	h := &c.Header
	switch {
	case h.Version == 0 || h.Act < Grant || h.Act > Withdraw:
		return canon.Malformed(where, "version %d, act %d", h.Version, h.Act)
	case h.Language != "zh-CN" && h.Language != "en":
		return canon.Malformed(where, "notice in language %.20q, want zh-CN or en", h.Language)
	case !evidence.ValidTime(c.Signed.At) || len(c.Signed.Counter) > maxText:
		return canon.Malformed(where, "made at %d, countersignature of %d bytes", c.Signed.At, len(c.Signed.Counter))
	case (h.Act == Withdraw) != (c.Terms == nil):
		return canon.Malformed(where, "a withdrawal has no terms, every other act has them")
	case c.Terms == nil && len(c.Signed.Counter) > 0:
		return canon.Malformed(where, "a withdrawal needs nobody's countersignature")
	case c.Terms == nil:
		return nil
	}
	return c.Terms.Validate()
}

// Validate reports what terms must not say.
func (t *Terms) Validate() error {
	const where = "consent"
	texts := append([]string{t.Factory.Pseudonym, t.Signatory.Name, t.Signatory.Capacity, t.Recipient.Name, t.Recipient.Contact, t.Recipient.Licence,
		t.Retention.Erasure, t.Storage.Place, t.Automated.How, t.Consequences.Refusal, t.Consequences.Withdrawal, t.Term.Withdraw}, t.Onward...)
	for _, s := range texts {
		if !validText(s) {
			return canon.Malformed(where, "a text that is not UTF-8 of at most %d bytes", maxText)
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
	case !listed(t.Purpose.Kinds, Application, StagedRelease) || len(t.Purpose.Kinds) == 0:
		return canon.Malformed(where, "purposes %v, want some of 1 to 3, ascending", t.Purpose.Kinds)
	case !listed(t.Scope.Channels, evidence.Energy, evidence.DailyTotals) || len(t.Scope.Channels) == 0 || slices.Contains(t.Scope.Channels, evidence.Records):
		return canon.Malformed(where, "channels %v, want some of 1 to 10 and 12, ascending", t.Scope.Channels)
	case !evidence.ValidTime(int64(min(t.Scope.Resolution, 1<<62))) || !evidence.ValidTime(int64(min(t.Scope.History, 1<<62))):
		return canon.Malformed(where, "resolution %d ms, history %d ms", t.Scope.Resolution, t.Scope.History)
	case t.Method != Direct:
		return canon.Malformed(where, "delivery method %d, want 1", t.Method)
	case t.Retention.Days > 100*366:
		return canon.Malformed(where, "kept for %d days", t.Retention.Days)
	case len(t.Onward) > 64:
		return canon.Malformed(where, "passed on to %d", len(t.Onward))
	case !evidence.ValidTime(t.Term.From) || !evidence.ValidTime(t.Term.Until) || t.Term.Until <= t.Term.From:
		return canon.Malformed(where, "from %d until %d", t.Term.From, t.Term.Until)
	case !listed(t.Rights, RightCopy, RightDispute):
		return canon.Malformed(where, "rights %v, want some of 1 to 3, ascending", t.Rights)
	}
	return t.validateSeparate()
}

// validateSeparate holds the rule that each of these has an act of its own, and
// that there is none for what the terms do not say.
func (t *Terms) validateSeparate() error {
	var given []SeparateKind
	for _, s := range t.Separate {
		if !evidence.ValidTime(s.At) {
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
func (t *Terms) Needs() []SeparateKind {
	need := []SeparateKind{ProvideToRecipient}
	if slices.Contains(t.Scope.Channels, evidence.RawFrames) {
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
func (t *Terms) Encode() ([]byte, error) {
	if err := t.Validate(); err != nil {
		return nil, err
	}
	return canon.Marshal(t)
}

// DecodeTerms reads what Encode wrote.
func DecodeTerms(b []byte) (t Terms, err error) {
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
	About  string        `cbor:"1,keyasint"`
	Digest evidence.Hash `cbor:"2,keyasint"`
}

const aboutConsent = "consent"

// Countersign signs terms with the recipient's key.
func Countersign(key evidence.Signer, t *Terms) ([]byte, error) {
	b, err := t.Encode()
	if err != nil {
		return nil, err
	}
	public := key.Public()
	payload, err := canon.Marshal(wireStatement{aboutConsent, public.Key().Suite().Sum(b)})
	if err != nil {
		return nil, err
	}
	return evidence.Sign1(key, payload)
}

// VerifyCountersignature returns nil when pub countersigned the terms.
func VerifyCountersignature(pub evidence.PublicKey, t *Terms, sign1 []byte) error {
	const where = "countersignature"
	terms, err := t.Encode()
	if err != nil {
		return err
	}
	e, err := evidence.ParseSign1(where, sign1)
	if err != nil {
		return err
	}
	if err := e.VerifySignature(pub); err != nil {
		return err
	}
	want, err := canon.Marshal(wireStatement{aboutConsent, e.Suite().Sum(terms)})
	if err == nil && string(want) != string(e.Payload) {
		err = canon.Malformed(where, "it is of other terms")
	}
	return err
}

// NoticeHash is how a record names the text that was shown.
func NoticeHash(text string) evidence.Hash { return sha256.Sum256([]byte(text)) }

// validText reports whether s may stand in a record.
func validText(s string) bool { return len(s) <= maxText && utf8.ValidString(s) }

// listed reports whether vs is strictly ascending and within lo to hi.
func listed[T ~uint | ~uint16](vs []T, lo, hi T) bool {
	for i, v := range vs {
		if v < lo || v > hi || i > 0 && v <= vs[i-1] {
			return false
		}
	}
	return true
}
