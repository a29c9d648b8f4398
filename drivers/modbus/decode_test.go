package modbus

import (
	"encoding/binary"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"pgregory.net/rapid"
)

// exact is the documented rule in rational arithmetic.
func exact(f float64, scale, exp int) (*big.Int, bool) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, false
	}
	r := new(big.Rat)
	r.SetFloat64(f) // exact
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(abs(scale-exp))), nil)
	if scale >= exp {
		r.Mul(r, new(big.Rat).SetInt(ten))
	} else {
		r.Quo(r, new(big.Rat).SetInt(ten))
	}
	// floor(2x), then to the nearest with ties to even
	double := new(big.Int).Mul(r.Num(), big.NewInt(2))
	twice := new(big.Rat).SetFrac(double, r.Denom())
	floor := new(big.Int).Div(twice.Num(), twice.Denom()) // Euclidean: floor for a positive denominator
	q := new(big.Int).Rsh(floor, 1)
	if floor.Bit(0) == 1 && (!twice.IsInt() || q.Bit(0) == 1) {
		q.Add(q, big.NewInt(1))
	}
	return q, true
}

func abs(n int) int { return max(n, -n) }

// The range of values is symmetric: math.MinInt64 is not used.
func fits(n *big.Int) bool { return new(big.Int).Abs(n).IsInt64() }

func checkFloat(t interface {
	Fatalf(string, ...any)
	Helper()
}, bits uint32, scale, exp int) {
	t.Helper()
	mul, div := shift(scale - exp)
	got, ok := scaled(bits, mul, div)
	want, number := exact(float64(math.Float32frombits(bits)), scale, exp)
	if number && !fits(want) {
		number = false
	}
	if ok != number || ok && want.Int64() != got {
		t.Fatalf("float32 %#08x (%g) x 10^%d at 10^%d: %d, %t; want %v, %t",
			bits, math.Float32frombits(bits), scale, exp, got, ok, want, number)
	}
}

func TestFloatAgainstRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		bits := rapid.OneOf(
			rapid.Uint32(),
			rapid.Map(rapid.Float32Range(-1e6, 1e6), math.Float32bits),
			rapid.Map(rapid.IntRange(-1<<26, 1<<26), func(n int) uint32 { return math.Float32bits(float32(n) / 16) }), // ties
		).Draw(t, "bits")
		scale := rapid.IntRange(-maxShift, maxShift).Draw(t, "scale")
		checkFloat(t, bits, scale, 0)
	})
}

func TestFloat64AgainstRationals(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := rapid.OneOf(
			rapid.Map(rapid.Uint64(), math.Float64frombits),
			rapid.Float64Range(-1e9, 1e9),
			rapid.Map(rapid.IntRange(-1<<30, 1<<30), func(n int) float64 { return float64(n) / 16 }), // ties
			rapid.Just(0x1p63), rapid.Just(0x1p-70), rapid.Just(math.SmallestNonzeroFloat64),
		).Draw(t, "value")
		scale := rapid.IntRange(-maxShift, maxShift).Draw(t, "scale")
		mul, div := shift(scale)
		got, ok := scaled64(math.Float64bits(f), mul, div)
		want, number := exact(f, scale, 0)
		if number && !fits(want) {
			number = false
		}
		if ok != number || ok && want.Int64() != got {
			t.Fatalf("float64 %g x 10^%d: %d, %t; want %v, %t", f, scale, got, ok, want, number)
		}
	})
}

func TestDecimalDigitsAndStatusBits(t *testing.T) {
	for _, c := range []struct {
		r     drivers.Register
		words []uint16
		want  drivers.Reading
	}{
		{drivers.Register{Type: drivers.BCD16}, []uint16{0x1234}, drivers.Reading{Coef: 1234}},
		{drivers.Register{Type: drivers.BCD16}, []uint16{0x12A4}, drivers.Reading{Quality: drivers.Invalid}},
		{drivers.Register{Type: drivers.BCD32}, []uint16{0x0012, 0x3456}, drivers.Reading{Coef: 123456}},
		{drivers.Register{Type: drivers.BCD32, Order: drivers.CDAB}, []uint16{0x3456, 0x0012}, drivers.Reading{Coef: 123456}},
		{drivers.Register{Type: drivers.Uint16, Mask: 0x0300}, []uint16{0xFEFF}, drivers.Reading{Coef: 2}},
		{drivers.Register{Type: drivers.Uint16, Mask: 0x8000}, []uint16{0x8000}, drivers.Reading{Coef: 1}},
	} {
		c.r.Name = "x"
		if got := one(c.r, c.words...); got != c.want {
			t.Errorf("%+v of %04x: %+v, want %+v", c.r, c.words, got, c.want)
		}
	}
}

// Every exponent, with mantissas at the edges, at every shift.
func TestFloatEdges(t *testing.T) {
	for exponent := range uint32(256) {
		for _, mantissa := range []uint32{0, 1, 1 << 22, 1<<22 - 1, 1<<23 - 1} {
			for _, sign := range []uint32{0, 1 << 31} {
				for scale := -maxShift; scale <= maxShift; scale++ {
					checkFloat(t, sign|exponent<<23|mantissa, scale, 0)
				}
			}
		}
	}
}

func FuzzFloat(f *testing.F) {
	f.Add(math.Float32bits(230.05), int8(1))
	f.Add(uint32(0x7FC00000), int8(0))
	f.Add(uint32(1), int8(12))
	f.Fuzz(func(t *testing.T, bits uint32, scale int8) {
		checkFloat(t, bits, int(scale)%(maxShift+1), 0)
	})
}

func TestFloatRounding(t *testing.T) {
	for _, c := range []struct {
		f          float32
		scale, exp int8
		want       int64
	}{
		{230.1, 0, -1, 2301},
		{230.25, 0, -1, 2302}, // ties to even
		{230.75, 0, -1, 2308},
		{-230.25, 0, -1, -2302},
		{2301, -1, -1, 2301}, // DTSU666: the register holds tenths of a volt
		{1.5, 3, 0, 1500},    // PM5110: kilowatts
		{123456.78, 0, -2, 12345678},
		{0.0005, 0, -3, 1}, // float32(0.0005) is a little more than the tie
		{0, 0, -3, 0},
		{float32(math.Copysign(0, -1)), 0, -3, 0},
		{math.SmallestNonzeroFloat32, 0, -12, 0},
	} {
		mul, div := shift(int(c.scale) - int(c.exp))
		if got, ok := scaled(math.Float32bits(c.f), mul, div); !ok || got != c.want {
			t.Errorf("%g x 10^%d at 10^%d: %d, %t; want %d", c.f, c.scale, c.exp, got, ok, c.want)
		}
	}
}

// one reads a single register from words.
func one(r drivers.Register, words ...uint16) drivers.Reading {
	data := make([]byte, 0, 8)
	for _, w := range words {
		data = binary.BigEndian.AppendUint16(data, w)
	}
	var dst [1]drivers.Reading
	newRequest(points([]drivers.Register{r})).decode(data, dst[:])
	return dst[0]
}

func TestIntegers(t *testing.T) {
	const big = 0x0102030405060708
	for _, c := range []struct {
		kind  drivers.Type
		order drivers.WordOrder
		words []uint16
		want  int64
	}{
		{drivers.Uint16, drivers.ABCD, []uint16{43981}, 43981},
		{drivers.Uint16, drivers.CDAB, []uint16{0x0102}, 0x0102},
		{drivers.Uint16, drivers.BADC, []uint16{0x0102}, 0x0201},
		{drivers.Uint16, drivers.DCBA, []uint16{0x0102}, 0x0201},
		{drivers.Int16, drivers.ABCD, []uint16{0xFFFF}, -1},
		{drivers.Int16, drivers.ABCD, []uint16{0x8000}, -32768},
		{drivers.Uint32, drivers.ABCD, []uint16{0x0102, 0x0304}, 0x01020304},
		{drivers.Uint32, drivers.CDAB, []uint16{0x0304, 0x0102}, 0x01020304},
		{drivers.Uint32, drivers.BADC, []uint16{0x0201, 0x0403}, 0x01020304},
		{drivers.Uint32, drivers.DCBA, []uint16{0x0403, 0x0201}, 0x01020304},
		{drivers.Uint32, drivers.ABCD, []uint16{0xFFFF, 0xFFFF}, 4294967295},
		{drivers.Int32, drivers.ABCD, []uint16{0xFFFF, 0xFFFE}, -2},
		{drivers.Int32, drivers.CDAB, []uint16{0xFFFE, 0xFFFF}, -2},
		{drivers.Uint64, drivers.ABCD, []uint16{0x0102, 0x0304, 0x0506, 0x0708}, big},
		{drivers.Uint64, drivers.CDAB, []uint16{0x0708, 0x0506, 0x0304, 0x0102}, big},
		{drivers.Uint64, drivers.BADC, []uint16{0x0201, 0x0403, 0x0605, 0x0807}, big},
		{drivers.Uint64, drivers.DCBA, []uint16{0x0807, 0x0605, 0x0403, 0x0201}, big},
		{drivers.Int64, drivers.ABCD, []uint16{0xFFFF, 0xFFFF, 0xFFFF, 0xFFFD}, -3},
		{drivers.Float32, drivers.ABCD, []uint16{0x4366, 0x199A}, 230},
		{drivers.Float32, drivers.CDAB, []uint16{0x199A, 0x4366}, 230},
		{drivers.Float32, drivers.BADC, []uint16{0x6643, 0x9A19}, 230},
		{drivers.Float32, drivers.DCBA, []uint16{0x9A19, 0x6643}, 230},
	} {
		got := one(drivers.Register{Type: c.kind, Order: c.order}, c.words...)
		if got != (drivers.Reading{Coef: c.want}) {
			t.Errorf("type %d order %d words %04x: %+v, want %d", c.kind, c.order, c.words, got, c.want)
		}
	}
}

func TestNoValue(t *testing.T) {
	limited := drivers.Register{Type: drivers.Int16, Limited: true, Min: -10, Max: 500}
	for name, c := range map[string]struct {
		reg   drivers.Register
		words []uint16
		want  drivers.Reading
	}{
		"NaN":               {drivers.Register{Type: drivers.Float32}, []uint16{0x7FC0, 0}, drivers.Reading{Quality: drivers.Invalid}},
		"signalling NaN":    {drivers.Register{Type: drivers.Float32}, []uint16{0xFF80, 1}, drivers.Reading{Quality: drivers.Invalid}},
		"infinity":          {drivers.Register{Type: drivers.Float32}, []uint16{0x7F80, 0}, drivers.Reading{Quality: drivers.Invalid}},
		"float too large":   {drivers.Register{Type: drivers.Float32}, []uint16{0x7F00, 0}, drivers.Reading{Quality: drivers.Invalid}},
		"uint64 too large":  {drivers.Register{Type: drivers.Uint64}, []uint16{0x8000, 0, 0, 0}, drivers.Reading{Quality: drivers.Invalid}},
		"16-bit sentinel":   {drivers.Register{Type: drivers.Uint16, Invalid: []uint64{0x7FFF, 0xFFFF}}, []uint16{0xFFFF}, drivers.Reading{Quality: drivers.Invalid}},
		"signed sentinel":   {drivers.Register{Type: drivers.Int16, Invalid: []uint64{0x8000}}, []uint16{0x8000}, drivers.Reading{Quality: drivers.Invalid}},
		"32-bit sentinel":   {drivers.Register{Type: drivers.Uint32, Order: drivers.CDAB, Invalid: []uint64{0x80000000}}, []uint16{0, 0x8000}, drivers.Reading{Quality: drivers.Invalid}},
		"float sentinel":    {drivers.Register{Type: drivers.Float32, Invalid: []uint64{0xC2C80000}}, []uint16{0xC2C8, 0}, drivers.Reading{Quality: drivers.Invalid}},
		"no sentinel":       {drivers.Register{Type: drivers.Uint16}, []uint16{0xFFFF}, drivers.Reading{Coef: 65535}},
		"least":             {limited, []uint16{0xFFF6}, drivers.Reading{Coef: -10}},
		"below":             {limited, []uint16{0xFFF5}, drivers.Reading{Coef: -11, Quality: drivers.Suspect}},
		"most":              {limited, []uint16{500}, drivers.Reading{Coef: 500}},
		"above":             {limited, []uint16{501}, drivers.Reading{Coef: 501, Quality: drivers.Suspect}},
		"wrong word order":  {drivers.Register{Type: drivers.Float32, Order: drivers.CDAB, Limited: true, Max: 500}, []uint16{0x4366, 0x199A}, drivers.Reading{Coef: 0}},
		"limit of zero":     {drivers.Register{Type: drivers.Int16, Limited: true}, []uint16{1}, drivers.Reading{Coef: 1, Quality: drivers.Suspect}},
		"not limited":       {drivers.Register{Type: drivers.Int16, Max: 5}, []uint16{9}, drivers.Reading{Coef: 9}},
		"negative infinity": {drivers.Register{Type: drivers.Float32, Limited: true}, []uint16{0xFF80, 0}, drivers.Reading{Quality: drivers.Invalid}},
	} {
		if got := one(c.reg, c.words...); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

func TestBits(t *testing.T) {
	var regs []drivers.Register
	for i := range uint16(10) {
		regs = append(regs, drivers.Register{Table: drivers.DiscreteInput, Type: drivers.Bit, Address: 3 + i})
	}
	dst := make([]drivers.Reading, len(regs))
	newRequest(points(regs)).decode([]byte{0b1010_0101, 0b10}, dst)
	for i, want := range []int64{1, 0, 1, 0, 0, 1, 0, 1, 0, 1} {
		if dst[i] != (drivers.Reading{Coef: want}) {
			t.Errorf("bit %d: %+v, want %d", i, dst[i], want)
		}
	}
}

func TestRegistersThatCannotBeRead(t *testing.T) {
	for want, r := range map[string]drivers.Register{
		"unknown table 4":                          {Table: 4},
		"unknown type 99":                          {Type: 99},
		"unknown word order 4":                     {Order: 4},
		"a bit must be in coils":                   {Type: drivers.Bit},
		"everything else in registers":             {Table: drivers.Coil, Type: drivers.Uint16},
		"address 0xFFFF+2 ends beyond":             {Address: 0xFFFF, Type: drivers.Float32},
		"needs 4 registers in one request":         {Type: drivers.Int64},
		"scale 10^0 differs from resolution 10^-1": {Quantity: drivers.Quantity{Exp: -1}},
		"too far apart":                            {Type: drivers.Float32, Scale: 6, Quantity: drivers.Quantity{Exp: -7}},
	} {
		r.Name = "x"
		_, err := New(Config{Name: "press-1", Unit: 1, MaxRegisters: 2, Registers: []drivers.Register{r}}, nil)
		if err == nil || !strings.HasPrefix(err.Error(), "meter press-1: register x: ") || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want ...%s...", err, want)
		}
	}
}
