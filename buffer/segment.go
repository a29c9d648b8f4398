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
}

// size is where the records begin.
func (h header) size() int64 { return headerSize + int64(h.preamble) }

func newHeader(first uint64, created int64, preamble []byte) header {
	return header{first: first, created: created, preamble: len(preamble), preambleCk: checksum(preamble)}
}

// encode returns the header followed by the preamble it was made for.
func (h header) encode(preamble []byte) []byte {
	b := make([]byte, headerSize, headerSize+len(preamble))
	putPrologue(b, segmentMagic)
	binary.LittleEndian.PutUint64(b[16:], h.first)
	binary.LittleEndian.PutUint64(b[24:], uint64(h.created))
	binary.LittleEndian.PutUint32(b[32:], uint32(h.preamble))
	binary.LittleEndian.PutUint32(b[36:], h.preambleCk)
	binary.LittleEndian.PutUint32(b[40:], checksum(b[16:40]))
	return append(b, preamble...)
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
	h := header{
		first:      binary.LittleEndian.Uint64(b[16:]),
		created:    int64(binary.LittleEndian.Uint64(b[24:])),
		preamble:   int(binary.LittleEndian.Uint32(b[32:])),
		preambleCk: binary.LittleEndian.Uint32(b[36:]),
	}
	if n < headerSize || binary.LittleEndian.Uint32(b[40:]) != checksum(b[16:40]) || h.preamble > MaxPreamble {
		return header{}, errDamaged
	}
	return h, nil
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
func appendFrame(b []byte, seq, durable uint64, payload []byte) []byte {
	lag := min(seq-durable, lagUnknown)
	return appendFrameRaw(b, uint32(len(payload))|uint32(lag)<<24, seq, payload)
}

func appendSeal(b []byte, next uint64) []byte {
	return appendFrameRaw(b, sealLength, next, nil)
}

func appendFrameRaw(b []byte, word uint32, seq uint64, payload []byte) []byte {
	at := len(b)
	b = binary.LittleEndian.AppendUint32(b, word)
	b = binary.LittleEndian.AppendUint32(b, 0)
	b = binary.LittleEndian.AppendUint64(b, seq)
	binary.LittleEndian.PutUint32(b[at+4:], checksum(b[at:at+4], b[at+8:at+16], payload))
	return append(b, payload...)
}

// frame is the fixed part of a record or a seal.
type frame struct {
	length int // of the payload, 0 for a seal
	seal   bool
	lag    uint8
	seq    uint64
}

// parseFrame is total: ok is false when b cannot begin a record.
func parseFrame(b []byte) (f frame, ok bool) {
	if len(b) < frameSize {
		return frame{}, false
	}
	word := binary.LittleEndian.Uint32(b)
	f = frame{length: int(word & sealLength), lag: uint8(word >> 24), seq: binary.LittleEndian.Uint64(b[8:])}
	if f.length == sealLength {
		f.seal, f.length = true, 0
		return f, f.lag == 0
	}
	return f, f.length <= MaxRecord && (f.lag == lagUnknown || uint64(f.lag) <= f.seq)
}

// intact checks a whole frame, payload included.
func intact(b []byte) bool {
	return binary.LittleEndian.Uint32(b[4:]) == checksum(b[:4], b[8:])
}

// readSeal returns the sequence after a complete segment.
func readSeal(f io.ReaderAt, size int64) (next uint64, ok bool, err error) {
	var b [frameSize]byte
	if size < frameSize {
		return 0, false, nil
	}
	if _, err := f.ReadAt(b[:], size-frameSize); err != nil && !errors.Is(err, io.EOF) {
		return 0, false, err
	}
	fr, ok := parseFrame(b[:])
	return fr.seq, ok && fr.seal && intact(b[:]), nil
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

// newScanner begins at off with record next. When lost is set the place of
// the first record is not known.
func newScanner(f vfs.File, size, off int64, next uint64, lost bool) *scanner {
	return &scanner{file: f, size: size, off: off, next: next, lost: lost, gap: off, work: 16*size + 1<<20}
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
		f, ok := parseFrame(b)
		if ok && s.plausible(f) && s.off+frameSize+int64(f.length) <= s.size {
			whole := s.window(s.off, frameSize+f.length)
			if s.err == nil && intact(whole) {
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

// plausible reports whether a frame at s.off can be the next, given how many
// records fit into what was skipped.
func (s *scanner) plausible(f frame) bool {
	skipped := uint64(0)
	if s.lost {
		skipped = uint64(s.off-s.gap) / frameSize
	}
	return f.seq >= s.next && f.seq-s.next <= skipped
}
