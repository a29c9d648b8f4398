package verify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// changesTold bounds how many changes of a dictionary a reason names.
const changesTold = 4

// changed says, where the leaf puts another dictionary in force, what readings mean
// from here on that they did not before: a ratio that was doubled doubles every value
// under a good signature.
func (in *incoming) changed() {
	now := in.m.Dictionary()
	before := in.v.dictionaryBefore(in.m.N)
	if now == nil || before.Dictionary == nil {
		return
	}
	en, zh := changes(before.Dictionary, now)
	if len(en) == 0 {
		return
	}
	if more := len(en) - changesTold; more > 0 {
		en = append(en[:changesTold], fmt.Sprintf("and %d more", more))
		zh = append(zh[:changesTold], fmt.Sprintf("另有 %d 项", more))
	}
	r := newReason("dictionary-changed", in.m.N, strings.Join(en, ", "))
	r.Zh = newReason("dictionary-changed", in.m.N, strings.Join(zh, "，")).Zh
	in.res.Reasons = append(in.res.Reasons, r)
}

// dictionaryBefore is the newest dictionary at hand of a leaf before n.
func (v *Verifier) dictionaryBefore(n uint64) (newest dictionaryLeaf) {
	for _, d := range []dictionaryLeaf{v.meta.genesis, v.meta.dict, v.pos.dict} {
		if d.Dictionary != nil && d.n < n && (newest.Dictionary == nil || d.n > newest.n) {
			newest = d
		}
	}
	return newest
}

// columnOf names a column of a meter.
type columnOf struct {
	meter, quantity string
	channel         evidence.Channel
}

// changes lists what differs between two dictionaries, in words.
func changes(was, now *evidence.Dictionary) (en, zh []string) {
	say := func(enFormat, zhFormat string, args ...any) {
		en, zh = append(en, fmt.Sprintf(enFormat, args...)), append(zh, fmt.Sprintf(zhFormat, args...))
	}
	meter := func(d *evidence.Dictionary, name string) *evidence.Meter {
		if i := slices.IndexFunc(d.Meters, func(m evidence.Meter) bool { return m.Name == name }); i >= 0 {
			return &d.Meters[i]
		}
		return nil
	}
	for _, m := range was.Meters {
		if meter(now, m.Name) == nil {
			say("meter %s is gone", "不再有电表 %s", m.Name)
		}
	}
	for _, m := range now.Meters {
		switch old := meter(was, m.Name); {
		case old == nil:
			say("meter %s is new", "新增电表 %s", m.Name)
		case old.ProfileHash != m.ProfileHash:
			say("meter %s is read by another profile", "电表 %s 改用其他型号文件", m.Name)
		}
	}
	for _, ch := range was.ChannelList() {
		if _, still := now.Channels[ch]; !still {
			say("no channel %[1]s", "不再有通道 %[2]s", ch, channelZh(ch))
		}
	}
	for _, ch := range now.ChannelList() {
		if _, there := was.Channels[ch]; !there {
			say("channel %[1]s is new", "新增通道 %[2]s", ch, channelZh(ch))
		}
	}
	before, after, told := columnsOf(was), columnsOf(now), map[string]bool{}
	for _, ch := range was.ChannelList() {
		for _, cm := range was.Channels[ch] {
			name := was.Meters[cm.Meter].Name
			for _, c := range cm.Columns {
				if _, still := after[columnOf{name, c.Quantity, ch}]; !still && meter(now, name) != nil && now.Channels[ch] != nil {
					say("no %s of meter %s", "不再有电表 %[2]s 的 %[1]s", c.Quantity, name)
				}
			}
		}
	}
	for _, ch := range now.ChannelList() {
		for _, cm := range now.Channels[ch] {
			name := now.Meters[cm.Meter].Name
			for _, c := range cm.Columns {
				old, known := before[columnOf{name, c.Quantity, ch}]
				if !known || old == c {
					continue
				}
				from, to := multiplier(old), multiplier(c)
				if from == to {
					say("%s of meter %s is told in another unit or another step", "电表 %[2]s 的 %[1]s 单位或步长改变", c.Quantity, name)
				} else if key := name + from + to; !told[key] { // one transformer, many quantities
					told[key] = true
					say("meter %s: multiplied by %s, before by %s", "电表 %s：乘以 %s，此前为 %s", name, to, from)
				}
			}
		}
	}
	return en, zh
}

func columnsOf(d *evidence.Dictionary) map[columnOf]evidence.Column {
	all := map[columnOf]evidence.Column{}
	for ch, meters := range d.Channels {
		for _, cm := range meters {
			for _, c := range cm.Columns {
				all[columnOf{d.Meters[cm.Meter].Name, c.Quantity, ch}] = c
			}
		}
	}
	return all
}

// multiplier is a transformer's ratio as people write it.
func multiplier(c evidence.Column) string {
	if c.MulExp == 0 {
		return strconv.FormatInt(c.MulCoef, 10)
	}
	return fmt.Sprintf("%d·10^%d", c.MulCoef, c.MulExp)
}
