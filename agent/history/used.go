package history

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// Gone says that a key has signed a history that is not here, or not as
// far as it went. To go on would sign another history under the same key.
type Gone struct {
	Dir    string
	Log    evidence.LogID
	Signed uint64 // leaves the key has signed, at least
	Have   uint64 // leaves of that history that are here
}

func (e *Gone) Error() string {
	if e.Have == 0 {
		return fmt.Sprintf("the key of this box has signed %d leaves of log %s, and %s does not hold that log", e.Signed, e.Log, e.Dir)
	}
	return fmt.Sprintf("the key of this box has signed %d leaves of log %s, and %s holds %d of them: an older copy was put back, or the disk lost the rest", e.Signed, e.Log, e.Dir, e.Have)
}

// used is the note beside a key of what it has signed: one line with log id,
// number of leaves and their root. It is at most an hour behind. Whoever puts
// back the whole disk puts it back too; then lenders and the counter of a chip
// are what tells.
type used struct {
	path string // empty: none is kept
	was  *evidence.Previous
}

func (u *used) load() error {
	if u.path == "" {
		return nil
	}
	b, err := os.ReadFile(u.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fields := strings.Fields(string(b))
	var p evidence.Previous
	if len(fields) != 3 {
		return fmt.Errorf("%s: expected a log id, a number of leaves and their root, found %d words", u.path, len(fields))
	}
	if p.Log, err = evidence.ParseLogID(fields[0]); err != nil {
		return fmt.Errorf("%s: %w", u.path, err)
	}
	if p.N, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return fmt.Errorf("%s: number of leaves: %w", u.path, err)
	}
	root, err := hex.DecodeString(fields[2])
	if err != nil || len(root) != len(p.Root) {
		return fmt.Errorf("%s: %q is no root", u.path, fields[2])
	}
	p.Root = evidence.Hash(root)
	u.was = &p
	return nil
}

// store replaces the note; after a power cut it may be the one before, which says
// less and nothing wrong.
func (u *used) store(p evidence.Previous) error {
	if u.path == "" {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(u.path), ".used-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) // does nothing once it is renamed
	_, err = fmt.Fprintf(tmp, "%s %d %s\n", p.Log, p.N, p.Root)
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(tmp.Name(), u.path)
	}
	if err == nil {
		u.was = &p
	}
	return err
}

// settle compares the note with what is stored before anything is opened for
// writing. Where the history is gone, and that is declared, what is left of it is
// moved aside, and the result is what the new history says of the old one.
func (u *used) settle(fsys vfs.FS, c *Config) (*evidence.Previous, error) {
	if u.was == nil {
		return nil, nil
	}
	gone := &Gone{Dir: c.Dir, Log: u.was.Log, Signed: u.was.N}
	log, _, err := buffer.Open(fsys, filepath.Join(c.Dir, sealedDir), buffer.Options{ReadOnly: true})
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, nil // for the opening to say
	default:
		next := log.Next()
		if next > 0 && next >= u.was.N {
			return nil, log.Close()
		}
		gone.Have = next
		if err := log.Close(); err != nil {
			return nil, err
		}
	}
	if !c.DeclareLoss {
		return nil, gone
	}
	aside := fmt.Sprintf(".lost-%d", time.Now().Unix())
	for _, dir := range append([]string{sealedDir}, c.Beside...) {
		path := filepath.Join(c.Dir, dir)
		if err := os.Rename(path, path+aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	prev := *u.was
	prev.Why = "loss"
	u.was = nil
	return &prev, nil
}

// agrees checks that the history opened is the one the key has signed.
func (u *used) agrees(w *seal.Writer) error {
	if u.was == nil || u.was.Log == w.LogID() {
		return nil
	}
	return fmt.Errorf("the key of this box has signed log %s, stored is log %s: two histories under one key are a fork", u.was.Log, w.LogID())
}
