package report

import (
	"encoding/csv"
	"io"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// stamp is a time of the table and of the listing: UTC, milliseconds.
const stamp = "2006-01-02T15:04:05.000Z"

// Filter says which samples are wanted. An empty list stands for all.
type Filter struct {
	Channels []evidence.Channel
	Meters   []string
}

func (f *Filter) wants(v *verify.Value) bool {
	return wanted(f.Channels, v.Channel) && wanted(f.Meters, v.Meter)
}

func wanted[T comparable](list []T, x T) bool {
	for _, l := range list {
		if l == x {
			return true
		}
	}
	return len(list) == 0
}

// CSV writes one row a sample, as RFC 4180 has it. It holds nothing back but
// the buffer of one row. Not safe for concurrent use.
type CSV struct {
	// Rows counts what was written, Refused the leaves whose values were left
	// out because they did not verify, Unnamed those that verified and whose
	// dictionary is not at hand.
	Rows, Refused, Unnamed uint64
	// Met is the meters that had a row.
	Met map[string]bool

	filter Filter
	w      *csv.Writer
	row    [9]string
}

// NewCSV writes the head of the table to w.
func NewCSV(w io.Writer, f Filter) (*CSV, error) {
	c := &CSV{Met: map[string]bool{}, filter: f, w: csv.NewWriter(w)}
	c.w.UseCRLF = true
	return c, c.w.Write([]string{"time", "meter", "quantity", "unit", "value", "code", "channel", "leaf", "grade"})
}

// Add writes the samples of one leaf. The value is an exact decimal, or empty
// where there is none; then code says why.
func (c *CSV) Add(r verify.Result) error {
	switch {
	case !r.Verdict.Accepted():
		c.Refused++
		return nil
	case r.Type != evidence.WindowLeaf:
		return nil
	case r.Window == nil:
		c.Unnamed++
		return nil
	}
	for v := range r.Window.Values() {
		if !c.filter.wants(&v) {
			continue
		}
		c.row = [...]string{v.Time.Format(stamp), harmless(v.Meter), harmless(v.Quantity), harmless(v.Unit), v.Decimal(),
			v.Code.String(), v.Channel.String(), strconv.FormatUint(r.N, 10), string(r.Grade)}
		if err := c.w.Write(c.row[:]); err != nil {
			return err
		}
		c.Rows++
		c.Met[v.Meter] = true
	}
	return nil
}

// Flush writes what is buffered.
func (c *CSV) Flush() error {
	c.w.Flush()
	return c.w.Error()
}

// harmless keeps a spreadsheet from taking a name for a formula: OWASP, "CSV
// Injection". Numbers do not come through here; a minus of theirs is one.
func harmless(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r\n＝＋－＠", []rune(s)[0]) {
		return "'" + s
	}
	return s
}
