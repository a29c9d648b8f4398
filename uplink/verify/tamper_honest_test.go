package verify

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// An honestBox keeps a log through everything that happens to one that nobody attacks:
// power cuts before the flush, clocks set forward and back, dead meters, new
// configurations and keys, losses of its own that it declares.
type honestBox struct {
	r      *rand.Rand
	suite  evidence.Suite
	w      *seal.Writer
	secret []byte

	key  byte // seed of the key in force; the next one is committed to
	dict evidence.Dictionary

	now, skew    int64 // Unix ms; the wall clock shows now + skew
	boot, booted uint64

	leaves   [][]byte // flushed
	manifest []evidence.Manifest
	anchors  []evidence.Anchor // before each leaf
	metas    [][]byte          // behind each leaf
	preamble []byte            // of the segment that begins with leaf segment
	segment  int
	err      error
}

func newHonestBox(r *rand.Rand, suite evidence.Suite) *honestBox {
	b := &honestBox{r: r, suite: suite, secret: evidencetest.Secret(), key: 1, dict: evidencetest.Small(),
		now: evidencetest.Start + int64(r.IntN(1e9)), boot: 1}
	g := evidence.Genesis{Event: b.point(), Dictionary: b.dict}
	if r.IntN(3) > 0 {
		h := digestOf(evidencetest.SuiteSigner(suite, 2))
		g.Successor = &h
	}
	w, first, err := seal.NewWriter(evidencetest.SuiteSigner(suite, 1), b.secret, g)
	b.w, b.err = w, err
	b.anchors = []evidence.Anchor{{}}
	b.flush(first, err)
	b.flush(b.w.Boot(b.point(), evidence.Boot{Clean: true, Software: "test"}))
	return b
}

func digestOf(s evidence.Signer) evidence.Hash {
	record := s.Public()
	return record.Digest()
}

func (b *honestBox) point() evidence.Event {
	return evidence.Event{Start: b.now + b.skew, TimeFlag: []evidence.TimeFlag{evidence.Synchronised, evidence.Unsynchronised}[b.r.IntN(2)],
		TimeErrorMS: uint64(b.r.IntN(100)), Boot: b.boot, UptimeMS: uint64(b.now) - b.booted}
}

// flush makes a leaf durable; from then on it may be published.
func (b *honestBox) flush(delivery []byte, err error) {
	if err != nil {
		b.err = errors.Join(b.err, err)
		return
	}
	delivery = slices.Clone(delivery)
	d, err := evidence.ParseDelivery(delivery)
	b.err = errors.Join(b.err, err)
	b.leaves, b.manifest = append(b.leaves, delivery), append(b.manifest, d.Manifest)
	b.anchors, b.metas = append(b.anchors, b.w.Anchor()), append(b.metas, b.w.Meta().Encode())
}

// data is one window of every channel; meters are silent now and then.
func (b *honestBox) data() map[evidence.Channel][]evidence.Samples {
	data := map[evidence.Channel][]evidence.Samples{}
	dead := b.r.IntN(6)
	slots := b.r.IntN(4)
	for ch, meters := range b.dict.Channels {
		for _, m := range meters {
			s := evidence.Samples{Slots: slots}
			for range m.Columns {
				row, codes := make([]int64, slots), make([]evidence.Code, slots)
				for i := range row {
					row[i] = b.r.Int64N(1 << 30)
					if m.Meter == dead || b.r.IntN(20) == 0 {
						row[i], codes[i] = 0, evidence.Timeout
					}
				}
				s.Values, s.Codes = append(s.Values, row), append(s.Codes, codes)
			}
			data[ch] = append(data[ch], s)
		}
	}
	return data
}

// window is not flushed yet.
func (b *honestBox) window() ([]byte, error) {
	e := b.point()
	e.Duration = evidencetest.SmallMS
	b.now += evidencetest.SmallMS
	e.UptimeMS = uint64(b.now) - b.booted
	var beacon []evidence.NonceHash
	for range b.r.IntN(3) {
		beacon = append(beacon, evidence.NonceHash{byte(b.r.Uint32()), byte(b.r.Uint32())})
	}
	return b.w.Window(e, b.data(), beacon)
}

// step lets something happen.
func (b *honestBox) step() {
	if b.preamble == nil || b.r.IntN(6) == 0 {
		p, err := b.w.Preamble()
		b.preamble, b.segment, b.err = p, len(b.leaves), errors.Join(b.err, err)
	}
	switch p := b.r.IntN(40); {
	case p < 24:
		b.flush(b.window())
	case p < 26: // the power fails, with a window made and not flushed
		if b.r.IntN(2) == 0 {
			_, _ = b.window()
		}
		b.now += b.r.Int64N(1e7)
		b.restart(false)
	case p < 27:
		b.flush(b.w.Shutdown(b.point(), "SIGTERM"))
		b.restart(true)
	case p < 29:
		b.dict = evidencetest.Small()
		switch b.r.IntN(3) {
		case 0:
			delete(b.dict.Channels, evidence.VoltageCurrent)
		case 1:
			b.dict.Channels[evidence.Power] = []evidence.ChannelMeter{{Meter: 1, Columns: []evidence.Column{{Quantity: "power", Unit: "W", MulCoef: 1}}}}
		}
		b.flush(b.w.Config(b.point(), b.dict, evidence.Hash{byte(b.r.Uint32())}))
	case p < 31:
		before := b.now + b.skew
		b.skew += b.r.Int64N(8e6) - 4e6
		b.flush(b.w.Step(b.point(), before, b.now+b.skew))
	case p < 34:
		body, err := record.Encode([]string{"", "bank-a", "bank-b"}[b.r.IntN(3)], map[int]any{1: b.r.Uint64()})
		b.err = errors.Join(b.err, err)
		b.flush(b.w.Record(b.point(), []evidence.LeafType{evidence.ConsentLeaf, evidence.DeclarationLeaf, evidence.ReceiptLeaf}[b.r.IntN(3)], body))
	case p < 36:
		b.flush(b.w.Events(b.point(), []evidence.Happening{{At: b.now, Kind: "meter_silent", Subject: "oven", Count: 1}}))
	case p < 37:
		b.flush(b.w.Witnessed(b.point(), "tallystick.org/log/"+b.w.LogID().String()+"\n1\n\n"))
	case b.w.Successor() != nil:
		next := evidencetest.SuiteSigner(b.suite, b.key+1)
		b.key++
		b.flush(b.w.Rotate(b.point(), next, digestOf(evidencetest.SuiteSigner(b.suite, b.key+1))))
	}
}

// restart resumes from what was flushed, and says so.
func (b *honestBox) restart(clean bool) {
	w, err := seal.Resume(evidencetest.SuiteSigner(b.suite, b.key), b.secret, b.preamble)
	for _, d := range b.leaves[b.segment:] {
		if err == nil {
			err = w.Replay(d)
		}
	}
	if err == nil {
		err = w.Ready()
	}
	if err != nil {
		b.err = errors.Join(b.err, err)
		return
	}
	b.w = w
	b.boot, b.booted = b.boot+1, uint64(b.now)
	last := b.manifest[len(b.manifest)-1].End()
	b.flush(b.w.Boot(b.point(), evidence.Boot{Clean: clean, LastRecordedMS: last, Software: "test"}))
}

// An honestLender gets the box's deliveries over a line that may be down, deliver
// twice or lose, from a box that may have dropped what is too old; and knows what it ought
// to hear from its verifier of each.
type honestLender struct {
	r        *rand.Rand
	box      *honestBox
	v        *Verifier
	pinned   evidence.PublicKey
	channels []evidence.Channel
	got      map[int]bool // leaves received
	next     int
	bridged  bool // the history up to next is known
	metaAt   int  // the meta message at hand is that behind this leaf; -1 for none
}

// follow receives the whole log.
func (l *honestLender) follow() error {
	start, meta := 0, 0
	if l.r.IntN(4) == 0 { // a lender that comes late
		start = l.r.IntN(len(l.box.leaves))
		meta = start
	}
	l.pinned = publicOf(evidencetest.SuiteSigner(l.box.suite, 1))
	var first []byte
	if start > 0 || l.r.IntN(2) == 0 {
		first = l.box.metas[meta]
	}
	v, err := New(l.pinned, first)
	if err != nil {
		return err
	}
	l.v, l.next, l.metaAt = v, start, meta
	if first == nil {
		l.metaAt = -1 // none; genesis and all the rest come with the stream
	}
	anchor := start > 0
	for n := start; n < len(l.box.leaves); n++ {
		switch p := l.r.IntN(60); {
		case p == 0: // the box has dropped some leaves: the next has an anchor
			n, anchor = n+1+l.r.IntN(3), true
		case p == 1: // lost on the way, and nobody noticed
			n += 1 + l.r.IntN(2)
		case p == 2 && !l.bridged:
			anchor = true
		case p < 5 && n > start: // the same deliveries again
			for again := max(start, n-1-l.r.IntN(3)); again < n; again++ {
				if l.got[again] {
					if err := l.receive(again, l.r.IntN(2) == 0); err != nil {
						return err
					}
				}
			}
		case p == 5: // the lender restarts
			if l.v, err = Restore(l.pinned, l.v.State()); err != nil {
				return err
			}
		case p == 6: // a consent ends, or another is given
			l.channels = []evidence.Channel{evidence.Energy, evidence.Timing}[:l.r.IntN(3)]
		}
		if n >= len(l.box.leaves) {
			break
		}
		// The broker retains the newest meta message; on a slow line it is further
		// than the deliveries are.
		if newest := min(n-1+l.r.IntN(2)*l.r.IntN(3), len(l.box.leaves)-1); newest > l.metaAt {
			if now := l.box.metas[newest]; first == nil || !bytes.Equal(now, l.box.metas[l.metaAt]) {
				if err := l.v.Meta(now); err != nil {
					return fmt.Errorf("meta behind leaf %d: %w", newest, err)
				}
				first = now
			}
			l.metaAt = newest
		}
		if err := l.receive(n, anchor || l.r.IntN(10) == 0); err != nil {
			return err
		}
		anchor = false
	}
	tree := l.v.pos.tree
	if !slices.Equal(tree.Hashes, l.box.anchors[tree.N].Hashes) {
		return fmt.Errorf("the receipt is for another history")
	}
	if l.bridged && l.v.N() != tree.N {
		return fmt.Errorf("the receipt stays at %d of %d leaves", tree.N, l.v.N())
	}
	return nil
}

// receive delivers leaf n and compares verdict and reasons with what is true.
func (l *honestLender) receive(n int, anchored bool) error {
	var anchor *evidence.Anchor
	if anchored {
		anchor = &l.box.anchors[n]
	}
	d, err := evidence.FilterDelivery(nil, l.box.leaves[n], record.Granted("bank-a", l.channels), anchor)
	if err != nil {
		return err
	}
	m := &l.box.manifest[n]
	fresh := len(l.got) == 0
	want, missing := Verified, (*Range)(nil)
	switch {
	case !fresh && n < l.next:
		want = Replayed
	case !fresh && n > l.next:
		want, missing, l.bridged = Gap, &Range{uint64(l.next), uint64(n - 1)}, anchored
	case fresh && n == 0:
		l.bridged = true
	default:
		l.bridged = l.bridged || anchored
	}
	if want == Verified && !l.bridged {
		want = Gap
	}
	unread := m.Type == evidence.WindowLeaf && want != Replayed && !l.knows(int(m.DictionaryAt))
	if unread {
		want = Gap
	}
	res := l.v.Next(d, time.UnixMilli(m.End()).Add(time.Duration(l.r.IntN(1000))*time.Minute))
	alarm := func(what string) error {
		return fmt.Errorf("leaf %d, %s: %s, want %s, missing %v, want %v, %s: %v", n, m.Type, res.Verdict, want, res.Missing, missing, what, res.Reasons)
	}
	switch {
	case res.Verdict != want:
		return alarm("verdict")
	case missing == nil && res.Missing != nil, missing != nil && (res.Missing == nil || *missing != *res.Missing):
		return alarm("missing")
	case has(res, "restart-unexplained"):
		return alarm("restart")
	case want == Gap && missing == nil && l.bridged && !has(res, "dictionary-unseen"):
		return alarm("gap")
	case want != Replayed && m.Type == evidence.WindowLeaf && (res.Window == nil) != unread:
		return alarm("window")
	}
	if want != Replayed {
		l.got[n], l.next = true, n+1
	}
	return nil
}

// knows reports whether the dictionary of leaf n was the newest received, or is in the
// newest meta message, which always has that of the genesis.
func (l *honestLender) knows(n int) bool {
	is := func(d dictionaryLeaf) bool { return d.Dictionary != nil && d.n == uint64(n) }
	return is(l.v.pos.dict) || is(l.v.meta.dict) || n == 0 && l.v.meta.raw != nil
}

// honestLog makes log number i and follows it.
func honestLog(seed, i uint64) (leaves int, err error) {
	r := rand.New(rand.NewPCG(seed, i))
	suite := evidence.SuiteEd25519
	switch r.IntN(50) {
	case 0, 1:
		suite = evidence.SuiteES256
	case 2:
		suite = evidence.SuiteSM2
	}
	b := newHonestBox(r, suite)
	for range 3 + r.IntN(8) {
		b.step()
	}
	if b.err != nil {
		return 0, b.err
	}
	for range 1 + r.IntN(6)/5 {
		l := honestLender{r: r, box: b, got: map[int]bool{},
			channels: slices.Sorted(maps.Keys(b.dict.Channels))[:1+r.IntN(2)]}
		if err := l.follow(); err != nil {
			return 0, fmt.Errorf("suite %d: %w", suite, err)
		}
	}
	return len(b.leaves), nil
}

// TestTamperHonest: whatever happens to a box and a line that nobody attacks, no word
// of tampering is said, and a gap only where something is missing.
func TestTamperHonest(t *testing.T) {
	start := time.Now()
	var leaves, alarms atomic.Uint64
	everyCase(*honest, func(i uint64) {
		n, err := honestLog(*seed, i)
		leaves.Add(uint64(n))
		if err != nil && alarms.Add(1) <= 20 {
			t.Errorf("%v\n\treproduce: go test ./uplink/verify -run TestTamperHonest -args -campaign %d -case %d", err, *seed, i)
		}
	})
	took := time.Since(start)
	t.Logf("seed %d: %d honest logs of %d leaves in %.1f s, %d false alarms", *seed, *honest, leaves.Load(), took.Seconds(), alarms.Load())
}
