package verify

import (
	"bytes"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

func TestStreamVerifies(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 6)
	d, err := s.Writer.Config(evidencetest.Point(6), evidencetest.Small(), evidence.Hash{7})
	s.Add(t, d, err)
	d, err = s.Writer.Loss(evidencetest.Point(6), []evidence.LostRange{{Lo: 2, Hi: 3, Reason: "quota"}})
	s.Add(t, d, err)
	d, err = s.Writer.Window(evidencetest.Event(6, evidencetest.SmallMS), evidencetest.SmallWindow(6), nil)
	s.Add(t, d, err)
	d, err = s.Writer.Shutdown(evidencetest.Point(7), "SIGTERM")
	s.Add(t, d, err)

	v := follow(t, nil)
	readings := 0
	for i, d := range s.Deliveries {
		res := v.Next(d, soon(d))
		if res.Verdict != Verified || res.Grade != GradeB || !has(res, "no-beacon") {
			t.Fatalf("leaf %d: %s %s %v", i, res.Verdict, res.Grade, res.Reasons)
		}
		if (res.Window != nil) != (res.Type == evidence.WindowLeaf) {
			t.Errorf("leaf %d, %s: window %v", i, res.Type, res.Window)
		}
		readings += res.Readings
	}
	// 5 measured columns x 3 slots, less the oven's 2 in windows 2 and 5.
	if want := 7*15 - 2*2; readings != want {
		t.Errorf("%d readings, want %d", readings, want)
	}
	if r := v.Receipt(); r.Empty || r.N != s.Writer.N()-1 || r.Root != s.Writer.Anchor().Root(evidence.SuiteEd25519) || r.Channels[evidence.Energy] != 6 {
		t.Errorf("receipt %+v", r)
	}
}

func TestWindowValuesAreExact(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 3)
	v := follow(t, s.Meta, s.Deliveries[:4]...)
	res := v.Next(s.Deliveries[4], soon(s.Deliveries[4])) // window 2: the oven misses its last slot
	var got []string
	for val := range res.Window.Values() {
		at := "nominal"
		if val.Polled {
			at = val.Time.Format("15:04:05.000")
		}
		got = append(got, val.Meter+" "+val.Quantity+" "+val.Decimal()+" "+val.Unit+" "+val.Code.String()+" "+at)
	}
	want := []string{
		"press-1 energy_import 324962.00 kWh ok 00:01:00.041", // 812405 x 10^-2 x CT 40
		"press-1 energy_import 324966.00 kWh ok 00:01:10.042",
		"press-1 energy_import 324970.00 kWh ok 00:01:20.043",
		"oven energy_import 52.06 kWh ok 00:01:00.112",
		"oven energy_import 52.07 kWh ok 00:01:10.111",
		"oven energy_import  kWh timeout nominal",
		"press-1 voltage_l1 230.3 V ok 00:01:00.041",
		"press-1 voltage_l1 230.1 V ok 00:01:10.042",
		"press-1 voltage_l1 229.9 V ok 00:01:20.043",
		"press-1 current_l1 124.880 A ok 00:01:00.041",
		"press-1 current_l1 125.480 A ok 00:01:10.042",
		"press-1 current_l1 126.080 A ok 00:01:20.043",
		"oven voltage_l1 229.6 V ok 00:01:00.112",
		"oven voltage_l1 229.7 V ok 00:01:10.111",
		"oven voltage_l1  V timeout nominal",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestDecimal(t *testing.T) {
	tests := []struct {
		coef, mul   int64
		exp, mulExp int8
		want        string
	}{
		{2301, 1, -1, 0, "230.1"},
		{5, 1, -3, 0, "0.005"},
		{-5, 40, -3, 0, "-0.200"},
		{0, 40, -2, 0, "0.00"},
		{0, 1, 3, 0, "0"},
		{12, 3, 1, 1, "3600"},
		{-1 << 63, 1, 0, 0, "-9223372036854775808"},
		{-1 << 63, 1 << 62, -2, 0, "-425352958651173079329218259289710264.32"},
	}
	for _, tt := range tests {
		v := Value{Coef: tt.coef, Column: evidence.Column{Exp: tt.exp, MulCoef: tt.mul, MulExp: tt.mulExp}}
		if got := v.Decimal(); got != tt.want {
			t.Errorf("%+v: %s, want %s", tt, got, tt.want)
		}
	}
}

func TestGrades(t *testing.T) {
	end := func(d []byte) time.Time { return soon(d).Add(-time.Minute) }
	tests := []struct {
		name  string
		edit  func(l *liar)
		after time.Duration
		want  Grade
		code  string
	}{
		{"live", nil, time.Minute, GradeB, "no-beacon"},
		{"a day late", nil, 24*time.Hour + time.Second, GradeC, "late"},
		{"eight days late", nil, 8 * 24 * time.Hour, GradeD, "late"},
		{"from the future", nil, -6 * time.Minute, GradeC, "from-the-future"},
		{"clock unsynchronised", func(l *liar) { l.payload[6] = []any{"U", 0} }, time.Minute, GradeC, "clock-unsynchronised"},
		{"relative clock", func(l *liar) { l.payload[6] = []any{"R", 0} }, time.Minute, GradeC, "clock-unsynchronised"},
		{"set by hand", func(l *liar) { l.payload[6] = []any{"I", 0} }, time.Minute, GradeB, "no-beacon"},
		{"clock set back", func(l *liar) { l.payload[5] = []any{uint64(evidencetest.Start), 30_000} }, time.Hour, GradeC, "clock-backwards"},
		{"unexplained restart", func(l *liar) { l.payload[7] = []any{1, 1} }, time.Minute, GradeD, "restart-unexplained"},
	}
	s := evidencetest.NewStream(t, 1, 3)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := s.Deliveries[4]
			if tt.edit != nil {
				d = lie(t, d, 1, tt.edit)
			}
			v := follow(t, s.Meta, s.Deliveries[:4]...)
			res := v.Next(d, end(d).Add(tt.after))
			if res.Verdict != Verified || res.Grade != tt.want || !has(res, tt.code) {
				t.Errorf("%s, grade %s, %v; want verified, %s with %s", res.Verdict, res.Grade, res.Reasons, tt.want, tt.code)
			}
		})
	}
	t.Run("reception unknown", func(t *testing.T) {
		res := follow(t, s.Meta, s.Deliveries[:4]...).Next(s.Deliveries[4], time.Time{})
		if res.Grade != GradeD || !has(res, "reception-unknown") {
			t.Errorf("grade %s %v", res.Grade, res.Reasons)
		}
	})
	t.Run("a boot leaf explains, and heals", func(t *testing.T) {
		s := evidencetest.NewStream(t, 1, 1)
		e := evidencetest.Event(1, evidencetest.SmallMS)
		e.Boot, e.UptimeMS = 2, 5
		d, err := s.Writer.Window(e, evidencetest.SmallWindow(1), nil)
		s.Add(t, d, err)
		e = evidencetest.Point(2)
		e.Boot, e.UptimeMS = 3, 0
		d, err = s.Writer.Boot(e, evidence.Boot{LastRecordedMS: e.Start - 1000, Software: "test"})
		s.Add(t, d, err)
		var grades []Grade
		v := follow(t, s.Meta)
		for _, d := range s.Deliveries {
			grades = append(grades, v.Next(d, soon(d)).Grade)
		}
		if want := []Grade{GradeB, GradeB, GradeB, GradeD, GradeB}; !slices.Equal(grades, want) {
			t.Errorf("grades %v, want %v", grades, want)
		}
	})
}

// TestGapAndAnchor: after a gap an anchor lets the history be checked again;
// without one nothing counts as verified.
func TestGapAndAnchor(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 0)
	anchors := []evidence.Anchor{{}, {}}
	for range 6 {
		anchors = append(anchors, s.Writer.Anchor())
		s.Window(t)
	}
	all := []evidence.Channel{evidence.Energy, evidence.VoltageCurrent, evidence.Timing}
	anchored, err := evidence.FilterDelivery(nil, s.Deliveries[5], record.Granted("", all), &anchors[5])
	if err != nil {
		t.Fatal(err)
	}

	v := follow(t, s.Meta, s.Deliveries[:3]...)
	res := v.Next(anchored, soon(anchored))
	if res.Verdict != Gap || res.Missing == nil || *res.Missing != (Range{3, 4}) || has(res, "history-unchecked") || res.Window == nil {
		t.Fatalf("anchored: %s %v missing %v", res.Verdict, res.Reasons, res.Missing)
	}
	if res = v.Next(s.Deliveries[6], soon(s.Deliveries[6])); res.Verdict != Verified {
		t.Errorf("after the anchor: %s %v", res.Verdict, res.Reasons)
	}
	if r := v.Receipt(); r.N != 6 {
		t.Errorf("receipt after the anchor: %+v", r)
	}

	v = follow(t, s.Meta, s.Deliveries[:3]...)
	res = v.Next(s.Deliveries[5], soon(s.Deliveries[5]))
	if res.Verdict != Gap || !has(res, "history-unchecked") {
		t.Errorf("unanchored: %s %v", res.Verdict, res.Reasons)
	}
	if res = v.Next(s.Deliveries[6], soon(s.Deliveries[6])); res.Verdict != Gap || res.Missing != nil {
		t.Errorf("after an unanchored gap: %s %v", res.Verdict, res.Reasons)
	}
	if r := v.Receipt(); r.N != 2 || r.Root != anchors[3].Root(evidence.SuiteEd25519) {
		t.Errorf("receipt after an unanchored gap: %+v", r)
	}
	anchored, _ = evidence.FilterDelivery(nil, s.Deliveries[7], record.Granted("", all), &anchors[7])
	if res = v.Next(anchored, soon(anchored)); res.Verdict != Verified {
		t.Errorf("anchored later: %s %v", res.Verdict, res.Reasons)
	}

	late := follow(t, s.Meta)
	if res = late.Next(anchored, soon(anchored)); res.Verdict != Verified || !has(res, "starts-late") {
		t.Errorf("late start: %s %v", res.Verdict, res.Reasons)
	}
	late = follow(t, s.Meta)
	if res = late.Next(s.Deliveries[7], soon(anchored)); res.Verdict != Gap {
		t.Errorf("late start without anchor: %s %v", res.Verdict, res.Reasons)
	}
}

// TestFewerChannels: a lender that was granted one channel verifies all the
// same, and counts only what it was given.
func TestFewerChannels(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 2)
	v := follow(t, s.Meta, s.Deliveries[:2]...)
	d, err := evidence.FilterDelivery(nil, s.Deliveries[2], record.Granted("", []evidence.Channel{evidence.Energy}), nil)
	if err != nil {
		t.Fatal(err)
	}
	res := v.Next(d, soon(d))
	if res.Verdict != Verified || res.Readings != 6 {
		t.Errorf("%s, %d readings, %v", res.Verdict, res.Readings, res.Reasons)
	}
	for val := range res.Window.Values() {
		if val.Channel != evidence.Energy || val.Polled {
			t.Errorf("value %+v from a channel that was not granted", val)
		}
	}
	if r := v.Receipt(); len(r.Channels) != 1 {
		t.Errorf("receipt for channels %v", r.Channels)
	}
}

func TestAdmitConfinesTheDamage(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 4)
	v := follow(t, s.Meta, s.Deliveries[:3]...)
	bad := slices.Clone(s.Deliveries[3])
	bad[len(bad)-1] ^= 2
	if res := v.Next(bad, soon(bad)); res.Verdict != Altered || res.Channel != evidence.Timing {
		t.Fatalf("%s channel %d", res.Verdict, res.Channel)
	}
	if res := v.Admit(bad, soon(bad)); res.Verdict != Verified || res.Window != nil || res.Readings != 0 {
		t.Fatalf("admit: %s %v", res.Verdict, res.Reasons)
	}
	if res := v.Next(s.Deliveries[4], soon(s.Deliveries[4])); res.Verdict != Verified {
		t.Errorf("after: %s %v", res.Verdict, res.Reasons)
	}
	forged := lie(t, s.Deliveries[5], 2, func(*liar) {})
	if res := v.Admit(forged, soon(forged)); res.Verdict.Accepted() {
		t.Errorf("admitted a leaf signed by another key")
	}
}

func TestSeenReachesFurtherThanMemory(t *testing.T) {
	s := evidencetest.NewStream(t, 1, remembered+10)
	v := follow(t, s.Meta, s.Deliveries...)
	if res := v.Next(s.Deliveries[2], soon(s.Deliveries[2])); res.Verdict != Replayed || !has(res, "replayed-unchecked") {
		t.Errorf("%s %v", res.Verdict, res.Reasons)
	}
	v.Seen = func(n uint64) (evidence.Hash, bool) {
		d, _ := evidence.ParseDelivery(s.Deliveries[n])
		return d.Hash(), true
	}
	if res := v.Next(s.Deliveries[2], soon(s.Deliveries[2])); !has(res, "replayed") {
		t.Errorf("%s %v", res.Verdict, res.Reasons)
	}
	forged := lie(t, s.Deliveries[2], 1, func(l *liar) { l.payload[9] = 1 })
	if res := v.Next(forged, soon(forged)); res.Verdict != Forked {
		t.Errorf("%s %v", res.Verdict, res.Reasons)
	}
}

func TestRestoreContinues(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 8)
	for cut := range s.Deliveries {
		v := follow(t, s.Meta, s.Deliveries[:cut]...)
		state := v.State()
		r, err := Restore(pub(1), state)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(r.State(), state) || r.N() != uint64(cut) || r.Log() != s.Writer.LogID() {
			t.Fatalf("state changed by restoring after %d leaves", cut)
		}
		for i, d := range s.Deliveries[cut:] {
			if res := r.Next(d, soon(d)); res.Verdict != Verified {
				t.Fatalf("restored after %d, leaf %d: %s %v", cut, cut+i, res.Verdict, res.Reasons)
			}
		}
		if cut > 0 {
			if res := r.Next(s.Deliveries[cut-1], time.Time{}); res.Verdict != Replayed {
				t.Errorf("restored after %d: replay is %s", cut, res.Verdict)
			}
		}
		if _, err := Restore(pub(2), state); !errors.Is(err, ErrWrongKey) {
			t.Errorf("restored under another key: %v", err)
		}
	}
}

func TestMetaOfAnotherKeyIsRefused(t *testing.T) {
	s := evidencetest.NewStream(t, 2, 0)
	if _, err := New(pub(1), s.Meta); !errors.Is(err, ErrWrongKey) {
		t.Errorf("another key: %v", err)
	}
	mine := evidencetest.NewStream(t, 1, 0)
	broken := slices.Clone(mine.Meta)
	broken[len(broken)-1] ^= 1
	if _, err := New(pub(1), broken); !errors.Is(err, evidence.ErrSignature) {
		t.Errorf("flipped signature: %v", err)
	}
	v := follow(t, nil)
	d := s.Deliveries[0]
	if res := v.Next(d, soon(d)); res.Verdict != WrongKey {
		t.Errorf("genesis of another key: %s", res.Verdict)
	}
	if res := v.Next(s.Deliveries[1], soon(d)); res.Verdict != WrongKey {
		t.Errorf("leaf of another key: %s", res.Verdict)
	}
	if res := v.Next(mine.Deliveries[0], soon(d)); res.Verdict != Verified {
		t.Errorf("own genesis: %s %v", res.Verdict, res.Reasons)
	}
}

// TestDictionaryChange: a window is read with the dictionary its leaf names,
// and one whose dictionary was missed is kept but not interpreted.
func TestDictionaryChange(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	stale := s.Meta
	next := evidencetest.Small()
	next.Meters[1].Name = "kiln"
	d, err := s.Writer.Config(evidencetest.Point(1), next, evidence.Hash{1})
	s.Add(t, d, err)
	anchor := s.Writer.Anchor()
	d, err = s.Writer.Window(evidencetest.Event(1, evidencetest.SmallMS), evidencetest.SmallWindow(1), nil)
	s.Add(t, d, err)

	names := func(res Result) (n []string) {
		for v := range res.Window.Values() {
			n = append(n, v.Meter)
		}
		return n
	}
	v := follow(t, stale, s.Deliveries[:4]...)
	if res := v.Next(s.Deliveries[4], soon(s.Deliveries[4])); res.Verdict != Verified || !slices.Contains(names(res), "kiln") {
		t.Errorf("after the config leaf: %s %v", res.Verdict, res.Reasons)
	}

	anchored, err := evidence.FilterDelivery(nil, s.Deliveries[4], record.Granted("", []evidence.Channel{evidence.Energy}), &anchor)
	if err != nil {
		t.Fatal(err)
	}
	v = follow(t, stale, s.Deliveries[:3]...)
	if res := v.Next(anchored, soon(anchored)); res.Verdict != Gap || !has(res, "dictionary-unseen") || res.Window != nil {
		t.Errorf("config leaf missed: %s %v", res.Verdict, res.Reasons)
	}
	v = follow(t, stale, s.Deliveries[:3]...)
	if err := v.Meta(s.Writer.Meta().Encode()); err != nil {
		t.Fatal(err)
	}
	if res := v.Next(anchored, soon(anchored)); res.Verdict != Gap || res.Window == nil || !slices.Contains(names(res), "kiln") {
		t.Errorf("config leaf from meta: %s %v", res.Verdict, res.Reasons)
	}
}

func TestNewerVersionIsSaidSo(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 1)
	v := follow(t, s.Meta, s.Deliveries[:2]...)
	d := lie(t, s.Deliveries[2], 1, func(l *liar) { l.payload[1] = 77; l.payload[99] = "new" })
	if res := v.Next(d, time.Time{}); res.Verdict != Unreadable || !has(res, "newer-version") {
		t.Errorf("%s %v", res.Verdict, res.Reasons)
	}
}

func TestWordsAccuseOnlyWithProof(t *testing.T) {
	for _, a := range attacks() {
		v, d := a.setup(t)
		res := v.Next(d, soon(d))
		for _, r := range res.Reasons {
			accuses := bytes.Contains([]byte(r.En), []byte("altered")) || bytes.Contains([]byte(r.En), []byte("fork"))
			if accuses && res.Verdict != Altered && res.Verdict != Forked {
				t.Errorf("%s says %q", res.Verdict, r.En)
			}
		}
	}
}
