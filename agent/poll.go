package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/agent/schedule"
	"github.com/tallystick/tallystick/drivers"
)

// clockStep is how far wall and monotonic time must part for the clock to
// count as set.
const clockStep = time.Second

// poller owns one line: it alone talks to the devices on it.
type poller struct {
	line   Line
	first  int // dictionary index of the line's first meter
	rec    *recorder
	onPoll func(Poll)
	log    *slog.Logger

	readings []drivers.Reading
}

// run polls until ctx ends, then closes the line.
func (p *poller) run(ctx context.Context) error {
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
			case <-ctx.Done():
				return p.close()
			}
		}
		if i < 0 { // a line without meters
			<-ctx.Done()
		}
		if ctx.Err() != nil {
			return p.close()
		}
		now := time.Now()
		if wall := now.Round(0).Sub(begin.Round(0)); (wall - now.Sub(begin)).Abs() > clockStep {
			p.log.Warn("the clock was set", "line", p.line.Name, "by", wall-now.Sub(begin))
			plan.Rebase(now)
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
	err := m.Device.Read(ctx, r)
	took := time.Since(start)
	if err != nil && ctx.Err() != nil {
		return
	}
	p.rec.add(p.first+i, start, r)
	if p.onPoll != nil {
		p.onPoll(Poll{Line: p.line.Name, Meter: m.Name, Start: start, Took: took, Columns: m.Columns, Readings: r, Err: err})
	}
}

// skip records that meter i was due and not asked, because the line was busy.
func (p *poller) skip(i int) {
	r := p.buffer(len(p.line.Meters[i].Columns))
	for c := range r {
		r[c] = drivers.Reading{Quality: drivers.Skipped}
	}
	p.rec.add(p.first+i, time.Now(), r)
}

func (p *poller) buffer(n int) []drivers.Reading {
	if cap(p.readings) < n {
		p.readings = make([]drivers.Reading, n)
	}
	clear(p.readings[:n])
	return p.readings[:n]
}
