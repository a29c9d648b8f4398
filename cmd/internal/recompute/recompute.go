// Package recompute makes the totals in a bundle once more of the readings in it, and
// compares (uplink/evidence/SPEC.md section 6.1). A box signs both; whoever may see
// only totals has nothing to hold them against, and whoever has the readings has.
package recompute

import (
	"fmt"
	"reflect"
	"time"

	"github.com/tallystick/tallystick/agent/aggregate"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// mostDifferences bounds the list; the count goes on.
const mostDifferences = 100

// Totals is what was found so far: totals that are equal to what the readings give,
// or differ, or cannot be compared.
type Totals struct {
	Equal       uint64       `json:"equal"`
	Different   uint64       `json:"different"`
	NotCovered  uint64       `json:"not_covered"`
	Differences []Difference `json:"differences"` // at most 100, as first met
}

// Difference is a signed total that the signed readings contradict. Both are as on the
// meter's own display; "none" is a total without a value.
type Difference struct {
	Leaf     uint64 `json:"leaf"`
	Meter    string `json:"meter"`
	Quantity string `json:"quantity"`
	Signed   string `json:"signed"`
	Computed string `json:"computed"`
}

// Recomputer takes the results of a bundle in order. Not safe for concurrent use.
type Recomputer struct {
	Totals
	lib  *profile.Library
	zone *time.Location // nil: days are not looked at

	fresh bool                 // the log has begun, and no window was seen
	dict  *evidence.Dictionary // in force; nil before the first window
	sums  *aggregate.Sums
	blind map[column]bool // what came before is not known: its next total cannot be compared
}

type column struct {
	channel evidence.Channel
	meter   string
	name    string
}

// New makes a recomputer. The ends of counters are those of the profiles in lib;
// daily totals are compared where zone says when a day ends.
func New(lib *profile.Library, zone *time.Location) *Recomputer {
	return &Recomputer{Totals: Totals{Differences: []Difference{}}, lib: lib, zone: zone}
}

// Add takes the next result. What is not accepted, or missing before it, makes the
// totals across it incomparable.
func (c *Recomputer) Add(r *verify.Result) {
	if !r.Verdict.Accepted() || r.Missing != nil {
		c.sums, c.fresh = nil, false
	}
	switch {
	case r.Type == evidence.GenesisLeaf:
		c.fresh = r.Verdict.Accepted()
	case !r.Verdict.Accepted():
	case r.Type == evidence.EventsLeaf && c.sums != nil:
		c.sums.Events(r.Manifest.Events)
	case r.Type == evidence.WindowLeaf && r.Window == nil:
		c.sums = nil
	case r.Type == evidence.WindowLeaf:
		c.window(r)
	}
}

func (c *Recomputer) window(r *verify.Result) {
	dict, data := r.Window.Dictionary(), r.Window.Samples()
	for _, from := range []evidence.Channel{evidence.Energy, evidence.Power} {
		if _, in := dict.Channels[from]; in && data[from] == nil { // not disclosed here
			c.sums = nil
			c.uncovered(data)
			return
		}
	}
	if c.sums == nil {
		c.begin(dict)
	} else if !reflect.DeepEqual(c.dict, dict) {
		c.sums.Follow(dict)
	}
	c.dict = dict
	signed := map[evidence.Channel][]evidence.Samples{}
	for ch, samples := range data {
		if aggregate.Made(ch) {
			signed[ch] = samples
			delete(data, ch)
		}
	}
	c.sums.Window(r.Manifest.Start, r.Manifest.End(), data)
	for ch, samples := range signed {
		if ch == evidence.DailyTotals && c.zone == nil {
			c.uncovered(map[evidence.Channel][]evidence.Samples{ch: samples})
			continue
		}
		c.compare(r.N, ch, samples, data[ch])
	}
}

// begin starts anew; nothing was there before only in a log that has just begun.
func (c *Recomputer) begin(dict *evidence.Dictionary) {
	zone := c.zone
	if zone == nil {
		zone = time.UTC
	}
	c.dict, c.sums, c.blind = dict, aggregate.New(c.modulus, zone), map[column]bool{}
	c.sums.Follow(dict)
	fresh := c.fresh
	if c.fresh = false; fresh {
		return
	}
	for ch, meters := range dict.Channels {
		for _, cm := range meters {
			for _, col := range cm.Columns {
				c.blind[column{ch, dict.Meters[cm.Meter].Name, col.Quantity}] = aggregate.Made(ch)
			}
		}
	}
}

// compare looks at every column of every period that ended with a window.
func (c *Recomputer) compare(leaf uint64, ch evidence.Channel, signed, computed []evidence.Samples) {
	for i, cm := range c.dict.Channels[ch] {
		name := c.dict.Meters[cm.Meter].Name
		s, o := &signed[i], &computed[i]
		for k, col := range cm.Columns {
			at := column{ch, name, col.Quantity}
			for slot := range max(s.Slots, o.Slots) {
				told, found := total(s, k, slot, col), total(o, k, slot, col)
				switch {
				case c.blind[at]:
					c.NotCovered++
					// A counter that gave no reading has still nothing to go on from.
					c.blind[at] = slot >= o.Slots || !known(o, k, slot)
				case told == found:
					c.Equal++
				default:
					c.Different++
					if len(c.Differences) < mostDifferences {
						c.Differences = append(c.Differences, Difference{leaf, name, col.Quantity, told, found})
					}
				}
			}
		}
	}
}

// known reports whether a computed total stands on a reading, be it broken.
func known(s *evidence.Samples, column, slot int) bool {
	code := s.Code(column, slot)
	return code.HasValue() || code == evidence.Invalid
}

// total is one slot in words, "no period" where there is none.
func total(s *evidence.Samples, k, slot int, col evidence.Column) string {
	if slot >= s.Slots {
		return "no period"
	}
	if code := s.Code(k, slot); !code.HasValue() {
		return "none: " + code.String()
	}
	v := verify.Value{Column: evidence.Column{Exp: col.Exp, MulCoef: 1}, Coef: s.Values[k][slot]}
	return v.Decimal() + " " + col.Unit
}

// uncovered counts totals that nothing here can be compared with.
func (c *Recomputer) uncovered(data map[evidence.Channel][]evidence.Samples) {
	for ch, meters := range data {
		if !aggregate.Made(ch) {
			continue
		}
		for i := range meters {
			c.NotCovered += uint64(meters[i].Slots * len(meters[i].Values))
		}
	}
}

// modulus is the end of a counter by its profile, 0 where that is not the one signed.
func (c *Recomputer) modulus(meter, quantity string) int64 {
	for _, m := range c.dict.Meters {
		if m.Name != meter {
			continue
		}
		if p, err := c.lib.Get(m.Profile); err == nil && p.Hash == m.ProfileHash {
			return p.Lives[quantity].Modulus
		}
	}
	return 0
}

// Words sums up in both languages.
func (t *Totals) Words() string {
	return fmt.Sprintf("totals made again of the readings: %d equal (一致), %d different, explanation needed (不一致，需要说明), %d not covered (未覆盖)", t.Equal, t.Different, t.NotCovered)
}
