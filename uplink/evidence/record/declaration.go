package record

import (
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Declaration is the content of a declaration leaf (RECORDS.md): what the factory
// says before the fact. It counts only from its own leaf index on.
type Declaration struct {
	ID   [16]byte        `cbor:"1,keyasint"`
	Kind DeclarationKind `cbor:"2,keyasint"`
	Made int64           `cbor:"3,keyasint"` // Unix ms
	From int64           `cbor:"4,keyasint"` // Unix ms
	To   int64           `cbor:"5,keyasint"` // Unix ms, not before From; the same for what lasts
	Text string          `cbor:"6,keyasint"` // the reason, in the factory's words

	// Of a CT or meter exchange.
	Meter string   `cbor:"7,keyasint,omitempty"` // its name in the dictionary
	Old   *Decimal `cbor:"8,keyasint,omitempty"` // last reading before, as displayed
	New   *Decimal `cbor:"9,keyasint,omitempty"` // first reading after
}

// DeclarationKind is one of a closed list.
type DeclarationKind uint

const (
	PlannedClosure   DeclarationKind = 1
	PowerRationing   DeclarationKind = 2 // 有序用电
	CTExchange       DeclarationKind = 3
	MeterExchange    DeclarationKind = 4
	NewLoad          DeclarationKind = 5 // photovoltaics, or a new large load
	ProductionPlan   DeclarationKind = 6
	DeclaredReason   DeclarationKind = 7 // explanation of a signal
	lastDeclaration                  = DeclaredReason
	firstDeclaration                 = PlannedClosure
)

// Exchange reports whether a meter and readings belong to the kind.
func (k DeclarationKind) Exchange() bool { return k == CTExchange || k == MeterExchange }

// Decimal is the exact number Coef x 10^Exp.
type Decimal struct {
	_    struct{} `cbor:",toarray"`
	Coef int64
	Exp  int8
}

// Declaration returns the content of a declaration leaf.
func (r *Record) Declaration() (d Declaration, err error) {
	if err := r.Decode(&d); err != nil {
		return d, err
	}
	return d, d.Validate()
}

// Validate reports what a declaration must not say.
func (d *Declaration) Validate() error {
	const where = "declaration"
	readings := d.Old != nil && d.New != nil
	switch {
	case d.Kind < firstDeclaration || d.Kind > lastDeclaration:
		return canon.Malformed(where, "kind %d, want 1 to 7", d.Kind)
	case !evidence.ValidTime(d.Made) || !evidence.ValidTime(d.From) || !evidence.ValidTime(d.To) || d.To < d.From:
		return canon.Malformed(where, "made at %d, from %d to %d", d.Made, d.From, d.To)
	case d.Text == "" || !validText(d.Text) || !evidence.ValidText(d.Meter):
		return canon.Malformed(where, "a text of %d bytes, want 1 to %d, or a meter's name of %d", len(d.Text), maxText, len(d.Meter))
	case d.Kind.Exchange() != (d.Meter != "") || d.Kind.Exchange() != readings || !readings && (d.Old != nil || d.New != nil):
		return canon.Malformed(where, "an exchange names its meter and both readings, and nothing else does")
	}
	return nil
}
