package main

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newVerifyCommand() *cobra.Command {
	var trust trust
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify FILE",
		Short: "Check an exported bundle offline",
		Long: `Checks a bundle made by "tallystick log export": every signature, index, history
root and block. Whose key to believe comes from --key, the boxes of --config,
or --policy. Without either the key named in the bundle itself is assumed, and the
result says so: compare it with the one you were given when the box was
commissioned.

With --config readings that the consent in force does not cover are named: they are
not this lender's to use.

A file made by "tally-lender compare" that proves a fork is checked too.

The verdict is one of verified, gaps, altered, forked (and unreadable or
wrong-key). Exit code 0 verified, 1 gaps only, 4 anything worse, 3 no bundle.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := open(args[0])
			if err != nil {
				return err
			}
			fraud, err := trust.checkFraud(f, cmd.OutOrStdout(), cmd.ErrOrStderr(), asJSON)
			f.Close()
			if fraud || err != nil {
				return err
			}
			var events []evidence.Happening
			var beyond []verify.Reason
			held := consents{}
			sum, err := trust.check(args[0], nil, cmd.ErrOrStderr(), func(r verify.Result) error {
				// Without --config it may be the factory's own export, for nobody or for all.
				if trust.lender != "" && (r.Record == nil || r.Record.For == trust.lender) {
					if note, any := held.beyond(&r); any && !slices.Contains(beyond, note) {
						beyond = append(beyond, note)
					}
				}
				if r.Manifest != nil && len(events) < outcome.MostEvents {
					events = append(events, r.Manifest.Events...)
				}
				return nil
			})
			if err != nil {
				return err
			}
			sum.Reasons = append(beyond, sum.Reasons...)
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(sum); err != nil {
					return err
				}
			}
			outcome.Print(cmd.ErrOrStderr(), args[0], &sum)
			outcome.PrintEvents(cmd.ErrOrStderr(), events)
			return outcome.Exit(sum.Verdict)
		},
	}
	trust.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON on stdout")
	return c
}

// open opens a file that can be read more than once, from its start.
func open(path string) (*os.File, error) {
	unusable := func(is, hint string) error {
		return &cli.Error{Exit: cli.Environment, Code: "E-412", Text: path + ": is " + is, Hint: hint}
	}
	info, err := os.Stat(path) // to open a pipe would wait for who writes
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, &cli.Error{Exit: cli.Environment, Code: "E-411", Text: path + ": no such file", Hint: "name the .tally file to check"}
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, unusable("a directory", "name the .tally file to check")
	case info.Mode()&(fs.ModeNamedPipe|fs.ModeSocket) != 0:
		return nil, unusable("a pipe, and a bundle is read more than once", "save it to a file first, and name that")
	}
	return os.Open(path)
}
