package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// habits are what the options of a meter say beyond what it measures.
type habits struct {
	serial drivers.Settings
	delay  time.Duration
	model  meter.Model // without name and address
	rates  meter.Rates
	acts   []meter.Act
	digits int
	modeA  bool // IEC 62056-21 without a change of speed
	twin   bool // two of them at one address
}

// deeds are the options that do something to a meter, KEY=WHEN in simulated
// time.
var deeds = map[string]meter.Deed{
	"reset": meter.Reset, "freeze": meter.Freeze, "thaw": meter.Thaw, "die": meter.Die, "revive": meter.Revive,
	"open-cover": meter.OpenCover, "set-clock": meter.SetClock, "lose-power": meter.LosePower, "lose-phase": meter.LosePhase,
}

// option reads one KEY=VALUE; known is false where there is no such key.
func (h *habits) option(key, value string) (known bool, err error) {
	if known, err = rate(&h.rates, key, value); known {
		return true, err
	}
	if deed, ok := deeds[key]; ok {
		at, err := parseWhen(key, value)
		h.acts = append(h.acts, meter.Act{At: at, Deed: deed})
		return true, err
	}
	switch key {
	case "serial":
		h.serial, err = drivers.ParseSettings(value)
	case "delay":
		h.delay, err = parseWhen(key, value)
	case "wakeup":
		h.model.Wakeup, err = parseCount(key, value, 0, 4)
	case "digits":
		h.digits, err = parseCount(key, value, 1, 12)
	case "baud":
		h.model.Speed, err = parseCount(key, value, 300, 19200)
	case "mode":
		if h.modeA = value == "A"; !h.modeA && value != "C" {
			err = fmt.Errorf("mode %q: expected A or C", value)
		}
	case "order":
		orders := map[string]meter.Order{"high": meter.HighFirst, "low": meter.LowFirst, "any": meter.AnyOrder}
		order, ok := orders[value]
		if h.model.Order = order; !ok {
			err = fmt.Errorf("order %q: expected high (90 1F), low (1F 90) or any", value)
		}
	case "ser":
		if h.model.PlainSER = value == "0"; !h.model.PlainSER && value != "echo" {
			err = fmt.Errorf("ser %q: expected echo or 0", value)
		}
	case "twin":
		h.twin = true
	case "exchange":
		when, number, _ := strings.Cut(value, ":")
		at, e := parseWhen(key, when)
		h.acts = append(h.acts, meter.Act{At: at, Deed: meter.Exchange, Number: number})
		err = e
	default:
		return false, nil
	}
	return true, err
}

// rate reads a fault that happens now and then: "1%", of the late ones also
// "1%:3s".
func rate(r *meter.Rates, key, value string) (known bool, err error) {
	to, ok := map[string]*float64{
		"late": &r.Late, "lost": &r.Lost, "corrupt": &r.Corrupt, "cut": &r.Cut, "noise": &r.Noise,
		"foreign": &r.Foreign, "wrong": &r.Wrong, "refused": &r.Refused,
	}[key]
	if !ok {
		return false, nil
	}
	if key == "late" {
		share, by, given := strings.Cut(value, ":")
		if value = share; given {
			if r.LateBy, err = parseWhen(key, by); err != nil {
				return true, err
			}
		}
	}
	digits, percent := strings.CutSuffix(value, "%")
	v, err := strconv.ParseFloat(digits, 64)
	if err != nil || !percent || !(v >= 0 && v <= 100) {
		return true, fmt.Errorf("%s %q: expected 0%% to 100%%", key, value)
	}
	*to = v / 100
	return true, nil
}

func parseWhen(key, s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%s %q: expected a duration like 500ms or 2h", key, s)
	}
	return d, nil
}

func parseCount(key, s string, from, to int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < from || n > to {
		return 0, fmt.Errorf("%s %q: expected %d to %d", key, s, from, to)
	}
	return n, nil
}
