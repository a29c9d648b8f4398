package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/mqtt"
)

// explain turns an error from within into one for people: a code for the phone
// call, what and where, and what to do. nil means it knows nothing better than
// the error's own text.
//
// E-1xx site file (configs/CODES.md), E-2xx lines and meters (diagnose.go),
// E-3xx brokers and lenders, E-4xx storage and history, E-5xx key, E-6xx
// service.
func explain(err error) *cli.Error {
	e := &cli.Error{Exit: cli.Environment, Text: err.Error()}
	var (
		file    *mqtt.FileError
		connect *mqtt.ConnectError
		locked  *vfs.LockedError
		version *buffer.VersionError
		damaged *buffer.DamagedError
		format  *evidence.FormatError
		key     *keyfile.Error
		path    *fs.PathError
	)
	switch {
	case errors.As(err, &file):
		e.Code, e.Exit, e.Hint = "E-302", cli.Usage, file.Hint()
	case errors.As(err, &connect):
		e.Code, e.Hint = "E-301", connect.Hint()
	case errors.As(err, &locked):
		e.Code, e.Text = "E-401", fmt.Sprintf("the history in %s is in use by process %d", locked.Dir, locked.PID)
		e.Hint = "one agent at a time can extend a history; see what runs: tallystick service status"
	case errors.As(err, &version), errors.Is(err, evidence.ErrVersion):
		e.Code, e.Hint = "E-402", "install the newer version again; this one leaves the files as they are"
	case errors.Is(err, buffer.ErrSync):
		e.Code, e.Hint = "E-403", "the disk or card does not keep what is written: look at dmesg, free some space, replace the card; nothing confirmed by a lender is lost"
	case vfs.NoSpace(err):
		e.Code, e.Hint = "E-404", "free space on that file system (df -h), or lower buffer: quota: in the site file; readings since the last flush are lost, and the next start says so under signature"
	case errors.Is(err, agent.ErrRolledBack):
		e.Code, e.Exit = "E-412", cli.NotVerified
		e.Hint = "put the newest copy of that directory back; if there is none, move it away to begin a new history, which every lender must accept first"
	case errors.Is(err, agent.ErrNoHistory):
		e.Code, e.Hint = "E-406", "start the agent first: tallystick run"
	case errors.As(err, &damaged), errors.As(err, &format), errors.Is(err, evidence.ErrSignature):
		e.Code, e.Exit = "E-407", cli.NotVerified
		e.Hint = "keep the directory as it is and copy it; then either restore a backup of it, or move it away to begin a new history, which every lender must accept first"
	case errors.As(err, &key):
		e.Code, e.Exit, e.Hint = "E-501", cli.Usage, key.Fix
	case errors.As(err, &path) && errors.Is(err, fs.ErrPermission):
		e.Code, e.Text = "E-408", fmt.Sprintf("%s %s: user %d may not", path.Op, path.Path, os.Getuid())
		e.Hint = "run as root or as the service's user, or name another directory in the site file (buffer: directory:)"
	default:
		return nil
	}
	return e
}
