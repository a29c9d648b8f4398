// Command tallystick is the gateway's binary: it checks a site file, reads
// meters, runs the agent, and hands the history out.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/service"
	"github.com/tallystick/tallystick/cmd/internal/technician"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/configs/strict"
)

// version is set by the build (Makefile).
var version = "development"

const defaultConfig = "tallystick.yaml"

func main() {
	os.Exit(service.Run(func(ctx context.Context, stderr io.Writer) int { return run(ctx, os.Args[1:], os.Stdout, stderr) }))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return cli.Execute(ctx, newRootCommand(stderr), args, stdout, stderr, explain)
}

// app is what all subcommands share.
type app struct {
	config string // path of the site file
	json   bool
	stderr io.Writer
}

func newRootCommand(stderr io.Writer) *cobra.Command {
	a := &app{stderr: stderr}
	root := &cobra.Command{
		Use:   "tallystick",
		Short: "Meter readings as signed evidence",
		Long: `Tallystick reads a factory's meters, keeps every reading in a durable log and
sends signed evidence to the lenders the factory chose.

` + cli.ExitCodes,
		Version: version,
	}
	root.PersistentFlags().StringVarP(&a.config, "config", "c", defaultConfigPath(), "site file")
	root.AddCommand(
		newCheckCommand(a), newRunCommand(a), service.NewCommand(&a.config, a.load), newLogCommand(a), newKeysCommand(a),
		newConsentCommand(a), newDeclareCommand(a), newEnrolCommand(a),
	)
	root.AddCommand(technician.Commands(a.load, a.logger(slog.LevelInfo))...)
	return root
}

// defaultConfigPath is the site file in the working directory, or else the
// installed one.
func defaultConfigPath() string {
	if _, err := os.Stat(defaultConfig); err == nil {
		return defaultConfig
	}
	return filepath.Join(configs.Installed, defaultConfig)
}

// load reads the site file; all its faults are on stderr when it returns an
// error.
func (a *app) load() (*configs.Site, error) {
	site, faults, err := a.read()
	if err != nil {
		return nil, err
	}
	if site == nil {
		return nil, faulty(a.config, len(faults))
	}
	return site, nil
}

// read reads the site file and renders its faults, or its warnings, on stderr.
// Without a site there is at least one fault.
func (a *app) read() (*configs.Site, []strict.Fault, error) {
	site, err := assembly.Load(a.config)
	var all *configs.Error
	if errors.As(err, &all) {
		return nil, all.Faults, all.Render(a.stderr)
	}
	if err != nil {
		return nil, nil, err
	}
	return site, nil, site.RenderFaults(a.stderr, site.Warnings)
}

func faulty(path string, n int) error {
	return &cli.Error{Exit: cli.Usage, Text: fmt.Sprintf("%s has %s, listed above", path, cli.Count(n, "fault")), Hint: "nothing was started; correct the file and run: tallystick check"}
}

// logger writes for people and journals: one line an event, on stderr.
func (a *app) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewTextHandler(a.stderr, &slog.HandlerOptions{Level: level}))
}
