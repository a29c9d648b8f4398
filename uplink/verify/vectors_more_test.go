package verify

import (
	"bytes"
	"crypto/elliptic"
	"encoding/binary"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/custody/counter"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// resign is lie with any key.
func resign(t testing.TB, delivery []byte, key evidence.Signer, edit func(l *liar)) []byte {
	t.Helper()
	return rewrapWith(t, lie(t, delivery, 1, edit), func(payload []byte) []byte {
		b, err := evidence.Sign1(key, payload)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

// rewrapWith puts another COSE_Sign1 over the payload of a delivery, whose form
// need not be good.
func rewrapWith(t testing.TB, delivery []byte, sign1 func(payload []byte) []byte) []byte {
	t.Helper()
	var parts []any
	decode(t, delivery, &parts)
	var envelope []any
	decode(t, parts[0].([]byte)[1:], &envelope) // behind the tag
	parts[0] = sign1(envelope[2].([]byte))
	return encode(t, parts)
}

// recordsOf is a log with the given kinds of leaves behind one window.
func recordsOf(t *testing.T) *evidencetest.Stream {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 1)
	record := func(typ evidence.LeafType, lender string, content any) {
		body, err := record.Encode(lender, content)
		if err != nil {
			t.Fatal(err)
		}
		d, err := s.Writer.Record(evidencetest.Point(1), typ, body)
		s.Add(t, d, err)
	}
	record(evidence.ConsentLeaf, "bank-a", map[int]any{1: "consent-1", 2: uint64(1)})
	record(evidence.DeclarationLeaf, "", map[int]any{1: "closure", 2: uint64(evidencetest.Start)})
	record(evidence.ReceiptLeaf, "bank-a", []byte("a receipt"))
	record(evidence.CommissioningLeaf, "bank-a", map[int]any{1: []byte("a claim")})
	record(evidence.AnswerLeaf, "bank-b", []any{[]any{"press-1", 3, 16, []any{17, 18}}})
	d, err := s.Writer.Step(evidencetest.Point(1), evidencetest.Start+30_000, evidencetest.Start+95_000)
	s.Add(t, d, err)
	d, err = s.Writer.Witnessed(evidencetest.Point(1), "tallystick.org/log/"+s.Writer.LogID().String()+"\n9\n\n")
	s.Add(t, d, err)
	s.Meta = s.Writer.Meta().Encode()
	return s
}

func suiteVectors(t *testing.T) (vs []vector) {
	for _, suite := range []evidence.Suite{evidence.SuiteES256, evidence.SuiteSM2} {
		key := evidencetest.SuiteSigner(suite, 1)
		record := key.Public()
		s := evidencetest.NewStreamOf(t, key, evidencetest.SuiteSigner(suite, 3), 3)
		s.Rotate(t, evidencetest.SuiteSigner(suite, 3), evidencetest.SuiteSigner(suite, 4))
		s.Window(t)
		name, _, _ := strings.Cut(record.Key().String(), ":")
		add := func(n, about, expect string, messages ...[]byte) {
			vs = append(vs, vector{name: n, kind: "stream", about: about, key: record.Key().String(), meta: s.Meta,
				expect: strings.Fields(expect), messages: messages, random: suite == evidence.SuiteSM2})
		}
		upTo := func(n int, more ...[]byte) [][]byte { return append(slices.Clone(s.Deliveries[:n]), more...) }
		flipped := slices.Clone(s.Deliveries[3])
		flipped[bytes.Index(flipped, []byte{0x58, 0x40})+20] ^= 4 // in the signature
		ok3 := strings.Repeat("verified ", 3)
		add("ok-"+name, "a log of suite "+name+" with a rotation", strings.Repeat("verified ", 7), s.Deliveries...)
		add("attack-"+name+"-signature", "a bit of the signature changed", ok3+"altered/signature", upTo(3, flipped)...)
		add("attack-"+name+"-other-suite", "leaf 3 signed with an Ed25519 key: the algorithm is not the message's to choose",
			ok3+"altered/signature", upTo(3, lie(t, s.Deliveries[3], 1, func(*liar) {}))...)
		if suite == evidence.SuiteES256 {
			add("ok-es256-algorithm-9", "leaf 3 signed under the fully specified number -9", ok3+"verified",
				upTo(3, rewrapWith(t, s.Deliveries[3], func(p []byte) []byte { return signES256As9(t, key, p) }))...)
			add("attack-es256-high-s", "the other s that the equation allows: one signature has one form", ok3+"altered/signature",
				upTo(3, highS(t, s.Deliveries[3]))...)
		}
	}
	return vs
}

// chipVectors are about the counter of a chip that also holds the key.
func chipVectors(t *testing.T) []vector {
	record := newChip().Public()
	stream := func(name, about, expect string, s *evidencetest.Stream) vector {
		return vector{name: name, kind: "stream", about: about, key: record.Key().String(), meta: s.Meta, expect: strings.Fields(expect), messages: s.Deliveries}
	}
	other := newChip()
	other.attest = evidencetest.SuiteSigner(evidence.SuiteES256, 41)
	forged := chipLog(t, 7)
	d, err := forged.Writer.Counter(evidencetest.Point(1), other.certify(t, forged.Writer.CounterOver(), 8))
	forged.Add(t, d, err)
	return []vector{
		stream("ok-counter-reboot", "a chip's counter, one number of which was lost in a power cut", strings.Repeat("verified ", 8), chipLog(t, 7, 8, 0, 10, 11)),
		stream("attack-counter-other-key", "a counter certified by another key than the key record names", strings.Repeat("verified ", 4)+"unreadable/counter", forged),
	}
}

// highS replaces s by n-s in the signature of a delivery.
func highS(t testing.TB, delivery []byte) []byte {
	t.Helper()
	b := slices.Clone(delivery)
	d, err := evidence.ParseDelivery(b)
	if err != nil {
		t.Fatal(err)
	}
	sig := d.Sign1[len(d.Sign1)-32:]
	s := new(big.Int).SetBytes(sig)
	s.Sub(elliptic.P256().Params().N, s).FillBytes(sig)
	return b
}

func rotationVectors(t *testing.T) []vector {
	s := evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(3), 2)
	metaBefore := s.Meta
	s.Rotate(t, evidencetest.Signer(3), evidencetest.Signer(4)) // leaf 4
	s.Window(t)
	s.Rotate(t, evidencetest.Signer(4), evidencetest.Signer(5)) // leaf 6
	anchor := s.Writer.Anchor()
	s.Window(t)
	s.Window(t)
	last := len(s.Deliveries) - 1
	never := evidencetest.NewStream(t, 1, 2)
	uncommitted := evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(6), 2)
	uncommitted.Rotate(t, evidencetest.Signer(6), evidencetest.Signer(7))

	stream := func(name, about, expect string, meta []byte, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: meta,
			expect: strings.Fields(expect), messages: messages}
	}
	upTo := func(n int, more ...[]byte) [][]byte { return append(slices.Clone(s.Deliveries[:n]), more...) }
	resigned := func(n int, key byte, edit func(l *liar)) []byte {
		return resign(t, s.Deliveries[n], evidencetest.Signer(key), edit)
	}
	thief := evidencetest.Signer(8).Public()
	late, err := evidence.FilterDelivery(nil, s.Deliveries[7], record.Granted("", nil), &anchor)
	if err != nil {
		t.Fatal(err)
	}
	ok4, ok5 := strings.Repeat("verified ", 4), strings.Repeat("verified ", 5)
	return []vector{
		stream("ok-rotation", "two rotations", strings.Repeat("verified ", last+1), nil, s.Deliveries...),
		stream("ok-rotations-announced", "the same, with the meta message that already holds both", strings.Repeat("verified ", last+1), s.Meta, s.Deliveries...),
		stream("ok-rotation-late-start", "a reader that begins behind two rotations, which the meta message holds", "verified verified", s.Meta, late, s.Deliveries[8]),
		stream("attack-retired-key", "a leaf signed with the key from before the rotation", ok5+"altered/retired-key", nil,
			upTo(5, resigned(5, 1, func(*liar) {}))...),
		stream("attack-early-successor", "a leaf signed with the next key before it is in force", "verified verified verified altered/signature", nil,
			upTo(3, resigned(3, 3, func(*liar) {}))...),
		stream("attack-uncommitted-key", "a rotation to a key that was not committed to, signed with the key in force", ok4+"forked/rotation-uncommitted", nil,
			upTo(4, resigned(4, 1, func(l *liar) { l.payload[22].(map[any]any)[uint64(2)] = thief.Public }))...),
		stream("attack-rotation-without-commitment", "a rotation in a log whose genesis has no successor", ok4+"forked/rotation-uncommitted", nil,
			append(slices.Clone(never.Deliveries), lie(t, never.Deliveries[3], 1, func(l *liar) {
				h := thief.Digest()
				l.payload = map[uint64]any{1: 7, 2: l.payload[2], 3: 4, 4: rootOf(never, 4), 5: []any{l.payload[5].([]any)[0], 0}, 6: l.payload[6],
					7: l.payload[7], 22: map[uint64]any{1: thief.Alg, 2: thief.Public, 3: thief.Custody}, 26: h[:]}
				l.blocks = map[uint64][]byte{}
			}))...),
		stream("attack-second-rotation", "two rotation leaves with one index", ok5+"forked/second-leaf", nil,
			upTo(5, resigned(4, 1, func(l *liar) { h := thief.Digest(); l.payload[26] = h[:] }))...),
		stream("attack-announced-rotation", "the rotation in the stream is another than that of the meta message", ok4+"forked/second-leaf", s.Meta,
			upTo(4, resigned(4, 1, func(l *liar) { h := thief.Digest(); l.payload[26] = h[:] }))...),
		stream("gap-over-rotation", "the leaf of the rotation is missing and the meta message is old: no word of an alteration", ok4+"unreadable/signature-or-rotation",
			metaBefore, upTo(4, s.Deliveries[5])...),
		stream("bad-rotation-suite", "a rotation to a key of another suite", ok4+"unreadable/malformed", nil,
			upTo(4, resigned(4, 1, func(l *liar) {
				k := evidencetest.SuiteSigner(evidence.SuiteES256, 3).Public()
				l.payload[22] = map[uint64]any{1: k.Alg, 2: k.Public, 3: k.Custody}
			}))...),
	}
}

// rootOf is the root of the first n leaves of a stream.
func rootOf(s *evidencetest.Stream, n int) []byte {
	var a evidence.Anchor
	for _, b := range s.Deliveries[:n] {
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			panic(err)
		}
		a.Append(d.Suite(), d.Hash())
	}
	h := a.Root(evidence.SuiteEd25519)
	return h[:]
}

func recordVectors(t *testing.T) []vector {
	s := recordsOf(t)
	stream := func(name, about, expect string, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: s.Meta,
			expect: strings.Fields(expect), messages: messages}
	}
	upTo := func(n int, more ...[]byte) [][]byte { return append(slices.Clone(s.Deliveries[:n]), more...) }
	for1 := make([][]byte, len(s.Deliveries))
	for i, d := range s.Deliveries {
		var err error
		if for1[i], err = evidence.FilterDelivery(nil, d, record.Granted("bank-b", nil), nil); err != nil {
			t.Fatal(err)
		}
	}
	record := func(edit func(l *liar)) []byte { return lie(t, s.Deliveries[3], 1, edit) }
	sealed := func(body []byte) []byte {
		return record(func(l *liar) {
			l.reblock(t, 11, func(parts []any) { parts[3] = body })
			l.digests(map[uint64]uint64{11: 0})
		})
	}
	edited := slices.Clone(s.Deliveries[3])
	edited[len(edited)-1] ^= 1
	ok3 := strings.Repeat("verified ", 3)
	return []vector{
		stream("ok-records", "consent, declaration, receipt, commissioning, answer, clock step, witnessed, all disclosed", strings.Repeat("verified ", len(s.Deliveries)), s.Deliveries...),
		stream("ok-records-withheld", "the same for lender bank-b, who gets the records that are for it or for all", strings.Repeat("verified ", len(s.Deliveries)), for1...),
		stream("attack-record-edited", "a byte of a consent changed", ok3+"altered/block-digest", upTo(3, edited)...),
		stream("attack-record-swapped", "the consent replaced by the declaration, which is sealed elsewhere", ok3+"altered/block-digest",
			upTo(3, spliceBlock(t, s.Deliveries[3], s.Deliveries[4], 11))...),
		stream("attack-record-dropped", "a consent leaf left out", ok3+"gap/missing", upTo(3, s.Deliveries[4])...),
		stream("attack-consent-after-the-fact", "another consent with the index of the first", strings.Repeat("verified ", 5)+"forked/second-leaf",
			upTo(5, sealed([]byte{0xa2, 0x01, 0x60, 0x02, 0x01}))...),
		stream("bad-record-float", "a floating-point number in a record", ok3+"unreadable/block-form", upTo(3, sealed([]byte{0xa2, 0x01, 0x60, 0x02, 0xf9, 0x3e, 0x00}))...),
		stream("bad-record-simple-value", "the simple value 5 in a record", ok3+"unreadable/block-form", upTo(3, sealed([]byte{0xa2, 0x01, 0x60, 0x02, 0xe5}))...),
		stream("bad-record-map-key", "true as a map key in a record", ok3+"unreadable/block-form", upTo(3, sealed([]byte{0xa2, 0x01, 0x60, 0x02, 0xa1, 0xf5, 0x00}))...),
		stream("bad-record-order", "map keys of a record out of order", ok3+"unreadable/block-form", upTo(3, sealed([]byte{0xa2, 0x01, 0x60, 0x02, 0xa2, 0x02, 0x00, 0x01, 0x00}))...),
		stream("bad-record-lender", "a record for a name that no topic can hold", ok3+"unreadable/block-form", upTo(3, sealed([]byte{0xa2, 0x01, 0x61, 'A', 0x02, 0x00}))...),
		stream("bad-record-channels", "a record leaf with a second channel", ok3+"unreadable/malformed", upTo(3, record(func(l *liar) {
			l.payload[8].(map[any]any)[uint64(1)] = []any{0, make([]byte, 32)}
		}))...),
		stream("bad-window-with-record", "a window with channel 11", "verified verified unreadable/malformed", upTo(2, lie(t, s.Deliveries[2], 1, func(l *liar) {
			l.payload[8].(map[any]any)[uint64(11)] = []any{0, make([]byte, 32)}
		}))...),
		stream("bad-step-without-times", "a clock step leaf without its times", strings.Repeat("verified ", 8)+"unreadable/malformed",
			upTo(8, lie(t, s.Deliveries[8], 1, func(l *liar) { delete(l.payload, 34) }))...),
		stream("bad-note-empty", "a witnessed leaf with an empty note", strings.Repeat("verified ", 9)+"unreadable/malformed",
			upTo(9, lie(t, s.Deliveries[9], 1, func(l *liar) { l.payload[60] = "" }))...),
	}
}

// spliceBlock gives a delivery the block of another one.
func spliceBlock(t testing.TB, delivery, other []byte, ch uint64) []byte {
	t.Helper()
	var a, b []any
	decode(t, delivery, &a)
	decode(t, other, &b)
	a[1].(map[any]any)[ch] = b[1].(map[any]any)[ch]
	return encode(t, a)
}

func beaconVectors(t *testing.T) []vector {
	s := evidencetest.NewStream(t, 1, 1)
	nonces := []evidence.NonceHash{
		evidence.SuiteEd25519.NonceHash(bytes.Repeat([]byte{7}, 16)), evidence.SuiteEd25519.NonceHash(bytes.Repeat([]byte{8}, 16)),
	}
	d, err := s.Writer.Window(evidencetest.Event(1, evidencetest.SmallMS), evidencetest.SmallWindow(1), nonces)
	s.Add(t, d, err)
	stream := func(name, about, expect string, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: s.Meta,
			expect: strings.Fields(expect), messages: messages}
	}
	upTo3 := func(edit func(l *liar)) [][]byte {
		return append(slices.Clone(s.Deliveries[:3]), lie(t, s.Deliveries[3], 1, edit))
	}
	list := func(l *liar) []any { return l.payload[10].([]any) }
	const ok3 = "verified verified verified "
	return []vector{
		stream("ok-beacon", "a window that answers the nonces 07 07 ... and 08 08 ...", ok3+"verified", s.Deliveries...),
		stream("bad-beacon-order", "the nonces not ascending", ok3+"unreadable/malformed", upTo3(func(l *liar) { slices.Reverse(list(l)) })...),
		stream("bad-beacon-twice", "a nonce twice", ok3+"unreadable/malformed", upTo3(func(l *liar) { list(l)[1] = list(l)[0] })...),
		stream("bad-beacon-empty", "a beacon without a nonce", ok3+"unreadable/malformed", upTo3(func(l *liar) { l.payload[10] = []any{} })...),
		stream("bad-beacon-length", "a nonce of 15 bytes", ok3+"unreadable/malformed", upTo3(func(l *liar) { list(l)[0] = list(l)[0].([]byte)[:15] })...),
	}
}

// genesisVectors are first leaves that must not open a log.
func genesisVectors(t *testing.T) (vs []vector) {
	s := evidencetest.NewStream(t, 1, 0)
	es := evidencetest.SuiteSigner(evidence.SuiteES256, 1).Public()
	sm := evidencetest.SuiteSigner(evidence.SuiteSM2, 1).Public()
	add := func(name, about, expect string, edit func(l *liar)) {
		vs = append(vs, vector{name: name, kind: "stream", about: about, key: pub(1).String(), expect: strings.Fields(expect),
			messages: [][]byte{lie(t, s.Deliveries[0], 1, edit)}})
	}
	record := func(k evidence.KeyRecord, public []byte) map[uint64]any {
		m := map[uint64]any{1: k.Alg, 2: public, 3: k.Custody}
		if k.UserID != "" {
			m[4] = k.UserID
		}
		return m
	}
	off := slices.Clone(es.Public)
	off[63] ^= 1
	add("newer-suite", "a suite of a later version", "unreadable/newer-version", func(l *liar) { l.payload[21] = 4 })
	add("bad-suite-of-key", "suite 2 with an Ed25519 key", "unreadable/malformed", func(l *liar) { l.payload[21] = 2 })
	add("bad-key-off-curve", "a public key that is no point of P-256", "unreadable/malformed", func(l *liar) {
		l.payload[21], l.payload[22] = 2, record(es, off)
	})
	add("bad-key-short", "a public key of 31 bytes", "unreadable/malformed", func(l *liar) {
		l.payload[22].(map[any]any)[uint64(2)] = es.Public[:31]
	})
	add("bad-sm2-user-id", "an SM2 key with another user id", "unreadable/malformed", func(l *liar) {
		k := record(sm, sm.Public)
		k[4] = "ALICE123@YAHOO.COM"
		l.payload[21], l.payload[22] = 3, k
	})
	add("bad-user-id-of-ed25519", "a user id with an Ed25519 key", "unreadable/malformed", func(l *liar) {
		l.payload[22].(map[any]any)[uint64(4)] = evidence.SM2UserID
	})
	add("bad-checkpoint-key", "a checkpoint key of 31 bytes", "unreadable/malformed", func(l *liar) { l.payload[27] = es.Public[:31] })
	add("bad-previous-reason", "another log before, and no reason", "unreadable/malformed", func(l *liar) {
		l.payload[25] = []any{make([]byte, 16), 7, make([]byte, 32), ""}
	})
	add("attack-genesis-other-suite", "a genesis that names an SM2 key, signed with the pinned Ed25519 key", "unreadable/malformed", func(l *liar) {
		l.payload[21], l.payload[22] = 3, record(sm, sm.Public)
	})
	return vs
}

// thiefVectors: whoever has the key in force still cannot change what was seen.
func thiefVectors(t *testing.T) []vector {
	s := evidencetest.NewStream(t, 1, 6)
	other := evidencetest.NewStream(t, 1, 0) // the same genesis, other readings
	other.Deliveries = append(other.Deliveries, nil)
	for range 4 {
		other.Window(t)
	}
	second, first, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Point(9), Dictionary: evidencetest.Small()})
	if err != nil {
		t.Fatal(err)
	}
	again := &evidencetest.Stream{Writer: second, Deliveries: [][]byte{slices.Clone(first)}}
	stream := func(name, about, expect string, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: s.Meta,
			expect: strings.Fields(expect), messages: messages}
	}
	upTo := func(n int, more ...[]byte) [][]byte { return append(slices.Clone(s.Deliveries[:n]), more...) }
	re := func(n int, edit func(l *liar)) []byte { return lie(t, s.Deliveries[n], 1, edit) }
	ok := func(n int) string { return strings.Repeat("verified ", n) }
	cut := s.Deliveries[5][:len(s.Deliveries[5])-3]
	return []vector{
		stream("attack-rolled-back", "a disk image of two windows ago goes on: other leaves 3 and 4", ok(5)+"forked/second-leaf forked/second-leaf",
			upTo(5, other.Deliveries[4], other.Deliveries[5])...),
		stream("attack-root-of-another-past", "leaf 5 signed over another root", ok(5)+"forked/history-root",
			upTo(5, re(5, func(l *liar) { l.payload[4] = make([]byte, 32) }))...),
		stream("attack-renumbered", "leaf 6 given the number of leaf 5", ok(5)+"forked/history-root", upTo(5, re(6, func(l *liar) { l.payload[3] = 5 }))...),
		stream("attack-other-log-same-key", "a new log of the same key spliced in", ok(3)+"wrong-key/other-log", upTo(3, again.Deliveries[0])...),
		stream("attack-log-id-changed", "leaf 3 made to claim another log, signed anew", ok(3)+"wrong-key/other-log",
			upTo(3, re(3, func(l *liar) { l.payload[2].([]byte)[0] ^= 1 }))...),
		stream("attack-blocks-swapped", "energy and timing exchanged", ok(3)+"altered/block-digest",
			upTo(3, exchange(t, s.Deliveries[3]))...),
		stream("attack-old-block", "the energy block of the window before", ok(4)+"altered/block-digest",
			upTo(4, spliceBlock(t, s.Deliveries[4], s.Deliveries[3], 1))...),
		stream("attack-old-block-signed", "the energy block of the window before, signed anew", ok(4)+"unreadable/block-header",
			upTo(4, re(4, func(l *liar) {
				d, err := evidence.ParseDelivery(s.Deliveries[3])
				if err != nil {
					t.Fatal(err)
				}
				l.blocks[1] = slices.Clone(d.Blocks[0].Bytes)
				l.digests(map[uint64]uint64{1: 2, 3: 2, 6: 2})
			}))...),
		stream("attack-channel-restarted", "a channel's sequence begins anew", ok(4)+"gap/channel-sequence",
			upTo(4, re(4, func(l *liar) {
				l.reblock(t, 1, func(parts []any) { parts[2] = uint64(0) })
				l.digests(map[uint64]uint64{1: 0, 3: 2, 6: 2})
			}))...),
		stream("attack-channel-dropped", "a window without its energy channel", ok(3)+"gap/channel-missing",
			upTo(3, re(3, func(l *liar) { delete(l.payload[8].(map[any]any), uint64(1)); delete(l.blocks, 1) }))...),
		stream("attack-channel-added", "a window with a channel that was never commissioned", ok(3)+"unreadable/channel-unknown",
			upTo(3, re(3, func(l *liar) { l.payload[8].(map[any]any)[uint64(9)] = []any{0, make([]byte, 32)} }))...),
		stream("attack-old-dictionary", "a window that claims a dictionary not in force", ok(3)+"unreadable/dictionary-index",
			upTo(3, re(3, func(l *liar) { l.payload[11] = 1 }))...),
		stream("attack-reordered", "two windows exchanged", ok(3)+"gap/missing replayed/replayed-unchecked",
			upTo(3, s.Deliveries[4], s.Deliveries[3])...),
		stream("attack-cut", "a delivery cut short", ok(5)+"unreadable/malformed", upTo(5, cut)...),
		stream("attack-doubled", "every delivery twice", "verified replayed/replayed verified replayed/replayed verified replayed/replayed",
			s.Deliveries[0], s.Deliveries[0], s.Deliveries[1], s.Deliveries[1], s.Deliveries[2], s.Deliveries[2]),
	}
}

// exchange swaps two blocks of a delivery and leaves its signature alone.
func exchange(t testing.TB, delivery []byte) []byte {
	t.Helper()
	var parts []any
	decode(t, delivery, &parts)
	m := parts[1].(map[any]any)
	m[uint64(1)], m[uint64(6)] = m[uint64(6)], m[uint64(1)]
	return encode(t, parts)
}

// readingVectors are those on which readers of SPEC.md once differed.
func readingVectors(t *testing.T) (vs []vector) {
	s := evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(3), 2)
	anchors := []evidence.Anchor{{}, {}, {}, {}}
	step := func(add func()) {
		anchors = append(anchors, s.Writer.Anchor())
		add()
	}
	step(func() { s.Rotate(t, evidencetest.Signer(3), evidencetest.Signer(4)) }) // leaf 4
	step(func() { s.Window(t) })
	step(func() { s.Window(t) })
	step(func() {
		d, err := s.Writer.Events(evidencetest.Point(6), []evidence.Happening{{At: evidencetest.Start, Kind: "line_lost", Subject: "hall-a", Count: 1}})
		s.Add(t, d, err)
	})
	step(func() { // leaf 8
		d, err := s.Writer.Config(evidencetest.Point(6), evidencetest.Small(), evidence.Hash{0xc0})
		s.Add(t, d, err)
	})
	step(func() { s.Window(t) })
	step(func() { s.Window(t) })
	s.Meta = s.Writer.Meta().Encode()

	add := func(name, about, expect string, meta []byte, messages ...[]byte) {
		vs = append(vs, vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: meta,
			expect: strings.Fields(expect), messages: messages})
	}
	d := s.Deliveries
	upTo := func(n int, more ...[]byte) [][]byte { return append(slices.Clone(d[:n]), more...) }
	forged := func(n int, key byte, edit func(l *liar)) []byte {
		return resign(t, d[n], evidencetest.Signer(key), edit)
	}
	renumbered := func(n, as int) []byte {
		return forged(n, 1, func(l *liar) { l.payload[3], l.payload[4] = as, rootOf(s, as) })
	}
	ok := func(n int) string { return strings.Repeat("verified ", n) }

	add("attack-retired-key-after-gap", "a leaf signed with the key from before the rotation, and the leaf before it is missing",
		ok(5)+"altered/retired-key", nil, upTo(5, forged(6, 1, func(*liar) {}))...)
	add("attack-announced-rotation-left-out", "a window has the index of the rotation in the meta message",
		ok(4)+"forked/second-leaf", s.Meta, upTo(4, renumbered(3, 4))...)
	add("attack-rotation-before-the-announced", "one key is followed by two rotations, one in the meta message, another in the stream",
		ok(3)+"forked/second-rotation", s.Meta, upTo(3, renumbered(4, 3))...)
	add("attack-old-dictionary-after-gap", "behind a gap a window claims a dictionary older than one received",
		ok(9)+"unreadable/dictionary-index", nil, upTo(9, forged(10, 3, func(l *liar) { l.payload[11] = 0 }))...)
	add("gap-before-other-leaf", "two windows are missing, and an event stands between them and the next window: the channels go on over both",
		ok(5)+"gap/missing verified verified verified", nil, upTo(5, withAnchor(t, d[7], anchors[7]), d[8], d[9], d[10])...)
	add("gap-dictionary-of-genesis", "a late start where the dictionary in force is that of the genesis, not of the second leaf in the meta message",
		"verified verified", s.Meta, withAnchor(t, d[5], anchors[5]), d[6])
	add("gap-rotation-late-start", "a reader without meta message meets a rotation, and then an older leaf again",
		strings.Repeat("gap/history-unchecked ", 4)+"replayed/replayed gap/history-unchecked", nil, d[1], d[2], d[3], d[4], d[2], d[5])
	add("gap-signature-without-genesis", "a reader without meta message, a missing leaf, another key: it may have been rotated in",
		"gap/history-unchecked unreadable/signature-or-rotation", nil, d[1], d[5])

	p, q := evidencetest.NewStream(t, 1, 3), evidencetest.NewStream(t, 1, 0)
	q.Deliveries = append(q.Deliveries, nil) // one history, two sets of readings
	for range 3 {
		q.Window(t)
	}
	at5 := p.Writer.Anchor()
	p.Window(t)
	add("attack-anchored-fork-behind-gap", "leaf 4 was received behind a gap, and the anchor of leaf 5 holds another leaf 4",
		ok(3)+"gap/missing forked/anchor-fork", p.Meta, p.Deliveries[0], p.Deliveries[1], p.Deliveries[2], q.Deliveries[5], withAnchor(t, p.Deliveries[5], at5))

	add("bad-block-without-dictionary", "no dictionary is at hand, and a block is none", "unreadable/block-form", nil,
		forged(2, 1, func(l *liar) { l.blocks[1] = []byte{0x80}; l.digests(map[uint64]uint64{}) }))
	add("bad-duration", "a boot leaf that lasts a millisecond", "verified unreadable/malformed", nil, d[0],
		forged(1, 1, func(l *liar) { l.payload[5].([]any)[1] = 1 }))
	add("bad-index", "a leaf index that nothing can follow", "verified unreadable/malformed", nil, d[0],
		forged(1, 1, func(l *liar) { l.payload[3] = uint64(1<<64 - 1) }))
	add("bad-sequence", "a channel sequence that nothing can follow", ok(2)+"unreadable/malformed", nil, d[0], d[1],
		forged(2, 1, func(l *liar) { l.digests(map[uint64]uint64{1: 1<<64 - 1}) }))
	add("bad-genesis-root", "a genesis with a history", "unreadable/malformed", nil,
		forged(0, 1, func(l *liar) { l.payload[4] = make([]byte, 32) }))
	off := pub(1).Bytes()
	for err := error(nil); err == nil; _, err = evidence.NewPublicKey(evidence.SuiteEd25519, off) {
		off[0]++
	}
	add("bad-ed25519-key", "a public key that is no point of edwards25519", "unreadable/malformed", nil,
		forged(0, 1, func(l *liar) { l.payload[22].(map[any]any)[uint64(2)] = off }))
	return vs
}

// attested is a signer whose key record names the attestation key of a TPM.
type attested struct {
	evidence.Signer
	ak evidence.Signer
}

func (a attested) Public() evidence.KeyRecord {
	k, ak := a.Signer.Public(), a.ak.Public()
	k.Attestation = ak.Public
	return k
}

// counted is a log with one window and counter leaves of these values.
func counted(t *testing.T, values ...uint64) *evidencetest.Stream {
	t.Helper()
	ak := evidencetest.SuiteSigner(evidence.SuiteES256, 7)
	s := evidencetest.NewStreamOf(t, attested{evidencetest.Signer(1), ak}, nil, 1)
	for _, v := range values {
		d, err := s.Writer.Counter(evidencetest.Point(1), certified(t, ak, s.Writer.CounterOver(), v))
		s.Add(t, d, err)
	}
	return s
}

// certified is what a TPM with the attestation key ak says of its counter.
func certified(t *testing.T, ak evidence.Signer, root evidence.Hash, value uint64) evidence.Counter {
	t.Helper()
	const handle = 0x01800042
	name := counter.Name(handle)
	a := append([]byte("\xffTCG\x80\x14\x00\x22\x00\x0b"), make([]byte, 32)...)
	a = append(append(a, 0, 32), root[:]...)
	a = append(append(a, make([]byte, 8+4+4+1+8)...), 0, 34)
	a = append(append(a, name[:]...), 0, 0, 0, 8)
	a = binary.BigEndian.AppendUint64(a, value)
	sig, err := ak.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Counter{Handle: handle, Attest: a, Signature: sig}
}

func counterVectors(t *testing.T) []vector {
	s := counted(t, 5, 6, 9)
	d := s.Deliveries
	stream := func(name, about, expect string, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: s.Meta,
			expect: strings.Fields(expect), messages: messages}
	}
	ok := func(n int) string { return strings.Repeat("verified ", n) }
	return []vector{
		stream("ok-counter", "a TPM's counter at 5, 6 and 9: the jump lowers the grade alone", ok(6), d...),
		stream("attack-counter-of-another-root", "the TPM's statement of the leaf before, signed anew", ok(4)+"unreadable/counter",
			append(slices.Clone(d[:4]), lie(t, d[4], 1, func(l *liar) {
				var before struct {
					Counter []any `cbor:"61,keyasint"`
				}
				leaf, err := evidence.ParseDelivery(d[3])
				if err != nil {
					t.Fatal(err)
				}
				decode(t, leaf.Payload, &before)
				l.payload[61] = before.Counter
			}))...),
		stream("attack-counter-of-another-index", "the TPM's statement is about another index than the leaf names", ok(3)+"unreadable/counter",
			append(slices.Clone(d[:3]), lie(t, d[3], 1, func(l *liar) { l.payload[61].([]any)[0] = 0x01800043 }))...),
	}
}

// gapVectors: the leaf behind a gap need not be a window.
func gapVectors(t *testing.T) []vector {
	s := evidencetest.NewStream(t, 1, 3)
	happened := []evidence.Happening{{At: evidencetest.Start, Kind: "line_restored", Subject: "hall-a", Count: 1}}
	anchor := s.Writer.Anchor()
	d, err := s.Writer.Events(evidencetest.Point(3), happened)
	s.Add(t, d, err)
	d, err = s.Writer.Window(evidencetest.Event(3, evidencetest.SmallMS), evidencetest.SmallWindow(3), nil)
	s.Add(t, d, err)
	events := withAnchor(t, s.Deliveries[5], anchor)
	ahead := lie(t, s.Deliveries[6], 1, func(l *liar) {
		l.reblock(t, 1, func(parts []any) { parts[2] = uint64(4) })
		l.digests(map[uint64]uint64{1: 4, 3: 3, 6: 3})
	})
	stream := func(name, about, expect string, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(), meta: s.Meta,
			expect: strings.Fields(expect), messages: append(slices.Clone(s.Deliveries[:4]), messages...)}
	}
	const ok4 = "verified verified verified verified "
	return []vector{
		stream("gap-then-events", "a window dropped by the box, then an events leaf with an anchor, then a window: its sequences account for the missing one",
			ok4+"gap/missing verified", events, s.Deliveries[6]),
		stream("attack-channel-ahead-of-gap", "the same, and the sequence of energy says that two windows were missing, where one was",
			ok4+"gap/missing gap/channel-sequence", events, ahead),
	}
}
