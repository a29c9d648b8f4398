package meter

import (
	"bytes"
	"encoding/hex"
	"math"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

func reg(name, unit string, exp int8, table drivers.Table, address uint16, typ drivers.Type) drivers.Register {
	return drivers.Register{Quantity: drivers.Quantity{Name: name, Unit: unit, Exp: exp}, Table: table, Address: address, Type: typ, Scale: exp}
}

func float(name, unit string, exp int8, table drivers.Table, address uint16) drivers.Register {
	r := reg(name, unit, exp, table, address, drivers.Float32)
	r.Scale = 0
	return r
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// constant is a load of one hour at 12 kW and 5 kvar: S = 13 kVA, PF = 12/13.
func constant() *plant.Load {
	return plant.NewLoad(time.Time{}, time.Hour, false, []plant.Interval{{Active: 12e6, Lagging: 5e6}})
}

func held(t *testing.T, l *plant.Load) *plant.Clock {
	t.Helper()
	c, err := plant.NewClock(1, plant.Hold{FirstPoll: true, For: time.Hour}, l.Length())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// stopped is a clock that stands still at a moment of the load.
func stopped(t *testing.T, at time.Duration) *plant.Clock {
	t.Helper()
	c, err := plant.NewClock(1e15, plant.Hold{}, at)
	if err == nil {
		err = c.Wait(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func energyMeter(t *testing.T, typ string, l *plant.Load, baseCents int64) *Modbus {
	t.Helper()
	r := reg("energy_import", "kWh", -2, drivers.HoldingRegister, 10, drivers.Uint32)
	if typ == "float32" {
		r = float("energy_import", "kWh", -2, drivers.HoldingRegister, 10)
	}
	m, err := NewModbus(Config{Name: "m", Load: l, Clock: held(t, l), Base: &drivers.Decimal{Coef: baseCents, Exp: -2}, Registers: []drivers.Register{r}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// The register at the end is the base plus all rows, cut once; on the way it
// never falls.
func TestEnergyRegisterNeverDrifts(t *testing.T) {
	energy := rapid.Map(rapid.Int64Range(0, 1e10), func(v int64) plant.Interval { return plant.Interval{Active: v} })
	rapid.Check(t, func(rt *rapid.T) {
		l := plant.NewLoad(time.Time{}, time.Minute, false, rapid.SliceOfN(energy, 1, 20).Draw(rt, "steps"))
		ratio := rapid.SampledFrom([]int64{1, 7, 40}).Draw(rt, "ratio")
		exp := int8(rapid.IntRange(-3, 0).Draw(rt, "exp"))
		base := rapid.Int64Range(0, 1e10).Draw(rt, "base")
		m, err := NewModbus(Config{
			Load: l, Clock: held(t, l), Ratio: ratio, Base: &drivers.Decimal{Coef: base, Exp: -6},
			Registers: []drivers.Register{reg("energy_import", "kWh", exp, drivers.HoldingRegister, 0, drivers.Uint64)},
		})
		if err != nil {
			rt.Fatal(err)
		}
		last := int64(0)
		for i := range 40 {
			var v plant.Values
			m.state(l.Length()/39*time.Duration(i), &v)
			got := quantise(v[plant.EnergyImport][0], exp, true)
			if got < last {
				rt.Fatalf("after %d of 40 parts the register fell from %d to %d", i, last, got)
			}
			last = got
		}
		m.clock = stopped(t, l.Length())
		got, _ := m.Reading("energy_import")
		if want := (base + l.Total().Coef/ratio) / pow10(int(exp)+6); got.Coef != want {
			rt.Fatalf("at the end %d, want %d", got.Coef, want)
		}
	})
}

// meterOfConstants holds one register of every type and word order, all from a
// held load of 12 kW, and a hole after the first range.
func meterOfConstants(t *testing.T) *Modbus {
	t.Helper()
	h := drivers.HoldingRegister
	ordered := func(r drivers.Register, o drivers.WordOrder) drivers.Register { r.Order = o; return r }
	var bits []drivers.Register
	for i := range 10 {
		bits = append(bits, reg("di", "", 0, drivers.DiscreteInput, uint16(i), drivers.Bit))
	}
	l := constant()
	m, err := NewModbus(Config{
		Name: "golden", Load: l, Clock: held(t, l), Base: &drivers.Decimal{Coef: 1234567, Exp: -2}, MaxRegisters: 20,
		Registers: append(bits,
			reg("power", "W", 0, h, 0, drivers.Uint16),
			reg("apparent_power", "VA", 1, h, 1, drivers.Int16),
			ordered(reg("energy_import", "kWh", -2, h, 2, drivers.Uint32), drivers.ABCD),
			ordered(reg("energy_sum", "kWh", -2, h, 4, drivers.Uint32), drivers.CDAB),
			ordered(reg("reactive_power", "var", -1, h, 6, drivers.Int32), drivers.BADC),
			ordered(reg("reactive_import", "kvarh", -2, h, 8, drivers.Int32), drivers.DCBA),
			ordered(reg("energy_export", "kWh", -2, h, 10, drivers.Uint64), drivers.ABCD),
			ordered(float("power_factor", "", -3, h, 14), drivers.ABCD),
			ordered(float("power_factor_4q", "", -3, h, 16), drivers.CDAB),
			ordered(reg("reactive_sum", "kvarh", -2, h, 18, drivers.Uint64), drivers.CDAB),
		),
		Ranges: []drivers.Range{{Table: h, Address: 0, Last: 24}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestAnswerGolden(t *testing.T) {
	m := meterOfConstants(t)
	for _, c := range []struct{ name, ask, want string }{
		// 12000 W; 13000 VA in tens
		{"one word", "03 0000 0001", "03 02 2EE0"},
		{"two words", "03 0000 0002", "03 04 2EE0 0514"},
		// 1234567 = 0x0012D687
		{"big-endian", "03 0002 0002", "03 04 0012 D687"},
		{"words swapped", "03 0004 0002", "03 04 D687 0012"},
		// 50000 = 0x0000C350
		{"bytes swapped", "03 0006 0002", "03 04 0000 50C3"},
		// 493826 = 0x00078902
		{"little-endian", "03 0008 0002", "03 04 0289 0700"},
		{"64 bits", "03 000A 0004", "03 08 0000 0000 0000 0000"},
		// 0.923 as float32 = 0x3F6C49BA
		{"float", "03 000E 0002", "03 04 3F6C 49BA"},
		{"float, words swapped", "03 0010 0002", "03 04 49BA 3F6C"},
		{"64 bits, words swapped", "03 0012 0004", "03 08 8902 0007 0000 0000"},
		{"half a value", "03 0003 0001", "03 02 D687"},
		{"no register but in range", "03 0016 0003", "03 06 0000 0000 0000"},
		{"ten bits, running", "02 0000 000A", "02 02 01 00"},
		{"second bit", "02 0001 0001", "02 01 00"},

		{"past the range", "03 0018 0002", "83 02"},
		{"other table", "04 0000 0001", "84 02"},
		{"no coils", "01 0000 0001", "81 02"},
		{"last address", "03 FFFF 0001", "83 02"},
		{"wrap", "03 FFFF 0002", "83 02"},
		{"eleven bits", "02 0000 000B", "82 02"},
		{"none", "03 0000 0000", "83 03"},
		{"more than the meter gives", "03 0000 0015", "83 03"},
		{"more than Modbus gives", "03 0000 FFFF", "83 03"},
		{"short", "03 0000 00", "83 03"},
		{"long", "03 0000 0001 00", "83 03"},
		{"function alone", "03", "83 03"},
		{"write one register", "06 0000 0001", "86 01"},
		{"write registers", "10 0000 0001 02 0000", "90 01"},
		{"write coil", "05 0000 FF00", "85 01"},
		{"unknown function", "7F", "FF 01"},
		{"nothing", "", ""},
	} {
		ask, _ := hex.DecodeString(strings.ReplaceAll(c.ask, " ", ""))
		want, _ := hex.DecodeString(strings.ReplaceAll(c.want, " ", ""))
		if got := m.Answer(ask); !reflect.DeepEqual(append([]byte{}, got...), want) {
			t.Errorf("%s: %s: answered % X, want %s", c.name, c.ask, got, c.want)
		}
	}
	if got := m.Register(drivers.HoldingRegister, 4); !reflect.DeepEqual(got, []uint16{0xD687, 0x0012}) {
		t.Errorf("Register: %04X", got)
	}
	if got := m.Register(drivers.HoldingRegister, 5); got != nil {
		t.Errorf("Register in the middle of a value: %04X, want nil", got)
	}
	if got := m.Register(drivers.DiscreteInput, 0); !reflect.DeepEqual(got, []uint16{1}) {
		t.Errorf("Register of a bit: %v", got)
	}
	for quantity, want := range map[string]string{"power": "12000", "apparent_power": "13000", "energy_import": "12345.67", "reactive_power": "5000.0", "power_factor": "0.923"} {
		if got, ok := m.Reading(quantity); !ok || got.String() != want {
			t.Errorf("Reading(%s) = %s, %v; want %s", quantity, got, ok, want)
		}
	}
	if _, ok := m.Reading("nonsense"); ok {
		t.Error("Reading of a quantity the meter does not have")
	}
}

func TestRegistersAtTheirEnds(t *testing.T) {
	for _, c := range []struct {
		name    string
		r       drivers.Register
		micro   int64
		counter bool
		want    uint64
	}{
		{"gauge stops at the top", reg("", "", -2, 0, 0, drivers.Uint16), 900e6, false, 0xFFFF},
		{"gauge stops at zero", reg("", "", -2, 0, 0, drivers.Uint16), -1e6, false, 0},
		{"signed gauge stops", reg("", "", -2, 0, 0, drivers.Int16), 900e6, false, 0x7FFF},
		{"signed gauge stops below", reg("", "", -2, 0, 0, drivers.Int16), -900e6, false, 0x8000},
		{"negative", reg("", "", 0, 0, 0, drivers.Int32), -2e6, false, 0xFFFFFFFE},
		{"counter rolls over", reg("", "", 0, 0, 0, drivers.Uint16), 65537e6, true, 1},
		{"counter is cut", reg("", "", 0, 0, 0, drivers.Uint16), 1.999999e6, true, 1},
		{"gauge is rounded", reg("", "", 0, 0, 0, drivers.Uint16), 1.5e6, false, 2},
		{"gauge is rounded below zero", reg("", "", 0, 0, 0, drivers.Int16), -1.5e6, false, 0xFFFE},
		{"finer than a millionth", reg("", "", -7, 0, 0, drivers.Uint32), 3, false, 30},
		{"float beyond 24 bits", float("", "", -2, 0, 0), 167772_170000, true, uint64(math.Float32bits(167772.17))},
	} {
		if got := raw(&c.r, c.micro, c.counter); got != c.want {
			t.Errorf("%s: 0x%X, want 0x%X", c.name, got, c.want)
		}
	}
}

// A float32 register keeps every hundredth of a kWh apart below 2^17 kWh, and
// what Reading says is what an exact decoder finds.
func TestFloatRegisterHoldsHundredths(t *testing.T) {
	r := float("energy_import", "kWh", -2, drivers.HoldingRegister, 0)
	rapid.Check(t, func(t *rapid.T) {
		coef := rapid.Int64Range(0, 131072_00-1).Draw(t, "coef")
		if got := shown(&r, raw(&r, coef*10_000, true)); got.Coef != coef {
			t.Fatalf("%d hundredths read back as %d", coef, got.Coef)
		}
	})
	scaled := r
	scaled.Scale = -1 // holds tenths of the unit
	if bits := raw(&scaled, 230_120000, false); uint32(bits) != math.Float32bits(2301.2) {
		t.Errorf("scaled float holds 0x%X", bits)
	}
	if got := shown(&scaled, uint64(math.Float32bits(2301.25))); got.Coef != 230_12 {
		t.Errorf("a tie read as %v, want the even 230.12", got)
	}
}

func TestNewRefuses(t *testing.T) {
	h := drivers.HoldingRegister
	u16 := func(name, unit string, address uint16) drivers.Register {
		return reg(name, unit, 0, h, address, drivers.Uint16)
	}
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"unknown quantity", Config{Registers: []drivers.Register{u16("temperature", "C", 0)}}, "meter m: quantity temperature is not simulated"},
		{"phase of frequency", Config{Registers: []drivers.Register{u16("frequency_l1", "Hz", 0)}}, "meter m: quantity frequency_l1 is not simulated"},
		{"unit", Config{Registers: []drivers.Register{u16("power", "kW", 0)}}, `meter m: quantity power in "kW": simulated in "W"`},
		{"overlap", Config{Registers: []drivers.Register{u16("power_l1", "W", 1), reg("power", "W", 0, h, 0, drivers.Int32)}}, "meter m: quantities power and power_l1 overlap at holding registers 0x0001"},
		{"past the end", Config{Registers: []drivers.Register{reg("power", "W", 0, h, 0xFFFF, drivers.Int32)}}, "meter m: quantity power at holding registers 0xFFFF: reaches past address 0xFFFF"},
		{"words among bits", Config{Registers: []drivers.Register{reg("power", "W", 0, drivers.Coil, 0, drivers.Uint16)}}, "meter m: quantity power: coils hold bits only"},
		{"exponent", Config{Registers: []drivers.Register{reg("power", "W", 10, h, 0, drivers.Uint16)}}, "meter m: quantity power: exponents 10 and 10: simulated from -9 to 9"},
		{"range", Config{Ranges: []drivers.Range{{Table: h, Address: 2, Last: 1}}}, "meter m: range of holding registers 0x0002 to 0x0001: the end lies before the start"},
		{"base", Config{Base: &drivers.Decimal{Coef: -1}}, "meter m: base -1 kWh: expected 0 to 1000000 with at most 6 decimals"},
		{"share", Config{Share: -1}, "meter m: share -1 and ratio 1: expected 1 to 1000000"},
	} {
		c.c.Name, c.c.Load = "m", constant()
		c.c.Clock = held(t, c.c.Load)
		if _, err := NewModbus(c.c); err == nil || err.Error() != c.want {
			t.Errorf("%s: error %v\nwant %s", c.name, err, c.want)
		}
	}
}

// The first poll starts the clock, and still reads the register at the start.
func TestFirstPollFindsTheStart(t *testing.T) {
	l := constant()
	c, err := plant.NewClock(1e15, plant.Hold{FirstPoll: true}, l.Length())
	if err != nil {
		t.Fatal(err)
	}
	m, err := NewModbus(Config{Load: l, Clock: c, Base: &drivers.Decimal{Coef: 5, Exp: 0}, Registers: []drivers.Register{
		reg("energy_import", "kWh", 0, drivers.HoldingRegister, 0, drivers.Uint16),
	}})
	if err != nil {
		t.Fatal(err)
	}
	m.Reading("energy_import") // no poll
	if got := m.Answer(unhex("03 0000 0001")); got[3] != 5 {
		t.Errorf("first poll % X, want the base 5", got)
	}
	if err := c.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := m.Answer(unhex("03 0000 0001")); got[3] != 17 {
		t.Errorf("at the end % X, want 5 + 12", got)
	}
}

// Within Refresh an answer repeats the values of the one before.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := fifty(t, time.Second)
		ask := unhex("04 0000 0028")
		first := m.Answer(ask)
		time.Sleep(time.Second - 1)
		if got := m.Answer(ask); !bytes.Equal(got, first) {
			t.Error("the values changed within the refresh time")
		}
		time.Sleep(time.Nanosecond)
		if got := m.Answer(ask); bytes.Equal(got, first) {
			t.Error("the values stand still")
		}
	})
}

func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"0300000001", "02000000FF", "03FFFFFFFF", "10", ""} {
		b, _ := hex.DecodeString(s)
		f.Add(b)
	}
	l := constant()
	c, err := plant.NewClock(1, plant.Hold{}, l.Length())
	if err != nil {
		f.Fatal(err)
	}
	m, err := NewModbus(Config{Load: l, Clock: c, Registers: []drivers.Register{
		reg("power", "W", 0, drivers.HoldingRegister, 5, drivers.Int32),
		reg("energy_import", "kWh", -2, drivers.InputRegister, 0xFFFE, drivers.Uint32),
		reg("run", "", 0, drivers.Coil, 0, drivers.Bit),
	}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, pdu []byte) {
		got := m.Answer(pdu)
		switch {
		case len(pdu) == 0:
			if got != nil {
				t.Fatalf("% X to nothing", got)
			}
		case len(got) == 2 && got[0] == pdu[0]|0x80 && got[1] >= 1 && got[1] <= 3:
		case got[0] == pdu[0] && pdu[0] >= 1 && pdu[0] <= 4 && len(got) == 2+int(got[1]):
		default:
			t.Fatalf("% X to % X", got, pdu)
		}
	})
}

// fifty is a meter with 20 float values in 40 registers.
func fifty(t testing.TB, refresh time.Duration) *Modbus {
	t.Helper()
	names := []string{"voltage_l1", "voltage_l2", "voltage_l3", "current_l1", "current_l2", "current_l3", "power_l1", "power_l2", "power_l3", "power",
		"reactive_power_l1", "reactive_power_l2", "reactive_power_l3", "reactive_power", "power_factor_l1", "power_factor_l2", "power_factor_l3", "power_factor", "frequency", "energy_import"}
	units := map[string]string{"volt": "V", "curr": "A", "powe": "W", "reac": "var", "freq": "Hz", "ener": "kWh"}
	c := Config{Load: plant.ShiftPattern(1, time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)), Refresh: refresh}
	for i, n := range names {
		unit := units[n[:4]]
		if len(n) >= 12 && n[:12] == "power_factor" {
			unit = ""
		}
		c.Registers = append(c.Registers, float(n, unit, -2, drivers.InputRegister, uint16(2*i)))
	}
	var err error
	if c.Clock, err = plant.NewClock(1, plant.Hold{}, 0); err != nil {
		t.Fatal(err)
	}
	m, err := NewModbus(c)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// Answering does not allocate: the simulator stays out of a benchmark's way.
func TestAnswersDoNotAllocate(t *testing.T) {
	m := fifty(t, time.Hour)
	var buf [253]byte
	ask := unhex("04 0000 0028")
	m.Respond(buf[:], 1, ask)
	if n := testing.AllocsPerRun(100, func() {
		if r := m.Respond(buf[:], 1, ask); len(r.PDU) != 82 {
			t.Fatalf("% X", r.PDU)
		}
	}); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}

func BenchmarkRespond(b *testing.B) {
	m := fifty(b, 100*time.Millisecond)
	var buf [253]byte
	ask := unhex("04 0000 0028")
	b.ReportAllocs()
	for b.Loop() {
		m.Respond(buf[:], 1, ask)
	}
}

func BenchmarkUpdate(b *testing.B) {
	m := fifty(b, 0)
	b.ReportAllocs()
	for b.Loop() {
		m.update()
	}
}
