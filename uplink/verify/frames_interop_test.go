//go:build integration

package verify

import (
	"bytes"
	"testing"
)

// Foreign readers account for every byte of a block of raw frames, and take none
// of it for a value.
func TestForeignReadersOfRawFrames(t *testing.T) {
	s := framed(t)
	file := archive(t, s, 0, uint64(len(s.Deliveries)-1), nil)
	values := 0
	if _, err := Bundle(bytes.NewReader(file), trusting(s), func(r Result) { values += present(r) }); err != nil {
		t.Fatal(err)
	}
	for reader, command := range foreignReaders(t) {
		got, code := foreign(t, command, file, pub(1))
		if code != 0 || got.Leaves != uint64(len(s.Deliveries)) || got.Values != values {
			t.Errorf("%s says %+v with status %d; here %d leaves, %d values", reader, got, code, len(s.Deliveries), values)
		}
	}
}

func present(r Result) (n int) {
	if r.Window == nil {
		return 0
	}
	for _, b := range r.Window.blocks {
		for i := range b.Meters {
			n += b.Meters[i].Present()
		}
	}
	return n
}
