package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/technician"
	"github.com/tallystick/tallystick/configs"
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
				return a.checkJSON(cmd, online)
			}
			site, err := a.load()
			if err != nil {
				return err
			}
			faults, errs := checkFiles(cmd.Context(), site, online)
			if err := site.RenderFaults(a.stderr, faults); err != nil {
				return err
			}
			if len(faults) > 0 {
				errs = append(errs, faulty(a.config, len(faults)))
			}
			if len(errs) > 0 {
				return a.printAll(errs)
			}
			warnOfConsents(site, func(text, do string) { fmt.Fprintf(a.stderr, "%s\nhint: %s\n", text, do) })
			fmt.Fprintf(a.stderr, "%s is in order: %s\n", a.config, summary(site))
			if !online {
				return nil
			}
			return technician.Read(cmd.Context(), cmd.OutOrStdout(), a.stderr, a.logger(slog.LevelInfo), site)
		},
	}
	c.Flags().BoolVar(&online, "online", false, "also read each meter once and call each broker")
	c.Flags().BoolVar(&a.json, "json", false, "print the faults as JSON on stdout; with --online brokers are called, meters are not read")
	return c
}

// checkFiles checks the files a site file names and, online, calls the brokers:
// faults with their place in the site file, and others.
func checkFiles(ctx context.Context, site *configs.Site, online bool) (faults []strict.Fault, errs []error) {
	faults = site.CheckFiles()
	for _, err := range assembly.CheckLenders(ctx, site, online) {
		if listed := new(strict.Fault); !errors.As(err, listed) {
			errs = append(errs, err)
		}
	}
	if err := assembly.CheckKeys(site); err != nil && !errors.Is(err, fs.ErrPermission) {
		errs = append(errs, err) // who may not read it is not who will run the agent
	}
	return faults, errs
}

// finding is one fault or warning of --json. Line and column count from 1 and
// are 0 for a file as a whole.
type finding struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Code    string `json:"code"`
	Message string `json:"message"`
	Hint    string `json:"hint"`
}

// checkJSON prints {"valid":bool,"faults":[...],"warnings":[...]}.
func (a *app) checkJSON(cmd *cobra.Command, online bool) error {
	result := struct {
		Valid    bool      `json:"valid"`
		Faults   []finding `json:"faults"`
		Warnings []finding `json:"warnings"`
	}{Faults: []finding{}, Warnings: []finding{}}
	site, faults, err := a.read()
	if err != nil {
		return err
	}
	exit := 0
	if site == nil {
		exit = cli.Usage
		result.Faults = findings(faults)
	} else {
		result.Warnings = findings(site.Warnings)
		warnOfConsents(site, func(text, do string) {
			code, what, _ := strings.Cut(text, " ")
			result.Warnings = append(result.Warnings, finding{File: a.config, Code: code, Message: what, Hint: do})
		})
		faults, errs := checkFiles(cmd.Context(), site, online)
		if err := site.RenderFaults(a.stderr, faults); err != nil {
			return err
		}
		if result.Faults = findings(faults); len(faults) > 0 {
			exit = cli.Usage
		}
		for _, err := range errs {
			e := message(err)
			exit = max(exit, e.Exit)
			result.Faults = append(result.Faults, finding{File: a.config, Code: e.Code, Message: e.Text, Hint: e.Hint})
		}
	}
	result.Valid = exit == 0
	if err := json.NewEncoder(cmd.OutOrStdout()).Encode(result); err != nil {
		return err
	}
	if exit != 0 {
		return &cli.Error{Exit: exit}
	}
	return nil
}

func findings(faults []strict.Fault) []finding {
	fs := make([]finding, len(faults))
	for i, f := range faults {
		fs[i] = finding{f.File, f.Line, f.Col, f.Code, f.Msg, f.Hint}
	}
	return fs
}

// printAll prints errors and returns one that exits with the worst.
func (a *app) printAll(errs []error) error {
	worst := &cli.Error{}
	for _, err := range errs {
		e := message(err)
		cli.Print(a.stderr, "tallystick", e)
		worst.Exit = max(worst.Exit, e.Exit)
	}
	return worst
}

// message is err for people, whatever it is.
func message(err error) *cli.Error {
	var known *cli.Error
	if errors.As(err, &known) {
		return known
	}
	if e := explain(err); e != nil {
		return e
	}
	return &cli.Error{Exit: cli.Environment, Text: err.Error()}
}
