package vfs

import (
	"errors"
	"path/filepath"
)

// Replace gives the file of that name another content: after a crash it has the
// old one or the new.
func Replace(fsys FS, name string, content []byte) error {
	f, err := fsys.Create(name + ".new")
	if err != nil {
		return err
	}
	_, err = f.WriteAt(content, 0)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := fsys.Rename(name+".new", name); err != nil {
		return err
	}
	return fsys.SyncDir(filepath.Dir(name))
}
