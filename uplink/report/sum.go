package report

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Limits of a Builder. Beyond them it counts, and the page says so.
const (
	maxDays      = 400 // drawn, and kept
	maxMeters    = 64
	maxSeries    = 64
	maxStretches = 100
	maxGaps      = 1000
	maxNotes     = 200
)

// Builder sums up the results of one bundle, in order, for a page. Its memory
// is bounded by days x meters. Not safe for concurrent use.
type Builder struct {
	zone *time.Location

	leaves, windows, refused, unnamed uint64
	grades                            [len(gradeOrder)]uint64
	from, to                          int64 // ms, first and last window of the log
	started, sealed                   bool  // a leaf, a window was seen

	days    map[int64]*day
	evicted uint64 // windows of days no longer kept

	meters      []*meterSum
	byName      map[string]*meterSum
	moreMeters  bool
	series      []*series
	byKey       map[seriesKey]*series
	interrupted pause

	nextN    uint64
	gaps     []gap
	moreGaps uint64

	notes     []*note
	byNote    map[noteKey]*note
	moreNotes uint64

	boot   uint64
	ahead  int64 // of the clock before the running time, ms, at the last window
	lastMS int64 // end of the last window
}

var gradeOrder = [...]verify.Grade{verify.GradeA, verify.GradeB, verify.GradeC, verify.GradeD, verify.GradeX}

func gradeIndex(g verify.Grade) int {
	if i := slices.Index(gradeOrder[:], g); i >= 0 {
		return i
	}
	return len(gradeOrder) - 1
}

// day is what is known of one local day.
type day struct {
	present, verified [24]int64 // ms that accepted windows, and verified ones, cover
	refused           [24]int   // leaves that did not verify
	grades            [len(gradeOrder)]int
	windows           int
	from, to          int64 // ms, what accepted windows cover
	due, have         []int // samples of each meter
}

type meterSum struct {
	name      string
	index     int
	due, have uint64
	codes     [256]uint64 // of samples without a value
}

// gap is a stretch without windows, a range of missing leaves, or both.
type gap struct {
	from, to int64 // ms; both 0 when not known
	lo, hi   uint64
	leaves   bool // lo and hi are missing
	pause
}

// pause is what was seen between two windows.
type pause struct {
	shutdown string
	stopped  bool // a shutdown leaf
	started  bool // a boot leaf
	unclean  bool // of a run that did not end in order
	refused  int  // leaves that did not verify
	clock    bool // the clock moved ahead of the running time
}

// note is what happened, once or many times.
type note struct {
	noteKey
	what        text
	first, last int64 // ms
	count       uint64
}

type noteKey struct{ kind, subject, detail string }

// NewBuilder makes a Builder whose days and hours are those of zone.
func NewBuilder(zone *time.Location) *Builder {
	return &Builder{zone: zone, days: map[int64]*day{}, byName: map[string]*meterSum{}, byKey: map[seriesKey]*series{}, byNote: map[noteKey]*note{}}
}

// Add takes the next result of the bundle.
func (b *Builder) Add(r verify.Result) {
	b.missing(&r)
	if !r.Verdict.Accepted() {
		b.refuse(&r)
		return
	}
	b.leaves++
	switch m := r.Manifest; r.Type {
	case evidence.WindowLeaf:
		b.window(&r)
	case evidence.GenesisLeaf, evidence.LossLeaf: // told by the head, and by the gaps
	case evidence.BootLeaf:
		b.interrupted.started, b.interrupted.unclean = true, !m.BootInfo.Clean
		what := text{"采集程序启动，上次为正常停止", "agent started; the run before ended in order"}
		if !m.BootInfo.Clean {
			what = text{"采集程序启动，上次未正常停止（停电或崩溃）", "agent started; the run before was cut off"}
		}
		b.note(m.Start, noteKey{kind: what.en, detail: m.BootInfo.Software}, what, 1)
	case evidence.ShutdownLeaf:
		b.interrupted.stopped, b.interrupted.shutdown = true, m.Shutdown
	case evidence.ConfigLeaf:
		b.note(m.Start, noteKey{kind: "config"}, text{"配置变更：此后各数值的名称、单位、变比以新配置为准", "configuration changed: names, units and ratios are new from here on"}, 1)
	case evidence.ClockStepLeaf:
		what := text{"设备时钟向前调整", "the box’s clock was set forward"}
		if m.Step.After < m.Step.Before {
			what = text{"设备时钟向后调整", "the box’s clock was set back"}
		}
		by := m.Step.After - m.Step.Before
		b.interrupted.clock = by > 0
		b.note(m.Step.Before, noteKey{kind: what.en, detail: length(max(by, -by)).en}, what, 1)
	case evidence.EventsLeaf:
		for _, e := range m.Events {
			b.event(e)
		}
	default:
		what := leafText(r.Type)
		b.note(m.Start, noteKey{kind: what.en}, what, 1)
	}
}

// missing notes leaves that are not in the file before this one.
func (b *Builder) missing(r *verify.Result) {
	if r.Leaf == (evidence.Hash{}) || r.Verdict == verify.Replayed || r.Verdict == verify.WrongKey || r.Verdict == verify.Forked {
		return // its index is not known, or not one of this history
	}
	if b.started && r.N > b.nextN {
		b.gap(gap{lo: b.nextN, hi: r.N - 1, leaves: true})
	}
	if !b.started || r.N >= b.nextN {
		b.started, b.nextN = true, r.N+1
	}
}

func (b *Builder) gap(g gap) {
	if len(b.gaps) == maxGaps {
		b.moreGaps++
		return
	}
	b.gaps = append(b.gaps, g)
}

func (b *Builder) refuse(r *verify.Result) {
	if r.Verdict == verify.Replayed {
		return // what it holds has been counted
	}
	b.refused++
	b.interrupted.refused++
	b.grades[gradeIndex(verify.GradeX)]++
	if r.Leaf == (evidence.Hash{}) {
		return
	}
	l := local(r.From.UnixMilli(), b.zone)
	if d := b.days[floor(l, dayMS)]; d != nil { // its time is not proven: it makes no day of its own
		d.refused[floor(l, hourMS)-floor(l, dayMS)*24]++
		d.grades[gradeIndex(verify.GradeX)]++
	}
}

func (b *Builder) event(e evidence.Happening) {
	b.note(e.At, noteKey{e.Kind, e.Subject, e.Quantity}, eventText(e.Kind), e.Count)
	switch e.Kind {
	case "meter_exchanged", "counter_reset", "counter_rolled_over":
		if b.today(e.At) == nil {
			return
		}
		today, _, _ := localDay(e.At, b.zone)
		for _, s := range b.series {
			if s.meter == e.Subject && (e.Quantity == "" || e.Quantity == s.quantity) {
				s.restart(e.At, today)
			}
		}
	}
}

func (b *Builder) note(at int64, k noteKey, what text, count uint64) {
	n := b.byNote[k]
	if n == nil {
		if len(b.notes) == maxNotes {
			b.moreNotes += count
			return
		}
		n = &note{noteKey: k, what: what, first: at}
		b.byNote[k], b.notes = n, append(b.notes, n)
	}
	n.first, n.last, n.count = min(n.first, at), max(n.last, at), n.count+count
}

func (b *Builder) window(r *verify.Result) {
	m := r.Manifest
	from, to := m.Start, m.End()
	b.pauseBefore(m)
	b.windows++
	b.to = to
	g := gradeIndex(r.Grade)
	b.grades[g]++
	today := b.today(from)
	if today != nil {
		today.windows++
		today.grades[g]++
	} else {
		b.evicted++
	}
	b.cover(from, to, r.Verdict == verify.Verified)
	if r.Window == nil {
		b.unnamed++
		return
	}
	b.values(r.Window, today)
}

// longestStep is by how much the box's clock and its running time may drift
// apart between two windows before it is said: sealing takes its time.
const longestStep = 5 * 60_000

// pauseBefore notes what is between this window and the one before.
func (b *Builder) pauseBefore(m *evidence.Manifest) {
	ahead := m.End() - int64(m.UptimeMS)
	if !b.sealed {
		b.sealed, b.from = true, m.Start
	} else {
		if m.Start < b.lastMS {
			b.note(m.Start, noteKey{kind: "clock back"}, text{"设备时钟向后调整，时段有重叠", "the box's clock was set back, windows overlap"}, 1)
		}
		step := ahead - b.ahead
		p := b.interrupted
		p.clock = p.clock || m.Event.Boot == b.boot && step > longestStep
		missing := len(b.gaps) > 0 && b.gaps[len(b.gaps)-1].leaves && b.gaps[len(b.gaps)-1].from == 0
		switch {
		case missing: // the leaves that are missing since the last window
			g := &b.gaps[len(b.gaps)-1]
			g.from, g.to, g.pause = b.lastMS, max(m.Start, b.lastMS), p
		case m.Start-b.lastMS > 1000:
			b.gap(gap{from: b.lastMS, to: m.Start, pause: p})
		}
	}
	b.interrupted = pause{}
	b.boot, b.ahead, b.lastMS = m.Event.Boot, ahead, m.End()
}

// today is the day of an instant. It is nil for one before all that are kept.
func (b *Builder) today(ms int64) *day {
	n, _, _ := localDay(ms, b.zone)
	if d := b.days[n]; d != nil {
		return d
	}
	if len(b.days) == maxDays {
		oldest := n
		for k := range b.days {
			oldest = min(oldest, k)
		}
		if oldest == n {
			return nil
		}
		b.evicted += uint64(b.days[oldest].windows)
		delete(b.days, oldest)
		for _, s := range b.series {
			maps.DeleteFunc(s.days, func(n int64, _ *use) bool { return b.days[n] == nil })
		}
	}
	d := &day{}
	b.days[n] = d
	return d
}

// cover adds a window to the hours it lies in, of days that are kept.
func (b *Builder) cover(from, to int64, verified bool) {
	to = min(to, from+31*dayMS) // a window of a month is no window; the time it takes is bounded
	for from < to {
		l := local(from, b.zone)
		left := min(hourMS-(l-floor(l, hourMS)*hourMS), to-from)
		if d := b.today(from); d != nil {
			if d.to == 0 {
				d.from = from
			}
			d.from, d.to = min(d.from, from), max(d.to, from+left)
			h := floor(l, hourMS) - floor(l, dayMS)*24
			d.present[h] += left
			if verified {
				d.verified[h] += left
			}
		}
		from += left
	}
}

func (b *Builder) values(w *verify.Window, today *day) {
	var m *meterSum
	for v := range w.Values() {
		if v.Channel.Measured() && v.Code != evidence.Absent {
			if m == nil || m.name != v.Meter {
				m = b.meter(v.Meter)
			}
			if m != nil {
				m.count(&v, today)
			}
		}
		if v.Code == evidence.OK {
			b.register(&v)
		}
	}
}

func (m *meterSum) count(v *verify.Value, today *day) {
	m.due++
	if v.Code.HasValue() {
		m.have++
	} else {
		m.codes[v.Code]++
	}
	if today == nil {
		return
	}
	for len(today.due) <= m.index {
		today.due, today.have = append(today.due, 0), append(today.have, 0)
	}
	today.due[m.index]++
	if v.Code.HasValue() {
		today.have[m.index]++
	}
}

// meter returns the sums of a meter, or nil beyond the limit.
func (b *Builder) meter(name string) *meterSum {
	m := b.byName[name]
	if m == nil {
		if len(b.meters) == maxMeters {
			b.moreMeters = true
			return nil
		}
		m = &meterSum{name: name, index: len(b.meters)}
		b.byName[name], b.meters = m, append(b.meters, m)
	}
	return m
}

// register follows the counters. Channels of totals are none, whatever their
// names.
func (b *Builder) register(v *verify.Value) {
	rank := slices.Index(counters[:], v.Quantity)
	if rank < 0 || !v.Channel.Measured() || b.days[floor(local(v.Time.UnixMilli(), b.zone), dayMS)] == nil {
		return
	}
	k := seriesKey{v.Meter, v.Quantity, v.Unit}
	s := b.byKey[k]
	if s == nil {
		if len(b.series) == maxSeries {
			b.moreMeters = true
			return
		}
		s = &series{seriesKey: k, rank: rank, days: map[int64]*use{}}
		b.byKey[k], b.series = s, append(b.series, s)
	}
	s.read(v, b.zone)
}

// axis is the days that are drawn: the newest span of maxDays with at least
// half as many windows as the fullest, so that a box whose clock was once wrong
// by years does not push its own readings off the page. outside counts the
// windows that are not in it.
func (b *Builder) axis() (first, last int64, outside uint64) {
	var ns []int64
	for n, d := range b.days {
		if d.windows > 0 {
			ns = append(ns, n)
		}
	}
	if len(ns) == 0 {
		return 0, -1, b.evicted
	}
	slices.Sort(ns)
	fullest, chosen, total := 0, 0, 0
	sums := make([]int, len(ns)) // windows in the span that ends with day i
	for i, lo, sum := 0, 0, 0; i < len(ns); i++ {
		sum += b.days[ns[i]].windows
		total += b.days[ns[i]].windows
		for ns[i]-ns[lo] >= maxDays {
			sum -= b.days[ns[lo]].windows
			lo++
		}
		sums[i] = sum
		fullest = max(fullest, sum)
	}
	for i := range ns {
		if 2*sums[i] >= fullest {
			chosen = i
		}
	}
	last = ns[chosen]
	for _, n := range ns {
		if last-n < maxDays {
			first = n
			break
		}
	}
	return first, last, b.evicted + uint64(total-sums[chosen])
}

func civil(day int64) time.Time { return time.UnixMilli(day * dayMS).UTC() }

func shortDate(day int64) string {
	t := civil(day)
	return strconv.Itoa(int(t.Month())) + "/" + strconv.Itoa(t.Day())
}
