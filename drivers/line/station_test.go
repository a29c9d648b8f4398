package line

import (
	"context"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// device is the far end of a wire that answers after delay, or not at all.
type device struct {
	*wire
	delay time.Duration
	dead  bool
	reply string
}

func newDevice(delay time.Duration) *device {
	d := &device{delay: delay, reply: "<reply1>"}
	d.wire = newWire(func(int) {
		if !d.dead {
			d.after(d.delay, d.reply)
		}
	})
	return d
}

// ask polls once and says how long that took.
func ask(t *testing.T, s *Station) (drivers.Quality, time.Duration) {
	t.Helper()
	start := time.Now()
	_, err := s.Exchange(t.Context(), poll())
	return kind(t, err), time.Since(start)
}

// A device that has shown how fast it answers is not waited for much longer,
// once; the next time it gets its full time-out.
func TestStationLearns(t *testing.T) {
	for _, c := range []struct {
		delay, want time.Duration
	}{
		{5 * time.Millisecond, leastWait},
		{20 * time.Millisecond, 80 * time.Millisecond},
		{100 * time.Millisecond, 300 * time.Millisecond}, // the time-out
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice(c.delay)
			s := on(server, d.wire).Station(StationConfig{Name: "m"})
			for range enough {
				if k, _ := ask(t, s); k != drivers.OK {
					t.Fatal(k)
				}
			}
			d.dead = true
			if k, took := ask(t, s); k != drivers.Timeout || took != c.want {
				t.Errorf("a meter of %v was waited for %v: %v; want %v", c.delay, took, k, c.want)
			}
			d.dead, d.delay = false, 290*time.Millisecond
			if k, _ := ask(t, s); k != drivers.OK {
				t.Errorf("a slow answer after a time-out: %v", k)
			}
		})
	}
}

// The slowest of the answers counts as long as it is remembered, and no longer.
func TestStationForgets(t *testing.T) {
	for _, c := range []struct {
		fast int // answers after the slow one
		want time.Duration
	}{
		{remembered - 1, 240 * time.Millisecond},
		{remembered, 80 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice(60 * time.Millisecond)
			s := on(server, d.wire).Station(StationConfig{})
			ask(t, s)
			for i := range c.fast {
				d.delay = 20*time.Millisecond - time.Duration(i)*time.Microsecond
				ask(t, s)
			}
			d.dead = true
			if k, took := ask(t, s); k != drivers.Timeout || took != c.want {
				t.Errorf("after %d fast answers waited for %v: %v; want %v", c.fast, took, k, c.want)
			}
		})
	}
}

// A reply that has begun is waited for to its end.
func TestStationWaitsForWhatBegan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(5 * time.Millisecond)
		s := on(server, d.wire).Station(StationConfig{})
		for range enough {
			ask(t, s)
		}
		d.reply = "<re"
		d.onWrite = func(int) {
			d.after(5*time.Millisecond, "<re")
			d.after(250*time.Millisecond, "ply1>")
		}
		// matchReply keeps what may be the beginning of one.
		if k, _ := ask(t, s); k != drivers.OK {
			t.Error(k)
		}
	})
}

// A dead device is given up after three requests and three seconds, whichever
// is later, asked again ever more rarely, and back at its first reply.
func TestStationGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(5 * time.Millisecond)
		s := on(bus, d.wire).Station(StationConfig{Name: "m"})
		for range enough {
			ask(t, s)
		}
		d.dead = true
		start := time.Now()
		var sent []time.Duration // requests, from the first unanswered one
		for n := len(d.requests); time.Since(start) < 5*time.Minute; time.Sleep(100 * time.Millisecond) {
			k, took := ask(t, s)
			if len(d.requests) > n {
				n = len(d.requests)
				sent = append(sent, d.sentAt[n-1].Sub(start))
			} else if k != drivers.Skipped || took != 0 {
				t.Fatalf("held off: %v after %v", k, took)
			}
		}
		given := 0 // the request that ends after three seconds
		for sent[given]+303*time.Millisecond < lostAfterFor {
			given++
		}
		// Pauses between the requests from then on: half a second, doubled to 30 s.
		for i, hold := given, firstHold; i+1 < len(sent); i++ {
			// from the end of one to the start of the next, and up to 100 ms
			// of this test's own
			if pause := sent[i+1] - sent[i]; pause < hold || pause > hold+500*time.Millisecond {
				t.Errorf("pause %d is %v, want about %v; requests at %v", i, pause, hold, sent)
			}
			hold = min(2*hold, lastHold)
		}
		if n := len(sent) - given; n < 10 || n > 17 {
			t.Errorf("%d requests to a dead device in five minutes", n)
		}
		st := s.Stats()
		if !st.Offline.Equal(start) || st.Answers != enough || st.Timeouts != uint64(len(sent)) {
			t.Errorf("%+v, dead since %v", st, start)
		}
		_, err := s.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Skipped, "silent since "+start.Format(time.TimeOnly)+", asked again in ")

		d.dead = false
		back := time.Now()
		for k := drivers.Skipped; k != drivers.OK; k, _ = ask(t, s) {
			if time.Since(back) > lastHold+time.Second {
				t.Fatal("not found again")
			}
			time.Sleep(100 * time.Millisecond)
		}
		if k, _ := ask(t, s); k != drivers.OK || !s.Stats().Offline.IsZero() {
			t.Errorf("after recovery: %v, %+v", k, s.Stats())
		}
	})
}

// Three requests in a moment are no reason to give a device up, nor is one in a
// long time.
func TestStationIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(0)
		d.dead = true
		s := on(server, d.wire).Station(StationConfig{})
		for range 5 { // 360 ms each
			if k, _ := ask(t, s); k != drivers.Timeout {
				t.Fatal(k)
			}
		}
	})
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(0)
		d.dead = true
		s := on(server, d.wire).Station(StationConfig{})
		for range 3 {
			if k, _ := ask(t, s); k != drivers.Timeout {
				t.Fatal(k)
			}
			time.Sleep(time.Minute)
		}
	})
}

// A device that has become slower than it was known, or was never known and is
// slow, is found again within two minutes.
func TestStationFindsSlowDevice(t *testing.T) {
	for _, known := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			d := newDevice(5 * time.Millisecond)
			d.dead = !known
			s := on(bus, d.wire).Station(StationConfig{Timeout: 900 * time.Millisecond})
			for range 2 * enough {
				ask(t, s)
			}
			d.dead = true
			for range 600 {
				ask(t, s)
				time.Sleep(time.Second)
			}
			d.dead, d.delay = false, 800*time.Millisecond
			for start := time.Now(); ; time.Sleep(time.Second) {
				if k, _ := ask(t, s); k == drivers.OK {
					break
				}
				if time.Since(start) > 2*time.Minute {
					t.Fatalf("known %v: not found again", known)
				}
			}
		})
	}
}

// One dead of ten costs the nine others at most 3 % of their pace, whatever the
// time-out. Each poll takes 100 ms.
func TestOneDeadOfTen(t *testing.T) {
	for _, timeout := range []time.Duration{300 * time.Millisecond, time.Second, 3 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			var w *wire
			w = newWire(func(n int) {
				if string(w.requests[n-1]) == "ask" {
					w.after(96*time.Millisecond-at9600.Silence()+4*time.Millisecond, "<reply1>")
				}
			})
			l := on(bus, w)
			var stations [10]*Station
			for i := range stations {
				stations[i] = l.Station(StationConfig{Timeout: timeout})
			}
			cycle := func() {
				for i, s := range stations {
					x := poll()
					if i == 9 {
						x.Request = []byte("hey")
					}
					_, err := s.Exchange(t.Context(), x)
					if dead := i == 9; (err != nil) != dead {
						t.Fatalf("meter %d: %v", i, err)
					}
				}
			}
			for s := stations[9]; s.Stats().Offline.IsZero(); {
				cycle()
			}
			for range 70 { // a minute, in which the pauses grow
				cycle()
			}
			start := time.Now()
			const cycles = 4000 // an hour
			for range cycles {
				cycle()
			}
			healthy := 9 * 100 * time.Millisecond
			if ratio := float64(time.Since(start)) / cycles / float64(healthy); ratio > 1.03 {
				t.Errorf("time-out %v: a cycle takes %.4f times that of the healthy nine", timeout, ratio)
			} else {
				t.Logf("time-out %v: %.4f", timeout, ratio)
			}
		})
	}
}

// What the line cannot do says nothing about the device, nor does the end of
// the context.
func TestStationBlamesTheLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := on(server).Station(StationConfig{})
		for range 100 {
			_, err := s.Exchange(t.Context(), poll())
			wantFault(t, err, drivers.Disconnected, "nothing there")
			time.Sleep(time.Second)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := s.Exchange(ctx, poll())
		wantFault(t, err, drivers.Skipped, "context canceled")
		if st := s.Stats(); st != (Stats{}) {
			t.Errorf("%+v", st)
		}
	})
}

// A device that only garbles is held off as well, and said to.
func TestStationGarbled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(5 * time.Millisecond)
		d.reply = "\x00\xff"
		s := on(bus, d.wire).Station(StationConfig{})
		for range 20 {
			ask(t, s)
		}
		_, err := s.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Skipped, "no valid reply since ")
		if st := s.Stats(); st.BadFrames == 0 || st.Timeouts != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// Gap is a pause of the device, Turnaround one of the line; settings are the
// station's where the exchange has none.
func TestStationConfig(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(5 * time.Millisecond)
		l := on(bus, d.wire)
		a := l.Station(StationConfig{Gap: 200 * time.Millisecond, Settings: at2400, Timeout: 50 * time.Millisecond})
		b := l.Station(StationConfig{Turnaround: 30 * time.Millisecond})
		for _, s := range []*Station{a, b, a, b} {
			if k, _ := ask(t, s); k != drivers.OK {
				t.Fatal(k)
			}
		}
		since := func(i, j int) time.Duration { return d.sentAt[j].Sub(d.sentAt[i]) - 5*time.Millisecond }
		if since(0, 1) != 30*time.Millisecond || since(0, 2) != 200*time.Millisecond || since(2, 3) != 30*time.Millisecond {
			t.Errorf("requests at %v", d.sentAt)
		}
		if len(d.settings) != 4 || d.settings[0] != at2400 || d.settings[1] != at9600 {
			t.Errorf("settings %v", d.settings)
		}
		d.dead = true
		if k, took := ask(t, a); k != drivers.Timeout || took > 350*time.Millisecond {
			t.Errorf("%v after %v, want the station's time-out", k, took)
		}
	})
}

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDevice(0)
		s := on(server, d.wire).Station(StationConfig{})
		for i := range 600 {
			d.delay = time.Duration(i%100+1) * time.Millisecond
			ask(t, s)
		}
		st := s.Stats()
		if st.Answers != 600 || st.Slowest != 100*time.Millisecond || st.P99 < 98*time.Millisecond || st.P99 > st.Slowest ||
			st.Median < 50*time.Millisecond || st.Median > 70*time.Millisecond { // 44 .. 100 and twice 1 .. 100
			t.Errorf("%+v", st)
		}
	})
}

// A closed connection is opened again on a station too.
func TestStationSecondChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newDevice(0), newDevice(0)
		s := on(server, first.wire, second.wire).Station(StationConfig{})
		for range 2 {
			reply, err := s.Exchange(t.Context(), poll())
			want(t, reply, err, "<reply1>")
			first.hangUp(io.EOF)
		}
	})
}

// A readout of many kilobytes, in pieces, and then short ones again.
func TestLongReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := "/" + strings.Repeat("1.8.0(000123.45*kWh)\r\n", 1500) + "!"
		var w *wire
		w = newWire(func(int) {
			w.send("\x00\x00")
			for i := 0; i < len(long); i += 100 {
				w.after(time.Duration(i)*time.Millisecond, long[i:min(i+100, len(long))])
			}
		})
		l := on(bus, w)
		x := poll()
		x.Timeout = time.Minute
		x.Match = func(b []byte) (skip, size int) {
			skip = max(0, strings.IndexByte(string(b), '/'))
			return skip, strings.IndexByte(string(b[skip:]), '!') + 1
		}
		for range 2 {
			reply, err := l.Exchange(t.Context(), x)
			if err != nil || string(reply) != long {
				t.Fatalf("%d bytes of %d, %v", len(reply), len(long), err)
			}
		}
		if len(l.buf) != maxReply {
			t.Errorf("buffer of %d", len(l.buf))
		}
		w.onWrite = func(int) { w.send("<reply1>") }
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
	})
}

// Replies of the common lengths cost no memory.
func TestExchangeDoesNotAllocate(t *testing.T) {
	w := &loopback{}
	l := New(server)
	l.dial = func(context.Context) (port, error) { return w, nil }
	s := l.Station(StationConfig{})
	x, ctx := poll(), t.Context()
	s.Exchange(ctx, x)
	if n := testing.AllocsPerRun(100, func() {
		if _, err := s.Exchange(ctx, x); err != nil {
			t.Fatal(err)
		}
	}); n > 1 { // the exchange itself, which Match keeps from the stack
		t.Errorf("%v allocations for one exchange", n)
	}
}

// loopback answers each request at once.
type loopback struct {
	wire
	left string
}

func (w *loopback) Write(b []byte) (int, error) { w.left = "<reply1>"; return len(b), nil }
func (w *loopback) Read(b []byte) (int, error) {
	n := copy(b, w.left)
	w.left = w.left[n:]
	if n == 0 {
		return 0, os.ErrDeadlineExceeded
	}
	return n, nil
}
func (w *loopback) discard([]byte) (int, error) { return 0, nil }

// BenchmarkStation is what one exchange takes beside the kernel.
func BenchmarkStation(b *testing.B) {
	w := &loopback{}
	l := New(server)
	l.dial = func(context.Context) (port, error) { return w, nil }
	s := l.Station(StationConfig{})
	x := poll()
	x.Numbered = true // as on Modbus TCP
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Exchange(b.Context(), x); err != nil {
			b.Fatal(err)
		}
	}
}
