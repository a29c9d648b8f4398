package evidence

import (
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// UnverifiedLeaf is one parsed COSE_Sign1 over a leaf payload. Nothing in it
// has been checked but its form.
type UnverifiedLeaf struct {
	Manifest Manifest
	Sign1    []byte // as received
	UnverifiedSign1
}

// ParseLeaf takes apart one COSE_Sign1. The result aliases sign1.
func ParseLeaf(sign1 []byte) (UnverifiedLeaf, error) {
	e, err := ParseSign1("leaf", sign1)
	if err != nil {
		return UnverifiedLeaf{}, err
	}
	m, err := decodeManifest(e.Suite(), e.Payload)
	if err != nil {
		return UnverifiedLeaf{}, err
	}
	return UnverifiedLeaf{Manifest: m, Sign1: sign1, UnverifiedSign1: e}, nil
}

// SignLeaf makes the leaf that ParseLeaf reads. m needs no Log where it is that
// of a genesis leaf.
func SignLeaf(s Signer, m Manifest) (UnverifiedLeaf, error) {
	payload, err := m.encode()
	if err != nil {
		return UnverifiedLeaf{}, err
	}
	sign1, err := Sign1(s, payload)
	if err != nil {
		return UnverifiedLeaf{}, fmt.Errorf("sign leaf %d: %w", m.N, err)
	}
	e, err := ParseSign1("leaf", sign1)
	if err != nil {
		return UnverifiedLeaf{}, err
	}
	if m.Type == GenesisLeaf {
		m.Log = e.Suite().logID(payload)
	}
	return UnverifiedLeaf{Manifest: m, Sign1: sign1, UnverifiedSign1: e}, nil
}

// Hash is the leaf's RFC 6962 leaf hash.
func (l *UnverifiedLeaf) Hash() Hash { return l.Suite().leafHash(l.Payload) }

// RawBlock is a block as received.
type RawBlock struct {
	Channel Channel
	Bytes   []byte
}

// Digest is what the manifest of a log of suite s must say of the block.
func (b RawBlock) Digest(s Suite) Hash { return s.Sum(b.Bytes) }

// UnverifiedDelivery is one parsed delivery.
type UnverifiedDelivery struct {
	UnverifiedLeaf
	Blocks []RawBlock // ascending by channel
	Anchor *Anchor    // state of the log before this leaf, where the sender added it
}

// ParseDelivery takes apart what one MQTT message, log record or bundle item
// holds. The result aliases b.
func ParseDelivery(b []byte) (UnverifiedDelivery, error) {
	d, err := splitDelivery(b)
	if err != nil {
		return UnverifiedDelivery{}, err
	}
	leaf, err := ParseLeaf(d.sign1)
	if err != nil {
		return UnverifiedDelivery{}, err
	}
	if d.anchor != nil && d.anchor.N != leaf.Manifest.N {
		return UnverifiedDelivery{}, canon.Malformed("delivery", "anchor for leaf %d beside leaf %d", d.anchor.N, leaf.Manifest.N)
	}
	return UnverifiedDelivery{UnverifiedLeaf: leaf, Blocks: d.blocks, Anchor: d.anchor}, nil
}

// delivery is the outer array, its parts slices of the input.
type delivery struct {
	sign1  []byte
	blocks []RawBlock
	anchor *Anchor
}

func splitDelivery(b []byte) (delivery, error) {
	const where = "delivery"
	if len(b) > MaxDelivery {
		return delivery{}, canon.Malformed(where, "%d bytes, limit %d", len(b), MaxDelivery)
	}
	r := canon.NewReader(where, b)
	parts := r.Head(canon.Array, "array")
	if r.Err() == nil && parts != 2 && parts != 3 {
		r.Fail("array of %d, want 2 or 3", parts)
	}
	d := delivery{sign1: r.Bytes("signed leaf")}
	n := r.Head(canon.Map, "block map")
	if n > uint64(r.Left()) {
		r.Fail("%d blocks announced in %d bytes", n, r.Left())
	}
	for i := uint64(0); i < n && r.Err() == nil; i++ {
		ch := r.Head(canon.Uint, "channel")
		if r.Err() == nil && (ch > 0xffff || i > 0 && Channel(ch) <= d.blocks[i-1].Channel) {
			r.Fail("channel %d out of order or range", ch)
		}
		d.blocks = append(d.blocks, RawBlock{Channel: Channel(ch), Bytes: r.Bytes("block")})
	}
	if r.Err() == nil && parts == 3 {
		d.anchor = new(Anchor)
		if err := decodeAnchor(r.Rest(), d.anchor); err != nil {
			return delivery{}, err
		}
		return d, nil
	}
	return d, r.End()
}

func decodeAnchor(b []byte, a *Anchor) error {
	if err := canon.Unmarshal("anchor", b, a); err != nil {
		return err
	}
	if !a.Valid() {
		return canon.Malformed("anchor", "%d hashes do not fit %d leaves", len(a.Hashes), a.N)
	}
	return canon.Check("anchor", b, *a)
}

// AppendDelivery appends what ParseDelivery takes apart: blocks ascend by
// channel, and anchor may be nil.
func AppendDelivery(dst, sign1 []byte, blocks []RawBlock, anchor *Anchor) ([]byte, error) {
	parts := uint64(2)
	if anchor != nil {
		parts = 3
	}
	dst = canon.AppendHead(dst, canon.Array, parts)
	dst = canon.AppendBytes(dst, sign1)
	dst = canon.AppendHead(dst, canon.Map, uint64(len(blocks)))
	for _, b := range blocks {
		dst = canon.AppendHead(dst, canon.Uint, uint64(b.Channel))
		dst = canon.AppendBytes(dst, b.Bytes)
	}
	if anchor != nil {
		enc, err := canon.Marshal(*anchor)
		if err != nil {
			return nil, err
		}
		dst = append(dst, enc...)
	}
	return dst, nil
}

// FilterDelivery appends to dst the delivery a lender gets: the stored one
// without the blocks keep refuses, and with anchor where it is not nil. Blocks
// and signature are copied, never rebuilt.
func FilterDelivery(dst, stored []byte, keep func(RawBlock) bool, anchor *Anchor) ([]byte, error) {
	d, err := splitDelivery(stored)
	if err != nil {
		return nil, err
	}
	if anchor != nil && !anchor.Valid() {
		return nil, canon.Malformed("anchor", "%d hashes do not fit %d leaves", len(anchor.Hashes), anchor.N)
	}
	blocks := slices.DeleteFunc(d.blocks, func(b RawBlock) bool { return !keep(b) })
	return AppendDelivery(dst, d.sign1, blocks, anchor)
}

// RecordBlock is the block of channel Records in a delivery, nil where there is
// none; the leaf is not looked at.
func RecordBlock(delivery []byte) []byte {
	d, err := splitDelivery(delivery)
	if err != nil {
		return nil
	}
	for _, b := range d.blocks {
		if b.Channel == Records {
			return b.Bytes
		}
	}
	return nil
}

// WitnessedNote is the cosigned checkpoint in a delivery, "" where it holds
// none. Nothing of it has been checked.
func WitnessedNote(delivery []byte) string {
	d, err := splitDelivery(delivery)
	if err != nil || len(d.blocks) > 0 || len(d.sign1) > MaxNote+1024 {
		return ""
	}
	l, err := ParseLeaf(d.sign1)
	if err != nil {
		return ""
	}
	return l.Manifest.Note
}

// Meta is what a reader needs beside the stream: signed leaves, as COSE_Sign1.
type Meta struct {
	Genesis    []byte
	Dictionary []byte   // the newest leaf that holds a dictionary; it may be the genesis
	Rotations  [][]byte // every rotation leaf so far, in order
}

// Encode is the retained meta message.
func (m Meta) Encode() []byte {
	b := canon.AppendHead(nil, canon.Array, uint64(2+len(m.Rotations)))
	b = canon.AppendBytes(canon.AppendBytes(b, m.Genesis), m.Dictionary)
	for _, r := range m.Rotations {
		b = canon.AppendBytes(b, r)
	}
	return b
}

// UnverifiedMeta is a parsed Meta; nothing in it has been checked but its form.
type UnverifiedMeta struct {
	Genesis, Dictionary UnverifiedLeaf
	Rotations           []UnverifiedLeaf
}

// Raw is what ParseMeta took apart.
func (m *UnverifiedMeta) Raw() Meta {
	raw := Meta{Genesis: m.Genesis.Sign1, Dictionary: m.Dictionary.Sign1}
	for _, r := range m.Rotations {
		raw.Rotations = append(raw.Rotations, r.Sign1)
	}
	return raw
}

// MaxRotations bounds the rotations of one log: a key a week for nineteen years.
const MaxRotations = 1000

// ParseMeta takes apart a meta message. The result aliases b.
func ParseMeta(b []byte) (UnverifiedMeta, error) {
	const where = "meta"
	r := canon.NewReader(where, b)
	n := r.Head(canon.Array, "array")
	if r.Err() == nil && (n < 2 || n > 2+MaxRotations) {
		r.Fail("array of %d, want 2 to %d", n, 2+MaxRotations)
	}
	raw := Meta{Genesis: r.Bytes("genesis leaf"), Dictionary: r.Bytes("dictionary leaf")}
	for i := uint64(2); i < n && r.Err() == nil; i++ {
		raw.Rotations = append(raw.Rotations, r.Bytes("rotation leaf"))
	}
	if err := r.End(); err != nil {
		return UnverifiedMeta{}, err
	}
	return raw.Parse()
}

// Parse takes the leaves apart and checks that they can belong together.
func (m Meta) Parse() (p UnverifiedMeta, err error) {
	const where = "meta"
	if p.Genesis, err = ParseLeaf(m.Genesis); err != nil {
		return p, err
	}
	if p.Dictionary, err = ParseLeaf(m.Dictionary); err != nil {
		return p, err
	}
	log, last := p.Genesis.Manifest.Log, uint64(0)
	switch {
	case p.Genesis.Manifest.Genesis == nil:
		return p, canon.Malformed(where, "first leaf is of type %s, want genesis", p.Genesis.Manifest.Type)
	case p.Dictionary.Manifest.Dictionary() == nil:
		return p, canon.Malformed(where, "second leaf is of type %s, which holds no dictionary", p.Dictionary.Manifest.Type)
	case p.Dictionary.Manifest.Log != log:
		return p, canon.Malformed(where, "leaves of two logs, %s and %s", log, p.Dictionary.Manifest.Log)
	}
	for _, sign1 := range m.Rotations {
		l, err := ParseLeaf(sign1)
		switch {
		case err != nil:
			return p, err
		case l.Manifest.Rotation == nil || l.Manifest.Log != log || l.Manifest.N <= last:
			return p, canon.Malformed(where, "leaf %d of type %s, log %s: want a later rotation of log %s", l.Manifest.N, l.Manifest.Type, l.Manifest.Log, log)
		}
		last = l.Manifest.N
		p.Rotations = append(p.Rotations, l)
	}
	return p, nil
}
