package plant

import (
	"math/rand/v2"
	"time"
)

// shiftRated is the draw of the built-in pattern at full load, in kW. A
// meter's Share scales it.
const shiftRated = 100

// ShiftPattern is the week of a county factory with 100 kW of machines, for
// ever: two shifts from Monday to Friday with a meal break in each, one short
// shift on Saturday, Sunday off, and at any hour the base load of lamps,
// compressors and the office. Machines switch every ten seconds, by the seed.
// It begins at start's weekday and time of day.
func ShiftPattern(seed uint64, start time.Time) *Load {
	const step = 10 * time.Second
	const perDay = int(24 * time.Hour / step)
	midnight := time.Date(start.Year(), start.Month(), start.Day(), 0, 0, 0, 0, start.Location())
	first := int(start.Sub(midnight)/step) % perDay
	rng := rand.New(rand.NewPCG(seed, 0x7a11))
	steps := make([]Interval, 7*perDay)
	wander := 0.0 // slow drift of the mix of machines, about -1..1
	for i := range steps {
		n := first + i
		weekday := time.Weekday((int(start.Weekday()) + n/perDay) % 7)
		minute := n % perDay * int(step/time.Second) / 60
		level := activity(weekday, minute)
		wander = 0.98*wander + 0.2*(rng.Float64()-0.5)
		kw := shiftRated * (0.06 + level*(0.72+0.15*wander+0.08*(rng.Float64()-0.5)))
		// Idle motors and lamps have a poor power factor, loaded ones a good one.
		tan := 1.0 - 0.55*level + 0.06*wander
		active := int64(kw * 1e6 * step.Hours())
		steps[i] = Interval{Active: active, Lagging: int64(float64(active) * tan)}
	}
	return NewLoad(start, step, true, steps)
}

// activity is the share of machines at work, 0 to 1, ramping over a quarter of
// an hour at each change.
func activity(day time.Weekday, minute int) float64 {
	type span struct {
		from, to int // minutes of the day
		level    float64
	}
	const h = 60
	week := []span{
		{7*h + 45, 11*h + 45, 1}, {11*h + 45, 12*h + 45, 0.35}, {12*h + 45, 16 * h, 1},
		{16 * h, 19 * h, 0.85}, {19 * h, 19*h + 30, 0.35}, {19*h + 30, 23*h + 45, 0.8},
	}
	switch day {
	case time.Sunday:
		return 0
	case time.Saturday:
		week = []span{{8 * h, 11*h + 45, 0.7}, {11*h + 45, 12*h + 30, 0.3}, {12*h + 30, 15 * h, 0.6}}
	}
	const ramp = 15
	level := 0.0
	for i, s := range week {
		before := 0.0
		if i > 0 && week[i-1].to == s.from {
			before = week[i-1].level
		}
		if minute >= s.from && minute < s.to {
			level = s.level + (before-s.level)*max(0, 1-float64(minute-s.from)/ramp)
		}
		if i == len(week)-1 && minute >= s.to && minute < s.to+ramp {
			level = s.level * (1 - float64(minute-s.to)/ramp)
		}
	}
	return level
}
