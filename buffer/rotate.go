package buffer

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// newSegment makes the segment that begins with record first and seals the
// one before. All records before first are durable when it returns nil.
func (l *Log) newSegment(first uint64) error {
	l.fileMu.Lock()
	defer l.fileMu.Unlock()
	// With its records on the disk first, a seal never promises too much.
	if err := l.syncTail(); err != nil {
		return err
	}
	var preamble []byte
	if l.o.Preamble != nil {
		preamble = l.o.Preamble()
	}
	if len(preamble) > MaxPreamble {
		return fmt.Errorf("begin segment: preamble of %d bytes, the limit is %d", len(preamble), MaxPreamble)
	}
	h, content := newHeader(first, l.o.Now().UnixMilli(), preamble)
	seg := &segment{file: filepath.Join(l.dir, segmentName(first)), first: first, header: h, headerOK: true, size: h.size()}
	// A segment of the same name that holds no record is replaced.
	old := l.newest
	replace := old != nil && old.first == first
	if replace {
		l.dropTail()
	}
	if l.keep[seg.file] {
		if err := l.keepCopy(seg.file); err != nil {
			return err
		}
	}
	f, err := l.makeFile(temporarySegment, seg.file, func(f vfs.File) error {
		_, err := f.WriteAt(content, 0)
		return err
	})
	if err != nil {
		// The name may be there all the same: whatever comes next must make
		// this segment again, not add records before it.
		l.mu.Lock()
		l.rotate = true
		l.mu.Unlock()
		return err
	}
	if old != nil && !replace {
		// The seal is a help to recovery; the segment is complete without.
		if _, err := l.tail.WriteAt(appendSeal(nil, old.header.mark, first), old.size); err != nil {
			l.tail.Truncate(old.size)
		} else {
			l.mu.Lock()
			old.size += frameSize
			l.mu.Unlock()
		}
		if err := l.tail.Sync(); err != nil {
			f.Close()
			return l.poison("sync segment", err)
		}
	}

	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case replace:
		l.segs = l.segs[:len(l.segs)-1]
	case old != nil:
		l.keepView(&view{seg: old, file: l.tail, offsets: l.offsets})
	}
	l.segs = append(l.segs, seg)
	l.newest, l.tail, l.offsets = seg, f, nil
	l.rotate = false
	return nil
}

// dropTail closes the newest segment, which gets no more records.
func (l *Log) dropTail() {
	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.tail != nil {
		l.tail.Close()
	}
	l.tail, l.rotate = nil, true
}

// makeFile makes a file whole or not at all: written under a temporary name,
// fsynced, renamed over whatever has the name, and the name fsynced.
func (l *Log) makeFile(temporary, name string, write func(vfs.File) error) (vfs.File, error) {
	temporary = filepath.Join(l.dir, temporary)
	f, err := l.fs.Create(temporary)
	if err != nil {
		return nil, err
	}
	if err = write(f); err != nil {
		f.Close()
		l.fs.Remove(temporary) // gives its space back; Open removes what stays
		return nil, err
	}
	err = f.Sync()
	f.Close() // not every system renames an open file
	if err != nil {
		return nil, l.poison("sync "+temporary, err)
	}
	if err := l.fs.Rename(temporary, name); err != nil {
		return nil, err
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return nil, l.poison("sync directory", err)
	}
	return l.fs.Open(name)
}

// keepCopy copies a file the log has to replace to a name that is free.
// Renaming it would leave a moment without a segment of its name, and a crash
// in it would look like a loss.
func (l *Log) keepCopy(name string) error {
	stray := name + strayMark
	for {
		_, err := l.fs.Size(stray)
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		stray += strayMark
	}
	src, err := l.fs.OpenRead(name)
	if err != nil {
		return err
	}
	defer src.Close()
	size, err := src.Size()
	if err != nil {
		return err
	}
	f, err := l.makeFile(temporarySegment, stray, func(f vfs.File) error { return copyRange(f, src, 0, size) })
	if err != nil {
		return err
	}
	delete(l.keep, name)
	return f.Close()
}

// copyRange copies the bytes from off up to end to the same place.
func copyRange(dst io.WriterAt, src io.ReaderAt, off, end int64) error {
	buf := make([]byte, min(end-off, scanChunk))
	for off < end {
		b := buf[:min(int64(len(buf)), end-off)]
		if err := readFull(src, b, off); err != nil {
			return err
		}
		if _, err := dst.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}
