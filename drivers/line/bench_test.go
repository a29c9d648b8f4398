package line_test

import (
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/sim"
	"golang.org/x/sys/unix"
)

const (
	meters    = 10
	values    = 20               // float32, in 40 registers
	request   = 8                // characters
	reply     = 3 + 4*values + 2 // characters
	exchanged = request + reply  // without the two silences
	timeout   = 1000 * time.Millisecond
)

var (
	fast = drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}
	slow = drivers.Settings{Baud: 2400, DataBits: 8, Parity: 'E', StopBits: 1}
)

// onWire is how long one poll of a meter takes on the wire: both frames and the
// 3.5 characters of silence before each, a character being as long as the
// settings say, where the standard counts 11 bits.
func onWire(s drivers.Settings) time.Duration {
	gap := s.Characters(7) / 2
	if s.Baud > 19200 {
		gap = s.Silence()
	}
	return s.Characters(exchanged) + 2*gap
}

// far is the meters' end of a pty on which only those hear and are heard that
// use the speed the line is set to.
type far struct {
	*sim.PTY
	ends map[int]*end // by speed

	mu      sync.Mutex
	landed  time.Time       // when the last byte of a reply was put on the wire
	before  time.Time       // the same of the exchange before
	silence time.Duration   // at the speed of that
	over    []time.Duration // silences before a request, less those needed
	early   int
}

// end is what the meters of one speed see of it.
type end struct {
	*far
	*io.PipeReader
	in    *io.PipeWriter
	speed drivers.Settings
}

func (e *end) Read(b []byte) (int, error) { return e.PipeReader.Read(b) }
func (e *end) Close() error               { return e.PipeReader.Close() }

func (e *end) Write(b []byte) (int, error) {
	if e.speedNow() != e.speed.Baud {
		return len(b), nil
	}
	e.mu.Lock()
	e.landed, e.silence = time.Now(), e.speed.Silence()
	e.mu.Unlock()
	return e.PTY.Write(b)
}

func (f *far) speedNow() int {
	c, err := f.PTY.SyscallConn()
	if err != nil {
		return 0
	}
	var speed int
	c.Control(func(fd uintptr) {
		if t, err := unix.IoctlGetTermios(int(fd), unix.TCGETS2); err == nil {
			speed = int(t.Ospeed)
		}
	})
	return speed
}

// run hands on what the line says to those who understand it.
func (f *far) run() {
	b := make([]byte, 512)
	for {
		n, err := f.PTY.Read(b)
		if err != nil {
			for _, e := range f.ends {
				e.in.Close()
			}
			return
		}
		if e := f.ends[f.speedNow()]; e != nil {
			e.in.Write(b[:n])
		}
	}
}

// sent is told when a request was sent; it counts those sent too early.
func (f *far) sent(at time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gap := at.Sub(f.before)
	if gap < f.silence {
		f.early++
	}
	f.over = append(f.over, gap-f.silence)
	f.before = f.landed
}

// bus is a line to ten simulated meters, meter i with the given settings, those
// in dead not answering.
func bus(b *testing.B, settings func(i int) drivers.Settings, dead map[int]bool) (*far, []*modbus.Meter, func()) {
	p, err := sim.OpenPTY("")
	if err != nil {
		b.Skip(err)
	}
	clock, err := sim.NewClock(1, sim.Hold{}, 0)
	if err != nil {
		b.Fatal(err)
	}
	f := &far{PTY: p, ends: map[int]*end{}}
	units := map[drivers.Settings]sim.Units{}
	for i := range meters {
		s := settings(i)
		if units[s] == nil {
			units[s] = sim.Units{}
		}
		m, err := sim.New(sim.Config{
			Name: fmt.Sprint("m", i), Clock: clock, Load: sim.ShiftPattern(1, time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC)),
			Registers: []drivers.Register{{Quantity: drivers.Quantity{Name: "voltage_l1", Unit: "V", Exp: -1}, Type: drivers.Float32}},
			Ranges:    []drivers.Range{{Last: 2*values - 1}},
		})
		if err != nil {
			b.Fatal(err)
		}
		if !dead[i] {
			units[s][byte(i+1)] = m
		}
	}
	var served sync.WaitGroup
	for s, u := range units {
		r, w := io.Pipe()
		e := &end{f, r, w, s}
		f.ends[s.Baud] = e
		served.Go(func() { sim.ServeRTU(b.Context(), e, u, sim.Timing{Baud: s.Baud, Bits: s.Bits()}) })
	}
	served.Go(f.run)
	l := line.New(line.Config{
		Name: "bus", Serial: &line.Serial{Path: p.Path(), Settings: settings(0)},
		Tap: func(x drivers.Frame) { f.sent(x.Sent) },
	})
	asked := make([]*modbus.Meter, meters)
	for i := range asked {
		name := fmt.Sprint("m", i)
		cfg := modbus.Config{Name: name, Unit: uint8(i + 1), Timeout: timeout, Ranges: []drivers.Range{{Last: 2*values - 1}}}
		for v := range uint16(values) {
			cfg.Registers = append(cfg.Registers, drivers.Register{
				Quantity: drivers.Quantity{Name: fmt.Sprint("q", v), Exp: -1}, Address: 2 * v, Type: drivers.Float32})
		}
		if asked[i], err = modbus.New(cfg, l.Station(line.StationConfig{Name: name, Settings: settings(i)})); err != nil {
			b.Fatal(err)
		}
	}
	return f, asked, func() {
		l.Close()
		p.Close()
		served.Wait()
	}
}

// cycle polls every meter once and says how many answered.
func cycle(b *testing.B, asked []*modbus.Meter) (answers int) {
	var dst [values]drivers.Reading
	for _, m := range asked {
		if m.Read(b.Context(), dst[:]) == nil {
			answers++
		}
	}
	return answers
}

// BenchmarkUtilisation polls ten meters of 20 values back to back: the time on
// the wire by the time it took, and how much longer than it must the line stayed
// silent after a reply.
func BenchmarkUtilisation(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		s := drivers.Settings{Baud: baud, DataBits: 8, Parity: 'N', StopBits: 1}
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			measure(b, func(int) drivers.Settings { return s })
		})
	}
}

// BenchmarkMixed is six meters at 9600 8N1 and four at 2400 8E1 on one pair.
func BenchmarkMixed(b *testing.B) {
	b.Run("grouped", func(b *testing.B) {
		measure(b, func(i int) drivers.Settings {
			if i < 6 {
				return fast
			}
			return slow
		})
	})
	b.Run("alternating", func(b *testing.B) {
		measure(b, func(i int) drivers.Settings {
			if i%2 == 0 || i == 9 {
				return fast
			}
			return slow
		})
	})
}

// BenchmarkOneDead is ten meters of which one does not answer, against the nine
// that do, once the dead one is given up. Let it run for a minute: the dead one
// is asked again every half minute.
func BenchmarkOneDead(b *testing.B) {
	s := drivers.Settings{Baud: 19200, DataBits: 8, Parity: 'N', StopBits: 1}
	_, asked, stop := bus(b, func(int) drivers.Settings { return s }, map[int]bool{4: true})
	defer stop()
	nine := slices.Delete(slices.Clone(asked), 4, 5)
	cycle(b, nine)
	const healthy = 10
	begun := time.Now()
	for range healthy {
		cycle(b, nine)
	}
	each := time.Since(begun) / healthy
	for begun := time.Now(); time.Since(begun) < 20*time.Second; { // until it is left alone for long
		cycle(b, asked)
	}
	for b.Loop() {
		if n := cycle(b, asked); n != meters-1 {
			b.Fatalf("%d answers", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(each), "x-of-nine")
	b.ReportMetric(0, "ns/op")
}

func measure(b *testing.B, settings func(i int) drivers.Settings) {
	f, asked, stop := bus(b, settings, nil)
	defer stop()
	var wire time.Duration
	for i := range meters {
		wire += onWire(settings(i))
	}
	if cycle(b, asked) != meters {
		b.Fatal("not every meter answers")
	}
	f.over, f.early = nil, 0
	answers := 0
	for b.Loop() {
		answers += cycle(b, asked)
	}
	b.ReportMetric(100*float64(wire)*float64(b.N)/float64(b.Elapsed()), "%utilised")
	b.ReportMetric(float64(f.early), "early")
	slices.Sort(f.over)
	b.ReportMetric(float64(f.over[len(f.over)/2].Microseconds()), "us-over")
	b.ReportMetric(float64(b.N*meters-answers), "unanswered")
	b.ReportMetric(0, "ns/op")
}
