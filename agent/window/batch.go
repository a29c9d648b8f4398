package window

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/tallystick/tallystick/drivers"
)

// The journal keeps the polls of the open windows on disk until the window is
// sealed. One journal record is one batch: the polls of one sync interval.
//
//	batch = version(1) leaf poll*
//	leaf  = uvarint          index of the next leaf when the batch was written: the windows of its polls are sealed there or soon after
//	poll  = window  varint   start of its window, Unix ms, minus that of the poll before (first: minus 0)
//	        meter   uvarint  index in the dictionary in force
//	        offset  varint   begin of the poll, ms after the start of its window
//	        count   uvarint  readings
//	        marks   uvarint  readings whose quality is not ok, then for each: index uvarint, quality byte
//	        values  varint*  one per reading that has a value, in order
const journalVersion = 1

// batch is a journal record in the making.
type batch struct {
	buf   []byte
	leaf  uint64 // index of the next leaf
	start int64  // window start of the poll added last
}

func (b *batch) add(windowStart int64, meter int, start int64, readings []drivers.Reading) {
	if len(b.buf) == 0 {
		b.buf = binary.AppendUvarint(append(b.buf, journalVersion), b.leaf)
	}
	buf := binary.AppendVarint(b.buf, windowStart-b.start)
	buf = binary.AppendUvarint(buf, uint64(meter))
	buf = binary.AppendVarint(buf, start-windowStart)
	buf = binary.AppendUvarint(buf, uint64(len(readings)))
	marks := 0
	for _, r := range readings {
		if r.Quality != drivers.OK {
			marks++
		}
	}
	buf = binary.AppendUvarint(buf, uint64(marks))
	for i, r := range readings {
		if r.Quality != drivers.OK {
			buf = append(binary.AppendUvarint(buf, uint64(i)), byte(r.Quality))
		}
	}
	for _, r := range readings {
		if r.Quality.HasValue() {
			buf = binary.AppendVarint(buf, r.Coef)
		}
	}
	b.buf, b.start = buf, windowStart
}

// journaled is one poll read back.
type journaled struct {
	leaf     uint64 // of its batch
	window   int64
	meter    int
	start    int64
	readings []drivers.Reading
}

// batchLeaf is the index of the leaf that was next when a batch was written.
func batchLeaf(rec []byte) uint64 {
	d := decoder{b: rec}
	d.byte()
	return d.uvarint()
}

// readBatch calls poll for every poll in rec. cols holds the number of readings
// by meter; a batch that does not fit it is an error, after the polls before
// the misfit.
func readBatch(rec []byte, cols []int, poll func(journaled)) error {
	d := decoder{b: rec}
	if v := d.byte(); v != journalVersion {
		return fmt.Errorf("journal record has version %d, this program reads %d: it was written by another version of Tallystick", v, journalVersion)
	}
	leaf := d.uvarint()
	var start int64
	for len(d.b) > 0 && !d.bad {
		start += d.varint()
		p := journaled{leaf: leaf, window: start}
		meter, offset, count := d.uvarint(), d.varint(), d.uvarint()
		if d.bad || meter >= uint64(len(cols)) || count != uint64(cols[meter]) {
			return fmt.Errorf("journal record names meter %d with %d readings, the dictionary in force has no such meter", meter, count)
		}
		p.meter, p.start = int(meter), start+offset
		p.readings = make([]drivers.Reading, count)
		for range d.uvarint() {
			i, q := d.uvarint(), d.byte()
			if d.bad || i >= count {
				return fmt.Errorf("journal record marks reading %d of %d", i, count)
			}
			p.readings[i].Quality = drivers.Quality(q)
		}
		for i := range p.readings {
			if p.readings[i].Quality.HasValue() {
				p.readings[i].Coef = d.varint()
			}
		}
		if d.bad {
			break
		}
		poll(p)
	}
	if d.bad {
		return fmt.Errorf("journal record ends within a poll")
	}
	return nil
}

// decoder reads varints; bad stays set after the first that is not there.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad = true
		return 0
	}
	d.b = d.b[n:]
	return v
}

// recovered rebuilds the windows a run left open, oldest first, from the polls
// that are not in a leaf yet.
func recovered(polls []journaled, meters int) []*Window {
	var ws []*Window
	for _, p := range polls {
		i := slices.IndexFunc(ws, func(w *Window) bool { return w.Start >= p.window })
		if i < 0 {
			i = len(ws)
		}
		if i == len(ws) || ws[i].Start != p.window {
			w := newWindow(meters)
			w.Start = p.window
			ws = slices.Insert(ws, i, w)
		}
		w := ws[i]
		m := &w.meters[p.meter]
		m.at, m.rows = append(m.at, p.start), append(m.rows, p.readings...)
		w.Last = max(w.Last, p.start)
	}
	return ws
}
