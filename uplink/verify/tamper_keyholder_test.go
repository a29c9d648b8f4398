package verify

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// An edit is what a thief of the key does to a leaf before signing it anew. One that
// breaks no rule of the format is what the box itself might have said: it can
// only be told from the truth by who has seen the truth, or sees what follows it.
// One that breaks a rule is told at once.
type edit struct {
	name string
	// breaks is the rule of SPEC.md section 12 that is broken, "" for none.
	breaks string
	// does returns false where the leaf has nothing of the kind.
	does func(f *feed, n int, r *rand.Rand, l *liar) bool
}

func edits(t testing.TB) []edit {
	window := func(do func(r *rand.Rand, l *liar)) func(*feed, int, *rand.Rand, *liar) bool {
		return func(f *feed, n int, r *rand.Rand, l *liar) bool {
			if f.parsed[n].Manifest.Type != evidence.WindowLeaf {
				return false
			}
			do(r, l)
			return true
		}
	}
	key := func(k uint64, value func(r *rand.Rand, old any) any) func(*feed, int, *rand.Rand, *liar) bool {
		return func(f *feed, n int, r *rand.Rand, l *liar) bool {
			old, ok := l.payload[k]
			if ok {
				l.payload[k] = value(r, old)
			}
			return ok
		}
	}
	flip := func(r *rand.Rand, old any) any {
		b := slices.Clone(old.([]byte))
		b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		return b
	}
	channels := func(l *liar) map[any]any { return l.payload[8].(map[any]any) }
	// block hands out the parts of one block, and digests it again.
	block := func(do func(r *rand.Rand, l *liar, entry, parts []any)) func(*feed, int, *rand.Rand, *liar) bool {
		return func(f *feed, n int, r *rand.Rand, l *liar) bool {
			blocks := f.parsed[n].Blocks
			if len(blocks) == 0 {
				return false
			}
			ch := uint64(blocks[r.IntN(len(blocks))].Channel)
			var parts []any
			if deterministicDecode(l.blocks[ch], &parts) != nil {
				return false
			}
			entry := channels(l)[ch].([]any)
			do(r, l, entry, parts)
			b, err := deterministic.Marshal(parts)
			if err != nil {
				return false
			}
			digest := f.suite.Sum(b)
			l.blocks[ch], entry[1] = b, digest[:]
			return true
		}
	}
	count := func(value func(f *feed, n int, r *rand.Rand) evidence.Counter) func(*feed, int, *rand.Rand, *liar) bool {
		return func(f *feed, n int, r *rand.Rand, l *liar) bool {
			if f.parsed[n].Manifest.Counter == nil {
				return false
			}
			l.payload[61] = value(f, n, r)
			return true
		}
	}
	return []edit{
		{"time", "", key(5, func(r *rand.Rand, old any) any {
			span := slices.Clone(old.([]any))
			span[0] = span[0].(uint64) + 1 + uint64(r.IntN(100_000))
			return span
		})},
		{"clock", "", key(6, func(r *rand.Rand, old any) any {
			return []any{[]string{"U", "I", "S", "R"}[r.IntN(4)], uint64(100 + r.IntN(1000))}
		})},
		{"completeness", "", key(9, func(r *rand.Rand, old any) any { return (old.(uint64) + 1 + uint64(r.IntN(999))) % 1001 })},
		{"beacon left out", "", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			_, ok := l.payload[10]
			delete(l.payload, 10)
			return ok
		}},
		{"beacon", "", window(func(r *rand.Rand, l *liar) { l.payload[10] = [][]byte{bytes.Repeat([]byte{byte(r.Uint32())}, 16)} })},
		{"values", "", block(func(r *rand.Rand, l *liar, entry, parts []any) {
			body := slices.Clone(parts[3].([]byte))
			body[len(body)-1-r.IntN(min(4, len(body)))] ^= 1 << r.IntN(6)
			parts[3] = body
		})},
		{"salt", "", block(func(r *rand.Rand, l *liar, entry, parts []any) { parts[0] = flip(r, parts[0]) })},
		{"digest of the configuration", "", key(24, flip)},
		{"successor", "", func(f *feed, n int, r *rand.Rand, l *liar) bool { return n > 0 && key(26, flip)(f, n, r, l) }},
		{"recorded", "", key(31, func(r *rand.Rand, old any) any { return old.(uint64) + 1 })},
		{"software", "", key(32, func(*rand.Rand, any) any { return "another" })},
		{"reason", "", key(33, func(*rand.Rand, any) any { return "another" })},
		{"step", "", key(34, func(r *rand.Rand, _ any) any { return []any{uint64(r.Int64N(1 << 40)), uint64(0)} })},
		{"lost", "", key(40, func(*rand.Rand, any) any { return []any{[]any{uint64(2), uint64(2), "quota"}} })},
		{"events", "", key(50, func(r *rand.Rand, _ any) any {
			return []any{[]any{uint64(r.Int64N(1 << 40)), "line_restored", "hall-a", "", uint64(1)}}
		})},
		{"note", "", key(60, func(*rand.Rand, any) any { return "another" })},

		{"root", "history root", func(f *feed, n int, r *rand.Rand, l *liar) bool { return key(4, flip)(f, n, r, l) && n > 0 }},
		{"number", "contiguous index", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			to := r.IntN(len(f.sent) + 5)
			l.payload[3] = uint64(to)
			return n > 0 && to != n && to > 0
		}},
		{"log", "log", func(f *feed, n int, r *rand.Rand, l *liar) bool { return key(2, flip)(f, n, r, l) }},
		{"dictionary", "dictionary", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			to := uint64(r.IntN(n + 1))
			return key(11, func(*rand.Rand, any) any { return to })(f, n, r, l) && to != f.parsed[n].Manifest.DictionaryAt
		}},
		{"channel left out", "channel set", window(func(r *rand.Rand, l *liar) {
			ch := []uint64{1, 3, 6}[r.IntN(3)]
			delete(channels(l), ch)
			delete(l.blocks, ch)
		})},
		{"channel added", "channel set", window(func(r *rand.Rand, l *liar) { channels(l)[uint64(9)] = []any{uint64(0), make([]byte, 32)} })},
		{"sequence", "channel sequence", block(func(r *rand.Rand, l *liar, entry, parts []any) {
			seq := (entry[0].(uint64) + 1 + uint64(r.IntN(9))) % 10
			if seq == entry[0] {
				seq += 10
			}
			entry[0], parts[2] = seq, seq
		})},
		{"number inside a block", "block form", block(func(r *rand.Rand, l *liar, entry, parts []any) { parts[2] = parts[2].(uint64) + 1 })},
		{"channel inside a block", "block form", block(func(r *rand.Rand, l *liar, entry, parts []any) { parts[1] = parts[1].(uint64) + 1 })},
		{"body that is no body", "block form", block(func(r *rand.Rand, l *liar, entry, parts []any) {
			parts[3] = append(slices.Clone(parts[3].([]byte)), byte(r.Uint32()))
		})},
		{"block of no channel", "block digest", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			l.blocks[40] = []byte{0x80}
			return true
		}},
		{"digest of a block", "block digest", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			blocks := f.parsed[n].Blocks
			if len(blocks) == 0 {
				return false
			}
			entry := channels(l)[uint64(blocks[r.IntN(len(blocks))].Channel)].([]any)
			entry[1] = flip(r, entry[1])
			return true
		}},
		{"restart", "restart", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			old := l.payload[7].([]any)
			l.payload[7] = []any{old[0].(uint64) + 1, old[1]}
			return n > 0 && f.parsed[n].Manifest.Type != evidence.BootLeaf
		}},
		{"counter of another chip", "counter", count(func(f *feed, n int, r *rand.Rand) evidence.Counter {
			other := chip{attest: evidencetest.SuiteSigner(evidence.SuiteES256, 9)}
			return other.certify(t, f.parsed[n].Manifest.Root, uint64(r.IntN(20)))
		})},
		{"counter over another head", "counter", count(func(f *feed, n int, r *rand.Rand) evidence.Counter {
			return f.signers[n].(chip).certify(t, f.anchors[r.IntN(n)].Root(f.suite), uint64(r.IntN(20)))
		})},
		{"counter", "", count(func(f *feed, n int, r *rand.Rand) evidence.Counter {
			return f.signers[n].(chip).certify(t, f.parsed[n].Manifest.Root, uint64(9+r.IntN(20)))
		})},
		{"type", "form", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			to := uint64(r.IntN(20))
			old := f.parsed[n].Manifest
			l.payload[1] = to
			return to != uint64(old.Type) && !(old.Type.Record() && evidence.LeafType(to).Record())
		}},
		{"surplus key", "form", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			l.payload[70+uint64(r.IntN(9))] = uint64(r.IntN(9))
			return true
		}},
		{"key that was not committed to", "rotation", uncommitted},
		{"genesis of another key", "genesis key", func(f *feed, n int, r *rand.Rand, l *liar) bool {
			if n > 0 {
				return false
			}
			l.payload[22].(map[any]any)[uint64(2)] = publicOf(evidencetest.SuiteSigner(f.suite, 9)).Bytes()
			return true
		}},
	}
}

// uncommitted makes leaf n a rotation to the thief's own key.
func uncommitted(f *feed, n int, _ *rand.Rand, l *liar) bool {
	thief := evidencetest.SuiteSigner(f.suite, 9).Public()
	record := map[uint64]any{1: thief.Alg, 2: thief.Public, 3: thief.Custody}
	if thief.UserID != "" {
		record[4] = thief.UserID
	}
	h := thief.Digest()
	point := []any{l.payload[5].([]any)[0], uint64(0)}
	l.payload = map[uint64]any{1: uint64(7), 2: l.payload[2], 3: l.payload[3], 4: l.payload[4], 5: point, 6: l.payload[6],
		7: l.payload[7], 22: record, 26: h[:]}
	l.blocks = map[uint64][]byte{}
	return n > 0
}

// forgedMeta announces a rotation that was not committed to, or a dictionary signed
// with a key that is not in force there.
func (f *feed) forgedMeta(t testing.TB, n int, r *rand.Rand) error {
	good, err := evidence.ParseMeta(f.metas[max(n-1, 0)])
	if err != nil {
		return err
	}
	leaf := func(delivery []byte) []byte {
		d, err := evidence.ParseDelivery(delivery)
		if err != nil {
			t.Fatal(err)
		}
		return slices.Clone(d.Sign1)
	}
	meta := good.Raw()
	if r.IntN(2) == 0 && n > 0 {
		meta.Rotations = append(slices.Clone(meta.Rotations), leaf(f.forge(t, n, f.signers[n], func(l *liar) bool { return uncommitted(f, n, r, l) })))
	} else {
		at := []int{6, 20}[r.IntN(2)] // the config leaves
		meta.Dictionary = leaf(f.forge(t, at, evidencetest.SuiteSigner(f.suite, 9), func(*liar) bool { return true }))
	}
	if _, err := New(f.pinned, meta.Encode()); err == nil {
		return undetected("a meta message with a key that was not committed to")
	}
	return nil
}

// keyholderLevel is a thief with the key in force, and one with another key of
// the box or its maker.
func (f *feed) keyholderLevel(t testing.TB, all []edit, r *rand.Rand) error {
	n := r.IntN(len(f.sent))
	switch r.IntN(10) {
	case 0:
		return f.rolledBack(r)
	case 1:
		return f.otherKey(t, n, r)
	case 2:
		if r.IntN(2) == 0 {
			return f.forgedMeta(t, n, r)
		}
		return f.otherLog(n, r)
	}
	for e := all[r.IntN(len(all))]; ; n = r.IntN(len(f.sent)) {
		if x := f.forge(t, n, f.signers[n], func(l *liar) bool { return e.does(f, n, r, l) }); x != nil {
			return f.told(e, n, x, r)
		}
	}
}

// forge signs an edited copy of leaf n; nil where edit returns false.
func (f *feed) forge(t testing.TB, n int, by evidence.Signer, edit func(l *liar) bool) []byte {
	l := liar{blocks: map[uint64][]byte{}}
	if err := deterministicDecode(f.parsed[n].Payload, &l.payload); err != nil {
		t.Fatal(err)
	}
	for _, b := range f.parsed[n].Blocks {
		l.blocks[uint64(b.Channel)] = b.Bytes
	}
	if !edit(&l) {
		return nil
	}
	payload, err := deterministic.Marshal(l.payload)
	if err != nil {
		t.Fatal(err)
	}
	sign1, err := evidence.Sign1(by, payload)
	if err != nil {
		t.Fatal(err)
	}
	b, err := deterministic.Marshal([]any{sign1, l.blocks})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// told demands that forged leaf x, made of leaf n, is contradicted: by a lender that
// has leaf n (or an announcement of it), and else by the leaf that honestly follows.
func (f *feed) told(e edit, n int, x []byte, r *rand.Rand) error {
	if bytes.Equal(x, f.stored[n]) {
		return nil
	}
	seen := func(res Result) string { return fmt.Sprintf("%s: %s %v", e.name, res.Verdict, res.Reasons) }
	if k := n + 1 + r.IntN(len(f.sent)-n); r.IntN(2) == 0 && e.breaks != "block digest" { // a lender that has leaf n
		v := clone(f.at[k])
		loose := f.loose[k] != nil && n != k-2 && r.IntN(4) == 0
		if loose {
			v = clone(f.loose[k])
		}
		res := v.Next(x, time.Time{})
		switch {
		case loose && res.N == uint64(k-2) && res.Verdict == Replayed && has(res, "replayed-unchecked"):
			return nil // it stands in the gap, and is not taken for the leaf that is missing there
		case res.N >= uint64(k):
			if res.Verdict == Verified {
				return undetected("%s, with leaf %d received", seen(res), k-1)
			}
			return nil
		case res.Verdict.Accepted(), res.Verdict == Replayed:
			return undetected("%s, with leaf %d received", seen(res), k-1)
		case !same(v, f.at[k]) && !same(v, f.loose[k]):
			return undetected("%s moved the state", seen(res))
		case res.Verdict == Forked && has(res, "second-leaf") && r.IntN(8) == 0:
			p := bundle.FraudProof{Meta: f.metas[len(f.metas)-1], A: f.stored[res.N], B: x}
			if _, err := Fork(f.pinned, p); err != nil {
				return undetected("%s, and it is no proof: %v", seen(res), err)
			}
		}
		return nil
	}
	v := clone(f.at[n])
	if r.IntN(6) == 0 && n > 2 { // behind a gap
		v = clone(f.at[n-1-r.IntN(2)])
		if f.parsed[n].Blocks != nil || r.IntN(2) == 0 {
			x = f.anchored(x, n)
		}
	}
	announced := false // what the meta message says of this leaf is as good as having it
	for i, ep := range v.epochs {
		announced = announced || i > 0 && ep.n == uint64(n)
	}
	announced = announced || v.meta.dict.Dictionary != nil && v.meta.dict.n == uint64(n)
	res := v.Next(x, time.Time{})
	switch {
	case e.breaks == "restart" && res.Verdict == Verified && !has(res, "restart-unexplained"):
		return undetected("%s, and nobody is told", seen(res))
	case e.breaks != "" && e.breaks != "restart" && res.Verdict == Verified,
		announced && res.N == uint64(n) && res.Verdict.Accepted() && e.breaks != "block digest":
		return undetected("%s, leaf %d, announced %v", seen(res), n, announced)
	case e.breaks == "block digest" && res.Verdict.Accepted():
		return undetected("%s", seen(res))
	}
	if n+1 == len(f.sent) {
		return nil
	}
	accepted, rooted := res.Verdict.Accepted(), v.pos.rooted
	next := v.Next(f.sent[n+1], time.Time{})
	switch {
	case next.Verdict == Verified && (accepted || v.pos.next != uint64(n+2)):
		return undetected("%s, and leaf %d behind it is %s", seen(res), n+1, next.Verdict)
	case accepted && rooted && next.Verdict != Forked && next.Verdict != WrongKey:
		return undetected("%s, and leaf %d behind it is %s", seen(res), n+1, next.Verdict)
	}
	return nil
}

// rolledBack is a box that goes on from an old copy of its disk.
func (f *feed) rolledBack(r *rand.Rand) error {
	other := f.histories.forked
	k := forkAt + 1 + r.IntN(len(f.sent)-forkAt)
	v := clone(f.at[k])
	n := forkAt + r.IntN(len(other.stored)-forkAt)
	anchored := r.IntN(2) == 0
	for i, d := range other.stored[n:min(n+3, len(other.stored))] {
		at := uint64(n + i)
		if anchored {
			d = other.anchored(d, n+i)
		}
		res := v.Next(d, time.Time{})
		switch {
		case at < uint64(k) && res.Verdict != Forked, at == uint64(k) && i > 0 && res.Verdict != Forked, res.Verdict == Verified:
			return undetected("leaf %d of another history, with leaf %d received: %s %v", at, k-1, res.Verdict, res.Reasons)
		}
		if at >= uint64(k) && res.Verdict == Gap {
			// SPEC.md section 19: behind a gap, an anchor is held against what was seen as far as
			// both know the same subtree, and no further. The first honest leaf tells.
			if n+i+1 < len(f.sent) {
				if next := v.Next(f.sent[n+i+1], time.Time{}); next.Verdict == Verified || v.pos.rooted && next.Verdict != Forked {
					return undetected("leaf %d of another history behind a gap, then leaf %d is %s %v", at, at+1, next.Verdict, next.Reasons)
				}
			}
			return nil
		}
	}
	return nil
}

// otherKey signs leaf n with a key that is not in force there.
func (f *feed) otherKey(t testing.TB, n int, r *rand.Rand) error {
	by := f.signers[len(f.signers)-1-r.IntN(2)*(len(f.signers)-1)] // the first or the last in force
	if publicOf(by) == publicOf(f.signers[n]) {
		by = evidencetest.SuiteSigner(f.suite, []byte{4, 9}[r.IntN(2)]) // one that comes later, or a stranger's
	}
	x := f.forge(t, n, by, func(*liar) bool { return true })
	v := clone(f.at[n])
	if res := v.Next(x, time.Time{}); res.Verdict.Accepted() || !same(v, f.at[n]) {
		return undetected("leaf %d signed with another key: %s %v", n, res.Verdict, res.Reasons)
	}
	return nil
}

// otherLog sends a second log of the same key.
func (f *feed) otherLog(n int, r *rand.Rand) error {
	k := r.IntN(len(f.at))
	v := clone(f.at[k])
	x := f.second.stored[n]
	if r.IntN(2) == 0 {
		x = f.second.anchored(x, n)
	}
	res := v.Next(x, time.Time{})
	if f.meta == nil && k == 0 {
		// Nothing was ever received: this is a log of the pinned key like any other.
		if honest := v.Next(f.sent[n], time.Time{}); res.Verdict.Accepted() && honest.Verdict.Accepted() {
			return undetected("two logs of one key in one stream")
		}
		return nil
	}
	if res.Verdict.Accepted() || !same(v, f.at[k]) {
		return undetected("leaf %d of another log of the same key: %s %v", n, res.Verdict, res.Reasons)
	}
	return nil
}
