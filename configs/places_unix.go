//go:build !windows

package configs

// Where things are when nobody says otherwise.
const (
	Installed        = "/etc/tallystick" // the site file
	DefaultDirectory = "/var/lib/tallystick"
	DefaultWatchDir  = "/var/lib/tally-lender"
)
