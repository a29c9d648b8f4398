package verify

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// TestChangedMeaning: the holder of the key gives readings another meaning under a good
// signature. Nothing is altered or forked, and each change is named.
func TestChangedMeaning(t *testing.T) {
	for name, c := range map[string]struct {
		edit   func(*evidence.Dictionary)
		en, zh string
	}{
		"a doubled ratio": {func(d *evidence.Dictionary) { d.Channels[evidence.Energy][0].Columns[0].MulCoef *= 2 }, "meter press-1: multiplied by 80, before by 40", "电表 press-1：乘以 80，此前为 40"},
		"another step":    {func(d *evidence.Dictionary) { d.Channels[evidence.Energy][0].Columns[0].Exp++ }, "energy_import of meter press-1 is told in another unit or another step", "电表 press-1 的 energy_import 单位或步长改变"},
		"another meter":   {func(d *evidence.Dictionary) { d.Meters[1].Name = "x" }, "meter oven is gone, meter x is new", "不再有电表 oven，新增电表 x"},
		"another profile": {func(d *evidence.Dictionary) { d.Meters[1].ProfileHash[0] ^= 1 }, "meter oven is read by another profile", "电表 oven 改用其他型号文件"},
		"a channel less":  {func(d *evidence.Dictionary) { delete(d.Channels, evidence.VoltageCurrent) }, "no channel voltage/current", "不再有通道 电压/电流"},
		"a quantity less": {func(d *evidence.Dictionary) {
			d.Channels[evidence.VoltageCurrent][0].Columns = d.Channels[evidence.VoltageCurrent][0].Columns[:1]
		}, "no current_l1 of meter press-1", "不再有电表 press-1 的 current_l1"},
		"a longer pause":   {func(d *evidence.Dictionary) { d.Meters[1].IntervalMS++ }, "", ""},
		"nothing in words": {func(*evidence.Dictionary) {}, "", ""},
	} {
		s := evidencetest.NewStream(t, 1, 1)
		d := evidencetest.Small()
		c.edit(&d)
		change, err := s.Writer.Config(evidencetest.Point(1), d, evidence.Hash{1})
		s.Add(t, change, err)
		back, err := s.Writer.Config(evidencetest.Point(1), evidencetest.Small(), evidence.Hash{2})
		s.Add(t, back, err)
		sum, err := Bundle(bytes.NewReader(archive(t, s, 0, 4, nil)), Policy{Pinned: []evidence.PublicKey{pub(1)}}, nil)
		if err != nil || sum.Verdict != Verified {
			t.Fatalf("%s: %+v %v", name, sum, err)
		}
		var told []Reason
		for _, r := range sum.Reasons {
			if r.Code == "dictionary-changed" {
				told = append(told, r)
			}
		}
		switch {
		case c.en == "" && len(told) == 0:
		case c.en != "" && (len(told) == 2 || name == "a quantity less") && strings.Contains(told[0].En, "leaf 3 on readings are told otherwise: "+c.en+";") && strings.Contains(told[0].Zh, "记录 3 起数据的含义改变："+c.zh+"；"):
		default:
			t.Errorf("%s: %v, want %q, %q and the way back", name, told, c.en, c.zh)
		}
	}
}
