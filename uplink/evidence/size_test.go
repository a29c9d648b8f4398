package evidence_test

import (
	"crypto/ed25519"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// factoryWriter opens a log for the workload of evidencetest.Factory.
func factoryWriter(t testing.TB, f *evidencetest.Factory) (*seal.Writer, []byte) {
	t.Helper()
	w, genesis, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Event(0, 0), Dictionary: f.Dictionary()})
	if err != nil {
		t.Fatal(err)
	}
	return w, append([]byte(nil), genesis...)
}

// TestBytesPerReading holds the size target on an hour of 20 meters with 17
// points each, every 10 s, in windows of 60 s: signature, manifest, salts,
// poll times and outer array included.
func TestBytesPerReading(t *testing.T) {
	const meters, points, windows = 20, 17, 60
	for seed := range uint64(3) {
		f := evidencetest.NewFactory(meters, seed)
		w, _ := factoryWriter(t, f)
		total := 0
		parts := map[evidence.Channel]int{}
		for k := range windows {
			d, err := w.Window(evidencetest.Event(k, evidencetest.WindowMS), f.Window(), nil)
			if err != nil {
				t.Fatal(err)
			}
			total += len(d)
			p, err := evidence.ParseDelivery(d)
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range p.Blocks {
				parts[b.Channel] += len(b.Bytes)
			}
			parts[0] += len(p.Sign1)
		}
		readings := windows * meters * points * evidencetest.Slots
		per := float64(total) / float64(readings)
		t.Logf("seed %d: %.3f bytes/reading, %d bytes/window; signed leaf %d, blocks by channel %v", seed, per, total/windows, parts[0]/windows, parts)
		if per > 2.05 {
			t.Errorf("seed %d: %.3f bytes/reading, want at most 2.05", seed, per)
		}
	}
}

// TestLongWindows holds the size target of windows of five minutes.
func TestLongWindows(t *testing.T) {
	const meters, points, hour = 20, 17, 60
	f, total := evidencetest.NewFactory(meters, 1), 0
	w, _ := factoryWriter(t, f)
	for k := range hour / 5 {
		data := f.Window()
		for range 4 {
			for ch, more := range f.Window() {
				for m := range more {
					s := &data[ch][m]
					s.Slots += more[m].Slots
					for c := range s.Values {
						s.Values[c] = append(s.Values[c], more[m].Values[c]...)
					}
				}
			}
		}
		d, err := w.Window(evidencetest.Event(k, 5*evidencetest.WindowMS), data, nil)
		if err != nil {
			t.Fatal(err)
		}
		total += len(d)
	}
	per := float64(total) / float64(hour*meters*points*evidencetest.Slots)
	t.Logf("windows of five minutes: %.3f bytes/reading", per)
	if per > 1.7 {
		t.Errorf("windows of five minutes: %.3f bytes/reading, want at most 1.7", per)
	}
}

// TestFeedsPerDay measures a day of the feeds a lender may be granted, of 20
// meters with 17 points each, every 10 s: payloads of the deliveries of 1,440
// windows, and of one receipt with a nonce for each.
func TestFeedsPerDay(t *testing.T) {
	const meters, windows = 20, 24 * 60
	f := evidencetest.NewFactory(meters, 0)
	w, _ := factoryWriter(t, f)
	feeds := []struct {
		name     string
		channels []evidence.Channel
		most     int // bytes
	}{
		{"no channel", nil, 600_000},
		{"energy", []evidence.Channel{evidence.Energy}, 1_400_000},
		{"energy, power, timing", []evidence.Channel{evidence.Energy, evidence.Power, evidence.Timing}, 3_200_000},
		{"all six channels", w.Dictionary().ChannelList(), 5_700_000},
	}
	sizes := make([]int, len(feeds))
	for k := range windows {
		d, err := w.Window(evidencetest.Event(k, evidencetest.WindowMS), f.Window(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, feed := range feeds {
			shared, err := evidence.FilterDelivery(nil, d, record.Granted("bank-a", feed.channels), nil)
			if err != nil {
				t.Fatal(err)
			}
			sizes[i] += len(shared)
		}
	}
	for i, feed := range feeds {
		t.Logf("%s: %d bytes a day, %d a window", feed.name, sizes[i], sizes[i]/windows)
		if sizes[i] > feed.most {
			t.Errorf("%s: %d bytes a day, want at most %d", feed.name, sizes[i], feed.most)
		}
	}
	stored := map[evidence.Channel]uint64{}
	for _, ch := range w.Dictionary().ChannelList() {
		stored[ch] = windows
	}
	r, err := evidence.SignReceipt(evidencetest.Signer(9), evidence.Receipt{Log: w.LogID(), N: windows, Channels: stored,
		ReceivedAt: evidencetest.Start, Status: "ok", Nonce: make([]byte, 16)})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("receipts: %d bytes each, %d for every window of a day", len(r), windows*len(r))
}

func BenchmarkSeal(b *testing.B) {
	f := evidencetest.NewFactory(20, 1)
	w, _ := factoryWriter(b, f)
	data := f.Window()
	e := evidencetest.Event(1, evidencetest.WindowMS)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Window(e, data, nil); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkBareEd25519 is the floor of BenchmarkSeal: the one signature.
func BenchmarkBareEd25519(b *testing.B) {
	payload, key := make([]byte, 330), evidencetest.Key(1)
	for b.Loop() {
		ed25519.Sign(key, payload)
	}
}

// BenchmarkYear seals as many leaves as a year has minutes and reports by how
// much the writer's memory has grown: it holds the right edge of the tree only.
func BenchmarkYear(b *testing.B) {
	const minutes = 525_600
	for b.Loop() {
		s := evidencetest.NewStream(b, 1, 1)
		before := heap()
		for range minutes {
			if _, err := s.Writer.Shutdown(evidencetest.Point(1), "x"); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(int64(heap())-int64(before)), "bytes-grown")
		if s.Writer.N() != minutes+3 {
			b.Fatal(s.Writer.N())
		}
	}
}

// TestMemoryIsBounded seals and keeps nothing: a day of windows of the size
// workload leaves the heap where it was.
func TestMemoryIsBounded(t *testing.T) {
	f := evidencetest.NewFactory(20, 1)
	w, _ := factoryWriter(t, f)
	data := f.Window()
	window := func(windows int) {
		for k := range windows {
			if _, err := w.Window(evidencetest.Event(k, evidencetest.WindowMS), data, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	window(50)
	before := heap()
	window(1440)
	if grown := int64(heap()) - int64(before); grown > 64<<10 {
		t.Errorf("heap grew by %d bytes in 1440 windows", grown)
	}
}
