package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// maxGrace bounds how long after its end a window waits for polls that began
// before it.
const maxGrace = time.Second

// Agent is one run of a site.
type Agent struct {
	site    Site
	store   *store
	seal    *sealer
	damaged []string

	questions []chan question // by line
}

// machine is what a run has of the computer it is on.
type machine struct {
	disk   vfs.FS
	uptime func() time.Duration // since it was started; 0: not known
}

// Open takes up the site's history in s.Dir, or begins it, and states what
// happened to the run before: a boot leaf says up to when readings survived, then
// the windows it left open are sealed with those. Nothing is polled or sent yet.
func Open(s Site) (*Agent, error) { return open(&machine{vfs.OS(), clock.Uptime}, s) }

func open(m *machine, s Site) (a *Agent, err error) {
	dict, order := newDictionary(&s)
	if err := fits(dict, s.Window); err != nil {
		return nil, err
	}
	st, damaged, err := openStore(m, &s, dict)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			st.close()
		}
	}()
	before := newest(st.Source(), st.Dictionary()) // in terms of the dictionary it was recorded with
	if err := st.configure(dict, s.ConfigDigest); err != nil {
		return nil, err
	}
	ids, err := openIdentities(m.disk, s.Dir, s.Salt)
	if err != nil {
		damaged = append(damaged, err.Error())
	}
	questions := make([]chan question, len(s.Lines))
	for i := range questions {
		questions[i] = make(chan question, evidence.MaxReads)
	}
	a = &Agent{
		questions: questions,
		site:      s,
		store:     st,
		damaged:   damaged,
		seal: &sealer{
			store: st, rec: window.NewRecorder(s.Window, order), news: &news{}, judge: newJudge(&s, before, ids.known), ids: ids, log: s.Log,
			lenders: desk.NewLenders(st.Suite()), requests: desk.NewRequests(m.disk, s.Dir, st.consents, s.Log), count: s.Count,
			uptime: m.uptime, sync: s.Sync, grace: min(s.Window/8, maxGrace), layout: window.LayoutOf(dict),
		},
	}
	// Before anything is sent: it may be a withdrawal.
	if err := a.seal.requests.Seal(st); err != nil {
		return nil, err
	}
	return a, nil
}

// LogID names the history.
func (a *Agent) LogID() evidence.LogID { return a.store.LogID() }

// Standing is how the factory stands to a lender now. From any goroutine.
func (a *Agent) Standing(lender string) desk.Standing { return a.store.consents.Of(lender) }

// Damaged says, in words, what Open found unreadable in the stored history and
// did without.
func (a *Agent) Damaged() []string { return a.damaged }

// Source is the history as shippers see it.
func (a *Agent) Source() *history.Source { return a.store.Source() }

// Run polls, seals and ships until ctx ends, then keeps its promise: pollers
// stopped, the open window sealed and durable, shippers given Site.Drain to
// deliver, everything closed. It returns nil for such a stop and an error only
// when the history cannot be written any more.
func (a *Agent) Run(ctx context.Context) error { return a.run(ctx, "stopped") }

// run is Run; reason is what the last leaf says of the stop.
func (a *Agent) run(ctx context.Context, reason string) error {
	work, stopWork := context.WithCancel(ctx) // pollers and sealer
	ship, stopShip := context.WithCancel(context.WithoutCancel(ctx))
	defer stopShip()

	errs := make(chan error, len(a.site.Lines)+1)
	var workers, shipping sync.WaitGroup

	a.seal.rec.Begin(time.Now())
	first := 0
	for i, line := range a.site.Lines {
		p := &poller{line: line, first: first, rec: a.seal.rec, news: a.seal.news, judge: a.seal.judge, ids: a.seal.ids, onPoll: a.site.OnPoll, log: a.site.Log,
			questions: a.questions[i]}
		first += len(line.Meters)
		workers.Go(func() { errs <- p.run(work) })
	}
	workers.Go(func() {
		err := a.seal.run(work)
		if err != nil {
			stopWork() // what cannot be recorded need not be polled
		}
		errs <- err
	})
	shippers, err := a.shippers()
	if err == nil && a.site.Notary != nil {
		var notary Notary
		if notary, err = a.site.Notary(a.LogID(), a.store.Suite()); err == nil {
			workers.Go(func() { a.notarize(work, notary) })
		}
	}
	if err == nil {
		for _, s := range shippers {
			shipping.Go(func() { s.Run(ship) })
		}
	} else {
		stopWork()
	}

	<-work.Done()
	stopWork()
	workers.Wait()
	close(errs)
	for e := range errs {
		err = errors.Join(err, e)
	}
	if err == nil {
		err = a.seal.finish(reason)
	}
	if err == nil {
		a.drain(ship, shippers)
	}
	stopShip()
	shipping.Wait()
	err = errors.Join(err, a.store.close())
	if a.site.Close != nil {
		err = errors.Join(err, a.site.Close())
	}
	return err
}

// ask has a register read of a lender done between two polls. A meter the site
// does not have is answered too.
func (a *Agent) ask(r evidence.RegisterRead, tell func(record.RegisterAnswer)) {
	none := record.RegisterAnswer{RegisterRead: r, At: max(0, time.Now().UnixMilli()), Code: evidence.Absent}
	for i, l := range a.site.Lines {
		for j := range l.Meters {
			if l.Meters[j].Name != r.Meter {
				continue
			}
			select {
			case a.questions[i] <- question{meter: j, read: r, tell: tell}:
			default:
				none.Code = evidence.Skipped
				tell(none)
			}
			return
		}
	}
	tell(none)
}

// newJudge tells the judge what there is on the site, the values an earlier run
// ended with, and who the meters were by name.
func newJudge(s *Site, before map[place]int64, known map[string]string) *judge.Judge {
	var lines []string
	var meters []judge.Meter
	for i, l := range s.Lines {
		lines = append(lines, l.Name)
		for _, m := range l.Meters {
			jm := judge.Meter{Name: m.Name, Line: i, Interval: m.Interval, Main: m.Main}
			for _, c := range m.Columns {
				jm.Columns = append(jm.Columns, c.Quantity)
				jm.Rules = append(jm.Rules, c.Rule)
				jm.Multiplier = append(jm.Multiplier, c.Multiplier)
			}
			meters = append(meters, jm)
		}
	}
	j := judge.New(lines, meters)
	for i, m := range meters {
		last := make([]drivers.Reading, len(m.Columns))
		for c, q := range m.Columns {
			v, ok := before[place{m.Name, q.Name, q.Unit, q.Exp}]
			if last[c].Coef = v; !ok {
				last[c].Quality = drivers.Skipped
			}
		}
		j.Resume(i, last)
		j.Identity(i, time.Time{}, known[m.Name])
	}
	return j
}

// drain gives every shipper the same Site.Drain to deliver what is durable.
func (a *Agent) drain(ctx context.Context, shippers []Shipper) {
	ctx, cancel := context.WithTimeout(ctx, a.site.Drain)
	defer cancel()
	var wg sync.WaitGroup
	for i, s := range shippers {
		wg.Go(func() {
			if err := s.Drain(ctx); err != nil {
				a.site.Log.Info("not everything is confirmed; it is kept and goes out after the next start", "lender", a.site.Lenders[i].Name)
			}
		})
	}
	wg.Wait()
}

// shippers makes one shipper a lender and forgets the cursors of lenders the
// site no longer has, which would hold back deletion for ever.
func (a *Agent) shippers() ([]Shipper, error) {
	var ss []Shipper
	for name := range a.store.Cursors() {
		if !slices.ContainsFunc(a.site.Lenders, func(l Lender) bool { return l.Name == name }) {
			if err := a.store.RemoveCursor(name); err != nil {
				return nil, err
			}
		}
	}
	for _, l := range a.site.Lenders {
		c, err := a.store.Cursor(l.Name)
		if err != nil {
			return nil, fmt.Errorf("cursor of lender %s: %w", l.Name, err)
		}
		heard := func(raw []byte, m evidence.Message) { a.seal.lenders.Heard(l.Name, raw, m, a.ask) }
		s, err := l.Ship(Feed{Log: a.LogID(), Suite: a.store.Suite(), Source: a.store.Source(), Cursor: c, Heard: heard, Standing: func() desk.Standing { return a.store.consents.Of(l.Name) }})
		if err != nil {
			return nil, err
		}
		ss = append(ss, s)
	}
	return ss, nil
}
