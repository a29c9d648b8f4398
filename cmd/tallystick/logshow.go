package main

import (
	"encoding/json"
	"io"
	"math"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newLogShowCommand(a *app) *cobra.Command {
	var from, to, leaf uint64
	var asJSON bool
	c := &cobra.Command{
		Use:   "show",
		Short: "List the leaves of the history, or show one of them whole",
		Long: `Checks the leaves --from to --to of the history on this box and prints one line
each, as "tally-lender show" does for a bundle: index, type, time, length, grade,
verdict, completeness, and samples by channel. With --leaf everything of one
leaf. It may run while the agent does.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			list := outcome.Listing{Out: cmd.OutOrStdout(), JSON: asJSON}
			if cmd.Flags().Changed("leaf") {
				list.Leaf, from, to = &leaf, leaf, leaf
			}
			return a.withHistory(func(site *configs.Site, h *history.Reader) error {
				lo, hi, err := stretch(h, from, to)
				if err != nil {
					return err
				}
				if err := list.Begin(); err != nil {
					return err
				}
				sum, err := checkHistory(site, h, lo, hi, list.Add)
				if err != nil {
					return err
				}
				return outcome.Exit(sum.Verdict)
			})
		},
	}
	c.Flags().Uint64Var(&from, "from", 0, "first leaf index")
	c.Flags().Uint64Var(&to, "to", math.MaxUint64, "last leaf index (default: the newest)")
	c.Flags().Uint64Var(&leaf, "leaf", 0, "show this leaf whole")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON on stdout, one object a leaf")
	return c
}

func newLogVerifyCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "verify",
		Short: "Verify the whole history on this box",
		Long: `Checks every leaf and block that is stored, raw frames included, with the key of
this box, as "tally-lender verify" does for a bundle. When a leaf was with a
lender is known from the receipts in the history, where they are signed by the
lenders of the site file. It may run while the agent does.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withHistory(func(site *configs.Site, h *history.Reader) error {
				lo, hi, err := stretch(h, 0, math.MaxUint64)
				if err != nil {
					return err
				}
				var events []evidence.Happening
				sum, err := checkHistory(site, h, lo, hi, func(r verify.Result) error {
					if r.Manifest != nil && len(events) < outcome.MostEvents {
						events = append(events, r.Manifest.Events...)
					}
					return nil
				})
				if err != nil {
					return err
				}
				if asJSON {
					if err := json.NewEncoder(cmd.OutOrStdout()).Encode(sum); err != nil {
						return err
					}
				}
				outcome.Print(a.stderr, site.Buffer.Directory, &sum)
				outcome.PrintEvents(a.stderr, events)
				return outcome.Exit(sum.Verdict)
			})
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print the summary as JSON on stdout")
	return c
}

// checkHistory verifies leaves lo to hi with the history's own key and gives each
// result to add; after an error of add nothing more is looked at.
func checkHistory(site *configs.Site, h *history.Reader, lo, hi uint64, add func(verify.Result) error) (sum verify.Summary, err error) {
	policy := verify.Policy{Pinned: []evidence.PublicKey{h.PublicKey()}}
	var who verify.Believed
	for i := range site.Lenders {
		key, err := assembly.LenderKey(&site.Lenders[i])
		if err != nil {
			return sum, err
		}
		if !key.IsZero() {
			who.Lenders = append(who.Lenders, key)
		}
	}
	if len(who.Lenders) > 0 {
		err = stored(site, h, lo, hi, func(r io.Reader) (err error) {
			policy.Receipts, err = verify.CollectReceipts(r, who)
			return err
		})
		if err != nil {
			return sum, err
		}
	}
	var stopped error
	err = stored(site, h, lo, hi, func(r io.Reader) (err error) {
		sum, err = verify.Bundle(r, policy, func(res verify.Result) {
			if stopped == nil {
				stopped = add(res)
			}
		})
		return err
	})
	if stopped != nil {
		return sum, stopped
	}
	return sum, err
}

// stored has f read leaves lo to hi as a bundle with everything in it.
func stored(site *configs.Site, h *history.Reader, lo, hi uint64, f func(io.Reader) error) error {
	r, w := io.Pipe()
	defer r.Close() // the export ends with its reader
	go func() {
		err := h.Export(w, lo, hi, true)
		if err != nil {
			err = &historyError{Dir: site.Buffer.Directory, Err: err, Reading: true}
		}
		w.CloseWithError(err)
	}()
	return f(r)
}
