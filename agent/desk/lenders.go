package desk

import (
	"bytes"
	"sync"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// receiptsEvery is how often the newest receipt of each lender is put into the
// history.
const receiptsEvery = 15 * time.Minute

// Lenders keeps what lenders say until the sealer puts it into the history:
// nonces to be answered in the next window, receipts, and answers to
// challenges. Methods may be called from any goroutine.
type Lenders struct {
	suite evidence.Suite
	now   func() time.Time

	mu      sync.Mutex
	lenders map[string]*said // by name
	answers []Answer
	note    string               // cosigned checkpoint, "" once it is recorded
	seen    []evidence.NonceHash // of the cosignatures in it, nil once they are answered
}

// said is what one lender said.
type said struct {
	nonce    []byte // of its newest message, nil once answered
	receipt  []byte // its newest, as it came; nil once recorded
	bears    []byte // the nonce in it, nil once answered
	owed     []byte // that of the one recorded last, nil once answered: who reads the history finds both
	recorded time.Time
	asked    int // reads of its challenge not answered yet
}

// Answer is what was read for a challenge of a lender.
type Answer struct {
	Lender string
	record.Answer
}

// NewLenders makes an empty one for a history of that suite.
func NewLenders(suite evidence.Suite) *Lenders {
	return &Lenders{suite: suite, now: time.Now, lenders: map[string]*said{}}
}

func (d *Lenders) lender(name string) *said {
	if d.lenders[name] == nil {
		d.lenders[name] = &said{}
	}
	return d.lenders[name]
}

// Heard takes a message of a lender. ask passes on what a challenge wants read
// and calls back once, from any goroutine.
func (d *Lenders) Heard(lender string, raw []byte, m evidence.Message, ask func(evidence.RegisterRead, func(record.RegisterAnswer))) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := d.lender(lender)
	switch {
	case m.Receipt != nil:
		if m.Receipt.Nonce != nil {
			s.nonce = m.Receipt.Nonce
		}
		s.receipt, s.bears = raw, m.Receipt.Nonce
	case m.Challenge != nil:
		c := m.Challenge
		s.nonce = c.Nonce[:]
		if s.asked > 0 {
			return // one at a time: a bus has other things to do
		}
		s.asked = len(c.Reads)
		a := &Answer{lender, record.Answer{Nonce: c.Nonce, Reads: make([]record.RegisterAnswer, len(c.Reads))}}
		for i, r := range c.Reads {
			go ask(r, func(got record.RegisterAnswer) { d.answered(s, a, i, got) })
		}
	}
}

// answered notes one read; with the last one the answer is complete.
func (d *Lenders) answered(s *said, a *Answer, i int, got record.RegisterAnswer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	a.Reads[i] = got
	if s.asked--; s.asked == 0 {
		d.answers = append(d.answers, *a)
	}
}

// Beacon returns the nonces that the next window answers.
func (d *Lenders) Beacon() (hs []evidence.NonceHash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.lenders {
		for _, nonce := range []*[]byte{&s.nonce, &s.owed} {
			if *nonce == nil || len(hs) == evidence.MaxBeacon {
				continue
			}
			if bytes.Equal(*nonce, s.bears) {
				s.bears = nil
			}
			hs = append(hs, d.suite.NonceHash(*nonce))
			*nonce = nil
		}
	}
	hs = append(hs, d.seen[:min(len(d.seen), evidence.MaxBeacon-len(hs))]...)
	d.seen = nil
	return hs
}

// Cosigned takes a checkpoint that witnesses have seen, with their cosignatures in
// it.
func (d *Lenders) Cosigned(note string, cosignatures [][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note, d.seen = note, nil
	for _, sig := range cosignatures {
		d.seen = append(d.seen, d.suite.NonceHash(sig))
	}
}

// TakeNote returns the cosigned checkpoint that is not recorded yet, or "".
func (d *Lenders) TakeNote() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	note := d.note
	d.note = ""
	return note
}

// TakeAnswers returns the answers that are complete.
func (d *Lenders) TakeAnswers() []Answer {
	d.mu.Lock()
	defer d.mu.Unlock()
	as := d.answers
	d.answers = nil
	return as
}

// TakeReceipts returns, by lender, the receipts that are due to be recorded: all
// that are new when last is set.
func (d *Lenders) TakeReceipts(last bool) map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	due := map[string][]byte{}
	now := d.now()
	for name, s := range d.lenders {
		if s.receipt != nil && (last || now.Sub(s.recorded) >= receiptsEvery) {
			due[name] = s.receipt
			s.owed = s.bears
			s.receipt, s.bears, s.recorded = nil, nil, now
		}
	}
	return due
}
