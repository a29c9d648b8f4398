package evidence

import (
	"bytes"
	"testing"
)

func recordBlock(t *testing.T, body []byte) []byte {
	t.Helper()
	return appendBlock(nil, [16]byte{1}, Records, 3, body)
}

func TestRecordComesBack(t *testing.T) {
	content := map[int]any{1: "grant", 2: uint64(7), 3: []byte{1, 2}}
	body, err := EncodeRecord("bank-a", content)
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRecord(recordBlock(t, body))
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
		if r, err := ParseRecord(recordBlock(t, body)); err == nil {
			t.Errorf("%s: accepted as %+v", name, r)
		}
	}
}

func FuzzRecord(f *testing.F) {
	body, _ := EncodeRecord("bank-a", []any{1, "x", []byte{2}})
	f.Add(appendBlock(nil, [16]byte{}, Records, 0, body))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRecord(b)
		if err != nil {
			return
		}
		var v any
		if err := r.Decode(&v); err != nil {
			t.Fatalf("parsed, but its content does not decode: %v", err)
		}
	})
}
