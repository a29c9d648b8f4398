package line

import (
	"errors"
	"fmt"
	"strings"
)

// Reason is why a serial port could not be opened.
type Reason uint8

const (
	Other      Reason = iota // see OpenError.Err
	Missing                  // there is no such port; Ports lists those there are
	Permission               // this user may not open it
	Busy                     // another program holds it; Holder names it if it can be seen
)

// OpenError is a serial port that could not be opened. Its text says why and
// what to do.
type OpenError struct {
	Path   string
	Reason Reason
	Holder string   // Busy: "mbmd (pid 812)", or "" when its user is another
	Ports  []string // Missing: ports of this machine, links by id first
	Err    error

	user, group string // Permission: who asked, and the group that may ("" when none)
}

func (e *OpenError) Error() string {
	switch e.Reason {
	case Missing:
		if len(e.Ports) == 0 {
			return fmt.Sprintf("port %s does not exist; this machine has no serial port: is the adapter plugged in?", e.Path)
		}
		return fmt.Sprintf("port %s does not exist; ports of this machine: %s", e.Path, strings.Join(e.Ports, ", "))
	case Permission:
		if e.group == "" {
			return fmt.Sprintf("port %s may not be opened by user %s nor by any group: run `sudo chgrp dialout %s && sudo chmod 660 %s && sudo usermod -aG dialout %s`, then log in again or restart the service",
				e.Path, e.user, e.Path, e.Path, e.user)
		}
		return fmt.Sprintf("port %s may not be opened by user %s, only by group %s: run `sudo usermod -aG %s %s`, then log in again or restart the service",
			e.Path, e.user, e.group, e.group, e.user)
	case Busy:
		if e.Holder == "" {
			return fmt.Sprintf("port %s is used by another program: %s", e.Path, findHolder(e.Path))
		}
		return fmt.Sprintf("port %s is used by %s: stop that program, a line can have one master only", e.Path, e.Holder)
	}
	if _, ok := errors.AsType[*settingsError](e.Err); ok {
		return e.Err.Error()
	}
	return fmt.Sprintf("port %s: %v", e.Path, e.Err)
}

func (e *OpenError) Unwrap() error { return e.Err }
