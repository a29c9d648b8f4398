package buffer

import (
	"fmt"
	"path/filepath"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// scanNewest reads the newest segment and opens it as the tail. It returns
// the sequence after its last record, and where its records begin that are
// not known to have been durable, -1 if all are; floor is what the state knows
// to have been. README.md, "Opening after a crash", step 4, has the reasons.
func (l *Log) scanNewest(seg *segment, floor uint64, r *Recovery) (next uint64, unproven int64, err error) {
	f, err := l.openSegment(seg.file)
	if err != nil {
		return 0, -1, err
	}
	l.newest, l.tail = seg, f // from here on Close closes it

	s := seg.scanner(f, seg.size)
	var offsets []uint32
	sealed, sealedAt := false, uint64(0)
	floor = max(floor, seg.first)
	for {
		fr, ok := s.scan()
		if !ok {
			break
		}
		if fr.seal {
			sealed, sealedAt = true, fr.seq
			floor = max(floor, fr.seq)
			continue
		}
		if fr.lag != lagUnknown {
			floor = max(floor, fr.seq-uint64(fr.lag))
		}
		offsets = append(grow(offsets, fr.seq-seg.first), uint32(s.start))
	}
	if s.err != nil {
		return 0, -1, fmt.Errorf("read newest segment: %w", s.err)
	}

	contiguous := seg.first
	for offsetOf(offsets, contiguous-seg.first) != 0 {
		contiguous++
	}
	next = max(contiguous, floor)
	for offsetOf(offsets, next-seg.first) != 0 {
		next++
	}
	kept := offsets[:min(uint64(len(offsets)), next-seg.first)]
	for _, off := range offsets[len(kept):] {
		if off != 0 {
			r.TornRecords++
		}
	}
	end, err := endOfRecords(f, seg, kept)
	if err != nil {
		return 0, -1, err
	}
	whole := next == seg.first || offsetOf(kept, next-1-seg.first) != 0
	if whole && !sealed {
		r.TornBytes = seg.size - end
	}
	l.offsets = kept
	l.rotate = sealed || !seg.headerOK || !whole || seg.size != end
	if !seg.headerOK || r.TornRecords > 0 {
		l.keep[seg.file] = true
	}

	for _, span := range damagedIn(kept, seg.first, next) {
		if span.Hi == next {
			r.lost(filepath.Base(seg.file), span)
			continue
		}
		r.Damaged = append(r.Damaged, span)
		r.fault("%s: %s damaged", filepath.Base(seg.file), span)
	}
	switch {
	case sealed:
		r.TailLost = true
		r.fault("%s: missing, and what it held with it", segmentName(sealedAt))
	case !seg.headerOK && len(kept) == 0:
		r.TailLost = true
		r.fault("%s: holds no record any more", filepath.Base(seg.file))
	}
	if floor < next {
		return next, offsetOf(kept, floor-seg.first), nil
	}
	return next, -1, nil
}

// endOfRecords is where the last of the records ends.
func endOfRecords(f vfs.File, seg *segment, offsets []uint32) (int64, error) {
	for i := len(offsets) - 1; i >= 0; i-- {
		if offsets[i] == 0 {
			continue
		}
		var head [frameSize]byte
		if err := readFull(f, head[:], int64(offsets[i])); err != nil {
			return 0, err
		}
		fr, _ := parseFrame(head[:], seg.first)
		return int64(offsets[i]) + frameSize + int64(fr.length), nil
	}
	if seg.headerOK {
		return seg.header.size(), nil
	}
	return 0, nil
}
