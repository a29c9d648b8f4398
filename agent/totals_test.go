package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/agent/aggregate"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// plant is a meter with an energy register and power that wander, and that may
// be dead.
type plant struct {
	rnd    *rand.Rand
	energy int64
	dead   bool
}

func (p *plant) Read(_ context.Context, dst []drivers.Reading) error {
	if p.dead {
		for i := range dst {
			dst[i] = drivers.Reading{Quality: drivers.Timeout}
		}
		return errors.New("timeout")
	}
	p.energy += p.rnd.Int64N(5)
	dst[0], dst[1] = drivers.Reading{Coef: p.energy}, drivers.Reading{Coef: p.rnd.Int64N(2001) - 1000}
	return nil
}

var shanghai = time.FixedZone("CST", 8*60*60)

func totalsSite(dir string, devices ...Device) Site {
	s := testSite(dir, devices...)
	s.Zone = shanghai
	s.Channels = []evidence.Channel{evidence.Energy, evidence.Power, evidence.Aggregates, evidence.DailyTotals}
	for i := range s.Lines[0].Meters {
		m := &s.Lines[0].Meters[i]
		m.Interval = time.Minute
		m.Columns = []Column{
			{Quantity: drivers.Quantity{Name: "energy_import", Unit: "kWh", Exp: -2}, Multiplier: drivers.Decimal{Coef: 40}, Rule: judge.Rule{Counter: true}},
			{Quantity: drivers.Quantity{Name: "power", Unit: "W"}, Multiplier: drivers.Decimal{Coef: 40}},
		}
	}
	return s
}

// box is a site on a disk that keeps what was synced, and of the rest what it
// likes.
type box struct {
	Site
	disk *crashfs.FS
	rnd  *rand.Rand
}

func newBox(t *testing.T, seed uint64, devices ...Device) *box {
	t.Helper()
	b := &box{totalsSite("/box", devices...), crashfs.New(), rand.New(rand.NewPCG(seed, 1))}
	b.Sync = time.Minute
	b.Quota = 2 << 20 // segments of 128 KiB
	if err := b.disk.MkdirAll(b.Dir); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *box) open(t *testing.T) *Agent {
	t.Helper()
	a, err := open(&machine{b.disk, since}, b.Site)
	if err != nil {
		t.Fatal(err)
	}
	if len(a.Damaged()) > 0 {
		t.Fatalf("damaged: %q", a.Damaged())
	}
	return a
}

// run runs the agent for d and stops it in order.
func (b *box) run(t *testing.T, d time.Duration) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	if err := b.open(t).Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// cut runs the agent for d and then cuts the power.
func (b *box) cut(t *testing.T, d time.Duration) {
	t.Helper()
	a := b.open(t)
	work(t, a, d)
	modes := crashfs.Modes()
	b.disk.Crash(modes[b.rnd.IntN(len(modes))], b.rnd)
}

// bundle is the whole history as a verified bundle shows it.
func (b *box) bundle(t *testing.T) (rs []verify.Result) {
	t.Helper()
	h, err := history.OpenReaderOn(b.disk, b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	var file bytes.Buffer
	if err := h.Export(&file, 0, h.Next()-1, false); err != nil {
		t.Fatal(err)
	}
	sum, err := verify.Bundle(&file, verify.Policy{Pinned: []evidence.PublicKey{h.PublicKey()}}, func(r verify.Result) { rs = append(rs, r) })
	if err != nil || sum.Verdict != verify.Verified {
		t.Fatalf("bundle: %v %v, %v", sum.Verdict, sum.Reasons, err)
	}
	return rs
}

// stranger recomputes channels 7 and 12 as SPEC.md section 6.1 has it, from
// channels 1 and 2 of verified windows and nothing of this package's.
type stranger struct {
	quarters, days map[string]*period // by meter
}

type period struct {
	end        time.Time
	known      bool
	base, last int64 // registers: at the end of the last period with a good reading, and the newest
	good       bool
	code       evidence.Code
	powers     []int64
	powerCode  evidence.Code
}

func quarterOf(at time.Time) time.Time { return at.Truncate(15 * time.Minute).Add(15 * time.Minute) }

func dayOf(at time.Time) time.Time {
	y, m, d := at.In(shanghai).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, shanghai)
}

// line is one sample of channel 7 or 12, in words.
func line(meter string, end time.Time, quantity string, coef int64, code evidence.Code) string {
	if !code.HasValue() {
		coef = 0
	}
	return fmt.Sprintf("%s %s %s %d %v", end.UTC().Format(time.RFC3339), meter, quantity, coef, code)
}

// window returns what the window must say, in no order.
func (s *stranger) window(r verify.Result) (lines []string) {
	begin, end := time.UnixMilli(r.Manifest.Start), time.UnixMilli(r.Manifest.End())
	for _, k := range []struct {
		of     map[string]*period
		ending func(time.Time) time.Time
		suffix string
	}{{s.quarters, quarterOf, "_15min"}, {s.days, dayOf, "_day"}} {
		for _, name := range []string{"press-1", "press-2"} {
			p := k.of[name]
			if p == nil {
				p = &period{}
				k.of[name] = p
			}
			if !p.end.IsZero() && !p.end.Equal(k.ending(begin)) {
				lines = append(lines, p.close(name, k.suffix)...)
			}
			p.end = k.ending(begin)
			for v := range r.Window.Values() {
				switch {
				case v.Meter != name:
				case v.Channel == evidence.Energy && v.Code == evidence.OK:
					p.last, p.good = v.Coef, true
				case v.Channel == evidence.Energy:
					p.code = v.Code
				case v.Channel == evidence.Power && v.Code == evidence.OK:
					p.powers = append(p.powers, v.Coef)
				case v.Channel == evidence.Power:
					p.powerCode = v.Code
				}
			}
			if !end.Before(p.end) {
				lines = append(lines, p.close(name, k.suffix)...)
				p.end = time.Time{}
			}
		}
	}
	return lines
}

func (p *period) close(meter, suffix string) (lines []string) {
	or := func(c evidence.Code) evidence.Code {
		if c == evidence.OK {
			return evidence.Skipped
		}
		return c
	}
	switch {
	case !p.good:
		lines = append(lines, line(meter, p.end, "energy_import"+suffix, 0, or(p.code)))
	case !p.known:
		lines = append(lines, line(meter, p.end, "energy_import"+suffix, 0, evidence.Invalid))
		p.known, p.base = true, p.last
	default:
		lines = append(lines, line(meter, p.end, "energy_import"+suffix, p.last-p.base, evidence.OK))
		p.base = p.last
	}
	if suffix == "_15min" {
		low, mean, high, code := int64(0), int64(0), int64(0), or(p.powerCode)
		if n := int64(len(p.powers)); n > 0 {
			sum := int64(0)
			for _, v := range p.powers {
				sum += v
			}
			low, high, code = slices.Min(p.powers), slices.Max(p.powers), evidence.OK
			for mean = low; 2*(sum-mean*n) > n || 2*(sum-mean*n) == n && mean%2 != 0; mean++ {
			}
		}
		for i, v := range []int64{low, mean, high} {
			lines = append(lines, line(meter, p.end, []string{"power_active_min", "power_active_avg", "power_active_max"}[i]+suffix, v, code))
		}
	}
	p.good, p.code, p.powers, p.powerCode = false, evidence.OK, nil, evidence.OK
	return lines
}

// recompute holds channels 7 and 12 of the history against what a stranger
// makes of channels 1 and 2, and returns how many samples they have.
func recompute(t *testing.T, rs []verify.Result) (slots int) {
	t.Helper()
	who := stranger{map[string]*period{}, map[string]*period{}}
	for _, r := range rs {
		if r.Window == nil {
			continue
		}
		var got []string
		for v := range r.Window.Values() {
			if v.Channel != evidence.Aggregates && v.Channel != evidence.DailyTotals {
				continue
			}
			got = append(got, line(v.Meter, v.Time, v.Quantity, v.Coef, v.Code))
		}
		want := who.window(r)
		slices.Sort(got)
		slices.Sort(want)
		if !slices.Equal(got, want) {
			t.Fatalf("leaf %d, %v to %v: told\n%q\na stranger computes\n%q", r.N, time.UnixMilli(r.Manifest.Start).UTC(), time.UnixMilli(r.Manifest.End()).UTC(), got, want)
		}
		slots += len(got)
	}
	return slots
}

// TestTotalsAreRecomputed: days with power cuts, stops, times the box was off and
// meters that are dead now and then.
func TestTotalsAreRecomputed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(7, 7))
		one, two := &plant{rnd: rnd, energy: 1000}, &plant{rnd: rnd, energy: 1 << 40}
		b := newBox(t, 7, one, two)
		b.Window = 5 * time.Minute
		for begun := time.Now(); time.Since(begun) < 100*time.Hour; {
			one.dead, two.dead = rnd.IntN(4) == 0, rnd.IntN(9) == 0
			b.ConfigDigest = evidence.Hash{byte(rnd.IntN(2))} // a lender came or went
			stop := b.run
			if rnd.IntN(3) > 0 {
				stop = b.cut
			}
			stop(t, time.Duration(rnd.Int64N(int64(5*time.Hour))))
			if rnd.IntN(3) == 0 {
				time.Sleep(time.Duration(rnd.Int64N(int64(9 * time.Hour))))
			}
		}
		if n := recompute(t, b.bundle(t)); n < 1000 {
			t.Fatalf("%d samples of totals in 100 hours: the test shows little", n)
		}
	})
}

// TestDayAddsUp: a day with power cuts in the middle of periods. Its quarters add
// up to its total, and both to what the register moved.
func TestDayAddsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		d := &plant{rnd: rand.New(rand.NewPCG(3, 3)), energy: 1000}
		b := newBox(t, 3, d)
		b.Window = 5 * time.Minute
		midnight := dayOf(time.Now()).Add(24 * time.Hour)
		time.Sleep(time.Until(midnight) - 37*time.Minute)
		for _, run := range []time.Duration{3 * time.Hour, 11 * time.Minute, 7 * time.Hour, 4*time.Minute + 30*time.Second} {
			b.cut(t, run)
			d.energy += 500 // the meter counts on while the box is off
			time.Sleep(29 * time.Minute)
		}
		b.run(t, time.Until(midnight.Add(24*time.Hour+2*time.Minute)))
		at := map[time.Time]int64{} // register before an instant
		quarters, day := int64(0), int64(0)
		for _, r := range b.bundle(t) {
			for _, v := range values(r, "energy_import") {
				for _, end := range []time.Time{midnight, midnight.Add(24 * time.Hour)} {
					if v.Time.Before(end) {
						at[end] = v.Coef
					}
				}
			}
			for _, v := range values(r, "energy_import_15min") {
				if v.Time.After(midnight) {
					quarters += v.Coef
				}
			}
			for _, v := range values(r, "energy_import_day") {
				if v.Code != evidence.OK {
					continue
				}
				if day = v.Coef; !v.Time.Equal(midnight.Add(24 * time.Hour)) {
					t.Errorf("a day that ended at %v has a value: nobody saw it begin", v.Time)
				}
			}
		}
		if want := at[midnight.Add(24*time.Hour)] - at[midnight]; want < 2000 || day != want || quarters != want {
			t.Errorf("the day is told as %d, its quarters add up to %d; the register moved %d", day, quarters, want)
		}
	})
}

// TestExchangeHasNoDifference: neither in the quarter a meter was exchanged in
// nor, where the register only seems to go on, is one made up.
func TestExchangeHasNoDifference(t *testing.T) {
	t.Run("told at once", func(t *testing.T) { exchange(t, 10*time.Second) }) // the run after the kill knows it from the history
	t.Run("told late", func(t *testing.T) { exchange(t, 10*time.Minute) })    // but before the window
}

func exchange(t *testing.T, sync time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		d := &actor{energy: 5000, serial: "1"}
		b := newBox(t, 1, d)
		m := &b.Lines[0].Meters[0]
		m.Columns[0], m.Columns[1] = testSite("", d).Lines[0].Meters[0].Columns[0], m.Columns[0] // the actor's readings
		m.Identity = d.identity
		b.Sync = sync
		time.Sleep(time.Until(quarterOf(time.Now())))
		start := time.Now()
		b.cut(t, 35*time.Minute)
		d.energy, d.serial = 90_000, "2" // further on, as it seems
		b.cut(t, 4*time.Minute)
		b.run(t, 22*time.Minute)
		got := map[time.Duration]evidence.Code{}
		for _, r := range b.bundle(t) {
			for _, v := range values(r, "energy_import_15min") {
				got[v.Time.Sub(start)] = v.Code
			}
		}
		want := map[time.Duration]evidence.Code{15 * time.Minute: evidence.Invalid, 30 * time.Minute: evidence.OK, 45 * time.Minute: evidence.Invalid, time.Hour: evidence.OK}
		if !maps.Equal(got, want) {
			t.Errorf("codes by end of the quarter %v, want %v", got, want)
		}
	})
}

// TestTotalsFileIsNoMoreThanAHelp: without it, with an old one or with rubbish in
// it the totals go on the same, from the history.
func TestTotalsFileIsNoMoreThanAHelp(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(old []byte) []byte{
		"missing":   func([]byte) []byte { return nil },
		"old":       func(old []byte) []byte { return old },
		"rubbish":   func([]byte) []byte { return []byte(`{"Sums":[{"Channel":7,`) },
		"half":      func(old []byte) []byte { return append(old[:len(old)-1:len(old)-1], `,"Next":"x"}`...) },
		"another's": func(old []byte) []byte { return bytes.Replace(old, []byte(`"Log":"`), []byte(`"Log":"0`), 1) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBox(t, 1, &plant{rnd: rand.New(rand.NewPCG(1, 1))}, &plant{rnd: rand.New(rand.NewPCG(2, 1))})
				b.cut(t, 270*time.Minute)
				old := b.totals(t)
				b.cut(t, 4*time.Minute)
				b.cut(t, 40*time.Minute)
				if text := spoil(old); text != nil {
					if err := vfs.Replace(b.disk, filepath.Join(b.Dir, totalsFile), text); err != nil {
						t.Fatal(err)
					}
				} else if err := b.disk.Remove(filepath.Join(b.Dir, totalsFile)); err != nil {
					t.Fatal(err)
				}
				a, err := open(&machine{b.disk, since}, b.Site)
				if err != nil {
					t.Fatal(err)
				}
				if told := len(a.Damaged()) > 0; told != (name != "missing" && name != "old") {
					t.Errorf("damage told: %q", a.Damaged())
				}
				work(t, a, time.Hour)
				b.disk.Kill()
				recompute(t, b.bundle(t))
			})
		})
	}
}

// totals is the content of the file.
func (b *box) totals(t *testing.T) []byte {
	t.Helper()
	f, err := b.disk.OpenRead(filepath.Join(b.Dir, totalsFile))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, 0, totalsBytes))
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestWindowThatDoesNotDivideAQuarterIsRefused(t *testing.T) {
	s := totalsSite(t.TempDir(), &device{})
	s.Window = 7 * time.Minute
	if _, err := openHastily(s); err == nil {
		t.Error("opened")
	}
}

// filled is a window of a minute from start, Unix ms, in which every meter was
// polled every 10 s: value is the reading in column c of a slot.
func filled(order [][]int, start int64, value func(slot, c int64) int64) *window.Window {
	rec := window.NewRecorder(time.Minute, order)
	for meter, columns := range order {
		readings := make([]drivers.Reading, len(columns))
		for slot := range int64(6) {
			for c := range readings {
				readings[c].Coef = value(slot, int64(c))
			}
			rec.Add(meter, time.UnixMilli(start+slot*10_000), readings)
		}
	}
	return rec.Rest()[0]
}

// BenchmarkTotalsFromHistory is a start without the file: 20 meters with 4
// registers and power at 10 s, a day of windows of 60 s. One op is a leaf.
func BenchmarkTotalsFromHistory(b *testing.B) {
	s := totalsSite("/box")
	registers := []string{"energy_import", "energy_export", "energy_import_t1", "energy_import_t2", "power"}
	for i := range 20 {
		m := Meter{Name: fmt.Sprintf("press-%d", i), Interval: 10 * time.Second}
		for _, name := range registers {
			c := Column{Quantity: drivers.Quantity{Name: name, Unit: "kWh"}, Multiplier: drivers.Decimal{Coef: 1}, Rule: judge.Rule{Counter: true}}
			if name == "power" {
				c.Unit, c.Rule = "W", judge.Rule{}
			}
			m.Columns = append(m.Columns, c)
		}
		s.Lines[0].Meters = append(s.Lines[0].Meters, m)
	}
	dict, order := newDictionary(&s)
	st, _, err := openStore(&machine{crashfs.New(), since}, &s, dict)
	if err != nil {
		b.Fatal(err)
	}
	defer st.close()
	lay := window.LayoutOf(dict)
	begin := time.Now().Truncate(time.Minute).UnixMilli()
	for n := range int64(24 * 60) {
		w := filled(order, begin+n*60_000, func(slot, c int64) int64 { return 100*n + slot + c })
		if err := st.seal(w, &lay, nil); err != nil {
			b.Fatal(err)
		}
	}
	source := st.Source()
	leaves := int(source.Next())
	made := 0
	for n := source.First(); n < source.Next(); n++ {
		rec, err := source.Read(n, nil)
		if err != nil {
			b.Fatal(err)
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			b.Fatal(err)
		}
		for _, raw := range d.Blocks {
			if aggregate.Made(raw.Channel) {
				made += len(raw.Bytes) + 40 // its entry in key 8, rounded up
			}
		}
	}
	b.ResetTimer()
	b.ReportMetric(float64(made)/float64(leaves), "B/leaf-for-totals")
	for n := 0; n < b.N; n += leaves {
		if err := st.totals.replay(st.Writer, source.First()); err != nil {
			b.Fatal(err)
		}
	}
}
