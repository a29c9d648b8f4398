package verify

import (
	"bytes"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// TestEveryByteMatters flips one bit of every byte of a 30-window stream and
// cuts every delivery at every length: never verified, never a panic, never a
// step forward.
func TestEveryByteMatters(t *testing.T) {
	t.Parallel()
	s := evidencetest.NewStream(t, 1, 30)
	v := follow(t, s.Meta)
	for n, d := range s.Deliveries {
		before := v.N()
		for i := n % stride; i < len(d); i += stride {
			bad := slices.Clone(d)
			bad[i] ^= 1 << ((i*5 + n) % 8)
			if res := v.Next(bad, time.Time{}); res.Verdict == Verified || res.Verdict.Accepted() {
				t.Fatalf("leaf %d, byte %d flipped: %s", n, i, res.Verdict)
			}
		}
		for i := range d {
			if res := v.Next(d[:i], time.Time{}); res.Verdict != Unreadable {
				t.Fatalf("leaf %d cut to %d bytes: %s", n, i, res.Verdict)
			}
		}
		if v.N() != before {
			t.Fatalf("leaf %d: a bad delivery moved the state", n)
		}
		if res := v.Next(d, soon(d)); res.Verdict != Verified {
			t.Fatalf("leaf %d itself: %s %v", n, res.Verdict, res.Reasons)
		}
		if res := v.Next(d, soon(d)); res.Verdict != Replayed {
			t.Fatalf("leaf %d twice: %s", n, res.Verdict)
		}
	}
}

// TestEveryOrderMatters moves, drops and doubles every delivery of a stream.
func TestEveryOrderMatters(t *testing.T) {
	t.Parallel()
	s := evidencetest.NewStream(t, 1, 30)
	worst := func(deliveries [][]byte) Verdict {
		v, sum := follow(t, s.Meta), Verified
		for _, d := range deliveries {
			sum = Worst(sum, v.Next(d, soon(d)).Verdict)
		}
		return sum
	}
	if got := worst(s.Deliveries); got != Verified {
		t.Fatalf("untouched: %s", got)
	}
	last := len(s.Deliveries) - 1
	for i := range s.Deliveries {
		swapped := slices.Clone(s.Deliveries)
		j := (i + 1) % len(swapped)
		swapped[i], swapped[j] = swapped[j], swapped[i]
		if got := worst(swapped); got == Verified {
			t.Errorf("leaves %d and %d swapped: %s", i, j, got)
		}
		doubled := slices.Insert(slices.Clone(s.Deliveries), i, s.Deliveries[i])
		if got := worst(doubled); got != Replayed {
			t.Errorf("leaf %d doubled: %s", i, got)
		}
		if i == last {
			continue // a dropped tail shows only against an outside witness
		}
		if got := worst(slices.Delete(slices.Clone(s.Deliveries), i, i+1)); got != Gap {
			t.Errorf("leaf %d dropped: %s", i, got)
		}
	}
}

// archive writes deliveries lo..hi of a stream as a bundle file.
func archive(t testing.TB, s *evidencetest.Stream, lo, hi uint64, anchor *evidence.Anchor) []byte {
	t.Helper()
	d, err := evidence.ParseDelivery(s.Deliveries[0])
	if err != nil {
		t.Fatal(err)
	}
	meta := evidence.Meta{Genesis: d.Sign1, Dictionary: d.Sign1}
	for _, b := range s.Deliveries[:lo] {
		if d, err := evidence.ParseDelivery(b); err == nil && d.Manifest.Rotation != nil {
			meta.Rotations = append(meta.Rotations, d.Sign1)
		}
	}
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, bundle.Header{
		Log: d.Manifest.Log, Lo: lo, Hi: hi, Anchor: anchor, Meta: meta,
	})
	for _, d := range s.Deliveries[lo : hi+1] {
		if err == nil {
			err = w.Append(d)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func trusting(s *evidencetest.Stream) Policy {
	received := map[uint64]time.Time{}
	for n, d := range s.Deliveries {
		received[uint64(n)] = soon(d)
	}
	return Policy{
		Keys:  map[evidence.LogID]evidence.PublicKey{s.Writer.LogID(): pub(1)},
		Times: func(n uint64) (time.Time, time.Time) { return received[n], time.Time{} },
	}
}

func TestBundle(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 0)
	anchors := []evidence.Anchor{{}, {}}
	for range 8 {
		anchors = append(anchors, s.Writer.Anchor())
		s.Window(t)
	}
	last := uint64(len(s.Deliveries) - 1)
	whole := archive(t, s, 0, last, nil)
	results := 0
	sum, err := Bundle(bytes.NewReader(whole), trusting(s), func(Result) { results++ })
	if err != nil {
		t.Fatal(err)
	}
	if sum.Verdict != Verified || sum.Windows != 8 || sum.Verified != 8 || sum.Leaves != 10 || sum.Hi != last ||
		sum.Grade != GradeB || results != 10 || len(sum.Gaps) != 0 || sum.Readings != 8*15-2*2 {
		t.Errorf("whole: %+v, %d results", sum, results)
	}
	sum, err = Bundle(bytes.NewReader(archive(t, s, 5, 8, &anchors[5])), trusting(s), nil)
	if err != nil || sum.Verdict != Verified || sum.Lo != 5 || sum.Hi != 8 || sum.Windows != 4 {
		t.Errorf("part: %+v %v", sum, err)
	}
	sum, err = Bundle(bytes.NewReader(archive(t, s, 5, 8, &anchors[5])), Policy{Pinned: []evidence.PublicKey{pub(2), pub(1)}}, nil)
	if err != nil || sum.Verdict != Verified || sum.Grade != GradeD {
		t.Errorf("pinned for any log: %+v %v", sum, err)
	}
	sum, err = Bundle(bytes.NewReader(whole), Policy{}, nil)
	if err != nil || sum.Verdict != WrongKey || sum.Leaves != 0 || sum.Grade != GradeX {
		t.Errorf("nobody trusted: %+v %v", sum, err)
	}
	other := trusting(s)
	other.Keys = maps.Clone(other.Keys)
	other.Keys[s.Writer.LogID()] = pub(2)
	if sum, err = Bundle(bytes.NewReader(whole), other, nil); err != nil || sum.Verdict != WrongKey {
		t.Errorf("another key pinned: %+v %v", sum, err)
	}

	// One window edited, one dropped, one repeated, the tail gone: each named.
	damaged := &evidencetest.Stream{Writer: s.Writer, Deliveries: slices.Clone(s.Deliveries)}
	damaged.Deliveries[3] = slices.Clone(damaged.Deliveries[3])
	damaged.Deliveries[3][len(damaged.Deliveries[3])-1] ^= 2
	sum, err = Bundle(bytes.NewReader(archive(t, damaged, 0, last, nil)), trusting(s), nil)
	if err != nil || sum.Verdict != Altered || len(sum.Altered) != 1 || sum.Altered[0].N != 3 ||
		sum.Altered[0].Channel != evidence.Timing || sum.Windows != 7 || len(sum.Gaps) != 0 {
		t.Errorf("edited: %+v %v", sum, err)
	}
}

func TestBundleGaps(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 8)
	d, err := s.Writer.Loss(evidencetest.Point(8), []evidence.LostRange{{Lo: 4, Hi: 6, Reason: "quota"}})
	s.Add(t, d, err)
	last := uint64(len(s.Deliveries) - 1)
	whole := archive(t, s, 0, last, nil)
	without := func(from, to uint64) []byte { // leaves from..to cut out of the file
		cut := &evidencetest.Stream{Writer: s.Writer, Deliveries: slices.Clone(s.Deliveries)}
		cut.Deliveries = slices.Delete(cut.Deliveries, int(from), int(to)+1)
		b := archive(t, cut, 0, uint64(len(cut.Deliveries)-1), nil)
		head := archive(t, s, 0, last, nil)
		n := bytes.Index(head, s.Deliveries[0])
		return append(slices.Clone(head[:n]), b[bytes.Index(b, s.Deliveries[0]):]...)
	}
	sum, err := Bundle(bytes.NewReader(without(4, 5)), trusting(s), nil)
	if err != nil || sum.Verdict != Gap || len(sum.Gaps) != 1 || sum.Gaps[0] != (Lost{Range{4, 5}, "quota"}) {
		t.Errorf("declared: %+v %v", sum, err)
	}
	sum, err = Bundle(bytes.NewReader(without(3, 3)), trusting(s), nil)
	if err != nil || sum.Verdict != Gap || len(sum.Gaps) != 1 || sum.Gaps[0] != (Lost{Range{3, 3}, "not declared"}) {
		t.Errorf("not declared: %+v %v", sum, err)
	}
	// A tail cut off between two items shows because the head announced it.
	end := bytes.Index(whole, s.Deliveries[last-1]) + len(s.Deliveries[last-1])
	sum, err = Bundle(bytes.NewReader(whole[:end]), trusting(s), nil)
	if err != nil || sum.Verdict != Gap || len(sum.Gaps) != 1 || sum.Gaps[0].Lo != last {
		t.Errorf("tail gone: %+v %v", sum, err)
	}
}

// TestBundleEveryByte flips every byte of a file and cuts it in many places: it
// is never verified, and never an I/O error.
func TestBundleEveryByte(t *testing.T) {
	t.Parallel()
	s := evidencetest.NewStream(t, 1, 1)
	file := archive(t, s, 0, uint64(len(s.Deliveries)-1), nil)
	policy := trusting(s)
	check := func(what string, i int, b []byte) {
		sum, err := Bundle(bytes.NewReader(b), policy, nil)
		if err == nil && sum.Verdict == Verified {
			t.Fatalf("%s at byte %d: verified", what, i)
		}
	}
	for i := 0; i < len(file); i += stride {
		bad := slices.Clone(file)
		bad[i] ^= 1 << (i % 8)
		check("flipped", i, bad)
		if i%7 == 0 {
			check("cut", i, file[:i])
		}
	}
}
