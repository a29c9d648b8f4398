package configs

import (
	"fmt"
	"math/big"
	"regexp"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/configs/strict"
)

// Ratio is the ratio of an instrument transformer as an exact decimal number,
// Coef x 10^Exp: 200/5 is {40, 0}, 0.5 is {5, -1}. Coef is positive, below
// 10^9 and not divisible by 10 while Exp is negative; Exp is -6 to 0. The
// product of two ratios fits an int64.
type Ratio struct {
	Coef int64
	Exp  int8
}

const (
	ratioDigits   = 9 // significant digits of a ratio
	ratioDecimals = 6 // and of these behind the point
)

var ratioForm = regexp.MustCompile(`^([0-9]{1,9}(?:\.[0-9]{1,6})?)(?: *[/:] *([0-9]{1,9}(?:\.[0-9]{1,6})?))?$`)

// UnmarshalText reads "200/5", "200:5" or "40".
func (r *Ratio) UnmarshalText(b []byte) error {
	m := ratioForm.FindStringSubmatch(string(b))
	if m == nil {
		return strict.Problem{Code: CodeRatio, Msg: "expected a ratio such as 200/5 or 40, found " + quote(string(b)), Hint: "it stands on the plate of the transformer"}
	}
	primary, _ := new(big.Rat).SetString(m[1]) // digits and a point, by ratioForm
	secondary := big.NewRat(1, 1)
	if m[2] != "" {
		secondary.SetString(m[2])
	}
	if primary.Sign() == 0 || secondary.Sign() == 0 {
		return strict.Problem{Code: CodeRatio, Msg: "expected a ratio above 0, found " + quote(string(b)), Hint: "leave the key out where there is no transformer"}
	}
	quotient := primary.Quo(primary, secondary)
	digits := quotient.FloatString(ratioDecimals)
	if back, _ := new(big.Rat).SetString(digits); back.Cmp(quotient) != 0 {
		return strict.Problem{Code: CodeRatio,
			Msg:  fmt.Sprintf("%s is not a decimal number of at most %d places (it is about %s)", quote(string(b)), ratioDecimals, digits),
			Hint: "readings are exact: set this ratio in the meter itself, and leave the key out here"}
	}
	whole, frac, _ := strings.Cut(digits, ".")
	frac = strings.TrimRight(frac, "0")
	coef, err := strconv.ParseInt(whole+frac, 10, 64)
	if err != nil || len(strings.TrimLeft(whole+frac, "0")) > ratioDigits {
		return strict.Problem{Code: CodeRatio, Msg: fmt.Sprintf("expected a ratio of at most %d digits, found %s", ratioDigits, quote(string(b)))}
	}
	*r = Ratio{coef, int8(-len(frac))}
	return nil
}

// String is the ratio as a decimal number.
func (r Ratio) String() string {
	s := strconv.FormatInt(r.Coef, 10)
	point := int(-r.Exp)
	if point == 0 {
		return s
	}
	if len(s) <= point {
		s = strings.Repeat("0", point-len(s)+1) + s
	}
	return s[:len(s)-point] + "." + s[len(s)-point:]
}

// Times is the product, as coefficient and exponent: what power and energy are
// multiplied with when current and voltage both pass a transformer.
func (r Ratio) Times(q Ratio) Ratio {
	p := Ratio{r.Coef * q.Coef, r.Exp + q.Exp}
	for p.Exp < 0 && p.Coef%10 == 0 {
		p.Coef, p.Exp = p.Coef/10, p.Exp+1
	}
	return p
}
