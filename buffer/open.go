package buffer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// Recovery is what Open found.
type Recovery struct {
	First, Next uint64
	// TornBytes is what an interrupted write left behind the last record. None
	// of it was ever durable; it is ignored from now on. TornRecords counts
	// the whole records in it, cut off by one that is not.
	TornBytes   int64
	TornRecords int
	// Damaged is the records Open knows to be unreadable. It reads the newest
	// segment and the ends of the others; Read and Scrub find what is damaged
	// inside those.
	Damaged []Span
	// TailLost says that the log once went further than it does now, how far
	// is not known: storage or somebody lost what was recorded. No number
	// known to have been used is given out again, but one that is not known
	// may be.
	TailLost bool
	// StateLost says that the cursors and the trimmed end are not known any more.
	StateLost bool
	// Behind is the records below First a cursor has not passed: dropped by
	// quota before they were delivered, whether or not the owner has put that
	// on record.
	Behind []UndeliveredRange
	// Faults names every file that is not what it should be, for people.
	Faults []string
}

func (r *Recovery) fault(format string, args ...any) {
	r.Faults = append(r.Faults, fmt.Sprintf(format, args...))
}

// Open opens the log in dir, making it if there is none, and recovers what a
// crash left. What can be told from files is told in Recovery and is no
// error. Errors are a *vfs.LockedError, a *VersionError, and those of the disk;
// after one of them nothing has been changed that the next Open cannot take up.
func Open(fsys vfs.FS, dir string, o Options) (*Log, Recovery, error) {
	if o.SegmentBytes == 0 {
		o.SegmentBytes = 1 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.SegmentBytes < 0 || o.SegmentBytes > 1<<30 || o.QuotaBytes < 0 || o.SyncEvery < 0 || o.Retention < 0 {
		return nil, Recovery{}, fmt.Errorf("open %s: segment size is at most 1 GiB and no option is negative", dir)
	}
	l := &Log{fs: fsys, dir: dir, o: o, advanced: make(chan struct{}), cursors: map[string]uint64{}, keep: map[string]bool{}}
	r, err := l.open()
	if err != nil {
		l.mu.Lock()
		l.err = cmp.Or(l.err, err) // nothing is to be saved on the way out
		l.mu.Unlock()
		l.Close()
		return nil, r, fmt.Errorf("open %s: %w", dir, err)
	}
	return l, r, nil
}

func (l *Log) open() (Recovery, error) {
	var r Recovery
	if !l.o.ReadOnly {
		if err := l.fs.MkdirAll(l.dir); err != nil {
			return r, err
		}
		lock, err := l.fs.Lock(l.dir)
		if err != nil {
			return r, err
		}
		l.lock = lock
	}
	names, err := l.fs.ReadDir(l.dir)
	if err != nil {
		return r, err
	}
	segs, err := l.findSegments(names, &r)
	if err != nil {
		return r, err
	}
	st, present, err := l.openState()
	switch {
	case err == nil && present:
		l.cursors = st.cursors
	case err == nil && len(segs) == 0:
		st.first = l.o.Start
	case err == nil:
		r.StateLost = true
		r.fault("%s: missing: cursors are lost", stateName)
	case errors.Is(err, errDamaged):
		r.StateLost = true
		r.fault("%s: damaged: cursors are lost", stateName)
	default:
		return r, err
	}
	if r.StateLost {
		st.first = l.o.Start
		if len(segs) > 0 {
			st.first = segs[0].first
		}
	}
	l.first = st.first

	if segs, err = l.dropUnfinished(segs); err != nil {
		return r, err
	}
	if err := l.checkOlder(segs, &r); err != nil {
		return r, err
	}
	floor := max(st.first, st.durable)
	for _, at := range l.cursors {
		floor = max(floor, at)
	}
	l.next = floor
	unproven := int64(-1)
	if len(segs) > 0 {
		l.next, unproven, err = l.scanNewest(segs[len(segs)-1].segment, floor, &r)
		if err != nil {
			return r, err
		}
	} else if floor > st.first {
		r.lost(segmentName(st.first), Span{st.first, floor})
	}
	l.durable = l.next
	for _, s := range segs {
		l.segs = append(l.segs, s.segment)
	}
	for _, name := range slices.Sorted(maps.Keys(l.cursors)) {
		if at := l.cursors[name]; at < l.first {
			r.Behind = append(r.Behind, UndeliveredRange{name, at, l.first})
		}
	}
	r.First, r.Next = l.first, l.next
	if l.o.ReadOnly {
		return r, nil
	}
	if err := l.settleSeal(); err != nil {
		return r, err
	}
	return r, l.settle(unproven)
}

// settleSeal makes the newest seal durable, unless a record behind it shows
// that it is.
func (l *Log) settleSeal() error {
	n := len(l.segs)
	if n < 2 || l.newest.size != l.newest.header.size() {
		return nil
	}
	before := l.segs[n-2]
	f, err := l.fs.Open(before.file)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := copyRange(f, f, max(before.size-frameSize, 0), before.size); err != nil && !vfs.NoSpace(err) {
		return err
	}
	if err := f.Sync(); err != nil {
		return l.poison("sync segment", err)
	}
	return nil
}

// settle makes what was found durable. From offset unproven on, if it is not
// negative, the newest segment holds records nobody knows to be on the disk:
// they may be in memory only, because a process was killed before its fsync,
// or because an fsync failed, after which a second one would succeed and prove
// nothing. So they are written again, as they are and where they are.
func (l *Log) settle(unproven int64) error {
	if l.tail != nil {
		if unproven >= 0 {
			if err := copyRange(l.tail, l.tail, unproven, l.newest.size); err != nil && !vfs.NoSpace(err) {
				return err
			}
		}
		if err := l.tail.Sync(); err != nil {
			return l.poison("sync segment", err)
		}
	}
	if err := l.fs.SyncDir(l.dir); err != nil {
		return l.poison("sync directory", err)
	}
	l.dirty = true // what the state says is not known to be on the disk either
	if l.state.file == nil {
		if err := l.saveState(); err != nil && !vfs.NoSpace(err) {
			return err
		}
	}
	return nil
}

func (r *Recovery) lost(file string, s Span) {
	r.TailLost = true
	r.Damaged = append(r.Damaged, s)
	r.fault("%s: the log ended beyond %s: recorded data is missing", file, s)
}

// candidate is a file that may be a segment.
type candidate struct {
	*segment
	name   string // without directory
	named  bool   // its name says what its header says
	sealed bool
	next   uint64 // what the seal says comes after it
	hidden bool   // the disk does not deliver the place where a seal would be
}

// findSegments returns the segments in order, one for each first sequence.
func (l *Log) findSegments(names []string, r *Recovery) ([]candidate, error) {
	var all []candidate
	for _, name := range names {
		path := filepath.Join(l.dir, name)
		switch {
		case name == stateName || name == "lock":
			continue
		case name == temporarySegment || name == temporaryState:
			if !l.o.ReadOnly {
				if err := l.fs.Remove(path); err != nil {
					return nil, err
				}
			}
			continue
		case strings.HasSuffix(name, strayMark):
			if err := l.foreign(path, "set aside by an earlier recovery", r); err != nil {
				return nil, err
			}
			continue
		case !strings.HasSuffix(name, segmentSuffix):
			if err := l.foreign(path, "not a file of this log, left alone", r); err != nil {
				return nil, err
			}
			continue
		}
		c, err := l.inspect(path, r)
		if err != nil {
			return nil, err
		}
		if c.segment == nil {
			if err := l.foreign(path, "not a segment, left alone", r); err != nil {
				return nil, err
			}
			continue
		}
		all = append(all, c)
	}
	// Among files that claim the same records the one that is right in name
	// and header counts, then the one with a whole header.
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.first, b.first), cmp.Compare(b.rank(), a.rank()))
	})
	var segs []candidate
	for _, c := range all {
		if n := len(segs); n > 0 && segs[n-1].first == c.first {
			what := fmt.Sprintf("copy of %s, left alone", segs[n-1].name)
			if err := l.foreign(c.file, what, r); err != nil {
				return nil, err
			}
			continue
		}
		if !c.named {
			r.fault("%s: begins with record %d, which is not its name: renamed or swapped", c.name, c.first)
		}
		if !c.headerOK {
			r.fault("%s: header damaged", c.name)
		}
		segs = append(segs, c)
	}
	return segs, nil
}

func (c candidate) rank() int {
	switch {
	case c.headerOK && c.named:
		return 2
	case c.headerOK:
		return 1
	}
	return 0
}

// foreign takes note of a file that is not part of the log.
func (l *Log) foreign(path, what string, r *Recovery) error {
	size, err := l.fs.Size(path)
	l.other += size
	l.keep[path] = true
	r.fault("%s: %s", filepath.Base(path), what)
	return err
}

// inspect reads the header and the seal of one file. Without a header the name
// must do; with neither, the segment is nil.
func (l *Log) inspect(path string, r *Recovery) (candidate, error) {
	f, err := l.fs.OpenRead(path)
	if err != nil {
		return candidate{}, err
	}
	defer f.Close()
	size, err := f.Size()
	if err != nil {
		return candidate{}, err
	}
	c := candidate{name: filepath.Base(path)}
	first, named := parseSegmentName(c.name)
	h, err := readHeader(f, path)
	switch {
	case errors.As(err, new(*VersionError)):
		return candidate{}, err
	case err == nil:
		c.named = named && first == h.first
		c.segment = &segment{file: path, first: h.first, header: h, headerOK: true, size: size}
	case !named:
		return c, nil
	default:
		c.named = true
		c.segment = &segment{file: path, first: first, size: size}
		if !errors.Is(err, errDamaged) {
			r.fault("%s: %v", c.name, err)
		}
	}
	c.next, c.sealed, err = c.segment.readSeal(f)
	c.hidden = err != nil
	return c, nil
}

// dropUnfinished removes the newest segment if making it was interrupted: it
// holds no record, and the one before was not sealed yet.
func (l *Log) dropUnfinished(segs []candidate) ([]candidate, error) {
	n := len(segs)
	if n < 2 {
		return segs, nil
	}
	last, before := segs[n-1], segs[n-2]
	if before.sealed || before.hidden || !last.headerOK || last.size != last.header.size() {
		return segs, nil
	}
	if !l.o.ReadOnly {
		if err := l.fs.Remove(last.file); err != nil {
			return nil, err
		}
	}
	return segs[:n-1], nil
}

// checkOlder looks for records missing between and at the ends of segments.
func (l *Log) checkOlder(segs []candidate, r *Recovery) error {
	if len(segs) > 0 && segs[0].first > l.first {
		gap := Span{l.first, segs[0].first}
		r.Damaged = append(r.Damaged, gap)
		r.fault("%s: missing, %s with it", segmentName(l.first), gap)
	}
	for i, s := range segs[:max(len(segs)-1, 0)] {
		end := segs[i+1].first
		switch {
		case end <= l.first: // a Trim was interrupted; the next one removes it
		case s.sealed && s.next == end:
		case s.sealed && s.next < end:
			gap := Span{s.next, end}
			r.Damaged = append(r.Damaged, gap)
			r.fault("%s: missing, %s with it", segmentName(s.next), gap)
		default:
			if s.sealed {
				r.fault("%s: sealed before record %d, but %s begins earlier", s.name, s.next, segs[i+1].name)
			}
			spans, whole, err := l.damagedInFile(s.segment, end)
			if err != nil {
				return err
			}
			if !s.sealed && !whole {
				r.fault("%s: seal damaged or missing", s.name)
			}
			for _, span := range spans {
				r.fault("%s: %s damaged", s.name, span)
			}
			r.Damaged = append(r.Damaged, spans...)
		}
	}
	return nil
}

// damagedInFile reads an older segment whole. It also reports whether the
// file ends with its last record.
func (l *Log) damagedInFile(seg *segment, end uint64) (damaged []Span, whole bool, err error) {
	f, err := l.openSegment(seg.file)
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	s := seg.scanner(f, seg.size)
	s.tolerant = true
	offsets, err := index(s, seg.first, end)
	return damagedIn(offsets, seg.first, end), s.off == seg.size && !s.lost, err
}
