package main

import (
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

func newLogStatusCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "status",
		Short: "Show how far the history is with each lender",
		Long: `Prints for each lender of the site file up to which leaf it has confirmed the
history, how many leaves wait for its receipt, and when it gave the newest receipt
that stands in the history; the agent records one every 15 minutes. It may run
while the agent does.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHistory(func(site *configs.Site, h *history.Reader) error {
				s, err := statusOf(site, h)
				if err != nil {
					return &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
				}
				if asJSON {
					return json.NewEncoder(cmd.OutOrStdout()).Encode(s)
				}
				return s.write(cmd.OutOrStdout(), time.Now())
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object on stdout")
	return c
}

// logStatus is where a history stands; times are UTC.
type logStatus struct {
	Log     string         `json:"log"`
	First   uint64         `json:"first"`
	Newest  uint64         `json:"newest"`
	End     time.Time      `json:"newest_end"` // of the newest leaf, as it states it
	Lenders []lenderStatus `json:"lenders"`
}

// lenderStatus is how far a lender is.
type lenderStatus struct {
	Lender  string `json:"lender"`
	Waiting uint64 `json:"waiting"` // leaves without its receipt
	// Receipted is the newest leaf it has confirmed, null before the first;
	// with ack: puback it is the broker that took it. End is when that leaf ended,
	// null when it is no longer on the box.
	Receipted *uint64    `json:"receipted"`
	End       *time.Time `json:"receipted_end"`
	Puback    bool       `json:"by_broker"`
	Receipt   *time.Time `json:"newest_receipt"` // recorded in the history, by the lender's clock
}

// receiptsWithin is how many leaves are looked through for recorded receipts: some
// three days of windows of a minute.
const receiptsWithin = 5000

func statusOf(site *configs.Site, h *history.Reader) (logStatus, error) {
	s := logStatus{Log: h.LogID().String(), First: h.First(), Newest: h.Next() - 1, Lenders: []lenderStatus{}}
	newest, err := h.Leaf(s.Newest)
	if err != nil {
		return s, err
	}
	s.End = time.UnixMilli(newest.Manifest.End()).UTC()
	receipted := h.Receipted()
	receipts, err := newestReceipts(site, h)
	if err != nil {
		return s, err
	}
	for i := range site.Lenders {
		name := string(site.Lenders[i].Name)
		next, sent := receipted[name]
		if !sent {
			next = h.First()
		}
		l := lenderStatus{Lender: name, Waiting: h.Next() - min(next, h.Next()), Puback: site.Lenders[i].Ack == configs.AckPUBACK, Receipt: receipts[name]}
		if sent && next > 0 {
			n := next - 1
			l.Receipted = &n
			if leaf, err := h.Leaf(n); err == nil {
				end := time.UnixMilli(leaf.Manifest.End()).UTC()
				l.End = &end
			}
		}
		s.Lenders = append(s.Lenders, l)
	}
	return s, nil
}

// newestReceipts is when each lender signed the newest receipt recorded.
func newestReceipts(site *configs.Site, h *history.Reader) (map[string]*time.Time, error) {
	keys, found := map[string]evidence.PublicKey{}, map[string]*time.Time{}
	for i := range site.Lenders {
		key, err := assembly.LenderKey(&site.Lenders[i])
		if err != nil {
			return nil, err
		}
		if !key.IsZero() {
			keys[string(site.Lenders[i].Name)] = key
		}
	}
	for n := h.Next(); n > h.First() && n+receiptsWithin > h.Next() && len(found) < len(keys); n-- {
		leaf, err := h.Leaf(n - 1)
		if err != nil || leaf.Manifest.Type != evidence.ReceiptLeaf {
			continue // a damaged one is for log verify to name
		}
		for _, b := range leaf.Blocks {
			rec, err := record.Parse(b.Bytes)
			var raw []byte
			if err != nil || found[rec.For] != nil || rec.Decode(&raw) != nil {
				continue
			}
			key, known := keys[rec.For]
			if !known {
				continue
			}
			if m, err := evidence.OpenMessage(key, raw); err == nil && m.Receipt != nil && m.Receipt.Log == h.LogID() {
				at := time.UnixMilli(m.Receipt.ReceivedAt).UTC()
				found[rec.For] = &at
			}
		}
	}
	return found, nil
}

func (s *logStatus) write(w io.Writer, now time.Time) error {
	at := func(t time.Time) string {
		return fmt.Sprintf("%s, %v ago", t.Local().Format(time.DateTime), max(0, now.Sub(t)).Round(time.Second))
	}
	_, err := fmt.Fprintf(w, "log %s, leaves %d to %d, the newest ended %s\n", s.Log, s.First, s.Newest, at(s.End))
	for _, l := range s.Lenders {
		confirmed := "nothing confirmed yet"
		if l.Receipted != nil {
			by := "confirmed"
			if l.Puback {
				by = "taken by the broker"
			}
			confirmed = fmt.Sprintf("%s up to leaf %d", by, *l.Receipted)
			if l.End != nil {
				confirmed += " (ended " + at(*l.End) + ")"
			}
		}
		receipt := "no receipt recorded lately"
		if l.Receipt != nil {
			receipt = "newest receipt recorded " + at(*l.Receipt)
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "lender %s: %s, %d waiting, %s\n", l.Lender, confirmed, l.Waiting, receipt)
		}
	}
	if err == nil && len(s.Lenders) == 0 {
		_, err = fmt.Fprintln(w, "the site file names no lender")
	}
	return err
}
