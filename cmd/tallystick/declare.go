package main

import (
	"crypto/rand"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// declared is a kind of declaration by its word on the command line.
type declared struct {
	word, short string
	kind        record.DeclarationKind
}

func declarations() []declared {
	return []declared{
		{"closure", "A planned closure: holiday, maintenance", record.PlannedClosure},
		{"rationing", "An order to ration power (有序用电)", record.PowerRationing},
		{"ct-exchange", "Current transformers are exchanged: old and new reading", record.CTExchange},
		{"meter-exchange", "A meter is exchanged: old and new reading", record.MeterExchange},
		{"new-load", "Photovoltaics, or a new large load", record.NewLoad},
		{"plan", "A production plan", record.ProductionPlan},
		{"explanation", "An explanation of a signal", record.DeclaredReason},
	}
}

func newDeclareCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "declare",
		Short: "Say beforehand what is going to be unusual",
		Long: `A declaration is a record in the signed history. It counts from the moment it is
recorded, so declare before the fact: a closure, an exchange, a new load.`,
	}
	for _, d := range declarations() {
		c.AddCommand(newDeclarationCommand(a, d))
	}
	return c
}

func newDeclarationCommand(a *app, what declared) *cobra.Command {
	word, short, kind := what.word, what.short, what.kind
	var lender, from, to, reason, meter, before, after string
	use := word + " --from TIME --to TIME --reason TEXT"
	if kind.Exchange() {
		use = word + " --meter NAME --old READING --new READING --from TIME --reason TEXT"
	}
	c := &cobra.Command{
		Use:   use,
		Short: short,
		Long: short + `.
TIME is a day, 2026-02-14, or 2026-02-14T08:00, in the site's time zone. A day as --to is
included. Without --lender every lender of the site sees it.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" || reason == "" {
				return cli.UsageError("--from and --reason are needed")
			}
			site, err := a.load()
			if err != nil {
				return err
			}
			if lender != "" {
				if _, err := lenderOf(site, lender); err != nil {
					return err
				}
			}
			d := record.Declaration{Kind: kind, Made: time.Now().UnixMilli(), Text: reason, Meter: meter}
			if d.From, d.To, err = period(site, from, to, kind.Exchange()); err != nil {
				return err
			}
			if kind.Exchange() {
				if !slices.ContainsFunc(site.Meters, func(m configs.Meter) bool { return string(m.Name) == meter }) {
					return cli.UsageError("--meter: no meter %q in the site file", meter)
				}
				if d.Old, err = parseDecimal("--old", before); err != nil {
					return err
				}
				if d.New, err = parseDecimal("--new", after); err != nil {
					return err
				}
			}
			if _, err := rand.Read(d.ID[:]); err != nil {
				return err
			}
			if err := d.Validate(); err != nil {
				return cli.UsageError("%v", err)
			}
			fmt.Fprintln(cmd.OutOrStdout(), words.Declaration(&d, time.UnixMilli(d.Made)))
			return a.leave(cmd.Context(), site, evidence.DeclarationLeaf, lender, d)
		},
	}
	f := c.Flags()
	lenderFlag(c, &lender)
	f.StringVar(&from, "from", "", "when it begins")
	f.StringVar(&to, "to", "", "when it ends")
	f.StringVar(&reason, "reason", "", "why, in your words")
	if kind.Exchange() {
		f.StringVar(&meter, "meter", "", "the meter, by its name in the site file")
		f.StringVar(&before, "old", "", "its last reading before, as displayed")
		f.StringVar(&after, "new", "", "its first reading after, as displayed")
	}
	return c
}

// period reads --from and --to. Without --to what lasts has no end that is known,
// which is the same as its begin.
func period(site *configs.Site, from, to string, instant bool) (lo, hi int64, err error) {
	zone, err := site.Timezone.Location()
	if err != nil {
		return 0, 0, err
	}
	begin, _, err := parseTime("--from", from, zone)
	if err != nil {
		return 0, 0, err
	}
	end := begin
	if to != "" {
		var day bool
		if end, day, err = parseTime("--to", to, zone); err != nil {
			return 0, 0, err
		}
		if day && !instant {
			end = end.AddDate(0, 0, 1)
		}
	}
	if end.Before(begin) {
		return 0, 0, cli.UsageError("--to %s is before --from %s", to, from)
	}
	return begin.UnixMilli(), end.UnixMilli(), nil
}

func parseTime(flag, s string, zone *time.Location) (t time.Time, day bool, err error) {
	if t, err = time.ParseInLocation(time.DateOnly, s, zone); err == nil {
		return t, true, nil
	}
	if t, err = time.ParseInLocation("2006-01-02T15:04", s, zone); err == nil {
		return t, false, nil
	}
	return t, false, cli.UsageError("%s: expected 2026-02-14 or 2026-02-14T08:00, found %q", flag, s)
}

// parseDecimal reads an exact number.
func parseDecimal(flag, s string) (*record.Decimal, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	coef, err := strconv.ParseInt(whole+fraction, 10, 64)
	if err != nil || len(fraction) > 9 || strings.ContainsAny(fraction, "+-") {
		return nil, cli.UsageError("%s: expected a reading such as 12345.67, found %q", flag, s)
	}
	return &record.Decimal{Coef: coef, Exp: int8(-len(fraction))}, nil
}
