package agent

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// actor plays a script: what happens to it, by the number of the poll.
type actor struct {
	polls  int
	energy int64
	serial string
	gone   func(poll int) bool // the line is
	step   func(poll int, a *actor)
}

func (a *actor) Read(_ context.Context, dst []drivers.Reading) error {
	a.polls++
	if a.gone != nil && a.gone(a.polls) {
		for i := range dst {
			dst[i] = drivers.Reading{Quality: drivers.Disconnected}
		}
		return &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("port is gone")}
	}
	a.energy++
	if a.step != nil {
		a.step(a.polls, a)
	}
	dst[0], dst[1] = drivers.Reading{Coef: 2301}, drivers.Reading{Coef: a.energy}
	return nil
}

func (a *actor) identity(context.Context) (string, error) { return a.serial, nil }

func TestWhatHappensIsSigned(t *testing.T) {
	for _, c := range []struct {
		name  string
		actor actor
		rule  judge.Rule
		want  []string
		codes []evidence.Code // of energy other than ok, in order
	}{
		{name: "nothing", rule: judge.Rule{Counter: true}},
		{name: "cable pulled and put back", actor: actor{gone: func(n int) bool { return n > 3 && n < 7 }},
			want:  []string{"line_lost hall-a ", "line_restored hall-a "},
			codes: slices.Repeat([]evidence.Code{evidence.Disconnected}, 3)},
		{name: "meter exchanged", rule: judge.Rule{Counter: true}, actor: actor{energy: 5000, serial: "1", step: func(n int, a *actor) {
			if n == 5 {
				a.energy, a.serial = 100, "2"
			}
		}}, want: []string{"meter_exchanged press-1 "}, codes: []evidence.Code{evidence.Backwards}},
		{name: "counter reset", rule: judge.Rule{Counter: true}, actor: actor{energy: 5000, step: func(n int, a *actor) {
			if n == 5 {
				a.energy = 100
			}
		}}, want: []string{"counter_reset press-1 energy_import"}, codes: slices.Repeat([]evidence.Code{evidence.Backwards}, 3)},
		{name: "counter rolls over", rule: judge.Rule{Counter: true, Modulus: 1000}, actor: actor{energy: 995, step: func(_ int, a *actor) {
			a.energy %= 1000
		}}, want: []string{"counter_rolled_over press-1 energy_import"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := c.actor
				s := testSite(t.TempDir(), &a)
				m := &s.Lines[0].Meters[0]
				m.Columns[1].Rule = c.rule
				if a.serial != "" {
					m.Identity = a.identity
				}
				runFor(t, s, 3*time.Minute)
				var got []string
				var codes []evidence.Code
				for _, r := range sealed(t, s) {
					for _, e := range r.Manifest.Events {
						if r.Type != evidence.EventsLeaf || e.Count == 0 || e.At < time.Now().Add(-4*time.Minute).UnixMilli() {
							t.Errorf("%+v in a leaf %v", e, r.Type)
						}
						got = append(got, e.Kind+" "+e.Subject+" "+e.Quantity)
					}
					for _, v := range values(r, "energy_import") {
						if v.Code != evidence.OK {
							codes = append(codes, v.Code)
						}
					}
				}
				if !slices.Equal(got, c.want) || !slices.Equal(codes, c.codes) {
					t.Fatalf("%q %v, want %q %v", got, codes, c.want, c.codes)
				}
			})
		})
	}
}
