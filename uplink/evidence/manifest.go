package evidence

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Event is when a leaf was made, by the box's clocks.
type Event struct {
	Start       int64    // Unix milliseconds, first instant covered
	Duration    uint64   // milliseconds; 0 for a point event
	TimeFlag    TimeFlag // what the box says of its clock
	TimeErrorMS uint64   // estimated clock error
	Boot        uint64   // boot counter of the agent
	UptimeMS    uint64   // monotonic milliseconds since that boot, when the leaf was made
}

// End is the first instant after the event, in Unix milliseconds.
func (e Event) End() int64 { return e.Start + int64(e.Duration) }

// ChannelDigest is what a manifest says of one block.
type ChannelDigest struct {
	_      struct{} `cbor:",toarray"`
	Seq    uint64   // counts the blocks of this channel from 0
	Digest Hash     // the suite's hash of the block as sent
}

// KeyRecord names a key that signs a log, and where it is kept.
type KeyRecord struct {
	Alg     int64  `cbor:"1,keyasint"`           // COSE algorithm: SPEC.md section 15
	Public  []byte `cbor:"2,keyasint"`           // 32 bytes; for ES256 and SM2 x || y
	Custody string `cbor:"3,keyasint"`           // "file", "tpm", "pkcs11", ...: a lender may price it
	UserID  string `cbor:"4,keyasint,omitempty"` // SM2 only: SM2UserID
	// Attestation is the P-256 key, x || y, with which the TPM that holds the
	// key signs its counter; empty where there is none.
	Attestation []byte `cbor:"5,keyasint,omitempty"`
}

// NewKeyRecord describes pub.
func NewKeyRecord(pub PublicKey, custody string) KeyRecord {
	k := KeyRecord{Alg: pub.suite.alg(), Public: pub.Bytes(), Custody: custody}
	if pub.suite == SuiteSM2 {
		k.UserID = SM2UserID
	}
	return k
}

// Key is the public key of the record. For a record that was not decoded by
// this package it may be the zero key.
func (k *KeyRecord) Key() PublicKey {
	pub, err := NewPublicKey(suiteOf(k.Alg), k.Public)
	if err != nil {
		return PublicKey{}
	}
	return pub
}

// Digest is what the leaf before commits to: the hash of the record's
// encoding, by the record's own suite.
func (k *KeyRecord) Digest() Hash {
	b, err := canon.Marshal(k)
	if err != nil {
		panic(err) // plain values always encode
	}
	return suiteOf(k.Alg).Sum(b)
}

// Validate reports what a key record must not say.
func (k *KeyRecord) Validate() error {
	const where = "key record"
	suite := suiteOf(k.Alg)
	if _, err := NewPublicKey(suite, k.Public); err != nil {
		return canon.Malformed(where, "algorithm %d with a public key of %d bytes that is none of its own", k.Alg, len(k.Public))
	}
	switch {
	case !ValidText(k.Custody):
		return canon.Malformed(where, "custody is not a short text")
	case (k.UserID == SM2UserID) != (suite == SuiteSM2), k.UserID != "" && k.UserID != SM2UserID:
		return canon.Malformed(where, "user id %.20q; SM2 keys have %q, others none", k.UserID, SM2UserID)
	}
	if k.Attestation == nil {
		return nil
	}
	if _, err := NewPublicKey(SuiteES256, k.Attestation); err != nil {
		return canon.Malformed(where, "the attestation key is no point of P-256")
	}
	return nil
}

// Genesis opens a log. NewWriter fills Version, Suite and Key.
type Genesis struct {
	Event         Event
	Version       uint64
	Suite         Suite
	Key           KeyRecord
	Dictionary    Dictionary
	Commissioning Hash      // digest of the configuration in force
	Prev          *Previous // the log this one continues, or nil
	// Successor commits to the key of the first rotation; nil when there is
	// none, and then the key is never rotated.
	Successor *Hash
	// Checkpoint is the Ed25519 key that signs checkpoints (SPEC.md section
	// 7.1), 32 bytes, or nil.
	Checkpoint []byte
}

// Previous is where another log of the same box ended, as far as it is known,
// and why it was left.
type Previous struct {
	_    struct{} `cbor:",toarray"`
	Log  LogID
	N    uint64 // leaves it had
	Root Hash   // of these
	Why  string // "loss", "suite"
}

// Rotation puts a new key in force from the next leaf on.
type Rotation struct {
	Key       KeyRecord // the successor committed to before
	Successor Hash      // commits to the one after it
}

// ClockStep says that the box's clock was set.
type ClockStep struct {
	_             struct{} `cbor:",toarray"`
	Before, After int64    // Unix milliseconds, of the same instant
}

// Counter is the statement of a TPM about a counter that only rises, made over
// the history root of the leaf it stands in (SPEC.md section 4.4).
type Counter struct {
	_         struct{} `cbor:",toarray"`
	Handle    uint32   // of the NV index
	Attest    []byte   // TPMS_ATTEST of TPM2_NV_Certify
	Signature []byte   // by the attestation key: r || s
}

// Boot says how the agent came up.
type Boot struct {
	Clean          bool   // the shutdown before it was orderly
	LastRecordedMS int64  // Unix milliseconds up to which readings survived; 0 = none
	Software       string // version of the agent
}

// Config is a new dictionary with the digest of the configuration it is from.
type Config struct {
	Dictionary Dictionary
	Digest     Hash
}

// LostRange is a stretch of leaves, both ends included, whose data the box no
// longer has.
type LostRange struct {
	_      struct{} `cbor:",toarray"`
	Lo, Hi uint64
	Reason string
}

// Happening is something a site's agent noticed and did not measure: a meter
// that was exchanged, a counter that began anew, a line that was cut, values
// that do not go together. It holds no value, for every lender sees it; values
// stand in the blocks, before and after.
type Happening struct {
	_        struct{} `cbor:",toarray"`
	At       int64    // Unix milliseconds
	Kind     string   // "meter_exchanged", ...: SPEC.md section 4.1
	Subject  string   // the meter or line, by its name
	Quantity string   // of a counter or check, else ""
	Count    uint64   // how often since it was last said, at least 1
}

// Manifest is the decoded payload of one leaf. Exactly the fields of its Type
// are set.
type Manifest struct {
	Type LeafType
	Log  LogID // of a genesis leaf: computed, not carried
	N    uint64
	Root Hash // of leaves 0..N-1
	Event

	// Windows and records; of records only Channels, with the one entry Records.
	Channels     map[Channel]ChannelDigest
	Completeness uint16      // permille of samples that have a value, measured channels
	Beacon       []NonceHash // nonces of lenders and witnesses answered here, ascending
	DictionaryAt uint64      // index of the leaf that holds the dictionary in force

	Genesis  *Genesis
	BootInfo *Boot
	Shutdown string // reason
	Config   *Config
	Lost     []LostRange
	Events   []Happening
	Step     *ClockStep
	Rotation *Rotation
	Note     string // witnessed: a cosigned checkpoint, as text
	Counter  *Counter
}

// Dictionary returns the dictionary the leaf itself holds, or nil.
func (m *Manifest) Dictionary() *Dictionary {
	switch {
	case m.Genesis != nil:
		return &m.Genesis.Dictionary
	case m.Config != nil:
		return &m.Config.Dictionary
	}
	return nil
}

// wireManifest is the payload map. A pointer that is nil is a key that is
// absent; which keys a type has is decided in wire, and reading re-encodes
// through wire, so a missing or surplus key cannot pass.
type wireManifest struct {
	Type   LeafType  `cbor:"1,keyasint"`
	Log    *LogID    `cbor:"2,keyasint,omitempty"`
	N      uint64    `cbor:"3,keyasint"`
	Root   Hash      `cbor:"4,keyasint"`
	Span   wireSpan  `cbor:"5,keyasint"`
	Time   wireTime  `cbor:"6,keyasint"`
	Uptime [2]uint64 `cbor:"7,keyasint"`

	Channels     *map[Channel]ChannelDigest `cbor:"8,keyasint,omitempty"`
	Completeness *uint16                    `cbor:"9,keyasint,omitempty"`
	Beacon       *[]NonceHash               `cbor:"10,keyasint,omitempty"`
	DictionaryAt *uint64                    `cbor:"11,keyasint,omitempty"`

	Version       *uint64      `cbor:"20,keyasint,omitempty"`
	Suite         *Suite       `cbor:"21,keyasint,omitempty"`
	Key           *KeyRecord   `cbor:"22,keyasint,omitempty"`
	Dictionary    *Dictionary  `cbor:"23,keyasint,omitempty"`
	Digest        *Hash        `cbor:"24,keyasint,omitempty"`
	Prev          *Previous    `cbor:"25,keyasint,omitempty"`
	Successor     *Hash        `cbor:"26,keyasint,omitempty"`
	Checkpoint    *[32]byte    `cbor:"27,keyasint,omitempty"`
	Clean         *bool        `cbor:"30,keyasint,omitempty"`
	LastRecorded  *int64       `cbor:"31,keyasint,omitempty"`
	Software      *string      `cbor:"32,keyasint,omitempty"`
	ShutdownCause *string      `cbor:"33,keyasint,omitempty"`
	Step          *ClockStep   `cbor:"34,keyasint,omitempty"`
	Lost          *[]LostRange `cbor:"40,keyasint,omitempty"`
	Events        *[]Happening `cbor:"50,keyasint,omitempty"`
	Note          *string      `cbor:"60,keyasint,omitempty"`
	Counter       *Counter     `cbor:"61,keyasint,omitempty"`
}

type wireSpan struct {
	_        struct{} `cbor:",toarray"`
	Start    int64
	Duration uint64
}

type wireTime struct {
	_     struct{} `cbor:",toarray"`
	Flag  TimeFlag
	Error uint64
}

func (m *Manifest) wire() wireManifest {
	w := wireManifest{
		Type: m.Type, N: m.N, Root: m.Root,
		Span:   wireSpan{Start: m.Start, Duration: m.Duration},
		Time:   wireTime{Flag: m.TimeFlag, Error: m.TimeErrorMS},
		Uptime: [2]uint64{m.Event.Boot, m.UptimeMS},
	}
	if m.Type != GenesisLeaf {
		w.Log = &m.Log
	}
	switch m.Type {
	case WindowLeaf:
		w.Channels, w.Completeness, w.DictionaryAt = &m.Channels, &m.Completeness, &m.DictionaryAt
		if len(m.Beacon) > 0 {
			w.Beacon = &m.Beacon
		}
	case ConsentLeaf, DeclarationLeaf, ReceiptLeaf, CommissioningLeaf, AnswerLeaf:
		w.Channels = &m.Channels
	case GenesisLeaf:
		g := m.Genesis
		w.Version, w.Suite, w.Key, w.Dictionary, w.Digest, w.Prev = &g.Version, &g.Suite, &g.Key, &g.Dictionary, &g.Commissioning, g.Prev
		w.Successor = g.Successor
		if g.Checkpoint != nil {
			w.Checkpoint = (*[32]byte)(g.Checkpoint)
		}
	case BootLeaf:
		w.Clean, w.LastRecorded, w.Software = &m.BootInfo.Clean, &m.BootInfo.LastRecordedMS, &m.BootInfo.Software
	case ShutdownLeaf:
		w.ShutdownCause = &m.Shutdown
	case ConfigLeaf:
		w.Dictionary, w.Digest = &m.Config.Dictionary, &m.Config.Digest
	case LossLeaf:
		w.Lost = &m.Lost
	case EventsLeaf:
		w.Events = &m.Events
	case ClockStepLeaf:
		w.Step = m.Step
	case RotationLeaf:
		w.Key, w.Successor = &m.Rotation.Key, &m.Rotation.Successor
	case WitnessedLeaf:
		w.Note = &m.Note
	case CounterLeaf:
		w.Counter = m.Counter
	}
	return w
}

// maxTime is the latest instant that can be written, in Unix milliseconds, and
// maxIndex the highest leaf index and channel sequence: one can be added to
// them, and every language can hold them.
const (
	maxTime  = 1 << 52
	maxIndex = 1 << 52
)

// ValidTime reports whether ms, in Unix milliseconds, may stand in evidence.
func ValidTime(ms int64) bool { return ms >= 0 && ms <= maxTime }

func (m *Manifest) encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(m.wire())
	if err == nil && len(b) > MaxPayload {
		err = canon.Malformed("manifest", "%d bytes, limit %d", len(b), MaxPayload)
	}
	return b, err
}

// validate checks what the types above do not.
func (m *Manifest) validate() error {
	const where = "manifest"
	switch {
	case !m.TimeFlag.valid():
		return canon.Malformed(where, "time flag %.8q, want U, I, S or R", string(m.TimeFlag))
	case m.Start < 0:
		return canon.Malformed(where, "start is before 1970")
	case m.Duration > 1<<32:
		return canon.Malformed(where, "duration of %d ms", m.Duration)
	case m.Start > maxTime:
		return canon.Malformed(where, "start of %d ms", m.Start)
	case m.N > maxIndex:
		return canon.Malformed(where, "leaf index %d", m.N)
	case m.Duration != 0 && m.Type != WindowLeaf:
		return canon.Malformed(where, "%s leaf with a duration of %d ms", m.Type, m.Duration)
	case m.Completeness > 1000:
		return canon.Malformed(where, "completeness %d permille", m.Completeness)
	case m.Type == WindowLeaf && m.DictionaryAt >= m.N:
		return canon.Malformed(where, "leaf %d names the later leaf %d for its dictionary", m.N, m.DictionaryAt)
	case m.Type == GenesisLeaf && m.N != 0, m.Type != GenesisLeaf && m.N == 0:
		return canon.Malformed(where, "%s leaf with index %d", m.Type, m.N)
	case m.BootInfo != nil && !ValidText(m.BootInfo.Software), !ValidText(m.Shutdown):
		return canon.Malformed(where, "text longer than %d bytes", MaxText)
	case m.BootInfo != nil && !ValidTime(m.BootInfo.LastRecordedMS):
		return canon.Malformed(where, "last recorded instant of %d ms", m.BootInfo.LastRecordedMS)
	case len(m.Events) > MaxEvents, m.Type == EventsLeaf && len(m.Events) == 0:
		return canon.Malformed(where, "%d events, want 1 to %d", len(m.Events), MaxEvents)
	case len(m.Lost) > MaxRanges:
		return canon.Malformed(where, "%d lost ranges, limit %d", len(m.Lost), MaxRanges)
	}
	for i, r := range m.Lost {
		if r.Lo > r.Hi || r.Hi >= m.N || !ValidText(r.Reason) || i > 0 && r.Lo <= m.Lost[i-1].Hi {
			return canon.Malformed(where, "lost range %d..%d at leaf %d: want ascending, past, with a short reason", r.Lo, r.Hi, m.N)
		}
	}
	for _, e := range m.Events {
		if !ValidTime(e.At) || e.Count == 0 || e.Kind == "" || !ValidText(e.Kind) || !ValidText(e.Subject) || !ValidText(e.Quantity) {
			return canon.Malformed(where, "event %.16q: want a time, a count of at least 1, and short texts", e.Kind)
		}
	}
	if err := m.validateParts(); err != nil {
		return err
	}
	if d := m.Dictionary(); d != nil {
		return d.Validate()
	}
	return nil
}

// validateParts checks what single leaf types hold.
func (m *Manifest) validateParts() error {
	const where = "manifest"
	for i, h := range m.Beacon {
		if i >= MaxBeacon || i > 0 && bytes.Compare(m.Beacon[i-1][:], h[:]) >= 0 {
			return canon.Malformed(where, "beacon of %d nonces: want at most %d, ascending", len(m.Beacon), MaxBeacon)
		}
	}
	if _, ok := m.Channels[Records]; m.Type.Record() != ok || ok && len(m.Channels) != 1 {
		return canon.Malformed(where, "%s leaf with %d channels: a record has channel %d alone, nothing else has it", m.Type, len(m.Channels), Records)
	}
	for ch, cd := range m.Channels {
		if cd.Seq > maxIndex {
			return canon.Malformed(where, "sequence %d of channel %d", cd.Seq, ch)
		}
	}
	if g := m.Genesis; g != nil {
		if err := g.Key.Validate(); err != nil {
			return err
		}
		if g.Suite != suiteOf(g.Key.Alg) {
			return canon.Malformed(where, "suite %d with a key of suite %d", g.Suite, suiteOf(g.Key.Alg))
		}
		if g.Prev != nil && (g.Prev.Why == "" || !ValidText(g.Prev.Why)) {
			return canon.Malformed(where, "the log before: want a short reason")
		}
		if g.Checkpoint != nil && len(g.Checkpoint) != 32 {
			return canon.Malformed(where, "checkpoint key of %d bytes, want 32", len(g.Checkpoint))
		}
	}
	if r := m.Rotation; r != nil {
		if err := r.Key.Validate(); err != nil {
			return err
		}
	}
	if s := m.Step; s != nil && !(ValidTime(s.Before) && ValidTime(s.After)) {
		return canon.Malformed(where, "clock step from %d to %d ms", s.Before, s.After)
	}
	if m.Type == WitnessedLeaf && (m.Note == "" || len(m.Note) > MaxNote || !utf8.ValidString(m.Note)) {
		return canon.Malformed(where, "note of %d bytes, want 1 to %d of UTF-8", len(m.Note), MaxNote)
	}
	if c := m.Counter; c != nil && (len(c.Attest) == 0 || len(c.Attest) > MaxQuote || len(c.Signature) != signatureSize) {
		return canon.Malformed(where, "counter: attestation of %d bytes with a signature of %d", len(c.Attest), len(c.Signature))
	}
	return nil
}

// decodeManifest reads the payload of a leaf signed in the given suite.
// Anything but the one canonical encoding of what it returns is refused.
func decodeManifest(suite Suite, payload []byte) (Manifest, error) {
	const where = "manifest"
	if m, ok := decodeWindow(payload); ok {
		return m, m.validate()
	}
	var w wireManifest
	err := canon.Unmarshal(where, payload, &w)
	if err != nil || w.Type == GenesisLeaf || !w.Type.known() {
		if newer := newerThanKnown(payload); newer != nil {
			return Manifest{}, newer
		}
	}
	if err != nil {
		return Manifest{}, err
	}
	m := Manifest{Type: w.Type, N: w.N, Root: w.Root, Event: Event{
		Start: w.Span.Start, Duration: w.Span.Duration,
		TimeFlag: w.Time.Flag, TimeErrorMS: w.Time.Error,
		Boot: w.Uptime[0], UptimeMS: w.Uptime[1],
	}}
	if w.Type == GenesisLeaf {
		m.Log = suite.logID(payload)
	} else if w.Log != nil {
		m.Log = *w.Log
	}
	switch w.Type {
	case WindowLeaf:
		m.Channels, m.Completeness, m.Beacon, m.DictionaryAt = deref(w.Channels), deref(w.Completeness), deref(w.Beacon), deref(w.DictionaryAt)
	case ConsentLeaf, DeclarationLeaf, ReceiptLeaf, CommissioningLeaf, AnswerLeaf:
		m.Channels = deref(w.Channels)
	case GenesisLeaf:
		m.Genesis = &Genesis{Event: m.Event, Version: deref(w.Version), Suite: deref(w.Suite), Key: deref(w.Key),
			Dictionary: deref(w.Dictionary), Commissioning: deref(w.Digest), Prev: w.Prev, Successor: w.Successor}
		if w.Checkpoint != nil {
			m.Genesis.Checkpoint = w.Checkpoint[:]
		}
		if m.Genesis.Suite != suite {
			return Manifest{}, canon.Malformed(where, "genesis of suite %d signed in suite %d", m.Genesis.Suite, suite)
		}
		if m.Root != suite.Sum(nil) {
			return Manifest{}, canon.Malformed(where, "genesis with a history")
		}
	case BootLeaf:
		m.BootInfo = &Boot{Clean: deref(w.Clean), LastRecordedMS: deref(w.LastRecorded), Software: deref(w.Software)}
	case ShutdownLeaf:
		m.Shutdown = deref(w.ShutdownCause)
	case ConfigLeaf:
		m.Config = &Config{Dictionary: deref(w.Dictionary), Digest: deref(w.Digest)}
	case LossLeaf:
		m.Lost = deref(w.Lost)
	case EventsLeaf:
		m.Events = deref(w.Events)
	case ClockStepLeaf:
		m.Step = &ClockStep{Before: deref(w.Step).Before, After: deref(w.Step).After}
	case RotationLeaf:
		m.Rotation = &Rotation{Key: deref(w.Key), Successor: deref(w.Successor)}
		if suiteOf(m.Rotation.Key.Alg) != suite {
			return Manifest{}, canon.Malformed(where, "rotation from suite %d to a key of suite %d: that needs a new log", suite, suiteOf(m.Rotation.Key.Alg))
		}
	case WitnessedLeaf:
		m.Note = deref(w.Note)
	case CounterLeaf:
		c := deref(w.Counter)
		m.Counter = &c
	default:
		return Manifest{}, canon.Malformed(where, "leaf type %d", w.Type)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, err
	}
	if err := canon.Check(where, payload, m.wire()); err != nil {
		return Manifest{}, err
	}
	return m, nil
}

// newerThanKnown looks only at the keys that say how to read the rest.
func newerThanKnown(payload []byte) error {
	var v struct {
		Type    *uint64 `cbor:"1,keyasint"`
		Version *uint64 `cbor:"20,keyasint"`
		Suite   *uint64 `cbor:"21,keyasint"`
	}
	if canon.Peek(payload, &v) != nil {
		return nil
	}
	switch {
	case v.Type != nil && *v.Type > uint64(lastLeafType):
		return fmt.Errorf("manifest: leaf type %d: %w", *v.Type, ErrVersion)
	case v.Version != nil && *v.Version != Version:
		return fmt.Errorf("manifest: format version %d, this is version %d: %w", *v.Version, Version, ErrVersion)
	case v.Suite != nil && !Suite(*v.Suite).known():
		return fmt.Errorf("manifest: suite %d, this knows suites 1 to 3: %w", *v.Suite, ErrVersion)
	}
	return nil
}

func deref[T any](p *T) T {
	if p == nil {
		var zero T
		return zero
	}
	return *p
}
