package bundle_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// known reports whether a decoder's error is one it promises.
func known(err error) bool {
	var format *canon.FormatError
	return errors.As(err, &format) || errors.Is(err, evidence.ErrVersion)
}

func packed(t testing.TB, s *evidencetest.Stream) []byte {
	t.Helper()
	d, err := evidence.ParseDelivery(s.Deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.Header{Log: d.Manifest.Log, Hi: uint64(len(s.Deliveries) - 1), Meta: evidence.Meta{Genesis: d.Sign1, Dictionary: d.Sign1}})
	for _, d := range s.Deliveries {
		if err == nil {
			err = w.Append(d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func FuzzReader(f *testing.F) {
	f.Add(packed(f, evidencetest.NewStream(f, 1, 2)))
	f.Add([]byte("PK\x03\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := bundle.NewReader(bytes.NewReader(b))
		if err != nil {
			if !known(err) && !errors.Is(err, bundle.ErrNotBundle) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		var again bytes.Buffer
		w, err := bundle.NewWriter(&again, r.Header())
		if err != nil {
			t.Fatal(err)
		}
		for {
			end := r.Offset()
			d, err := r.Next()
			if err != nil {
				if err != io.EOF && err != io.ErrUnexpectedEOF && !known(err) {
					t.Fatalf("unexpected kind of error: %v", err)
				}
				b = b[:end]
				break
			}
			if err := w.Append(d); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again.Bytes(), b) {
			t.Fatal("re-encodes differently")
		}
	})
}

func FuzzFraudProof(f *testing.F) {
	s := evidencetest.NewStream(f, 1, 1)
	p := bundle.FraudProof{Meta: s.Meta, A: s.Deliveries[1], B: s.Deliveries[2]}
	f.Add(p.Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := bundle.ParseFraudProof(b)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if !bytes.Equal(p.Encode(), b) {
			t.Fatal("re-encodes differently")
		}
	})
}
