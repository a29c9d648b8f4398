package line

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

const (
	// A device is given up after so many unanswered requests, over so long.
	lostAfter    = 3
	lostAfterFor = 3 * time.Second

	firstHold = 500 * time.Millisecond // a device given up is left alone so long,
	lastHold  = 30 * time.Second       // doubled up to this

	// A device given up is waited for as long as its full time-out at most this
	// part of the time, and shortly otherwise.
	patienceShare = 60
	shortWait     = 200 * time.Millisecond // for a device whose response time is not known

	remembered = 256                   // response times kept, about as many polls
	enough     = 8                     // of them to go by
	margin     = 4                     // a reply is waited for so many times the slowest of them,
	leastWait  = 50 * time.Millisecond // and at least so long: a serial server holds bytes back up to 50 ms
)

// StationConfig is what one device asks of its line.
type StationConfig struct {
	Name       string
	Settings   drivers.Settings // where the exchange brings none; zero: the line's own
	Timeout    time.Duration    // the most to wait for a reply; 0: what the exchange says
	Gap        time.Duration    // least pause between two exchanges with this device
	Turnaround time.Duration    // least silence on the line before a request to it; not on TCP
}

// Station is one device's place on a line. It is a drivers.Exchanger that waits
// no longer for a device than its replies have shown to be of use, and leaves
// one alone that does not answer, so that a dead device does not cost the others
// their time. It belongs to the line's goroutine; Stats may be called from any.
type Station struct {
	line *Line
	cfg  StationConfig

	last    time.Time     // end of the last exchange
	missed  int           // requests without a valid reply since the last one
	since   time.Time     // when the first of them was sent
	garbled bool          // bytes came to one of them
	hold    time.Duration // length of the next hold-off; 0 while the device is not given up
	until   time.Time     // end of the current one
	fullAt  time.Time     // when a reply was last waited for as long as allowed
	slowest time.Duration // of times
	gateway bool          // the device is behind one that says when it is silent

	mu    sync.Mutex // of what Stats reads; written by the line's goroutine only
	stats Stats
	times [remembered]time.Duration // response times; answer n's at n % remembered
}

// Stats is how a device has done since the station was made.
type Stats struct {
	Answers, Timeouts, BadFrames uint64
	// Response time of the last answers, up to 256: from the end of the request
	// to the start of the reply; through a serial server to its end.
	Median, P99, Slowest time.Duration
	// Offline is when a device that is given up was first asked in vain, zero
	// for one that is not.
	Offline time.Time
}

// Station makes a place on the line.
func (l *Line) Station(cfg StationConfig) *Station { return &Station{line: l, cfg: cfg} }

// Name returns the device's name.
func (s *Station) Name() string { return s.cfg.Name }

// Exchange is Line.Exchange with a device that may be dead. One that left three
// requests in a row, over three seconds or more, without a valid reply is given
// up: it is asked again after 0.5 s, doubled up to 30 s, and until then Exchange
// returns at once with a fault of kind Skipped. The first valid reply ends that.
// A gateway's word that the device is silent is no reply of the device, but a
// fault of kind Timeout.
func (s *Station) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	sent := time.Now()
	if left := s.until.Sub(sent); s.hold > 0 && left > 0 {
		return nil, &drivers.Fault{Kind: drivers.Skipped,
			Err: fmt.Errorf("%s since %s, asked again in %v", s.symptom(), s.since.Format(time.TimeOnly), left.Round(100*time.Millisecond))}
	}
	if x.Settings == (drivers.Settings{}) {
		x.Settings = s.cfg.Settings
	}
	if s.cfg.Timeout > 0 {
		x.Timeout = s.cfg.Timeout
	}
	x.Silence = max(x.Silence, s.cfg.Turnaround)
	if s.cfg.Gap > 0 {
		s.line.wait(ctx, s.last.Add(s.cfg.Gap))
		sent = time.Now()
	}
	reply, err := s.line.exchangeWithin(ctx, &x, s.patience(sent, x.Timeout))
	s.last = s.line.last
	switch fault, ok := errors.AsType[*drivers.Fault](err); {
	case ok && fault.Kind == drivers.Timeout:
		s.gateway = false
	case err == nil && x.Silent != nil:
		if silence := x.Silent(reply); silence != nil {
			s.gateway = true
			reply, err = nil, &drivers.Fault{Kind: drivers.Timeout, Err: silence}
		}
	}
	s.note(sent, err)
	return reply, err
}

// patience is how long to wait for a reply to begin, at most full. It is full
// for a device that is not known yet or has just missed one, so that a slow
// answer is not lost for good, and for one behind a gateway that waits for it:
// until the gateway has given it up, the others could not be asked anyway.
func (s *Station) patience(now time.Time, full time.Duration) time.Duration {
	wait, known := full, min(s.stats.Answers, remembered)
	if known >= enough {
		wait = min(full, max(leastWait, margin*s.slowest))
	}
	switch {
	case s.gateway:
		wait = full
	case s.hold > 0 && now.Sub(s.fullAt) < patienceShare*full:
		if known < enough {
			wait = min(full, shortWait)
		}
		return wait
	case s.hold > 0, s.missed > 0:
		wait = full
	}
	if wait == full {
		s.fullAt = now
	}
	return wait
}

// note keeps how the exchange that began at sent ended.
func (s *Station) note(sent time.Time, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		s.remember(s.line.took)
		s.stats.Offline = time.Time{}
		s.missed, s.garbled, s.hold = 0, false, 0
		return
	}
	fault, ok := errors.AsType[*drivers.Fault](err)
	switch {
	case ok && fault.Kind == drivers.Timeout:
		s.stats.Timeouts++
	case ok && fault.Kind == drivers.BadFrame:
		s.stats.BadFrames++
		s.garbled = true
	default:
		return // says nothing of the device
	}
	if s.missed == 0 {
		s.since = sent
	}
	s.missed++
	switch {
	case s.hold > 0:
		s.hold = min(2*s.hold, lastHold)
	case s.missed >= lostAfter && s.last.Sub(s.since) >= lostAfterFor:
		s.hold, s.stats.Offline = firstHold, s.since
	default:
		return
	}
	s.until = s.last.Add(s.hold)
}

// remember keeps the response time of one more answer.
func (s *Station) remember(took time.Duration) {
	t := &s.times[s.stats.Answers%remembered]
	forgotten := *t
	*t = took
	s.stats.Answers++
	switch {
	case took >= s.slowest:
		s.slowest = took
	case forgotten == s.slowest:
		s.slowest = slices.Max(s.times[:])
	}
}

func (s *Station) symptom() string {
	if s.garbled {
		return "no valid reply"
	}
	return "silent"
}

// Stats returns how the device has done. It is safe for concurrent use.
func (s *Station) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.stats
	times := slices.Clone(s.times[:min(stats.Answers, remembered)])
	if n := len(times); n > 0 {
		slices.Sort(times)
		stats.Median, stats.P99, stats.Slowest = times[n/2], times[n*99/100], times[n-1]
	}
	return stats
}
