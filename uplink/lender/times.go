package lender

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence/bundle"
)

// IsArchive reports whether a file has the name of an archive: it is one only if
// a lender has put it there.
func IsArchive(path string) bool { return filepath.Base(path) == archiveFile }

// Times is what a lender noted of each leaf in an archive. It is the lender's
// own memory, not evidence for anybody else.
type Times struct {
	file *os.File
	lo   uint64
}

// OpenTimes opens the notes beside the archive in dir.
func OpenTimes(dir string) (*Times, error) {
	archive, err := os.Open(filepath.Join(dir, archiveFile))
	if err != nil {
		return nil, err
	}
	defer archive.Close()
	r, err := bundle.NewReader(archive)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(dir, timesFile))
	if err != nil {
		return nil, err
	}
	return &Times{file: f, lo: r.Header().Lo}, nil
}

// Of says when leaf n was received, and when it was made at the earliest; zero
// times where that was not noted.
func (t *Times) Of(n uint64) (received, notBefore time.Time) {
	var b [timeSize]byte
	if n < t.lo || n-t.lo > 1<<58 {
		return received, notBefore
	}
	if _, err := t.file.ReadAt(b[:], int64(n-t.lo)*timeSize); err != nil {
		return received, notBefore
	}
	at := func(b []byte) (t time.Time) {
		if ms := binary.BigEndian.Uint64(b); ms != 0 && ms < 1<<52 {
			t = time.UnixMilli(int64(ms)).UTC()
		}
		return t
	}
	return at(b[:8]), at(b[8:])
}

// Close lets go of the file.
func (t *Times) Close() error { return t.file.Close() }
