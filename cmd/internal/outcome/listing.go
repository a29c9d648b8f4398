package outcome

import (
	"encoding/json"
	"io"
	"time"

	"github.com/tallystick/tallystick/uplink/report"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Listing writes results as they come: a line or an object each, or of one leaf
// everything.
type Listing struct {
	Out   io.Writer
	JSON  bool
	Leaf  *uint64 // nil: all
	Found bool    // Leaf was among them
}

// Begin writes what stands over the list.
func (l *Listing) Begin() error {
	if l.JSON || l.Leaf != nil {
		return nil
	}
	_, err := io.WriteString(l.Out, report.ListHead)
	return err
}

// Add writes one result. Times are in this machine's zone, in JSON in UTC.
func (l *Listing) Add(r verify.Result) error {
	if l.Leaf != nil {
		if r.N != *l.Leaf {
			return nil
		}
		l.Found = true
		if l.JSON {
			return report.WriteLeafJSON(l.Out, r)
		}
		return report.WriteLeaf(l.Out, r, time.Local)
	}
	d := report.Describe(r)
	if l.JSON {
		return json.NewEncoder(l.Out).Encode(d)
	}
	_, err := io.WriteString(l.Out, d.Line(time.Local))
	return err
}
