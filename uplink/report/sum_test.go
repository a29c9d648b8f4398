package report

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/verify"
)

func built(t *testing.T, deliveries [][]byte) *Builder {
	t.Helper()
	b := NewBuilder(china)
	check(t, pack(t, deliveries), b.Add)
	return b
}

// What the days went up by, and what belongs to no single day, is together the
// difference of the last and the first reading, to the last digit.
func TestDaysAddUpToTheRegister(t *testing.T) {
	deliveries := newStory(t, 8)
	b := built(t, deliveries)
	for _, meter := range []string{"main", "compressor"} {
		var first, last *verify.Value
		check(t, pack(t, deliveries), func(r verify.Result) {
			if r.Window == nil {
				return
			}
			for v := range r.Window.Values() {
				if v.Meter == meter && v.Quantity == "energy_import" && v.Code == evidence.OK {
					if first == nil {
						first = &v
					}
					last = &v
				}
			}
		})
		var sum, want decimal
		s := b.byKey[seriesKey{meter, "energy_import", "kWh"}]
		for _, u := range s.days {
			sum.add(&u.sum)
		}
		for i := range s.undivided {
			sum.add(&s.undivided[i].sum)
		}
		want.coef.SetInt64(last.Coef - first.Coef)
		want.exp = -2
		if sum.String() != want.String() {
			t.Errorf("%s: %s, want %s", meter, &sum, &want)
		}
	}
	if s := b.byKey[seriesKey{"compressor", "energy_import", "kWh"}]; len(s.undivided) != 1 {
		t.Errorf("the compressor was silent over two midnights: %d stretches of no day", len(s.undivided))
	}
}

// A day without a reading has no figure, although the register says what it
// and its neighbours took together.
func TestNothingIsInterpolated(t *testing.T) {
	b := built(t, newStory(t, 8))
	s := b.byKey[seriesKey{"compressor", "energy_import", "kWh"}]
	first, _, _ := localDay(evidencetest.Start, china)
	silent := s.days[first+3]
	if silent != nil && !silent.none {
		t.Errorf("a day without readings has %s", &silent.sum)
	}
	for _, d := range []int64{first + 2, first + 4} { // silence begins and ends in these
		if u := s.days[d]; u.none || u.whole() {
			t.Errorf("day %d: %+v, want a part", d, u)
		}
	}
	if u := s.days[first+1]; !u.whole() {
		t.Errorf("a day with a power cut that ended is whole, for the register went on: %+v", u)
	}
}

// follow gives a series readings of one register: ms, coefficient.
func follow(readings ...[2]int64) *series {
	s := &series{days: map[int64]*use{}}
	for _, r := range readings {
		s.read(&verify.Value{Time: time.UnixMilli(r[0]), Coef: r[1], Column: evidence.Column{Exp: -2, MulCoef: 3}}, time.UTC)
	}
	return s
}

const hour = int64(hourMS)

func TestRegistersThatBeginAnewHaveNoFigure(t *testing.T) {
	t.Run("the register falls", func(t *testing.T) {
		s := follow([2]int64{0, 100}, [2]int64{hour, 200}, [2]int64{2 * hour, 5}, [2]int64{24 * hour, 10}, [2]int64{48 * hour, 30})
		if !s.days[0].restarted || s.days[1].restarted || s.days[1].sum.String() != "0.60" {
			t.Errorf("%+v, %+v", s.days[0], s.days[1])
		}
	})
	// The new meter may stand higher than the old: without the event the
	// difference would look like an enormous use.
	t.Run("another meter, told before its first reading", func(t *testing.T) {
		s := follow([2]int64{0, 100}, [2]int64{23*hour + hour*9/10, 110})
		s.restart(24*hour-1000, 0)
		s.read(&verify.Value{Time: time.UnixMilli(24 * hour), Coef: 999_999, Column: evidence.Column{Exp: -2, MulCoef: 3}}, time.UTC)
		s.read(&verify.Value{Time: time.UnixMilli(25 * hour), Coef: 1_000_009, Column: evidence.Column{Exp: -2, MulCoef: 3}}, time.UTC)
		if !s.days[0].restarted || s.days[1].sum.String() != "0.30" {
			t.Errorf("%+v, %+v", s.days[0], s.days[1])
		}
	})
	t.Run("another meter, told after its first reading", func(t *testing.T) {
		s := follow([2]int64{0, 100}, [2]int64{10 * hour, 999_999})
		s.restart(9*hour, 0)
		if !s.days[0].restarted {
			t.Errorf("%+v", s.days[0])
		}
	})
	t.Run("in a stretch of several days", func(t *testing.T) {
		s := follow([2]int64{0, 100}, [2]int64{100 * hour, 999_999})
		if len(s.undivided) != 1 {
			t.Fatal("no stretch")
		}
		s.restart(50*hour, 2)
		if len(s.undivided) != 0 {
			t.Errorf("%+v", s.undivided)
		}
	})
	t.Run("another transformer ratio", func(t *testing.T) {
		s := follow([2]int64{0, 100})
		s.read(&verify.Value{Time: time.UnixMilli(hour), Coef: 200, Column: evidence.Column{Exp: -2, MulCoef: 6}}, time.UTC)
		if !s.days[0].restarted {
			t.Errorf("%+v", s.days[0])
		}
	})
}

// A value that is marked is no reading of the register, and a channel of totals
// is no register.
func TestWhatIsNoReadingOfARegister(t *testing.T) {
	w, genesis, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(), evidence.Genesis{Event: evidencetest.Point(0), Dictionary: evidencetest.Small()})
	s := evidencetest.Stream{Writer: w}
	s.Add(t, genesis, err)
	data := evidencetest.SmallWindow(0)
	data[evidence.Energy][1] = evidence.Samples{Slots: 3, Values: [][]int64{{5200, 99_999_999, 5207}}, Codes: [][]evidence.Code{{evidence.OK, evidence.TooFast, evidence.OK}}}
	window, err := w.Window(evidencetest.Event(0, evidencetest.SmallMS), data, nil)
	s.Add(t, window, err)
	b := built(t, s.Deliveries)
	day, _, _ := localDay(evidencetest.Start, china)
	if u := b.byKey[seriesKey{"oven", "energy_import", "kWh"}].days[day]; u.restarted || u.sum.String() != "0.07" {
		t.Errorf("%+v", u)
	}
	b.register(&verify.Value{Channel: evidence.Aggregates, Meter: "total", Time: time.UnixMilli(evidencetest.Start), Column: evidence.Column{Quantity: "energy_import", MulCoef: 1}})
	if len(b.series) != 2 {
		t.Errorf("%d registers, want those of press-1 and oven", len(b.series))
	}
}

// The events leaf may come before the first window of its day.
func TestAnExchangeAtMidnightIsNoUse(t *testing.T) {
	b := NewBuilder(time.UTC)
	read := func(at, coef int64) {
		b.today(at)
		b.register(&verify.Value{Channel: evidence.Energy, Meter: "press-1", Coef: coef, Time: time.UnixMilli(at), Column: evidence.Column{Quantity: "energy_import", Unit: "kWh", MulCoef: 1}})
	}
	read(0, 100)
	read(23*hour, 150)
	b.event(evidence.Happening{At: 24*hour + 5000, Kind: "meter_exchanged", Subject: "press-1", Count: 1})
	read(24*hour+5000, 999_999)
	read(30*hour, 1_000_009)
	s := b.series[0]
	if !s.days[1].restarted || s.days[0].restarted || s.days[0].sum.String() != "50" || len(s.undivided) != 0 {
		t.Errorf("%+v, %+v", s.days[0], s.days[1])
	}
}

// A reading at 23:50 or at 00:10 stands for midnight, one at 23:40 does not.
func TestWhatStandsForMidnight(t *testing.T) {
	minute := hour / 60
	for _, c := range []struct {
		before, after int64 // minutes from midnight
		whole         bool
	}{{-60, 10, true}, {-10, 60, true}, {-60, 15, true}, {-15, 60, true}, {-16, 16, false}} {
		s := follow([2]int64{0, 0}, [2]int64{24*hour + c.before*minute, 10}, [2]int64{24*hour + c.after*minute, 20}, [2]int64{26 * hour, 30})
		if s.days[0].whole() != c.whole || (len(s.undivided) == 0) != c.whole {
			t.Errorf("%+v: %+v, %d of no day", c, s.days[0], len(s.undivided))
		}
	}
}

func TestDecimal(t *testing.T) {
	var d decimal
	for _, a := range []struct {
		coef int64
		exp  int
		want string
	}{{5, -2, "0.05"}, {1, 3, "1,000.05"}, {-2, 0, "998.05"}, {12_345_678, -1, "1,235,565.85"}} {
		e := decimal{exp: a.exp}
		e.coef.SetInt64(a.coef)
		if d.add(&e); d.String() != a.want {
			t.Errorf("%s, want %s", &d, a.want)
		}
	}
	if f := d.float(); f != 1235565.85 {
		t.Errorf("%v", f)
	}
}

func TestGapsAndTheirReasons(t *testing.T) {
	b := built(t, newStory(t, 8))
	type short struct {
		length                                   time.Duration
		leaves, started, unclean, stopped, clock bool
		refused                                  int
	}
	var got []short
	for _, g := range b.gaps {
		got = append(got, short{time.Duration(g.to-g.from) * time.Millisecond, g.leaves, g.started, g.unclean, g.stopped, g.clock, g.refused})
	}
	want := []short{
		{length: 210 * time.Minute, started: true, unclean: true},
		{length: 5 * time.Hour, started: true, stopped: true},
		{length: time.Hour, leaves: true},
		{length: 30 * time.Minute, refused: 1},
		{length: 10 * time.Minute, clock: true},
	}
	if len(got) != len(want) {
		t.Fatalf("%+v", got)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("%d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

// A clock step leaf explains the hole it makes.
func TestAClockStepIsTheReasonOfItsGap(t *testing.T) {
	b := NewBuilder(time.UTC)
	leaf := func(lt evidence.LeafType, start int64, step *evidence.ClockStep) {
		b.Add(verify.Result{Verdict: verify.Verified, Type: lt, Leaf: evidence.Hash{1}, N: b.nextN,
			Manifest: &evidence.Manifest{Type: lt, Step: step, Event: evidence.Event{Start: start, Duration: 60_000, UptimeMS: uint64(start)}}})
	}
	leaf(evidence.WindowLeaf, 0, nil)
	leaf(evidence.ClockStepLeaf, 60_000, &evidence.ClockStep{Before: 60_000, After: 120_000})
	leaf(evidence.WindowLeaf, 120_000, nil)
	if len(b.gaps) != 1 || !b.gaps[0].clock || len(b.notes) != 1 || b.notes[0].what.en != "the box’s clock was set forward" || b.notes[0].detail != "1 min" {
		t.Errorf("%+v, %+v", b.gaps, b.notes)
	}
}

// A box that thought it was 1970 for an hour must not push its readings off
// the page, nor make it decades wide.
func TestAxisIgnoresAStrayClock(t *testing.T) {
	b := NewBuilder(time.UTC)
	add := func(start int64) {
		b.Add(verify.Result{Verdict: verify.Verified, Type: evidence.WindowLeaf, Leaf: evidence.Hash{1}, Grade: verify.GradeB, N: b.nextN,
			Manifest: &evidence.Manifest{Type: evidence.WindowLeaf, Event: evidence.Event{Start: start, Duration: uint64(hour)}}})
	}
	for k := range int64(10) {
		add(k * hour)
	}
	for k := range int64(24 * 30) {
		add(evidencetest.Start + k*hour)
	}
	for k := range int64(5) {
		add(evidencetest.Start + 50*365*24*hour + k*hour)
	}
	first, last, outside := b.axis()
	if want := int64(evidencetest.Start / dayMS); first != want || last != want+29 || outside != 15 {
		t.Errorf("days %s to %s, %d windows outside", civil(first), civil(last), outside)
	}
}

// Whatever a box signs, what is kept stays within the limits.
func TestMemoryIsBounded(t *testing.T) {
	b := NewBuilder(time.UTC)
	for k := range int64(1200) {
		b.Add(verify.Result{Verdict: verify.Verified, Type: evidence.WindowLeaf, Leaf: evidence.Hash{1}, Grade: verify.GradeB, N: uint64(2 * k),
			Manifest: &evidence.Manifest{Type: evidence.WindowLeaf, Event: evidence.Event{Start: k * 3 * 24 * hour, Duration: uint64(5 * 24 * hour)}}})
		b.Add(verify.Result{Verdict: verify.Verified, Type: evidence.EventsLeaf, Leaf: evidence.Hash{1}, Grade: verify.GradeB, N: uint64(2*k + 1),
			Manifest: &evidence.Manifest{Type: evidence.EventsLeaf, Events: []evidence.Happening{{At: k, Kind: "k", Subject: time.Duration(k).String(), Count: 1}}}})
		b.meter(time.Duration(k).String())
		b.register(&verify.Value{Channel: evidence.Energy, Meter: time.Duration(k).String(), Time: time.UnixMilli(k * 3 * 24 * hour), Column: evidence.Column{Quantity: "energy_import", MulCoef: 1}})
		b.register(&verify.Value{Channel: evidence.Energy, Meter: "one", Coef: k, Time: time.UnixMilli(k * 3 * 24 * hour), Column: evidence.Column{Quantity: "energy_import", MulCoef: 1}})
	}
	if len(b.days) > maxDays || len(b.notes) > maxNotes || len(b.meters) > maxMeters || len(b.series) > maxSeries || len(b.gaps) > maxGaps {
		t.Errorf("%d days, %d notes, %d meters, %d series, %d gaps", len(b.days), len(b.notes), len(b.meters), len(b.series), len(b.gaps))
	}
	for _, s := range b.series {
		if len(s.days) > maxDays+2 || len(s.undivided) > maxStretches {
			t.Errorf("%s: %d days, %d stretches", s.meter, len(s.days), len(s.undivided))
		}
	}
	if b.moreNotes == 0 || !b.moreMeters || b.evicted == 0 {
		t.Error("what was cut off is not counted")
	}
}
