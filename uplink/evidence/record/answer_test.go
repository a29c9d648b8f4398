package record_test

import (
	"reflect"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// read is one entry of an answer as a box writes it.
func read(table, address, count, code uint64, data []byte) []any {
	return []any{"press-1", table, address, count, int64(evidencetest.Start), code, data}
}

// answerBlock seals an answer record and returns its block.
func answerBlock(t testing.TB, reads ...any) []byte {
	t.Helper()
	s := evidencetest.NewStream(t, 1, 0)
	body, err := record.Encode("bank-a", map[int]any{1: [16]byte{7}, 2: reads})
	if err != nil {
		t.Fatal(err)
	}
	d, err := s.Writer.Record(evidencetest.Point(1), evidence.AnswerLeaf, body)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.RecordBlock(d)
}

func TestAnswer(t *testing.T) {
	decode := func(reads ...any) (record.Answer, error) {
		r, err := record.Parse(answerBlock(t, reads...))
		if err != nil {
			t.Fatal(err)
		}
		return r.Answer()
	}
	a, err := decode(read(3, 0x10, 2, 0, []byte{0x12, 0x34, 0xff, 0xfe}), read(1, 0, 9, 0, []byte{0xff, 1}), read(4, 0, 2, 2, nil))
	if err != nil || a.Nonce != [16]byte{7} || len(a.Reads) != 3 {
		t.Fatalf("%+v, %v", a, err)
	}
	if got := a.Reads[0].Registers(); !reflect.DeepEqual(got, []uint16{0x1234, 0xfffe}) || a.Reads[0].Meter != "press-1" || a.Reads[0].At != evidencetest.Start {
		t.Errorf("%v, %+v", got, a.Reads[0])
	}
	if a.Reads[1].Registers() != nil || a.Reads[2].Code != evidence.Timeout {
		t.Errorf("%+v", a.Reads[1:])
	}
	nine := make([]any, evidence.MaxReads+1)
	for i := range nine {
		nine[i] = read(3, 0, 1, 2, nil)
	}
	for name, reads := range map[string][]any{
		"no read":               {},
		"too many reads":        nine,
		"no such table":         {read(5, 0, 1, 0, []byte{0, 1})},
		"a register too few":    {read(3, 0, 2, 0, []byte{0, 1})},
		"a byte of bits more":   {read(2, 0, 8, 0, []byte{0, 1})},
		"data beside a failure": {read(3, 0, 1, 2, []byte{0, 1})},
		"no such code":          {read(3, 0, 1, 99, nil)},
		"beyond the last":       {read(3, 65535, 2, 0, []byte{0, 1, 0, 1})},
		"overflow":              {read(3, 1<<64-1, 1, 2, nil)},
		"another shape":         {[]any{"press-1", 3}},
	} {
		if a, err := decode(reads...); err == nil {
			t.Errorf("%s: %+v", name, a)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add(answerBlock(f, read(3, 0x10, 1, 0, []byte{1, 2}), read(1, 0, 3, 5, nil)))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := record.Parse(b)
		if err != nil {
			return
		}
		a, err := r.Answer()
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		for i := range a.Reads {
			a.Reads[i].Registers()
		}
	})
}
