package main

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/cmd/internal/redecode"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/verify"
)

// builtIn stands for the profiles of the program alone.
const builtIn = "built-in"

func newRedecodeCommand() *cobra.Command {
	var trust trust
	var meters []string
	var profiles string
	var asJSON bool
	c := &cobra.Command{
		Use:   "redecode FILE",
		Short: "Decode the meters' own bytes in a bundle, and compare with the signed values",
		Long: `Checks a bundle as "tally-lender verify" does, then decodes the raw frames in it
once more and compares them with the signed values, meter by meter: a value is
equal, different, or not covered by the frames. The bundle is made by
"tallystick log export --raw-frames", of meters that had raw_frames: true.

The profiles are those of this program and of --profiles; one counts only if it
is, byte for byte, the one that was signed. That a value is equal says that the
box signed what came over the wire. It does not say which meter sent it.

Exit code 0 all values equal, 1 some not covered or missing, 4 any different or
the bundle does not verify, 3 no bundle.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			lib, err := library(profiles)
			if err != nil {
				return err
			}
			d := redecode.New(lib, meters)
			sum, err := trust.check(args[0], nil, cmd.ErrOrStderr(), func(r verify.Result) error {
				if r.Verdict.Accepted() {
					d.Add(&r)
				}
				return nil
			})
			if err != nil {
				return err
			}
			found := d.Meters()
			for _, name := range meters {
				if !slices.ContainsFunc(found, func(m *redecode.Meter) bool { return m.Name == name }) {
					return &cli.Error{Exit: cli.Fault, Text: fmt.Sprintf("%s has no values of meter %s", args[0], name),
						Hint: "compare the name with those shown without --meter"}
				}
			}
			if asJSON {
				if err := json.NewEncoder(cmd.OutOrStdout()).Encode(map[string]any{"bundle": sum, "meters": found}); err != nil {
					return err
				}
			}
			outcome.Print(cmd.ErrOrStderr(), args[0], &sum)
			for _, m := range found {
				printMeter(cmd.ErrOrStderr(), m)
			}
			return exitOfMeters(sum.Verdict, found)
		},
	}
	c.Flags().StringVar(&profiles, "profiles", builtIn, "directory of further device profiles")
	c.Flags().StringArrayVar(&meters, "meter", nil, "look at this meter only (repeatable)")
	trust.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON on stdout")
	return c
}

// library is the profiles of the program and those in dir, which may be the
// word for none.
func library(dir string) (*profile.Library, error) {
	lib := profile.Builtin()
	if dir == builtIn {
		return lib, nil
	}
	if err := lib.AddDir(dir); err != nil {
		return nil, cli.UsageError("--profiles: %v", err)
	}
	return lib, nil
}

func printMeter(w io.Writer, m *redecode.Meter) {
	fmt.Fprintf(w, "%s: %d equal (一致), %d different (不一致), %d not covered (未覆盖)\n", m.Name, m.Equal, m.Different, m.NotCovered)
	for _, d := range m.Differences {
		fmt.Fprintf(w, "  - leaf %d, %s, %s: signed %s, the frames say %s\n    第 %d 叶,%s:签名值 %s,报文值 %s\n",
			d.Leaf, d.Time, d.Quantity, d.Signed, d.Decoded, d.Leaf, d.Quantity, d.Signed, d.Decoded)
	}
	for _, g := range m.Gaps {
		fmt.Fprintf(w, "  - %d not covered, first in leaf %d: %s\n    %s\n", g.Samples, g.Leaf, g.En, g.Zh)
	}
}

// exitOfMeters is the exit code of the verdict on the bundle and of what its
// frames say, the worse of both.
func exitOfMeters(v verify.Verdict, meters []*redecode.Meter) error {
	equal, covered := true, len(meters) > 0
	for _, m := range meters {
		equal = equal && m.Different == 0
		covered = covered && m.NotCovered == 0
	}
	switch {
	case v == verify.Verified && !equal, v == verify.Gap && !equal:
		return &cli.Error{Exit: cli.NotVerified}
	case v == verify.Verified && !covered:
		return &cli.Error{Exit: cli.Fault}
	}
	return outcome.Exit(v)
}
