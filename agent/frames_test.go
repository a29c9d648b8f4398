package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// talker is a meter whose polls cross a tapped line: one exchange that the line
// could not carry, one that failed, one that brought size bytes.
type talker struct {
	tap  *Tap
	size int
	device
}

func (d *talker) Read(ctx context.Context, dst []drivers.Reading) error {
	sent := time.Now()
	d.tap.Frame(drivers.Frame{Request: []byte("lost"), Sent: sent, Received: sent, Err: &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("gone")}})
	buf := []byte("ask")
	time.Sleep(20 * time.Millisecond)
	d.tap.Frame(drivers.Frame{Request: buf, Sent: sent, Received: time.Now(), Err: &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout")}})
	d.tap.Frame(drivers.Frame{Request: buf, Reply: make([]byte, d.size), Sent: time.Now(), Received: time.Now().Add(30 * time.Millisecond)})
	copy(buf, "???") // a frame is valid during the call only
	return d.device.Read(ctx, dst)
}

func tapped(t *testing.T, size int) Site {
	tap := &Tap{}
	a, b := &talker{tap: tap, size: size}, &talker{tap: tap, size: 1}
	s := testSite(t.TempDir(), a, b)
	s.Lines[0].Tap = tap
	s.Lines[0].Meters[0].RawFrames = true
	s.Lines[0].Meters[0].Identity = func(context.Context) (string, error) {
		tap.Frame(drivers.Frame{Request: []byte("who"), Sent: time.Now(), Received: time.Now()})
		return "4711", nil
	}
	return s
}

// Of the meter that has raw frames switched on every poll's exchanges are
// sealed, in the window of the poll; of the other, of what the agent asks
// besides, and of exchanges the line could not carry, nothing is.
func TestRawFramesAreSealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tapped(t, 5)
		runFor(t, s, 2*time.Minute)
		windows := 0
		for _, r := range sealed(t, s) {
			if r.Window == nil {
				continue
			}
			windows++
			meters := 0
			for m, f := range r.Window.Frames() {
				if meters++; m.Name != "press-1" {
					t.Errorf("leaf %d: frames of %s", r.N, m.Name)
				}
				polls := values(r, "energy_import")
				var begin []int64 // of the meter's polls
				for _, v := range polls {
					if v.Meter == m.Name {
						begin = append(begin, v.Time.UnixMilli()-r.Manifest.Start)
					}
				}
				if len(f.Exchanges) != 2*len(begin) || f.Dropped != 0 {
					t.Fatalf("leaf %d: %d exchanges, %d dropped, of %d polls", r.N, len(f.Exchanges), f.Dropped, len(begin))
				}
				for i, at := range begin {
					failed, answered := f.Exchanges[2*i], f.Exchanges[2*i+1]
					if string(failed.Request) != "ask" || failed.At != at || failed.Took != 20 || len(failed.Reply) != 0 {
						t.Errorf("leaf %d: first exchange of the poll at %d: %+v", r.N, at, failed)
					}
					if string(answered.Request) != "ask" || answered.At != at+20 || answered.Took != 30 || len(answered.Reply) != 5 {
						t.Errorf("leaf %d: second exchange of the poll at %d: %+v", r.N, at, answered)
					}
				}
			}
			if meters != 1 {
				t.Errorf("leaf %d: frames of %d meters, want 1", r.N, meters)
			}
		}
		if windows < 2 {
			t.Fatalf("%d windows", windows)
		}
	})
}

// A meter that says more than a block holds loses its newest exchanges, which
// are counted, and no window.
func TestRawFramesBeyondTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tapped(t, evidence.MaxFrame)
		s.Lines[0].Meters[0].Interval = time.Second
		runFor(t, s, 2*time.Minute)
		for _, r := range sealed(t, s) {
			if r.Window == nil || r.Manifest.Duration < 60_000 {
				continue
			}
			for _, f := range r.Window.Frames() {
				if n := len(f.Exchanges); n != 31 || f.Dropped != 120-31 { // 15 x 64 KiB and 16 requests fit 1 MiB
					t.Errorf("leaf %d: %d exchanges and %d dropped", r.N, n, f.Dropped)
				}
			}
		}
	})
}

// After a kill the open window has its readings and no frames.
func TestRawFramesOfAKilledRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := tapped(t, 5)
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		now := time.Now()
		a.seal.rec.Begin(now)
		a.seal.rec.Add(0, now, []drivers.Reading{{Coef: 2301}, {Coef: 77}}, evidence.Exchange{At: now.UnixMilli(), Request: []byte("ask")})
		if err := errors.Join(a.seal.journalize(), a.store.close()); err != nil {
			t.Fatal(err)
		}
		runFor(t, s, time.Second)
		for _, r := range sealed(t, s) {
			if vs := values(r, "energy_import"); len(vs) > 0 && vs[0].Coef == 77 {
				for _, f := range r.Window.Frames() {
					if len(f.Exchanges) != 0 {
						t.Errorf("%d exchanges", len(f.Exchanges))
					}
				}
				return
			}
		}
		t.Error("the reading is lost")
	})
}

// By its millisecond every frame is of one poll.
func TestPollBeginsAfterTheFramesBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tap := &Tap{}
		tap.begin()
		now := time.Now()
		tap.Frame(drivers.Frame{Request: []byte("ask"), Sent: now, Received: now})
		last := tap.end()[0].At
		if next := tap.begin().UnixMilli(); next <= last {
			t.Errorf("a poll begins at %d, the newest frame was sent at %d", next, last)
		}
	})
}
