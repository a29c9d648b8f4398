package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/diagnose"
	"github.com/tallystick/tallystick/configs"
)

func newRunCommand(a *app) *cobra.Command {
	var verbose bool
	var lastGood string
	var declareLoss bool
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
			return a.agent(cmd.Context(), log, lastGood, declareLoss)
		},
	}
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each fault and each connection attempt")
	c.Flags().BoolVar(&declareLoss, "declare-loss", false, "the history this key has signed is gone for good: begin a new one, which says so under signature")
	c.Flags().StringVar(&lastGood, "last-good", "", "when the site file is faulty, run with the copy of the last good one kept in `DIR`, the buffer's directory (the installed service does)")
	return c
}

// agent runs the site until ctx ends.
func (a *app) agent(ctx context.Context, log *slog.Logger, lastGood string, declareLoss bool) error {
	site, err := a.load()
	if err != nil && lastGood != "" {
		site, err = a.loadLastGood(lastGood, err, log)
	}
	if err != nil {
		return err
	}
	ag, err := assembly.Open(site, assembly.Options{
		Software: "tallystick " + version,
		Log:      log,
		OnPoll:   diagnose.Watch(site, log),
		OnEvent:  newNotices(log).see,

		DeclareLoss: declareLoss,
	})
	dir := site.Buffer.Directory
	if err != nil {
		return &historyError{Dir: dir, Err: err}
	}
	for _, d := range ag.Damaged() {
		log.Debug("damaged", "what", d)
	}
	if e := damageNotice(dir, ag.Damaged()); e != nil {
		log.Error(e.Error(), "do", e.Hint)
	}
	if err := site.SaveLastGood(dir); err != nil {
		log.Warn("no copy of the site file is kept", "err", err)
	}
	warnOfConsents(site, logTo(log))
	fmt.Fprintf(a.stderr, "%s, log %s\n%s\n", siteName(site), ag.LogID(), summary(site))
	if _, chosen := os.LookupEnv("GOGC"); !chosen {
		// On a small box memory is dearer than one more collection a minute.
		debug.SetGCPercent(50)
	}
	if err := ag.Run(ctx); err != nil {
		return &historyError{Dir: dir, Err: err}
	}
	return nil
}

// damageNotice says once what the start could not read and did without; nil
// when there is nothing.
func damageNotice(dir string, damaged []string) *cli.Error {
	if len(damaged) == 0 {
		return nil
	}
	what := damaged[0]
	if n := len(damaged) - 1; n > 0 {
		what = fmt.Sprintf("%s, and %s (run with --verbose)", what, cli.Count(n, "more fault"))
	}
	return &cli.Error{Code: "E-413",
		Text: fmt.Sprintf("a part of what is stored in %s is damaged and left out: %s", dir, what),
		Hint: "the agent goes on; where readings are missing lenders see a gap. Copy the directory, and replace the card or disk if this comes back (dmesg)"}
}

// loadLastGood takes the copy of the site file kept in dir, after the file itself was found faulty. A box whose file was half-written in a power
// cut goes on reading its meters.
func (a *app) loadLastGood(dir string, faulty error, log *slog.Logger) (*configs.Site, error) {
	site, err := configs.LoadLastGood(dir, a.config, nil)
	if err != nil {
		return nil, faulty
	}
	log.Warn(fmt.Sprintf("W-602 %s is faulty; running with %s, the last one that was not", a.config, site.Path),
		"do", "mend the faults above and restart: tallystick service stop, tallystick service start")
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
		cli.Count(len(s.Meters), "meter"), cli.Count(len(s.Lines), "line"), cli.Count(len(s.Lenders), "lender"))
}
