//go:build !linux

package sim

import (
	"errors"
	"os"

	"github.com/tallystick/tallystick/drivers"
)

// PTY is the meters' end of a pseudo-terminal; there is none on this system.
type PTY struct {
	*os.File
	Device string
}

// OpenPTY fails: simulated serial lines need Linux.
func OpenPTY(string) (*PTY, error) {
	return nil, errors.New("open pseudo-terminal: simulated serial lines need Linux; use a line over TCP")
}

// Path is what the other side would open.
func (p *PTY) Path() string { return p.Device }

// Settings are not known.
func (p *PTY) Settings() (drivers.Settings, bool) { return drivers.Settings{}, false }
