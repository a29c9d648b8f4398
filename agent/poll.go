package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/agent/schedule"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// identityEvery is how often a meter is asked who it is when nothing gives
// reason to ask.
const identityEvery = 10 * time.Minute

// poller owns one line: it alone talks to the devices on it.
type poller struct {
	line   Line
	first  int // dictionary index of the line's first meter
	rec    *window.Recorder
	news   *news
	judge  *judge.Judge
	ids    *identities
	onPoll func(Poll)
	log    *slog.Logger

	questions chan question // of lenders
	readings  []drivers.Reading
	known     []time.Time // by meter: when its identity was last read
}

// run polls until ctx ends, then closes the line.
func (p *poller) run(ctx context.Context) error {
	p.known = make([]time.Time, len(p.line.Meters))
	intervals := make([]time.Duration, len(p.line.Meters))
	for i, m := range p.line.Meters {
		intervals[i] = m.Interval
	}
	begin := time.Now()
	plan := schedule.New(begin, intervals)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		i, due := plan.Next()
		if wait := time.Until(due); wait > 0 && i >= 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case q := <-p.questions:
				p.ask(ctx, q)
				continue
			case <-ctx.Done():
				return p.close()
			}
		}
		select {
		case q := <-p.questions: // on a busy line there is no wait to answer in
			p.ask(ctx, q)
		default:
		}
		if i < 0 { // a line without meters
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return p.close()
		}
		now := time.Now()
		if by := now.Round(0).Sub(begin.Round(0)) - now.Sub(begin); by.Abs() > clock.Step {
			p.log.Warn("the clock was set", "line", p.line.Name, "by", by)
			plan.Shift(by)
			begin = now
			continue
		}
		p.poll(ctx, i)
		if ctx.Err() != nil {
			return p.close()
		}
		for range plan.Done(i, time.Now()) {
			p.skip(i)
		}
	}
}

func (p *poller) close() error {
	if p.line.Close == nil {
		return nil
	}
	return p.line.Close()
}

// poll asks meter i once and records what it said. A poll that the stop of the
// agent cut short is not recorded; one the meter had answered by then is.
func (p *poller) poll(ctx context.Context, i int) {
	m := &p.line.Meters[i]
	r := p.buffer(len(m.Columns))
	start := time.Now()
	if m.RawFrames {
		start = p.line.Tap.begin()
	}
	err := m.Device.Read(ctx, r)
	took := time.Since(start)
	var frames []evidence.Exchange
	if m.RawFrames {
		frames = p.line.Tap.end()
	}
	if err != nil && ctx.Err() != nil {
		return
	}
	was := p.judge.Silent(p.first + i)
	happened := p.judge.Poll(p.first+i, start, r, err)
	digest := ""
	if err == nil && (was || len(happened) > 0 || odd(r) || start.Sub(p.known[i]) >= identityEvery) {
		var exchanged []judge.Event
		digest, exchanged = p.identify(ctx, i)
		happened = append(happened, exchanged...)
	}
	p.news.add(happened)
	p.ids.note(m.Name, digest) // last: once it is stored nobody tells the exchange again
	p.rec.Add(p.first+i, start, r, frames...)
	if p.onPoll != nil {
		p.onPoll(Poll{Line: p.line.Name, Meter: m.Name, Start: start, Took: took, Columns: m.Columns, Readings: r, Err: err})
	}
}

// odd reports whether a reading cannot follow the one before it: perhaps it is
// another meter's.
func odd(rs []drivers.Reading) bool {
	for _, r := range rs {
		if r.Quality == drivers.Backwards || r.Quality == drivers.TooFast {
			return true
		}
	}
	return false
}

// identify asks meter i who it is, where its profile says how, and returns the
// digest of it. A meter that does not say is asked again with the next reason to.
func (p *poller) identify(ctx context.Context, i int) (digest string, events []judge.Event) {
	m := &p.line.Meters[i]
	if m.Identity == nil {
		return "", nil
	}
	now := time.Now()
	p.known[i] = now
	identity, err := m.Identity(ctx)
	if err != nil {
		p.log.Debug("the meter does not say who it is", "meter", m.Name, "err", err)
		return "", nil
	}
	if identity == "" {
		return "", nil
	}
	digest = p.ids.digest(identity)
	return digest, p.judge.Identity(p.first+i, now, digest)
}

// skip records that meter i was due and not asked, because the line was busy.
func (p *poller) skip(i int) {
	r := p.buffer(len(p.line.Meters[i].Columns))
	for c := range r {
		r[c] = drivers.Reading{Quality: drivers.Skipped}
	}
	p.rec.Add(p.first+i, time.Now(), r)
}

func (p *poller) buffer(n int) []drivers.Reading {
	if cap(p.readings) < n {
		p.readings = make([]drivers.Reading, n)
	}
	clear(p.readings[:n])
	return p.readings[:n]
}

// question is a read for the poller of a line.
type question struct {
	meter int // index on the line
	read  evidence.RegisterRead
	tell  func(record.RegisterAnswer)
}

// ask reads what a lender wants to see, and tells what came of it.
func (p *poller) ask(ctx context.Context, q question) {
	at := time.Now()
	a := record.RegisterAnswer{RegisterRead: q.read, At: max(0, at.UnixMilli()), Code: evidence.Absent}
	if read := p.line.Meters[q.meter].Ask; read != nil {
		a.Data, a.Code = read(ctx, q.read)
	}
	q.tell(a)
}
