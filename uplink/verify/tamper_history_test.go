package verify

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// A history is one log as its box made it, with what only the box knows.
type history struct {
	suite   evidence.Suite
	stored  [][]byte                      // deliveries with all channels, by leaf
	parsed  []evidence.UnverifiedDelivery // of stored
	anchors []evidence.Anchor             // before each leaf, and behind the last
	signers []evidence.Signer             // of each leaf
	metas   [][]byte                      // the meta message behind each leaf
}

// histories makes the logs of one suite that the campaign works with: the one
// that is attacked; the same box gone on otherwise from leaf forkAt; a second log
// of its key; and the log of another box.
type histories struct{ own, forked, second, foreign *history }

const forkAt = 9

func newHistories(t testing.TB, suite evidence.Suite) histories {
	key := func(seed byte) evidence.Signer { // each with a chip that counts
		return chip{evidencetest.SuiteSigner(suite, seed), evidencetest.SuiteSigner(evidence.SuiteES256, 40+seed)}
	}
	return histories{
		own:     tell(t, [3]evidence.Signer{key(1), key(3), key(4)}, evidencetest.Start, 0),
		forked:  tell(t, [3]evidence.Signer{key(1), key(3), key(4)}, evidencetest.Start, 40),
		second:  tell(t, [3]evidence.Signer{key(1), key(3), key(4)}, evidencetest.Start+1, 0),
		foreign: tell(t, [3]evidence.Signer{key(2), key(5), key(6)}, evidencetest.Start, 0),
	}
}

// tell makes a log with every kind of leaf, and windows between them; two logs of the
// same keys and start are the same up to leaf forkAt, and differ by shift behind it.
func tell(t testing.TB, keys [3]evidence.Signer, start int64, shift int) *history {
	next, after := keys[1].Public(), keys[2].Public()
	nextHash, afterHash := next.Digest(), after.Digest()
	point := func(k int) evidence.Event {
		e := evidencetest.Point(k)
		e.Start += start - evidencetest.Start
		return e
	}
	h := &history{suite: publicOf(keys[0]).Suite()}
	w, first, err := seal.NewWriter(keys[0], evidencetest.Secret(),
		evidence.Genesis{Event: point(0), Dictionary: evidencetest.Small(), Successor: &nextHash})
	add := func(by evidence.Signer, d []byte, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		d = slices.Clone(d)
		p, err := evidence.ParseDelivery(d)
		if err != nil {
			t.Fatal(err)
		}
		h.stored, h.parsed, h.signers = append(h.stored, d), append(h.parsed, p), append(h.signers, by)
		h.anchors, h.metas = append(h.anchors, w.Anchor()), append(h.metas, w.Meta().Encode())
	}
	h.anchors = append(h.anchors, evidence.Anchor{})
	add(keys[0], first, err)
	k, boot := 0, uint64(1)
	by := keys[0]
	at := func() evidence.Event {
		e := point(k)
		e.Boot = boot
		return e
	}
	window := func() {
		e := evidencetest.Event(k, evidencetest.SmallMS)
		e.Start, e.Boot = e.Start+start-evidencetest.Start, boot
		n := len(h.stored)
		data := evidencetest.SmallWindow(k)
		if n >= forkAt {
			data = evidencetest.SmallWindow(k + shift)
		}
		var beacon []evidence.NonceHash
		if k%2 == 1 {
			beacon = []evidence.NonceHash{h.suite.NonceHash([]byte{byte(k)}), h.suite.NonceHash([]byte{byte(k), 1})}
		}
		d, err := w.Window(e, data, beacon)
		add(by, d, err)
		k++
	}
	record := func(typ evidence.LeafType, lender string, content any) {
		body, err := record.Encode(lender, content)
		if err != nil {
			t.Fatal(err)
		}
		d, err := w.Record(at(), typ, body)
		add(by, d, err)
	}
	leaf := func(d []byte, err error) { t.Helper(); add(by, d, err) }
	leaf(w.Boot(at(), evidence.Boot{Clean: true, Software: "test"}))
	window()
	record(evidence.ConsentLeaf, "bank-a", map[int]any{1: "consent-1", 2: uint64(1)})
	window()
	window()
	other := evidencetest.Small()
	other.Meters[1].Name = "kiln"
	leaf(w.Config(at(), other, evidence.Hash{byte(k)}))
	window()
	record(evidence.DeclarationLeaf, "", map[int]any{1: "closure", 2: uint64(evidencetest.Start)})
	window() // leaf forkAt
	leaf(w.Events(at(), []evidence.Happening{{At: evidencetest.Start, Kind: "line_lost", Subject: "hall-a", Count: 1}}))
	leaf(w.Step(at(), evidencetest.Start+30_000, evidencetest.Start+95_000))
	window()
	leaf(w.Rotate(at(), keys[1], afterHash))
	by = keys[1]
	window()
	record(evidence.AnswerLeaf, "bank-b", []any{[]any{"press-1", 3, 16, []any{17, 18}}})
	window()
	leaf(w.Shutdown(at(), "SIGTERM"))
	boot = 2
	leaf(w.Boot(at(), evidence.Boot{Clean: true, LastRecordedMS: at().Start, Software: "test"}))
	window()
	leaf(w.Config(at(), evidencetest.Small(), evidence.Hash{byte(k + shift)}))
	window()
	leaf(w.Loss(at(), []evidence.LostRange{{Lo: 3, Hi: 4, Reason: "quota"}}))
	leaf(w.Witnessed(at(), fmt.Sprintf("tallystick.org/log/%s\n%d\n\n", w.LogID(), len(h.stored))))
	count := func(value uint64) { leaf(w.Counter(at(), by.(chip).certify(t, w.CounterOver(), value))) }
	count(7)
	window()
	count(8)
	window()
	window()
	return h
}

// A feed is what one lender gets of a history, with a verifier that has followed
// it honestly up to each leaf.
type feed struct {
	histories
	*history // own
	name     string
	pinned   evidence.PublicKey
	meta     []byte
	sent     [][]byte
	at       []*Verifier // at[n] expects leaf n
	// loose[n] expects leaf n behind a gap that no anchor has bridged; nil where there is none.
	loose []*Verifier
}

// newFeed follows a history without the check of the given name, "" for none.
func newFeed(t testing.TB, hs histories, name, without string, keep func(evidence.RawBlock) bool, meta []byte) *feed {
	f := &feed{histories: hs, history: hs.own, name: name, pinned: publicOf(hs.own.signers[0]), meta: meta}
	for _, d := range f.stored {
		d, err := evidence.FilterDelivery(nil, d, keep, nil)
		if err != nil {
			t.Fatal(err)
		}
		f.sent = append(f.sent, d)
	}
	v, err := New(f.pinned, meta)
	if err != nil {
		t.Fatal(err)
	}
	disarm(v, without)
	for n, d := range f.sent {
		f.at = append(f.at, clone(v))
		if res := v.Next(d, time.Time{}); res.Verdict != Verified && without == "" {
			t.Fatalf("%s, leaf %d: %s %v", name, n, res.Verdict, res.Reasons)
		}
	}
	f.at = append(f.at, v)
	for n := range f.at {
		f.loose = append(f.loose, nil)
		if n < 4 {
			continue
		}
		v := clone(f.at[n-2])
		if res := v.Next(f.sent[n-1], time.Time{}); res.Verdict == Gap && !v.pos.rooted {
			f.loose[n] = v
		}
	}
	return f
}

// disarm takes a check out of a verifier.
func disarm(v *Verifier, check_ string) {
	named := func(c check) bool { return c.name == check_ }
	v.leafChecks, v.blockChecks = slices.DeleteFunc(v.leafChecks, named), slices.DeleteFunc(v.blockChecks, named)
}

// clone is a verifier that goes on from where v stands.
func clone(v *Verifier) *Verifier {
	c := *v
	c.epochs = slices.Clone(v.epochs)
	c.pos.seqs, c.pos.stored = maps.Clone(v.pos.seqs), maps.Clone(v.pos.stored)
	c.pos.recent.leaves = slices.Clone(v.pos.recent.leaves)
	return &c
}

// same reports whether two verifiers of one log stand at the same place.
func same(a, b *Verifier) bool {
	p, q := a.pos, b.pos
	p.recent, q.recent = recent{}, recent{} // large, and compared faster so:
	return slices.Equal(a.pos.recent.leaves, b.pos.recent.leaves) && reflect.DeepEqual(p, q) &&
		a.log == b.log && len(a.epochs) == len(b.epochs) && bytes.Equal(a.meta.raw, b.meta.raw)
}

// feeds are the lenders of the campaign for one suite.
func feeds(t testing.TB, suite evidence.Suite, without string) []*feed {
	hs := newHistories(t, suite)
	last := hs.own.metas[len(hs.own.metas)-1]
	all := func(evidence.RawBlock) bool { return true }
	return []*feed{
		newFeed(t, hs, "everything", without, all, hs.own.metas[0]),
		newFeed(t, hs, "everything, from the newest meta", without, all, last),
		newFeed(t, hs, "bank-a, energy", without, record.Granted("bank-a", []evidence.Channel{evidence.Energy}), hs.own.metas[0]),
		newFeed(t, hs, "everything, no meta", without, all, nil),
	}
}

func publicOf(s evidence.Signer) evidence.PublicKey {
	record := s.Public()
	return record.Key()
}
