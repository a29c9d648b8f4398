// Package packaging holds what a system needs to run Tallystick as a service.
package packaging

import _ "embed"

//go:embed systemd.service.tmpl
var systemdUnit string

// SystemdUnit is the unit as a template of kardianos/service v1.3 (its own
// small language, not text/template): Description, Path, Arguments.
func SystemdUnit() string { return systemdUnit }
