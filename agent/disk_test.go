package agent

import (
	"os"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// hasty is the machine's disk without the wait until it has what was written: the
// tests on it end runs in every way but a power cut, and those have a disk that can
// (box).
type hasty struct{ vfs.FS }

func (d hasty) Create(name string) (vfs.File, error) {
	f, err := d.FS.Create(name)
	return hastyFile{f}, err
}

func (d hasty) Open(name string) (vfs.File, error) {
	f, err := d.FS.Open(name)
	return hastyFile{f}, err
}

func (hasty) MkdirAll(dir string) error { return os.MkdirAll(dir, 0o700) }
func (hasty) SyncDir(string) error      { return nil }

type hastyFile struct{ vfs.File }

func (hastyFile) Sync() error { return nil }

// since is how long a machine runs whose clock was never set.
func since() time.Duration { return time.Since(time.Unix(0, 0)) }

// openHastily is Open on such a disk.
func openHastily(s Site) (*Agent, error) { return open(&machine{hasty{vfs.OS()}, since}, s) }
