package witness

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// Kinds of what is kept about a log.
const (
	fork     = "fork"
	unproved = "unproved"
)

// keep stores the newest checkpoint and the request that does not fit it. The
// same two checkpoints are kept once, however signed or asked for; what comes
// first stays. s.mu is held.
func (w *Witness) keep(s *witnessed, kind string, c checkpoint.Checkpoint, req request) {
	id := sha256.Sum256([]byte(s.head.String() + "\n" + c.String()))
	name := kind + "-" + hex.EncodeToString(id[:8])
	if s.kept[name] {
		return
	}
	n := 0
	for have := range s.kept {
		if strings.HasPrefix(have, kind+"-") {
			n++
		}
	}
	path := filepath.Join(s.dir, name)
	log := w.logger.With("log", c.Origin, "known", s.head.Size, "size", c.Size, "file", path)
	if n >= maxKept {
		log.Error("a checkpoint does not fit and is not kept: too many are kept already", "kind", kind)
		return
	}
	if err := w.replace(path, slices.Concat(s.signed, []byte("\n"), req.encode())); err != nil {
		log.Error("a checkpoint does not fit and cannot be kept", "kind", kind, "err", err)
		return
	}
	s.kept[name] = true
	if kind == fork {
		log.Error("the log has signed two histories; both checkpoints are kept as proof")
	} else {
		log.Warn("a signed checkpoint came with a proof that fails; both are kept")
	}
}

// errFlush is an error after which nobody knows what the disk holds.
var errFlush = errors.New("flush")

// replace writes a file so that it is durable, and after a crash before that
// the old or the new one.
func (w *Witness) replace(path string, data []byte) error {
	f, err := w.fs.Create(path + ".new")
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("%w %s: %w", errFlush, path, err)
	}
	if err := w.fs.Rename(path+".new", path); err != nil {
		return err
	}
	if err := w.fs.SyncDir(filepath.Dir(path)); err != nil {
		return fmt.Errorf("%w %s: %w", errFlush, filepath.Dir(path), err)
	}
	return nil
}

// read returns what a file holds, at most checkpoint.MaxBytes.
func (w *Witness) read(path string) ([]byte, error) {
	size, err := w.fs.Size(path)
	if err != nil {
		return nil, err
	}
	if size > checkpoint.MaxBytes {
		return nil, fmt.Errorf("%d bytes, expected at most %d", size, checkpoint.MaxBytes)
	}
	f, err := w.fs.OpenRead(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data := make([]byte, size)
	if _, err := f.ReadAt(data, 0); err != nil {
		return nil, err
	}
	return data, nil
}
