// Package evidence is the signed format: leaves, blocks, deliveries, and what
// lenders say to boxes. SPEC.md beside this file is normative; testdata holds
// vectors a stranger can run. Package seal writes a log of it, record is what
// records say, bundle a log in a file, canon how all of it is written as bytes.
//
// Names carry the trust: everything called Unverified has been parsed and
// nothing more. Package verify is the only place where it becomes a verdict.
//
// Every decoder is total: on any input it returns a value or a
// *canon.FormatError (or an error wrapping ErrVersion), in memory bounded by the
// limits below.
// What decodes re-encodes to the same bytes.
package evidence

import (
	"encoding/hex"
	"errors"
	"strconv"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Version is written into the genesis leaf by this package. Readers refuse any
// other with an error wrapping ErrVersion.
const Version = 1

// Limits every reader enforces and the writer keeps (SPEC.md "Limits").
const (
	MaxDelivery = 4 << 20   // bytes of one delivery
	MaxPayload  = 256 << 10 // bytes of one leaf payload
	MaxMeters   = 1024      // meters in a dictionary
	MaxColumns  = 256       // columns of one meter in one channel
	MaxSlots    = 3600      // slots of one meter in one window
	MaxCells    = 1 << 18   // slots x columns, summed over the meters of one block
	MaxText     = 256       // bytes of any text
	MaxRanges   = 1024      // ranges in one loss leaf
	MaxEvents   = 256       // happenings in one events leaf
	MaxBeacon   = 64        // nonces answered in one window
	MaxNote     = 4 << 10   // bytes of a cosigned checkpoint
	MaxQuote    = 1 << 10   // bytes of a TPM's attestation, and of its signature
	MaxRecord   = 64 << 10  // bytes of the body of one record
)

// ErrVersion is wrapped by errors about a version, suite or leaf type this
// package does not know. The bytes may be perfectly good.
var ErrVersion = errors.New("written by a newer Tallystick")

// LogID names one log: the first 16 bytes of the suite's hash of the genesis
// payload.
type LogID [16]byte

// String is the form used in topics and messages: 32 lower-case hex digits.
func (id LogID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText makes a LogID a JSON string.
func (id LogID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// ParseLogID reads 32 lower-case hex digits.
func ParseLogID(s string) (LogID, error) {
	var id LogID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return LogID{}, canon.Malformed("log id", "%.40q is not 32 lower-case hex digits", s)
	}
	copy(id[:], b)
	return id, nil
}

func (s Suite) logID(genesisPayload []byte) LogID {
	h := s.Sum(genesisPayload)
	return LogID(h[:16])
}

// Hash is a value of the log's hash: SHA-256, or SM3 in suite 3.
type Hash [32]byte

// String is 64 lower-case hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// MarshalText makes a Hash a JSON string.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// LeafType says what a leaf records. Numbers never change meaning.
type LeafType uint8

const (
	GenesisLeaf       LeafType = 0
	WindowLeaf        LeafType = 1
	BootLeaf          LeafType = 2
	ShutdownLeaf      LeafType = 3
	ConfigLeaf        LeafType = 4
	LossLeaf          LeafType = 5
	ClockStepLeaf     LeafType = 6
	RotationLeaf      LeafType = 7
	ConsentLeaf       LeafType = 8  // a record: grant, change or withdrawal
	DeclarationLeaf   LeafType = 9  // a record: what the factory announces
	ReceiptLeaf       LeafType = 10 // a record: a lender's receipt
	EventsLeaf        LeafType = 11
	WitnessedLeaf     LeafType = 12
	CommissioningLeaf LeafType = 13 // a record: claim and acceptance
	AnswerLeaf        LeafType = 14 // a record: registers a lender asked for
	CounterLeaf       LeafType = 15

	lastLeafType = CounterLeaf
)

// known reports whether this package can read a leaf of type t.
func (t LeafType) known() bool { return t <= lastLeafType }

// Record reports whether leaves of type t hold nothing but the digest of a
// record (SPEC.md section 4.3), which travels as a block of channel Records to
// those it concerns.
func (t LeafType) Record() bool {
	return t >= ConsentLeaf && t <= ReceiptLeaf || t == CommissioningLeaf || t == AnswerLeaf
}

// String is the word shown to people.
func (t LeafType) String() string {
	names := [...]string{"genesis", "window", "boot", "shutdown", "config", "loss", "clock step", "key rotation",
		"consent", "declaration", "receipt", "events", "witnessed", "commissioning", "answer", "counter"}
	if t.known() {
		return names[t]
	}
	return "leaf type " + strconv.Itoa(int(t))
}

// Channel is the unit of consent.
type Channel uint16

const (
	Energy         Channel = 1
	Power          Channel = 2
	VoltageCurrent Channel = 3
	Reactive       Channel = 4 // and power factor
	Frequency      Channel = 5
	Timing         Channel = 6 // when each slot was polled
	Aggregates     Channel = 7 // of quarters of an hour, SPEC.md section 6.1
	Status         Channel = 8 // equipment
	WaterGas       Channel = 9
	RawFrames      Channel = 10
	Records        Channel = 11 // consents, declarations, receipts, ...: each for those it concerns
	DailyTotals    Channel = 12 // SPEC.md section 6.1
)

// String is the word shown to people.
func (c Channel) String() string {
	names := [...]string{1: "energy", "power", "voltage/current", "reactive/power factor", "frequency",
		"timing", "aggregates", "equipment status", "water/gas", "raw frames", "records", "daily totals"}
	if int(c) < len(names) && c > 0 {
		return names[c]
	}
	return "channel " + strconv.Itoa(int(c))
}

// Measured reports whether a channel's values are readings of a meter, as
// opposed to something said about them or computed from them.
func (c Channel) Measured() bool {
	return c >= Energy && c <= Frequency || c == Status || c == WaterGas
}

// Code says of one sample whether it has a value and, if not, why.
type Code uint8

const (
	OK           Code = 0
	Suspect      Code = 1 // has a value, outside the profile's plausibility limits
	Timeout      Code = 2
	BadFrame     Code = 3
	Refused      Code = 4
	Absent       Code = 5
	Invalid      Code = 6
	Disconnected Code = 7
	Skipped      Code = 8
	Interrupted  Code = 9 // the agent was not running

	// Like Suspect these have a value; they say what is odd about it.
	TooFast   Code = 10 // changes faster than the profile allows
	Backwards Code = 11 // a counter that went down and did not roll over
	Frozen    Code = 12 // unchanged for longer than can be
	Stale     Code = 13 // repeated by the meter or a gateway instead of measured anew

	lastCode = Stale
)

// Known reports whether c is one of the codes above.
func (c Code) Known() bool { return c <= lastCode }

// HasValue reports whether a sample of this code carries a number.
func (c Code) HasValue() bool { return c <= Suspect || c >= TooFast && c <= Stale }

// String is the word shown to people.
func (c Code) String() string {
	names := [...]string{"ok", "suspect", "timeout", "bad frame", "refused", "absent", "invalid",
		"disconnected", "skipped", "interrupted",
		"suspect: too fast", "suspect: backwards", "suspect: frozen", "suspect: stale"}
	if int(c) < len(names) {
		return names[c]
	}
	return "code " + strconv.Itoa(int(c))
}

// TimeFlag is the box's own statement about its clock.
type TimeFlag string

const (
	Unsynchronised TimeFlag = "U"
	Informative    TimeFlag = "I" // set by a person or a meter
	Synchronised   TimeFlag = "S" // by a time server, within the stated error
	Relative       TimeFlag = "R" // counts from boot; the date is a guess
)

func (f TimeFlag) valid() bool {
	return f == Unsynchronised || f == Informative || f == Synchronised || f == Relative
}
