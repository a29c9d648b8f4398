package lender

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/verify"
)

// openLogs opens every archive kept of a box.
func (l *Lender) openLogs(box Box) error {
	dirs, err := filepath.Glob(filepath.Join(l.cfg.Dir, box.Name, "*", archiveFile))
	if err != nil {
		return err
	}
	for _, path := range dirs {
		id, err := evidence.ParseLogID(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue // somebody else's folder
		}
		err = l.openLog(box, id)
		if errors.Is(err, verify.ErrWrongKey) {
			// The box was given a new key: the old log stays as it is.
			l.event(Event{Kind: UnknownBox, Box: box.Name, Log: id, Err: err})
			continue
		}
		if err != nil {
			return fmt.Errorf("open %s: %w", path, err)
		}
	}
	return nil
}

// openLog brings back where a log stood: from the snapshot, and from what the
// archive holds behind it. An archive that ends in bytes that cannot be read
// is cut there; the bytes are kept beside it.
func (l *Lender) openLog(box Box, id evidence.LogID) error {
	b := l.newLog(box, id)
	a := b.archive
	file, err := os.OpenFile(a.path(archiveFile), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	a.file = file
	defer func() {
		if l.logs[id] != b {
			a.close()
		}
	}()
	header, err := bundle.NewReader(file)
	var format *canon.FormatError
	if errors.Is(err, bundle.ErrNotBundle) || errors.Is(err, io.ErrUnexpectedEOF) || errors.As(err, &format) {
		return l.restart(b, err)
	}
	if err != nil {
		return err
	}
	h := header.Header()
	if h.Log != id {
		return fmt.Errorf("the archive is of log %s", h.Log)
	}
	a.lo, b.meta = h.Lo, h.Meta.Encode()
	if err := a.openLeaves(0); err != nil {
		return err
	}
	first := header.Offset()
	v, size := a.restore(box, first)
	if v == nil {
		size = first
		if v, err = verify.New(box.Key, b.meta); err != nil {
			return err
		}
	}
	b.follow(v)
	a.size = size
	if err := b.replay(first); err != nil {
		return err
	}
	if w := a.waited(); w != nil && w.Hi >= b.v.N() {
		b.hole = hole{hi: w.Hi, since: w.Since, reported: true}
	} else if w != nil {
		a.filled()
	}
	l.logs[id] = b
	return nil
}

// restart sets aside an archive without a readable header, as a crash within
// the very first write leaves it. The box is asked for everything again.
func (l *Lender) restart(b *boxLog, cause error) error {
	a := b.archive
	b.event(Event{Kind: CutTail, Err: fmt.Errorf("%s: %w; set aside", a.path(archiveFile), cause)})
	if err := os.Rename(a.path(archiveFile), a.aside(0)); err != nil {
		return err
	}
	return vfs.OS().SyncDir(a.dir)
}

// aside is a free name for bytes cut off at an offset.
func (a *archive) aside(offset int64) string {
	name := a.path(fmt.Sprintf("cut-%d", offset))
	for free, n := name, 1; ; n++ {
		if _, err := os.Lstat(free); err != nil {
			return free
		}
		free = fmt.Sprintf("%s-%d", name, n)
	}
}

// restore reads the state file; nil when there is none that fits the archive
// and the leaves. Losing it costs time, nothing else.
func (a *archive) restore(box Box, first int64) (*verify.Verifier, int64) {
	raw, err := os.ReadFile(a.path(stateFile))
	if err != nil {
		return nil, 0
	}
	var s savedState
	if cbor.Unmarshal(raw, &s) != nil || s.Offset < first {
		return nil, 0
	}
	if info, err := a.file.Stat(); err != nil || info.Size() < s.Offset {
		return nil, 0
	}
	v, err := verify.Restore(box.Key, s.Verifier)
	if err != nil {
		return nil, 0
	}
	if info, err := a.leaves.Stat(); err != nil || v.N() < a.lo || uint64(info.Size()) < (v.N()-a.lo)*leafSize {
		return nil, 0
	}
	return v, s.Offset
}

// replay takes what the archive holds from a.size on through the verifier.
func (b *boxLog) replay(first int64) error {
	a := b.archive
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	// A reader starts with a header; the one of this archive is put before
	// the part that is to be read.
	start := a.size
	r, err := bundle.NewReader(io.MultiReader(
		io.NewSectionReader(a.file, 0, first), io.NewSectionReader(a.file, start, info.Size()-start)))
	if err != nil {
		return err
	}
	for {
		delivery, err := r.Next()
		if err == io.EOF {
			return a.writeLeaves()
		}
		var format *canon.FormatError
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !errors.As(err, &format) {
			return err // the disk's fault, not the archive's
		}
		if err == nil {
			res := b.v.Next(delivery, time.Time{})
			if !res.Verdict.Accepted() && a.admitted(delivery) {
				res = b.v.Admit(delivery, time.Time{})
			}
			if res.Verdict.Accepted() {
				a.size = start + r.Offset() - first
				a.hashes = append(a.hashes, entryOf(res, time.Time{}))
				b.unsaved++
				continue
			}
			err = fmt.Errorf("leaf %d: %s: %v", res.N, res.Verdict, res.Reasons)
		}
		if err := a.writeLeaves(); err != nil {
			return err
		}
		b.event(Event{Kind: CutTail, Lo: b.v.N(), Err: fmt.Errorf("%s at byte %d: %w", a.path(archiveFile), a.size, err)})
		return a.cut(info.Size())
	}
}

// cut moves what follows a.size out of the archive.
func (a *archive) cut(end int64) error {
	rest := new(bytes.Buffer)
	if _, err := io.Copy(rest, io.NewSectionReader(a.file, a.size, end-a.size)); err != nil {
		return err
	}
	if err := replaceFile(a.aside(a.size), rest.Bytes()); err != nil {
		return err
	}
	if err := a.file.Truncate(a.size); err != nil {
		return err
	}
	return a.file.Sync()
}
