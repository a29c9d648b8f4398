package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/configs/strict"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/mqtt"
)

// historyError is an error of the history kept in Dir, of the agent that
// extends it or of somebody who only reads it.
type historyError struct {
	Dir     string
	Err     error
	Reading bool
}

func (e *historyError) Error() string { return e.Err.Error() }
func (e *historyError) Unwrap() error { return e.Err }

// explain turns an error from within into one for people: a code for the phone
// call, what and where, and what to do. nil means it knows nothing better than
// the error's own text. docs/messages.md lists the codes: E-1xx site file
// (configs/CODES.md), E-2xx lines and meters (diagnose.go), E-3xx brokers and
// lenders (lenders.go too), E-4xx storage and history, E-5xx key, E-6xx service.
func explain(err error) *cli.Error {
	if e := explainLender(err); e != nil {
		return e
	}
	// What went wrong first; closing what is broken fails once more.
	text, _, _ := strings.Cut(err.Error(), "\n")
	e := &cli.Error{Exit: cli.Environment, Text: text}
	var (
		locked  *vfs.LockedError
		version *buffer.VersionError
		damaged *buffer.DamagedError
		format  *canon.FormatError
		key     *keyfile.Error
		other   *assembly.KeyError
		opening *historyError
		gone    *history.Gone
		lacks   *agent.Unconfirmed
		same    *assembly.SamePlace
		link    *os.LinkError
		path    *fs.PathError
	)
	dir, reading := "the history's directory", false
	if errors.As(err, &opening) {
		dir, reading = opening.Dir, opening.Reading
	}
	switch {
	case errors.As(err, &gone):
		e.Code, e.Text = "E-417", gone.Error()
		e.Hint = "put the directory back as it was. If it is gone for good: tallystick run --declare-loss begins a new history that says so under signature"
	case errors.As(err, &lacks):
		e.Code, e.Text = "E-506", lacks.Error()
		e.Hint = fmt.Sprintf("nothing was erased, and the agent may run on: try again when it has them (tallystick log status), or take %s out of the site file; what it lacks then stays on this box", lacks.Lender)
	case errors.As(err, &same):
		e.Code, e.Exit, e.Text = "E-507", cli.Usage, same.Error()
		e.Hint = "in the file that --to names write another key: and another buffer: directory:"
	case errors.As(err, &locked):
		e.Code, e.Text = "E-401", fmt.Sprintf("the history in %s is in use by another process", dir)
		if locked.PID != 0 {
			e.Text = fmt.Sprintf("the history in %s is in use by process %d", dir, locked.PID)
		}
		e.Hint = "one agent at a time can extend a history; see what runs: tallystick service status"
	case errors.As(err, &version), errors.Is(err, evidence.ErrVersion):
		e.Code, e.Hint = "E-402", "install the newer version again; this one leaves the files as they are"
	case errors.Is(err, buffer.ErrSync):
		e.Code, e.Hint = "E-403", "the disk or card does not keep what is written: look at dmesg, free some space, replace the card; nothing confirmed by a lender is lost"
	case vfs.NoSpace(err) && reading:
		e.Code, e.Hint = "E-404", "free space where the file is to be written (df -h), or name another place with -o"
	case vfs.NoSpace(err), errors.Is(err, syscall.EFBIG): // EFBIG: the limit of a process or of FAT
		e.Code, e.Text = "E-404", fmt.Sprintf("no space for the history in %s: %s", dir, text)
		e.Hint = fmt.Sprintf("free space there (df -h %s), or lower buffer: quota: in the site file, then start again; readings since the last flush are lost, and the next start says so under signature", dir)
	case errors.Is(err, history.ErrNone):
		e.Code, e.Hint = "E-406", "start the agent first: tallystick run"
	case errors.As(err, &damaged), errors.As(err, &format), errors.Is(err, evidence.ErrSignature):
		e.Code, e.Exit = "E-407", cli.NotVerified
		e.Text = text
		if damaged != nil {
			e.Text = whatIsDamaged(damaged)
		}
		if reading {
			e.Text = fmt.Sprintf("the history in %s is damaged: %s", dir, e.Text)
			e.Hint = "choose --from and --to so that it is left out; a running agent goes on, and lenders see a gap if they do not have it yet"
			break
		}
		e.Text = fmt.Sprintf("the history in %s cannot go on: %s", dir, e.Text)
		e.Hint = newHistory(dir)
	case errors.Is(err, history.ErrRolledBack):
		e.Code, e.Exit, e.Hint = "E-414", cli.NotVerified, newHistory(dir)
	case errors.As(err, &key):
		e.Code, e.Exit, e.Hint = "E-501", cli.Usage, key.Fix
	case errors.As(err, &other):
		e.Code, e.Exit = "E-502", cli.Usage
		if other.Has != "" {
			e.Code = "E-503"
		}
		e.Hint = fmt.Sprintf("put this box's own key file back from your backup. Without it this history cannot go on: move %s and %s to a safe place and start with tallystick run --declare-loss; a new history begins, and each lender must be given its key",
			filepath.Join(other.Dir, "sealed"), filepath.Join(other.Dir, "open"))
	case errors.As(err, &path) && errors.Is(err, fs.ErrPermission):
		e.Code, e.Text = "E-408", fmt.Sprintf("%s %s: %s may not", path.Op, path.Path, configs.ThisUser())
		e.Hint = "run as root or as the service's user, or name another directory in the site file (buffer: directory:)"
	case errors.As(err, &path):
		e.Code, e.Hint = "E-412", "see what is there: ls -ld "+path.Path
	case errors.As(err, &link):
		e.Code, e.Hint = "E-412", "see what is there: ls -ld "+link.New
	case opening != nil:
		e.Code, e.Hint = "E-412", "see what is there: ls -l "+dir
	default:
		return nil
	}
	return e
}

// newHistory is what to do about a history that cannot go on.
func newHistory(dir string) string {
	return fmt.Sprintf("nothing was changed, and lenders keep what they have confirmed. Move %s and %s to a safe place, leave the key file, and start with tallystick run --declare-loss: a new history begins under the same key and says so. Never put back an older copy: lenders would see a forked history",
		filepath.Join(dir, "sealed"), filepath.Join(dir, "open"))
}

// whatIsDamaged says which part of which file does not read.
func whatIsDamaged(d *buffer.DamagedError) string {
	why := "is not what was written"
	if d.Err != nil {
		why = fmt.Sprintf("cannot be read: %v", d.Err)
	}
	what := d.Span.String()
	if d.Span.Lo >= d.Span.Hi {
		what = "the head of the file"
	}
	return fmt.Sprintf("%s: %s %s", d.File, what, why)
}

// explainLender is explain for what stands between this box and a lender.
func explainLender(err error) *cli.Error {
	e := &cli.Error{Exit: cli.Environment, Text: err.Error()}
	var (
		file    *mqtt.FileError
		connect *mqtt.ConnectError
		lost    *mqtt.LostError
		fault   strict.Fault
	)
	switch {
	case errors.As(err, &file):
		e.Code, e.Exit, e.Hint = "E-302", cli.Usage, file.Hint()
	case errors.As(err, &connect):
		e.Code, e.Hint = connectCode(connect.Reason), connect.Hint()
	case errors.As(err, &lost):
		e.Code, e.Hint = "E-307", "nothing to do if it comes back by itself; readings are kept meanwhile. If it happens again and again: is another box using the same client id?"
	case errors.As(err, &fault):
		e.Code, e.Exit, e.Hint = fault.Code, cli.Usage, fault.Hint
		e.Text = strings.Replace(e.Text, fault.String(), fault.Pos().String()+": "+fault.Msg, 1)
	default:
		return nil
	}
	return e
}

// connectCode sorts what keeps a broker from being used by who has to act.
func connectCode(r mqtt.Reason) string {
	switch r {
	case mqtt.BadCredentials, mqtt.NotAuthorised:
		return "E-303"
	case mqtt.TLS:
		return "E-304"
	case mqtt.IDInUse:
		return "E-305"
	case mqtt.Unavailable, mqtt.Protocol, mqtt.BadAddress:
		return "E-306"
	}
	return "E-301" // no answer: name, network, nothing listens
}
