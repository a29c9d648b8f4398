package configs

import (
	"bytes"
	"os"
	"path/filepath"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// lastGood is the file name of the copy kept by SaveLastGood.
const lastGood = "last-good.yaml"

// SaveLastGood keeps a copy of the file as it was read in dir, for the day the
// file itself is found half-written. The copy is replaced in one step and is
// durable on return; nothing is written when it is the same already. It holds
// no secret, as the file holds none.
func (f File) SaveLastGood(dir string) error {
	path := filepath.Join(dir, lastGood)
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, f.data) {
		return nil
	}
	tmp, err := os.CreateTemp(dir, lastGood+".*.tmp") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // gone already after the rename
	defer tmp.Close()
	if _, err := tmp.Write(f.data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	return vfs.OS().SyncDir(dir)
}

// LoadLastGood reads the copy SaveLastGood kept in dir of the site file at
// path. The Site's Path is that of the copy, so that whoever reports what is
// in use names it; relative paths start where the original stands. Its errors
// are those of LoadSite.
func LoadLastGood(dir, path string, known func(dir string) (Profiles, error)) (*Site, error) {
	saved := filepath.Join(dir, lastGood)
	data, err := readFile(saved)
	if err != nil {
		return nil, err
	}
	return parseSite(saved, path, data, known)
}
