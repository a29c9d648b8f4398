package evidence

import (
	"crypto/ed25519"
	"crypto/sha256"
	"slices"
)

// UnverifiedLeaf is one parsed COSE_Sign1 over a leaf payload. Nothing in it
// has been checked but its form.
type UnverifiedLeaf struct {
	Manifest Manifest
	Sign1    []byte // as received
	Payload  []byte // what is signed and hashed; a slice of Sign1

	envelope envelope
}

// ParseLeaf takes apart one COSE_Sign1. The result aliases sign1.
func ParseLeaf(sign1 []byte) (UnverifiedLeaf, error) {
	e, err := parseEnvelope("leaf", sign1)
	if err != nil {
		return UnverifiedLeaf{}, err
	}
	m, err := decodeManifest(e.payload)
	if err != nil {
		return UnverifiedLeaf{}, err
	}
	return UnverifiedLeaf{Manifest: m, Sign1: sign1, Payload: e.payload, envelope: e}, nil
}

// Hash is the leaf's RFC 6962 leaf hash.
func (l *UnverifiedLeaf) Hash() Hash { return leafHash(l.Payload) }

// VerifySignature returns nil when pub signed the payload, ErrSignature when
// it did not.
func (l *UnverifiedLeaf) VerifySignature(pub ed25519.PublicKey) error { return l.envelope.verify(pub) }

// RawBlock is a block as received.
type RawBlock struct {
	Channel Channel
	Bytes   []byte
}

// Digest is what the manifest must say of the block.
func (b RawBlock) Digest() Hash { return sha256.Sum256(b.Bytes) }

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
		return UnverifiedDelivery{}, malformed("delivery", "anchor for leaf %d beside leaf %d", d.anchor.N, leaf.Manifest.N)
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
		return delivery{}, malformed(where, "%d bytes, limit %d", len(b), MaxDelivery)
	}
	r := reader{where: where, b: b}
	parts := r.head(majorArray, "array")
	if r.err == nil && parts != 2 && parts != 3 {
		r.fail("array of %d, want 2 or 3", parts)
	}
	d := delivery{sign1: r.bytes("signed leaf")}
	n := r.head(majorMap, "block map")
	if n > uint64(r.left()) {
		r.fail("%d blocks announced in %d bytes", n, r.left())
	}
	for i := uint64(0); i < n && r.err == nil; i++ {
		ch := r.head(majorUint, "channel")
		if r.err == nil && (ch > 0xffff || i > 0 && Channel(ch) <= d.blocks[i-1].Channel) {
			r.fail("channel %d out of order or range", ch)
		}
		d.blocks = append(d.blocks, RawBlock{Channel: Channel(ch), Bytes: r.bytes("block")})
	}
	if r.err == nil && parts == 3 {
		d.anchor = new(Anchor)
		if err := decodeAnchor(r.b[r.at:], d.anchor); err != nil {
			return delivery{}, err
		}
		return d, nil
	}
	return d, r.end()
}

func decodeAnchor(b []byte, a *Anchor) error {
	if err := unmarshal("anchor", b, a); err != nil {
		return err
	}
	if !a.Valid() {
		return malformed("anchor", "%d hashes do not fit %d leaves", len(a.Hashes), a.N)
	}
	return canonical("anchor", b, *a)
}

func appendDelivery(dst, sign1 []byte, blocks []RawBlock, anchor *Anchor) ([]byte, error) {
	parts := uint64(2)
	if anchor != nil {
		parts = 3
	}
	dst = appendHead(dst, majorArray, parts)
	dst = appendBytes(dst, sign1)
	dst = appendHead(dst, majorMap, uint64(len(blocks)))
	for _, b := range blocks {
		dst = appendHead(dst, majorUint, uint64(b.Channel))
		dst = appendBytes(dst, b.Bytes)
	}
	if anchor != nil {
		enc, err := marshal(*anchor)
		if err != nil {
			return nil, err
		}
		dst = append(dst, enc...)
	}
	return dst, nil
}

// FilterDelivery appends to dst the delivery a lender with the granted
// channels gets: the stored one with every other block left out, and anchor
// added where it is not nil. Blocks and signature are copied, never rebuilt.
func FilterDelivery(dst, stored []byte, granted []Channel, anchor *Anchor) ([]byte, error) {
	d, err := splitDelivery(stored)
	if err != nil {
		return nil, err
	}
	if anchor != nil && !anchor.Valid() {
		return nil, malformed("anchor", "%d hashes do not fit %d leaves", len(anchor.Hashes), anchor.N)
	}
	blocks := slices.DeleteFunc(d.blocks, func(b RawBlock) bool { return !slices.Contains(granted, b.Channel) })
	return appendDelivery(dst, d.sign1, blocks, anchor)
}

// EncodeMeta builds the retained meta message from two signed leaves (the
// Sign1 of a parsed delivery): the genesis and the newest leaf that holds a
// dictionary, which may be the genesis again.
func EncodeMeta(genesis, dictionary []byte) []byte {
	b := appendHead(nil, majorArray, 2)
	return appendBytes(appendBytes(b, genesis), dictionary)
}

// ParseMeta takes apart a meta message. The result aliases b.
func ParseMeta(b []byte) (genesis, dictionary UnverifiedLeaf, err error) {
	const where = "meta"
	r := reader{where: where, b: b}
	if n := r.head(majorArray, "array"); r.err == nil && n != 2 {
		r.fail("array of %d, want 2", n)
	}
	g, d := r.bytes("genesis leaf"), r.bytes("dictionary leaf")
	if err := r.end(); err != nil {
		return genesis, dictionary, err
	}
	if genesis, err = ParseLeaf(g); err != nil {
		return genesis, dictionary, err
	}
	if dictionary, err = ParseLeaf(d); err != nil {
		return genesis, dictionary, err
	}
	switch {
	case genesis.Manifest.Genesis == nil:
		err = malformed(where, "first leaf is of type %s, want genesis", genesis.Manifest.Type)
	case dictionary.Manifest.Dictionary() == nil:
		err = malformed(where, "second leaf is of type %s, which holds no dictionary", dictionary.Manifest.Type)
	case dictionary.Manifest.Log != genesis.Manifest.Log:
		err = malformed(where, "leaves of two logs, %s and %s", genesis.Manifest.Log, dictionary.Manifest.Log)
	}
	return genesis, dictionary, err
}
