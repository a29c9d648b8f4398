package evidence_test

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

func dictOf(columns ...int) (dict []evidence.ChannelMeter) {
	for i, n := range columns {
		dict = append(dict, evidence.ChannelMeter{Meter: i, Columns: make([]evidence.Column, n)})
	}
	return dict
}

// encodeBody returns the body of a block with salt 0, channel 1, sequence 0.
func encodeBody(t testing.TB, dict []evidence.ChannelMeter, meters ...evidence.Samples) []byte {
	t.Helper()
	b, err := evidence.AppendBlock(nil, &evidence.Block{Channel: 1, Meters: meters}, dict)
	if err != nil {
		t.Fatal(err)
	}
	return b[1+17+1+1+1:] // bodies here are shorter than 24 bytes
}

func blockOf(body ...byte) []byte {
	b := append([]byte{0x84, 0x50}, make([]byte, 16)...)
	return append(append(b, 1, 0, 0x40|byte(len(body))), body...)
}

// TestBodyBytes are the worked examples of SPEC.md, byte for byte.
func TestBodyBytes(t *testing.T) {
	const ok, timeout, invalid = evidence.OK, evidence.Timeout, evidence.Invalid
	tests := []struct {
		name    string
		columns []int
		meters  []evidence.Samples
		want    []byte
	}{
		{"one column, 230.1 230.0 230.2 V", []int{1},
			[]evidence.Samples{{Slots: 3, Values: [][]int64{{2301, 2300, 2302}}}},
			[]byte{0, 3, 0xfa, 0x23, 1, 4}},
		{"the second slot timed out", []int{1},
			[]evidence.Samples{{Slots: 3, Values: [][]int64{{2301, 0, 2302}}, Codes: [][]evidence.Code{{ok, timeout, ok}}}},
			[]byte{1, 0, 0, 1, 1, 2, 3, 0xfa, 0x23, 2}},
		{"one column of two has no value", []int{2},
			[]evidence.Samples{{Slots: 2, Values: [][]int64{{1, 1}, {0, 0}}, Codes: [][]evidence.Code{nil, {invalid, invalid}}}},
			[]byte{1, 0, 2, 0, 2, 6, 2, 2, 0}},
		{"a dead meter and a live one", []int{2, 1},
			[]evidence.Samples{
				{Slots: 2, Values: [][]int64{{0, 0}, {0, 0}}, Codes: [][]evidence.Code{{timeout, timeout}, {timeout, timeout}}},
				{Slots: 1, Values: [][]int64{{-1}}}},
			[]byte{1, 0, 0, 0, 2, 2, 2, 1, 1}},
		{"a shared slot splits a column's run", []int{2},
			[]evidence.Samples{{Slots: 3, Values: [][]int64{{0, 0, 0}, {5, 0, 5}},
				Codes: [][]evidence.Code{{invalid, timeout, invalid}, {ok, timeout, ok}}}},
			[]byte{3, 0, 0, 1, 1, 2, 0, 1, 0, 1, 6, 0, 1, 2, 1, 6, 3, 10, 0}},
		{"no slots at all", []int{1}, []evidence.Samples{{Values: [][]int64{{}}}}, []byte{0, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := encodeBody(t, dictOf(tt.columns...), tt.meters...); !bytes.Equal(got, tt.want) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestBlockRefusesOtherForms(t *testing.T) {
	tests := []struct {
		name    string
		columns []int
		body    []byte
	}{
		{"empty", []int{1}, nil},
		{"padded value", []int{1}, []byte{0, 1, 0x81, 0}},
		{"value of 11 bytes", []int{1}, []byte{0, 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1}},
		{"value missing", []int{1}, []byte{0, 2, 1}},
		{"value too many", []int{1}, []byte{0, 1, 1, 1}},
		{"too many slots", []int{1}, []byte{0, 0x91, 0x1c}},
		{"too many cells", []int{200}, []byte{0, 0x90, 0x1c}},
		{"exception of nothing", []int{1}, []byte{1, 0, 0, 0, 0, 2, 1, 1}},
		{"exception that is ok", []int{1}, []byte{1, 0, 0, 0, 1, 0, 1, 1}},
		{"unknown code", []int{1}, []byte{1, 0, 0, 0, 1, 10, 1}},
		{"exception past the last slot", []int{1}, []byte{1, 0, 0, 1, 1, 2, 1, 1}},
		{"exception for a column that is not there", []int{1}, []byte{1, 0, 2, 0, 1, 2, 1}},
		{"exception for a meter that is not there", []int{1}, []byte{1, 1, 0, 0, 1, 2, 1, 1}},
		{"exceptions not merged", []int{1}, []byte{2, 0, 0, 0, 1, 2, 0, 0, 1, 1, 2, 2}},
		{"exceptions out of order", []int{1}, []byte{2, 0, 0, 1, 1, 2, 0, 0, 0, 1, 3, 2}},
		{"exceptions of meters out of order", []int{1, 1}, []byte{2, 1, 0, 0, 1, 2, 0, 0, 0, 1, 2, 1, 1}},
		{"exceptions overlapping", []int{1}, []byte{2, 0, 0, 0, 2, 2, 0, 0, 1, 1, 3, 2}},
		{"a single column by number", []int{1}, []byte{1, 0, 1, 0, 1, 2, 1}},
		{"two columns instead of all", []int{2}, []byte{2, 0, 1, 0, 1, 2, 0, 2, 0, 1, 2, 1}},
		{"more exceptions than bytes", []int{1}, []byte{20, 0, 0, 0, 1, 2, 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := evidence.DecodeBlock(blockOf(tt.body...), dictOf(tt.columns...))
			var format *canon.FormatError
			if !errors.As(err, &format) {
				t.Errorf("decoded with error %v, want a format error", err)
			}
		})
	}
}

// samplesOf draws one meter's samples; values where there is none are 0.
func samplesOf(t *rapid.T, columns int) evidence.Samples {
	s := evidence.Samples{Slots: rapid.IntRange(0, 12).Draw(t, "slots"), Values: make([][]int64, columns)}
	any := false
	codes := make([][]evidence.Code, columns)
	dead := rapid.IntRange(-1, 12).Draw(t, "dead from")
	for c := range columns {
		s.Values[c], codes[c] = make([]int64, s.Slots), make([]evidence.Code, s.Slots)
		for slot := range s.Slots {
			if rapid.IntRange(0, 3).Draw(t, "doubt") == 0 {
				codes[c][slot] = evidence.Code(rapid.IntRange(0, 9).Draw(t, "code"))
			}
			if dead >= 0 && slot >= dead {
				codes[c][slot] = evidence.Timeout
			}
			any = any || codes[c][slot] != evidence.OK
			if codes[c][slot].HasValue() {
				s.Values[c][slot] = rapid.Int64().Draw(t, "value")
			}
		}
	}
	if any {
		s.Codes = codes
	}
	return s
}

func TestBlockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.SliceOfN(rapid.IntRange(1, 4), 0, 5).Draw(t, "columns")
		dict := dictOf(columns...)
		want := evidence.Block{Channel: evidence.Channel(rapid.Uint16().Filter(func(ch uint16) bool { return ch != uint16(evidence.RawFrames) }).Draw(t, "channel")), Seq: rapid.Uint64().Draw(t, "seq"),
			Meters: []evidence.Samples{}}
		for _, n := range columns {
			want.Meters = append(want.Meters, samplesOf(t, n))
		}
		b, err := evidence.AppendBlock(nil, &want, dict)
		if err != nil {
			t.Fatal(err)
		}
		got, err := evidence.DecodeBlock(b, dict)
		if err != nil {
			t.Fatal(err)
		}
		if g, w := fmt.Sprintf("%v", got), fmt.Sprintf("%v", want); g != w {
			t.Fatalf("got %s\nwant %s", g, w)
		}
	})
}

func TestBlockExtremes(t *testing.T) {
	values := []int64{math.MinInt64, math.MaxInt64, 0, math.MinInt64, -1, math.MaxInt64}
	b, err := evidence.AppendBlock(nil, &evidence.Block{Meters: []evidence.Samples{{Slots: len(values), Values: [][]int64{values}}}}, dictOf(1))
	if err != nil {
		t.Fatal(err)
	}
	got, err := evidence.DecodeBlock(b, dictOf(1))
	if err != nil || !reflect.DeepEqual(got.Meters[0].Values[0], values) {
		t.Errorf("%v, %v", got.Meters, err)
	}
}

func TestBlockWriterRefusesBadSamples(t *testing.T) {
	row := []int64{1, 2}
	for name, s := range map[string]evidence.Samples{
		"columns missing":     {Slots: 2},
		"row too short":       {Slots: 3, Values: [][]int64{row}},
		"codes too short":     {Slots: 2, Values: [][]int64{row}, Codes: [][]evidence.Code{{0}}},
		"codes for 2 columns": {Slots: 2, Values: [][]int64{row}, Codes: [][]evidence.Code{nil, nil}},
		"unknown code":        {Slots: 2, Values: [][]int64{row}, Codes: [][]evidence.Code{{0, 14}}},
		"negative slots":      {Slots: -1, Values: [][]int64{{}}},
		"too many slots":      {Slots: 3601, Values: [][]int64{make([]int64, 3601)}},
	} {
		if _, err := evidence.AppendBlock(nil, &evidence.Block{Meters: []evidence.Samples{s}}, dictOf(1)); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
