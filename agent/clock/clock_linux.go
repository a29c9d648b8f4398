package clock

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Uptime is how long the box has run, suspended time included
// (CLOCK_BOOTTIME).
func Uptime() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// System is the kernel's.
type System struct{}

// State asks the kernel whether its clock is disciplined (adjtimex(2)):
// synchronised with the kernel's bound on the error, or not when nothing
// disciplines it.
func (System) State() (flag evidence.TimeFlag, errorMS uint64) {
	var tx unix.Timex
	state, err := unix.Adjtimex(&tx)
	if err != nil || state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0 {
		return evidence.Unsynchronised, 0
	}
	return evidence.Synchronised, uint64(max(tx.Maxerror, 0) / 1000) // microseconds
}
