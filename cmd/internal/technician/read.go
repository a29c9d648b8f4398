package technician

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/diagnose"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
)

func newReadCommand(load func() (*configs.Site, error), log *slog.Logger) *cobra.Command {
	var once, watch, frames, asJSON bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "read",
		Short: "Read the meters now and show the values",
		Long: `Reads every meter of the site file and shows what it says. The agent must not
run on the same ports meanwhile.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once && watch || frames && (watch || asJSON) {
				return cli.UsageError("--once, --watch and --frames exclude each other, and --frames is text")
			}
			site, err := load()
			if err != nil {
				return err
			}
			if frames {
				return transcripts(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), log, site)
			}
			r, err := newReader(site, nil, log)
			if err != nil {
				return err
			}
			defer r.close()
			show := table
			if asJSON {
				show = objects
			}
			if !watch {
				return r.once(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), show)
			}
			return r.watch(cmd.Context(), cmd.OutOrStdout(), show, every, asJSON)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "read once and exit (the default)")
	c.Flags().BoolVar(&watch, "watch", false, "read again and again until interrupted")
	c.Flags().BoolVar(&frames, "frames", false, "read once and print what crossed the wire, as a transcript (CONTRIBUTING.md)")
	c.Flags().DurationVar(&every, "every", 2*time.Second, "pause between two readings with --watch")
	c.Flags().BoolVar(&asJSON, "json", false, "one JSON object a value")
	return c
}

// Read reads every meter of site once and shows what it says, on stderr what is
// wrong. Its error is the worst of that.
func Read(ctx context.Context, out, stderr io.Writer, log *slog.Logger, site *configs.Site) error {
	r, err := newReader(site, nil, log)
	if err != nil {
		return err
	}
	defer r.close()
	return r.once(ctx, out, stderr, table)
}

// reader reads the meters of a site, outside the agent.
type reader struct {
	site  *configs.Site
	lines []agent.Line
}

func newReader(site *configs.Site, tap func(drivers.Frame), log *slog.Logger) (*reader, error) {
	lib, err := assembly.Library(site.Profiles)
	if err != nil {
		return nil, err
	}
	lines, err := assembly.Lines(site, lib, tap, func(err error) { log.Warn(err.Error()) })
	if err != nil {
		return nil, err
	}
	return &reader{site: site, lines: lines}, nil
}

// transcripts reads every meter once, one after the other, and prints each
// reading as drivers/profile keeps them: what was asked, what came, what it
// means.
func transcripts(ctx context.Context, out, stderr io.Writer, log *slog.Logger, site *configs.Site) error {
	r, err := newReader(site, func(f drivers.Frame) {
		fmt.Fprintf(out, "> % X\n< % X\n", f.Request, f.Reply)
	}, log)
	if err != nil {
		return err
	}
	defer r.close()
	var polls [][]diagnose.Poll
	for _, l := range r.lines {
		var ps []diagnose.Poll
		for _, m := range l.Meters {
			meter := r.meter(m.Name)
			fmt.Fprintf(out, "# %s, profile %s\n@ %s\n", m.Name, m.Profile, meter.Address)
			p := diagnose.Read(ctx, meter, m)
			for i, q := range p.Readings {
				if q.Quality == drivers.OK {
					c := p.Columns[i]
					shown := drivers.Decimal{Coef: q.Coef, Exp: c.Exp} // on the meter's own display
					fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("= %s %v %s", c.Name, shown, c.Unit)))
				}
			}
			ps = append(ps, p)
		}
		polls = append(polls, ps)
	}
	return report(stderr, polls, func([]diagnose.Poll) error { return nil }, site)
}

func (r *reader) close() {
	for _, l := range r.lines {
		l.Close()
	}
}

// round reads every meter once, the lines side by side, and returns the polls
// line by line in the order of the site file.
func (r *reader) round(ctx context.Context) [][]diagnose.Poll {
	polls := make([][]diagnose.Poll, len(r.lines))
	var wg sync.WaitGroup
	for i, l := range r.lines {
		wg.Go(func() {
			for _, m := range l.Meters {
				p := diagnose.Read(ctx, r.meter(m.Name), m)
				p.TryOrders(ctx, m.Device)
				polls[i] = append(polls[i], p)
			}
		})
	}
	wg.Wait()
	return polls
}

func (r *reader) meter(name string) *configs.Meter {
	for i := range r.site.Meters {
		if m := &r.site.Meters[i]; string(m.Name) == name {
			return m
		}
	}
	return nil
}

// once shows one round and what is wrong with it.
func (r *reader) once(ctx context.Context, out, stderr io.Writer, show func(io.Writer, []diagnose.Poll) error) error {
	return report(stderr, r.round(ctx), func(ps []diagnose.Poll) error { return show(out, ps) }, r.site)
}

// watch shows round after round until ctx ends: on a terminal each over the one
// before, elsewhere each under the time it was read.
func (r *reader) watch(ctx context.Context, out io.Writer, show func(io.Writer, []diagnose.Poll) error, every time.Duration, json bool) error {
	for {
		polls := r.round(ctx)
		if ctx.Err() != nil {
			return nil
		}
		switch {
		case json:
		case isTerminal(out):
			fmt.Fprint(out, "\x1b[H\x1b[2J")
		default:
			fmt.Fprintln(out, time.Now().Format(time.DateTime))
		}
		for i := range polls {
			if err := show(out, polls[i]); err != nil {
				return err
			}
			if !json {
				for _, e := range diagnose.Line(&r.site.Lines[i], polls[i]) {
					cli.Print(out, "tallystick", e)
				}
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(every):
		}
	}
}

// report shows a round and then what is wrong with it. Its error is the worst.
func report(stderr io.Writer, polls [][]diagnose.Poll, show func([]diagnose.Poll) error, site *configs.Site) error {
	var worst *cli.Error
	for i := range polls {
		if err := show(polls[i]); err != nil {
			return err
		}
	}
	for i := range polls {
		for _, e := range diagnose.Line(&site.Lines[i], polls[i]) {
			cli.Print(stderr, "tallystick", e)
			if worst == nil || e.Exit > worst.Exit {
				worst = &cli.Error{Exit: e.Exit}
			}
		}
	}
	if worst != nil {
		return worst
	}
	return nil
}

// objects prints one JSON object a value.
func objects(out io.Writer, polls []diagnose.Poll) error {
	enc := json.NewEncoder(out)
	for _, p := range polls {
		for i, q := range p.Readings {
			v := value{
				Meter: string(p.Meter.Name), Quantity: p.Columns[i].Name, Unit: p.Columns[i].Unit,
				Quality: q.Quality.String(), Time: p.At.UTC().Format(time.RFC3339Nano),
			}
			if q.Quality.HasValue() {
				s := p.Value(i)
				v.Value = &s
			}
			if err := enc.Encode(v); err != nil {
				return err
			}
		}
	}
	return nil
}

// value is one line of --json. Value is an exact decimal string, or null when
// the meter gave none.
type value struct {
	Meter    string  `json:"meter"`
	Quantity string  `json:"quantity"`
	Value    *string `json:"value"`
	Unit     string  `json:"unit"`
	Quality  string  `json:"quality"`
	Time     string  `json:"time"`
}

// table prints aligned columns; Chinese labels count two cells.
func table(out io.Writer, polls []diagnose.Poll) error {
	for _, p := range polls {
		name := string(p.Meter.Name)
		if p.Meter.Label != "" {
			name += " " + string(p.Meter.Label)
		}
		if _, err := fmt.Fprintf(out, "%s  %s  %s\n", name, diagnose.Address(p.Meter), p.Meter.Profile); err != nil {
			return err
		}
		for i, q := range p.Readings {
			text := "—"
			if q.Quality.HasValue() {
				text = p.Value(i)
			}
			note := ""
			if q.Quality != drivers.OK {
				note = q.Quality.String()
			}
			if _, err := fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("  %-22s %s %-6s %s", p.Columns[i].Name, runewidth.FillLeft(text, 14), p.Columns[i].Unit, note), " ")); err != nil {
				return err
			}
		}
	}
	return nil
}
