package window

import (
	"fmt"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Journal keeps the polls of the open windows on disk. It belongs to one
// goroutine.
type Journal struct{ log *buffer.Log }

// OpenJournal opens the journal in dir, or begins it.
func OpenJournal(fsys vfs.FS, dir string) (*Journal, buffer.Recovery, error) {
	log, found, err := buffer.Open(fsys, dir, buffer.Options{SegmentBytes: 64 << 10})
	if err != nil {
		return nil, found, err
	}
	return &Journal{log}, found, nil
}

// Left returns the windows that an earlier run left open, oldest first, and in
// words what could not be read. dict is the dictionary in force, stated in leaf
// since. sealed says whether the window that begins at start, Unix ms, and was
// open when leaf was the next one, is in the history already.
func (j *Journal) Left(dict *evidence.Dictionary, since uint64, sealed func(leaf uint64, start int64) bool) (left []*Window, damaged []string) {
	type when struct {
		leaf  uint64
		start int64
	}
	known := map[when]bool{}
	var polls []journaled
	cols := columns(dict)
	var b []byte
	for n := j.log.First(); n < j.log.Next(); n++ {
		var err error
		if b, err = j.log.Read(n, b[:0]); err == nil && batchLeaf(b) > 0 && batchLeaf(b) <= since {
			continue // laid out by a dictionary before, and sealed before the one in force was stated
		}
		if err == nil {
			err = readBatch(b, cols, func(p journaled) {
				at := when{p.leaf, p.window}
				if _, asked := known[at]; !asked {
					known[at] = sealed(p.leaf, p.window)
				}
				if !known[at] {
					polls = append(polls, p)
				}
			})
		}
		if err != nil {
			damaged = append(damaged, fmt.Sprintf("journal: record %d: %v", n, err))
		}
	}
	return recovered(polls, len(dict.Meters)), damaged
}

// Next is the index that the next batch gets.
func (j *Journal) Next() uint64 { return j.log.Next() }

// Append makes a batch of polls durable. An empty batch is nothing to do.
func (j *Journal) Append(batch []byte) error {
	if len(batch) == 0 {
		return nil
	}
	if _, err := j.log.Append(batch); err != nil {
		return err
	}
	return j.log.Sync()
}

// Trim lets go of the batches below seq.
func (j *Journal) Trim(seq uint64) error {
	_, err := j.log.TrimTo(min(seq, j.log.Next()))
	return err
}

// Close lets go of the journal.
func (j *Journal) Close() error { return j.log.Close() }
