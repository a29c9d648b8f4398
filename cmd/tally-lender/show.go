package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
)

func newShowCommand() *cobra.Command {
	var trust trust
	var leaf uint64
	var asJSON bool
	c := &cobra.Command{
		Use:   "show FILE",
		Short: "List the leaves of a bundle, or show one of them whole",
		Long: `Checks a bundle as "tally-lender verify" does and prints one line a leaf: index,
type, time, length, grade, verdict, completeness, and samples by channel. With
--leaf everything of one leaf: names, values, events, digests. Times are those of
the box, shown in this machine's time zone. "not here" names channels that are
signed and of which the file has no sample: not given, or none was due.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, stderr := cmd.OutOrStdout(), cmd.ErrOrStderr()
			list := outcome.Listing{Out: out, JSON: asJSON}
			if cmd.Flags().Changed("leaf") {
				list.Leaf = &leaf
			}
			if err := list.Begin(); err != nil {
				return err
			}
			sum, err := trust.check(args[0], nil, stderr, list.Add)
			if err != nil {
				return err
			}
			if list.Leaf != nil && !list.Found {
				return &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%s has no leaf %d; it has %d to %d", args[0], leaf, sum.Lo, sum.Hi),
					Hint: "the list of its leaves: tally-lender show " + args[0]}
			}
			outcome.Print(stderr, args[0], &sum)
			return outcome.Exit(sum.Verdict)
		},
	}
	trust.flags(c)
	c.Flags().Uint64Var(&leaf, "leaf", 0, "show this leaf whole")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON on stdout, one object a leaf")
	return c
}
