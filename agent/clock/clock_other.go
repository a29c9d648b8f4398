//go:build !linux && !windows

package clock

import (
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Uptime is not known here.
func Uptime() time.Duration { return 0 }

// System knows nothing of the clock's discipline here.
type System struct{}

func (System) State() (flag evidence.TimeFlag, errorMS uint64) {
	return evidence.Unsynchronised, 0
}
