//go:build !linux && !windows

package agent

import (
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// uptime is not known here.
func uptime() time.Duration { return 0 }

// systemClock knows nothing of the clock's discipline here.
type systemClock struct{}

func (systemClock) state() (flag evidence.TimeFlag, errorMS uint64) {
	return evidence.Unsynchronised, 0
}
