package report

import (
	_ "embed"
	"encoding/hex"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Source is what was looked at.
type Source struct {
	File    string // its name, for people
	SHA256  [32]byte
	Key     evidence.PublicKey // that the log begins with
	Custody string             // where the box says it keeps it: "file", "tpm", ...
	Assumed bool               // the key is the file's own word
	Summary verify.Summary
}

// How much fits the two sheets.
const (
	chartsDrawn  = 3
	metersDrawn  = 6
	gapsTold     = 7
	notesTold    = 9
	metersTold   = 6
	reasonsTold  = 3
	reasonLength = 200 // columns
)

//go:embed page.tmpl
var pageTemplate string

// HTML writes a page of two sheets A4: self-contained, no script, nothing to
// load.
func (b *Builder) HTML(w io.Writer, l Lang, s Source) error {
	t, err := template.New("page").Parse(pageTemplate)
	if err != nil {
		return err
	}
	return t.Execute(w, b.view(l, s))
}

type view struct {
	HTMLLang, ShortLog                  string
	T                                   titles
	Head                                []headRow
	Verdict                             verify.Verdict
	VerdictWord, VerdictText            string
	Reasons, Proved, NotProved, Besides []string
	Facts                               []fact
	Plot                                *plot
	Tables                              []table
	Command                             string
}

type titles struct {
	Title, PlotLabel, NoDays, GradeNote, Proved, NotProved, Besides, CheckTitle, Check, CheckMore, About string
}

type headRow struct {
	Name, Value, Note string
	Code              bool
}

type fact struct{ Name, Value string }

type table struct {
	Title   string
	Columns []column
	Rows    [][]string
	Note    string
}

type column struct {
	Name   string
	Width  int // mm
	Number bool
}

func (b *Builder) view(l Lang, s Source) view {
	sum := &s.Summary
	first, last, outside := b.axis()
	key := "-"
	if !s.Key.IsZero() {
		key = s.Key.String()
	}
	v := view{
		HTMLLang: text{"zh-CN", "en"}.in(l), ShortLog: sum.Log.String()[:8], T: titlesIn(l),
		Verdict: sum.Verdict, VerdictWord: text{sum.Verdict.Chinese(), string(sum.Verdict)}.in(l), VerdictText: verdictText(sum.Verdict).in(l),
		Head: b.head(l, s, key, outside), Proved: b.proved(l, s), Facts: b.facts(l, sum),
		Command: fmt.Sprintf("tally-lender verify %s --key %s", shellWord(s.File), key),
	}
	if sum.Leaves == 0 {
		v.Command = "tally-lender verify " + shellWord(s.File) + " --key ed25519:…"
	}
	reasons := ordered(sum)
	for i, r := range reasons {
		if i == reasonsTold {
			v.Reasons = append(v.Reasons, text{"另有 %d 条，用下文的命令可见", "%d more, shown by the command below"}.format(len(reasons)-i).in(l))
			break
		}
		v.Reasons = append(v.Reasons, clip(text{r.Zh, r.En}.in(l), reasonLength))
	}
	for _, t := range cannot() {
		v.NotProved = append(v.NotProved, t.in(l))
	}
	for _, t := range besides() {
		v.Besides = append(v.Besides, t.in(l))
	}
	all := b.drawn(first, last)
	if first <= last {
		p := newPlot(first, last)
		p.registers(all, chartsDrawn, l)
		p.ribbon(b, l)
		p.answers(b, metersDrawn, l)
		p.grades(b, l)
		v.Plot = p.done()
	}
	v.Tables = []table{b.gapTable(l, sum), b.noteTable(l), b.meterTable(l, all, first, last)}
	return v
}

// ordered puts what decides the verdict first and what only lowers a grade
// last. That the key was assumed the page says elsewhere.
func ordered(sum *verify.Summary) []verify.Reason {
	weight := func(r verify.Reason) int {
		switch {
		case slices.ContainsFunc(slices.Concat(sum.Altered, sum.Forks, sum.Refused), func(f verify.Fault) bool { return f.Reason == r.En }):
			return 0
		case r.Code == "dictionary-changed":
			return 0
		case slices.Contains([]string{"reception-unknown", "no-beacon", "late", "clock-unsynchronised", "clock-backwards"}, r.Code):
			return 2
		}
		return 1
	}
	rs := slices.DeleteFunc(slices.Clone(sum.Reasons), func(r verify.Reason) bool { return r.Code == "key-assumed" })
	slices.SortStableFunc(rs, func(x, y verify.Reason) int { return weight(x) - weight(y) })
	return rs
}

func titlesIn(l Lang) titles {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	return titles{
		Title:      t("用电证据报告", "Evidence report"),
		PlotLabel:  t("按日的用量、完整性与证据等级", "use, completeness and grade of evidence by the day"),
		NoDays:     t("文件中没有通过核验的时段，因此没有图。", "No window in this file verifies, so there is nothing to draw."),
		GradeNote:  t("A ", "A ") + gradeText(verify.GradeA).in(l) + " · B " + gradeText(verify.GradeB).in(l) + " · C " + gradeText(verify.GradeC).in(l) + " · D " + gradeText(verify.GradeD).in(l) + " · X " + gradeText(verify.GradeX).in(l),
		Proved:     t("已证明", "What was proved"),
		NotProved:  t("未证明、也无法用签名证明", "What was not, and what no signature can"),
		Besides:    t("除此之外应做的", "What to do besides"),
		CheckTitle: t("如何自行核验", "How to check this yourself"),
		Check:      t("在任意一台电脑上，不需要网络：", "On any computer, without a network:"),
		CheckMore: t("命令中的密钥应与设备启用时对方交给您的一致。格式公开（uplink/evidence/SPEC.md），另有一个独立编写的核验程序（uplink/evidence/interop/verify.py）可作比对。本页由 tally-lender report 生成，凭此页本身不能证明任何内容，以证据文件为准。",
			"The key in the command must be the one you were given when the box was commissioned. The format is public (uplink/evidence/SPEC.md), and a second checker, written from it alone, comes with it (uplink/evidence/interop/verify.py). This page was made by tally-lender report; the page proves nothing by itself, the evidence file does."),
		About: t("本报告说明数据的来源与完整程度，不对企业作任何评价。", "This report speaks of where the data come from and how complete they are, never of the firm."),
	}
}

func (b *Builder) clock(ms int64) string {
	return time.UnixMilli(ms).In(b.zone).Format("2006-01-02 15:04")
}

func (b *Builder) head(l Lang, s Source, key string, outside uint64) []headRow {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	custody := t("存放方式（设备自述）：", "kept in (the box’s own word): ") + clip(s.Custody, 20)
	switch {
	case s.Summary.Leaves == 0:
		custody = t("文件自称；未能核验", "the file’s own word, not verified")
	case s.Assumed:
		custody += t("；未提供密钥，此为文件自称", "; no key was given, this is the file’s own word")
	}
	rows := []headRow{
		{Name: t("文件", "File"), Value: clip(s.File, 90)},
		{Name: "SHA-256", Value: hex.EncodeToString(s.SHA256[:]), Code: true},
		{Name: t("日志", "Log"), Value: s.Summary.Log.String(), Code: true,
			Note: t(fmt.Sprintf("记录 %d 至 %d", s.Summary.Lo, s.Summary.Hi), fmt.Sprintf("leaves %d to %d", s.Summary.Lo, s.Summary.Hi))},
		{Name: t("设备密钥", "Signing key"), Value: key, Code: true, Note: custody},
	}
	if !b.sealed {
		return rows
	}
	offsets := time.UnixMilli(b.from).In(b.zone).Format("UTC-07:00")
	if to := time.UnixMilli(b.to).In(b.zone).Format("UTC-07:00"); to != offsets {
		offsets += " / " + to
	}
	period := headRow{Name: t("期间", "Period"), Value: b.clock(b.from) + " – " + b.clock(b.to), Note: t("设备时钟，", "by the box’s clock, ") + offsets}
	if outside > 0 {
		period.Note += t(fmt.Sprintf("；%s 个时段在图示的 %d 天之外", count(outside), maxDays), fmt.Sprintf("; %s windows are outside the %d days drawn", count(outside), maxDays))
	}
	return append(rows, period)
}

func (b *Builder) facts(l Lang, sum *verify.Summary) []fact {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	var due, have uint64
	for _, m := range b.meters {
		due, have = due+m.due, have+m.have
	}
	return []fact{
		{t("时段", "windows"), count(b.windows)},
		{t("其中完全通过核验", "of these fully verified"), share(sum.Verified, sum.Windows)},
		{t("数值", "values"), count(sum.Readings)},
		{t("应有的数值中实有", "of the values due"), share(have, due)},
		{t("中断", "gaps"), count(uint64(len(b.gaps)) + b.moreGaps)},
		{t("未通过核验的记录", "did not verify"), count(b.refused)},
	}
}

func (b *Builder) proved(l Lang, s Source) []string {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	sum := &s.Summary
	if sum.Leaves == 0 {
		return []string{t("没有：文件中没有通过核验的记录。", "Nothing: no record in this file verifies.")}
	}
	ps := []string{
		t(fmt.Sprintf("%s 条记录由上述密钥签名，签名后未被改动。", count(sum.Leaves)),
			fmt.Sprintf("%s records were signed with the key above and have not changed since.", count(sum.Leaves))),
		t(fmt.Sprintf("%s 个数值就是当时签名的数值。", count(sum.Readings)),
			fmt.Sprintf("The %s values are those that were signed.", count(sum.Readings))),
	}
	if len(sum.Gaps) == 0 && sum.Verdict == verify.Verified {
		ps = append(ps, t(fmt.Sprintf("记录 %d 至 %d 一条不缺，先后顺序固定。", sum.Lo, sum.Hi),
			fmt.Sprintf("Of the records %d to %d none is missing, and their order is fixed.", sum.Lo, sum.Hi)))
	} else {
		ps = append(ps, t("先后顺序由签名固定；缺失的记录已逐段列出。", "The order is fixed by signatures; what is missing is listed."))
	}
	if b.refused > 0 {
		ps = append(ps, t(fmt.Sprintf("%s 条记录未通过核验，不计入任何数字。", count(b.refused)), fmt.Sprintf("Records that did not verify, and count in no figure: %s.", count(b.refused))))
	}
	if b.unnamed > 0 {
		ps = append(ps, t(fmt.Sprintf("%s 个时段的数值因缺少字典无法释读，未计入。", count(b.unnamed)), fmt.Sprintf("The values of %s windows cannot be named, for their dictionary is not in the file; they are not counted.", count(b.unnamed))))
	}
	if s.Assumed {
		ps = append(ps, t("尚未证明：上述密钥属于该设备。请与启用时交给您的密钥比对。", "Not yet: that the key above is that of the box. Compare it with the one you were given."))
	}
	return ps
}

// gapTable tells the longest gaps, in their order.
func (b *Builder) gapTable(l Lang, sum *verify.Summary) table {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	tab := table{Title: t("中断", "Gaps"), Columns: []column{{t("自", "from"), 28, false}, {t("至", "to"), 28, false}, {t("时长", "length"), 24, true}, {t("缺少的记录", "records missing"), 32, true}, {t("原因", "reason"), 74, false}}}
	gaps := slices.Clone(b.gaps)
	for _, g := range sum.Gaps { // those at the ends of the file
		if !slices.ContainsFunc(gaps, func(have gap) bool { return have.leaves && have.lo <= g.Hi && g.Lo <= have.hi }) {
			gaps = append(gaps, gap{lo: g.Lo, hi: g.Hi, leaves: true})
		}
	}
	var hours int64
	for _, g := range gaps {
		hours += g.to - g.from
	}
	if len(gaps) == 0 {
		tab.Note = t("无。", "None.")
		return tab
	}
	slices.SortStableFunc(gaps, func(x, y gap) int { return int(min(max((y.to-y.from)-(x.to-x.from), -1), 1)) })
	told := gaps[:min(gapsTold, len(gaps))]
	slices.SortStableFunc(told, func(x, y gap) int { return int(min(max(x.from-y.from, -1), 1)) })
	for _, g := range told {
		row := []string{"-", "-", "-", "-", b.why(&g, sum, l)}
		if g.from != 0 || g.to != 0 {
			row[0], row[1], row[2] = b.clock(g.from), b.clock(g.to), length(g.to-g.from).in(l)
		}
		if g.leaves {
			row[3] = fmt.Sprintf("%d – %d", g.lo, g.hi)
		}
		tab.Rows = append(tab.Rows, row)
	}
	if more := uint64(len(gaps)-len(told)) + b.moreGaps; more > 0 {
		tab.Note = t(fmt.Sprintf("只列出最长的 %d 段；另有 %s 段较短。", len(told), count(more)), fmt.Sprintf("The %d longest; %s shorter ones besides.", len(told), count(more)))
	}
	tab.Note += t("合计 ", " Together ") + length(hours).in(l) + t("。", ".")
	return tab
}

// why is the reason of a gap: what the box stated under signature, else what
// was seen.
func (b *Builder) why(g *gap, sum *verify.Summary, l Lang) string {
	var parts []string
	add := func(zh, en string) { parts = append(parts, text{zh, en}.in(l)) }
	if g.leaves {
		declared := ""
		for _, x := range sum.Gaps {
			if x.Lo <= g.hi && g.lo <= x.Hi && x.Reason != "not declared" {
				declared = clip(x.Reason, 40)
			}
		}
		if declared != "" {
			add("设备声明："+declared, "the box states: "+declared)
		} else {
			add("记录不在文件中，设备未说明", "not in the file, and the box states no reason")
		}
	}
	switch {
	case g.refused > 0:
		add(fmt.Sprintf("%d 条记录未通过核验", g.refused), fmt.Sprintf("did not verify: %d records", g.refused))
	case g.started && g.unclean:
		add("采集程序未正常停止（停电、崩溃）", "the agent did not stop in order (power cut, crash)")
	case g.stopped:
		add("采集程序正常停止："+clip(g.shutdown, 30), "the agent was stopped: "+clip(g.shutdown, 30))
	case g.started:
		add("采集程序重新启动", "the agent was started again")
	case g.clock:
		add("设备时钟被调快，或设备休眠", "the clock was set forward, or the box slept")
	case !g.leaves:
		add("无记录说明", "no record says why")
	}
	return strings.Join(parts, text{"；", "; "}.in(l))
}

// length is a duration in words, to the minute where it is longer than one.
func length(ms int64) text {
	s := ms / 1000
	days, hours, minutes := s/86400, s/3600%24, s/60%60
	switch {
	case s < 60:
		return text{"%d 秒", "%d s"}.format(s)
	case s < 3600:
		return text{"%d 分", "%d min"}.format(minutes)
	case days == 0:
		return text{"%d 时 %02d 分", "%d h %02d min"}.format(hours, minutes)
	}
	return text{"%d 天 %d 时", "%d d %d h"}.format(days, hours)
}

// noteTable tells what happened, in order of the first time it did.
func (b *Builder) noteTable(l Lang) table {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	tab := table{Title: t("发生过什么（设备签名陈述）", "What happened (as the box states under signature)"),
		Columns: []column{{t("首次", "first"), 28, false}, {t("末次", "last"), 28, false}, {t("次数", "times"), 18, true}, {t("对象", "subject"), 36, false}, {t("事项", "what"), 76, false}}}
	notes := slices.Clone(b.notes)
	slices.SortStableFunc(notes, func(x, y *note) int { return int(min(max(x.first-y.first, -1), 1)) })
	for i, n := range notes {
		if i == notesTold {
			break
		}
		subject := clip(strings.Trim(n.subject+" "+n.detail, " "), 34)
		tab.Rows = append(tab.Rows, []string{b.clock(n.first), b.clock(n.last), count(n.count), subject, clip(n.what.in(l), 80)})
	}
	switch more := len(notes) - len(tab.Rows); {
	case len(notes) == 0:
		tab.Note = t("无。", "Nothing.")
	case more > 0 || b.moreNotes > 0:
		tab.Note = t(fmt.Sprintf("另有 %d 类事项；逐条列出：tally-lender show", more), fmt.Sprintf("%d more kinds; one by one: tally-lender show", more))
	}
	return tab
}

// byUse puts meters in the order of their registers, those without any last.
func byUse(meters []*meterSum, all []*series) []*meterSum {
	place := func(m *meterSum) int {
		if i := slices.IndexFunc(all, func(s *series) bool { return s.meter == m.name }); i >= 0 {
			return i
		}
		return len(all)
	}
	meters = slices.Clone(meters)
	slices.SortStableFunc(meters, func(x, y *meterSum) int { return place(x) - place(y) })
	return meters
}

// meterTable tells each meter's register and its share of values.
func (b *Builder) meterTable(l Lang, all []*series, first, last int64) table {
	t := func(zh, en string) string { return text{zh, en}.in(l) }
	tab := table{Title: t("电表（用量为寄存器之差，不作估算）", "Meters (use is the difference of register readings, nothing is estimated)"),
		Columns: []column{{t("电表", "meter"), 34, false}, {t("各日合计", "days together"), 36, true}, {t("跨日未分", "not of one day"), 32, true},
			{t("有数值", "has values"), 21, true}, {t("无数值的主要原因", "main reason without"), 36, false}, {t("重新计数的日数", "days anew"), 27, true}}}
	rows := 0
	for _, m := range byUse(b.meters, all) {
		if rows == metersTold {
			break
		}
		rows++
		row := []string{clip(m.name, 30), "-", "-", share(m.have, m.due), "-", "-"}
		if i := slices.IndexFunc(all, func(s *series) bool { return s.meter == m.name }); i >= 0 {
			s := all[i]
			var days, undivided decimal
			anew := 0
			for d := first; d <= last; d++ {
				if u := s.days[d]; u != nil && u.restarted {
					anew++
				} else if u != nil {
					days.add(&u.sum)
				}
			}
			for i := range s.undivided {
				undivided.add(&s.undivided[i].sum)
			}
			row[1], row[5] = days.String()+" "+s.unit, fmt.Sprint(anew)
			if len(s.undivided) > 0 {
				row[2] = undivided.String() + " " + s.unit
			}
			if s.lostStretch {
				row[2] = "> " + row[2]
			}
		}
		worst := 0
		for c := range m.codes {
			if m.codes[c] > m.codes[worst] {
				worst = c
			}
		}
		if m.codes[worst] > 0 {
			row[4] = codeText(evidence.Code(worst)).in(l) + " " + share(m.codes[worst], m.due)
		}
		tab.Rows = append(tab.Rows, row)
	}
	if more := len(b.meters) - rows; more > 0 || b.moreMeters {
		tab.Note = t(fmt.Sprintf("另有 %d 只电表；全部数值：tally-lender csv", more), fmt.Sprintf("%d more meters; all values: tally-lender csv", more))
		if b.moreMeters {
			tab.Note += t(fmt.Sprintf("（超过 %d 只的未汇总）", maxMeters), fmt.Sprintf(" (beyond %d they are not summed up)", maxMeters))
		}
	}
	if len(b.meters) == 0 {
		tab.Note = t("文件中没有可释读的数值。", "There are no values in this file that can be named.")
	}
	return tab
}

// shellWord quotes a file name for the command line of the page.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r > 127 || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-/:", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
