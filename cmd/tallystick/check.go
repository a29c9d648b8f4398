package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs/strict"
)

func newCheckCommand(a *app) *cobra.Command {
	var online bool
	c := &cobra.Command{
		Use:   "check",
		Short: "Check the site file: all faults at once, each with line and column",
		Long: `Checks the site file and the files it names, and lists every fault at once.
With --online each meter is also read once and each broker called.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if a.json {
				return a.checkJSON(cmd)
			}
			site, err := a.load()
			if err != nil {
				return err
			}
			if errs := assembly.CheckLenders(cmd.Context(), site, online); len(errs) > 0 {
				return a.printAll(errs)
			}
			fmt.Fprintf(a.stderr, "%s is in order: %s\n", a.config, summary(site))
			if !online {
				return nil
			}
			r, err := newReader(site)
			if err != nil {
				return err
			}
			defer r.close()
			return report(a.stderr, r.round(cmd.Context()), func(ps []polled) error { return r.table(cmd.OutOrStdout(), ps) }, site)
		},
	}
	c.Flags().BoolVar(&online, "online", false, "also read each meter once and call each broker")
	c.Flags().BoolVar(&a.json, "json", false, "print the faults as JSON on stdout")
	return c
}

// checkJSON prints {"valid":bool,"faults":[...]}.
func (a *app) checkJSON(cmd *cobra.Command) error {
	result := struct {
		Valid  bool           `json:"valid"`
		Faults []strict.Fault `json:"faults"`
	}{Faults: []strict.Fault{}}
	site, faults, err := a.read()
	if err != nil {
		return err
	}
	if site != nil {
		faults = append(faults, site.Warnings...)
	}
	result.Valid = site != nil
	result.Faults = append(result.Faults, faults...)
	if err := json.NewEncoder(cmd.OutOrStdout()).Encode(result); err != nil {
		return err
	}
	if !result.Valid {
		return &cli.Error{Exit: cli.Usage}
	}
	return nil
}

// printAll prints errors and returns one that exits with the worst.
func (a *app) printAll(errs []error) error {
	worst := &cli.Error{}
	for _, err := range errs {
		e := explain(err)
		var known *cli.Error
		if errors.As(err, &known) {
			e = known
		}
		if e == nil {
			e = &cli.Error{Exit: cli.Environment, Text: err.Error()}
		}
		cli.Print(a.stderr, "tallystick", e)
		worst.Exit = max(worst.Exit, e.Exit)
	}
	return worst
}
