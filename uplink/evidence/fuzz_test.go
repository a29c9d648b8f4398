package evidence_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// known reports whether a decoder's error is one it promises.
func known(err error) bool {
	var format *canon.FormatError
	return errors.As(err, &format) || errors.Is(err, evidence.ErrVersion) || errors.Is(err, evidence.ErrSignature)
}

func FuzzParseDelivery(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 3)
	anchor := s.Writer.Anchor()
	for _, d := range s.Deliveries {
		f.Add(d)
	}
	s.Window(f)
	d, err := evidence.FilterDelivery(nil, s.Deliveries[len(s.Deliveries)-1], record.Granted("", []evidence.Channel{1}), &anchor)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(d)
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		again, err := evidence.FilterDelivery(nil, b, func(evidence.RawBlock) bool { return true }, d.Anchor)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("re-encodes differently (%v)", err)
		}
	})
}

func FuzzDecodeBlock(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 3)
	dict := evidencetest.Small()
	for _, b := range s.Deliveries {
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			f.Fatal(err)
		}
		for _, blk := range d.Blocks {
			f.Add(blk.Bytes, uint16(blk.Channel))
		}
	}
	f.Add(blockOf(3, 0, 0, 1, 1, 2, 0, 1, 0, 1, 6, 0, 1, 2, 1, 6, 3, 10, 0, 3, 2, 2, 2), uint16(3))
	f.Fuzz(func(t *testing.T, b []byte, ch uint16) {
		meters := dict.Channels[evidence.Channel(ch)]
		blk, err := evidence.DecodeBlock(b, meters)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		again, err := evidence.AppendBlock(nil, &blk, meters)
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("re-encodes to %x (%v)", again, err)
		}
	})
}

func FuzzOpenReceipt(f *testing.F) {
	key, pub := evidencetest.Signer(9), evidencetest.PublicKey(9)
	for _, r := range []evidence.Receipt{{Empty: true, Status: "gap"}, {N: 9, Status: "ok", Channels: map[evidence.Channel]uint64{1: 2}, Nonce: make([]byte, 16)}} {
		b, err := evidence.SignReceipt(key, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(b[10 : len(b)-66]) // about the payload alone
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, err := evidence.OpenReceipt(pub, b); err != nil && !known(err) {
			t.Fatalf("unexpected kind of error: %v", err)
		}
		// The same bytes as a payload that the lender did sign.
		signed, err := evidence.Sign1(key, b)
		if err != nil {
			t.Fatal(err)
		}
		r, err := evidence.OpenReceipt(pub, signed)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		again, err := evidence.SignReceipt(key, r)
		if err != nil || !bytes.Equal(again, signed) {
			t.Fatalf("re-encodes differently (%v)", err)
		}
	})
}

func FuzzParseMeta(f *testing.F) {
	f.Add(evidencetest.NewStream(f, 1, 0).Meta)
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := evidence.ParseMeta(b)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if !bytes.Equal(m.Raw().Encode(), b) {
			t.Fatal("re-encodes differently")
		}
	})
}

// TestSmallInputsStaySmall: bytes that announce much do not get memory for it.
func TestSmallInputsStaySmall(t *testing.T) {
	huge := [][]byte{
		{0x82, 0x5b, 0, 0, 0, 1, 0, 0, 0, 0}, // a 4 GiB signed leaf
		{0x82, 0x40, 0xbb, 0, 0, 0, 1, 0, 0, 0, 0},
		append([]byte("\x5a\x00\x3f\xff\xff\xa8\x01\x65tally"), 0), // a 4 MiB head that is not there
	}
	for _, b := range huge {
		n := testing.AllocsPerRun(10, func() { evidence.ParseDelivery(b) })
		if n > 50 {
			t.Errorf("%x: %v allocations", b, n)
		}
		before := heap()
		if _, err := bundle.NewReader(bytes.NewReader(b)); err == nil {
			t.Errorf("%x accepted", b)
		}
		if grown := int64(heap()) - int64(before); grown > 1<<20 {
			t.Errorf("%x: heap grew by %d", b, grown)
		}
	}
}
