package verify

import (
	"bytes"
	"crypto/ed25519"
	"crypto/elliptic"
	"io"
	"math/big"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/veraison/go-cose"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// rewrap puts another signed leaf into a delivery.
func rewrap(t *testing.T, delivery []byte, sign1 func(d *evidence.UnverifiedDelivery) []byte) []byte {
	t.Helper()
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[uint64][]byte{}
	for _, b := range d.Blocks {
		blocks[uint64(b.Channel)] = b.Bytes
	}
	return encode(t, []any{sign1(&d), blocks})
}

// alg19 signs under the number RFC 9864 gives Ed25519.
type alg19 struct{ key ed25519.PrivateKey }

func (alg19) Algorithm() cose.Algorithm { return -19 }

func (a alg19) Sign(_ io.Reader, content []byte) ([]byte, error) {
	return ed25519.Sign(a.key, content), nil
}

func sign19(t *testing.T, delivery []byte) []byte {
	return rewrap(t, delivery, func(d *evidence.UnverifiedDelivery) []byte {
		h := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.Algorithm(-19)}}
		b, err := cose.Sign1(nil, alg19{evidencetest.Key(1)}, h, d.Payload, nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// signES256As9 signs under the number RFC 9864 gives ES256.
func signES256As9(t testing.TB, key evidence.Signer, payload []byte) []byte {
	t.Helper()
	h := cose.Headers{Protected: cose.ProtectedHeader{cose.HeaderLabelAlgorithm: cose.Algorithm(-9)}}
	b, err := cose.Sign1(nil, alg9{key}, h, payload, nil)
	if err != nil {
		t.Fatal(err)
	}
	sig := b[len(b)-32:]
	n := elliptic.P256().Params().N
	if s := new(big.Int).SetBytes(sig); s.Cmp(new(big.Int).Rsh(n, 1)) > 0 {
		s.Sub(n, s).FillBytes(sig)
	}
	return b
}

type alg9 struct{ key evidence.Signer }

func (alg9) Algorithm() cose.Algorithm { return -9 }

func (a alg9) Sign(_ io.Reader, content []byte) ([]byte, error) { return a.key.Sign(content) }

func flipPayload(t *testing.T, delivery []byte) []byte {
	return rewrap(t, delivery, func(d *evidence.UnverifiedDelivery) []byte {
		b := slices.Clone(d.Sign1)
		root := d.Manifest.Root
		b[bytes.Index(b, root[:])] ^= 1
		return b
	})
}

// swapKeys signs the payload with its first two entries exchanged.
func swapKeys(t *testing.T, delivery []byte) []byte {
	return rewrap(t, delivery, func(d *evidence.UnverifiedDelivery) []byte {
		// a8 | 01 01 | 02 50 ...: the type, then the 16 bytes of the log id.
		p := slices.Concat(d.Payload[:1], d.Payload[3:3+18], d.Payload[1:3], d.Payload[21:])
		b, err := evidence.Sign1(evidencetest.Signer(1), p)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func untag(t *testing.T, delivery []byte) []byte {
	return rewrap(t, delivery, func(d *evidence.UnverifiedDelivery) []byte { return d.Sign1[1:] })
}

func unprotected(t *testing.T, delivery []byte) []byte {
	return rewrap(t, delivery, func(d *evidence.UnverifiedDelivery) []byte {
		var parts []cbor.RawMessage
		if err := cbor.Unmarshal(d.Sign1[1:], &parts); err != nil {
			t.Fatal(err)
		}
		parts[1] = encode(t, map[int][]byte{4: []byte("key-1")})
		return append([]byte{0xd2}, encode(t, parts)...)
	})
}

func withAnchor(t *testing.T, delivery []byte, a evidence.Anchor) []byte {
	t.Helper()
	b, err := evidence.FilterDelivery(nil, delivery, record.Granted("", nil), &a)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func receiptVector(t *testing.T, s *evidencetest.Stream) vector {
	t.Helper()
	r := evidence.Receipt{Log: s.Writer.LogID(), N: 10, Root: s.Writer.Anchor().Root(evidence.SuiteEd25519),
		Channels: map[evidence.Channel]uint64{evidence.Energy: 5}, ReceivedAt: evidencetest.Start + 200_000, Status: "ok",
		Nonce: bytes.Repeat([]byte{7}, 16)}
	sign := func(key byte, r evidence.Receipt) []byte {
		b, err := evidence.SignReceipt(evidencetest.Signer(key), r)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	good := sign(9, r)
	flipped := slices.Clone(good)
	flipped[len(flipped)-70] ^= 1
	return vector{name: "receipt", kind: "receipt", key: pub(9).String(),
		about:  "a receipt; one for an empty log; one by another key; one changed; one with a byte too many; a leaf instead",
		expect: []string{"ok", "ok", "signature", "signature", "format", "format"},
		messages: [][]byte{good, sign(9, evidence.Receipt{Log: r.Log, Empty: true, ReceivedAt: r.ReceivedAt, Status: "gap"}),
			sign(2, r), flipped, append(slices.Clone(good), 0), signLeafAsReceipt(t, s)}}
}

func signLeafAsReceipt(t *testing.T, s *evidencetest.Stream) []byte {
	t.Helper()
	d, err := evidence.ParseDelivery(s.Deliveries[2])
	if err != nil {
		t.Fatal(err)
	}
	b, err := evidence.Sign1(evidencetest.Signer(9), d.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func bundleVector(t *testing.T, s *evidencetest.Stream, anchors []evidence.Anchor) vector {
	t.Helper()
	whole := archive(t, s, 0, 10, nil)
	part := archive(t, s, 4, 6, &anchors[4])
	edited := slices.Clone(part)
	edited[len(edited)-1] ^= 2
	shifted := slices.Clone(part)
	shifted[bytes.Index(shifted, anchors[4].Hashes[0][:])] ^= 1
	return vector{name: "bundle", kind: "bundle", key: pub(1).String(),
		about:    "a whole log; leaves 4 to 6; cut short; one value changed; the anchor changed; another file; an empty file",
		expect:   []string{"verified/loss-declared", "verified", "unreadable/cut-short", "altered/block-digest", "gap/anchor-mismatch", "not-a-bundle", "not-a-bundle"},
		messages: [][]byte{whole, part, part[:len(part)-9], edited, shifted, []byte("PK\x03\x04 not this"), {}}}
}
