//go:build !linux

package agent

import (
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// uptime is not known here.
func uptime() time.Duration { return 0 }

// clockState knows nothing of the clock's discipline here.
func clockState() (flag evidence.TimeFlag, errorMS uint64) { return evidence.Unsynchronised, 0 }
