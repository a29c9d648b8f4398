// Package outcome shows people what a check of evidence has found, the same on
// the lender's machine and on the box.
package outcome

import (
	"fmt"
	"io"
	"time"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/report"
	"github.com/tallystick/tallystick/uplink/verify"
)

// Print sums up a bundle; name is what was checked.
func Print(w io.Writer, name string, s *verify.Summary) {
	fmt.Fprintf(w, "%s: %s (%s), grade %s; log %s, leaves %d to %d, %s, %s\n",
		name, s.Verdict, s.Verdict.Chinese(), s.Grade, s.Log, s.Lo, s.Hi, cli.Count(int(s.Windows), "window"), cli.Count(int(s.Readings), "reading"))
	for _, r := range s.Reasons {
		fmt.Fprintf(w, "  - %s\n    %s\n", r.En, r.Zh)
	}
	for _, r := range s.Assumptions {
		fmt.Fprintf(w, "  ? %s\n    %s\n", r.En, r.Zh)
	}
}

// MostEvents bounds how many happenings of one bundle are shown.
const MostEvents = 1000

// PrintEvents lists happenings, each with its time in this machine's zone.
func PrintEvents(w io.Writer, events []evidence.Happening) {
	for _, e := range events {
		fmt.Fprintf(w, "  %s %s: %s\n", time.UnixMilli(e.At).Local().Format(time.DateTime), e.Subject, said(e))
	}
}

// said is what happened in the product's two languages. A failed rule asks for
// an explanation; it accuses nobody.
func said(e evidence.Happening) string {
	words := report.Event(e.Kind, report.English)
	if zh := report.Event(e.Kind, report.Chinese); zh != words {
		words += " / " + zh
	}
	if e.Quantity != "" {
		words += ": " + e.Quantity
	}
	if e.Count > 1 {
		words += fmt.Sprintf(" (%d times)", e.Count)
	}
	return words
}

// Exit is the exit code of a verdict: an error without words, nil for verified.
func Exit(v verify.Verdict) error {
	switch v {
	case verify.Verified:
		return nil
	case verify.Gap, verify.Replayed: // what is repeated is there, and nothing was changed
		return &cli.Error{Exit: cli.Fault}
	case verify.Unreadable:
		return &cli.Error{Exit: cli.Environment}
	}
	return &cli.Error{Exit: cli.NotVerified}
}
