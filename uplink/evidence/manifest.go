package evidence

import "fmt"

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
	Digest Hash     // SHA-256 of the block as sent
}

// KeyRecord names the key that signs a log, and where it is kept.
type KeyRecord struct {
	Alg     int64  `cbor:"1,keyasint"` // COSE algorithm: -8 or -19
	Public  []byte `cbor:"2,keyasint"` // 32 bytes
	Custody string `cbor:"3,keyasint"` // "file", "tpm", ...: a lender may price it
}

// Genesis opens a log. NewWriter fills Version, Suite and Key.
type Genesis struct {
	Event         Event
	Version       uint64
	Suite         uint64
	Key           KeyRecord
	Dictionary    Dictionary
	Commissioning Hash  // digest of the commissioning record; zero when there is none
	Prev          *Hash // final root of the log this one continues, or nil
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

	// Window only.
	Channels     map[Channel]ChannelDigest
	Completeness uint16 // permille of samples that have a value, measured channels
	Beacon       *Hash
	DictionaryAt uint64 // index of the leaf that holds the dictionary in force

	Genesis  *Genesis
	BootInfo *Boot
	Shutdown string // reason
	Config   *Config
	Lost     []LostRange
	Events   []Happening
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
	Beacon       *Hash                      `cbor:"10,keyasint,omitempty"`
	DictionaryAt *uint64                    `cbor:"11,keyasint,omitempty"`

	Version       *uint64      `cbor:"20,keyasint,omitempty"`
	Suite         *uint64      `cbor:"21,keyasint,omitempty"`
	Key           *KeyRecord   `cbor:"22,keyasint,omitempty"`
	Dictionary    *Dictionary  `cbor:"23,keyasint,omitempty"`
	Digest        *Hash        `cbor:"24,keyasint,omitempty"`
	Prev          *Hash        `cbor:"25,keyasint,omitempty"`
	Clean         *bool        `cbor:"30,keyasint,omitempty"`
	LastRecorded  *int64       `cbor:"31,keyasint,omitempty"`
	Software      *string      `cbor:"32,keyasint,omitempty"`
	ShutdownCause *string      `cbor:"33,keyasint,omitempty"`
	Lost          *[]LostRange `cbor:"40,keyasint,omitempty"`
	Events        *[]Happening `cbor:"50,keyasint,omitempty"`
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
		w.Channels, w.Completeness, w.Beacon, w.DictionaryAt = &m.Channels, &m.Completeness, m.Beacon, &m.DictionaryAt
	case GenesisLeaf:
		g := m.Genesis
		w.Version, w.Suite, w.Key, w.Dictionary, w.Digest, w.Prev = &g.Version, &g.Suite, &g.Key, &g.Dictionary, &g.Commissioning, g.Prev
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
	}
	return w
}

func (m *Manifest) encode() ([]byte, error) {
	if err := m.validate(); err != nil {
		return nil, err
	}
	b, err := marshal(m.wire())
	if err == nil && len(b) > MaxPayload {
		err = malformed("manifest", "%d bytes, limit %d", len(b), MaxPayload)
	}
	return b, err
}

// validate checks what the types above do not.
func (m *Manifest) validate() error {
	const where = "manifest"
	switch {
	case !m.TimeFlag.valid():
		return malformed(where, "time flag %.8q, want U, I, S or R", string(m.TimeFlag))
	case m.Start < 0:
		return malformed(where, "start is before 1970")
	case m.Duration > 1<<32:
		return malformed(where, "duration of %d ms", m.Duration)
	case m.Start > 1<<52:
		return malformed(where, "start of %d ms", m.Start)
	case m.Completeness > 1000:
		return malformed(where, "completeness %d permille", m.Completeness)
	case m.Type == WindowLeaf && m.DictionaryAt >= m.N:
		return malformed(where, "leaf %d names the later leaf %d for its dictionary", m.N, m.DictionaryAt)
	case m.Type == GenesisLeaf && m.N != 0, m.Type != GenesisLeaf && m.N == 0:
		return malformed(where, "%s leaf with index %d", m.Type, m.N)
	case m.BootInfo != nil && !text(m.BootInfo.Software), !text(m.Shutdown):
		return malformed(where, "text longer than %d bytes", MaxText)
	case m.BootInfo != nil && m.BootInfo.LastRecordedMS < 0:
		return malformed(where, "last recorded instant is before 1970")
	case len(m.Events) > MaxEvents, m.Type == EventsLeaf && len(m.Events) == 0:
		return malformed(where, "%d events, want 1 to %d", len(m.Events), MaxEvents)
	case len(m.Lost) > MaxRanges:
		return malformed(where, "%d lost ranges, limit %d", len(m.Lost), MaxRanges)
	}
	for i, r := range m.Lost {
		if r.Lo > r.Hi || r.Hi >= m.N || !text(r.Reason) || i > 0 && r.Lo <= m.Lost[i-1].Hi {
			return malformed(where, "lost range %d..%d at leaf %d: want ascending, past, with a short reason", r.Lo, r.Hi, m.N)
		}
	}
	for _, e := range m.Events {
		if e.At < 0 || e.At > 1<<52 || e.Count == 0 || e.Kind == "" || !text(e.Kind) || !text(e.Subject) || !text(e.Quantity) {
			return malformed(where, "event %.16q: want a time, a count of at least 1, and short texts", e.Kind)
		}
	}
	if g := m.Genesis; g != nil {
		if len(g.Key.Public) != 32 || g.Key.Alg != algEdDSA && g.Key.Alg != algEd25519 {
			return malformed(where, "key record: want a 32-byte Ed25519 key")
		}
		if !text(g.Key.Custody) {
			return malformed(where, "key record: custody is not a short text")
		}
	}
	if d := m.Dictionary(); d != nil {
		return d.Validate()
	}
	return nil
}

// decodeManifest reads a leaf payload. Anything but the one canonical
// encoding of what it returns is refused.
func decodeManifest(payload []byte) (Manifest, error) {
	const where = "manifest"
	var w wireManifest
	err := unmarshal(where, payload, &w)
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
		m.Log = logIDOf(payload)
	} else if w.Log != nil {
		m.Log = *w.Log
	}
	switch w.Type {
	case WindowLeaf:
		m.Channels, m.Completeness, m.Beacon, m.DictionaryAt = deref(w.Channels), deref(w.Completeness), w.Beacon, deref(w.DictionaryAt)
	case GenesisLeaf:
		m.Genesis = &Genesis{Event: m.Event, Version: deref(w.Version), Suite: deref(w.Suite), Key: deref(w.Key),
			Dictionary: deref(w.Dictionary), Commissioning: deref(w.Digest), Prev: w.Prev}
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
	default:
		return Manifest{}, malformed(where, "leaf type %d", w.Type)
	}
	if err := m.validate(); err != nil {
		return Manifest{}, err
	}
	if err := canonical(where, payload, m.wire()); err != nil {
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
	if codec().lenient.Unmarshal(payload, &v) != nil {
		return nil
	}
	switch {
	case v.Type != nil && !LeafType(*v.Type).known():
		return fmt.Errorf("manifest: leaf type %d: %w", *v.Type, ErrVersion)
	case v.Version != nil && *v.Version != Version:
		return fmt.Errorf("manifest: format version %d, this is version %d: %w", *v.Version, Version, ErrVersion)
	case v.Suite != nil && *v.Suite != Suite:
		return fmt.Errorf("manifest: suite %d, this knows suite %d: %w", *v.Suite, Suite, ErrVersion)
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
