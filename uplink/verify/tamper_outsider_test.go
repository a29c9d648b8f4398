package verify

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// errUndetected says that something passed which the box never made, or that
// something is missing and nobody was told; errAccused that a box was said to
// have signed two histories, and had not.
var (
	errUndetected = errors.New("undetected")
	errAccused    = errors.New("accused without proof")
)

func undetected(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUndetected, fmt.Sprintf(format, args...))
}

// A judge holds what a verifier says of a stream against what the box made. Whoever
// has no key of the box may do to the stream what they like; then still
//
//   - a leaf that is accepted is one of the box's, signature and blocks included,
//     and read with its own dictionary;
//   - each is accepted once, in order, and whatever is left out is told;
//   - nothing is called a fork;
//   - a receipt covers what was received, and no more.
//
// What a stream may lack without a word: blocks (a lender has those it was
// granted, SPEC.md section 8), anchors (they are not signed, and count only where they fit),
// and its end (section 1).
type judge struct {
	h      *history
	second *history // what h becomes when a stream without a meta message begins with it: the same key made it
	v      *Verifier
	next   uint64 // leaves below were accepted or told to be missing
	stored map[evidence.Channel]uint64
}

func (f *feed) judge(v *Verifier) *judge {
	return &judge{h: f.history, second: f.second, v: v, next: v.N(), stored: maps.Clone(v.pos.stored)}
}

func (j *judge) deliver(b []byte) error {
	late := !j.v.pos.started
	res := j.v.Next(b, time.Time{})
	switch {
	case res.Verdict == Forked:
		return fmt.Errorf("%w: leaf %d: %v", errAccused, res.N, res.Reasons)
	case !res.Verdict.Accepted() && j.v.N() != j.next:
		return undetected("leaf %d is %s and yet part of the log", res.N, res.Verdict)
	case !res.Verdict.Accepted():
		return nil
	}
	if late && j.v.meta.raw == nil && res.Log == j.second.parsed[0].Manifest.Log {
		j.h = j.second
	}
	d, err := j.h.genuine(res.N, b)
	if err != nil {
		return err
	}
	switch {
	case res.N < j.next:
		return undetected("leaf %d accepted where leaf %d is next", res.N, j.next)
	case late && res.N > 0:
		if res.Verdict == Verified && !has(res, "starts-late") {
			return undetected("the stream begins with leaf %d, and nobody is told", res.N)
		}
	case res.N > j.next && (res.Verdict == Verified || res.Missing == nil || *res.Missing != Range{j.next, res.N - 1}):
		return undetected("leaves %d to %d left out before leaf %d: %s, missing %v", j.next, res.N-1, res.N, res.Verdict, res.Missing)
	}
	if err := j.h.read(res); err != nil {
		return err
	}
	j.next = res.N + 1
	for _, b := range d.Blocks {
		j.stored[b.Channel] = res.Manifest.Channels[b.Channel].Seq
	}
	return nil
}

// end compares the receipt.
func (j *judge) end() error {
	tree, r := j.v.pos.tree, j.v.Receipt()
	if !slices.Equal(tree.Hashes, j.h.anchors[tree.N].Hashes) || tree.N > j.next {
		return undetected("the receipt says %d leaves with root %s", tree.N, r.Root)
	}
	if !maps.Equal(r.Channels, j.stored) {
		return undetected("the receipt says blocks %v, delivered were %v", r.Channels, j.stored)
	}
	return nil
}

// genuine finds the leaf and every block of an accepted delivery in the history.
func (h *history) genuine(n uint64, delivery []byte) (evidence.UnverifiedDelivery, error) {
	d, err := evidence.ParseDelivery(delivery)
	if err != nil || n >= uint64(len(h.parsed)) || !bytes.Equal(d.Sign1, h.parsed[n].Sign1) {
		return d, undetected("leaf %d accepted, and the box never made it", n)
	}
	for _, b := range d.Blocks {
		i := slices.IndexFunc(h.parsed[n].Blocks, func(o evidence.RawBlock) bool { return o.Channel == b.Channel })
		if i < 0 || !bytes.Equal(b.Bytes, h.parsed[n].Blocks[i].Bytes) {
			return d, undetected("leaf %d accepted with a block of channel %d that the box never made", n, b.Channel)
		}
	}
	return d, nil
}

// read checks that a window is read with the dictionary its box meant.
func (h *history) read(res Result) error {
	own := &h.parsed[res.N].Manifest
	if res.Type != own.Type || !reflect.DeepEqual(res.Manifest, own) {
		return undetected("leaf %d is read otherwise than it was signed", res.N)
	}
	if res.Window == nil || reflect.DeepEqual(res.Window.dict, h.parsed[own.DictionaryAt].Manifest.Dictionary()) {
		return nil
	}
	return undetected("leaf %d is read with another dictionary than its own", res.N)
}

// tails remembers which ends of a stream were judged: a verifier that stands where
// it stood makes the same of the same deliveries.
type tails struct{ seen sync.Map }

type tail struct {
	f          *feed
	loose      bool
	at, resume int
}

// run delivers messages to a verifier at leaf k, then what honestly follows from
// leaf resume on.
func (f *feed) run(ts *tails, loose bool, k int, messages [][]byte, resume int) error {
	start := f.at[k]
	if loose {
		start = f.loose[k]
	}
	j := f.judge(clone(start))
	for _, m := range messages {
		if err := j.deliver(m); err != nil {
			return err
		}
	}
	if err := j.end(); err != nil || same(j.v, f.at[resume]) {
		return err
	}
	if same(j.v, start) {
		if _, judged := ts.seen.LoadOrStore(tail{f, loose, k, resume}, true); judged {
			return nil
		}
	}
	for _, m := range f.sent[resume:min(resume+3, len(f.sent))] {
		if err := j.deliver(m); err != nil {
			return err
		}
	}
	return j.end()
}

// mangle changes bytes of b in one to three places.
func mangle(r *rand.Rand, b, donor []byte) []byte {
	b = slices.Clone(b)
	for range 1 + r.IntN(4)/2 {
		if len(b) == 0 {
			return []byte{byte(r.Uint32())}
		}
		at := r.IntN(len(b))
		end := at + min(1+r.IntN(40), len(b)-at)
		switch r.IntN(9) {
		case 0, 1, 2:
			b[at] ^= 1 << r.IntN(8)
		case 3:
			b[at] = byte(r.Uint32())
		case 4:
			b = slices.Insert(b, at, byte(r.Uint32()))
		case 5:
			b = slices.Delete(b, at, end)
		case 6:
			b = slices.Insert(b, r.IntN(len(b)+1), slices.Clone(b[at:end])...)
		case 7:
			copy(b[at:end], donor[min(at, len(donor)):])
		case 8:
			if r.IntN(2) == 0 {
				b = b[:at]
			} else {
				b = append(b, b[at:end]...)
			}
		}
	}
	return b
}

// place picks where the campaign strikes: a verifier at leaf k, one in ten behind a gap.
func (f *feed) place(r *rand.Rand) (k int, loose bool) {
	k = r.IntN(len(f.sent))
	return k, r.IntN(10) == 0 && f.loose[k] != nil
}

// anchored adds the anchor of leaf n to a delivery.
func (h *history) anchored(delivery []byte, n int) []byte {
	return beside(delivery, h.anchors[n])
}

// beside puts an anchor beside a delivery.
func beside(delivery []byte, a evidence.Anchor) []byte {
	b, err := evidence.FilterDelivery(nil, delivery, func(evidence.RawBlock) bool { return true }, &a)
	if err != nil {
		panic(err) // our own delivery and anchor
	}
	return b
}

// byteLevel changes bytes of one message.
func (f *feed) byteLevel(ts *tails, r *rand.Rand) error {
	k, loose := f.place(r)
	donor := f.sent[r.IntN(len(f.sent))]
	switch r.IntN(20) {
	case 0:
		return f.mangledMeta(mangle(r, f.metas[k], f.foreign.metas[k]))
	case 1:
		return f.mangledReceipt(r)
	case 2:
		return f.mangledProof(r)
	case 3: // a delivery whose anchor counts
		n := min(k+r.IntN(4), len(f.sent)-1)
		return f.run(ts, loose, k, [][]byte{mangle(r, f.anchored(f.sent[n], n), donor)}, n+1)
	}
	return f.run(ts, loose, k, [][]byte{mangle(r, f.sent[k], donor)}, k+1)
}

// mangledMeta is refused, or says what the box said at one time.
func (f *feed) mangledMeta(meta []byte) error {
	v, err := New(f.pinned, meta)
	if err != nil {
		return nil
	}
	if n := v.meta.dict.n; v.log != f.parsed[0].Manifest.Log || !bytes.Equal(v.meta.dict.sign1, f.parsed[n].Sign1) {
		return undetected("meta: a dictionary the box never signed")
	}
	for i, e := range v.epochs {
		if i > 0 && (e.leaf != f.parsed[e.n].Hash() || e.key != publicOf(f.signers[e.n+1])) {
			return undetected("meta: a key the box never put in force")
		}
	}
	return nil
}

// mangledReceipt does not verify.
func (f *feed) mangledReceipt(r *rand.Rand) error {
	n := r.IntN(len(f.sent))
	receipt := evidence.Receipt{Log: f.parsed[0].Manifest.Log, N: uint64(n), Root: f.anchors[n+1].Root(f.suite),
		Channels: map[evidence.Channel]uint64{1: uint64(n)}, ReceivedAt: evidencetest.Start, Status: "ok", Nonce: bytes.Repeat([]byte{byte(n)}, 16)}
	b, err := evidence.SignReceipt(f.signers[0], receipt)
	if err != nil {
		return err
	}
	bad := mangle(r, b, f.sent[n])
	if got, err := evidence.OpenReceipt(f.pinned, bad); err == nil && !reflect.DeepEqual(got, receipt) {
		return undetected("receipt: %+v was never signed", got)
	}
	return nil
}

// mangledProof: a proof of a fork holds for leaves the box signed and that contradict each
// other, and for nothing else.
func (f *feed) mangledProof(r *rand.Rand) error {
	pick := func(h *history) []byte {
		n := r.IntN(len(h.stored))
		switch a := h.anchors[n]; r.IntN(4) {
		case 0, 1:
			return h.anchored(h.stored[n], n)
		case 2: // an anchor that was not signed
			if n == 0 {
				break
			}
			a.Hashes = slices.Clone(a.Hashes)
			a.Hashes[r.IntN(len(a.Hashes))][r.IntN(32)] ^= 1
			return beside(h.stored[n], a)
		}
		return h.stored[n]
	}
	p := bundle.FraudProof{Meta: f.metas[len(f.metas)-1], A: pick(f.history), B: pick(f.history)}
	if r.IntN(2) == 0 {
		p.B = pick(f.forked)
	}
	b := p.Encode()
	if r.IntN(4) > 0 {
		b = mangle(r, b, p.A)
	}
	got, err := bundle.ParseFraudProof(b)
	if err != nil {
		return nil
	}
	if _, err := Fork(f.pinned, got); err != nil {
		return nil
	}
	side := func(delivery []byte) (own, other bool) {
		d, err := evidence.ParseDelivery(delivery)
		n := d.Manifest.N
		if err != nil || n >= uint64(len(f.parsed)) {
			return false, false
		}
		return bytes.Equal(d.Sign1, f.parsed[n].Sign1), bytes.Equal(d.Sign1, f.forked.parsed[n].Sign1)
	}
	aOwn, aOther := side(got.A)
	bOwn, bOther := side(got.B)
	if aOwn && bOwn || aOther && bOther || !aOwn && !aOther || !bOwn && !bOther {
		return fmt.Errorf("%w: a proof of a fork between leaves of one history, or of none", errAccused)
	}
	return nil
}

// recordLevel moves whole deliveries and blocks about, those of others included.
func (f *feed) recordLevel(ts *tails, r *rand.Rand) error {
	k, loose := f.place(r)
	length := min(1+r.IntN(4), len(f.sent)-k)
	messages := slices.Clone(f.sent[k : k+length])
	strangers := []*history{f.second, f.foreign}
	for range 1 + r.IntN(3) {
		if len(messages) == 0 {
			break
		}
		i, n := r.IntN(len(messages)), r.IntN(len(f.stored))
		other := f.history
		if r.IntN(3) == 0 {
			other = strangers[r.IntN(2)]
		}
		switch r.IntN(10) {
		case 0:
			messages = slices.Delete(messages, i, i+1)
		case 1:
			messages = slices.Insert(messages, i, messages[r.IntN(len(messages))])
		case 2:
			o := r.IntN(len(messages))
			messages[i], messages[o] = messages[o], messages[i]
		case 3:
			slices.Reverse(messages)
		case 4: // a delivery of another place, box, log or lender
			messages[i] = other.stored[n]
		case 5:
			messages = slices.Insert(messages, i, other.anchored(other.stored[n], n))
		case 6: // an anchor of its own or of another place
			if d, err := evidence.ParseDelivery(messages[i]); err == nil {
				at := other.anchors[min(d.Manifest.N, uint64(len(other.anchors)-1))]
				if r.IntN(3) == 0 {
					at = evidence.Anchor{N: d.Manifest.N, Hashes: slices.Clone(f.anchors[n].Hashes)}
				}
				if b, err := evidence.FilterDelivery(nil, messages[i], func(evidence.RawBlock) bool { return true }, &at); err == nil {
					messages[i] = b
				}
			}
		default:
			messages[i] = splice(r, messages[i], other.stored[n])
		}
	}
	return f.run(ts, loose, k, messages, k+length)
}

// splice takes parts of one delivery into another: the leaf, or a block; or it
// takes a block away or puts it under another channel.
func splice(r *rand.Rand, delivery, donor []byte) []byte {
	d, err := evidence.ParseDelivery(delivery)
	o, err2 := evidence.ParseDelivery(donor)
	if err != nil || err2 != nil {
		return delivery
	}
	blocks := slices.Clone(d.Blocks)
	take := func() (b evidence.RawBlock, ok bool) {
		if len(o.Blocks) == 0 {
			return b, false
		}
		return o.Blocks[r.IntN(len(o.Blocks))], true
	}
	sign1 := d.Sign1
	switch what := r.IntN(5); {
	case what == 0:
		sign1 = o.Sign1
	case what == 1 && len(blocks) > 0:
		i := r.IntN(len(blocks))
		blocks = slices.Delete(blocks, i, i+1)
	case what == 2 && len(blocks) > 1:
		i, k := r.IntN(len(blocks)), r.IntN(len(blocks))
		blocks[i].Bytes, blocks[k].Bytes = blocks[k].Bytes, blocks[i].Bytes
	default:
		b, ok := take()
		if !ok {
			return delivery
		}
		if i := slices.IndexFunc(blocks, func(x evidence.RawBlock) bool { return x.Channel == b.Channel }); i >= 0 {
			blocks[i] = b
		} else {
			blocks = append(blocks, b)
			slices.SortFunc(blocks, func(a, b evidence.RawBlock) int { return int(a.Channel) - int(b.Channel) })
		}
	}
	return pack(sign1, blocks)
}

// pack is a delivery without an anchor.
func pack(sign1 []byte, blocks []evidence.RawBlock) []byte {
	m := map[uint64][]byte{}
	for _, b := range blocks {
		m[uint64(b.Channel)] = b.Bytes
	}
	b, err := deterministic.Marshal([]any{sign1, m})
	if err != nil {
		panic(err) // plain values always encode
	}
	return b
}

// fileLevel changes a .tally file: its bytes, items and header.
func (f *feed) fileLevel(r *rand.Rand) error {
	lo := r.IntN(len(f.sent) - 1)
	hi := min(lo+1+r.IntN(5), len(f.sent)-1)
	header := f.header(uint64(lo), uint64(hi), r.IntN(4) == 0)
	items := slices.Clone(f.sent[lo : hi+1])
	var file []byte
	switch r.IntN(8) {
	case 0, 1:
		file = mangle(r, assemble(header, items), f.sent[lo])
	case 2: // cut, in an item or between two
		file = assemble(header, items)
		file = file[:r.IntN(len(file))]
		if r.IntN(2) == 0 {
			file = assemble(header, items[:r.IntN(len(items))])
		}
	case 3: // two files in one
		other := f.histories.second
		if r.IntN(2) == 0 {
			other = f.history
		}
		n := r.IntN(len(other.stored))
		file = append(assemble(header, items), assemble((&feed{history: other}).header(uint64(n), uint64(n), false), other.stored[n:n+1])...)
	case 4, 5: // the head
		n := r.IntN(len(f.stored))
		stranger := []*history{f.second, f.foreign}[r.IntN(2)]
		switch r.IntN(9) {
		case 0:
			header[4] = uint64(n)
		case 1:
			header[5] = uint64(n)
		case 2:
			delete(header, 5)
		case 3:
			header[3] = stranger.parsed[0].Manifest.Log[:]
		case 4:
			header[6] = f.anchors[n]
		case 5:
			if a, ok := header[6].(evidence.Anchor); ok {
				a.Hashes = slices.Clone(a.Hashes)
				a.Hashes[r.IntN(len(a.Hashes))][r.IntN(32)] ^= 1
				header[6] = a
			}
		case 6:
			header[7] = stranger.parsed[0].Sign1
		case 7:
			header[8] = f.parsed[[]int{0, 6, 20}[r.IntN(3)]].Sign1
		case 8:
			delete(header, 9)
			if r.IntN(2) == 0 {
				header[9] = [][]byte{stranger.parsed[13].Sign1}
			}
		}
		file = assemble(header, items)
	default: // the items
		i, n := r.IntN(len(items)), r.IntN(len(f.stored))
		switch r.IntN(6) {
		case 0:
			items = slices.Delete(items, i, i+1)
		case 1:
			items = slices.Insert(items, i, items[r.IntN(len(items))])
		case 2:
			items = slices.Insert(items, i, f.stored[n])
		case 3:
			items[i] = f.second.stored[n]
		case 4:
			slices.Reverse(items)
		case 5:
			items[i] = splice(r, items[i], f.foreign.stored[n])
		}
		file = assemble(header, items)
	}
	return f.judgeFile(file)
}

// header is that of a good file of leaves lo to hi.
func (f *feed) header(lo, hi uint64, open bool) map[uint64]any {
	h := map[uint64]any{1: "tally", 2: 1, 3: f.parsed[0].Manifest.Log[:], 4: lo, 5: hi, 7: f.parsed[0].Sign1}
	if open {
		delete(h, 5)
	}
	if lo > 0 {
		h[6] = f.anchors[lo]
	}
	var rotations [][]byte
	for n := range lo + 1 {
		if f.parsed[n].Manifest.Dictionary() != nil && (n < lo || n == 0) {
			h[8] = f.parsed[n].Sign1
		}
		if f.parsed[n].Manifest.Rotation != nil && n < lo {
			rotations = append(rotations, f.parsed[n].Sign1)
		}
	}
	if rotations != nil {
		h[9] = rotations
	}
	return h
}

// assemble writes a file.
func assemble(header map[uint64]any, items [][]byte) []byte {
	h, err := deterministic.Marshal(header)
	if err != nil {
		panic(err) // plain values always encode
	}
	var b bytes.Buffer
	w := bundle.AppendTo(&b)
	for _, item := range append([][]byte{h}, items...) {
		if err := w.Append(item); err != nil {
			panic(err) // a buffer takes everything
		}
	}
	return b.Bytes()
}

// judgeFile: a file is verified only when it holds, without a hole, leaves the box made,
// up to the last it announces; and what another one lacks, it lists.
func (f *feed) judgeFile(file []byte) error {
	br, err := bundle.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil
	}
	header, next := br.Header(), br.Header().Lo
	var fault error
	accepted := map[uint64]bool{}
	readings := 0
	sum, err := Bundle(bytes.NewReader(file), Policy{Keys: map[evidence.LogID]evidence.PublicKey{f.parsed[0].Manifest.Log: f.pinned}}, func(res Result) {
		item, err := br.Next()
		if err != nil {
			fault = errors.Join(fault, err)
		}
		if !res.Verdict.Accepted() || fault != nil {
			return
		}
		_, err = f.genuine(res.N, item)
		if err == nil {
			err = f.read(res)
		}
		if err == nil && (accepted[res.N] || res.N < next && len(accepted) > 0) {
			err = undetected("leaf %d accepted twice, or too late", res.N)
		}
		fault = errors.Join(fault, err)
		accepted[res.N], next = true, res.N+1
		readings += res.Readings
	})
	switch {
	case err != nil:
		return nil
	case fault != nil:
		return fault
	case sum.Verdict == Forked:
		return fmt.Errorf("%w: %v", errAccused, sum.Reasons)
	case sum.Leaves != uint64(len(accepted)) || sum.Readings != uint64(readings) && sum.Verdict == Verified:
		return undetected("the summary counts %d leaves and %d readings, there were %d and %d", sum.Leaves, sum.Readings, len(accepted), readings)
	case sum.Verdict == Verified && (sum.Log != f.parsed[0].Manifest.Log || sum.Leaves == 0 || sum.Leaves != sum.Hi-sum.Lo+1 || sum.Lo > header.Lo || !header.Open && sum.Hi != header.Hi):
		return undetected("verified: leaves %d to %d, %d of them; the head says %d to %d", sum.Lo, sum.Hi, sum.Leaves, header.Lo, header.Hi)
	case sum.Faults > 0 || sum.Verdict == Unreadable || sum.Verdict == WrongKey || sum.Verdict == Altered:
		return nil // the damage itself is told
	}
	for n := header.Lo; n < next; n++ {
		if !accepted[n] && !slices.ContainsFunc(sum.Gaps, func(g Lost) bool { return g.Lo <= n && n <= g.Hi }) {
			return undetected("leaf %d is not in the file, and not in its list of gaps", n)
		}
	}
	if !header.Open && next <= header.Hi && !slices.ContainsFunc(sum.Gaps, func(g Lost) bool { return g.Hi == header.Hi }) {
		return undetected("leaves up to %d were announced, the file ends before %d and nobody is told", header.Hi, next)
	}
	return nil
}
