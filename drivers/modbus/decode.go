package modbus

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/big"
	"math/bits"

	"github.com/tallystick/tallystick/drivers"
)

// maxShift bounds |Scale-Exp| of a float32 register, so that a 24-bit mantissa
// times 10^maxShift fits 64 bits.
const maxShift = 12

// checkRegister says why a register cannot be read exactly.
func checkRegister(r *drivers.Register, maxRegisters int) error {
	shift := int(r.Scale) - int(r.Exp)
	switch {
	case r.Table > drivers.DiscreteInput:
		return fmt.Errorf("unknown table %d", r.Table)
	case r.Type > drivers.BCD32:
		return fmt.Errorf("unknown type %d", r.Type)
	case r.Order > drivers.DCBA:
		return fmt.Errorf("unknown word order %d", r.Order)
	case r.Table.Bits() != (r.Type == drivers.Bit):
		return fmt.Errorf("a bit must be in coils or discrete inputs, everything else in registers")
	case int(r.Address)+r.Type.Words() > 1<<16:
		return fmt.Errorf("address 0x%04X+%d ends beyond 0xFFFF", r.Address, r.Type.Words())
	case r.Type != drivers.Bit && r.Type.Words() > maxRegisters:
		return fmt.Errorf("needs %d registers in one request, the meter allows %d", r.Type.Words(), maxRegisters)
	case r.Mask != 0 && r.Type != drivers.Uint16:
		return fmt.Errorf("a mask needs a uint16")
	case isFloat(r.Type) && (shift > maxShift || shift < -maxShift):
		return fmt.Errorf("scale 10^%d and resolution 10^%d are too far apart", r.Scale, r.Exp)
	case !isFloat(r.Type) && shift != 0:
		return fmt.Errorf("scale 10^%d differs from resolution 10^%d: an integer is read as it is", r.Scale, r.Exp)
	}
	return nil
}

func isFloat(t drivers.Type) bool { return t == drivers.Float32 || t == drivers.Float64 }

// shift is 10^n as a fraction.
func shift(n int) (mul, div uint64) {
	mul, div = 1, 1
	for ; n > 0; n-- {
		mul *= 10
	}
	for ; n < 0; n++ {
		div *= 10
	}
	return mul, div
}

// decode turns the data of a reply into readings.
func (r request) decode(data []byte, dst []drivers.Reading) {
	for i := range r.points {
		p := &r.points[i]
		at := int(p.reg.Address - r.Address)
		if p.reg.Type == drivers.Bit {
			dst[p.index] = p.reading(uint64(data[at/8] >> (at % 8) & 1))
		} else {
			dst[p.index] = p.reading(raw(p.reg, data[2*at:]))
		}
	}
}

// raw assembles the register's bits, right-aligned.
func raw(r *drivers.Register, b []byte) uint64 {
	n := r.Type.Words()
	if r.Order == drivers.ABCD { // nearly every meter
		switch n {
		case 1:
			return uint64(binary.BigEndian.Uint16(b))
		case 2:
			return uint64(binary.BigEndian.Uint32(b))
		}
	}
	var v uint64
	for i := range n {
		at := i
		if r.Order == drivers.CDAB || r.Order == drivers.DCBA {
			at = n - 1 - i
		}
		w := binary.BigEndian.Uint16(b[2*at:])
		if r.Order == drivers.BADC || r.Order == drivers.DCBA {
			w = bits.ReverseBytes16(w)
		}
		v = v<<16 | uint64(w)
	}
	return v
}

// reading makes a number of raw bits.
//
// An integer register is its value: Scale and Exp are equal. A float register
// is converted once: its exact binary value times 10^Scale, in units of 10^Exp,
// rounded to the nearest integer, a tie to the even one. No binary floating
// point operation takes part, so every machine gets the same digits.
//
// A pattern listed as invalid, a NaN, an infinity, a BCD digit above 9 and a
// value beyond 63 bits are Invalid, never a number.
func (p *point) reading(raw uint64) drivers.Reading {
	for _, pattern := range p.reg.Invalid {
		if raw == pattern {
			return drivers.Reading{Quality: drivers.Invalid}
		}
	}
	var v int64
	switch p.reg.Type {
	case drivers.Int16:
		v = int64(int16(raw))
	case drivers.Int32:
		v = int64(int32(raw))
	case drivers.Int64:
		v = int64(raw)
	case drivers.Float32:
		var ok bool
		if v, ok = scaled(uint32(raw), p.mul, p.div); !ok {
			return drivers.Reading{Quality: drivers.Invalid}
		}
	case drivers.Float64:
		var ok bool
		if v, ok = scaled64(raw, p.mul, p.div); !ok {
			return drivers.Reading{Quality: drivers.Invalid}
		}
	case drivers.BCD16, drivers.BCD32:
		for at := 28; at >= 0; at -= 4 {
			digit := raw >> at & 0xF
			if digit > 9 {
				return drivers.Reading{Quality: drivers.Invalid}
			}
			v = 10*v + int64(digit)
		}
	default: // unsigned, bits
		if mask := uint64(p.reg.Mask); mask != 0 {
			raw = raw & mask >> bits.TrailingZeros64(mask)
		}
		if raw > math.MaxInt64 {
			return drivers.Reading{Quality: drivers.Invalid}
		}
		v = int64(raw)
	}
	if p.reg.Limited && (v < p.reg.Min || v > p.reg.Max) {
		return drivers.Reading{Coef: v, Quality: drivers.Suspect}
	}
	return drivers.Reading{Coef: v}
}

// scaled is the float32 with the given bits times mul/div, rounded half to
// even. One of mul and div is 1, the other a power of ten up to 10^maxShift. It
// is false for NaN, infinities and what does not fit 63 bits.
func scaled(f uint32, mul, div uint64) (int64, bool) {
	exponent, mantissa := int(f>>23&0xFF), uint64(f&0x7FFFFF)
	switch exponent {
	case 0xFF:
		return 0, false
	case 0:
		exponent = 1 // subnormal
	default:
		mantissa |= 1 << 23
	}
	exponent -= 127 + 23 // the value is mantissa x 2^exponent
	n := mantissa * mul
	var q, rest, whole uint64 // the result is q + rest/whole
	switch {
	case exponent >= 0 && div == 1:
		if bits.Len64(n)+exponent > 63 {
			return 0, n == 0
		}
		q, whole = n<<exponent, 1
	case exponent >= 0: // n < 2^24 and exponent <= 104: 128 bits hold it
		hi, lo := n>>max(0, 64-exponent)<<max(0, exponent-64), n<<exponent
		if hi >= div {
			return 0, false
		}
		q, rest = bits.Div64(hi, lo, div)
		whole = div
	case div == 1 && exponent >= -63:
		q, rest, whole = n>>-exponent, n&(1<<-exponent-1), 1<<-exponent
	case div == 1 && exponent == -64:
		if n > 1<<63 {
			q = 1
		}
		whole = 1
	case div > 1 && exponent > -25:
		whole = div << -exponent
		q, rest = n/whole, n%whole
	default: // below one half
		whole = 1
	}
	if above := whole - rest; rest > above || rest == above && q&1 == 1 {
		q++
	}
	if q > math.MaxInt64 {
		return 0, false
	}
	if f>>31 == 1 {
		return -int64(q), true
	}
	return int64(q), true
}

// scaled64 is scaled for a float64.
func scaled64(f uint64, mul, div uint64) (int64, bool) {
	exponent, mantissa := int(f>>52&0x7FF), f&(1<<52-1)
	switch exponent {
	case 0x7FF:
		return 0, false
	case 0:
		exponent = 1 // subnormal
	default:
		mantissa |= 1 << 52
	}
	exponent -= 1023 + 52 // the value is mantissa x 2^exponent
	if mantissa == 0 {
		return 0, true
	}
	if exponent > 63 {
		return 0, false
	}
	if exponent < -53-64 {
		return 0, true // below one half, mul being less than 2^40
	}
	n := new(big.Int).SetUint64(mantissa)
	n.Mul(n, new(big.Int).SetUint64(mul))
	whole := new(big.Int).SetUint64(div)
	if exponent >= 0 {
		n.Lsh(n, uint(exponent))
	} else {
		whole.Lsh(whole, uint(-exponent))
	}
	q, rest := n.QuoRem(n, whole, new(big.Int))
	switch rest.Lsh(rest, 1).Cmp(whole) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, new(big.Int).And(q, big.NewInt(1)))
	}
	if !q.IsInt64() {
		return 0, false
	}
	if f>>63 == 1 {
		return -q.Int64(), true
	}
	return q.Int64(), true
}
