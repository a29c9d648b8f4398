package buffer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// openViews is how many segments beside the newest are kept open and indexed.
const openViews = 4

// view is an open segment with the place of each of its records. Guarded by
// Log.readMu.
type view struct {
	seg     *segment
	file    vfs.File
	offsets []uint32 // by sequence from seg.first, 0 is a damaged record
	ioErr   error    // why some are not known; such a view is used once
}

// index reads a segment and returns where the records from first up to and
// not including end lie; 0 is one that was not found.
func index(s *scanner, first, end uint64) ([]uint32, error) {
	var offsets []uint32
	for {
		f, ok := s.scan()
		if !ok {
			break
		}
		if f.seal || f.seq < first || f.seq >= end {
			continue // past the end lies a torn tail
		}
		offsets = grow(offsets, f.seq-first)
		offsets = append(offsets, uint32(s.start))
	}
	return offsets, s.err
}

// grow fills offsets with damaged records up to n. A scan never goes over more
// numbers than records fit into the bytes it skipped, so n is bounded by the
// file.
func grow(offsets []uint32, n uint64) []uint32 {
	for uint64(len(offsets)) < n {
		offsets = append(offsets, 0)
	}
	return offsets
}

// offsetOf is the place of record i of a segment, 0 when it is damaged.
func offsetOf(offsets []uint32, i uint64) int64 {
	if i < uint64(len(offsets)) {
		return int64(offsets[i])
	}
	return 0
}

// openSegment opens a file that exists.
func (l *Log) openSegment(file string) (vfs.File, error) {
	if l.o.ReadOnly {
		return l.fs.OpenRead(file)
	}
	return l.fs.Open(file)
}

// viewOf returns the view of an older segment that ends before record end.
// Callers hold readMu.
func (l *Log) viewOf(seg *segment, end uint64) (*view, error) {
	for i, v := range l.views {
		if v.seg == seg && v.ioErr != nil {
			l.closeView(seg)
			break
		}
		if v.seg == seg {
			copy(l.views[1:], l.views[:i])
			l.views[0] = v
			return v, nil
		}
	}
	f, err := l.openSegment(seg.file)
	if err != nil {
		return nil, err
	}
	s := seg.scanner(f, seg.size)
	s.tolerant = true
	offsets, err := index(s, seg.first, end)
	if err != nil {
		f.Close()
		return nil, err
	}
	v := &view{seg: seg, file: f, offsets: offsets, ioErr: s.ioErr}
	l.keepView(v)
	return v, nil
}

// keepView puts v in front and closes what is used least. Callers hold readMu.
func (l *Log) keepView(v *view) {
	l.views = slices.Insert(l.views, 0, v)
	if len(l.views) > openViews {
		l.views[openViews].file.Close()
		l.views = l.views[:openViews]
	}
}

// closeView closes the view of seg, if any. Callers hold readMu.
func (l *Log) closeView(seg *segment) {
	l.views = slices.DeleteFunc(l.views, func(v *view) bool {
		if v.seg == seg {
			v.file.Close()
		}
		return v.seg == seg
	})
}

// Read returns record seq in dst's storage, or in new storage when dst is too
// small. Its error is ErrGone below First, ErrNotYet from Durable on, a
// *DamagedError (go on at its Span.Hi), or that of the disk. What Read
// returns was verified against its checksum by this very call.
func (l *Log) Read(seq uint64, dst []byte) ([]byte, error) {
	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.mu.RLock()
	first, durable, closed := l.first, l.durable, errors.Is(l.err, ErrClosed)
	i := l.holding(seq)
	var seg *segment
	end := l.next
	if i >= 0 {
		seg = l.segs[i]
	}
	if i+1 < len(l.segs) {
		end = l.segs[i+1].first
	}
	file, offsets := l.tail, l.offsets // the slice grows, what it holds stays
	var ioErr error
	newest := seg == l.newest
	l.mu.RUnlock()

	switch {
	case closed:
		return nil, ErrClosed
	case seq < first:
		return nil, fmt.Errorf("read record %d: %w", seq, ErrGone)
	case seq >= durable:
		return nil, fmt.Errorf("read record %d: %w", seq, ErrNotYet)
	case seg == nil: // the oldest segment is missing
		return nil, &DamagedError{Span: Span{first, end}, File: l.dir}
	}
	if !newest {
		v, err := l.viewOf(seg, end)
		if err != nil {
			return nil, fmt.Errorf("read record %d: %w", seq, err)
		}
		file, offsets, ioErr = v.file, v.offsets, v.ioErr
	}
	n := seq - seg.first
	off := offsetOf(offsets, n)
	if off == 0 {
		return nil, &DamagedError{Span: damagedAround(offsets, seg.first, end, seq), File: seg.file, Err: ioErr}
	}
	rec, err := readRecord(file, off, seg.first, seq, l.head[:], dst)
	if errors.Is(err, errDamaged) {
		return nil, &DamagedError{Span: Span{seq, seq + 1}, File: seg.file}
	}
	if err != nil {
		return nil, &DamagedError{Span: Span{seq, seq + 1}, File: seg.file, Err: err}
	}
	return rec, nil
}

// damagedAround is the stretch of damaged records around seq in a segment
// that covers first up to and not including end.
func damagedAround(offsets []uint32, first, end, seq uint64) Span {
	found := first + uint64(len(offsets)) // from here on there is nothing
	lo, hi := min(seq, found), seq+1
	for lo > first && offsets[lo-1-first] == 0 {
		lo--
	}
	for hi < found && offsets[hi-first] == 0 {
		hi++
	}
	if hi >= found {
		hi = end
	}
	return Span{lo, hi}
}

// damagedIn is all damaged stretches of a segment within that.
func damagedIn(offsets []uint32, first, end uint64) []Span {
	var spans []Span
	for at := first; at < end; {
		if offsetOf(offsets, at-first) != 0 {
			at++
			continue
		}
		s := damagedAround(offsets, first, end, at)
		spans = append(spans, s)
		at = s.Hi
	}
	return spans
}

// readRecord reads and checks the record at off. The frame comes first, into
// head, because only it knows the length.
func readRecord(f io.ReaderAt, off int64, first, seq uint64, head, dst []byte) ([]byte, error) {
	if err := readFull(f, head, off); err != nil {
		return nil, err
	}
	fr, ok := parseFrame(head, first)
	if !ok || fr.seal || fr.seq != seq {
		return nil, errDamaged
	}
	dst = slices.Grow(dst[:0], fr.length)[:fr.length]
	if err := readFull(f, dst, off+frameSize); err != nil {
		return nil, err
	}
	if !fr.intact(head, dst) {
		return nil, errDamaged
	}
	return dst, nil
}

// readFull reads all of b; a file too short for it is damaged.
func readFull(f io.ReaderAt, b []byte, off int64) error {
	n, err := f.ReadAt(b, off)
	switch {
	case n == len(b):
		return nil
	case errors.Is(err, io.EOF):
		return errDamaged
	}
	return err
}

// Preamble returns the preamble of the segment that holds record seq and that
// segment's first record; for seq = Next, of the newest segment. The error is
// a *DamagedError when the preamble cannot be read: an older segment's, at
// first-1, may serve with more records to go through.
func (l *Log) Preamble(seq uint64) (first uint64, preamble []byte, err error) {
	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.mu.RLock()
	low, next, closed, i := l.first, l.next, errors.Is(l.err, ErrClosed), l.holding(seq)
	var seg *segment
	if i >= 0 {
		seg = l.segs[i]
	}
	l.mu.RUnlock()
	switch {
	case closed:
		return 0, nil, ErrClosed
	case seq < low:
		return 0, nil, fmt.Errorf("read preamble at record %d: %w", seq, ErrGone)
	case seq > next || next == low && seg == nil:
		return 0, nil, fmt.Errorf("read preamble at record %d: %w", seq, ErrNotYet)
	case seg == nil:
		return low, nil, &DamagedError{Span: Span{seq, seq + 1}, File: l.dir}
	case !seg.headerOK:
		return seg.first, nil, &DamagedError{Span: Span{seg.first, seg.first}, File: seg.file}
	}
	f, err := l.openSegment(seg.file)
	if err != nil {
		return seg.first, nil, fmt.Errorf("read preamble at record %d: %w", seq, err)
	}
	defer f.Close()
	preamble, err = readPreamble(f, seg.header)
	if errors.Is(err, errDamaged) {
		return seg.first, nil, &DamagedError{Span: Span{seg.first, seg.first}, File: seg.file}
	}
	if err != nil {
		return seg.first, nil, fmt.Errorf("read preamble at record %d: %w", seq, err)
	}
	return seg.first, preamble, nil
}

// Scrub reads every record that is durable and returns those it cannot read,
// with a line for each preamble that cannot be. It stops with ctx's error
// between segments; other calls wait for at most one segment.
func (l *Log) Scrub(ctx context.Context) (damaged []Span, faults []string, err error) {
	for next := l.First(); ; {
		if err := ctx.Err(); err != nil {
			return damaged, faults, err
		}
		spans, end, err := l.scrubSegment(next)
		damaged = append(damaged, spans...)
		if err != nil {
			return damaged, faults, fmt.Errorf("scrub from record %d: %w", next, err)
		}
		if _, _, err := l.Preamble(next); errors.As(err, new(*DamagedError)) && len(spans) == 0 {
			faults = append(faults, fmt.Sprintf("%s: preamble damaged", segmentName(next)))
		}
		if next = end; next >= l.Durable() {
			return damaged, faults, nil
		}
	}
}

// scrubSegment reads what is durable of the segment that holds record seq
// and returns where it ends.
func (l *Log) scrubSegment(seq uint64) (damaged []Span, end uint64, err error) {
	l.readMu.Lock()
	defer l.readMu.Unlock()
	l.mu.RLock()
	seq = max(seq, l.first) // a Trim may have come between
	i := l.holding(seq)
	end = l.durable
	var seg segment
	if i >= 0 {
		seg = *l.segs[i]
	}
	if i+1 < len(l.segs) {
		end = l.segs[i+1].first
	}
	closed := errors.Is(l.err, ErrClosed)
	l.mu.RUnlock()
	switch {
	case closed:
		return nil, end, ErrClosed
	case seq >= end:
		return nil, end, nil
	case i < 0:
		return []Span{{seq, end}}, end, nil
	}
	damaged, _, err = l.damagedInFile(&seg, end)
	return damaged, end, err
}
