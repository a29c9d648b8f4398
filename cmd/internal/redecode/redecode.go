// Package redecode compares the values a box signed with what its meters' own
// bytes say: it decodes the raw frames of verified windows once more (SPEC.md,
// "Raw frames").
package redecode

import (
	"fmt"
	"slices"
	"strings"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/replay"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// mostDifferences bounds the list of one meter; its count goes on.
const mostDifferences = 100

// Meter is the result for one meter: how many of its signed samples that have a
// value are equal to what its frames say, differ, or cannot be compared.
type Meter struct {
	Name        string       `json:"meter"`
	Profile     string       `json:"profile"`
	Equal       uint64       `json:"equal"`
	Different   uint64       `json:"different"`
	NotCovered  uint64       `json:"not_covered"`
	Differences []Difference `json:"differences"` // at most 100, as first met
	Gaps        []Gap        `json:"gaps"`        // why samples are not covered, each reason once
}

// Difference is one signed value that the frames contradict, both as on the
// meter's own display.
type Difference struct {
	Leaf     uint64 `json:"leaf"`
	Time     string `json:"time"` // of the poll, RFC 3339
	Quantity string `json:"quantity"`
	Signed   string `json:"signed"`
	Decoded  string `json:"decoded"`
}

// Gap says why values are not covered.
type Gap struct {
	Code    string `json:"code"` // stable, for programs
	En      string `json:"en"`
	Zh      string `json:"zh"`
	Leaf    uint64 `json:"leaf"`    // the first it was met in
	Samples uint64 `json:"samples"` // how many
}

// Redecoder takes the windows of a bundle in order. Not safe for concurrent use.
type Redecoder struct {
	lib    *profile.Library
	only   []string
	meters []*Meter
}

// New makes a redecoder that knows the profiles of lib. It looks at the meters
// named, at all when there are none.
func New(lib *profile.Library, only []string) *Redecoder { return &Redecoder{lib: lib, only: only} }

// Meters are the results so far, in the order the meters were met.
func (d *Redecoder) Meters() []*Meter { return d.meters }

// sample is one signed value.
type sample struct {
	verify.Value
	ms int64 // begin of its poll, after the window's start
}

// Add compares the values of one result. It must be of an accepted delivery;
// without a window there is nothing to do.
func (d *Redecoder) Add(r *verify.Result) {
	if r.Window == nil {
		return
	}
	var names []string
	polls := map[string][][]sample{} // by meter and slot
	for v := range r.Window.Values() {
		if !v.Channel.Measured() || len(d.only) > 0 && !slices.Contains(d.only, v.Meter) {
			continue
		}
		ps, met := polls[v.Meter]
		if !met {
			names = append(names, v.Meter)
		}
		for len(ps) <= v.Slot {
			ps = append(ps, nil)
		}
		ps[v.Slot] = append(ps[v.Slot], sample{v, v.Time.UnixMilli() - r.Manifest.Start})
		polls[v.Meter] = ps
	}
	for _, name := range names {
		d.meter(r, name, polls[name])
	}
}

func (d *Redecoder) meter(r *verify.Result, name string, polls [][]sample) {
	m := d.of(name)
	why := "not-kept"
	if _, sealed := r.Manifest.Channels[evidence.RawFrames]; sealed {
		why = "no-frames-here"
	}
	for meter, frames := range r.Window.Frames() {
		if meter.Name != name {
			why = "not-kept" // of this one
			continue
		}
		m.Profile = meter.Profile
		p, err := d.lib.Get(meter.Profile)
		switch {
		case err != nil:
			m.gap(r.N, polls, "profile-unknown", meter.Profile)
		case p.Hash != meter.ProfileHash:
			m.gap(r.N, polls, "profile-differs", meter.Profile, meter.ProfileVersion, p.Version)
		default:
			m.compare(r.N, p, frames, polls)
		}
		return
	}
	m.gap(r.N, polls, why)
}

// of finds or begins the result of a meter.
func (d *Redecoder) of(name string) *Meter {
	for _, m := range d.meters {
		if m.Name == name {
			return m
		}
	}
	m := &Meter{Name: name, Differences: []Difference{}, Gaps: []Gap{}}
	d.meters = append(d.meters, m)
	return m
}

// compare decodes poll after poll.
func (m *Meter) compare(leaf uint64, p *profile.Profile, frames *evidence.Frames, polls [][]sample) {
	polls = slices.DeleteFunc(polls, notPolled)
	left := frames.Exchanges
	for k, samples := range polls {
		if !samples[0].Polled {
			m.gap(leaf, polls[k:], "no-timing")
			return
		}
		from := samples[0].ms
		for len(left) > 0 && left[0].At < from {
			left = left[1:]
		}
		var poll []replay.Exchange
		for len(left) > 0 && left[0].At >= from && (k+1 == len(polls) || before(left[0].At, from, polls[k+1][0].ms)) {
			poll = append(poll, replay.Exchange{Request: left[0].Request, Reply: left[0].Reply})
			left = left[1:]
		}
		if !slices.ContainsFunc(samples, func(s sample) bool { return s.Code.HasValue() }) {
			continue
		}
		why := "not-in-frames"
		switch {
		case len(poll) == 0 && frames.Dropped > 0:
			why = "dropped"
		case len(poll) == 0:
			why = "no-exchange"
		}
		values := replay.Poll(p, poll)
		for _, s := range samples {
			m.sample(leaf, s, values, why)
		}
	}
}

// notPolled reports whether a slot is one that was due and not asked.
func notPolled(samples []sample) bool {
	return !slices.ContainsFunc(samples, func(s sample) bool { return s.Code != evidence.Skipped })
}

// before reports whether an exchange at ms comes before the poll at next, which
// follows the one at from. That it began earlier says that the clock was set back.
func before(ms, from, next int64) bool { return ms < next || next <= from }

func (m *Meter) sample(leaf uint64, s sample, values map[string]replay.Value, why string) {
	if !s.Code.HasValue() {
		return
	}
	v, found := values[s.Quantity]
	switch {
	case !found:
		m.gap(leaf, [][]sample{{s}}, why)
	case v.Coef == s.Coef && v.Unit == s.Unit && v.Exp == s.Exp:
		m.Equal++
	default:
		m.Different++
		if len(m.Differences) < mostDifferences {
			m.Differences = append(m.Differences, Difference{
				Leaf: leaf, Time: s.Time.Format("2006-01-02T15:04:05.000Z07:00"), Quantity: s.Quantity,
				Signed: display(s.Coef, s.Exp, s.Unit), Decoded: display(v.Coef, v.Exp, v.Unit),
			})
		}
	}
}

// display is a value as the meter shows it, exact.
func display(coef int64, exp int8, unit string) string {
	return strings.TrimSpace(drivers.Decimal{Coef: coef, Exp: exp}.String() + " " + unit)
}

// gap counts the samples with a value in polls as not covered.
func (m *Meter) gap(leaf uint64, polls [][]sample, code string, args ...any) {
	n := uint64(0)
	for _, samples := range polls {
		for _, s := range samples {
			if s.Code.HasValue() {
				n++
			}
		}
	}
	if n == 0 {
		return
	}
	m.NotCovered += n
	for i := range m.Gaps {
		if m.Gaps[i].Code == code {
			m.Gaps[i].Samples += n
			return
		}
	}
	en, zh := wording(code)
	m.Gaps = append(m.Gaps, Gap{Code: code, En: fmt.Sprintf(en, args...), Zh: fmt.Sprintf(zh, args...), Leaf: leaf, Samples: n})
}

func wording(code string) (en, zh string) {
	switch code {
	case "profile-unknown":
		return "profile %s is not among those at hand: name its directory with --profiles", "没有型号 %s:请用 --profiles 指定其目录"
	case "profile-differs":
		return "profile %s is not the one that was signed (version %d there, version %d here): name its directory with --profiles", "型号 %s 与签名中的不一致(签名版本 %d,此处版本 %d):请用 --profiles 指定其目录"
	case "not-kept":
		return "raw frames were not switched on for this meter", "该表未启用原始报文"
	case "no-frames-here":
		return "this bundle does not hold the raw frames of this meter: ask for one made with --raw-frames", "该文件不含此表的原始报文:请索取用 --raw-frames 导出的文件"
	case "no-timing":
		return "this bundle does not say when the meter was polled (channel 6)", "该文件不含采集时刻(通道 6)"
	case "dropped":
		return "the box had no room for the frames of these readings", "设备没有空间保存这些读数的报文"
	case "no-exchange":
		return "the frames of these readings are not there, as after a power cut", "没有这些读数的报文,例如断电之后"
	}
	return "the frames of these readings hold no reply with the quantity", "这些读数的报文中没有包含该量的应答"
}
