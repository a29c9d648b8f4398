package agent

import (
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// place names a column across dictionaries.
type place struct {
	meter, quantity, unit string
	exp                   int8
}

// newest returns the newest undoubted value of each column in the newest leaves.
// What cannot be read has none. dict is the dictionary in force.
func newest(log *history.Source, dict *evidence.Dictionary) map[place]int64 {
	const look = 64
	values := map[place]int64{}
	next := log.Next()
	for n := next; n > log.First() && next-n < look; n-- {
		rec, err := log.Read(n-1, nil)
		if err != nil {
			continue
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			continue
		}
		if d.Manifest.Dictionary() != nil {
			break // what is before it was laid out otherwise
		}
		for _, raw := range d.Blocks {
			if blk, err := evidence.DecodeBlock(raw.Bytes, dict.Channels[raw.Channel]); err == nil {
				newestOf(&blk, dict, values)
			}
		}
	}
	return values
}

// newestOf adds to values the newest undoubted value of each column that has
// none yet.
func newestOf(blk *evidence.Block, dict *evidence.Dictionary, values map[place]int64) {
	for i, cm := range dict.Channels[blk.Channel] {
		s := &blk.Meters[i]
		for c, column := range cm.Columns {
			at := place{dict.Meters[cm.Meter].Name, column.Quantity, column.Unit, column.Exp}
			if _, known := values[at]; known {
				continue
			}
			for slot := s.Slots - 1; slot >= 0; slot-- {
				if s.Code(c, slot) == evidence.OK {
					values[at] = s.Values[c][slot]
					break
				}
			}
		}
	}
}
