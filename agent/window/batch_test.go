package window

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"github.com/tallystick/tallystick/drivers"
)

func TestJournalReturnsWhatItWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cols := rapid.SliceOfN(rapid.IntRange(0, 5), 1, 4).Draw(t, "columns by meter")
		b := batch{leaf: rapid.Uint64().Draw(t, "leaf")}
		var want []journaled
		for range rapid.IntRange(1, 20).Draw(t, "polls") {
			p := journaled{
				window: rapid.Int64Range(-1e12, 1e13).Draw(t, "window"),
				meter:  rapid.IntRange(0, len(cols)-1).Draw(t, "meter"),
			}
			p.start = p.window + rapid.Int64Range(-1e5, 1e6).Draw(t, "offset")
			p.readings = make([]drivers.Reading, cols[p.meter])
			for i := range p.readings {
				p.readings[i].Quality = drivers.Quality(rapid.IntRange(0, int(drivers.Skipped)).Draw(t, "quality"))
				if p.readings[i].Quality.HasValue() {
					p.readings[i].Coef = rapid.Int64().Draw(t, "value")
				}
			}
			b.add(p.window, p.meter, p.start, p.readings)
			want = append(want, p)
		}
		var got []journaled
		if err := readBatch(b.buf, cols, func(p journaled) { got = append(got, p) }); err != nil {
			t.Fatal(err)
		}
		if len(got) != len(want) {
			t.Fatalf("%d polls read back of %d", len(got), len(want))
		}
		for i := range want {
			g, w := got[i], want[i]
			if g.leaf != b.leaf || g.window != w.window || g.meter != w.meter || g.start != w.start {
				t.Fatalf("poll %d: %+v, want %+v", i, g, w)
			}
			for c := range w.readings {
				if g.readings[c] != w.readings[c] {
					t.Fatalf("poll %d reading %d: %+v, want %+v", i, c, g.readings[c], w.readings[c])
				}
			}
		}
	})
}

func FuzzJournal(f *testing.F) {
	var b batch
	b.add(1000, 0, 1003, []drivers.Reading{{Coef: 2301}, {Quality: drivers.Timeout}})
	b.add(1000, 1, 1005, []drivers.Reading{{Coef: -5, Quality: drivers.Suspect}})
	f.Add(b.buf)
	f.Add([]byte{journalVersion})
	f.Add([]byte{9, 1, 2})
	f.Fuzz(func(t *testing.T, rec []byte) {
		cols := []int{2, 1}
		var again batch
		err := readBatch(rec, cols, func(p journaled) {
			again.leaf = p.leaf
			if len(p.readings) != cols[p.meter] {
				t.Fatalf("meter %d with %d readings", p.meter, len(p.readings))
			}
			again.add(p.window, p.meter, p.start, p.readings)
		})
		if err == nil && len(rec) > 1 {
			twice := batch{leaf: again.leaf}
			if err := readBatch(again.buf, cols, func(p journaled) { twice.add(p.window, p.meter, p.start, p.readings) }); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(again.buf, twice.buf) {
				t.Fatal("a batch read back and written again differs")
			}
		}
	})
}
