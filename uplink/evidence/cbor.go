package evidence

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// codecs are the one way this package writes CBOR (RFC 8949 section 4.2.1)
// and the strict, bounded way it reads it. lenient only skips unknown keys:
// it serves to recognise a newer version.
type codecs struct {
	enc             cbor.EncMode
	strict, lenient cbor.DecMode
}

var codec = sync.OnceValue(func() codecs {
	read := cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		MaxNestedLevels:   8,
		MaxArrayElements:  MaxMeters, // the longest list there is
		MaxMapPairs:       1024,
	}
	enc, err := cbor.EncOptions{
		Sort:          cbor.SortCoreDeterministic,
		IndefLength:   cbor.IndefLengthForbidden,
		NilContainers: cbor.NilContainerAsEmpty,
		TagsMd:        cbor.TagsForbidden,
	}.EncMode()
	strict, err2 := read.DecMode()
	read.ExtraReturnErrors = cbor.ExtraDecErrorNone
	lenient, err3 := read.DecMode()
	if err := errors.Join(err, err2, err3); err != nil {
		panic(err) // the options are constants
	}
	return codecs{enc: enc, strict: strict, lenient: lenient}
})

func marshal(v any) ([]byte, error) { return codec().enc.Marshal(v) }

func unmarshal(where string, b []byte, v any) error {
	if len(b) > MaxPayload {
		return malformed(where, "%d bytes, limit %d", len(b), MaxPayload)
	}
	if err := codec().strict.Unmarshal(b, v); err != nil {
		return malformed(where, "%v", err)
	}
	return nil
}

// canonical reports an error unless v encodes to exactly b: the rule that
// leaves one byte string for one meaning.
func canonical(where string, b []byte, v any) error {
	again, err := marshal(v)
	if err != nil {
		return malformed(where, "%v", err)
	}
	if !bytes.Equal(again, b) {
		return malformed(where, "not in canonical form")
	}
	return nil
}

// The wrappers around signed bytes (delivery, block, COSE_Sign1, bundle item)
// are taken apart by hand, so that what is hashed is a slice of what arrived.

const (
	majorUint  = 0
	majorBytes = 2
	majorText  = 3
	majorArray = 4
	majorMap   = 5
	majorTag   = 6
)

func appendHead(dst []byte, major byte, n uint64) []byte {
	m := major << 5
	switch {
	case n < 24:
		return append(dst, m|byte(n))
	case n < 1<<8:
		return append(dst, m|24, byte(n))
	case n < 1<<16:
		return binary.BigEndian.AppendUint16(append(dst, m|25), uint16(n))
	case n < 1<<32:
		return binary.BigEndian.AppendUint32(append(dst, m|26), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, m|27), n)
}

func appendBytes(dst, b []byte) []byte {
	return append(appendHead(dst, majorBytes, uint64(len(b))), b...)
}

// parseHead reads one CBOR head in its shortest form. size is 0 when b is
// too short or the head is not canonical.
func parseHead(b []byte) (major byte, n uint64, size int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	major = b[0] >> 5
	switch info := b[0] & 31; {
	case info < 24:
		return major, uint64(info), 1
	case info == 24 && len(b) >= 2 && b[1] >= 24:
		return major, uint64(b[1]), 2
	case info == 25 && len(b) >= 3:
		n, size = uint64(binary.BigEndian.Uint16(b[1:])), 3
		if n < 1<<8 {
			return 0, 0, 0
		}
	case info == 26 && len(b) >= 5:
		n, size = uint64(binary.BigEndian.Uint32(b[1:])), 5
		if n < 1<<16 {
			return 0, 0, 0
		}
	case info == 27 && len(b) >= 9:
		n, size = binary.BigEndian.Uint64(b[1:]), 9
		if n < 1<<32 {
			return 0, 0, 0
		}
	}
	return major, n, size
}

// reader walks a byte slice; the first fault sticks and every later call
// returns zero values.
type reader struct {
	where string
	b     []byte
	at    int // next byte; len(b) after a fault
	err   error
}

func (r *reader) left() int { return len(r.b) - r.at }

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = malformed(r.where, format, args...)
		r.at = len(r.b)
	}
}

// head expects an item of the given major type and returns its argument.
func (r *reader) head(major byte, what string) uint64 {
	if r.err != nil {
		return 0
	}
	m, n, size := parseHead(r.b[r.at:])
	if size == 0 || m != major {
		r.fail("%s expected", what)
		return 0
	}
	r.at += size
	return n
}

// bytes expects a byte string and returns it without copying.
func (r *reader) bytes(what string) []byte {
	n := r.head(majorBytes, what)
	if r.err == nil && n > uint64(r.left()) {
		r.fail("%s cut short: %d bytes announced, %d left", what, n, r.left())
	}
	if r.err != nil {
		return nil
	}
	start := r.at
	r.at += int(n)
	return r.b[start:r.at:r.at]
}

// uvarint reads one minimal unsigned LEB128 number.
func (r *reader) uvarint(what string) uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 { // most numbers
		r.at++
		return uint64(r.b[r.at-1])
	}
	return r.longUvarint(what)
}

func (r *reader) longUvarint(what string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || r.b[r.at+n-1] == 0 {
		r.fail("%s is not a minimal LEB128 number", what)
		return 0
	}
	r.at += n
	return v
}

// end expects that nothing is left.
func (r *reader) end() error {
	if r.err == nil && r.left() > 0 {
		r.fail("%d trailing bytes", r.left())
	}
	return r.err
}
