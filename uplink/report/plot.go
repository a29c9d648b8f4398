package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
)

// plot is a drawing in millimetres: everything by the day, one under the other,
// over one axis of days.
type plot struct {
	Height string
	Lines  []shape
	Areas  []shape
	Texts  []label

	first, last int64 // days
	pitch       float64
	y           float64
	paths       map[string]*strings.Builder // areas by colour
	order       []string
}

// shape is an SVG path.
type shape struct{ D, Colour, Width string }

type label struct {
	X, Y   string
	Anchor string
	Text   string
	Quiet  bool
	Bold   bool
}

// Colours keep their order of darkness in print without colours.
const (
	full     = "#0f6b6c"
	unproved = "#4f8fc0" // there and authentic, its history not proved
	partly   = "#a9d0c9"
	nothing  = "url(#none)"
	refusedC = "#9c1f36"
	anew     = "url(#anew)"
	grid     = "#d3dada"
)

func gradeColours() [len(gradeOrder)]string {
	return [...]string{"#0b4f50", full, "#6fb0a8", "#c4d6bd", refusedC}
}

const (
	gutter  = 25.0  // left of the days
	across  = 148.0 // the days
	maxWide = 16.0  // one day
)

func mm(f float64) string {
	return strconv.FormatFloat(math.Round(f*100)/100, 'f', -1, 64)
}

func newPlot(first, last int64) *plot {
	n := float64(last - first + 1)
	return &plot{first: first, last: last, pitch: min(maxWide, across/n), paths: map[string]*strings.Builder{}}
}

func (p *plot) x(day int64) float64 { return gutter + float64(day-p.first)*p.pitch }

// bar is the width of a bar: the days of a year touch, those of a month do not.
func (p *plot) bar() float64 {
	if p.pitch < 1 {
		return p.pitch
	}
	return p.pitch * 0.84
}

func (p *plot) rect(x, y, w, h float64, colour string) {
	b := p.paths[colour]
	if b == nil {
		b = &strings.Builder{}
		p.paths[colour], p.order = b, append(p.order, colour)
	}
	fmt.Fprintf(b, "M%s %sh%sv%sh-%sz", mm(x), mm(y), mm(w), mm(h), mm(w))
}

func (p *plot) line(x1, y1, x2, y2 float64) {
	p.Lines = append(p.Lines, shape{fmt.Sprintf("M%s %sL%s %s", mm(x1), mm(y1), mm(x2), mm(y2)), grid, ".2"})
}

func (p *plot) text(x, y float64, anchor string, quiet, bold bool, s string) {
	p.Texts = append(p.Texts, label{mm(x), mm(y), anchor, s, quiet, bold})
}

// width is where the days end.
func (p *plot) right() float64 { return p.x(p.last + 1) }

func (p *plot) title(s, detail string) {
	p.y += 4.2
	p.text(0, p.y, "", false, true, s)
	if detail != "" {
		p.text(186, p.y, "end", true, false, detail)
	}
	p.y += 2.2
}

// legend writes boxes with words under a chart.
func (p *plot) legend(entries ...[2]string) {
	x := gutter
	p.y += 2.9
	for _, e := range entries {
		wide := 3.4 + 1.3*float64(runewidth.StringWidth(e[1])) // about, for any font
		if x+wide > 186 {
			x, p.y = gutter, p.y+3.2
		}
		p.rect(x, p.y-1.9, 2.6, 2, e[0])
		p.text(x+3.4, p.y, "", true, false, e[1])
		x += wide + 3
	}
	p.y += .6
}

// dates labels the days under a chart.
func (p *plot) dates() {
	p.y += 2.8
	every := int64(1)
	for _, n := range []int64{1, 2, 5, 7, 10, 14, 30, 60} {
		every = n
		if float64(n)*p.pitch >= 9 {
			break
		}
	}
	for d := p.first; d <= p.last; d += every {
		p.text(p.x(d)+p.bar()/2, p.y, "middle", true, false, shortDate(d))
	}
}

// registers draws what the most used registers went up by, day by day, and
// returns those it had no room for.
func (p *plot) registers(all []*series, most int, l Lang) (rest []*series) {
	drawn := all[:min(most, len(all))]
	marks := map[string]bool{}
	for _, s := range drawn {
		p.register(s, l, marks)
	}
	if len(drawn) > 0 {
		p.dates()
		entries := [][2]string{{full, text{"整日", "whole day"}.in(l)}}
		for _, m := range [][2]string{
			{partly, text{"当日只有一部分有读数", "readings for part of the day"}.in(l)},
			{nothing, text{"无读数：不作估算", "no readings, nothing estimated"}.in(l)},
			{anew, text{"寄存器重新计数：当日不计", "began anew, no figure"}.in(l)},
		} {
			if marks[m[0]] {
				entries = append(entries, m)
			}
		}
		p.legend(entries...)
	}
	return all[len(drawn):]
}

const barHeight = 19.0

func (p *plot) register(s *series, l Lang, marks map[string]bool) {
	top := 0.0
	var total decimal
	for d := p.first; d <= p.last; d++ {
		if u := s.days[d]; u != nil && !u.restarted {
			top = max(top, u.sum.float())
			total.add(&u.sum)
		}
	}
	p.title(text{"每日用量：%s", "Use per day: %s"}.format(clip(s.meter, 40)).in(l)+" · "+registerText(s.quantity).in(l)+" ("+clip(s.unit, 10)+")",
		text{"图中合计 %s %s", "bars together %s %s"}.format(total.String(), clip(s.unit, 10)).in(l))
	step := niceStep(top)
	ceiling := max(step, math.Ceil(top/step-1e-9)*step)
	base := p.y + barHeight
	for v := 0.0; v <= ceiling+step/2; v += step {
		y := base - v/ceiling*barHeight
		p.line(gutter, y, p.right(), y)
		p.text(gutter-1.2, y+.9, "end", true, false, tick(v))
	}
	for d := p.first; d <= p.last; d++ {
		u := s.days[d]
		colour, h := full, 0.0
		switch {
		case u == nil || u.none && !u.restarted:
			colour, h = nothing, barHeight
		case u.restarted:
			colour, h = anew, barHeight
		default:
			h = u.sum.float() / ceiling * barHeight
			if !u.whole() {
				colour = partly
			}
		}
		marks[colour] = true
		if h > 0 {
			p.rect(p.x(d), base-h, p.bar(), max(h, .15), colour)
		}
	}
	p.y = base
}

// tick is a number beside a grid line.
func tick(v float64) string {
	if v >= 10_000 {
		return count(uint64(v))
	}
	return strconv.FormatFloat(math.Round(v*1e9)/1e9, 'f', -1, 64) // 3 x 0.2 is 0.6 to people
}

// niceStep divides up to top into at most four steps of 1, 2 or 5 x 10^n.
func niceStep(top float64) float64 {
	if top <= 0 {
		return 1
	}
	step := math.Pow(10, math.Floor(math.Log10(top/4)))
	for _, f := range []float64{1, 2, 5, 10} {
		if top/(step*f) <= 4 {
			return step * f
		}
	}
	return step * 10
}

const hourHeight = 1.3

// ribbon draws every hour of every day.
func (p *plot) ribbon(b *Builder, l Lang) {
	p.title(text{"记录完整性：每格一小时", "Completeness: one field an hour"}.in(l), text{"纵向为 0 至 24 时", "0 to 24 o’clock downwards"}.in(l))
	for h := 0; h <= 24; h += 6 {
		p.text(gutter-1.2, p.y+float64(h)*hourHeight+.9, "end", true, false, strconv.Itoa(h))
	}
	lo, hi := local(b.days[p.first].from, b.zone), local(b.days[p.last].to, b.zone)
	for d := p.first; d <= p.last; d++ {
		for h := 0; h < 24; {
			c := b.hourColour(d, h, lo, hi)
			from := h
			for h++; h < 24 && b.hourColour(d, h, lo, hi) == c; h++ {
			}
			if c != "" {
				p.rect(p.x(d), p.y+float64(from)*hourHeight, p.bar(), float64(h-from)*hourHeight, c)
			}
		}
	}
	p.y += 24 * hourHeight
	p.legend([2]string{full, text{"完整且通过核验", "complete, verified"}.in(l)}, [2]string{partly, text{"部分", "in part"}.in(l)},
		[2]string{unproved, text{"有签名，但先后历史未能证明", "signed, history not proved"}.in(l)},
		[2]string{nothing, text{"无记录", "no record"}.in(l)}, [2]string{refusedC, text{"有记录未通过核验", "some did not verify"}.in(l)})
}

// hourColour is "" for an hour without records outside the period lo to hi, in
// local milliseconds.
func (b *Builder) hourColour(n int64, hour int, lo, hi int64) string {
	start := (n*24 + int64(hour)) * hourMS
	expected := min(start+hourMS, hi) - max(start, lo)
	d := b.days[n]
	if d == nil {
		d = &day{}
	}
	present, verified := d.present[hour], d.verified[hour]
	switch {
	case d.refused[hour] > 0:
		return refusedC
	case expected <= 0 && present == 0:
		return ""
	case present == 0:
		return nothing
	case present*1000 < expected*995:
		return partly
	case verified*100 < present*95:
		return unproved
	}
	return full
}

const rowHeight = 3.0

// answers draws what share of its due values each meter gave.
func (p *plot) answers(b *Builder, most int, l Lang) {
	meters := slices.Clone(b.meters)
	if len(meters) == 0 {
		return
	}
	slices.SortStableFunc(meters, func(x, y *meterSum) int { return cmp.Compare(x.have*y.due, y.have*x.due) })
	detail := ""
	if len(meters) > most {
		detail = text{"共 %d 只，此处为有值比例最低的 %d 只", "of %d meters the %d with the smallest share"}.format(len(meters), most).in(l)
		meters = meters[:most]
	}
	p.title(text{"各电表有数值的比例", "Share of due values each meter gave"}.in(l), detail)
	for _, m := range meters {
		p.text(0, p.y+2.3, "", false, false, clip(m.name, 16))
		p.text(186, p.y+2.3, "end", false, false, share(m.have, m.due))
		for d := p.first; d <= p.last; d++ {
			if day := b.days[d]; day != nil && m.index < len(day.due) && day.due[m.index] > 0 {
				have, due := day.have[m.index], day.due[m.index]
				colour := partly
				switch {
				case have == 0:
					colour = nothing
				case have*1000 >= due*995:
					colour = full
				}
				p.rect(p.x(d), p.y+.3, p.bar(), rowHeight-.6, colour)
			}
		}
		p.y += rowHeight
	}
	p.legend([2]string{full, text{"全部（≥ 99.5 %）", "all (≥ 99.5 %)"}.in(l)}, [2]string{partly, text{"部分", "some"}.in(l)}, [2]string{nothing, text{"全无", "none"}.in(l)})
}

// grades draws the grades of each day's windows.
func (p *plot) grades(b *Builder, l Lang) {
	const height = 9.0
	p.title(text{"每日证据等级（说明数据的质量，与企业无关）", "Grade of the evidence per day (of the data, never of the firm)"}.in(l), "")
	for d := p.first; d <= p.last; d++ {
		day := b.days[d]
		if day == nil {
			continue
		}
		total := 0
		for _, n := range day.grades {
			total += n
		}
		y := p.y + height
		for g, n := range day.grades {
			if n > 0 {
				h := float64(n) / float64(total) * height
				y -= h
				p.rect(p.x(d), y, p.bar(), h, gradeColours()[g])
			}
		}
	}
	p.y += height
	p.dates()
	var entries [][2]string
	for g, n := range b.grades {
		entries = append(entries, [2]string{gradeColours()[g], string(gradeOrder[g]) + ": " + count(n)})
	}
	p.legend(entries...)
}

// done finishes the drawing.
func (p *plot) done() *plot {
	for _, c := range p.order {
		p.Areas = append(p.Areas, shape{D: p.paths[c].String(), Colour: c})
	}
	p.Height = mm(p.y + 1)
	return p
}

// drawn are the registers worth drawing, the one with most use first; of the
// registers of one meter in one unit only one.
func (b *Builder) drawn(first, last int64) []*series {
	var all []*series
	for _, s := range b.series {
		if !slices.ContainsFunc(b.series, func(o *series) bool { return o.meter == s.meter && o.unit == s.unit && o.rank < s.rank }) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(x, y *series) int {
		return cmp.Or(cmp.Compare(energyFirst(x), energyFirst(y)), cmp.Compare(y.over(first, last), x.over(first, last)))
	})
	return all
}

func energyFirst(s *series) int {
	if strings.HasSuffix(s.unit, "Wh") {
		return 0
	}
	return 1
}

// over is about what a register went up by, for sorting.
func (s *series) over(first, last int64) float64 {
	f := 0.0
	for d, u := range s.days {
		if first <= d && d <= last && !u.restarted {
			f += u.sum.float()
		}
	}
	return f
}

func registerText(quantity string) text {
	switch quantity {
	case "energy_import":
		return text{"正向有功电能", "energy taken"}
	case "energy_sum":
		return text{"组合有功电能", "energy, sum"}
	case "volume":
		return text{"体积", "volume"}
	case "heat_energy":
		return text{"热量", "heat"}
	}
	return same(quantity)
}

// clip shortens what others wrote.
func clip(s string, width int) string { return runewidth.Truncate(s, width, "…") }

func share(have, due uint64) string {
	if due == 0 {
		return "-"
	}
	permille := have * 1000 / due
	return fmt.Sprintf("%d.%d %%", permille/10, permille%10)
}

func count(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
