package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
)

func newLogCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "log", Short: "The history kept on this box"}
	c.AddCommand(newExportCommand(a), newLogShowCommand(a), newLogVerifyCommand(a), newLogStatusCommand(a))
	return c
}

// withHistory opens the history of the site for f, to be read; an agent may run
// on it.
func (a *app) withHistory(f func(*configs.Site, *history.Reader) error) error {
	site, err := a.load()
	if err != nil {
		return err
	}
	h, err := history.OpenReader(site.Buffer.Directory)
	if err != nil {
		return &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
	}
	defer h.Close()
	return f(site, h)
}

// stretch is what the history has of leaves from to to.
func stretch(h *history.Reader, from, to uint64) (lo, hi uint64, err error) {
	if from > to {
		return 0, 0, cli.UsageError("--from %d is after --to %d", from, to)
	}
	lo, hi = max(from, h.First()), min(to, h.Next()-1)
	if h.Next() == 0 || lo > hi {
		return 0, 0, &cli.Error{Exit: cli.Fault, Code: "E-405",
			Text: fmt.Sprintf("the box has no leaf between %d and %d; it has %s", from, to, held(h)),
			Hint: "choose --from and --to within that"}
	}
	return lo, hi, nil
}

func newExportCommand(a *app) *cobra.Command {
	var from, to uint64
	var output, lender string
	var rawFrames bool
	c := &cobra.Command{
		Use:   "export -o FILE",
		Short: "Write a stretch of the history as a bundle anybody can verify offline",
		Long: `Writes the leaves --from to --to, both included and with all channels, as a
.tally bundle. Raw frames are left out unless --raw-frames asks for them; with
them a lender can check the values of a dispute: tally-lender redecode. With
--lender exactly what that lender may have: the channels it is granted by the
site file and the consent, and the records for it. It may run while the agent
does.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "" {
				return cli.UsageError("name the file to write: -o march.tally")
			}
			if lender != "" && rawFrames {
				return cli.UsageError("--lender and --raw-frames: choose one; a lender whose share: names raw-frames gets them with --lender")
			}
			return a.withHistory(func(site *configs.Site, h *history.Reader) error {
				lo, hi, err := stretch(h, from, to)
				if err != nil {
					return err
				}
				export := func(w io.Writer) error { return h.Export(w, lo, hi, rawFrames) }
				if lender != "" {
					l, err := lenderOf(site, lender)
					if err != nil {
						return err
					}
					d, err := assembly.Disclose(site, l, h, lo, hi)
					if err != nil {
						return &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
					}
					if d.Lo > d.Hi {
						return &cli.Error{Exit: cli.Fault, Code: "E-418", Text: fmt.Sprintf("lender %s may have none of leaves %d to %d", lender, lo, hi),
							Hint: "see what was consented to: tallystick consent show, and from:, until: and expires: of the lender in the site file"}
					}
					lo, hi = d.Lo, d.Hi
					export = func(w io.Writer) error { return h.ExportBlocks(w, lo, hi, d.Keep) }
				}
				if lo > from {
					fmt.Fprintf(a.stderr, "leaves before %d are no longer on this box, or not for this lender; the bundle begins there\n", lo)
				}
				err = writeWhole(output, func(w io.Writer) error {
					if err := export(w); err != nil {
						return &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
					}
					return nil
				})
				if err != nil {
					return err
				}
				fmt.Fprintf(a.stderr, "%s: leaves %d to %d of log %s, key %s\n", output, lo, hi, h.LogID(), h.PublicKey())
				return nil
			})
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "first leaf index")
	c.Flags().Uint64Var(&to, "to", math.MaxUint64, "last leaf index (default: the newest)")
	c.Flags().BoolVar(&rawFrames, "raw-frames", false, "with the raw frames of meters that have raw_frames: true, for a dispute")
	c.Flags().StringVar(&lender, "lender", "", "only what this lender of the site file may have")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write")
	return c
}

func held(h *history.Reader) string {
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
