package meter

import (
	"encoding/binary"
	"math"
	"math/big"
	"strconv"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// quantise turns millionths into units of 10^exp: a counter shows completed
// units only, everything else the nearest.
func quantise(micro int64, exp int8, counter bool) int64 {
	d := int(exp) - plant.Exp
	if d <= 0 {
		return micro * pow10(-d)
	}
	unit := pow10(d)
	q, r := micro/unit, micro%unit
	switch {
	case counter:
	case 2*r >= unit:
		q++
	case -2*r >= unit:
		q--
	}
	return q
}

func pow10(n int) int64 {
	p := int64(1)
	for range n {
		p *= 10
	}
	return p
}

// raw is the bit pattern of a register that shows the value, right-aligned.
// Integer registers that count roll over at their width, the others stop at
// their ends; a float32 holds the nearest it can.
func raw(r *drivers.Register, micro int64, counter bool) uint64 {
	if r.Type == drivers.Float32 || r.Type == drivers.Float64 {
		coef := quantise(micro, r.Exp, counter)
		text := strconv.FormatInt(coef, 10) + "e" + strconv.Itoa(int(r.Exp)-int(r.Scale))
		// Out of range: the infinity it returns.
		if r.Type == drivers.Float64 {
			f, _ := strconv.ParseFloat(text, 64)
			return math.Float64bits(f)
		}
		f, _ := strconv.ParseFloat(text, 32)
		return uint64(math.Float32bits(float32(f)))
	}
	v := quantise(micro, r.Scale, counter)
	if r.Type == drivers.BCD16 || r.Type == drivers.BCD32 {
		digits, _ := strconv.ParseUint(strconv.FormatInt(max(v, 0)%pow10(4*r.Type.Words()), 10), 16, 64) // decimal digits only
		return digits
	}
	width := 16 * r.Type.Words()
	mask := uint64(math.MaxUint64) >> (64 - width)
	if counter {
		return uint64(v) & mask
	}
	lo, hi := int64(0), int64(mask)
	switch {
	case r.Type == drivers.Uint64:
		hi = math.MaxInt64
	case r.Type == drivers.Int16 || r.Type == drivers.Int32 || r.Type == drivers.Int64:
		hi = int64(mask >> 1)
		lo = -hi - 1
	}
	return uint64(min(max(v, lo), hi)) & mask
}

// shown is the exact number an ideal reader takes from a raw pattern at the
// register's resolution (a float rounded half to even, once).
func shown(r *drivers.Register, bits uint64) drivers.Decimal {
	switch r.Type {
	case drivers.Float32, drivers.Float64:
		f := math.Float64frombits(bits)
		if r.Type == drivers.Float32 {
			f = float64(math.Float32frombits(uint32(bits)))
		}
		v := new(big.Rat)
		if v.SetFloat64(f) == nil {
			return drivers.Decimal{Exp: r.Exp}
		}
		shift := new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(max(r.Scale-r.Exp, r.Exp-r.Scale))), nil))
		if r.Scale < r.Exp {
			shift.Inv(shift)
		}
		return drivers.Decimal{Coef: halfEven(v.Mul(v, shift)), Exp: r.Exp}
	case drivers.Int16:
		return drivers.Decimal{Coef: int64(int16(bits)), Exp: r.Scale}
	case drivers.Int32:
		return drivers.Decimal{Coef: int64(int32(bits)), Exp: r.Scale}
	case drivers.BCD16, drivers.BCD32:
		v, _ := strconv.ParseInt(strconv.FormatUint(bits, 16), 10, 64)
		return drivers.Decimal{Coef: v, Exp: r.Scale}
	}
	return drivers.Decimal{Coef: int64(bits), Exp: r.Scale}
}

// halfEven rounds to the nearest integer, ties to the even one.
func halfEven(v *big.Rat) int64 {
	q, r := new(big.Int).DivMod(v.Num(), v.Denom(), new(big.Int)) // floor, 0 <= r < denom
	switch r.Lsh(r, 1).Cmp(v.Denom()) {
	case 1:
		q.Add(q, big.NewInt(1))
	case 0:
		q.Add(q, big.NewInt(int64(q.Bit(0))))
	}
	return q.Int64()
}

// putWords lays a raw pattern out over the register's words, as sent on the
// wire, in the register's word order.
func putWords(to []byte, r *drivers.Register, bits uint64) {
	var be [8]byte
	binary.BigEndian.PutUint64(be[:], bits)
	n := 2 * r.Type.Words()
	copy(to, be[8-n:])
	to = to[:n]
	if r.Order == drivers.CDAB || r.Order == drivers.DCBA {
		for i, j := 0, n-2; i < j; i, j = i+2, j-2 {
			to[i], to[i+1], to[j], to[j+1] = to[j], to[j+1], to[i], to[i+1]
		}
	}
	if r.Order == drivers.BADC || r.Order == drivers.DCBA {
		for i := 0; i < n; i += 2 {
			to[i], to[i+1] = to[i+1], to[i]
		}
	}
}
