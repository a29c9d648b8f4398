package report

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Leaf is one line of a listing, and one object of its JSON.
type Leaf struct {
	N            uint64         `json:"n"`
	Type         string         `json:"type"`
	From         string         `json:"from"` // UTC
	Milliseconds int64          `json:"duration_ms"`
	Channels     []ChannelCount `json:"channels"`
	// Withheld are channels the leaf is signed over and of which the file has
	// no sample: it was not given, or none was due.
	Withheld     []string        `json:"no_samples"`
	Completeness *uint16         `json:"completeness_permille"` // of windows
	Grade        verify.Grade    `json:"grade"`
	Verdict      verify.Verdict  `json:"verdict"`
	Reasons      []verify.Reason `json:"reasons"`
}

// ChannelCount is how many samples of a channel a leaf has, and how many of
// them have a value.
type ChannelCount struct {
	Channel string `json:"channel"`
	Samples int    `json:"samples"`
	Values  int    `json:"values"`
}

// Describe sums up one result for a listing.
func Describe(r verify.Result) Leaf {
	l := Leaf{N: r.N, Type: r.Type.String(), From: r.From.UTC().Format(stamp), Milliseconds: r.To.Sub(r.From).Milliseconds(),
		Channels: []ChannelCount{}, Withheld: []string{}, Grade: r.Grade, Verdict: r.Verdict, Reasons: r.Reasons}
	if r.Leaf == (evidence.Hash{}) {
		l.Type, l.From = "unreadable", ""
	}
	if r.Manifest == nil || r.Type != evidence.WindowLeaf {
		return l
	}
	l.Completeness = &r.Manifest.Completeness
	counts := map[evidence.Channel]*ChannelCount{}
	timed := false
	if r.Window != nil {
		for v := range r.Window.Values() {
			c := counts[v.Channel]
			if c == nil {
				c = &ChannelCount{Channel: v.Channel.String()}
				counts[v.Channel] = c
			}
			c.Samples++
			if v.Code.HasValue() {
				c.Values++
			}
			timed = timed || v.Polled
		}
	}
	for _, ch := range channelsOf(r.Manifest) {
		if c := counts[ch]; c != nil {
			l.Channels = append(l.Channels, *c)
		} else if ch != evidence.Timing || !timed {
			l.Withheld = append(l.Withheld, ch.String())
		}
	}
	return l
}

func channelsOf(m *evidence.Manifest) []evidence.Channel {
	var chs []evidence.Channel
	for ch := range m.Channels {
		chs = append(chs, ch)
	}
	slices.Sort(chs)
	return chs
}

// ListHead is the line over a listing.
const ListHead = "    leaf  type      time                     length  grade  verdict    complete  samples with a value, by channel\n"

// Line is the leaf in one line, ending with a newline; times are in zone.
func (l *Leaf) Line(zone *time.Location) string {
	var parts []string
	for _, c := range l.Channels {
		parts = append(parts, fmt.Sprintf("%s %d/%d", c.Channel, c.Values, c.Samples))
	}
	if len(l.Withheld) > 0 {
		parts = append(parts, "not here: "+strings.Join(l.Withheld, ", "))
	}
	at, complete := "-", ""
	if t, err := time.Parse(stamp, l.From); err == nil {
		at = t.In(zone).Format("2006-01-02 15:04:05.000")
	}
	if l.Completeness != nil {
		complete = permille(*l.Completeness)
	}
	if l.Verdict != verify.Verified && len(l.Reasons) > 0 {
		parts = append(parts, l.Reasons[0].En)
	}
	line := fmt.Sprintf("%8d  %-8s  %-23s  %6s  %-5s  %-9s  %8s  %s", l.N, l.Type, at, time.Duration(l.Milliseconds)*time.Millisecond,
		l.Grade, l.Verdict, complete, strings.Join(parts, ", "))
	return strings.TrimRight(line, " ") + "\n"
}

func permille(p uint16) string { return fmt.Sprintf("%d.%d %%", p/10, p%10) }

// whole is everything that is known of one leaf, for JSON. Times are UTC.
type whole struct {
	Leaf
	Hash       evidence.Hash  `json:"hash"`
	Root       *evidence.Hash `json:"root"` // of the leaves before
	Meters     []meter        `json:"meters,omitempty"`
	Quantities []quantity     `json:"quantities,omitempty"`
	Events     []event        `json:"events,omitempty"`
	Lost       []verify.Lost  `json:"lost,omitempty"`
	Boot       *boot          `json:"boot,omitempty"`
	Step       *step          `json:"clock_step,omitempty"`
	Shutdown   string         `json:"shutdown,omitempty"`
	Samples    []sample       `json:"samples"`
}

type meter struct {
	Name           string        `json:"meter"`
	Profile        string        `json:"profile"`
	ProfileVersion int           `json:"profile_version"`
	ProfileHash    evidence.Hash `json:"profile_hash"`
	IntervalMS     uint32        `json:"interval_ms"`
}

type quantity struct {
	Channel  string `json:"channel"`
	Meter    string `json:"meter"`
	Quantity string `json:"quantity"`
	Unit     string `json:"unit"`
	Exp      int8   `json:"exp"`
	Ratio    string `json:"ratio"` // of the instrument transformers
}

type event struct {
	Time     string `json:"time"`
	Kind     string `json:"kind"`
	Subject  string `json:"subject"`
	Quantity string `json:"quantity"`
	Count    uint64 `json:"count"`
}

type boot struct {
	Clean    bool   `json:"clean"` // the run before ended in order
	Recorded string `json:"recorded_until,omitempty"`
	Software string `json:"software"`
}

// step is the clock before and after it was set.
type step struct {
	Before string `json:"before"`
	After  string `json:"after"`
}

// sample has an exact decimal, or null, as its value.
type sample struct {
	Channel  string  `json:"channel"`
	Meter    string  `json:"meter"`
	Quantity string  `json:"quantity"`
	Unit     string  `json:"unit"`
	Time     string  `json:"time"`
	Value    *string `json:"value"`
	Code     string  `json:"code"`
}

// WriteLeafJSON writes everything that is known of one leaf as a JSON object.
func WriteLeafJSON(w io.Writer, r verify.Result) error {
	all := whole{Leaf: Describe(r), Hash: r.Leaf, Samples: []sample{}}
	if r.Manifest != nil {
		all.manifest(r.Manifest)
	}
	if r.Window != nil {
		for v := range r.Window.Values() {
			s := sample{v.Channel.String(), v.Meter, v.Quantity, v.Unit, v.Time.Format(stamp), nil, v.Code.String()}
			if v.Code.HasValue() {
				d := v.Decimal()
				s.Value = &d
			}
			all.Samples = append(all.Samples, s)
		}
	}
	return json.NewEncoder(w).Encode(all)
}

func (all *whole) manifest(m *evidence.Manifest) {
	utc := func(ms int64) string { return time.UnixMilli(ms).UTC().Format(stamp) }
	all.Root, all.Shutdown = &m.Root, m.Shutdown
	for _, e := range m.Events {
		all.Events = append(all.Events, event{utc(e.At), e.Kind, e.Subject, e.Quantity, e.Count})
	}
	for _, l := range m.Lost {
		all.Lost = append(all.Lost, verify.Lost{Range: verify.Range{Lo: l.Lo, Hi: l.Hi}, Reason: l.Reason})
	}
	if b := m.BootInfo; b != nil {
		all.Boot = &boot{Clean: b.Clean, Software: b.Software}
		if b.LastRecordedMS > 0 {
			all.Boot.Recorded = utc(b.LastRecordedMS)
		}
	}
	if s := m.Step; s != nil {
		all.Step = &step{utc(s.Before), utc(s.After)}
	}
	d := m.Dictionary()
	if d == nil {
		return
	}
	for _, m := range d.Meters {
		all.Meters = append(all.Meters, meter{m.Name, m.Profile, m.ProfileVersion, m.ProfileHash, m.IntervalMS})
	}
	for _, ch := range d.ChannelList() {
		for _, cm := range d.Channels[ch] {
			for _, c := range cm.Columns {
				all.Quantities = append(all.Quantities, quantity{ch.String(), d.Meters[cm.Meter].Name, c.Quantity, c.Unit, c.Exp, ratioOf(c)})
			}
		}
	}
}

// ratioOf is the multiplier of a column as a decimal.
func ratioOf(c evidence.Column) string {
	return verify.Value{Column: evidence.Column{Exp: c.MulExp, MulCoef: 1}, Coef: c.MulCoef}.Decimal()
}

// WriteLeaf writes everything that is known of one leaf in words; times are in
// zone.
func WriteLeaf(w io.Writer, r verify.Result, zone *time.Location) error {
	p := &page{w: w}
	p.line("leaf %d of log %s: %s", r.N, r.Log, Describe(r).Type)
	p.line("  verdict    %s (%s), grade %s", r.Verdict, r.Verdict.Chinese(), r.Grade)
	for _, reason := range r.Reasons {
		p.line("             - %s\n               %s", reason.En, reason.Zh)
	}
	if m := r.Manifest; m != nil {
		p.manifest(m, r.Leaf, zone)
	} else {
		p.line("  nothing of it is shown, for it did not verify")
	}
	switch {
	case r.Window != nil:
		p.window(r, zone)
	case r.Record != nil:
		p.line("  record     for %q (\"\" is for all), %d bytes", r.Record.For, len(r.Record.Content))
		p.line("             - %s\n               %s", Say(r, English, zone), Say(r, Chinese, zone))
	case r.Type.Record() && r.Manifest != nil:
		p.line("  record     its content is not in this file: it is for another lender, or was not given")
	}
	return p.err
}

// page writes lines and keeps the first error.
type page struct {
	w   io.Writer
	err error
}

func (p *page) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *page) manifest(m *evidence.Manifest, hash evidence.Hash, zone *time.Location) {
	const clock = "2006-01-02 15:04:05.000 -07:00"
	from := time.UnixMilli(m.Start).In(zone)
	if m.Duration == 0 {
		p.line("  time       %s", from.Format(clock))
	} else {
		p.line("  time       %s, for %s", from.Format(clock), time.Duration(m.Duration)*time.Millisecond)
	}
	p.line("  clock      %s, error estimated at %d ms", clockText(m.TimeFlag).en, m.TimeErrorMS)
	p.line("  agent      start number %d, running for %s", m.Event.Boot, time.Duration(m.UptimeMS)*time.Millisecond)
	p.line("  leaf hash  %s", hash)
	p.line("  history    %s (root of the %d leaves before)", m.Root, m.N)
	if m.Type == evidence.WindowLeaf {
		p.line("  complete   %s of the samples due have a value", permille(m.Completeness))
		p.line("  names      from the dictionary of leaf %d", m.DictionaryAt)
		for _, ch := range channelsOf(m) {
			p.line("  signed     channel %s, block %d, digest %s", ch, m.Channels[ch].Seq, m.Channels[ch].Digest)
		}
	}
	if g := m.Genesis; g != nil {
		p.line("  key        %s, kept in: %s", g.Key.Key(), g.Key.Custody)
		if g.Prev != nil {
			p.line("  continues  log %s of %d leaves with root %s: %q", g.Prev.Log, g.Prev.N, g.Prev.Root, g.Prev.Why)
		}
	}
	if b := m.BootInfo; b != nil {
		before := "the run before did not end in order (power cut, crash, or killed)"
		if b.Clean {
			before = "the run before ended in order"
		}
		p.line("  started    software %q; %s", b.Software, before)
		if b.LastRecordedMS > 0 {
			p.line("  recorded   readings of the run before reach until %s", time.UnixMilli(b.LastRecordedMS).In(zone).Format(clock))
		}
	}
	if m.Shutdown != "" {
		p.line("  stopped    %q", m.Shutdown)
	}
	for _, l := range m.Lost {
		p.line("  lost       the box states that it no longer has leaves %d to %d: %q", l.Lo, l.Hi, l.Reason)
	}
	if s := m.Step; s != nil {
		p.line("  clock set  from %s to %s", time.UnixMilli(s.Before).In(zone).Format(clock), time.UnixMilli(s.After).In(zone).Format(clock))
	}
	if r := m.Rotation; r != nil {
		p.line("  new key    %s, kept in: %s; it signs from the next leaf on", r.Key.Key(), r.Key.Custody)
	}
	if m.Note != "" {
		p.line("  checkpoint, with what witnesses signed:\n%s", m.Note)
	}
	for _, e := range m.Events {
		p.line("  event      %s  %q %s: %s / %s, %d times", time.UnixMilli(e.At).In(zone).Format(clock), e.Subject, e.Quantity,
			eventText(e.Kind).en, eventText(e.Kind).zh, e.Count)
	}
	if d := m.Dictionary(); d != nil {
		p.dictionary(d)
	}
}

func (p *page) dictionary(d *evidence.Dictionary) {
	for _, m := range d.Meters {
		p.line("  meter      %q, profile %s version %d, polled every %s", m.Name, m.Profile, m.ProfileVersion, time.Duration(m.IntervalMS)*time.Millisecond)
	}
	for _, ch := range d.ChannelList() {
		for _, cm := range d.Channels[ch] {
			for _, c := range cm.Columns {
				ratio := ""
				if r := ratioOf(c); r != "1" {
					ratio = ", transformer ratio " + r
				}
				p.line("  quantity   channel %s: %q %s (%s), resolution of the meter 10^%d%s", ch, d.Meters[cm.Meter].Name, c.Quantity, c.Unit, c.Exp, ratio)
			}
		}
	}
}

func (p *page) window(r verify.Result, zone *time.Location) {
	var channel evidence.Channel
	var meter, quantity string
	for v := range r.Window.Values() {
		if v.Channel != channel || v.Meter != meter || v.Quantity != quantity {
			channel, meter, quantity = v.Channel, v.Meter, v.Quantity
			p.line("  channel %s: %q %s (%s)", channel, meter, quantity, v.Unit)
		}
		at := v.Time.In(zone).Format("15:04:05.000")
		if !v.Polled {
			at += " (due)"
		}
		switch {
		case !v.Code.HasValue():
			p.line("    %s  no value: %s", at, v.Code)
		case v.Code == evidence.OK:
			p.line("    %s  %s", at, v.Decimal())
		default:
			p.line("    %s  %s  marked: %s", at, v.Decimal(), v.Code)
		}
	}
	if withheld := Describe(r).Withheld; len(withheld) > 0 {
		p.line("  not in this file, or nothing due: %s", strings.Join(withheld, ", "))
	}
}
