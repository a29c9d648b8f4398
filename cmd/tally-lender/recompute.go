package main

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/cmd/internal/recompute"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newRecomputeCommand() *cobra.Command {
	var trust trust
	var profiles, zone string
	var asJSON bool
	c := &cobra.Command{
		Use:   "recompute FILE",
		Short: "Make the totals in a bundle once more of the readings in it, and compare",
		Long: `Checks a bundle as "tally-lender verify" does, then makes the quarter-hourly totals
(channel 7) once more of the signed readings of energy and power beside them, and
compares: a total is equal, different, or not covered. The box signs both; a lender
who may see only totals asks somebody who holds both, or the factory for a bundle
with both. Daily totals (channel 12) are compared with --zone, the time zone of the
factory. The first totals of a bundle that begins in the middle are not covered.

The ends of counters are those of the profiles of this program and of --profiles.

Exit code 0 all totals equal, 1 some not covered or missing, 4 any different or the
bundle does not verify, 3 no bundle.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lib, err := library(profiles)
			if err != nil {
				return err
			}
			var days *time.Location
			if zone != "" {
				if days, err = time.LoadLocation(zone); err != nil {
					return cli.UsageError("--zone %s: no such time zone on this machine; write it like Asia/Shanghai", zone)
				}
			}
			totals := recompute.New(lib, days)
			sum, err := trust.check(args[0], nil, cmd.ErrOrStderr(), func(r verify.Result) error {
				totals.Add(&r)
				return nil
			})
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"bundle": sum, "totals": totals.Totals}); err != nil {
					return err
				}
			}
			outcome.Print(cmd.ErrOrStderr(), args[0], &sum)
			fmt.Fprintln(cmd.ErrOrStderr(), totals.Words())
			for _, d := range totals.Differences {
				fmt.Fprintf(cmd.ErrOrStderr(), "  - leaf %d, meter %s, %s: signed %s, the readings give %s\n    记录 %d，电表 %s，%s：签名值 %s，由读数得出 %s\n",
					d.Leaf, d.Meter, d.Quantity, d.Signed, d.Computed, d.Leaf, d.Meter, d.Quantity, d.Signed, d.Computed)
			}
			switch {
			case sum.Verdict.Accepted() && totals.Different > 0:
				return &cli.Error{Exit: cli.NotVerified}
			case sum.Verdict == verify.Verified && (totals.NotCovered > 0 || totals.Equal == 0):
				return &cli.Error{Exit: cli.Fault}
			}
			return outcome.Exit(sum.Verdict)
		},
	}
	trust.flags(c)
	c.Flags().StringVar(&profiles, "profiles", builtIn, "directory of further device profiles")
	c.Flags().StringVar(&zone, "zone", "", "time zone of the factory, like Asia/Shanghai, to compare daily totals too")
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON on stdout")
	return c
}
