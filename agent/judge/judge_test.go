package judge

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

var begin = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// counter is a meter with one energy register of 0.01 kWh that ends at 10^6.
func counter(rule Rule) *Judge {
	rule.Counter = true
	return New([]string{"hall-a"}, []Meter{{Name: "press-1", Interval: 10 * time.Second,
		Columns: []drivers.Quantity{{Name: "energy_import", Unit: "kWh", Exp: -2}}, Rules: []Rule{rule}}})
}

// feed polls every 10 s and returns the qualities and the kinds of the events.
func feed(j *Judge, values ...int64) (qualities []drivers.Quality, kinds []string) {
	for n, v := range values {
		rs := []drivers.Reading{{Coef: v}}
		for _, e := range j.Poll(0, begin.Add(time.Duration(n)*10*time.Second), rs, nil) {
			kinds = append(kinds, e.Kind)
		}
		if rs[0].Coef != v {
			panic("a value was changed")
		}
		qualities = append(qualities, rs[0].Quality)
	}
	return qualities, kinds
}

func TestCounters(t *testing.T) {
	const ok, back, fast = drivers.OK, drivers.Backwards, drivers.TooFast
	for _, c := range []struct {
		name      string
		rule      Rule
		values    []int64
		qualities []drivers.Quality
		kinds     []string
	}{
		{"grows", Rule{}, []int64{100, 100, 101, 250}, []drivers.Quality{ok, ok, ok, ok}, nil},
		{"rolls over", Rule{Modulus: 1e6}, []int64{999990, 999999, 3, 5}, []drivers.Quality{ok, ok, ok, ok}, []string{"counter_rolled_over"}},
		{"falls near its end but too far", Rule{Modulus: 1e6}, []int64{999990, 500000, 500001}, []drivers.Quality{ok, back, back}, nil},
		{"falls without a known end", Rule{}, []int64{999990, 3}, []drivers.Quality{ok, back}, nil},
		{"one zero", Rule{}, []int64{5000, 0, 5001, 5002}, []drivers.Quality{ok, back, ok, ok}, []string{"counter_glitch"}},
		{"begins anew", Rule{}, []int64{5000, 10, 11, 12, 13}, []drivers.Quality{ok, back, back, back, ok}, []string{"counter_reset"}},
		{"falls again and again", Rule{}, []int64{5000, 40, 30, 20, 10}, []drivers.Quality{ok, back, back, back, back}, nil},
		{"leaps and comes back", Rule{MaxRate: 36000}, []int64{5000, 999999, 5010, 5020}, []drivers.Quality{ok, fast, ok, ok}, []string{"counter_glitch"}},
		{"as fast as it may", Rule{MaxRate: 36000}, []int64{5000, 5100, 5200}, []drivers.Quality{ok, ok, ok}, nil},
	} {
		qualities, kinds := feed(counter(c.rule), c.values...)
		if !slices.Equal(qualities, c.qualities) || !slices.Equal(kinds, c.kinds) {
			t.Errorf("%s: %v %v, want %v %v", c.name, qualities, kinds, c.qualities, c.kinds)
		}
	}
}

func TestWhatIsNoCounterIsNotReset(t *testing.T) {
	j := New([]string{"a"}, []Meter{{Name: "m", Columns: []drivers.Quantity{{Name: "power", Unit: "W"}}, Rules: []Rule{{MaxRate: 3600}}}})
	if _, kinds := feed(j, 100, 9000, 9001, 9002, 9003); kinds != nil {
		t.Fatalf("a load that was switched on: %v", kinds)
	}
}

func TestFrozen(t *testing.T) {
	j := New([]string{"a"}, []Meter{{Name: "m", Columns: []drivers.Quantity{{Name: "voltage_l1", Unit: "V", Exp: -1}}, Rules: []Rule{{Frozen: 25 * time.Second}}}})
	qualities, _ := feed(j, 2301, 2301, 2301, 2301, 2302)
	if want := []drivers.Quality{drivers.OK, drivers.OK, drivers.OK, drivers.Frozen, drivers.OK}; !slices.Equal(qualities, want) {
		t.Fatalf("%v, want %v", qualities, want)
	}
}

func TestExchangedMeterBeginsAnew(t *testing.T) {
	j := counter(Rule{})
	feed(j, 5000)
	if e := j.Identity(0, begin, "123"); e != nil {
		t.Fatalf("the first meter is an event: %v", e)
	}
	if e := j.Identity(0, begin, "123"); e != nil {
		t.Fatalf("the same meter is an event: %v", e)
	}
	e := j.Identity(0, begin, "124")
	if len(e) != 1 || e[0].Kind != "meter_exchanged" || e[0].Subject != "press-1" {
		t.Fatalf("%v", e)
	}
	if q, kinds := feed(j, 7, 8); q[0] != drivers.OK || kinds != nil {
		t.Fatalf("%v %v", q, kinds)
	}
}

func TestLinesAndMetersThatFallSilent(t *testing.T) {
	j := counter(Rule{})
	var kinds []string
	n := 0
	poll := func(r drivers.Reading, fault error) {
		n++
		for _, e := range j.Poll(0, begin.Add(time.Duration(n)*2*time.Minute), []drivers.Reading{r}, fault) {
			kinds = append(kinds, e.Kind+" "+e.Subject)
		}
	}
	gone := &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("port is gone")}
	late := &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout")}
	poll(drivers.Reading{Coef: 1}, nil)
	for range 3 {
		poll(drivers.Reading{Quality: drivers.Disconnected}, gone)
	}
	poll(drivers.Reading{Coef: 2}, nil)
	for range 5 {
		poll(drivers.Reading{Quality: drivers.Timeout}, late)
	}
	if !j.Silent(0) {
		t.Error("not silent")
	}
	poll(drivers.Reading{Coef: 3}, nil)
	want := []string{"line_lost hall-a", "line_restored hall-a", "meter_silent press-1", "meter_answers press-1"}
	if !slices.Equal(kinds, want) {
		t.Fatalf("%v, want %v", kinds, want)
	}
}

func TestOneEventAMinuteCountsTheRest(t *testing.T) {
	j := counter(Rule{})
	var got []uint64
	for n := range 30 { // falls and comes back every 20 s
		v := int64(1000 + n)
		if n%2 == 1 {
			v = 0
		}
		for _, e := range j.Poll(0, begin.Add(time.Duration(n)*10*time.Second), []drivers.Reading{{Coef: v}}, nil) {
			got = append(got, e.Count)
		}
	}
	if want := []uint64{1, 3, 3, 3, 3}; !slices.Equal(got, want) {
		t.Fatalf("counts %v, want %v", got, want)
	}
}

// TestNothingWaitsForEver: what recurs within a minute of being told is told when
// the minute is over, even if nothing follows: a line lost twice is not restored.
func TestNothingWaitsForEver(t *testing.T) {
	j := counter(Rule{})
	gone := &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("port is gone")}
	for n, fault := range []error{gone, nil, gone} {
		r := drivers.Reading{Coef: 1}
		if fault != nil {
			r = drivers.Reading{Quality: drivers.Disconnected}
		}
		j.Poll(0, begin.Add(time.Duration(n)*10*time.Second), []drivers.Reading{r}, fault)
	}
	if e := j.Waiting(begin.Add(50 * time.Second)); e != nil {
		t.Fatalf("told within the minute: %v", e)
	}
	e := j.Waiting(begin.Add(time.Minute))
	if len(e) != 1 || e[0].Kind != "line_lost" || e[0].Count != 1 || !e[0].At.Equal(begin.Add(20*time.Second)) {
		t.Fatalf("%+v, want the second loss", e)
	}
	if e := j.Waiting(time.Time{}); e != nil {
		t.Fatalf("told twice: %v", e)
	}
}

func TestAnEarlierRunIsTheBaseline(t *testing.T) {
	j := counter(Rule{Modulus: 1e6, MaxRate: 36000, Frozen: time.Hour})
	j.Resume(0, []drivers.Reading{{Coef: 5000}})
	if q, kinds := feed(j, 5000, 900000); q[0] != drivers.OK || q[1] != drivers.TooFast || kinds != nil {
		t.Fatalf("goes on as it was, then leaps: %v %v", q, kinds)
	}
	j = counter(Rule{Modulus: 1e6, MaxRate: 36000})
	j.Resume(0, []drivers.Reading{{Coef: 5000}})
	if q, kinds := feed(j, 900000); q[0] != drivers.OK || kinds != nil {
		t.Fatalf("much was used while the agent was away: %v %v", q, kinds)
	}
	j = counter(Rule{Modulus: 1e6, MaxRate: 36000})
	j.Resume(0, []drivers.Reading{{Coef: 5000}})
	if _, kinds := feed(j, 10, 11, 12, 13); !slices.Equal(kinds, []string{"counter_reset"}) {
		t.Fatalf("began anew while the agent was away: %v", kinds)
	}
}

// full is a three-phase meter; the values fit together.
func full() ([]drivers.Quantity, []drivers.Reading) {
	q := func(name, unit string, exp int8) drivers.Quantity {
		return drivers.Quantity{Name: name, Unit: unit, Exp: exp}
	}
	return []drivers.Quantity{
			q("voltage_l1", "V", -1), q("voltage_l2", "V", -1), q("voltage_l3", "V", -1),
			q("current_l1", "A", -3), q("current_l2", "A", -3), q("current_l3", "A", -3),
			q("power_l1", "W", 0), q("power_l2", "W", 0), q("power_l3", "W", 0), q("power", "kW", -3),
			q("reactive_power", "var", 0), q("apparent_power", "VA", 0), q("power_factor", "", -3), q("energy_import", "kWh", -2),
		}, []drivers.Reading{
			{Coef: 2300}, {Coef: 2300}, {Coef: 2300}, {Coef: 10000}, {Coef: 10000}, {Coef: 10000},
			{Coef: 1840}, {Coef: 1840}, {Coef: 1840}, {Coef: 5520}, {Coef: 4140}, {Coef: 6900}, {Coef: 800}, {Coef: 100000},
		}
}

func TestChecks(t *testing.T) {
	for _, c := range []struct {
		check  string
		column int
		value  int64
	}{
		{"phase_sum", 6, 900},
		{"u_i_pf", 3, 30000},
		{"s_p_q", 11, 9900},
	} {
		columns, _ := full()
		j := New([]string{"a"}, []Meter{{Name: "m", Interval: 10 * time.Second, Columns: columns, Rules: make([]Rule, len(columns))}})
		var got []string
		for n := range 20 {
			_, rs := full()
			if n >= 5 && n < 12 {
				rs[c.column].Coef = c.value
			}
			if n == 3 {
				rs[c.column].Coef = c.value // once is not enough
			}
			for _, e := range j.Poll(0, begin.Add(time.Duration(n)*2*time.Minute), rs, nil) {
				got = append(got, e.Kind+" "+e.Quantity)
			}
		}
		if want := []string{"check_failed " + c.check, "check_passed " + c.check}; !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", c.check, got, want)
		}
	}
}

func TestEnergyOfPower(t *testing.T) {
	for _, c := range []struct {
		name string
		part int64 // of the energy that is counted, percent
		want []string
	}{{"honest", 100, nil}, {"a fifth is missing", 80, []string{"check_failed energy_of_power"}}} {
		columns, _ := full()
		j := New([]string{"a"}, []Meter{{Name: "m", Interval: 10 * time.Second, Columns: columns, Rules: make([]Rule, len(columns))}})
		var got []string
		for n := range int64(6 * 60 * 6) { // six hours of polls, 5.52 kW
			_, rs := full()
			rs[13].Coef += n * 10 * 552 * c.part / 100 / 3600
			for _, e := range j.Poll(0, begin.Add(time.Duration(n)*10*time.Second), rs, nil) {
				got = append(got, e.Kind+" "+e.Quantity)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestSubMetersBehindTheMain(t *testing.T) {
	power := []drivers.Quantity{{Name: "power", Unit: "W"}}
	ct := []drivers.Decimal{{Coef: 40}}
	j := New([]string{"a", "b"}, []Meter{
		{Name: "main", Interval: 10 * time.Second, Columns: power, Multiplier: ct, Main: true},
		{Name: "press", Line: 1, Interval: 10 * time.Second, Columns: power},
		{Name: "lathe", Line: 1, Interval: 10 * time.Second, Columns: power},
	})
	var got []string
	for n := range 30 {
		at := begin.Add(time.Duration(n) * 10 * time.Second)
		main := int64(1000) // 40 kW
		if n >= 10 && n < 20 {
			main = 500
		}
		for i, p := range []int64{main, 25000, 12000} {
			for _, e := range j.Poll(i, at, []drivers.Reading{{Coef: p}}, nil) {
				got = append(got, e.Kind+" "+e.Subject+" "+e.Quantity)
			}
		}
	}
	if want := []string{"check_failed main sub_meters", "check_passed main sub_meters"}; !slices.Equal(got, want) {
		t.Fatalf("%v, want %v", got, want)
	}
}

func BenchmarkPoll(b *testing.B) {
	columns, rs := full()
	rules := make([]Rule, len(columns))
	rules[13] = Rule{Counter: true, Modulus: 1e8, MaxRate: 1e6}
	j := New([]string{"a"}, []Meter{{Name: "m", Interval: 10 * time.Second, Columns: columns, Rules: rules}})
	at := begin
	b.ReportAllocs()
	for b.Loop() {
		at = at.Add(10 * time.Second)
		j.Poll(0, at, rs, nil)
	}
}

// Within the time a meter takes to measure anew, the same values again are
// stale; one column that moved says that all were measured. What it repeats
// after that time was measured, and is the same.
func TestStale(t *testing.T) {
	const ok, stale, frozen = drivers.OK, drivers.Stale, drivers.Frozen
	type poll struct {
		seconds     int
		power, volt int64
		want        [2]drivers.Quality
	}
	j := New([]string{"a"}, []Meter{{Name: "m", Columns: []drivers.Quantity{{Name: "power", Unit: "W"}, {Name: "voltage_l1", Unit: "V"}},
		Rules: []Rule{{Refresh: 30 * time.Second}, {Frozen: 45 * time.Second}}}})
	j.Resume(0, []drivers.Reading{{Coef: 500}, {Coef: 230}})
	for _, p := range []poll{
		{0, 500, 230, [2]drivers.Quality{ok, ok}}, // of an earlier run: who knows when
		{10, 500, 230, [2]drivers.Quality{stale, ok}},
		{20, 500, 231, [2]drivers.Quality{ok, ok}},
		{30, 500, 231, [2]drivers.Quality{stale, ok}},
		{49, 500, 231, [2]drivers.Quality{stale, ok}},
		{50, 500, 231, [2]drivers.Quality{ok, ok}},
		{60, 500, 231, [2]drivers.Quality{stale, ok}},
		{70, 501, 231, [2]drivers.Quality{ok, frozen}},
		{80, 501, 231, [2]drivers.Quality{stale, frozen}},
	} {
		rs := []drivers.Reading{{Coef: p.power}, {Coef: p.volt}}
		j.Poll(0, begin.Add(time.Duration(p.seconds)*time.Second), rs, nil)
		if got := [2]drivers.Quality{rs[0].Quality, rs[1].Quality}; got != p.want {
			t.Errorf("after %d s: %v, want %v", p.seconds, got, p.want)
		}
	}
}

// A counter is judged by what the run before ended with, also where that was stale.
func TestResumeStale(t *testing.T) {
	j := counter(Rule{})
	j.Resume(0, []drivers.Reading{{Coef: 100, Quality: drivers.Stale}})
	if qualities, _ := feed(j, 99); qualities[0] != drivers.Backwards {
		t.Error(qualities)
	}
}
