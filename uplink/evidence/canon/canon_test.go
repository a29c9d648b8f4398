package canon

import (
	"bytes"
	"errors"
	"math"
	"testing"
)

func TestHeadHasOneForm(t *testing.T) {
	for _, n := range []uint64{0, 23, 24, math.MaxUint8, 1 << 8, math.MaxUint16, 1 << 16, math.MaxUint32, 1 << 32, math.MaxUint64} {
		b := AppendHead(nil, Map, n)
		if major, got, size := ParseHead(append(b, 0)); major != Map || got != n || size != len(b) {
			t.Errorf("%d as %x: major %d, %d, %d bytes", n, b, major, got, size)
		}
		for cut := range b {
			if _, _, size := ParseHead(b[:cut]); size != 0 {
				t.Errorf("%x cut to %d bytes is taken", b, cut)
			}
		}
	}
	for _, b := range [][]byte{{0x18, 23}, {0x19, 0, 255}, {0x1a, 0, 0, 255, 255}, {0x1b, 0, 0, 0, 0, 255, 255, 255, 255}, {0x1c}, {0x5f}} {
		if _, _, size := ParseHead(b); size != 0 {
			t.Errorf("%x is taken", b)
		}
	}
}

func TestValueHasOneForm(t *testing.T) {
	type value struct {
		A uint64 `cbor:"1,keyasint"`
		B []byte `cbor:"2,keyasint,omitempty"`
	}
	read := func(b []byte) error {
		var v value
		if err := Unmarshal("value", b, &v); err != nil {
			return err
		}
		return Check("value", b, v)
	}
	good, err := Marshal(value{A: 7, B: []byte{8}})
	if err != nil || !bytes.Equal(good, []byte{0xa2, 1, 7, 2, 0x41, 8}) || read(good) != nil {
		t.Fatalf("%x, %v, %v", good, err, read(good))
	}
	for name, b := range map[string][]byte{
		"nothing":            {},
		"cut short":          good[:len(good)-1],
		"trailing":           append(bytes.Clone(good), 0),
		"a long integer":     {0xa1, 1, 0x18, 7},
		"keys out of order":  {0xa2, 2, 0x41, 8, 1, 7},
		"a key twice":        {0xa2, 1, 7, 1, 7},
		"a key of no place":  {0xa2, 1, 7, 3, 0},
		"a key missing":      {0xa1, 2, 0x41, 8},
		"an empty option":    {0xa2, 1, 7, 2, 0x40},
		"indefinite map":     {0xbf, 1, 7, 0xff},
		"indefinite string":  {0xa2, 1, 7, 2, 0x5f, 0x41, 8, 0xff},
		"a tag":              {0xc1, 0xa1, 1, 7},
		"a float":            {0xa1, 1, 0xf9, 0x47, 0},
		"a negative integer": {0xa1, 1, 0x26},
	} {
		var format *FormatError
		if err := read(b); !errors.As(err, &format) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCheckAny(t *testing.T) {
	for name, b := range map[string][]byte{
		"integer": {0}, "lowest": {0x3b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "text": {0x61, 'x'}, "bytes": {0x41, 0}, "null": {0xf6},
		"list": {0x82, 0xf4, 0xf5}, "map": {0xa3, 0, 0, 0x20, 0, 0x41, 1, 0x80},
	} {
		if err := CheckAny("content", b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, b := range map[string][]byte{
		"float": {0xf9, 0x3e, 0}, "float in a list": {0x81, 0xf9, 0x3e, 0}, "float in a map": {0xa1, 0, 0xf9, 0x3e, 0}, "undefined": {0xf7}, "simple value": {0xe5},
		"below 64 bits": {0x3b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "big number": {0xc2, 0x41, 1}, "false as key": {0xa1, 0xf4, 0},
		"text of no UTF-8": {0x61, 0xff}, "nine levels": {0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x81, 0x80},
	} {
		if err := CheckAny("content", b); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

func TestReaderKeepsItsFirstFault(t *testing.T) {
	r := NewReader("thing", []byte{0x42, 1})
	if b := r.Bytes("string"); b != nil || r.Left() != 0 {
		t.Errorf("%x, %d left", b, r.Left())
	}
	r.Fail("another")
	if r.Head(Uint, "number") != 0 || r.Uvarint("number") != 0 || r.Take(0, "x") != nil || len(r.Rest()) != 0 || r.End() == nil ||
		r.Err().Error() != "thing: string cut short: 2 bytes announced, 1 left" {
		t.Error(r.Err())
	}
}

func TestUvarintHasOneForm(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing": {}, "not ended": {0x80}, "a zero at its end": {0x81, 0}, "beyond 64 bits": {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2},
	} {
		if r := NewReader("thing", b); r.Uvarint("number") != 0 || r.Err() == nil {
			t.Errorf("%s is taken", name)
		}
	}
	r := NewReader("thing", []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0})
	if a, b := r.Uvarint("number"), r.Uvarint("number"); a != math.MaxUint64 || b != 0 || r.End() != nil {
		t.Error(a, b, r.Err())
	}
}

// FuzzReader takes b apart as whatever it says it is: nothing panics, and what is
// returned is of b.
func FuzzReader(f *testing.F) {
	f.Add([]byte{0x82, 0x41, 1, 0x18, 24})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader("thing", b)
		for r.Err() == nil && r.Left() > 0 {
			at := r.At()
			switch b[at] >> 5 {
			case Bytes:
				if s := r.Bytes("string"); r.Err() == nil && !bytes.Equal(s, b[r.At()-len(s):r.At()]) {
					t.Fatalf("%x is not of the input", s)
				}
			case Tag:
				r.Uvarint("number")
			default:
				r.Head(b[at]>>5, "head")
			}
			if r.At() <= at {
				t.Fatal("no step")
			}
		}
	})
}

// FuzzCheckAny: what is taken has the one form that Marshal writes.
func FuzzCheckAny(f *testing.F) {
	f.Add([]byte{0xa2, 0, 0x41, 1, 0x20, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		if CheckAny("content", b) != nil {
			return
		}
		var v any
		if err := Unmarshal("content", b, &v); err != nil {
			t.Fatal(err)
		}
		if again, err := Marshal(v); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x, %v", again, err)
		}
	})
}
