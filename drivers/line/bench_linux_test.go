package line

import (
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

const (
	values = 20              // float32 of a Modbus meter, in 40 registers
	atOnce = time.Nanosecond // a meter's own time; 0 is usual for its protocol
)

var (
	fast = drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}
	slow = drivers.Settings{Baud: 2400, DataBits: 8, Parity: 'E', StopBits: 1}
)

// timed is the meters' end of a pty that keeps account of the line's time: what
// an exchange takes is its time on the wire, hear, late, the silence of the
// standard, and over.
type timed struct {
	*sim.PTY

	mu            sync.Mutex
	heard, landed time.Time // the last bytes from and to the line

	// Of the line's goroutine.
	before time.Time        // when the reply before landed,
	spoke  drivers.Settings // and how it was sent
	early  int              // requests before the silence was over
	count  int
	wire   time.Duration // both frames and 3.5 characters before each
	hear   time.Duration // from a request to the moment the simulator has it
	late   time.Duration // by which the last byte of a reply comes too late
	over   time.Duration // silence before a request beyond what is needed
}

func (p *timed) Read(b []byte) (int, error) {
	n, err := p.PTY.Read(b)
	p.mu.Lock()
	p.heard = time.Now()
	p.mu.Unlock()
	return n, err
}

func (p *timed) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.landed = time.Now()
	p.mu.Unlock()
	return p.PTY.Write(b)
}

// tap is told of every exchange. A character is as long as the settings say,
// where Silence counts the standard's 11 bits.
func (p *timed) tap(x drivers.Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, _ := p.Settings()
	over := x.Sent.Sub(p.before) - max(s.Silence(), p.spoke.Silence())
	if over < 0 {
		p.early++
	}
	p.over += over
	p.before, p.spoke = p.landed, s
	if x.Err != nil {
		return
	}
	gap := s.Characters(7) / 2
	if s.Baud > 19200 {
		gap = s.Silence()
	}
	frames := s.Characters(len(x.Request) + len(x.Reply))
	p.count++
	p.wire += frames + 2*gap
	p.hear += p.heard.Sub(x.Sent)
	p.late += p.landed.Sub(p.heard) - frames - gap
}

// benchLine is a line to simulated meters that answer at once, with what stop
// to call at the end.
func benchLine(b *testing.B, bus sim.Line) (p *timed, l *Line, stop func()) {
	b.Helper()
	pty, err := sim.OpenPTY("")
	if err != nil {
		b.Skip(err)
	}
	for i := range bus.Stations {
		bus.Stations[i].Delay = atOnce
	}
	p = &timed{PTY: pty}
	var served sync.WaitGroup
	served.Go(func() { sim.Serve(b.Context(), p, bus, pty.Settings) })
	l = New(Config{Name: "bus", Serial: &Serial{Path: pty.Path(), Settings: bus.Stations[0].Serial}, Tap: p.tap})
	return p, l, func() {
		l.Close()
		pty.Close()
		served.Wait()
	}
}

// simConfig is a simulated meter that stands still.
func simConfig(b *testing.B, name string) meter.Config {
	b.Helper()
	clock, err := plant.NewClock(1, plant.Hold{For: 1e6 * time.Hour}, 0)
	if err != nil {
		b.Fatal(err)
	}
	return meter.Config{Name: name, Clock: clock, Load: plant.ShiftPattern(1, time.Date(2026, 3, 2, 6, 0, 0, 0, time.UTC))}
}

// unitsOf are n Modbus meters, units 1 to n, with the given settings; those in
// dead do not answer.
func unitsOf(b *testing.B, n int, s drivers.Settings, dead ...int) sim.Station {
	b.Helper()
	units := meter.Units{}
	for i := range n {
		c := simConfig(b, fmt.Sprint("m", i))
		c.Registers = []drivers.Register{{Quantity: drivers.Quantity{Name: "voltage_l1", Unit: "V", Exp: -1}, Type: drivers.Float32}}
		c.Ranges = []drivers.Range{{Last: 2*values - 1}}
		m, err := meter.NewModbus(c)
		if err != nil {
			b.Fatal(err)
		}
		if !slices.Contains(dead, i) {
			units[byte(i+1)] = m
		}
	}
	return sim.Station{Meter: units, Serial: s}
}

// modbusOn are the readers of those.
func modbusOn(b *testing.B, l *Line, n int, s drivers.Settings) (asked []mixedMeter) {
	b.Helper()
	for i := range n {
		name := fmt.Sprint("m", i)
		cfg := modbus.Config{Name: name, Unit: uint8(i + 1), Timeout: time.Second, Ranges: []drivers.Range{{Last: 2*values - 1}}}
		for v := range uint16(values) {
			cfg.Registers = append(cfg.Registers, drivers.Register{
				Quantity: drivers.Quantity{Name: fmt.Sprint("q", v), Exp: -1}, Address: 2 * v, Type: drivers.Float32})
		}
		m, err := modbus.New(cfg, l.Station(StationConfig{Name: name, Settings: s}))
		if err != nil {
			b.Fatal(err)
		}
		asked = append(asked, mixedMeter{device: m, readings: make([]drivers.Reading, values)})
	}
	return asked
}

// round reads every meter once and says how many did not give everything.
func round(ctx context.Context, asked []mixedMeter) (faulty int) {
	for _, m := range asked {
		if m.device.Read(ctx, m.readings) != nil {
			faulty++
		}
	}
	return faulty
}

// measure reads the meters back to back and reports the time on the wire by the
// time it took, and where the rest of it went, per exchange.
func measure(b *testing.B, p *timed, asked []mixedMeter) {
	b.Helper()
	for range 2 { // once to find out what a meter does not have
		round(b.Context(), asked)
	}
	p.early, p.count, p.wire, p.hear, p.late, p.over = 0, 0, 0, 0, 0, 0
	faulty := 0
	for b.Loop() {
		faulty += round(b.Context(), asked)
	}
	if p.early > 0 {
		b.Errorf("%d of %d requests came before the silence was over", p.early, p.count)
	}
	mean := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(p.count) }
	b.ReportMetric(100*float64(p.wire)/float64(b.Elapsed()), "%utilised")
	// On a wire, which is never late itself.
	b.ReportMetric(100*float64(p.wire)/float64(b.Elapsed()-p.hear-p.late), "%on-a-wire")
	b.ReportMetric(mean(p.hear), "us-hear")
	b.ReportMetric(mean(p.late), "us-late")
	b.ReportMetric(mean(p.over), "us-over")
	b.ReportMetric(float64(p.early), "early")
	b.ReportMetric(float64(faulty), "faulty")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkUtilisation reads ten Modbus meters of 20 values.
func BenchmarkUtilisation(b *testing.B) {
	for _, baud := range []int{9600, 19200, 115200} {
		s := drivers.Settings{Baud: baud, DataBits: 8, Parity: 'N', StopBits: 1}
		b.Run(fmt.Sprint(s), func(b *testing.B) {
			p, l, stop := benchLine(b, sim.Line{Stations: []sim.Station{unitsOf(b, 10, s)}})
			defer stop()
			measure(b, p, modbusOn(b, l, 10, s))
		})
	}
}

// BenchmarkMixed is meters of several protocols at two settings on one pair.
func BenchmarkMixed(b *testing.B) {
	// Six Modbus meters and four of DL/T 645-2007, five values of each of those
	// in three requests.
	for name, order := range map[string][]int{
		"by speed":    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9},
		"alternating": {0, 6, 1, 7, 2, 8, 3, 9, 4, 5},
	} {
		b.Run(name, func(b *testing.B) {
			lib := profile.Builtin()
			const model = "dlt645-2007-3ph"
			pr, err := lib.Get(model)
			if err != nil {
				b.Fatal(err)
			}
			items := slices.DeleteFunc(slices.Clone(pr.Items), func(i drivers.Item) bool {
				return !slices.Contains([]string{"energy_import", "voltage_l1", "voltage_l2", "voltage_l3", "power"}, i.Name)
			})
			bus := sim.Line{Stations: []sim.Station{unitsOf(b, 6, fast)}}
			address := func(i int) string { return fmt.Sprintf("21000000000%d", i) }
			for i := range 4 {
				m, err := meter.NewNamed(simConfig(b, address(i)), meter.Model{Name: model, Address: address(i), Wakeup: i})
				if err != nil {
					b.Fatal(err)
				}
				bus.Stations = append(bus.Stations, sim.Station{Meter: m, Serial: slow})
			}
			p, l, stop := benchLine(b, bus)
			defer stop()
			asked := modbusOn(b, l, 6, fast)
			for i := range 4 {
				m, err := dlt645.New(dlt645.Config{Name: address(i), Address: address(i), Items: items, Blocks: pr.Blocks,
					Timeout: pr.Timeout, Settings: slow}, l.Station(StationConfig{Name: address(i)}))
				if err != nil {
					b.Fatal(err)
				}
				asked = append(asked, mixedMeter{device: m, readings: make([]drivers.Reading, len(items))})
			}
			var ordered []mixedMeter
			for _, i := range order {
				ordered = append(ordered, asked[i])
			}
			measure(b, p, ordered)
		})
	}
	// The simulator's own mixed line, with everything its profiles read.
	b.Run("four protocols", func(b *testing.B) {
		c := simConfig(b, "")
		bus, placed, err := sim.Mixed("", sim.RTU, c.Load, c.Clock, nil)
		if err != nil {
			b.Fatal(err)
		}
		for i := range placed {
			s := slow
			if placed[i].Serial.Baud >= fast.Baud {
				s = fast
			}
			placed[i].Serial, bus.Stations[i].Serial = s, s
		}
		p, l, stop := benchLine(b, bus)
		defer stop()
		var asked []mixedMeter
		for _, at := range placed {
			asked = append(asked, newMixedMeter(b, l, at))
		}
		measure(b, p, asked)
	})
}

// BenchmarkOneDead is ten meters of which one does not answer, against the nine
// that do, once the dead one is given up. Let it run for a minute: the dead one
// is asked again every half minute.
func BenchmarkOneDead(b *testing.B) {
	s := drivers.Settings{Baud: 19200, DataBits: 8, Parity: 'N', StopBits: 1}
	_, l, stop := benchLine(b, sim.Line{Stations: []sim.Station{unitsOf(b, 10, s, 4)}})
	defer stop()
	asked := modbusOn(b, l, 10, s)
	nine := slices.Delete(slices.Clone(asked), 4, 5)
	round(b.Context(), nine)
	const healthy = 10
	begun := time.Now()
	for range healthy {
		round(b.Context(), nine)
	}
	each := time.Since(begun) / healthy
	for begun := time.Now(); time.Since(begun) < 20*time.Second; { // until it is left alone for long
		round(b.Context(), asked)
	}
	for b.Loop() {
		if n := round(b.Context(), asked); n != 1 {
			b.Fatalf("%d do not answer", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/float64(each), "x-of-nine")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkWake is what a pseudo-terminal takes here to wake its reader, whoever
// uses it: the floor of us-hear, and of us-over once more.
func BenchmarkWake(b *testing.B) {
	far, err := sim.OpenPTY("")
	if err != nil {
		b.Skip(err)
	}
	defer far.Close()
	near, err := os.OpenFile(far.Path(), os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
	if err != nil {
		b.Fatal(err)
	}
	defer near.Close()
	woke := make(chan time.Time)
	go func() {
		defer close(woke)
		for in := make([]byte, 1); ; {
			if _, err := near.Read(in); err != nil {
				return
			}
			woke <- time.Now()
		}
	}()
	var took time.Duration
	for b.Loop() {
		pause(5 * time.Millisecond)
		written := time.Now()
		if _, err := far.Write([]byte{0}); err != nil {
			b.Fatal(err)
		}
		took += (<-woke).Sub(written)
	}
	near.Close()
	<-woke
	b.ReportMetric(float64(took.Microseconds())/float64(b.N), "us-wake")
	b.ReportMetric(0, "ns/op")
}
