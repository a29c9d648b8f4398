package drivers

import (
	"errors"
	"math"
	"testing"
	"time"
)

func TestDecimalString(t *testing.T) {
	for _, c := range []struct {
		d    Decimal
		want string
	}{
		{Decimal{2301, -1}, "230.1"}, {Decimal{2300, -1}, "230.0"}, {Decimal{5, 3}, "5000"}, {Decimal{0, 3}, "0"},
		{Decimal{-5, -3}, "-0.005"}, {Decimal{0, -2}, "0.00"}, {Decimal{-12345, -2}, "-123.45"}, {Decimal{7, 0}, "7"},
		{Decimal{math.MinInt64, -1}, "-922337203685477580.8"},
	} {
		if got := c.d.String(); got != c.want {
			t.Errorf("%d x 10^%d = %q, want %q", c.d.Coef, c.d.Exp, got, c.want)
		}
	}
}

func TestDecimalTimes(t *testing.T) {
	for _, c := range []struct {
		a, b Decimal
		want string
		ok   bool
	}{
		{Decimal{2301, -1}, Decimal{40, 0}, "9204.0", true},
		{Decimal{-5, -2}, Decimal{25, -1}, "-0.125", true},
		{Decimal{math.MaxInt64, 0}, Decimal{1, 0}, "9223372036854775807", true},
		{Decimal{math.MaxInt64, 0}, Decimal{2, 0}, "", false},
		{Decimal{math.MinInt64, 0}, Decimal{1, 0}, "", false},
	} {
		p, ok := c.a.Times(c.b)
		if ok != c.ok || ok && p.String() != c.want {
			t.Errorf("%v x %v = %v, %v; want %s, %v", c.a, c.b, p, ok, c.want, c.ok)
		}
	}
}

func TestFaultGrammar(t *testing.T) {
	cause := errors.New("timeout after " + (300 * time.Millisecond).String())
	for want, f := range map[string]Fault{
		"read holding registers 0x0010+4 from meter press-1: timeout after 300ms": {Op: "read holding registers 0x0010+4", Meter: "press-1", Err: cause},
		"meter press-1: timeout after 300ms":                                      {Meter: "press-1", Err: cause},
		"read: timeout after 300ms":                                               {Op: "read", Err: cause},
		"timeout after 300ms":                                                     {Err: cause},
	} {
		if got := f.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if !errors.Is(&f, cause) {
			t.Errorf("%q hides its cause", want)
		}
	}
}
