//go:build integration

package verify

import (
	"encoding/hex"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// world holds what all logs of an agreement run share.
type world struct {
	signers map[evidence.Suite][]evidence.Signer // by seed
	foreign map[evidence.Suite][][]byte          // deliveries of another box
}

func newWorld(t *testing.T) *world {
	w := &world{signers: map[evidence.Suite][]evidence.Signer{}, foreign: map[evidence.Suite][][]byte{}}
	for _, s := range []evidence.Suite{evidence.SuiteEd25519, evidence.SuiteES256, evidence.SuiteSM2} {
		w.signers[s] = []evidence.Signer{nil}
		for seed := byte(1); seed < 8; seed++ {
			w.signers[s] = append(w.signers[s], attested{evidencetest.SuiteSigner(s, seed), evidencetest.SuiteSigner(evidence.SuiteES256, 7)})
		}
		w.foreign[s] = evidencetest.NewStreamOf(t, w.signers[s][2], nil, 6).Deliveries
	}
	return w
}

// box writes one log and remembers how each leaf came about.
type box struct {
	t      *testing.T
	rnd    *rand.Rand
	suite  evidence.Suite
	keys   []evidence.Signer // keys[0] signs now, keys[1] is committed to, ...
	w      *seal.Writer
	now    int64
	boot   uint64
	uptime uint64
	count  uint64 // of the TPM
	flag   evidence.TimeFlag
	nonces map[string]int64

	deliveries [][]byte
	signer     []evidence.Signer
	anchors    []evidence.Anchor // before the leaf
	metas      [][]byte          // after the leaf
}

func (b *box) add(delivery []byte, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
	b.deliveries = append(b.deliveries, slices.Clone(delivery))
}

// step seals one leaf.
func (b *box) step() {
	b.signer = append(b.signer, b.keys[0])
	if b.w == nil {
		b.anchors = append(b.anchors, evidence.Anchor{})
		b.genesis()
	} else {
		b.anchors = append(b.anchors, b.w.Anchor())
		b.leaf()
	}
	b.metas = append(b.metas, b.w.Meta().Encode())
}

func (b *box) genesis() {
	g := evidence.Genesis{Event: b.point(), Dictionary: b.dictionary()}
	if b.rnd.IntN(3) > 0 {
		next := b.keys[1].Public()
		h := next.Digest()
		g.Successor = &h
	}
	if b.rnd.IntN(4) == 0 {
		g.Prev = &evidence.Previous{Log: evidence.LogID{1}, N: 9, Why: "loss"}
	}
	var first []byte
	var err error
	b.w, first, err = seal.NewWriter(b.keys[0], evidencetest.Secret(), g)
	b.add(first, err)
}

func (b *box) leaf() {
	switch pick := b.rnd.IntN(21); {
	case pick < 9:
		b.window()
	case pick == 9:
		b.boot, b.uptime = b.boot+uint64(1+b.rnd.IntN(2)), 0
		b.add(b.w.Boot(b.point(), evidence.Boot{Clean: b.rnd.IntN(2) == 0, LastRecordedMS: b.now, Software: "test"}))
	case pick == 10:
		before := b.now
		b.now += int64(b.rnd.IntN(400_000)) - 100_000
		b.flag = []evidence.TimeFlag{evidence.Synchronised, evidence.Unsynchronised, "I", evidence.Relative}[b.rnd.IntN(4)]
		b.add(b.w.Step(b.point(), before, b.now))
	case pick == 11:
		b.add(b.w.Config(b.point(), b.dictionary(), evidence.Hash{byte(b.rnd.Uint32())}))
	case pick == 12:
		b.add(b.w.Events(b.point(), []evidence.Happening{{At: b.now, Kind: "line_lost", Subject: "hall-a", Count: 1 + b.rnd.Uint64N(3)}}))
	case pick == 13 && b.w.N() > 2:
		b.add(b.w.Loss(b.point(), []evidence.LostRange{{Lo: 1, Hi: 1 + b.rnd.Uint64N(b.w.N()-2), Reason: "quota"}}))
	case pick == 14:
		b.add(b.w.Witnessed(b.point(), "tallystick.org/log/"+b.w.LogID().String()+"\n9\n\n"))
	case pick < 17 && b.w.Successor() != nil && len(b.keys) > 2:
		next := b.keys[2].Public()
		b.add(b.w.Rotate(b.point(), b.keys[1], next.Digest()))
		b.keys = b.keys[1:]
	case pick == 20:
		b.count += 1 + b.rnd.Uint64N(4)/3
		b.add(b.w.Counter(b.point(), certified(b.t, b.keys[0].(attested).ak, b.w.CounterOver(), b.count)))
	default:
		b.record()
	}
}

func (b *box) record() {
	types := []evidence.LeafType{evidence.ConsentLeaf, evidence.DeclarationLeaf, evidence.ReceiptLeaf, evidence.CommissioningLeaf, evidence.AnswerLeaf}
	body, err := record.Encode([]string{"", "bank-a", "bank-b"}[b.rnd.IntN(3)], b.content(0))
	if err != nil {
		b.t.Fatal(err)
	}
	b.add(b.w.Record(b.point(), types[b.rnd.IntN(len(types))], body))
}

// content is any value a record may hold.
func (b *box) content(depth int) any {
	pick := b.rnd.IntN(8)
	if depth == 3 {
		pick %= 6
	}
	switch pick {
	case 0:
		return b.rnd.IntN(2) == 0
	case 1:
		return nil
	case 2:
		return []byte{byte(b.rnd.Uint32())}
	case 3:
		return "报告 " + fmt.Sprint(b.rnd.IntN(300))
	case 4:
		return b.rnd.Uint64() >> b.rnd.IntN(64)
	case 5:
		return -1 - int64(b.rnd.Uint64()>>(1+b.rnd.IntN(63)))
	case 6:
		list := make([]any, b.rnd.IntN(4))
		for i := range list {
			list[i] = b.content(depth + 1)
		}
		return list
	}
	m := map[any]any{}
	for range b.rnd.IntN(4) {
		m[int64(b.rnd.IntN(600)-200)] = b.content(depth + 1)
		m[fmt.Sprint("k", b.rnd.IntN(30))] = b.content(depth + 1)
	}
	return m
}

func (b *box) point() evidence.Event {
	b.uptime += uint64(b.rnd.IntN(1000))
	return evidence.Event{Start: b.now, TimeFlag: b.flag, TimeErrorMS: 20, Boot: b.boot, UptimeMS: b.uptime}
}

func (b *box) window() {
	const ms = 60_000
	e := b.point()
	e.Duration, e.UptimeMS = ms, e.UptimeMS+ms
	b.now, b.uptime = b.now+ms, e.UptimeMS
	if b.rnd.IntN(15) == 0 {
		b.boot += uint64(b.rnd.IntN(2)) // a restart that nothing explains
		b.uptime = 0
	}
	data := map[evidence.Channel][]evidence.Samples{}
	for ch, meters := range b.w.Dictionary().Channels {
		data[ch] = []evidence.Samples{}
		for _, cm := range meters {
			if ch == evidence.RawFrames {
				data[ch] = append(data[ch], b.frames(len(cm.Columns)))
			} else {
				data[ch] = append(data[ch], b.samples(len(cm.Columns)))
			}
		}
	}
	var beacon []evidence.NonceHash
	for range b.rnd.IntN(3) {
		nonce := []byte(fmt.Sprintf("%016x", b.rnd.Uint64()))
		if b.rnd.IntN(3) > 0 {
			b.nonces[hex.EncodeToString(nonce)] = b.now - int64(b.rnd.IntN(3_600_000)) + 600_000
		}
		beacon = append(beacon, b.suite.NonceHash(nonce))
	}
	b.add(b.w.Window(e, data, beacon))
}

func (b *box) samples(columns int) evidence.Samples {
	s := evidence.Samples{Slots: b.rnd.IntN(5)}
	coded := b.rnd.IntN(2) == 0
	for range columns {
		row, codes := make([]int64, s.Slots), make([]evidence.Code, s.Slots)
		for i := range row {
			row[i] = int64(b.rnd.Uint64()) >> b.rnd.IntN(64)
			if b.rnd.IntN(2) == 0 {
				codes[i] = evidence.Code(b.rnd.IntN(14))
			}
		}
		s.Values = append(s.Values, row)
		if coded {
			s.Codes = append(s.Codes, codes)
		}
	}
	return s
}

func (b *box) frames(columns int) evidence.Samples {
	f := &evidence.Frames{Dropped: b.rnd.Uint64() >> b.rnd.IntN(64)}
	for range b.rnd.IntN(3) {
		message := func() []byte { return make([]byte, b.rnd.IntN(9)) }
		f.Exchanges = append(f.Exchanges, evidence.Exchange{At: int64(b.rnd.Uint64()) >> b.rnd.IntN(64), Took: 9, Request: message(), Reply: message()})
	}
	return evidence.Samples{Values: make([][]int64, columns), Frames: f}
}

func (b *box) dictionary() evidence.Dictionary {
	d := evidence.Dictionary{Channels: map[evidence.Channel][]evidence.ChannelMeter{}}
	for i := range 1 + b.rnd.IntN(3) {
		d.Meters = append(d.Meters, evidence.Meter{Name: fmt.Sprint("meter-", i), Profile: "p", ProfileVersion: 1, IntervalMS: 10_000})
	}
	for range 1 + b.rnd.IntN(3) {
		ch := []evidence.Channel{1, 2, 3, 6, 7, 10, 12}[b.rnd.IntN(7)]
		d.Channels[ch] = nil
		for i := range d.Meters {
			if b.rnd.IntN(4) == 0 {
				continue
			}
			cm := evidence.ChannelMeter{Meter: i}
			for range 1 + b.rnd.IntN(3) {
				cm.Columns = append(cm.Columns, evidence.Column{Quantity: "q", Unit: "V", Exp: -1, MulCoef: 1 + int64(b.rnd.IntN(100))})
			}
			d.Channels[ch] = append(d.Channels[ch], cm)
		}
	}
	return d
}

// twin goes on from where b stands with other readings: the other branch of a
// fork.
func (b *box) twin() *box {
	preamble, err := b.w.Preamble()
	if err != nil {
		b.t.Fatal(err)
	}
	c := *b
	if c.w, err = seal.Resume(b.keys[0], evidencetest.Secret(), preamble); err != nil {
		b.t.Fatal(err)
	}
	c.deliveries, c.signer = slices.Clone(b.deliveries), slices.Clone(b.signer)
	c.anchors, c.metas = slices.Clone(b.anchors), slices.Clone(b.metas)
	return &c
}

// make builds log number index of a run, and with an even chance damages it.
func (w *world) make(t *testing.T, seed, index uint64) suit {
	rnd := rand.New(rand.NewPCG(seed, index))
	suite := []evidence.Suite{1, 1, 1, 1, 1, 1, 2, 2, 3, 3}[rnd.IntN(10)]
	signers := w.signers[suite]
	b := &box{t: t, rnd: rnd, suite: suite, keys: []evidence.Signer{signers[1], signers[3], signers[4], signers[5]},
		now: evidencetest.Start, boot: 1, flag: evidence.Synchronised, nonces: map[string]int64{}}
	length := 2 + rnd.IntN(11)
	fork := 1 + rnd.IntN(length-1)
	twin := b
	for n := range length {
		if n == fork {
			twin = b.twin()
		}
		b.step()
	}
	for len(twin.deliveries) < length {
		twin.step()
	}
	record := signers[1].Public()
	m := &mischief{world: w, box: b, twin: twin, suit: suit{seed: seed, index: index, key: record.Key(), nonces: b.nonces}}
	m.receive()
	if rnd.IntN(2) == 0 {
		for range 1 + rnd.IntN(3) {
			m.once()
		}
	}
	return m.suit
}

// mischief is what may happen to deliveries between the box and the verifier,
// and what a box that lies may do.
type mischief struct {
	world     *world
	box, twin *box
	suit
	leaf []int // of each message, -1 when it is of no leaf of the box
}

// receive fills in the messages as an honest way would bring them.
func (m *mischief) receive() {
	rnd := m.box.rnd
	if rnd.IntN(3) > 0 {
		m.meta = m.box.metas[rnd.IntN(len(m.box.metas))]
	}
	from := 0
	if rnd.IntN(5) == 0 {
		from = rnd.IntN(len(m.box.deliveries))
		m.did = append(m.did, fmt.Sprint("begins at leaf ", from))
	}
	granted := func(evidence.RawBlock) bool { return true }
	if rnd.IntN(4) == 0 {
		granted = record.Granted("bank-a", []evidence.Channel{1, 6})
	}
	for n := from; n < len(m.box.deliveries); n++ {
		var anchor *evidence.Anchor
		if n == from && rnd.IntN(4) > 0 && n > 0 || rnd.IntN(10) == 0 {
			anchor = &m.box.anchors[n]
		}
		d, err := evidence.FilterDelivery(nil, m.box.deliveries[n], granted, anchor)
		if err != nil {
			m.box.t.Fatal(err)
		}
		m.insert(len(m.messages), d, n)
	}
}

// insert puts a message at a place, received some time after it was made.
func (m *mischief) insert(at int, b []byte, leaf int) {
	received := int64(0)
	if rnd := m.box.rnd; rnd.IntN(8) > 0 {
		delays := []int64{60_000, 60_000, 60_000, 300_000, 600_000, 86_400_000, 86_400_001, 3 * 86_400_000, 7*86_400_000 + 1, -600_000, -300_000}
		received = soon(b).UnixMilli() - 60_000 + delays[rnd.IntN(len(delays))]
	}
	m.messages = slices.Insert(m.messages, at, message{bytes: b, received: received})
	m.leaf = slices.Insert(m.leaf, at, leaf)
}

func (m *mischief) remove(at int) {
	m.messages, m.leaf = slices.Delete(m.messages, at, at+1), slices.Delete(m.leaf, at, at+1)
}

// once does one thing.
func (m *mischief) once() {
	rnd := m.box.rnd
	if len(m.messages) == 0 {
		return
	}
	at := rnd.IntN(len(m.messages))
	old := slices.Clone(m.messages[at].bytes)
	leaf := m.leaf[at]
	did := ""
	put := func(what string, b []byte, leaf int) {
		did = what
		m.remove(at)
		m.insert(at, b, leaf)
	}
	switch pick := rnd.IntN(25); {
	case pick < 4 && len(old) > 0:
		old[rnd.IntN(len(old))] ^= 1 << rnd.IntN(8)
		put("a bit flipped", old, -1)
	case pick == 4:
		put("cut short", old[:rnd.IntN(len(old)+1)], -1)
	case pick == 5:
		m.insert(rnd.IntN(len(m.messages)+1), old, leaf)
		did = "doubled"
	case pick == 6:
		moved := m.messages[at]
		m.remove(at)
		to := rnd.IntN(len(m.messages) + 1)
		m.messages, m.leaf = slices.Insert(m.messages, to, moved), slices.Insert(m.leaf, to, leaf)
		did = fmt.Sprint("moved to ", to)
	case pick < 10:
		for range 1 + rnd.IntN(2) {
			if at < len(m.messages) {
				m.remove(at)
			}
		}
		did = "dropped"
		if at < len(m.messages) && m.leaf[at] >= 0 && rnd.IntN(3) > 0 {
			did += ", with an anchor " + m.anchor(at, m.box, m.leaf[at])
		}
	case pick == 10:
		foreign := m.world.foreign[m.box.suite]
		put("a leaf of another box", foreign[rnd.IntN(len(foreign))], -1)
	case pick < 14:
		n := rnd.IntN(len(m.twin.deliveries))
		if leaf >= 0 && rnd.IntN(4) > 0 {
			n = leaf
		}
		put("a leaf of another history", m.twin.deliveries[n], -1)
		if rnd.IntN(2) == 0 {
			did += ", with an anchor " + m.anchor(at, m.twin, n)
		}
	case pick == 14 && leaf >= 0:
		did = "an anchor " + m.anchor(at, m.box, leaf)
	case pick == 15 && leaf >= 0:
		put("signed by another of its keys", m.forge(old, m.world.signers[m.box.suite][1+rnd.IntN(6)], func(*forgery) string { return "" }, &did), -1)
	case pick == 16:
		m.meta = slices.Clone(m.box.metas[len(m.box.metas)-1])
		m.meta[rnd.IntN(len(m.meta))] ^= 1 << rnd.IntN(8)
		did = "a bit of the meta message flipped"
	case pick == 17:
		m.meta = m.twin.metas[rnd.IntN(len(m.twin.metas))]
		did = "the meta message of another history"
	case pick < 21 && leaf >= 0:
		what := ""
		b := m.forge(old, m.box.signer[leaf], m.editBlock, &what)
		put(what, b, leaf)
	case leaf >= 0:
		what := ""
		b := m.forge(old, m.box.signer[leaf], m.editLeaf, &what)
		put(what, b, leaf)
	}
	m.did = append(m.did, fmt.Sprintf("message %d: %s", at, did))
}

// anchor gives message at an anchor of leaf n of a history, good or not, and
// says which.
func (m *mischief) anchor(at int, of *box, n int) string {
	rnd, word := m.box.rnd, "of its own"
	a := of.anchors[n]
	switch rnd.IntN(5) {
	case 0:
		a, word = m.twin.anchors[n], "of another history"
	case 1:
		a, word = of.anchors[rnd.IntN(len(of.anchors))], "of another leaf"
	case 2:
		if len(a.Hashes) > 0 {
			a.Hashes, word = slices.Clone(a.Hashes), "with a bit flipped"
			a.Hashes[rnd.IntN(len(a.Hashes))][3] ^= 1
		}
	}
	d, err := evidence.FilterDelivery(nil, m.messages[at].bytes, func(evidence.RawBlock) bool { return true }, &a)
	if err != nil {
		return "that nothing can hold"
	}
	m.messages[at].bytes = d
	return word
}

// forgery is a delivery taken apart, to be signed again.
type forgery struct {
	payload map[uint64]any
	blocks  map[uint64][]byte
}

// forge signs an edited copy of a delivery; one that cannot be taken apart
// stays as it is.
func (m *mischief) forge(delivery []byte, key evidence.Signer, edit func(*forgery) string, what *string) []byte {
	t := m.box.t
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		*what = "nothing"
		return delivery
	}
	f := forgery{blocks: map[uint64][]byte{}}
	if err := cbor.Unmarshal(d.Payload, &f.payload); err != nil {
		t.Fatal(err)
	}
	for _, b := range d.Blocks {
		f.blocks[uint64(b.Channel)] = slices.Clone(b.Bytes)
	}
	*what = edit(&f)
	sign1, err := evidence.Sign1(key, encode(t, f.payload))
	if err != nil {
		t.Fatal(err)
	}
	parts := []any{sign1, f.blocks}
	if d.Anchor != nil {
		parts = append(parts, *d.Anchor)
	}
	return encode(t, parts)
}

// editBlock changes a block, most times together with its digest.
func (m *mischief) editBlock(f *forgery) string {
	rnd := m.box.rnd
	channels := slices.Sorted(maps.Keys(f.blocks))
	if len(channels) == 0 {
		return "no block to edit"
	}
	ch := channels[rnd.IntN(len(channels))]
	what := fmt.Sprintf("block %d: ", ch)
	switch pick := rnd.IntN(8); pick {
	case 0:
		other := channels[rnd.IntN(len(channels))]
		f.blocks[ch], f.blocks[other] = f.blocks[other], f.blocks[ch]
		what += "exchanged"
	case 1:
		f.blocks[uint64(rnd.IntN(13))] = slices.Clone(f.blocks[ch])
		what += "copied"
	case 2:
		b := f.blocks[ch]
		b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
		what += "a bit flipped"
	default:
		var parts []any
		if cbor.Unmarshal(f.blocks[ch], &parts) != nil || len(parts) != 4 {
			return what + "left alone"
		}
		body, ok := parts[3].([]byte)
		if !ok || len(body) == 0 {
			return what + "left alone"
		}
		at := rnd.IntN(len(body))
		switch pick {
		case 3:
			parts[1+rnd.IntN(2)] = rnd.Uint64() >> rnd.IntN(64)
			what += "another channel or sequence"
		case 4:
			body[at] ^= 1 << rnd.IntN(8)
			what += "a bit of the body flipped"
		case 5:
			body = slices.Insert(body, at, byte(rnd.Uint32())>>rnd.IntN(8))
			what += "a byte more"
		case 6:
			body = slices.Delete(body, at, at+1)
			what += "a byte less"
		default:
			body[at] = byte(rnd.IntN(16))
			what += "a byte of the body set"
		}
		parts[3] = body
		f.blocks[ch] = encode(m.box.t, parts)
	}
	if digests, ok := f.payload[8].(map[any]any); ok && rnd.IntN(6) > 0 {
		for ch, b := range f.blocks {
			if entry, ok := digests[ch].([]any); ok {
				h := m.box.suite.Sum(b)
				entry[1] = h[:]
			}
		}
		what += ", signed"
	}
	return what
}

// numbers that stand at the edge of something.
var edges = []any{0, 1, 2, 3, 5, 8, 255, 1000, 1001, 1 << 31, 1<<31 - 1, 1 << 32, 1<<32 + 1, 1 << 52, 1<<52 + 1, uint64(1<<63 - 1), uint64(1 << 63), uint64(1<<64 - 1), -1,
	"", "x", []byte{}, make([]byte, 16), make([]byte, 32), make([]byte, 64), nil, true, []any{}, map[any]any{}, 1.5}

// editLeaf changes one thing in the signed payload.
func (m *mischief) editLeaf(f *forgery) string {
	rnd := m.box.rnd
	keys := slices.Sorted(maps.Keys(f.payload))
	k := keys[rnd.IntN(len(keys))]
	switch rnd.IntN(8) {
	case 0:
		delete(f.payload, k)
		return fmt.Sprintf("key %d left out", k)
	case 1:
		k = []uint64{2, 8, 9, 10, 11, 12, 20, 21, 24, 25, 26, 27, 30, 31, 32, 33, 34, 40, 50, 60, 61}[rnd.IntN(21)]
		f.payload[k] = edges[rnd.IntN(len(edges))]
		return fmt.Sprintf("key %d set to %v", k, f.payload[k])
	case 2:
		n, _ := f.payload[3].(uint64)
		f.payload[3] = max(0, int64(n)+int64(rnd.IntN(5))-2)
		return fmt.Sprint("renumbered to ", f.payload[3])
	case 3:
		n, _ := f.payload[3].(uint64)
		if _, ok := f.payload[11]; ok {
			f.payload[11] = rnd.Uint64N(n + 1)
			return fmt.Sprint("dictionary of leaf ", f.payload[11])
		}
		fallthrough
	default:
		what := fmt.Sprintf("key %d", k)
		f.payload[k] = m.edit(f.payload[k], &what)
		return what
	}
}

// edit changes one thing inside a value.
func (m *mischief) edit(v any, what *string) any {
	rnd := m.box.rnd
	switch v := v.(type) {
	case map[any]any:
		if len(v) == 0 || rnd.IntN(8) == 0 {
			break
		}
		keys := slices.SortedFunc(maps.Keys(v), func(a, b any) int { return slices.Compare(encode(m.box.t, a), encode(m.box.t, b)) })
		k := keys[rnd.IntN(len(keys))]
		*what += fmt.Sprintf(".%v", k)
		switch rnd.IntN(6) {
		case 0:
			delete(v, k)
			*what += " left out"
		case 1:
			v[uint64(rnd.IntN(14))] = v[k]
			*what += " copied"
		default:
			v[k] = m.edit(v[k], what)
		}
		return v
	case []any:
		if len(v) == 0 || rnd.IntN(8) == 0 {
			break
		}
		i := rnd.IntN(len(v))
		*what += fmt.Sprintf("[%d]", i)
		switch rnd.IntN(8) {
		case 0:
			*what += " left out"
			return slices.Delete(v, i, i+1)
		case 1:
			*what += " doubled"
			return slices.Insert(v, i, v[i])
		}
		v[i] = m.edit(v[i], what)
		return v
	case uint64:
		if rnd.IntN(2) == 0 {
			v += uint64(rnd.IntN(5)) - 2
			*what += fmt.Sprint(" = ", v)
			return v
		}
	case []byte:
		if len(v) > 0 && rnd.IntN(3) > 0 {
			v[rnd.IntN(len(v))] ^= 1
			*what += " a bit flipped"
			return v
		}
	}
	e := edges[rnd.IntN(len(edges))]
	*what += fmt.Sprintf(" = %v", e)
	return e
}
