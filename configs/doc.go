// Package configs reads the two files people write: the site file of a gateway
// (Site, tallystick.yaml) and the file of a lender's watcher (Watch). It finds
// every fault of a file in one reading, each with line and column, and hands
// out values that are complete, resolved and safe: names fit topics and file
// names, paths are absolute, ratios are exact.
//
// Unknown keys are faults. Secrets do not stand in these files; they name the
// files that hold them (ReadSecret). CODES.md lists the fault codes,
// schema.json describes both files to editors, examples/ has complete ones.
//
// The rule of window and interval. A window holds whole polls: a meter's
// interval divides the window, or is a multiple of it (then most windows hold
// no reading of that meter, and say so). At most MaxSlots polls of one meter
// fall into a window.
package configs

import "time"

// Limits of what the files may ask for.
const (
	MaxLines      = 64
	MaxMeters     = 1024
	MaxLenders    = 32
	MaxBoxes      = 4096
	MaxQuantities = 256
	MaxSlots      = 3600 // polls of one meter in one window

	Quarter = 15 * time.Minute // what aggregates are counted in; windows divide it

	MinInterval, MaxInterval   = 100 * time.Millisecond, 24 * time.Hour
	MinTimeout, MaxTimeout     = 10 * time.Millisecond, 5 * time.Minute
	MaxRTSDelay                = 100 * time.Millisecond // RS485_MAX_RTS_DELAY of the kernel, which cuts what is longer
	MinWindow, MaxWindow       = 2 * time.Second, 10 * time.Minute
	MinSync, MaxSync           = 100 * time.Millisecond, 10 * time.Minute
	MinRetention, MaxRetention = time.Hour, 3650 * 24 * time.Hour
	MinPatience, MaxPatience   = 10 * time.Second, 7 * 24 * time.Hour
	MinQuota, MaxQuota         = 16 * MB, 1000 * GB
)

// What holds where the file says nothing.
const (
	DefaultSettings     = "9600 8N1"
	DefaultInterval     = 10 * time.Second
	DefaultWindow       = 60 * time.Second
	DefaultTimezone     = "Asia/Shanghai"
	DefaultQuota        = 256 * MB
	DefaultSync         = 10 * time.Second
	DefaultKeyFile      = "device.key" // in the buffer's directory
	DefaultWatchKeyFile = "lender.key" // in the lender's directory
	DefaultPatience     = 10 * time.Minute
	defaultPort         = "1883"
	defaultPortTLS      = "8883"
)
