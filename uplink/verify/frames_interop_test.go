//go:build integration

package verify

import (
	"bytes"
	"encoding/json"
	"testing"
)

// The foreign reader accounts for every byte of a block of raw frames, and takes
// none of it for a value.
func TestForeignReaderOfRawFrames(t *testing.T) {
	s := framed(t)
	file := archive(t, s, 0, uint64(len(s.Deliveries)-1), nil)
	values := 0
	if _, err := Bundle(bytes.NewReader(file), trusting(s), func(r Result) { values += present(r) }); err != nil {
		t.Fatal(err)
	}
	out, err := foreign(t, file)
	if err != nil {
		t.Fatal(err)
	}
	var got struct{ Leaves, Values int }
	if err := json.Unmarshal(out, &got); err != nil || got.Leaves != len(s.Deliveries) || got.Values != values {
		t.Errorf("%s, %v; here %d leaves, %d values", out, err, len(s.Deliveries), values)
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
