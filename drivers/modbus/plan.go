package modbus

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/drivers"
)

const (
	maxWords = 125  // registers in one reply
	maxBits  = 2000 // coils or discrete inputs in one reply
)

// Request is one question to a meter.
type Request struct {
	Table   drivers.Table
	Address uint16
	Count   uint16 // registers, or bits of a table of bits
}

// String is the request as messages name it.
func (r Request) String() string {
	return fmt.Sprintf("read %v 0x%04X+%d", r.Table, r.Address, r.Count)
}

// last is the last address asked for.
func (r Request) last() int { return int(r.Address) + int(r.Count) - 1 }

// bytes is the length of the data in the reply.
func (r Request) bytes() int {
	if r.Table.Bits() {
		return (int(r.Count) + 7) / 8
	}
	return 2 * int(r.Count)
}

// point is one register and the reading it becomes.
type point struct {
	index    int // of the reading
	reg      *drivers.Register
	mul, div uint64 // Float32: 10^(Scale-Exp) as a fraction, one of them 1
}

func (p point) last() int { return int(p.reg.Address) + p.reg.Type.Words() - 1 }

// points orders registers by table and address.
func points(registers []drivers.Register) []point {
	list := make([]point, len(registers))
	for i := range registers {
		r := &registers[i]
		mul, div := shift(int(r.Scale) - int(r.Exp))
		list[i] = point{index: i, reg: r, mul: mul, div: div}
	}
	slices.SortStableFunc(list, func(a, b point) int {
		return cmp.Or(cmp.Compare(a.reg.Table, b.reg.Table), cmp.Compare(a.reg.Address, b.reg.Address), cmp.Compare(a.last(), b.last()))
	})
	return list
}

func without(list []point, index int) []point {
	return slices.DeleteFunc(slices.Clone(list), func(p point) bool { return p.index == index })
}

// request is a Request and the registers its reply holds.
type request struct {
	Request
	points []point
}

// newRequest spans points, which are of one table and in order.
func newRequest(points []point) request {
	first, last := points[0].reg, points[0].last()
	for _, p := range points {
		last = max(last, p.last())
	}
	count := uint16(last - int(first.Address) + 1)
	return request{Request{first.Table, first.Address, count}, points}
}

// mark gives all readings of r a reason instead of a value.
func (r request) mark(dst []drivers.Reading, q drivers.Quality) {
	for _, p := range r.points {
		dst[p.index] = drivers.Reading{Quality: q}
	}
}

// plan joins points into the fewest requests. Taking the first point not yet
// asked for and as much after it as one range and one reply hold is optimal:
// that point has to be in some request, and none that holds it reaches further.
func plan(list []point, ranges []drivers.Range, maxRegisters int) (requests []request) {
	for len(list) > 0 {
		limit := reach(list[0], ranges, maxRegisters)
		taken, rest := []point{list[0]}, []point(nil)
		for _, p := range list[1:] {
			if p.reg.Table == list[0].reg.Table && p.last() <= limit {
				taken = append(taken, p)
			} else {
				rest = append(rest, p)
			}
		}
		requests = append(requests, newRequest(taken))
		list = rest
	}
	return requests
}

// reach is the last address a request that begins with p may ask for.
func reach(p point, ranges []drivers.Range, maxRegisters int) int {
	limit := p.last()
	for _, r := range ranges {
		if r.Table == p.reg.Table && r.Address <= p.reg.Address && p.last() <= int(r.Last) {
			limit = max(limit, int(r.Last))
		}
	}
	most := maxRegisters
	if p.reg.Table.Bits() {
		most = min(16*maxRegisters, maxBits)
	}
	return min(limit, int(p.reg.Address)+most-1)
}

// replan makes the plan and the probes anew from what the meter has.
func (m *Meter) replan() {
	m.plan = plan(m.points, m.ranges, m.cfg.MaxRegisters)
	if len(m.plan) > 0 {
		m.probes = probes(m.plan)
	}
}

// cut takes the addresses from..to out of the ranges; with to = from-1 it only
// parts what lies before from from what lies after.
func (m *Meter) cut(table drivers.Table, from, to int) {
	var kept []drivers.Range
	for _, r := range m.ranges {
		if r.Table != table || int(r.Address) > to || int(r.Last) < from {
			kept = append(kept, r)
			continue
		}
		if int(r.Address) < from {
			kept = append(kept, drivers.Range{Table: table, Address: r.Address, Last: uint16(from - 1)})
		}
		if to < int(r.Last) {
			kept = append(kept, drivers.Range{Table: table, Address: uint16(to + 1), Last: r.Last})
		}
	}
	m.ranges = kept
}

// maxProbes is how many probes differ from each other: replies up to so many
// requests late are told apart.
const maxProbes = 8

// probes lists questions whose replies cannot be confused with the reply to any
// planned one, or with each other. First come whole registers the meter is
// known to have, for not every meter answers half a value, then any length.
func probes(requests []request) (list []Request) {
	used := make(map[int]bool) // lengths
	for _, r := range requests {
		used[r.bytes()] = true
	}
	add := func(r Request) {
		if !used[r.bytes()] && len(list) < maxProbes {
			used[r.bytes()] = true
			list = append(list, r)
		}
	}
	for _, r := range requests {
		for n := range r.points {
			add(newRequest(r.points[:n+1]).Request)
		}
	}
	r, most := requests[0].Request, maxWords
	if r.Table.Bits() {
		most = maxBits
	}
	for n := 1; n <= most && int(r.Address)+n <= 1<<16; n++ {
		r.Count = uint16(n)
		add(r)
	}
	if len(list) == 0 { // at the very end of a table
		list = append(list, requests[0].Request)
	}
	return list
}
