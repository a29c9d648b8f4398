package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"

	"github.com/kardianos/service"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
)

func newRunCommand(a *app) *cobra.Command {
	var verbose, lastGood bool
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the agent: read, keep, seal, send",
		Long: `Runs in the foreground until SIGTERM or Ctrl-C; then it seals the open window,
waits a bounded time for the lenders' receipts, and exits 0. "tallystick
service install" runs it under the system's service manager.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			level := slog.LevelInfo
			if verbose {
				level = slog.LevelDebug
			}
			log := a.logger(level)
			if runtime.GOOS == "windows" && !service.Interactive() {
				s, err := newService(a.config, &windowsProgram{run: func(ctx context.Context) error { return a.agent(ctx, log, lastGood) }})
				if err != nil {
					return err
				}
				return s.Run()
			}
			return a.agent(cmd.Context(), log, lastGood)
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each fault and each connection attempt")
	c.Flags().BoolVar(&lastGood, "last-good", false, "when the site file is faulty, run with the copy of the last one that was not (the installed service does)")
	return c
}

// agent runs the site until ctx ends.
func (a *app) agent(ctx context.Context, log *slog.Logger, lastGood bool) error {
	site, err := a.load()
	if err != nil && lastGood {
		site, err = a.loadLastGood(err)
	}
	if err != nil {
		return err
	}
	ag, err := assembly.Open(site, assembly.Options{Software: "tallystick " + version, Log: log})
	if err != nil {
		return err
	}
	if err := site.SaveLastGood(site.Buffer.Directory); err != nil {
		log.Warn("no copy of the site file is kept", "err", err)
	}
	fmt.Fprintf(a.stderr, "%s, log %s\n%s\n", siteName(site), ag.LogID(), summary(site))
	return ag.Run(ctx)
}

// loadLastGood takes the copy of the site file kept beside the history, after
// the file itself was found faulty. A box whose file was half-written in a power
// cut goes on reading its meters.
func (a *app) loadLastGood(faulty error) (*configs.Site, error) {
	site, err := configs.LoadLastGood(configs.DefaultDirectory, a.config, nil)
	if err != nil {
		return nil, faulty
	}
	fmt.Fprintf(a.stderr, "tallystick: warning: W-109 %s is faulty; running with %s, the last one that was not\n", a.config, site.Path)
	return site, nil
}

func siteName(s *configs.Site) string {
	if s.Site.Label != "" {
		return fmt.Sprintf("%s %s", s.Site.Name, s.Site.Label)
	}
	return string(s.Site.Name)
}

// summary is the one line a start ends with.
func summary(s *configs.Site) string {
	return fmt.Sprintf("reading %s on %s, sending to %s",
		count(len(s.Meters), "meter"), count(len(s.Lines), "line"), count(len(s.Lenders), "lender"))
}

func count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
