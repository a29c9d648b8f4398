package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"context"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/broker"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/report"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newWatchCommand() *cobra.Command {
	var config string
	var asJSON, verbose bool
	c := &cobra.Command{
		Use:   "watch",
		Short: "Follow the feeds of your boxes: verify, keep, confirm",
		Long: `Subscribes to the boxes of the lender file, verifies each window, keeps it in an
archive, and answers with signed receipts. Prints one line a leaf.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			w, err := loadWatch(config, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			level := slog.LevelWarn
			if verbose {
				level = slog.LevelDebug
			}
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), &slog.HandlerOptions{Level: level}))
			if len(w.Boxes) == 0 {
				return &cli.Error{Exit: cli.Usage, Code: "E-714", Text: fmt.Sprintf("%s names no box yet", config), Hint: "take one in: tally-lender accept CLAIM, or write it below boxes:"}
			}
			held, err := keptConsents(w)
			if err != nil {
				return err
			}
			l, err := newLender(w, printer(cmd.OutOrStdout(), asJSON, held), log)
			if err != nil {
				return err
			}
			if _, err := broker.Options(&w.Connection, "", log); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "following %d boxes at %s as %s, archive in %s\n", len(w.Boxes), w.Broker, w.Name, w.Directory)
			return l.Run(cmd.Context())
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "lender.yaml", "lender file")
	c.Flags().BoolVar(&asJSON, "json", false, "print one JSON object a leaf on stdout")
	c.Flags().BoolVarP(&verbose, "verbose", "v", false, "log each connection and receipt")
	return c
}

func newLender(w *configs.Watch, show func(string, verify.Result), log *slog.Logger) (*lender.Lender, error) {
	key, err := signer(w)
	if err != nil {
		return nil, err
	}
	cfg := lender.Config{
		Name: string(w.Name), Key: key, Dir: w.Directory, Patience: w.Patience, Logger: log, OnWindow: show,
		Dial: func(ctx context.Context) (uplink.Session, error) {
			return broker.Dial(ctx, &w.Connection, "tally-lender-"+string(w.Name), nil, log)
		},
		OnEvent: func(e lender.Event) { logEvent(log, e) },
	}
	for i := range w.Boxes {
		pub, err := evidence.ParsePublicKey(w.Boxes[i].Key.String())
		if err != nil {
			return nil, fmt.Errorf("box %s: %w", w.Boxes[i].Name, err)
		}
		cfg.Boxes = append(cfg.Boxes, lender.Box{Name: string(w.Boxes[i].Name), Key: pub})
	}
	return lender.New(cfg)
}

// logEvent logs what is no window.
func logEvent(log *slog.Logger, e lender.Event) {
	attrs := []any{}
	if e.Box != "" {
		attrs = append(attrs, "box", e.Box, "log", e.Log)
	}
	if e.Hi > 0 {
		attrs = append(attrs, "from", e.Lo, "to", e.Hi)
	}
	if e.Err != nil {
		attrs = append(attrs, "err", e.Err)
	}
	switch e.Kind {
	case lender.Connected, lender.NewLog, lender.Filled:
		log.Info(string(e.Kind), attrs...)
	default:
		log.Warn(string(e.Kind), attrs...)
	}
}

// line is one line of --json. Value is an exact decimal string, or null.
type line struct {
	Log      string     `json:"log"`
	Box      string     `json:"box"`
	N        uint64     `json:"n"`
	Type     string     `json:"type"`
	From     string     `json:"from"`
	To       string     `json:"to"`
	Readings int        `json:"readings"`
	Verdict  string     `json:"verdict"`
	Grade    string     `json:"grade"`
	Reasons  []string   `json:"reasons"`
	Says     *bilingual `json:"says,omitempty"`   // of a leaf without readings, times in UTC
	Events   []event    `json:"events,omitempty"` // what happened besides measuring
	Record   string     `json:"record,omitempty"` // what a record says, in words
	Values   []value    `json:"values"`
}

// bilingual is one text in both languages.
type bilingual struct {
	En string `json:"en"`
	Zh string `json:"zh"`
}

// event is one happening of an events leaf (SPEC.md section 4.1).
type event struct {
	Time     string `json:"time"`
	Kind     string `json:"kind"`
	Subject  string `json:"subject"`
	Quantity string `json:"quantity"`
	Count    uint64 `json:"count"`
}

type value struct {
	Meter    string  `json:"meter"`
	Quantity string  `json:"quantity"`
	Value    *string `json:"value"`
	Unit     string  `json:"unit"`
	Quality  string  `json:"quality"`
	Time     string  `json:"time"`
}

const stamp = "2006-01-02T15:04:05.000Z07:00"

// printer prints results; held are the consents shown before.
func printer(out io.Writer, asJSON bool, held consents) func(string, verify.Result) {
	enc := json.NewEncoder(out)
	return func(box string, r verify.Result) {
		if note, any := held.beyond(&r); any {
			r.Reasons = append(slices.Clone(r.Reasons), note)
		}
		if asJSON {
			_ = enc.Encode(toLine(box, r)) // a closed stdout must not stop the receipts
			return
		}
		fmt.Fprintf(out, "%s %s %-8s %6d  %s  %s %s  %s %4d readings  %s\n", r.From.Local().Format(time.DateTime), box, r.Type, r.N,
			r.Verdict, r.Verdict.Chinese(), r.Grade, r.To.Sub(r.From), r.Readings, strings.Join(texts(r.Reasons), "; "))
		if s := recordWords(&r); s != "" {
			fmt.Fprintf(out, "  leaf %d: %s\n", r.N, s)
		} else if en := report.Say(r, report.English, time.Local); en != "" {
			fmt.Fprintf(out, "  %s\n  %s\n", en, report.Say(r, report.Chinese, time.Local))
		}
		if r.Verdict == verify.Verified && r.Manifest != nil {
			outcome.PrintEvents(out, r.Manifest.Events)
		}
	}
}

func toLine(box string, r verify.Result) line {
	l := line{
		Log: r.Log.String(), Box: box, N: r.N, Type: r.Type.String(), From: r.From.UTC().Format(stamp), To: r.To.UTC().Format(stamp),
		Readings: r.Readings, Verdict: string(r.Verdict), Grade: string(r.Grade), Reasons: texts(r.Reasons), Values: []value{},
	}
	if r.Verdict == verify.Verified && r.Manifest != nil {
		for _, e := range r.Manifest.Events {
			l.Events = append(l.Events, event{time.UnixMilli(e.At).UTC().Format(stamp), e.Kind, e.Subject, e.Quantity, e.Count})
		}
	}
	l.Record = recordWords(&r)
	if en := report.Say(r, report.English, time.UTC); en != "" && l.Record == "" {
		l.Says = &bilingual{en, report.Say(r, report.Chinese, time.UTC)}
	}
	if r.Window == nil {
		return l
	}
	for v := range r.Window.Values() {
		j := value{Meter: v.Meter, Quantity: v.Quantity, Unit: v.Unit, Quality: v.Code.String(), Time: v.Time.Format(stamp)}
		if v.Code.HasValue() {
			s := v.Decimal()
			j.Value = &s
		}
		l.Values = append(l.Values, j)
	}
	return l
}

// recordWords is what a record says that was disclosed to this lender and holds
// for people: consents, declarations, enrolments.
func recordWords(r *verify.Result) string {
	if r.Record == nil || !r.Verdict.Accepted() {
		return ""
	}
	return words.Record(r.Type, r.Record, r.To)
}

func texts(rs []verify.Reason) []string {
	ts := make([]string, len(rs))
	for i, r := range rs {
		ts[i] = r.En
	}
	return ts
}
