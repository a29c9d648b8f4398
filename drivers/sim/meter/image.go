package meter

import (
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

// image is one Modbus table of a meter as it stands on the wire: two bytes a
// word, or one byte (0 or 1) a bit.
type image struct {
	first int // wire address of data[0]
	size  int // bytes per address
	data  []byte
	// run[i] is how many addresses from i on are answered without a hole.
	run []uint16
}

// span is a stretch of addresses, last included.
type span struct{ first, last int }

// newImage covers the spans; addresses between them are holes that refuse.
func newImage(table drivers.Table, spans []span) *image {
	if len(spans) == 0 {
		return nil
	}
	lo, hi := spans[0].first, spans[0].last
	for _, s := range spans {
		lo, hi = min(lo, s.first), max(hi, s.last)
	}
	im := &image{first: lo, size: 2, run: make([]uint16, hi-lo+1)}
	if table.Bits() {
		im.size = 1
	}
	im.data = make([]byte, im.size*len(im.run))
	for _, s := range spans {
		for a := s.first; a <= s.last; a++ {
			im.run[a-lo] = 1
		}
	}
	for i := len(im.run) - 2; i >= 0; i-- {
		if im.run[i] > 0 {
			im.run[i] += min(im.run[i+1], maxBits)
		}
	}
	return im
}

// at returns the stored bytes of n addresses, or false when one is a hole.
func (im *image) at(address, n int) ([]byte, bool) {
	if im == nil || address < im.first {
		return nil, false
	}
	i := address - im.first
	if i >= len(im.run) || int(im.run[i]) < n {
		return nil, false
	}
	return im.data[i*im.size : (i+n)*im.size], true
}

// cell is one register bound to what it shows.
type cell struct {
	drivers.Register
	source plant.Source
	to     []byte // its bytes in the image
}

// newImages builds the tables of a meter and binds every register to its
// place. Overlapping registers are refused.
func newImages(registers []drivers.Register, ranges []drivers.Range) ([4]*image, []cell, error) {
	var spans [4][]span
	for _, r := range ranges {
		if r.Last < r.Address {
			return [4]*image{}, nil, fmt.Errorf("range of %s 0x%04X to 0x%04X: the end lies before the start", r.Table, r.Address, r.Last)
		}
		spans[r.Table&3] = append(spans[r.Table&3], span{int(r.Address), int(r.Last)})
	}
	byPlace := slices.Clone(registers)
	slices.SortStableFunc(byPlace, func(a, b drivers.Register) int {
		if a.Table != b.Table {
			return int(a.Table) - int(b.Table)
		}
		return int(a.Address) - int(b.Address)
	})
	for i, r := range byPlace {
		last := int(r.Address) + r.Type.Words() - 1
		if last > 0xFFFF {
			return [4]*image{}, nil, fmt.Errorf("quantity %s at %s 0x%04X: reaches past address 0xFFFF", r.Name, r.Table, r.Address)
		}
		if i > 0 {
			b := byPlace[i-1]
			if b.Table == r.Table && int(b.Address)+b.Type.Words() > int(r.Address) {
				return [4]*image{}, nil, fmt.Errorf("quantities %s and %s overlap at %s 0x%04X", b.Name, r.Name, r.Table, r.Address)
			}
		}
		spans[r.Table&3] = append(spans[r.Table&3], span{int(r.Address), last})
	}
	var images [4]*image
	for t := range images {
		images[t] = newImage(drivers.Table(t), spans[t])
	}
	cells := make([]cell, len(registers))
	for i, r := range registers {
		c := cell{Register: r}
		if r.Type != drivers.Bit {
			s, err := plant.SourceOf(r.Quantity)
			if err != nil {
				return images, nil, err
			}
			if r.Table.Bits() {
				return images, nil, fmt.Errorf("quantity %s: %s hold bits only", r.Name, r.Table)
			}
			if limit := int8(9); max(r.Exp, r.Scale) > limit || min(r.Exp, r.Scale) < -limit {
				return images, nil, fmt.Errorf("quantity %s: exponents %d and %d: simulated from -9 to 9", r.Name, r.Exp, r.Scale)
			}
			c.source = s
		}
		c.to, _ = images[r.Table&3].at(int(r.Address), r.Type.Words())
		cells[i] = c
	}
	return images, cells, nil
}
