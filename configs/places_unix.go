//go:build !windows

package configs

import (
	"fmt"
	"os"
)

// Where things are when nobody says otherwise.
const (
	Installed        = "/etc/tallystick" // the site file
	DefaultDirectory = "/var/lib/tallystick"
	DefaultWatchDir  = "/var/lib/tally-lender"
)

// ThisUser is who runs this program, for messages.
func ThisUser() string { return fmt.Sprintf("user %d", os.Getuid()) }
