package evidence_test

import (
	"bytes"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

func framesBlock(t testing.TB, frames ...evidence.Frames) ([]byte, error) {
	t.Helper()
	blk := evidence.Block{Channel: evidence.RawFrames}
	for i := range frames {
		blk.Meters = append(blk.Meters, evidence.Samples{Frames: &frames[i]})
	}
	return evidence.AppendBlock(nil, &blk, frameDict(len(frames)))
}

// frameDict describes n meters with raw frames.
func frameDict(n int) (dict []evidence.ChannelMeter) {
	for m := range n {
		dict = append(dict, evidence.ChannelMeter{Meter: m, Columns: []evidence.Column{{Quantity: "frames", MulCoef: 1}}})
	}
	return dict
}

// The bytes of SPEC.md's example.
func TestRawFramesBytes(t *testing.T) {
	b, err := framesBlock(t, evidence.Frames{Exchanges: []evidence.Exchange{
		{At: 4000, Took: 31, Request: []byte{1, 4, 0, 0, 0, 1, 0x31, 0xCA}, Reply: []byte{1, 4, 2, 8, 0xFD, 0x7E, 0x71}},
		{At: 14001, Took: 1000, Request: []byte{1, 4, 0, 0, 0, 1, 0x31, 0xCA}},
	}}, evidence.Frames{Dropped: 1})
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{2,
		0xC0, 0x3E, 0x3E, 8, 1, 4, 0, 0, 0, 1, 0x31, 0xCA, 7, 1, 4, 2, 8, 0xFD, 0x7E, 0x71,
		0xA2, 0x9C, 0x01, 0xD0, 0x0F, 8, 1, 4, 0, 0, 0, 1, 0x31, 0xCA, 0,
		0, 0, 1}
	if !bytes.HasSuffix(b, want) {
		t.Errorf("% x\nwant the body % x", b, want)
	}
}

func TestRawFramesRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		message := rapid.SliceOfN(rapid.Byte(), 0, 300)
		want := make([]evidence.Samples, rapid.IntRange(0, 3).Draw(t, "meters"))
		for m := range want {
			f := &evidence.Frames{Dropped: rapid.Uint64().Draw(t, "dropped")}
			for range rapid.IntRange(0, 4).Draw(t, "exchanges") {
				x := evidence.Exchange{At: rapid.Int64().Draw(t, "at"), Took: rapid.Int64().Draw(t, "took")}
				x.Request = append(x.Request, message.Draw(t, "request")...)
				x.Reply = append(x.Reply, message.Draw(t, "reply")...)
				f.Exchanges = append(f.Exchanges, x)
			}
			want[m].Frames = f
		}
		dict := frameDict(len(want))
		b, err := evidence.AppendBlock(nil, &evidence.Block{Channel: evidence.RawFrames, Seq: 7, Meters: want}, dict)
		if err != nil {
			t.Fatal(err)
		}
		got, err := evidence.DecodeBlock(b, dict)
		if err != nil || !reflect.DeepEqual(got.Meters, want) || got.Seq != 7 {
			t.Fatalf("%+v, %v, want %+v", got.Meters, err, want)
		}
	})
}

func TestRawFramesRefused(t *testing.T) {
	x := evidence.Exchange{Request: make([]byte, 60<<10)}
	for name, c := range map[string]struct {
		frames []evidence.Frames
		why    string
	}{
		"request too long": {[]evidence.Frames{{Exchanges: []evidence.Exchange{{Request: make([]byte, evidence.MaxFrame+1)}}}}, "limit 65536"},
		"meter too long":   {[]evidence.Frames{{Exchanges: repeat(x, 18)}}, "limits 1048576"},
		"window too long":  {[]evidence.Frames{{Exchanges: repeat(x, 17)}, {Exchanges: repeat(x, 17)}, {Exchanges: repeat(x, 2)}}, "and 2097152"},
	} {
		if _, err := framesBlock(t, c.frames...); err == nil || !strings.Contains(err.Error(), c.why) {
			t.Errorf("%s: %v, want %q", name, err, c.why)
		}
	}
	if _, err := framesBlock(t, evidence.Frames{Exchanges: repeat(x, 17)}, evidence.Frames{Exchanges: repeat(x, 17)}); err != nil {
		t.Errorf("within the limits: %v", err)
	}
	samples := evidence.Block{Channel: evidence.RawFrames, Meters: []evidence.Samples{{Slots: 1, Values: [][]int64{{5}}}}}
	if _, err := evidence.AppendBlock(nil, &samples, frameDict(1)); err == nil {
		t.Error("samples sealed as frames")
	}
}

func repeat(x evidence.Exchange, n int) (xs []evidence.Exchange) {
	for range n {
		xs = append(xs, x)
	}
	return xs
}

// What is announced must be there, in the one form, within the limits.
func TestRawFramesDecoderRefuses(t *testing.T) {
	long := append([]byte{1, 0, 0, 0x81, 0x80, 0x04}, make([]byte, evidence.MaxFrame+1)...) // 65537 bytes
	for name, body := range map[string][]byte{
		"nothing":            {},
		"count without data": {200, 1, 0, 0, 0, 0, 0},
		"request cut short":  {1, 0, 0, 9, 1},
		"no dropped count":   {1, 0, 0, 0, 0},
		"long form":          {1, 0x80, 0, 0, 0, 0, 0},
		"trailing byte":      {0, 0, 0},
		"long request":       append(long, 0, 0),
	} {
		if _, err := evidence.DecodeBlock(blockOfChannel(evidence.RawFrames, body), frameDict(1)); err == nil || !known(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := evidence.DecodeBlock(blockOfChannel(evidence.RawFrames, []byte{1, 0, 0, 0, 0, 0}), frameDict(1)); err != nil {
		t.Error(err)
	}
	var big []byte // more than a meter may have
	big = append(big, 18)
	for range 18 {
		big = append(append(big, 0, 0, 0x80, 0xE0, 0x03), make([]byte, 60<<10)...)
		big = append(big, 0)
	}
	big = append(big, 0)
	if _, err := evidence.DecodeBlock(blockOfChannel(evidence.RawFrames, big), frameDict(1)); err == nil || !strings.Contains(err.Error(), "limits") {
		t.Errorf("a section over its limit: %v", err)
	}
}

// blockOfChannel wraps body as a block.
func blockOfChannel(ch evidence.Channel, body []byte) []byte {
	b := append([]byte{0x84, 0x50}, make([]byte, 16)...)
	b = append(b, byte(ch), 0, 0x5a)
	n := len(body)
	switch {
	case n < 24:
		b[len(b)-1] = 0x40 | byte(n)
	case n < 256:
		b = append(b[:len(b)-1], 0x58, byte(n))
	case n < 1<<16:
		b = append(b[:len(b)-1], 0x59, byte(n>>8), byte(n))
	default:
		b = append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
	}
	return append(b, body...)
}

func FuzzRawFrames(f *testing.F) {
	for _, frames := range []evidence.Frames{
		{},
		{Exchanges: []evidence.Exchange{{At: -3, Took: 12, Request: []byte("/?!\r\n"), Reply: []byte("/ABC5 x\r\n")}, {At: 20}}, Dropped: 3},
	} {
		b, err := framesBlock(f, frames, frames)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	dict := frameDict(2)
	f.Fuzz(func(t *testing.T, b []byte) {
		blk, err := evidence.DecodeBlock(b, dict)
		if err != nil {
			if !known(err) {
				t.Fatalf("unexpected kind of error: %v", err)
			}
			return
		}
		if again, err := evidence.AppendBlock(nil, &blk, dict); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("re-encodes to %x (%v)", again, err)
		}
	})
}

// TestBytesPerReadingWithRawFrames says what raw frames cost on the workload of
// TestBytesPerReading, and that a window then holds them whole: with one
// request of 80 registers a poll, as an SDM630 takes, and with twelve requests,
// as a three-phase DL/T 645-2007 meter takes.
func TestBytesPerReadingWithRawFrames(t *testing.T) {
	const meters, points, windows = 20, 17, 60
	for name, c := range map[string]struct {
		exchanges [][2]int // bytes of request and reply
		limit     float64  // bytes per reading
	}{
		"off":                   {nil, 2.1},
		"modbus-rtu, sdm630":    {[][2]int{{8, 165}}, 13},
		"dlt645-2007, 3 phases": {[][2]int{{20, 22}, {20, 25}, {20, 28}, {20, 20}, {20, 20}, {20, 19}, {20, 18}, {20, 18}, {20, 19}, {20, 19}, {20, 19}, {20, 19}}, 36},
	} {
		f := evidencetest.NewFactory(meters, 1)
		d := f.Dictionary()
		if c.exchanges != nil {
			d.Channels[evidence.RawFrames] = frameDict(meters)
		}
		w, _, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), "file"), evidencetest.Secret(),
			evidence.Genesis{Event: evidencetest.Event(0, 0), Dictionary: d})
		if err != nil {
			t.Fatal(err)
		}
		total, most := 0, 0
		for k := range windows {
			data := f.Window()
			for m := 0; c.exchanges != nil && m < meters; m++ {
				frames := &evidence.Frames{}
				for slot := range evidencetest.Slots {
					at := int64(slot)*evidencetest.IntervalMS + int64(40*m)
					for _, size := range c.exchanges {
						frames.Exchanges = append(frames.Exchanges, evidence.Exchange{At: at, Took: 100, Request: make([]byte, size[0]), Reply: make([]byte, size[1])})
						at += 120
					}
				}
				data[evidence.RawFrames] = append(data[evidence.RawFrames], evidence.Samples{Frames: frames})
			}
			b, err := w.Window(evidencetest.Event(k, evidencetest.WindowMS), data, nil)
			if err != nil {
				t.Fatal(err)
			}
			total, most = total+len(b), max(most, len(b))
		}
		per := float64(total) / float64(windows*meters*points*evidencetest.Slots)
		t.Logf("%s: %.2f bytes/reading, at most %d bytes/window", name, per, most)
		if per > c.limit {
			t.Errorf("%s: %.2f bytes/reading, want at most %v", name, per, c.limit)
		}
	}
}
