package modbus

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"pgregory.net/rapid"
)

// The plan against every other partition of a few registers into requests.
func TestPlanIsMinimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var regs []drivers.Register
		address := uint16(0)
		for range rapid.IntRange(1, 8).Draw(t, "registers") {
			address += uint16(rapid.IntRange(0, 6).Draw(t, "hole"))
			kind := rapid.SampledFrom([]drivers.Type{drivers.Uint16, drivers.Uint32, drivers.Uint64}).Draw(t, "type")
			regs = append(regs, drivers.Register{Address: address, Type: kind})
			address += uint16(kind.Words())
		}
		var ranges []drivers.Range
		for range rapid.IntRange(0, 3).Draw(t, "ranges") {
			from := uint16(rapid.IntRange(0, 40).Draw(t, "from"))
			ranges = append(ranges, span(from, from+uint16(rapid.IntRange(0, 40).Draw(t, "length"))))
		}
		most := rapid.IntRange(4, 20).Draw(t, "max")
		rand.New(rand.NewPCG(1, 2)).Shuffle(len(regs), func(i, j int) { regs[i], regs[j] = regs[j], regs[i] })

		requests := plan(points(regs), ranges, most)
		seen := map[int]bool{}
		for _, r := range requests {
			if int(r.Count) > most {
				t.Fatalf("%v asks more than %d", r, most)
			}
			for _, p := range r.points {
				if seen[p.index] {
					t.Fatalf("register %d asked twice", p.index)
				}
				seen[p.index] = true
			}
			if !allowed(r.points, ranges, most) {
				t.Fatalf("%v is not within %v", r, ranges)
			}
		}
		if len(seen) != len(regs) {
			t.Fatalf("%d of %d registers asked", len(seen), len(regs))
		}
		if least := fewest(points(regs), ranges, most); len(requests) != least {
			t.Fatalf("%d requests %v, possible with %d", len(requests), requests, least)
		}
	})
}

// allowed reports whether one request may ask for all of group.
func allowed(group []point, ranges []drivers.Range, most int) bool {
	r := newRequest(group)
	if int(r.Count) > most {
		return false
	}
	if len(group) == 1 {
		return true
	}
	return slices.ContainsFunc(ranges, func(g drivers.Range) bool { return g.Address <= r.Address && r.last() <= int(g.Last) })
}

// fewest tries all partitions.
func fewest(list []point, ranges []drivers.Range, most int) int {
	if len(list) == 0 {
		return 0
	}
	best := len(list)
	for set := range 1 << (len(list) - 1) {
		group, rest := []point{list[0]}, []point(nil)
		for i, p := range list[1:] {
			if set>>i&1 == 1 {
				group = append(group, p)
			} else {
				rest = append(rest, p)
			}
		}
		if allowed(group, ranges, most) {
			best = min(best, 1+fewest(rest, ranges, most))
		}
	}
	return best
}

func TestBitsPerRequest(t *testing.T) {
	var regs []drivers.Register
	for a := range uint16(2500) {
		regs = append(regs, drivers.Register{Table: drivers.Coil, Type: drivers.Bit, Address: a})
	}
	ranges := []drivers.Range{{Table: drivers.Coil, Last: 3000}}
	for most, want := range map[int]int{125: 2000, 10: 160} {
		if r := plan(points(regs), ranges, most); r[0].Count != uint16(want) {
			t.Errorf("%d registers a request: %d bits, want %d", most, r[0].Count, want)
		}
	}
}
