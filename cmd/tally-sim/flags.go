package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// wiring is the lines and meters of the command line, in its order.
type wiring []lineSpec

type lineSpec struct {
	sim.Line // without meters
	rates    meter.Rates
	meters   []meterSpec
}

// meterSpec is one --meter: one or more equal meters at consecutive units, or
// one that names its data, at an address.
type meterSpec struct {
	first, last int    // unit numbers; 0 where there is an address
	address     string // as printed; "" for Modbus
	profile     string
	habits
	name  string // "" = made of profile and unit
	ratio int64  // 0 = 1
	share int64  // thousandths; 0 = all
	base  *drivers.Decimal
}

// lineFlag is --line; it adds a line.
type lineFlag struct{ *wiring }

func (lineFlag) Type() string   { return "line" }
func (lineFlag) String() string { return "" }

func (f lineFlag) Set(s string) error {
	kind, rest, ok := strings.Cut(s, ":")
	l := sim.Line{Kind: sim.Kind(kind)}
	switch l.Kind {
	case sim.RTU, sim.RTUOverTCP, sim.TCP:
	default:
		ok = false
	}
	if !ok {
		return fmt.Errorf("expected rtu:LINK@9600-8N1, rtu-tcp:HOST:PORT@9600-8N1 or tcp:HOST:PORT")
	}
	rest, options, some := strings.Cut(rest, ",")
	l.Address = rest
	if i := strings.LastIndexByte(rest, '@'); i >= 0 && l.Kind != sim.TCP {
		var err error
		if l.Serial, err = drivers.ParseSettings(rest[i+1:]); err != nil {
			return err
		}
		l.Address = rest[:i]
	}
	pl := lineSpec{Line: l}
	if some {
		for _, option := range strings.Split(options, ",") {
			if err := pl.option(option); err != nil {
				return err
			}
		}
	}
	*f.wiring = append(*f.wiring, pl)
	return nil
}

// option reads one word or KEY=VALUE after the address.
func (l *lineSpec) option(s string) error {
	key, value, _ := strings.Cut(s, "=")
	switch known, err := rate(&l.rates, key, value); {
	case known:
		return err
	case s == "echo" && l.Kind != sim.TCP:
		l.Echo = true
	case s == "garbage" && l.Kind != sim.TCP:
		l.Garbage = true
	default:
		return fmt.Errorf("unknown option %q: expected echo or garbage on a serial line, or a fault like late=1%%", key)
	}
	return nil
}

// meterFlag is --meter; it adds meters to the line before it.
type meterFlag struct{ *wiring }

func (meterFlag) Type() string   { return "meter" }
func (meterFlag) String() string { return "" }

func (f meterFlag) Set(s string) error {
	if len(*f.wiring) == 0 {
		return fmt.Errorf("a meter belongs to the --line before it, and there is none")
	}
	units, what, ok := strings.Cut(s, "=")
	parts := strings.Split(what, ",")
	if !ok || parts[0] == "" {
		return fmt.Errorf("expected UNIT=PROFILE, FIRST-LAST=PROFILE or ADDRESS=PROFILE")
	}
	line := &(*f.wiring)[len(*f.wiring)-1]
	m := meterSpec{profile: parts[0]}
	var err error
	switch named := meter.IsModel(m.profile); {
	case named && line.Kind == sim.TCP:
		return fmt.Errorf("%s is for a serial line; a tcp line has Modbus meters only", m.profile)
	case named:
		m.address = strings.TrimPrefix(units, "iec:")
	default:
		if m.first, m.last, err = parseUnits(units); err != nil {
			return err
		}
	}
	for _, part := range parts[1:] {
		if err := m.option(part); err != nil {
			return err
		}
	}
	if line.Kind == sim.TCP && (m.serial.Baud > 0 || m.twin) {
		return fmt.Errorf("a tcp line has neither serial settings nor twins")
	}
	for _, other := range line.meters {
		switch {
		case m.address != "" && m.address == other.address && m.profile == other.profile:
			return fmt.Errorf("address %s is already on this line", m.address)
		case m.address == "" && other.address == "" && m.first <= other.last && other.first <= m.last:
			return fmt.Errorf("unit %d is already on this line", max(m.first, other.first))
		}
	}
	line.meters = append(line.meters, m)
	return nil
}

// parseUnits reads "7" or "1-50".
func parseUnits(s string) (first, last int, err error) {
	a, b, isRange := strings.Cut(s, "-")
	if !isRange {
		b = a
	}
	first, err = strconv.Atoi(a)
	if err == nil {
		last, err = strconv.Atoi(b)
	}
	if err != nil || first < 1 || last > 247 || last < first {
		return 0, 0, fmt.Errorf("unit %q: expected 1 to 247, or FIRST-LAST", s)
	}
	return first, last, nil
}

// option reads one KEY=VALUE after the profile.
func (m *meterSpec) option(s string) error {
	key, value, _ := strings.Cut(s, "=")
	var err error
	switch key {
	case "name":
		m.name = value
	case "ratio":
		m.ratio, err = parseRatio(value)
	case "share":
		m.share, err = parseShare(value)
	case "base":
		m.base, err = parseBase(value)
	default:
		known := false
		if known, err = m.habits.option(key, value); !known {
			err = fmt.Errorf("unknown option %q: see --help", key)
		}
	}
	return err
}

// parseRatio reads a CT or PT ratio that is a whole number: "40" or "200/5".
func parseRatio(s string) (int64, error) {
	a, b, isFraction := strings.Cut(s, "/")
	if !isFraction {
		b = "1"
	}
	primary, err := strconv.ParseInt(a, 10, 32)
	secondary, err2 := strconv.ParseInt(b, 10, 32)
	if err != nil || err2 != nil || primary < 1 || secondary < 1 || primary%secondary != 0 {
		return 0, fmt.Errorf("ratio %q: expected a whole number like 40 or 200/5", s)
	}
	return primary / secondary, nil
}

// parseShare reads "25%" or "12.5%" as thousandths.
func parseShare(s string) (int64, error) {
	digits, percent := strings.CutSuffix(s, "%")
	d, err := parseDecimal(digits, 1)
	if err != nil || !percent || d.Coef < 1 || d.Coef > 1000 {
		return 0, fmt.Errorf("share %q: expected 0.1%% to 100%%", s)
	}
	return d.Coef, nil
}

func parseBase(s string) (*drivers.Decimal, error) {
	d, err := parseDecimal(s, 6)
	if err != nil {
		return nil, fmt.Errorf("base %q: expected kWh with at most 6 decimals", s)
	}
	return &d, nil
}

// parseDecimal reads a plain non-negative decimal, exactly.
func parseDecimal(s string, decimals int) (drivers.Decimal, error) {
	whole, frac, _ := strings.Cut(s, ".")
	if len(frac) > decimals {
		return drivers.Decimal{}, fmt.Errorf("%q has more than %d decimals", s, decimals)
	}
	coef, err := strconv.ParseUint(whole+frac+strings.Repeat("0", decimals-len(frac)), 10, 62)
	return drivers.Decimal{Coef: int64(coef), Exp: int8(-decimals)}, err
}

// dateFlag is a day or a minute, read as UTC.
type dateFlag struct{ time.Time }

func (dateFlag) Type() string { return "date" }
func (d dateFlag) String() string {
	if d.IsZero() {
		return ""
	}
	return d.Format("2006-01-02T15:04")
}

func (d *dateFlag) Set(s string) (err error) {
	for _, layout := range []string{time.DateOnly, "2006-01-02T15:04"} {
		if d.Time, err = time.Parse(layout, s); err == nil {
			return nil
		}
	}
	return fmt.Errorf("expected a date like 2018-02-01 or 2018-02-01T09:30")
}
