package evidence

import (
	"maps"
	"math"
	"slices"
	"unicode/utf8"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Column is one quantity of one meter in one channel. A sample of it is an
// integer as the meter's profile defines it; on the site's side of the
// instrument transformers it stands for
//
//	sample x 10^Exp x MulCoef x 10^MulExp   Unit
//
// The multiplier is the CT/PT ratio, 1 and 0 for a directly connected meter.
type Column struct {
	_        struct{} `cbor:",toarray"`
	Quantity string
	Unit     string
	Exp      int8
	MulCoef  int64 // >= 1
	MulExp   int8
}

// ChannelMeter lists what one meter contributes to one channel.
type ChannelMeter struct {
	_       struct{} `cbor:",toarray"`
	Meter   int      // index into Dictionary.Meters
	Columns []Column // at least one
}

// Meter is one commissioned meter.
type Meter struct {
	Name           string `cbor:"1,keyasint"`
	Profile        string `cbor:"2,keyasint"`
	ProfileVersion int    `cbor:"3,keyasint"`
	ProfileHash    Hash   `cbor:"4,keyasint"` // SHA-256 of the profile in force
	IntervalMS     uint32 `cbor:"5,keyasint"` // between two slots, >= 1
}

// Dictionary gives every number in a block its name. It is signed in the
// genesis leaf and replaced as a whole by a config leaf.
type Dictionary struct {
	_        struct{} `cbor:",toarray"`
	Meters   []Meter
	Channels map[Channel][]ChannelMeter
}

// ChannelList returns the dictionary's channels in ascending order.
func (d *Dictionary) ChannelList() []Channel { return slices.Sorted(maps.Keys(d.Channels)) }

// Validate reports what makes d unfit to be signed or read.
func (d *Dictionary) Validate() error {
	const where = "dictionary"
	if len(d.Meters) > MaxMeters {
		return canon.Malformed(where, "%d meters, limit %d", len(d.Meters), MaxMeters)
	}
	for i, m := range d.Meters {
		switch {
		case !ValidText(m.Name) || m.Name == "":
			return canon.Malformed(where, "meter %d: name missing or not text of at most %d bytes", i, MaxText)
		case !ValidText(m.Profile):
			return canon.Malformed(where, "meter %s: profile id is not text of at most %d bytes", m.Name, MaxText)
		case m.IntervalMS == 0:
			return canon.Malformed(where, "meter %s: interval is 0", m.Name)
		case m.ProfileVersion < 0 || m.ProfileVersion > math.MaxInt32: // an int is 32 bits on some boxes
			return canon.Malformed(where, "meter %s: profile version %d", m.Name, m.ProfileVersion)
		}
	}
	for ch, meters := range d.Channels {
		if ch == Records {
			return canon.Malformed(where, "channel %d has no meters", ch)
		}
		last := -1
		for _, cm := range meters {
			if cm.Meter <= last || cm.Meter >= len(d.Meters) {
				return canon.Malformed(where, "channel %d: meter index %d after %d, want ascending and below %d", ch, cm.Meter, last, len(d.Meters))
			}
			last = cm.Meter
			if n := len(cm.Columns); n == 0 || n > MaxColumns {
				return canon.Malformed(where, "channel %d, meter %d: %d columns, want 1 to %d", ch, cm.Meter, n, MaxColumns)
			}
			for _, c := range cm.Columns {
				if !ValidText(c.Quantity) || c.Quantity == "" || !ValidText(c.Unit) {
					return canon.Malformed(where, "channel %d, meter %d: quantity or unit is not text of at most %d bytes", ch, cm.Meter, MaxText)
				}
				if c.MulCoef < 1 {
					return canon.Malformed(where, "channel %d, meter %d, %s: multiplier %d, want at least 1", ch, cm.Meter, c.Quantity, c.MulCoef)
				}
			}
		}
	}
	return nil
}

// ValidText reports whether s may stand in a leaf: UTF-8, at most MaxText bytes.
func ValidText(s string) bool { return len(s) <= MaxText && utf8.ValidString(s) }
