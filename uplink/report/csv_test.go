package report

import (
	"bytes"
	"encoding/csv"
	"errors"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/verify"
)

func rowsOf(t *testing.T, deliveries [][]byte, f Filter) (*CSV, string) {
	t.Helper()
	var b bytes.Buffer
	c, err := NewCSV(&b, f)
	if err != nil {
		t.Fatal(err)
	}
	check(t, pack(t, deliveries), func(r verify.Result) {
		if err := c.Add(r); err != nil {
			t.Fatal(err)
		}
	})
	if err := c.Flush(); err != nil {
		t.Fatal(err)
	}
	return c, b.String()
}

func TestCSVGolden(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 3)
	_, got := rowsOf(t, s.Deliveries, Filter{})
	golden(t, "small.csv", []byte(got))
}

func TestCSVLeavesOutWhatDidNotVerify(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 3)
	s.Deliveries[3] = damaged(s.Deliveries[3]) // a byte of its last block
	c, got := rowsOf(t, s.Deliveries, Filter{})
	rows, err := csv.NewReader(strings.NewReader(got)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range rows {
		if row[7] == "3" {
			t.Errorf("a value of a leaf that does not verify: %v", row)
		}
	}
	if c.Refused != 1 || c.Rows != 2*15 || len(rows) != 31 {
		t.Errorf("refused %d, rows %d and %d, want 1, 30 and 31 with the head", c.Refused, c.Rows, len(rows))
	}
}

func TestCSVFilter(t *testing.T) {
	s := evidencetest.NewStream(t, 1, 3)
	c, got := rowsOf(t, s.Deliveries, Filter{Channels: []evidence.Channel{evidence.Energy}, Meters: []string{"oven"}})
	if c.Rows != 9 || strings.Contains(got, "press-1") || strings.Contains(got, "voltage") || !c.Met["oven"] {
		t.Errorf("%d rows, want 9:\n%s", c.Rows, got)
	}
}

// A name is text somebody chose; a spreadsheet must not run it.
func TestCSVNamesAreNoFormulas(t *testing.T) {
	d := evidencetest.Small()
	d.Meters[0].Name, d.Meters[1].Name = `=HYPERLINK("http://x","y")`, "@SUM(1,2)"
	d.Channels = map[evidence.Channel][]evidence.ChannelMeter{evidence.Power: {
		{Meter: 0, Columns: []evidence.Column{{Quantity: "-power", Unit: "+W", MulCoef: 1}}},
		{Meter: 1, Columns: []evidence.Column{{Quantity: "＝power", Unit: "\tW", MulCoef: 1}}},
	}}
	w, genesis, err := seal.NewWriter(evidence.NewEd25519Signer(evidencetest.Key(1), "file"), evidencetest.Secret(),
		evidence.Genesis{Event: evidencetest.Point(0), Dictionary: d})
	s := evidencetest.Stream{Writer: w}
	s.Add(t, genesis, err)
	data := []evidence.Samples{{Slots: 1, Values: [][]int64{{-5}}}, {Slots: 1, Values: [][]int64{{7}}}}
	window, err := w.Window(evidencetest.Event(0, evidencetest.SmallMS), map[evidence.Channel][]evidence.Samples{evidence.Power: data}, nil)
	s.Add(t, window, err)
	_, got := rowsOf(t, s.Deliveries, Filter{})
	rows, err := csv.NewReader(strings.NewReader(got)).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{
		{`'=HYPERLINK("http://x","y")`, "'-power", "'+W", "-5"},
		{"'@SUM(1,2)", "'＝power", "'\tW", "7"},
	} {
		for k, cell := range rows[1+i][1:5] {
			if cell != want[k] {
				t.Errorf("row %d: %q, want %q", i, cell, want[k])
			}
		}
	}
}

func TestCSVPassesOnWhatTheWriterSays(t *testing.T) {
	full := errors.New("no space")
	c, err := NewCSV(failing{full}, Filter{})
	if err == nil {
		s := evidencetest.NewStream(t, 1, 20)
		check(t, pack(t, s.Deliveries), func(r verify.Result) {
			if err == nil {
				err = c.Add(r)
			}
		})
		if err == nil {
			err = c.Flush()
		}
	}
	if !errors.Is(err, full) {
		t.Errorf("got %v", err)
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }
