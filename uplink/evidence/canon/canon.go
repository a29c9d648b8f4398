// Package canon is the one form in which evidence is written and read:
// deterministic CBOR (RFC 8949 section 4.2.1), of which every meaning has one
// byte string (SPEC.md section 2).
//
// Values are read whole by Unmarshal and Check. The wrappers around signed bytes
// (delivery, block, COSE_Sign1, bundle item) are taken apart by hand with a
// Reader, so that what is hashed is a slice of what arrived. Both are total: on
// any input they return a value or a *FormatError. Memory is bounded by the
// length of the input, which callers bound.
package canon

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"sync"

	"github.com/fxamacker/cbor/v2"
)

// FormatError says which part of the input does not follow SPEC.md, and how.
type FormatError struct {
	Where string // "manifest", "block", "receipt", ...
	Why   string // "trailing bytes", "field 5 ...", ...
}

func (e *FormatError) Error() string { return e.Where + ": " + e.Why }

// Malformed makes a FormatError.
func Malformed(where, format string, args ...any) error {
	return &FormatError{Where: where, Why: fmt.Sprintf(format, args...)}
}

// Raw is an item that is kept as it came.
type Raw = cbor.RawMessage

// codecs are the one way to write CBOR and the strict, bounded way to read it.
// lenient only skips unknown keys.
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
		MaxArrayElements:  1024, // the longest list there is: of meters
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

// Marshal encodes v, with integers as keys.
func Marshal(v any) ([]byte, error) { return codec().enc.Marshal(v) }

// Unmarshal reads b into v, refusing what v has no place for. Check must
// follow: this alone takes forms that Marshal does not write.
func Unmarshal(where string, b []byte, v any) error {
	if err := codec().strict.Unmarshal(b, v); err != nil {
		return Malformed(where, "%v", err)
	}
	return nil
}

// Peek reads only what v has a place for: enough to recognise what b is, or
// that a newer version wrote it.
func Peek(b []byte, v any) error { return codec().lenient.Unmarshal(b, v) }

// Check reports an error unless v encodes to exactly b: the rule that leaves
// one byte string for one meaning.
func Check(where string, b []byte, v any) error {
	again, err := Marshal(v)
	if err != nil {
		return Malformed(where, "%v", err)
	}
	if !bytes.Equal(again, b) {
		return Malformed(where, "not in canonical form")
	}
	return nil
}

// CheckAny reports an error unless b is one item in its one form, and holds
// nothing but integers of 64 bits, strings, false, true, null, lists, and maps
// whose keys are integers or strings.
func CheckAny(where string, b []byte) error {
	var v any
	if err := Unmarshal(where, b, &v); err != nil {
		return err
	}
	if !plain(v) {
		return Malformed(where, "holds other than 64-bit integers, strings, false, true, null, lists and maps")
	}
	return Check(where, b, v)
}

func plain(v any) bool {
	switch v := v.(type) {
	case float64, cbor.SimpleValue, big.Int:
		return false
	case []any:
		for _, e := range v {
			if !plain(e) {
				return false
			}
		}
	case map[any]any:
		for k, e := range v {
			switch k.(type) {
			case uint64, int64, string, cbor.ByteString:
			default:
				return false
			}
			if !plain(e) {
				return false
			}
		}
	}
	return true
}

// Major types (RFC 8949 section 3.1).
const (
	Uint  = 0
	Bytes = 2
	Text  = 3
	Array = 4
	Map   = 5
	Tag   = 6
)

// AppendHead appends a head in its shortest form.
func AppendHead(dst []byte, major byte, n uint64) []byte {
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

// AppendBytes appends b as a byte string.
func AppendBytes(dst, b []byte) []byte {
	return append(AppendHead(dst, Bytes, uint64(len(b))), b...)
}

// ParseHead reads one CBOR head in its shortest form. size is 0 when b is
// too short or the head is not canonical.
func ParseHead(b []byte) (major byte, n uint64, size int) {
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

// Reader walks a byte slice; the first fault sticks and every later call
// returns zero values. Slices it returns are of what it was given.
type Reader struct {
	where string
	b     []byte
	at    int // next byte; len(b) after a fault
	err   error
}

// NewReader reads b from the front; where begins the text of every fault.
func NewReader(where string, b []byte) *Reader { return &Reader{where: where, b: b} }

// Err is the first fault, At the index of the next byte, Left the number of
// bytes from it on and Rest these.
func (r *Reader) Err() error   { return r.err }
func (r *Reader) At() int      { return r.at }
func (r *Reader) Left() int    { return len(r.b) - r.at }
func (r *Reader) Rest() []byte { return r.b[r.at:] }

// Fail notes a fault, unless there was one before.
func (r *Reader) Fail(format string, args ...any) {
	if r.err == nil {
		r.err = Malformed(r.where, format, args...)
		r.at = len(r.b)
	}
}

// Head expects an item of the given major type and returns its argument.
func (r *Reader) Head(major byte, what string) uint64 {
	if r.err != nil {
		return 0
	}
	m, n, size := ParseHead(r.b[r.at:])
	if size == 0 || m != major {
		r.Fail("%s expected", what)
		return 0
	}
	r.at += size
	return n
}

// Bytes expects a byte string and returns it without copying.
func (r *Reader) Bytes(what string) []byte {
	n := r.Head(Bytes, what)
	return r.Take(n, what)
}

// Take returns the next n bytes, whatever they are.
func (r *Reader) Take(n uint64, what string) []byte {
	if r.err == nil && n > uint64(r.Left()) {
		r.Fail("%s cut short: %d bytes announced, %d left", what, n, r.Left())
	}
	if r.err != nil {
		return nil
	}
	start := r.at
	r.at += int(n)
	return r.b[start:r.at:r.at]
}

// Uvarint reads one minimal unsigned LEB128 number.
func (r *Reader) Uvarint(what string) uint64 {
	if r.at < len(r.b) && r.b[r.at] < 0x80 { // most numbers
		r.at++
		return uint64(r.b[r.at-1])
	}
	return r.longUvarint(what)
}

func (r *Reader) longUvarint(what string) uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.b[r.at:])
	if n <= 0 || r.b[r.at+n-1] == 0 {
		r.Fail("%s is not a minimal LEB128 number", what)
		return 0
	}
	r.at += n
	return v
}

// End expects that nothing is left.
func (r *Reader) End() error {
	if r.err == nil && r.Left() > 0 {
		r.Fail("%d trailing bytes", r.Left())
	}
	return r.err
}
