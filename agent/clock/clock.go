// Package clock is what a box knows of its own clock: whether it is disciplined,
// how long it has run, and when it was set (uplink/evidence/SPEC.md section 4.2).
package clock

import (
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Step is how far wall and monotonic time must part for the clock to count as
// set.
const Step = time.Second

// Watch notices that the wall clock was set, by a clock that cannot be.
// Slewing by a time server moves both alike on Linux; on Windows it moves the wall
// clock alone, and a second of it between two looks counts as a step.
type Watch struct {
	known  bool
	offset time.Duration // wall clock less uptime
}

// Look compares the two. Where they have parted by Step or more since the
// last look it returns what the wall clock would have shown, and what it shows,
// in Unix ms.
func (c *Watch) Look(wall time.Time, up time.Duration) (before, after int64, stepped bool) {
	offset := time.Duration(wall.UnixNano()) - up
	moved := offset - c.offset
	c.offset = offset
	if !c.known {
		c.known = true
		return 0, 0, false
	}
	if moved.Abs() < Step {
		return 0, 0, false
	}
	return max(0, wall.Add(-moved).UnixMilli()), max(0, wall.UnixMilli()), true
}

// clockBegins is the first instant a clock that was ever set can show here: what
// is before it counts from the start of a box without a battery.
var clockBegins = time.Date(2025, 1, 1, 0, 0, 0, 0, time.UTC)

// Flag is the box's statement about its clock, from what the system says of
// it (SPEC.md section 4.2).
func Flag(system evidence.TimeFlag, at time.Time, set bool) evidence.TimeFlag {
	switch {
	case at.Before(clockBegins):
		return evidence.Relative
	case system == evidence.Unsynchronised && set:
		return evidence.Informative
	}
	return system
}
