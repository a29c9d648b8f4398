package lender

import (
	"bytes"
	"context"
	"errors"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// boxSession is a broker with one box behind it, which does with a request what
// the test says.
type boxSession struct {
	t        *testing.T
	retained map[string][]byte
	answer   func(m evidence.Message) // called for each request, in its own goroutine

	mu       sync.Mutex
	subs     map[string]func(string, []byte)
	requests []evidence.Message
	done     chan struct{}
}

func newBoxSession(t *testing.T, s *evidencetest.Stream) *boxSession {
	return &boxSession{t: t, subs: map[string]func(string, []byte){}, done: make(chan struct{}), retained: map[string][]byte{
		evidence.Topic(evidence.MetaTopic, s.Writer.LogID(), ""):  s.Meta,
		evidence.Topic(evidence.StateTopic, s.Writer.LogID(), ""): []byte("online"),
	}}
}

func (b *boxSession) Subscribe(_ context.Context, filter string, _ byte, f func(string, []byte)) error {
	b.mu.Lock()
	b.subs[filter] = f
	b.mu.Unlock()
	for topic, payload := range b.retained {
		if kind, _, _, _ := evidence.ParseTopic(topic); filter == topic || filter == evidence.TopicFilter(kind, "") {
			go f(topic, payload)
		}
	}
	return nil
}

func (b *boxSession) Publish(_ context.Context, topic string, _ byte, retained bool, payload []byte) error {
	m, err := evidence.OpenMessage(evidencetest.PublicKey(9), payload)
	if kind, _, lender, _ := evidence.ParseTopic(topic); err != nil || retained || kind != evidence.ReceiptTopic || lender != "bank-a" {
		b.t.Errorf("published on %s, retained %v: %v", topic, retained, err)
	}
	b.mu.Lock()
	b.requests = append(b.requests, m)
	b.mu.Unlock()
	if b.answer != nil {
		go b.answer(m)
	}
	return nil
}

// say delivers on a topic of the log.
func (b *boxSession) say(topic string, payload []byte) {
	b.mu.Lock()
	f := b.subs[topic]
	b.mu.Unlock()
	if f != nil {
		f(topic, payload)
	}
}

func (*boxSession) PublishAsync(string, byte, bool, []byte, func(error)) {}
func (b *boxSession) Done() <-chan struct{}                              { return b.done }
func (b *boxSession) Err() error                                         { return errors.New("hung up") }
func (b *boxSession) Close(context.Context) error                        { return nil }

func asker(b *boxSession) *Asker {
	return &Asker{Name: "bank-a", Key: evidencetest.Signer(9), Session: b, Timeout: 20 * time.Second}
}

// anchored is a delivery as the first one of an answer has it.
func anchored(t *testing.T, s *evidencetest.Stream, n uint64) []byte {
	t.Helper()
	if n == 0 {
		return s.Deliveries[0]
	}
	return withAnchor(t, s, n)
}

// serve answers replay requests from the leaves a box has.
func serve(t *testing.T, b *boxSession, s *evidencetest.Stream, first uint64, gone ...uint64) {
	again := evidence.Topic(evidence.ReplayTopic, s.Writer.LogID(), "bank-a")
	b.answer = func(m evidence.Message) {
		begun := false
		for n := max(m.Replay.Lo, first); n <= m.Replay.Hi && n < uint64(len(s.Deliveries)); n++ {
			if slices.Contains(gone, n) {
				continue
			}
			d := s.Deliveries[n]
			if !begun {
				d, begun = anchored(t, s, n), true
			}
			b.say(again, d)
		}
	}
}

// replayed asks for leaves and returns the bundle they make.
func replayed(t *testing.T, b *boxSession, s *evidencetest.Stream, lo, hi uint64) (Replayed, verify.Summary, []verify.Result) {
	t.Helper()
	a := asker(b)
	logs, err := a.Logs(t.Context(), evidencetest.PublicKey(1))
	if err != nil || len(logs) != 1 || logs[0].State != "online" {
		t.Fatalf("%+v, %v", logs, err)
	}
	var items bytes.Buffer
	got, err := a.Replay(t.Context(), logs[0], evidencetest.PublicKey(1), lo, hi, []evidence.Channel{evidence.Energy}, bundle.AppendTo(&items).Append)
	if err != nil {
		t.Fatal(err)
	}
	if got.Leaves == 0 {
		return got, verify.Summary{}, nil
	}
	var file bytes.Buffer
	if _, err := bundle.NewWriter(&file, got.Header); err != nil {
		t.Fatal(err)
	}
	file.Write(items.Bytes())
	var results []verify.Result
	sum, err := verify.Bundle(&file, verify.Policy{Pinned: []evidence.PublicKey{evidencetest.PublicKey(1)}}, func(r verify.Result) { results = append(results, r) })
	if err != nil {
		t.Fatal(err)
	}
	return got, sum, results
}

func TestReplay(t *testing.T) {
	for name, c := range map[string]struct {
		lo, hi  uint64
		first   uint64   // that the box has
		gone    []uint64 // that it has no more
		leaves  uint64
		missing []verify.Range
		verdict verify.Verdict
	}{
		"all":            {0, 21, 0, nil, 22, nil, verify.Verified},
		"from the midst": {5, 9, 0, nil, 5, nil, verify.Verified},
		"the first gone": {2, 9, 6, nil, 4, []verify.Range{{Lo: 2, Hi: 5}}, verify.Verified},
		"beyond the end": {18, 30, 0, nil, 4, []verify.Range{{Lo: 22, Hi: 30}}, verify.Verified},
		"a hole":         {5, 15, 0, []uint64{9, 10}, 9, []verify.Range{{Lo: 9, Hi: 10}}, verify.Gap},
		"none":           {30, 31, 0, nil, 0, []verify.Range{{Lo: 30, Hi: 31}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := evidencetest.NewStream(t, 1, 20)
				b := newBoxSession(t, s)
				serve(t, b, s, c.first, c.gone...)
				got, sum, _ := replayed(t, b, s, c.lo, c.hi)
				if got.Leaves != c.leaves || !reflect.DeepEqual(got.Missing, c.missing) || got.Strange != 0 {
					t.Errorf("%d leaves, missing %v, %d strange", got.Leaves, got.Missing, got.Strange)
				}
				if sum.Verdict != c.verdict || sum.Leaves != c.leaves {
					t.Errorf("%+v", sum)
				}
				for i := 1; i < len(b.requests); i++ {
					if b.requests[i].Replay.Issued <= b.requests[i-1].Replay.Issued {
						t.Errorf("request %d is not newer than the one before: a box does not heed it", i)
					}
				}
			})
		})
	}
}

// What the broker drops is asked for once more; a box that did not hear the
// request hears it again.
func TestReplayThroughALossyBroker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := evidencetest.NewStream(t, 1, 20)
		b := newBoxSession(t, s)
		serve(t, b, s, 0)
		honest := b.answer
		var calls atomic.Int32
		again := evidence.Topic(evidence.ReplayTopic, s.Writer.LogID(), "bank-a")
		b.answer = func(m evidence.Message) {
			switch calls.Add(1) {
			case 1: // not heard
			case 2:
				for _, n := range []uint64{3, 4, 7, 8} { // 5 and 6 are dropped, and then all
					d := s.Deliveries[n]
					if n == 3 {
						d = anchored(t, s, n)
					}
					b.say(again, d)
				}
			default:
				honest(m)
			}
		}
		began := time.Now()
		got, sum, _ := replayed(t, b, s, 3, 20)
		if d := time.Since(began); d > 15*time.Second {
			t.Errorf("what was dropped was asked for after %v", d)
		}
		if got.Leaves != 18 || got.Missing != nil || sum.Verdict != verify.Verified || calls.Load() != 3 {
			t.Errorf("%d leaves, missing %v, %s, %d requests", got.Leaves, got.Missing, sum.Verdict, calls.Load())
		}
	})
}

// forged is a delivery with another signature.
func forged(t *testing.T, s *evidencetest.Stream, n uint64) []byte {
	t.Helper()
	d, err := evidence.ParseDelivery(s.Deliveries[n])
	if err != nil {
		t.Fatal(err)
	}
	b := bytes.Clone(s.Deliveries[n])
	b[bytes.Index(b, d.Sign1)+len(d.Sign1)-1] ^= 1
	return b
}

// What others put on the topic is left out; what the box signed and somebody
// changed is kept, and the bundle says so.
func TestReplayAmongStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, other := evidencetest.NewStream(t, 1, 6), evidencetest.NewStream(t, 2, 6)
		altered := bytes.Clone(s.Deliveries[4])
		altered[len(altered)-1] ^= 1
		b := newBoxSession(t, s)
		b.answer = func(evidence.Message) {
			for _, d := range [][]byte{[]byte("noise"), other.Deliveries[2], anchored(t, s, 2), forged(t, s, 3), s.Deliveries[3], altered, s.Deliveries[5]} {
				b.say(evidence.Topic(evidence.ReplayTopic, s.Writer.LogID(), "bank-a"), d)
			}
		}
		got, sum, _ := replayed(t, b, s, 2, 5)
		if got.Strange != 3 || got.Leaves != 4 || sum.Verdict != verify.Altered || len(sum.Altered) != 1 || sum.Altered[0].N != 4 {
			t.Errorf("%+v, %+v", got, sum)
		}
	})
}

// A stretch that is read with a dictionary which is neither the first nor the
// newest: its leaf is asked for too.
func TestReplayFetchesTheDictionary(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := evidencetest.NewStream(t, 1, 2)
		config := func() {
			d, err := s.Writer.Config(evidencetest.Point(len(s.Deliveries)-2), evidencetest.Small(), evidence.Hash{1})
			s.Add(t, d, err)
		}
		config() // leaf 4
		for range 5 {
			s.Window(t)
		}
		config() // leaf 10
		s.Window(t)
		s.Meta = s.Writer.Meta().Encode()
		b := newBoxSession(t, s)
		serve(t, b, s, 0)
		_, sum, results := replayed(t, b, s, 6, 8)
		if sum.Verdict != verify.Verified || len(results) != 3 || results[0].Window == nil {
			t.Errorf("%+v", sum)
		}
		if _, sum, _ := replayed(t, b, s, 3, 11); sum.Verdict != verify.Verified {
			t.Errorf("over both: %+v", sum)
		}
	})
}

// Keys that came after the stretch do not stand in its header, those before do.
func TestReplayAcrossARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(11), 3)
		s.Rotate(t, evidencetest.Signer(11), evidencetest.Signer(12)) // leaf 5
		s.Window(t)
		s.Window(t)
		s.Rotate(t, evidencetest.Signer(12), evidencetest.Signer(13)) // leaf 8
		s.Window(t)
		b := newBoxSession(t, s)
		serve(t, b, s, 0)
		for lo, rotations := range map[uint64]int{0: 0, 3: 0, 5: 1, 6: 1, 9: 2} {
			got, sum, _ := replayed(t, b, s, lo, 9)
			if sum.Verdict != verify.Verified || got.Leaves != 10-lo || len(got.Header.Rotations) != rotations {
				t.Errorf("from %d: %s, %d leaves, %d rotations in the header", lo, sum.Verdict, got.Leaves, len(got.Header.Rotations))
			}
		}
	})
}

func TestAskWithoutALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBoxSession(t, evidencetest.NewStream(t, 2, 1))
		if logs, err := asker(b).Logs(t.Context(), evidencetest.PublicKey(1)); !errors.Is(err, ErrNoLog) {
			t.Errorf("%v, %v", logs, err)
		}
		close(b.done)
		if _, err := asker(b).Logs(t.Context(), evidencetest.PublicKey(1)); err == nil || err.Error() != "hung up" {
			t.Errorf("%v", err)
		}
	})
}

// Only the answer to this very challenge, signed by the box, is one.
func TestAsk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reads := []evidence.RegisterRead{{Meter: "press-1", Table: evidence.HoldingRegisters, Address: 0x10, Count: 2}}
		record := func(s *evidencetest.Stream, nonce [16]byte, data byte) []byte {
			body, err := record.Encode("bank-a", map[int]any{1: nonce, 2: []any{[]any{"press-1", 3, 0x10, 2, int64(evidencetest.Start), 0, []byte{0, data, 1, 0}}}})
			if err != nil {
				t.Error(err)
			}
			d, err := s.Writer.Record(evidencetest.Point(1), evidence.AnswerLeaf, body)
			s.Add(t, d, err)
			return s.Deliveries[len(s.Deliveries)-1]
		}
		s, other := evidencetest.NewStream(t, 1, 1), evidencetest.NewStream(t, 2, 1)
		b := newBoxSession(t, s)
		b.answer = func(m evidence.Message) {
			c := m.Challenge
			if c == nil || !reflect.DeepEqual(c.Reads, reads) {
				t.Errorf("%+v", m)
				return
			}
			altered := bytes.Clone(record(s, c.Nonce, 1))
			altered[len(altered)-1] ^= 1
			for _, d := range [][]byte{record(s, [16]byte{1}, 2), record(other, c.Nonce, 3), altered, forged(t, s, 3), s.Deliveries[2], record(s, c.Nonce, 4)} {
				b.say(evidence.Topic(evidence.DeliveryTopic, s.Writer.LogID(), "bank-a"), d)
			}
		}
		log := Announced{Log: s.Writer.LogID(), Meta: s.Meta}
		got, err := asker(b).Ask(t.Context(), log, evidencetest.PublicKey(1), reads)
		if err != nil || got.N != 5 || !reflect.DeepEqual(got.Reads[0].Registers(), []uint16{4, 256}) {
			t.Errorf("%+v, %v", got, err)
		}
		b.answer = nil
		if _, err := asker(b).Ask(t.Context(), log, evidencetest.PublicKey(1), reads); !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%v", err)
		}
	})
}

var _ uplink.Session = (*boxSession)(nil)
