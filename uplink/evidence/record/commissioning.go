package record

import (
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Claim is what a box says of itself when it is enrolled (RECORDS.md). It is
// signed with the key it names.
type Claim struct {
	About  string             `cbor:"1,keyasint"` // "claim"
	Log    *evidence.LogID    `cbor:"2,keyasint,omitempty"`
	Key    evidence.KeyRecord `cbor:"3,keyasint"`
	Site   string             `cbor:"4,keyasint"` // the pseudonym used in the evidence
	Meters []ClaimedMeter     `cbor:"5,keyasint"`
	Issued int64              `cbor:"6,keyasint"` // Unix ms
	// Opened is the key that opened the log, as text, where that is another than
	// Key, after a rotation: lenders pin that one.
	Opened string `cbor:"7,keyasint,omitempty"`
}

// Pin is the key a lender pins, and people compare.
func (c *Claim) Pin() evidence.PublicKey {
	if k, err := evidence.ParsePublicKey(c.Opened); err == nil {
		return k
	}
	return c.Key.Key()
}

// ClaimedMeter is a meter as it was sealed.
type ClaimedMeter struct {
	_       struct{} `cbor:",toarray"`
	Name    string
	Profile string
	Serial  string // as the meter tells it, empty where it does not
	CT, PT  Decimal
	Seal    string // number on the seal, empty where there is none
}

// Acceptance is a lender's word that it has pinned the key of a claim.
type Acceptance struct {
	About    string             `cbor:"1,keyasint"` // "acceptance"
	Claim    evidence.Hash      `cbor:"2,keyasint"` // H of the lender's suite over the whole signed claim
	Lender   string             `cbor:"3,keyasint"` // its name as in the topics
	Key      evidence.KeyRecord `cbor:"4,keyasint"` // signs this acceptance, and will sign receipts
	Accepted int64              `cbor:"5,keyasint"` // Unix ms
}

// Commissioning is the content of a commissioning leaf: the two statements, each
// a whole COSE_Sign1.
type Commissioning struct {
	Claim      []byte `cbor:"1,keyasint"`
	Acceptance []byte `cbor:"2,keyasint"`
}

const (
	aboutClaim      = "claim"
	aboutAcceptance = "acceptance"
)

// SignClaim signs a claim with the box's key, which it puts into it.
func SignClaim(key evidence.Signer, c Claim) ([]byte, error) {
	c.About, c.Key = aboutClaim, key.Public()
	if err := c.validate(); err != nil {
		return nil, err
	}
	payload, err := canon.Marshal(c)
	if err != nil {
		return nil, err
	}
	return evidence.Sign1(key, payload)
}

// OpenClaim returns the claim in b when the key it names signed it. Whose key
// that is, is for people to find out: by its fingerprint.
func OpenClaim(b []byte) (c Claim, err error) {
	const where = "claim"
	e, err := evidence.ParseSign1(where, b)
	if err != nil {
		return c, err
	}
	if err := canon.Unmarshal(where, e.Payload, &c); err != nil {
		return c, err
	}
	if err := c.validate(); err != nil {
		return c, err
	}
	if err := e.VerifySignature(c.Key.Key()); err != nil {
		return c, err
	}
	return c, canon.Check(where, e.Payload, c)
}

func (c *Claim) validate() error {
	const where = "claim"
	if c.About != aboutClaim || c.Site == "" || !evidence.ValidText(c.Site) || !evidence.ValidTime(c.Issued) || len(c.Meters) > evidence.MaxMeters {
		return canon.Malformed(where, "about %.20q, site %.40q, issued %d, %d meters", c.About, c.Site, c.Issued, len(c.Meters))
	}
	if err := c.Key.Validate(); err != nil {
		return err
	}
	if c.Opened != "" {
		if k, err := evidence.ParsePublicKey(c.Opened); err != nil || k == c.Key.Key() {
			return canon.Malformed(where, "key that opened the log: %.60q", c.Opened)
		}
	}
	for _, m := range c.Meters {
		for _, s := range []string{m.Name, m.Profile, m.Serial, m.Seal} {
			if !evidence.ValidText(s) {
				return canon.Malformed(where, "a text longer than %d bytes of meter %.40q", evidence.MaxText, m.Name)
			}
		}
		if m.Name == "" || m.CT.Coef < 1 || m.PT.Coef < 1 {
			return canon.Malformed(where, "meter %.40q with ratios %d and %d", m.Name, m.CT.Coef, m.PT.Coef)
		}
	}
	return nil
}

// SignAcceptance signs, with the lender's key, that it has accepted a claim.
func SignAcceptance(key evidence.Signer, claim []byte, lender string, at int64) ([]byte, error) {
	if _, err := OpenClaim(claim); err != nil {
		return nil, err
	}
	a := Acceptance{About: aboutAcceptance, Lender: lender, Key: key.Public(), Accepted: at}
	a.Claim = a.Key.Key().Suite().Sum(claim)
	if err := a.validate(); err != nil {
		return nil, err
	}
	payload, err := canon.Marshal(a)
	if err != nil {
		return nil, err
	}
	return evidence.Sign1(key, payload)
}

// OpenAcceptance returns the acceptance of claim in b when the key it names
// signed it. Whose key that is, is for people to find out.
func OpenAcceptance(b, claim []byte) (a Acceptance, err error) {
	const where = "acceptance"
	e, err := evidence.ParseSign1(where, b)
	if err != nil {
		return a, err
	}
	if err := canon.Unmarshal(where, e.Payload, &a); err != nil {
		return a, err
	}
	if err := a.validate(); err != nil {
		return a, err
	}
	if err := e.VerifySignature(a.Key.Key()); err != nil {
		return a, err
	}
	if a.Claim != e.Suite().Sum(claim) {
		return a, canon.Malformed(where, "it is of another claim")
	}
	return a, canon.Check(where, e.Payload, a)
}

func (a *Acceptance) validate() error {
	const where = "acceptance"
	if a.About != aboutAcceptance || !evidence.ValidLender(a.Lender) || !evidence.ValidTime(a.Accepted) {
		return canon.Malformed(where, "about %.20q, lender %.40q, accepted at %d", a.About, a.Lender, a.Accepted)
	}
	return a.Key.Validate()
}

// Commissioning returns the content of a commissioning leaf. The statements in
// it are opened, their keys are for the reader to compare.
func (r *Record) Commissioning() (c Commissioning, err error) {
	if err := r.Decode(&c); err != nil {
		return c, err
	}
	return c, c.Validate()
}

// Validate opens both statements.
func (c *Commissioning) Validate() error {
	if _, err := OpenClaim(c.Claim); err != nil {
		return err
	}
	_, err := OpenAcceptance(c.Acceptance, c.Claim)
	return err
}
