package record_test

import (
	"bytes"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

func recordBlock(t testing.TB, body []byte) []byte {
	t.Helper()
	b := canon.AppendHead(nil, canon.Array, 4)
	b = canon.AppendBytes(b, make([]byte, 16))
	b = canon.AppendHead(b, canon.Uint, uint64(evidence.Records))
	b = canon.AppendHead(b, canon.Uint, 3)
	return canon.AppendBytes(b, body)
}

func TestRecordComesBack(t *testing.T) {
	content := map[int]any{1: "grant", 2: uint64(7), 3: []byte{1, 2}}
	body, err := record.Encode("bank-a", content)
	if err != nil {
		t.Fatal(err)
	}
	r, err := record.Parse(recordBlock(t, body))
	if err != nil {
		t.Fatal(err)
	}
	var got map[int]any
	if err := r.Decode(&got); err != nil || r.For != "bank-a" || r.Seq != 3 || got[1] != "grant" || !bytes.Equal(got[3].([]byte), []byte{1, 2}) {
		t.Fatalf("%+v %v %v", r, got, err)
	}
}

func TestRecordHasOneForm(t *testing.T) {
	for name, body := range map[string][]byte{
		"unsorted content": {0xa2, 0x01, 0x60, 0x02, 0xa2, 0x02, 0x00, 0x01, 0x00},
		"float":            {0xa2, 0x01, 0x60, 0x02, 0xfb, 0x3f, 0xf0, 0, 0, 0, 0, 0, 0},
		"short float":      {0xa2, 0x01, 0x60, 0x02, 0x81, 0xf9, 0x3e, 0x00},
		"surplus key":      {0xa3, 0x01, 0x60, 0x02, 0x00, 0x03, 0x00},
		"no content":       {0xa1, 0x01, 0x60},
		"long integer":     {0xa2, 0x01, 0x60, 0x02, 0x18, 0x05},
		"bad lender":       {0xa2, 0x01, 0x61, 'A', 0x02, 0x00},
		"trailing":         {0xa2, 0x01, 0x60, 0x02, 0x00, 0x00},
		"indefinite":       {0xa2, 0x01, 0x60, 0x02, 0x9f, 0xff},
	} {
		if r, err := record.Parse(recordBlock(t, body)); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
}

func FuzzRecord(f *testing.F) {
	body, _ := record.Encode("bank-a", []any{1, "x", []byte{2}})
	f.Add(recordBlock(f, body))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Parse(b)
		if err != nil {
			return
		}
		var v any
		if err := r.Decode(&v); err != nil {
			t.Fatalf("parsed, but its content does not decode: %v", err)
		}
	})
}
