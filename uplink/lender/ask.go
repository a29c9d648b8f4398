package lender

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Asker sends requests to a box and takes what comes of them (SPEC.md section
// 9.2), on a session of its own beside that of a Lender. One request at a time,
// from one goroutine.
type Asker struct {
	Name    string          // as in the topics
	Key     evidence.Signer // of the lender
	Session uplink.Session
	// Timeout is how long nothing may come before a request is given up; after
	// half of it leaves are asked for once more.
	Timeout time.Duration
	Now     func() time.Time // default time.Now

	issued int64 // Unix ms, of the newest request: a box heeds none that is older than another
}

// Announced is a log as the broker has it retained.
type Announced struct {
	Log   evidence.LogID
	Meta  []byte
	Began time.Time // as the genesis leaf states it
	State string    // "online" or "offline" by the box's own hint, "" when it gave none
}

// ErrNoLog says that the broker has no log of a box retained.
var ErrNoLog = errors.New("no log of this box is announced at the broker")

// settled is how long nothing new may be announced before what was is taken
// for all.
const settled = 500 * time.Millisecond

// Logs are those announced under the key of a box, oldest first: more than one
// when the box has begun anew. ErrNoLog when none is, within the timeout.
func (a *Asker) Logs(ctx context.Context, box evidence.PublicKey) ([]Announced, error) {
	inbox, over, err := a.subscribe(ctx, evidence.TopicFilter(evidence.MetaTopic, ""), evidence.TopicFilter(evidence.StateTopic, ""))
	if err != nil {
		return nil, err
	}
	defer over()
	found, states := map[evidence.LogID]Announced{}, map[evidence.LogID]string{}
	wait := time.NewTimer(a.Timeout)
	defer wait.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-a.Session.Done():
			return nil, a.Session.Err()
		case <-wait.C:
			if len(found) == 0 {
				return nil, ErrNoLog
			}
			var logs []Announced
			for id, l := range found {
				l.State = states[id]
				logs = append(logs, l)
			}
			slices.SortFunc(logs, func(a, b Announced) int { return a.Began.Compare(b.Began) })
			return logs, nil
		case m := <-inbox:
			kind, id, _, err := evidence.ParseTopic(m.topic)
			if err != nil {
				continue
			}
			if kind == evidence.StateTopic {
				states[id] = string(m.payload)
				continue
			}
			v, err := verify.New(box, m.payload)
			if err != nil || v.Log() != id {
				continue // another box's
			}
			meta, err := evidence.ParseMeta(m.payload)
			if err != nil {
				continue
			}
			found[id] = Announced{Log: id, Meta: m.payload, Began: time.UnixMilli(meta.Genesis.Manifest.Start)}
			wait.Reset(settled)
		}
	}
}

// subscribe has the messages of the topics come out of a channel, until over is
// called; then they pass by, so that nothing waits for a reader that has gone.
func (a *Asker) subscribe(ctx context.Context, filters ...string) (_ <-chan message, over func(), err error) {
	inbox, gone := make(chan message, batch), make(chan struct{})
	over = func() { close(gone) }
	waiting, cancel := context.WithTimeout(ctx, subscribeWait)
	defer cancel()
	for _, f := range filters {
		err := a.Session.Subscribe(waiting, f, 1, func(topic string, payload []byte) {
			select {
			case inbox <- message{topic, payload}:
			case <-gone:
			case <-a.Session.Done():
			}
		})
		if err != nil {
			over()
			return nil, nil, err
		}
	}
	return inbox, over, nil
}

// stamp is the time of the next request.
func (a *Asker) stamp() int64 {
	now := time.Now
	if a.Now != nil {
		now = a.Now
	}
	a.issued = max(now().UnixMilli(), a.issued+1)
	return a.issued
}

func (a *Asker) send(ctx context.Context, log evidence.LogID, request []byte) error {
	ctx, cancel := context.WithTimeout(ctx, a.Timeout)
	defer cancel()
	return a.Session.Publish(ctx, evidence.Topic(evidence.ReceiptTopic, log, a.Name), 1, false, request)
}

// Replayed is what came of a request to send leaves again.
type Replayed struct {
	// Header opens the bundle of what came; it is zero when nothing did.
	Header  bundle.Header
	Leaves  uint64
	Missing []verify.Range // of those asked for, ascending
	Strange uint64         // messages on the topic that the box did not sign
}

// Replay has leaves lo to hi sent again and gives each that comes to take, in
// the order of their index. What does not come is no error: it is in Replayed.
// A delivery that the box signed is taken even where a block of it is altered:
// whoever verifies the bundle is to see that.
func (a *Asker) Replay(ctx context.Context, log Announced, box evidence.PublicKey, lo, hi uint64, channels []evidence.Channel, take func(delivery []byte) error) (Replayed, error) {
	v, err := verify.New(box, log.Meta)
	if err != nil {
		return Replayed{}, err
	}
	inbox, over, err := a.subscribe(ctx, evidence.Topic(evidence.ReplayTopic, log.Log, a.Name))
	if err != nil {
		return Replayed{}, err
	}
	defer over()
	r := &replaying{Asker: a, log: log.Log, channels: channels, v: v, inbox: inbox}
	r.next, r.hi, r.take = lo, hi, take
	if err := r.run(ctx); err != nil || r.got.Leaves == 0 {
		return r.got, err
	}
	got := r.got
	got.Header.Log, got.Header.Hi = log.Log, r.last
	got.Header.Meta, err = r.meta(ctx, log.Meta)
	return got, err
}

// replaying is a Replay under way.
type replaying struct {
	*Asker
	log      evidence.LogID
	channels []evidence.Channel
	v        *verify.Verifier // knows the keys
	inbox    <-chan message
	take     func([]byte) error

	next, hi uint64 // wanted still
	last     uint64 // newest that came
	repeated uint64 // 1 + the leaf from which on it was asked once more, because later ones came; 0 = none
	got      Replayed
	dict     *uint64 // of the first window that came: the leaf with its dictionary
}

// run asks for next to hi and takes what comes.
func (r *replaying) run(ctx context.Context) error {
	if err := r.ask(ctx); err != nil {
		return err
	}
	again, giveUp := time.NewTimer(r.Timeout/2), time.NewTimer(r.Timeout)
	defer again.Stop()
	defer giveUp.Stop()
	for r.next <= r.hi {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-r.Session.Done():
			return r.Session.Err()
		case <-giveUp.C:
			r.missing(r.hi)
			return nil
		case <-again.C:
			if err := r.ask(ctx); err != nil {
				return err
			}
		case m := <-r.inbox:
			came, err := r.place(ctx, m.payload)
			if err != nil {
				return err
			}
			if came {
				again.Reset(r.Timeout / 2)
				giveUp.Reset(r.Timeout)
			}
		}
	}
	return nil
}

func (r *replaying) ask(ctx context.Context) error {
	b, err := evidence.SignReplay(r.Key, evidence.Replay{Log: r.log, Issued: r.stamp(), Lo: r.next, Hi: r.hi, Channels: r.channels})
	if err != nil {
		return err
	}
	return r.send(ctx, r.log, b)
}

// place takes a delivery when it is its turn. One with an anchor is the first of
// those the box sends for a request: what was asked for and lies before it, the
// box does not have or does not give. One without, from further ahead, means
// that the broker dropped something: it is asked for once more.
func (r *replaying) place(ctx context.Context, b []byte) (came bool, err error) {
	d, err := evidence.ParseDelivery(b)
	if err != nil || d.Manifest.Log != r.log || !r.v.Signed(&d) {
		r.got.Strange++
		return false, nil
	}
	n := d.Manifest.N
	anchored := d.Anchor != nil && d.Anchor.Root(d.Suite()) == d.Manifest.Root
	switch {
	case n < r.next || n > r.hi:
		return false, nil // of a request made before
	case n == r.next && (n == 0 || anchored || r.got.Leaves > 0), n > r.next && anchored:
	case r.repeated == r.next+1:
		return false, nil
	default:
		r.repeated = r.next + 1
		return false, r.ask(ctx)
	}
	if n > r.next {
		r.missing(n - 1)
	}
	if r.got.Leaves == 0 {
		r.got.Header.Lo, r.got.Header.Anchor = n, d.Anchor
	}
	if r.dict == nil && d.Manifest.Type == evidence.WindowLeaf {
		r.dict = &d.Manifest.DictionaryAt
	}
	r.got.Leaves++
	r.last, r.next = n, n+1
	return true, r.take(b)
}

// missing notes that what is wanted up to hi did not come.
func (r *replaying) missing(hi uint64) {
	r.got.Missing = append(r.got.Missing, verify.Range{Lo: r.next, Hi: hi})
}

// meta is what the first leaf that came is to be read with: the dictionary in
// force there, which may be neither the first nor the newest and is then asked
// for, and the rotations up to there.
func (r *replaying) meta(ctx context.Context, retained []byte) (evidence.Meta, error) {
	m, err := evidence.ParseMeta(retained)
	if err != nil {
		return evidence.Meta{}, err
	}
	lo := r.got.Header.Lo
	meta := evidence.Meta{Genesis: m.Genesis.Sign1, Dictionary: m.Genesis.Sign1}
	for _, rotation := range m.Rotations {
		if rotation.Manifest.N <= lo {
			meta.Rotations = append(meta.Rotations, rotation.Sign1)
		}
	}
	switch at := r.dict; {
	case at == nil || *at == 0 || *at >= lo: // nothing to be read, or it is among the leaves
	case *at == m.Dictionary.Manifest.N:
		meta.Dictionary = m.Dictionary.Sign1
	default:
		one := &replaying{Asker: r.Asker, log: r.log, channels: r.channels, v: r.v, inbox: r.inbox, next: *at, hi: *at}
		one.take = func(b []byte) error {
			if d, err := evidence.ParseDelivery(b); err == nil && d.Manifest.Dictionary() != nil {
				meta.Dictionary = d.Sign1
			}
			return nil
		}
		if err := one.run(ctx); err != nil {
			return meta, err
		}
	}
	return meta, nil
}

// Challenge has registers of a meter read now. The nonce names the answer.
func (a *Asker) Challenge(ctx context.Context, log evidence.LogID, reads []evidence.RegisterRead) (nonce [16]byte, err error) {
	rand.Read(nonce[:]) // never fails (crypto/rand)
	b, err := evidence.SignChallenge(a.Key, evidence.Challenge{Log: log, Nonce: nonce, Issued: a.stamp(), Reads: reads})
	if err != nil {
		return nonce, err
	}
	return nonce, a.send(ctx, log, b)
}

// Answered is an answer of a box: signed by it, its place in the history not
// looked at.
type Answered struct {
	record.Answer
	N  uint64 // of its leaf
	At time.Time
}

// ErrNoAnswer says that no answer came in time.
var ErrNoAnswer = errors.New("no answer came")

// Ask is Challenge, and waits for the answer on the feed: ErrNoAnswer when it
// does not come within the timeout.
func (a *Asker) Ask(ctx context.Context, log Announced, box evidence.PublicKey, reads []evidence.RegisterRead) (Answered, error) {
	v, err := verify.New(box, log.Meta)
	if err != nil {
		return Answered{}, err
	}
	inbox, over, err := a.subscribe(ctx, evidence.Topic(evidence.MetaTopic, log.Log, ""), evidence.Topic(evidence.DeliveryTopic, log.Log, a.Name))
	if err != nil {
		return Answered{}, err
	}
	defer over()
	nonce, err := a.Challenge(ctx, log.Log, reads)
	if err != nil {
		return Answered{}, err
	}
	giveUp := time.NewTimer(a.Timeout)
	defer giveUp.Stop()
	for {
		select {
		case <-ctx.Done():
			return Answered{}, ctx.Err()
		case <-a.Session.Done():
			return Answered{}, a.Session.Err()
		case <-giveUp.C:
			return Answered{}, fmt.Errorf("%w within %v", ErrNoAnswer, a.Timeout)
		case m := <-inbox:
			if kind, _, _, _ := evidence.ParseTopic(m.topic); kind == evidence.MetaTopic {
				_ = v.Meta(m.payload) // a new key, perhaps; what does not fit changes nothing
				continue
			}
			if got, ok := answerTo(nonce, v, m.payload); ok {
				return got, nil
			}
		}
	}
}

// answerTo is the answer in a delivery, where the box signed it and it is to the
// challenge with that nonce.
func answerTo(nonce [16]byte, v *verify.Verifier, delivery []byte) (Answered, bool) {
	d, err := evidence.ParseDelivery(delivery)
	if err != nil || d.Manifest.Type != evidence.AnswerLeaf || d.Manifest.Log != v.Log() || !v.Signed(&d) {
		return Answered{}, false
	}
	for _, b := range d.Blocks {
		if b.Digest(d.Suite()) != d.Manifest.Channels[evidence.Records].Digest {
			continue
		}
		r, err := record.Parse(b.Bytes)
		if err != nil {
			continue
		}
		if a, err := r.Answer(); err == nil && a.Nonce == nonce {
			return Answered{Answer: a, N: d.Manifest.N, At: time.UnixMilli(d.Manifest.Start)}, true
		}
	}
	return Answered{}, false
}
