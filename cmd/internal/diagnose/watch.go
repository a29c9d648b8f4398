package diagnose

import (
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
)

// patience is how long a line may take to ask all its meters before the first
// fault is spoken of.
const patience = 3 * time.Second

// lineWatch says what is wrong with one line of a running agent and its meters:
// once when it begins or becomes something else, and when it is over. It
// belongs to the line's poller.
type lineWatch struct {
	line  *configs.Line
	log   *slog.Logger
	index map[string]int // by meter name, into what follows

	polls  []Poll   // the newest of each meter
	said   []string // code of what was said of each meter, "" when it answers
	broken string   // code of what was said of the line itself
	asked  int      // meters polled at least once
	begun  time.Time
	spoken bool // the first round is over, or lasted too long
}

// Watch returns what is to see every poll of the site's agent.
func Watch(site *configs.Site, log *slog.Logger) func(agent.Poll) {
	lines := map[string]*lineWatch{}
	for i := range site.Lines {
		l := &lineWatch{line: &site.Lines[i], log: log, index: map[string]int{}}
		for j := range site.Meters {
			if m := &site.Meters[j]; m.Line == string(l.line.Name) {
				l.index[string(m.Name)] = len(l.polls)
				l.polls = append(l.polls, Poll{Meter: m})
			}
		}
		l.said = make([]string, len(l.polls))
		lines[string(l.line.Name)] = l
	}
	return func(p agent.Poll) { lines[p.Line].see(p) }
}

func (l *lineWatch) see(p agent.Poll) {
	i := l.index[p.Meter]
	first := l.polls[i].At.IsZero()
	l.polls[i].At, l.polls[i].err, l.polls[i].answered = p.Start, p.Err, p.Err == nil || anyValue(p.Readings)
	if first {
		l.asked++
	}
	switch {
	case ofLine(p.Err):
		if e := meterFault(l.line, l.polls[i], 0); e.Code != l.broken {
			l.broken = e.Code
			l.warn(e)
		}
		return
	case l.broken != "":
		l.broken = ""
		l.log.Info("line is open again", "line", string(l.line.Name))
	}
	if l.begun.IsZero() {
		l.begun = p.Start
	}
	if !l.spoken {
		if l.asked < len(l.polls) && time.Since(l.begun) < patience {
			return
		}
		l.spoken = true
		for j := range l.polls {
			l.judge(j)
		}
		return
	}
	l.judge(i)
}

// judge says what is new about meter i.
func (l *lineWatch) judge(i int) {
	p := l.polls[i]
	switch {
	case p.At.IsZero() || ofLine(p.err) || heldOff(p.err):
		return
	case p.err == nil:
		if l.said[i] != "" {
			l.said[i] = ""
			l.log.Info("meter answers again", "meter", string(p.Meter.Name))
		}
		return
	}
	answering := 0
	for _, q := range l.polls {
		if q.answered {
			answering++
		}
	}
	if e := meterFault(l.line, p, answering); e.Code != l.said[i] {
		l.said[i] = e.Code
		l.warn(e)
	}
}

func (l *lineWatch) warn(e *cli.Error) { l.log.Warn(e.Error(), "do", e.Hint) }
