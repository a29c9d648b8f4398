package verify

import (
	"bytes"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// A liar holds the box's key and signs what it likes: payload is the decoded
// leaf, blocks the decoded outer map.
type liar struct {
	payload map[uint64]any
	blocks  map[uint64][]byte
	anchor  any
}

var deterministic = func() cbor.EncMode {
	m, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic(err)
	}
	return m
}()

func encode(t testing.TB, v any) []byte {
	t.Helper()
	b, err := deterministic.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(t testing.TB, b []byte, v any) {
	t.Helper()
	if err := cbor.Unmarshal(b, v); err != nil {
		t.Fatal(err)
	}
}

// lie signs an edited copy of a delivery with the key of the given seed.
func lie(t testing.TB, delivery []byte, key byte, edit func(l *liar)) []byte {
	t.Helper()
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		t.Fatal(err)
	}
	l := liar{blocks: map[uint64][]byte{}}
	if err := cbor.Unmarshal(d.Payload, &l.payload); err != nil {
		t.Fatal(err)
	}
	for _, b := range d.Blocks {
		l.blocks[uint64(b.Channel)] = bytes.Clone(b.Bytes)
	}
	edit(&l)
	sign1, err := evidence.Sign1(evidencetest.Signer(key), encode(t, l.payload))
	if err != nil {
		t.Fatal(err)
	}
	parts := []any{sign1, l.blocks}
	if l.anchor != nil {
		parts = append(parts, l.anchor)
	}
	return encode(t, parts)
}

// digests makes the payload speak of the blocks as they now are.
func (l *liar) digests(seqs map[uint64]uint64) {
	channels := map[uint64]any{}
	for ch, b := range l.blocks {
		h := sha256.Sum256(b)
		channels[ch] = []any{seqs[ch], h[:]}
	}
	l.payload[8] = channels
}

// reblock edits the parts of one block: salt, channel, sequence, body.
func (l *liar) reblock(t testing.TB, ch uint64, edit func(parts []any)) {
	t.Helper()
	var parts []any
	if err := cbor.Unmarshal(l.blocks[ch], &parts); err != nil {
		t.Fatal(err)
	}
	edit(parts)
	l.blocks[ch] = encode(t, parts)
}

func pub(key byte) evidence.PublicKey { return evidencetest.PublicKey(key) }

// follow makes a verifier that has accepted deliveries.
func follow(t testing.TB, meta []byte, deliveries ...[]byte) *Verifier {
	t.Helper()
	v, err := New(pub(1), meta)
	if err != nil {
		t.Fatal(err)
	}
	for i, d := range deliveries {
		if res := v.Next(d, soon(d)); res.Verdict != Verified {
			t.Fatalf("delivery %d: %s %v", i, res.Verdict, res.Reasons)
		}
	}
	return v
}

// soon is a minute after a delivery's end.
func soon(delivery []byte) time.Time {
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		return time.UnixMilli(evidencetest.Start)
	}
	return time.UnixMilli(d.Manifest.End()).Add(time.Minute)
}

func has(res Result, code string) bool {
	for _, r := range res.Reasons {
		if r.Code == code {
			return true
		}
	}
	return false
}
