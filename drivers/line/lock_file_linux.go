package line

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// lockFolder is where programs that know no flock leave their lock files
// (Filesystem Hierarchy Standard 3.0, sections 3.15 and 5.9).
const lockFolder = "/run/lock"

// lockFile takes the UUCP lock file of the port at path: LCK..ttyUSB0 holds the
// process id of whoever uses the port, ten digits wide and a line feed. One left
// by a process that is no more counts for nothing. Where the folder may not be
// written, the lock is only looked at.
func lockFile(folder, path string) (unlock func(), _ error) {
	device, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	device = strings.ReplaceAll(strings.TrimPrefix(device, "/dev/"), "/", "_")
	name := filepath.Join(folder, "LCK.."+device)
	mine := fmt.Appendf(nil, "%10d\n", os.Getpid())
	// Written aside and linked, the file is there with its content or not at all.
	draft := filepath.Join(folder, fmt.Sprintf("LTMP.%d.%s", os.Getpid(), device))
	drafted := os.WriteFile(draft, mine, 0o644)
	defer os.Remove(draft)
	for range 2 {
		if holder := lockHolder(name); holder != "" {
			return nil, heldError(holder)
		}
		if drafted != nil {
			break
		}
		_ = os.Remove(name) // stale, or not there
		err := os.Link(draft, name)
		if err == nil {
			return func() {
				if now, err := os.ReadFile(name); err == nil && bytes.Equal(now, mine) {
					_ = os.Remove(name) // where it stays, it is stale
				}
			}, nil
		}
		if !errors.Is(err, fs.ErrExist) {
			break
		}
		// Another program was quicker.
	}
	return func() {}, nil
}

// lockHolder names the other process that a lock file says uses the port, ""
// when there is none.
func lockHolder(name string) string {
	b, err := os.ReadFile(name)
	fields := bytes.Fields(b)
	if err != nil || len(fields) == 0 {
		return ""
	}
	pid, err := strconv.Atoi(string(fields[0]))
	if err != nil || pid <= 0 || pid == os.Getpid() {
		return ""
	}
	if err := unix.Kill(pid, 0); errors.Is(err, unix.ESRCH) {
		return ""
	}
	if p := program(strconv.Itoa(pid)); p != "" {
		return p
	}
	return fmt.Sprintf("pid %d", pid)
}
