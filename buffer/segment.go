package buffer

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// The format of a segment is drawn in README.md.
const (
	segmentMagic = "TALLYSEG"
	version      = 1

	prologueSize = 16 // magic, version and their checksum: the same in every version
	headerSize   = 44 // without the preamble
	frameSize    = 16 // what a record costs beside its payload, and the size of a seal
	sealLength   = 1<<24 - 1
	lagUnknown   = 255

	// MaxRecord and MaxPreamble are the largest record and preamble in bytes.
	MaxRecord   = 8 << 20
	MaxPreamble = 1 << 20

	segmentSuffix    = ".log"
	temporarySegment = "segment.new"
	strayMark        = ".stray"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(parts ...[]byte) uint32 {
	var c uint32
	for _, p := range parts {
		c = crc32.Update(c, castagnoli, p)
	}
	return c
}

// segmentName is the file of the segment that begins with record first: 20
// digits, so that names sort as numbers do.
func segmentName(first uint64) string {
	digits := strconv.FormatUint(first, 10)
	return strings.Repeat("0", 20-len(digits)) + digits + segmentSuffix
}

func parseSegmentName(name string) (first uint64, ok bool) {
	first, err := strconv.ParseUint(strings.TrimSuffix(name, segmentSuffix), 10, 64)
	return first, err == nil && segmentName(first) == name
}

func putPrologue(b []byte, magic string) {
	copy(b, magic)
	binary.LittleEndian.PutUint32(b[8:], version)
	binary.LittleEndian.PutUint32(b[12:], checksum(b[:12]))
}

// errDamaged says that bytes are not what was written. It stays inside the
// package: callers get a *DamagedError or a line in Recovery.Faults.
var errDamaged = errors.New("checksum does not match")

// checkPrologue returns errDamaged, or a *VersionError when the prologue is
// whole and of a version this program does not know.
func checkPrologue(b []byte, magic, name string) error {
	if len(b) < prologueSize || string(b[:8]) != magic ||
		binary.LittleEndian.Uint32(b[12:]) != checksum(b[:12]) {
		return errDamaged
	}
	if v := binary.LittleEndian.Uint32(b[8:]); v != version {
		return &VersionError{File: name, Version: v}
	}
	return nil
}

type header struct {
	first      uint64
	created    int64 // Unix ms
	preamble   int   // bytes
	preambleCk uint32
	// mark is the header's checksum. Each record of the segment repeats it, so
	// that no other bytes pass for one: neither those of another segment nor
	// a payload that looks like records.
	mark uint32
}

// size is where the records begin.
func (h header) size() int64 { return headerSize + int64(h.preamble) }

// newHeader returns a header and its bytes, preamble included.
func newHeader(first uint64, created int64, preamble []byte) (header, []byte) {
	h := header{first: first, created: created, preamble: len(preamble), preambleCk: checksum(preamble)}
	b := make([]byte, headerSize, headerSize+len(preamble))
	putPrologue(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[16:], h.first)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.created))
	binary.LittleEndian.PutUint32(b[32:], uint32(h.preamble))
	binary.LittleEndian.PutUint32(b[36:], h.preambleCk)
	h.mark = checksum(b[16:40])
	binary.LittleEndian.PutUint32(b[40:], h.mark)
	return h, append(b, preamble...)
}

// readHeader reads all of a header but the preamble. Its error is errDamaged,
// a *VersionError or that of the file.
func readHeader(f io.ReaderAt, name string) (header, error) {
	var b [headerSize]byte
	n, err := f.ReadAt(b[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return header{}, err
	}
	if err := checkPrologue(b[:n], segmentMagic, name); err != nil {
		return header{}, err
	}
	preamble, mark := binary.LittleEndian.Uint32(b[32:]), binary.LittleEndian.Uint32(b[40:])
	if n < headerSize || mark != checksum(b[16:40]) || preamble > MaxPreamble {
		return header{}, errDamaged
	}
	return header{
		first:      binary.LittleEndian.Uint64(b[16:]),
		created:    int64(binary.LittleEndian.Uint64(b[24:])),
		preamble:   int(preamble),
		preambleCk: binary.LittleEndian.Uint32(b[36:]),
		mark:       mark,
	}, nil
}

func readPreamble(f io.ReaderAt, h header) ([]byte, error) {
	b := make([]byte, h.preamble)
	if n, err := f.ReadAt(b, headerSize); n < len(b) && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if checksum(b) != h.preambleCk {
		return nil, errDamaged
	}
	return b, nil
}

// appendFrame appends one record as it lies in the file.
func appendFrame(b []byte, mark uint32, seq, durable uint64, payload []byte) []byte {
	lag := min(seq-durable, lagUnknown)
	return appendFrameRaw(b, uint32(len(payload))|uint32(lag)<<24, mark, seq, payload)
}

func appendSeal(b []byte, mark uint32, next uint64) []byte {
	return appendFrameRaw(b, sealLength, mark, next, nil)
}

func appendFrameRaw(b []byte, word, mark uint32, seq uint64, payload []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, word)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint32(b, uint32(seq))
	b = binary.LittleEndian.AppendUint32(b, mark)
	binary.LittleEndian.PutUint32(b[at+4:], frameChecksum(b[at:], seq, payload))
	return append(b, payload...)
}

// frameChecksum covers all 64 bits of the sequence, of which the frame holds
// the lower half.
func frameChecksum(head []byte, seq uint64, payload []byte) uint32 {
	c := checksum(head[:4], head[8:frameSize])
	c ^= uint32(seq >> 32)
	return crc32.Update(c, castagnoli, payload)
}

// frame is the fixed part of a record or a seal.
type frame struct {
	length   int // of the payload, 0 for a seal
	seal     bool
	lag      uint8
	seq      uint64
	mark     uint32
	checksum uint32
}

// parseFrame reads the frame at the start of b, of a segment that begins with
// record first. It is total: ok is false when b cannot begin a record.
func parseFrame(b []byte, first uint64) (f frame, ok bool) {
	if len(b) < frameSize {
		return frame{}, false
	}
	word := binary.LittleEndian.Uint32(b)
	f = frame{
		length:   int(word & sealLength),
		lag:      uint8(word >> 24),
		seq:      first + uint64(binary.LittleEndian.Uint32(b[8:])-uint32(first)),
		mark:     binary.LittleEndian.Uint32(b[12:]),
		checksum: binary.LittleEndian.Uint32(b[4:]),
	}
	if f.length == sealLength {
		f.seal, f.length = true, 0
		return f, f.lag == 0
	}
	return f, f.length <= MaxRecord && (f.lag == lagUnknown || uint64(f.lag) <= f.seq)
}

// intact checks a frame against the bytes it came from.
func (f frame) intact(head, payload []byte) bool {
	return f.checksum == frameChecksum(head, f.seq, payload)
}

// readSeal returns the sequence after a complete segment.
func (s *segment) readSeal(f io.ReaderAt) (next uint64, ok bool, err error) {
	var b [frameSize]byte
	if s.size < frameSize {
		return 0, false, nil
	}
	if _, err := f.ReadAt(b[:], s.size-frameSize); err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	fr, ok := parseFrame(b[:], s.first)
	ok = ok && fr.seal && fr.intact(b[:], nil) && (!s.headerOK || fr.mark == s.header.mark)
	return fr.seq, ok, nil
}

// scanner walks through the records of a segment, over damage if need be.
type scanner struct {
	file vfs.File
	size int64
	// tolerant reads a block the disk does not deliver as NULs, so that what
	// surrounds it is found, and leaves the error in ioErr; otherwise the
	// error ends the scan and is err.
	tolerant bool
	ioErr    error

	first uint64 // of the segment
	mark  uint32 // of its records, if marked
	// marked is false while a damaged header has not told mark; then the
	// first record found does.
	marked bool

	off  int64  // of the next frame
	next uint64 // sequence it must have, or may have at least while lost
	lost bool   // looking for the next whole record
	gap  int64  // where the damage began, while lost
	work int64  // bytes still allowed to be checked in vain

	buf   []byte // file content from base on
	base  int64
	start int64 // offset of the frame last returned
	err   error
}

const (
	scanChunk = 64 << 10
	ioBlock   = 4096
)

// scanner returns a scanner over the records of a segment of that size.
func (s *segment) scanner(f vfs.File, size int64) *scanner {
	// Behind a damaged header the place of the first record is not known.
	sc := &scanner{file: f, size: size, first: s.first, next: s.first, lost: true, work: 16*size + 1<<20}
	if s.headerOK {
		sc.mark, sc.marked, sc.off, sc.lost = s.header.mark, true, s.header.size(), false
	}
	return sc
}

// window returns the n bytes at off, or what the file has of them.
func (s *scanner) window(off int64, n int) []byte {
	if rest := s.size - off; int64(n) > rest {
		n = int(max(rest, 0))
	}
	if off >= s.base && off+int64(n) <= s.base+int64(len(s.buf)) {
		return s.buf[off-s.base:][:n]
	}
	want := int(min(int64(max(n, scanChunk)), s.size-off))
	if cap(s.buf) < want {
		s.buf = make([]byte, want)
	}
	s.buf, s.base = s.buf[:want], off
	got, err := s.file.ReadAt(s.buf, off)
	if err == nil || errors.Is(err, io.EOF) {
		clear(s.buf[got:]) // cut short while we read: NULs are no record
		return s.buf[:n]
	}
	if !s.tolerant {
		s.err = err
		s.buf = s.buf[:0]
		return nil
	}
	for at := int64(0); at < int64(want); {
		end := min((off+at)/ioBlock*ioBlock+ioBlock-off, int64(want))
		block := s.buf[at:end]
		if got, err := s.file.ReadAt(block, off+at); err != nil {
			clear(block[got:])
			s.ioErr = err
		}
		at = end
	}
	return s.buf[:n]
}

// scan returns the next whole record or seal; its bytes lie at s.start. It
// returns false at the end of the file or when s.err is set.
func (s *scanner) scan() (frame, bool) {
	for s.err == nil && s.off+frameSize <= s.size {
		b := s.window(s.off, frameSize)
		f, ok := parseFrame(b, s.first)
		if ok && s.plausible(f) && s.off+frameSize+int64(f.length) <= s.size {
			whole := s.window(s.off, frameSize+f.length)
			if s.err == nil && f.intact(whole, whole[frameSize:]) {
				s.mark, s.marked = f.mark, true
				s.start = s.off
				s.off += int64(len(whole))
				s.next, s.lost = f.seq, false
				if !f.seal {
					s.next++
				}
				return f, true
			}
			if s.work -= int64(len(whole)); s.work < 0 {
				break
			}
		}
		if !s.lost {
			s.lost, s.gap = true, s.off
		}
		s.off++
	}
	return frame{}, false
}

// plausible reports whether a frame at s.off can be the next: it is of this
// segment, and no more records are missing than fit into what was skipped.
func (s *scanner) plausible(f frame) bool {
	skipped := uint64(0)
	if s.lost {
		skipped = uint64(s.off-s.gap) / frameSize
	}
	return f.seq >= s.next && f.seq-s.next <= skipped && (!s.marked || f.mark == s.mark)
}
