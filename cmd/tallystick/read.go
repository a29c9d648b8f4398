package main

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
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
)

func newReadCommand(a *app) *cobra.Command {
	var once, watch, frames bool
	var every time.Duration
	c := &cobra.Command{
		Use:   "read",
		Short: "Read the meters now and show the values",
		Long: `Reads every meter of the site file and shows what it says. The agent must not
run on the same ports meanwhile.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if once && watch || frames && (watch || a.json) {
				return cli.UsageError("--once, --watch and --frames exclude each other, and --frames is text")
			}
			site, err := a.load()
			if err != nil {
				return err
			}
			if frames {
				return transcripts(cmd.Context(), cmd.OutOrStdout(), a.stderr, a.logger(slog.LevelInfo), site)
			}
			r, err := newReader(site, nil, a.logger(slog.LevelInfo))
			if err != nil {
				return err
			}
			defer r.close()
			show := r.table
			if a.json {
				show = r.objects
			}
			if !watch {
				return report(a.stderr, r.round(cmd.Context()), func(ps []polled) error { return show(cmd.OutOrStdout(), ps) }, site)
			}
			return r.watch(cmd.Context(), cmd.OutOrStdout(), show, every, a.json)
		},
	}
	c.Flags().BoolVar(&once, "once", false, "read once and exit (the default)")
	c.Flags().BoolVar(&watch, "watch", false, "read again and again until interrupted")
	c.Flags().BoolVar(&frames, "frames", false, "read once and print what crossed the wire, as a transcript (CONTRIBUTING.md)")
	c.Flags().DurationVar(&every, "every", 2*time.Second, "pause between two readings with --watch")
	c.Flags().BoolVar(&a.json, "json", false, "one JSON object a value")
	return c
}

// reader reads the meters of a site, outside the agent.
type reader struct {
	site  *configs.Site
	lines []agent.Line
}

// polled is one meter read once.
type polled struct {
	meter    *configs.Meter
	columns  []agent.Column
	readings []drivers.Reading
	at       time.Time
	err      error
	answered bool   // at least one value came
	odd      []int  // readings that cannot be
	fits     *order // the word order under which they can
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
	var polls [][]polled
	for _, l := range r.lines {
		var ps []polled
		for _, m := range l.Meters {
			meter := r.meter(m.Name)
			fmt.Fprintf(out, "# %s, profile %s\n@ %s\n", m.Name, m.Profile, meter.Address)
			p := polled{meter: meter, columns: m.Columns, readings: make([]drivers.Reading, len(m.Columns)), at: time.Now()}
			p.err = m.Device.Read(ctx, p.readings)
			p.answered = p.err == nil || anyValue(p.readings)
			for i, q := range p.readings {
				if q.Quality == drivers.OK {
					c := p.columns[i]
					c.Multiplier = drivers.Decimal{Coef: 1} // as on the meter's own display
					fmt.Fprintln(out, strings.TrimSpace(fmt.Sprintf("= %s %s %s", c.Name, decimal(q.Coef, c), c.Unit)))
				}
			}
			ps = append(ps, p)
		}
		polls = append(polls, ps)
	}
	return report(stderr, polls, func([]polled) error { return nil }, site)
}

func (r *reader) close() {
	for _, l := range r.lines {
		l.Close()
	}
}

// round reads every meter once, the lines side by side, and returns the polls
// line by line in the order of the site file.
func (r *reader) round(ctx context.Context) [][]polled {
	polls := make([][]polled, len(r.lines))
	var wg sync.WaitGroup
	for i, l := range r.lines {
		wg.Go(func() {
			for _, m := range l.Meters {
				p := polled{meter: r.meter(m.Name), columns: m.Columns, readings: make([]drivers.Reading, len(m.Columns)), at: time.Now()}
				p.err = m.Device.Read(ctx, p.readings)
				p.answered = p.err == nil || anyValue(p.readings)
				wrongOrder(ctx, m.Device, &p)
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

// watch shows round after round until ctx ends: on a terminal each over the one
// before, elsewhere each under the time it was read.
func (r *reader) watch(ctx context.Context, out io.Writer, show func(io.Writer, []polled) error, every time.Duration, json bool) error {
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
				for _, e := range diagnose(&r.site.Lines[i], polls[i]) {
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
func report(stderr io.Writer, polls [][]polled, show func([]polled) error, site *configs.Site) error {
	var worst *cli.Error
	for i := range polls {
		if err := show(polls[i]); err != nil {
			return err
		}
	}
	for i := range polls {
		for _, e := range diagnose(&site.Lines[i], polls[i]) {
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
func (r *reader) objects(out io.Writer, polls []polled) error {
	enc := json.NewEncoder(out)
	for _, p := range polls {
		for i, q := range p.readings {
			v := value{
				Meter: string(p.meter.Name), Quantity: p.columns[i].Name, Unit: p.columns[i].Unit,
				Quality: q.Quality.String(), Time: p.at.UTC().Format(time.RFC3339Nano),
			}
			if q.Quality.HasValue() {
				s := decimal(q.Coef, p.columns[i])
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
func (r *reader) table(out io.Writer, polls []polled) error {
	for _, p := range polls {
		name := string(p.meter.Name)
		if p.meter.Label != "" {
			name += " " + string(p.meter.Label)
		}
		if _, err := fmt.Fprintf(out, "%s  %s %s  %s\n", name, called(p.meter), p.meter.Address, p.meter.Profile); err != nil {
			return err
		}
		for i, q := range p.readings {
			text := "—"
			if q.Quality.HasValue() {
				text = decimal(q.Coef, p.columns[i])
			}
			note := ""
			if q.Quality != drivers.OK {
				note = q.Quality.String()
			}
			if _, err := fmt.Fprintln(out, strings.TrimRight(fmt.Sprintf("  %-22s %s %-6s %s", p.columns[i].Name, runewidth.FillLeft(text, 14), p.columns[i].Unit, note), " ")); err != nil {
				return err
			}
		}
	}
	return nil
}

// decimal is a reading on the site's side of the transformers, exact.
func decimal(coef int64, c agent.Column) string {
	d := drivers.Decimal{Coef: coef, Exp: c.Exp}
	if p, ok := d.Times(c.Multiplier); ok {
		return p.String()
	}
	return d.String() + " x " + c.Multiplier.String()
}
