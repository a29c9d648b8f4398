package assembly

import (
	"math"
	"slices"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// TestAllowance: channels both in the site file and in the consent, of its time,
// and nothing after its end.
func TestAllowance(t *testing.T) {
	const day = 24 * time.Hour
	begin := time.UnixMilli(evidencetest.Start).UTC()
	grant := evidencetest.Consent() // energy and power, a year from Start, history one day
	withdrawal := record.Consent{Header: record.Header{Act: record.Withdraw}}
	l := configs.Lender{Share: []configs.Channel{configs.Energy, configs.Timing}}
	dated := l
	dated.From, dated.Until, dated.Expires = configs.Day(begin.AddDate(0, 0, 2).Format(time.DateOnly)), configs.Day(begin.AddDate(0, 0, 9).Format(time.DateOnly)), configs.Day(begin.AddDate(0, 0, 19).Format(time.DateOnly))
	required := l
	required.Consent = configs.Required
	all := []evidence.Channel{evidence.Energy, evidence.Timing}
	both := []evidence.Channel{evidence.Energy}
	const most = math.MaxUint64
	for name, c := range map[string]struct {
		lender   configs.Lender
		standing desk.Standing
		now      time.Duration // since Start
		at       time.Duration
		want     []evidence.Channel
		lo, hi   uint64
	}{
		"the site file alone":            {l, desk.Standing{}, day, day, all, 0, most},
		"no record, and one is required": {required, desk.Standing{}, day, day, all, 0, 0},
		"records were lost":              {l, desk.Standing{Lost: true}, day, day, all, 0, 0},
		"granted":                        {l, desk.Standing{Consent: &grant, Leaf: 9, Since: 9}, day, day, both, 0, most},
		"granted, required":              {required, desk.Standing{Consent: &grant, Leaf: 9, Since: 9}, day, day, both, 9, most},
		"granted anew":                   {l, desk.Standing{Consent: &grant, Leaf: 12, Since: 9, Renewed: true}, day, day, both, 9, most},
		"its history":                    {l, desk.Standing{Consent: &grant}, day, -day, both, 0, most},
		"before its history":             {l, desk.Standing{Consent: &grant}, day, -day - 1e6, nil, 0, most},
		"the last millisecond":           {l, desk.Standing{Consent: &grant}, 365*day - 1e6, 365*day - 1e6, both, 0, most},
		"its time is over":               {l, desk.Standing{Consent: &grant}, 365 * day, 365 * day, nil, 0, 0},
		"withdrawn":                      {l, desk.Standing{Consent: &withdrawal, Leaf: 20}, day, day, nil, 0, 21},
		"withdrawn, required":            {required, desk.Standing{Consent: &withdrawal, Leaf: 20, Since: 9}, day, day, nil, 9, 21},
		"before the site file's from":    {dated, desk.Standing{}, day, day, nil, 0, most},
		"from":                           {dated, desk.Standing{}, 3 * day, 2 * day, all, 0, most},
		"on the last day":                {dated, desk.Standing{}, 9 * day, 10*day - 1e6, all, 0, most},
		"after the site file's until":    {dated, desk.Standing{}, 10 * day, 10 * day, nil, 0, most},
		"expired":                        {dated, desk.Standing{Consent: &grant, Since: 3}, 20 * day, 5 * day, both, 0, 0},
	} {
		a := newAllowance(&c.lender, time.UTC, func() desk.Standing { return c.standing })
		a.now = func() time.Time { return begin.Add(c.now) }
		if got := a.grants(begin.Add(c.at).UnixMilli()); !slices.Equal(got, c.want) {
			t.Errorf("%s: channels %v, want %v", name, got, c.want)
		}
		if lo, hi := a.stretch(); lo != c.lo || hi != c.hi {
			t.Errorf("%s: leaves %d to %d, want %d to %d", name, lo, hi, c.lo, c.hi)
		}
	}
}
