package assembly

import (
	"math"
	"slices"
	"time"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// allowance is what one lender may have: what the site file shares with it, as far
// as the consent in force goes (uplink/evidence/RECORDS.md). For a lender without
// a consent record the site file alone decides, unless it says consent: required.
type allowance struct {
	share                []evidence.Channel
	from, until, expires time.Time // of the site file; zero: none
	required             bool
	standing             func() desk.Standing
	now                  func() time.Time
}

func newAllowance(l *configs.Lender, zone *time.Location, standing func() desk.Standing) *allowance {
	return &allowance{
		share: Channels(l.Share), from: l.From.Begin(zone), until: l.Until.End(zone), expires: l.Expires.End(zone),
		required: l.Consent == configs.Required, standing: standing, now: time.Now,
	}
}

// stretch are the leaves the lender may have at all.
func (a *allowance) stretch() (lo, hi uint64) {
	s := a.standing()
	c := s.Consent
	if s.Renewed || c != nil && a.required {
		lo = s.Since
	}
	switch {
	case !a.expires.IsZero() && !a.now().Before(a.expires):
		return lo, 0
	case c == nil && (a.required || s.Lost):
		return lo, 0
	case c == nil:
		return lo, math.MaxUint64
	case c.Terms == nil:
		return lo, s.Leaf + 1 // the withdrawal is the last
	case a.now().UnixMilli() >= c.Term.Until:
		return lo, 0
	}
	return lo, math.MaxUint64
}

// grants are the channels of a leaf that begins at the given Unix ms.
func (a *allowance) grants(at int64) []evidence.Channel {
	if !a.from.IsZero() && at < a.from.UnixMilli() || !a.until.IsZero() && at >= a.until.UnixMilli() {
		return nil
	}
	c := a.standing().Consent
	switch {
	case c == nil:
		return a.share
	case c.Terms == nil, at < c.Term.From-int64(c.Scope.History), at >= c.Term.Until:
		return nil
	}
	return slices.DeleteFunc(slices.Clone(a.share), func(ch evidence.Channel) bool { return !slices.Contains(c.Scope.Channels, ch) })
}
