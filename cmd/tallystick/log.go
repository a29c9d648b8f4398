package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/cmd/internal/cli"
)

func newLogCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "The history kept on this box"}
	c.AddCommand(newExportCommand(a))
	return c
}

func newExportCommand(a *app) *cobra.Command {
	var from, to uint64
	var output string
	var rawFrames bool
	c := &cobra.Command{
		Use:   "export -o FILE",
		Short: "Write a stretch of the history as a bundle anybody can verify offline",
		Long: `Writes the leaves --from to --to, both included and with all channels, as a
.tally bundle. Raw frames are left out unless --raw-frames asks for them; with
them a lender can check the values of a dispute: tally-lender redecode. It may
run while the agent does.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "" {
				return cli.UsageError("name the file to write: -o march.tally")
			}
			if from > to {
				return cli.UsageError("--from %d is after --to %d", from, to)
			}
			site, err := a.load()
			if err != nil {
				return err
			}
			h, err := agent.OpenHistory(site.Buffer.Directory)
			if err != nil {
				return &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
			}
			defer h.Close()
			lo, hi := max(from, h.First()), min(to, h.Next()-1)
			if h.Next() == 0 || lo > hi {
				return &cli.Error{Exit: cli.Fault, Code: "E-405",
					Text: fmt.Sprintf("the box has no leaf between %d and %d; it has %s", from, to, held(h)),
					Hint: "choose --from and --to within that"}
			}
			if lo > from {
				fmt.Fprintf(a.stderr, "leaves before %d are no longer on this box; the bundle begins there\n", lo)
			}
			err = writeWhole(output, func(w io.Writer) error {
				if err := h.Export(w, lo, hi, rawFrames); err != nil {
					return &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
				}
				return nil
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(a.stderr, "%s: leaves %d to %d of log %s, key %s\n", output, lo, hi, h.LogID(), h.PublicKey())
			return nil
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "first leaf index")
	c.Flags().Uint64Var(&to, "to", math.MaxUint64, "last leaf index (default: the newest)")
	c.Flags().BoolVar(&rawFrames, "raw-frames", false, "with the raw frames of meters that have raw_frames: true, for a dispute")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write")
	return c
}

func held(h *agent.History) string {
	if h.Next() == h.First() {
		return "none"
	}
	return fmt.Sprintf("%d to %d", h.First(), h.Next()-1)
}

// writeWhole leaves the complete file at path, or none.
func writeWhole(path string, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".tally-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	err = write(f)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
