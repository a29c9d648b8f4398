package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/uplink/report"
)

func newCSVCommand() *cobra.Command {
	var trust trust
	var output string
	var channels, meters []string
	c := &cobra.Command{
		Use:   "csv FILE",
		Short: "Write the verified values of a bundle as a table",
		Long: `Checks a bundle as "tally-lender verify" does and writes one row a sample: time
(UTC), meter, quantity, unit, exact value, code, channel, leaf, grade.
A sample without a value has an empty value, and its code says why. Values of
leaves that do not verify are left out and counted.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter := report.Filter{Meters: meters}
			var err error
			if filter.Channels, err = channelsOf("channel", channels); err != nil {
				return err
			}
			stderr := cmd.ErrOrStderr()
			return writeWhole(output, cmd.OutOrStdout(), func(w io.Writer) error {
				table, err := report.NewCSV(w, filter)
				if err != nil {
					return err
				}
				sum, err := trust.check(args[0], nil, stderr, table.Add)
				if err != nil {
					return err
				}
				if err := table.Flush(); err != nil {
					return err
				}
				outcome.Print(stderr, args[0], &sum)
				fmt.Fprintf(stderr, "%d rows\n", table.Rows)
				if table.Refused > 0 {
					fmt.Fprintf(stderr, "left out: %d leaves that did not verify\n", table.Refused)
				}
				if table.Unnamed > 0 {
					fmt.Fprintf(stderr, "left out: %d windows whose dictionary is not in the file\n", table.Unnamed)
				}
				for _, m := range meters {
					if !table.Met[m] {
						fmt.Fprintf(stderr, "no row is of meter %q; see the names with: tally-lender show %s --leaf 0\n", m, args[0])
					}
				}
				return outcome.Exit(sum.Verdict)
			})
		},
	}
	trust.flags(c)
	c.Flags().StringVarP(&output, "output", "o", "", "file to write (default: stdout)")
	c.Flags().StringSliceVar(&channels, "channel", nil, "only these channels, by name or number")
	c.Flags().StringSliceVar(&meters, "meter", nil, "only these meters")
	return c
}
