package scan

import (
	"context"
	"fmt"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/cjt188"
	"github.com/tallystick/tallystick/drivers/dlt645"
)

// namedWait is how long a meter of DL/T 645 or CJ/T 188 may take to begin its
// reply: 500 ms by both standards.
const namedWait = 500 * time.Millisecond

// wildcards looks for meters that are called by the number on their plate.
func (s *search) wildcards(at drivers.Settings) []step {
	wait := namedWait + at.Characters(24) // a reply with an address or an energy
	if !s.Serial {
		wait += 2 * unitWait
	}
	return []step{
		{at, "DL/T 645-2007", func(ctx context.Context, at drivers.Settings) ([]Hit, error) {
			return s.dlt645(ctx, dlt645.V2007, at, wait)
		}},
		{at, "DL/T 645-1997", func(ctx context.Context, at drivers.Settings) ([]Hit, error) {
			return s.dlt645(ctx, dlt645.V1997, at, wait)
		}},
		{at, "CJ/T 188", func(ctx context.Context, at drivers.Settings) (hits []Hit, err error) {
			err = cjt188.Search(ctx, s.Line, at, wait+at.Characters(16), func(meter byte, address string) {
				h := Hit{Protocol: "cjt188", Address: address, Settings: at, Why: "answers as its type of meter"}
				switch meter >> 4 {
				case 1:
					h.Profiles = []string{"cjt188-water"}
				case 2:
					h.Profiles = []string{"cjt188-heat"}
				case 3:
					h.Profiles = []string{"cjt188-gas"}
				}
				h.Certain = len(h.Profiles) > 0
				hits = append(hits, h)
			})
			return hits, err
		}},
	}
}

func (s *search) dlt645(ctx context.Context, v dlt645.Version, at drivers.Settings, wait time.Duration) (hits []Hit, err error) {
	err = dlt645.Search(ctx, v, s.Line, at, wait, func(address string) {
		hits = append(hits, Hit{Protocol: v.String(), Address: address, Settings: at})
	})
	for i := range hits {
		h := &hits[i]
		if v == dlt645.V1997 {
			h.Profiles, h.Certain, h.Why = []string{"dlt645-1997"}, true, "energy register and edition of the standard"
			continue
		}
		phases, ok := s.phases(ctx, h.Address, at, wait)
		switch {
		case !ok:
			h.Profiles = []string{"dlt645-2007-3ph", "dlt645-2007-1ph"}
		case phases > 1:
			h.Profiles, h.Certain, h.Why = []string{"dlt645-2007-3ph"}, true, fmt.Sprintf("edition of the standard, voltage on %d phases", phases)
		default:
			h.Profiles, h.Certain, h.Why = []string{"dlt645-2007-1ph"}, true, "edition of the standard, voltage on one phase"
		}
	}
	return hits, err
}

// phases counts the phases of a meter that have a voltage the mains can have.
func (s *search) phases(ctx context.Context, address string, at drivers.Settings, wait time.Duration) (n int, ok bool) {
	var items []drivers.Item
	for _, id := range []string{"02010100", "02010200", "02010300"} {
		items = append(items, drivers.Item{Quantity: drivers.Quantity{Name: id, Unit: "V", Exp: -1}, ID: id, Min: 400, Max: 5000, Limited: true})
	}
	m, err := dlt645.New(dlt645.Config{
		Name: "scan", Address: address, Version: dlt645.V2007, Items: items, Timeout: wait, Settings: at,
	}, s.Line)
	if err != nil {
		return 0, false
	}
	rs := make([]drivers.Reading, len(items))
	_ = m.Read(ctx, rs) // phases that are not there are refused or missing
	for _, r := range rs {
		if r.Quality == drivers.OK {
			n++
		}
	}
	return n, n > 0
}
