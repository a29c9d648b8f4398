package line

import (
	"context"
	"errors"
	"flag"
	"io"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
	"github.com/tallystick/tallystick/drivers/modbus"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

var polls = flag.Int("polls", 4000, "polls of the mixed line; make mixed has 100,000, make soak a million")

// far is the meters' end of a test wire.
type far struct {
	*wire
	sent chan []byte
	rest []byte
}

func (f *far) Read(b []byte) (int, error) {
	if len(f.rest) == 0 {
		var ok bool
		if f.rest, ok = <-f.sent; !ok {
			return 0, io.EOF
		}
	}
	n := copy(b, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *far) Write(b []byte) (int, error) {
	f.send(string(b))
	return len(b), nil
}

func (f *far) Close() error { return nil }

// Three protocols, eight meters on one pair, where 1 % of the replies each come
// late, get lost or are damaged: nothing is ever read from another meter than
// the one it is said to be from. Once with six settings, as factories have them,
// once with one, so that a late reply to one meter's request is heard by the
// next. What the meters show stands still, so that every value can be held
// against its own meter's, and differs between them.
//
// DL/T 645 and CJ/T 188 have an eight-bit sum for a checksum, which some damage
// to two bits passes. No reader can tell that from the frame; such values are
// counted, and must be few. The judge and the profile's limits look at them.
func TestMixedLineNeverMixesMeters(t *testing.T) {
	for name, shared := range map[string]bool{"six settings": false, "one setting": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testMixedLine(t, shared, *polls/2) })
		})
	}
}

func testMixedLine(t *testing.T, shared bool, polls int) {
	load := plant.ShiftPattern(1, time.Now())
	clock, err := plant.NewClock(1, plant.Hold{For: 1e6 * time.Hour}, 0)
	if err != nil {
		t.Fatal(err)
	}
	bus, placed, err := sim.Mixed("", sim.RTU, load, clock, func(i int) func(int) meter.Fault {
		return meter.Rates{Late: 0.01, LateBy: 1200 * time.Millisecond, Lost: 0.01, Corrupt: 0.01}.Faults(uint64(i))
	})
	if err != nil {
		t.Fatal(err)
	}
	own := drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1}
	if shared {
		for i := range placed {
			placed[i].Serial, bus.Stations[i].Serial = own, own
		}
	}
	w := newWire(nil)
	f := &far{wire: w, sent: make(chan []byte, 16)}
	w.onWrite = func(n int) { f.sent <- w.requests[n-1] }
	host := func() (drivers.Settings, bool) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.settings) == 0 {
			return own, true
		}
		return w.settings[len(w.settings)-1], true
	}
	go sim.Serve(t.Context(), f, bus, host)
	defer close(f.sent)

	l := on(Config{Name: "hall-a", Serial: &Serial{Path: "/dev/none", Settings: own}}, w)
	defer l.Close()
	var meters []mixedMeter
	for _, p := range placed {
		meters = append(meters, newMixedMeter(t, l, p))
	}
	begun, read, values, faults, damaged := time.Now(), 0, 0, 0, 0
	for n := range polls {
		m := &meters[n%len(meters)]
		if err := m.device.Read(t.Context(), m.readings); err != nil {
			faults++
			if fault := (*drivers.Fault)(nil); errors.As(err, &fault) && fault.Kind == drivers.Skipped {
				time.Sleep(time.Second) // everything is held off: let time pass
			}
		} else {
			read++
		}
		for i, r := range m.readings {
			if !r.Quality.HasValue() {
				continue
			}
			values++
			name, got := m.quantities[i].Name, drivers.Decimal{Coef: r.Coef, Exp: m.quantities[i].Exp}
			if got == m.want[i] {
				continue
			}
			if other := whose(meters, name, got); other != "" || m.checked {
				t.Fatalf("poll %d, %s %s: read %v, this meter shows %v, %s does", n, m.placed.Address, name, got, m.want[i], other)
			}
			damaged++
		}
	}
	if faults == 0 || read < polls*8/10 {
		t.Fatalf("%d of %d polls were answered in full, %d had a fault: not the line this test is about", read, polls, faults)
	}
	if damaged > values/2000 {
		t.Errorf("%d of %d values were damaged unnoticed", damaged, values)
	}
	t.Logf("%d polls, %d with a fault, %d values: none of another meter, %d damaged in a way the sum does not show; %v of the line's time",
		polls, faults, values, damaged, time.Since(begun).Round(time.Second))
}

// whose is the address of a meter that shows a value.
func whose(meters []mixedMeter, quantity string, v drivers.Decimal) string {
	for _, m := range meters {
		for i, q := range m.quantities {
			if q.Name == quantity && m.want[i] == v && v.Coef != 0 {
				return m.placed.Address
			}
		}
	}
	return ""
}

type mixedMeter struct {
	placed sim.Placed
	device interface {
		Read(context.Context, []drivers.Reading) error
	}
	quantities []drivers.Quantity
	readings   []drivers.Reading
	want       []drivers.Decimal
	checked    bool // frames have a CRC, which no damage here passes
}

func newMixedMeter(t testing.TB, l *Line, p sim.Placed) (m mixedMeter) {
	t.Helper()
	lib := profile.Builtin()
	pr, err := lib.Get(p.Profile)
	if err != nil {
		t.Fatal(err)
	}
	m.placed = p
	at := l.Station(StationConfig{Name: p.Address})
	items := pr.Items
	switch pr.Protocol {
	case profile.Modbus:
		m.checked = true
		unit, err := strconv.Atoi(p.Address)
		if err != nil {
			t.Fatal(err)
		}
		m.device, err = modbus.New(modbus.Config{
			Name: p.Address, Unit: byte(unit), Registers: pr.Registers, Ranges: pr.Ranges, MaxRegisters: pr.MaxRegisters,
			Timeout: pr.Timeout, Gap: pr.Gap, Settings: p.Serial,
		}, at)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range pr.Registers {
			m.quantities = append(m.quantities, r.Quantity)
		}
	case "cjt188":
		m.device, err = cjt188.New(cjt188.Config{Name: p.Address, Address: p.Address, Type: pr.MeterType, Items: items, Timeout: pr.Timeout, Settings: p.Serial}, at)
	default:
		v := dlt645.V2007
		if pr.Protocol == "dlt645-1997" {
			v = dlt645.V1997
		}
		m.device, err = dlt645.New(dlt645.Config{Name: p.Address, Address: p.Address, Version: v, Items: items, Blocks: pr.Blocks, Timeout: pr.Timeout, Settings: p.Serial}, at)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range items {
		m.quantities = append(m.quantities, i.Quantity)
	}
	m.readings = make([]drivers.Reading, len(m.quantities))
	for _, q := range m.quantities {
		v, ok := p.Meter.Reading(q.Name)
		if !ok { // counts of events, which stand still as well
			v = drivers.Decimal{Exp: q.Exp}
		}
		m.want = append(m.want, v)
	}
	return m
}
