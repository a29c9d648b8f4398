package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newReplayCommand() *cobra.Command {
	var ask asking
	var from, to uint64
	var channels []string
	var output string
	c := &cobra.Command{
		Use:   "replay BOX --from LO --to HI -o FILE",
		Short: "Ask a box for leaves again, and verify what comes",
		Long: `Sends a signed request to a box of the lender file and writes what comes as a
bundle: leaves --from to --to, with those of --channels that the factory grants
now (default: all it grants). So a channel that was granted later can be opened for
leaves received before: its digest stood in them already. A running watch goes on
undisturbed, and its archive stays as it is.

The bundle is checked as "tally-lender verify" does. What did not come is
listed: the box no longer has it, may not give it, or is away. Ends when all has
come, or nothing has for --timeout.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case output == "":
				return cli.UsageError("name the file to write: -o again.tally")
			case !cmd.Flags().Changed("from") || !cmd.Flags().Changed("to"):
				return cli.UsageError("say which leaves: --from 100 --to 200; tally-lender status shows how many there are")
			case from > to:
				return cli.UsageError("--from %d is after --to %d", from, to)
			}
			chs, err := channelsOf("channels", channels)
			if err != nil {
				return err
			}
			if chs == nil {
				words, all := readable()
				for _, w := range words {
					chs = append(chs, all[w])
				}
			}
			return ask.with(cmd, args[0], func(ctx context.Context, b *asked) error {
				got, err := b.replay(ctx, output, from, to, chs, cmd.ErrOrStderr())
				if err != nil {
					return err
				}
				return judge(cmd, ask.config, output, &got)
			})
		},
	}
	ask.flags(c, 30*time.Second)
	c.Flags().Uint64Var(&from, "from", 0, "first leaf index")
	c.Flags().Uint64Var(&to, "to", 0, "last leaf index")
	c.Flags().StringSliceVar(&channels, "channels", nil, "only these channels, as in share: of the site file")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write")
	return c
}

// replay writes what comes again as a bundle.
func (b *asked) replay(ctx context.Context, output string, lo, hi uint64, channels []evidence.Channel, stderr io.Writer) (got lender.Replayed, err error) {
	items, err := os.CreateTemp(filepath.Dir(output), ".tally-*") // the header is known last
	if err != nil {
		return got, err
	}
	defer os.Remove(items.Name())
	defer items.Close()
	file, said := bundle.AppendTo(items), time.Now()
	n := lo
	got, err = b.Replay(ctx, b.log, b.key, lo, hi, channels, func(delivery []byte) error {
		if n++; time.Since(said) > 2*time.Second {
			said = time.Now()
			fmt.Fprintf(stderr, "%d of %d leaves\n", n-lo, hi-lo+1)
		}
		return file.Append(delivery)
	})
	if err != nil {
		return got, err
	}
	if got.Leaves == 0 {
		return got, &cli.Error{Exit: cli.Environment, Code: "E-326", Text: fmt.Sprintf("box %s sent none of leaves %d to %d within %v", b.name, lo, hi, b.Timeout),
			Hint: "it is away, no longer has them, or may not give them: see tallystick log status on the box; nothing was written"}
	}
	return got, writeWhole(output, nil, func(w io.Writer) error {
		if _, err := bundle.NewWriter(w, got.Header); err != nil {
			return err
		}
		if _, err := items.Seek(0, io.SeekStart); err != nil {
			return err
		}
		_, err := io.Copy(w, items)
		return err
	})
}

// judge verifies what came and lists what did not.
func judge(cmd *cobra.Command, config, output string, got *lender.Replayed) error {
	stderr := cmd.ErrOrStderr()
	sum, err := (&trust{config: config}).check(output, nil, stderr, func(verify.Result) error { return nil })
	if err != nil {
		return err
	}
	outcome.Print(stderr, output, &sum)
	fmt.Fprintf(stderr, "%d leaves came, %d to %d\n", got.Leaves, got.Header.Lo, got.Header.Hi)
	for _, m := range got.Missing {
		fmt.Fprintf(stderr, "leaves %d to %d did not come\n", m.Lo, m.Hi)
	}
	if got.Strange > 0 {
		fmt.Fprintf(stderr, "left out: %d messages that this box did not sign\n", got.Strange)
	}
	if err := outcome.Exit(sum.Verdict); err != nil {
		return err
	}
	if len(got.Missing) > 0 {
		return &cli.Error{Exit: cli.Fault}
	}
	return nil
}
