package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

func newConsentCommand(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "consent",
		Short: "What this factory consents to, lender by lender",
		Long: `A consent is a record of its own in the signed history: what is sent to a lender,
for what, how long, and how it ends. Only that lender sees it. Withdrawing it is
one command; nothing more is sent from then on.`,
	}
	c.AddCommand(newConsentFormCommand(a), newConsentTermsCommand(a), newGrantCommand(a), newWithdrawCommand(a), newConsentShowCommand(a))
	return c
}

// lenderFlag adds the flag all of them have.
func lenderFlag(c *cobra.Command, lender *string) {
	c.Flags().StringVar(lender, "lender", "", "the lender, by its name in the site file")
}

// lenderOf finds a lender in the site file. With one lender only it need not be
// named.
func lenderOf(site *configs.Site, name string) (*configs.Lender, error) {
	if name == "" && len(site.Lenders) == 1 {
		return &site.Lenders[0], nil
	}
	i := slices.IndexFunc(site.Lenders, func(l configs.Lender) bool { return string(l.Name) == name })
	if i >= 0 {
		return &site.Lenders[i], nil
	}
	return nil, &cli.Error{Exit: cli.Usage, Code: "E-701", Text: fmt.Sprintf("no lender %q in the site file", name), Hint: "name one of lenders: in the site file: --lender NAME"}
}

func newConsentFormCommand(a *app) *cobra.Command {
	var lender string
	c := &cobra.Command{
		Use:   "form > consent.yaml",
		Short: "Print a form to fill in, with what the site file says of the lender",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, err := a.load()
			if err != nil {
				return err
			}
			l, err := lenderOf(site, lender)
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(cmd.OutOrStdout(), blankForm(site, l, time.Now()))
			return err
		},
	}
	lenderFlag(c, &lender)
	return c
}

func newConsentTermsCommand(a *app) *cobra.Command {
	var lender, form, output string
	c := &cobra.Command{
		Use:   "terms -f consent.yaml -o FILE",
		Short: "Write the terms of a form for the lender to countersign",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if output == "" {
				return cli.UsageError("name the file to write: -o consent.terms")
			}
			_, _, f, t, err := a.termsOf(lender, form)
			if err != nil {
				return err
			}
			b, err := t.Encode()
			if err != nil {
				return err
			}
			if err := os.WriteFile(output, b, 0o600); err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), words.Terms(t, f.Language))
			fmt.Fprintf(a.stderr, "give %s to the lender; tally-lender countersign prints the line for the form\n", output)
			return nil
		},
	}
	lenderFlag(c, &lender)
	c.Flags().StringVarP(&form, "file", "f", "consent.yaml", "the form, filled in")
	c.Flags().StringVarP(&output, "output", "o", "", "file to write")
	return c
}

// termsOf reads site file and form.
func (a *app) termsOf(lender, form string) (*configs.Site, *configs.Lender, *consentForm, *record.Terms, error) {
	site, err := a.load()
	if err != nil {
		return nil, nil, nil, nil, err
	}
	l, err := lenderOf(site, lender)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	f, err := a.readForm(form)
	if err != nil {
		return nil, nil, nil, nil, err
	}
	t, err := f.terms(site, l)
	return site, l, f, t, err
}

func newGrantCommand(a *app) *cobra.Command {
	var lender, form string
	c := &cobra.Command{
		Use:   "grant -f consent.yaml",
		Short: "Record a consent, or change the one in force",
		Long: `Shows the terms of the form and has them recorded in the signed history: by the
running agent within its sync interval, else when it starts next. "tallystick
consent form" prints a form. A consent in force is changed: the new terms take
its place.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, l, f, t, err := a.termsOf(lender, form)
			if err != nil {
				return err
			}
			counter, err := f.countersignature(l, t)
			if err != nil {
				return err
			}
			now := time.Now().UnixMilli()
			if t.Term.Until <= now {
				return cli.UsageError("the consent is over already: until: is %s", f.Until)
			}
			before, err := newest(site.Buffer.Directory, string(l.Name))
			if err != nil {
				return err
			}
			notice := words.Terms(t, f.Language)
			c := record.Consent{Terms: t, Signed: record.Signed{At: now, Counter: counter},
				Header: record.Header{Act: record.Grant, Version: 1, Language: f.Language, Notice: record.NoticeHash(notice)}}
			if before != nil && before.Terms != nil && before.Term.Until > now {
				c.Header.Act, c.Header.ID, c.Header.Version = record.Change, before.Header.ID, before.Header.Version+1
			} else if _, err := rand.Read(c.Header.ID[:]); err != nil {
				return err
			}
			fmt.Fprint(cmd.OutOrStdout(), notice)
			return a.leave(cmd.Context(), site, evidence.ConsentLeaf, string(l.Name), c)
		},
	}
	lenderFlag(c, &lender)
	c.Flags().StringVarP(&form, "file", "f", "consent.yaml", "the form, filled in")
	return c
}

func newWithdrawCommand(a *app) *cobra.Command {
	var lender string
	c := &cobra.Command{
		Use:   "withdraw --lender NAME",
		Short: "Withdraw the consent: nothing more is sent to this lender",
		Long: `Has the withdrawal recorded in the signed history: by the running agent within
its sync interval, else when it starts next, before anything is sent. The lender
gets that record as the last thing. The agent works on.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, err := a.load()
			if err != nil {
				return err
			}
			l, err := lenderOf(site, lender)
			if err != nil {
				return err
			}
			before, err := newest(site.Buffer.Directory, string(l.Name))
			if err != nil {
				return err
			}
			c := record.Consent{Signed: record.Signed{At: time.Now().UnixMilli(), Counter: []byte{}},
				Header: record.Header{Act: record.Withdraw, Version: 1, Language: words.Chinese, Notice: record.NoticeHash(words.Withdrawal(words.Chinese))}}
			switch {
			case before == nil:
				if _, err := rand.Read(c.Header.ID[:]); err != nil {
					return err
				}
			case before.Terms == nil:
				fmt.Fprintf(a.stderr, "the consent for lender %s is withdrawn already\n", l.Name)
				return nil
			default:
				h := &c.Header
				h.ID, h.Version, h.Language = before.Header.ID, before.Header.Version+1, before.Header.Language
				h.Notice = record.NoticeHash(words.Withdrawal(h.Language))
			}
			fmt.Fprint(cmd.OutOrStdout(), words.Withdrawal(c.Header.Language))
			return a.leave(cmd.Context(), site, evidence.ConsentLeaf, string(l.Name), c)
		},
	}
	lenderFlag(c, &lender)
	return c
}

// newest is the newest consent for a lender that was decided on this box, in a
// leaf or still waiting to be one; nil for none.
func newest(dir, lender string) (c *record.Consent, err error) {
	s, err := standing(dir, lender)
	if err != nil {
		return nil, err
	}
	c = s.Consent
	waiting, err := desk.Pending(dir)
	for _, q := range waiting {
		if q.Type != evidence.ConsentLeaf || q.Record.For != lender {
			continue
		}
		if later, err := q.Record.Consent(); err == nil {
			c = &later
		}
	}
	return c, err
}

// standing reads how things stand with a lender; without a history there is
// nothing yet.
func standing(dir, lender string) (s desk.Standing, err error) {
	h, err := history.OpenReader(dir)
	if errors.Is(err, history.ErrNone) || errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return s, &historyError{Dir: dir, Err: err, Reading: true}
	}
	defer h.Close()
	if s, err = desk.StandingIn(dir, h, lender); err != nil {
		return s, &historyError{Dir: dir, Err: err, Reading: true}
	}
	return s, nil
}

func newConsentShowCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "show",
		Short: "Show the consent in force for each lender",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, err := a.load()
			if err != nil {
				return err
			}
			out, dir := cmd.OutOrStdout(), site.Buffer.Directory
			for i := range site.Lenders {
				l := &site.Lenders[i]
				s, err := standing(dir, string(l.Name))
				if err != nil {
					return err
				}
				if s.Consent == nil {
					fmt.Fprintf(out, "%s: %s\n", l.Name, noConsent(l, s))
					continue
				}
				fmt.Fprintf(out, "%s: leaf %d, %s\n", l.Name, s.Leaf, words.Act(s.Consent))
				if t := s.Consent.Terms; t != nil {
					if t.Term.Until <= time.Now().UnixMilli() {
						fmt.Fprintln(out, "    its time is over, nothing is sent / 已到期,不再发送")
					}
					if len(s.Consent.Signed.Counter) > 0 {
						fmt.Fprintln(out, "    countersigned by the lender / 贷方已会签")
					}
					fmt.Fprint(out, words.Terms(t, s.Consent.Header.Language))
				}
			}
			waiting, err := desk.Pending(dir)
			for _, q := range waiting {
				fmt.Fprintf(out, "%s: waits to be recorded: %s\n", q.Record.For, words.Record(q.Type, &q.Record, time.Time{}))
			}
			return err
		},
	}
}

// noConsent says what it means that there is no record for a lender.
func noConsent(l *configs.Lender, s desk.Standing) string {
	switch {
	case s.Lost:
		return "what was consented to is no longer on this box; nothing is sent until there is a new consent"
	case l.Consent == configs.Required:
		return "no consent record; nothing is sent"
	}
	return "no consent record; what the site file shares is sent"
}

// warnOfConsents names the lenders for which there is no consent record, as
// warnings.
func warnOfConsents(site *configs.Site, warn func(text, do string)) {
	for i := range site.Lenders {
		l := &site.Lenders[i]
		c, err := newest(site.Buffer.Directory, string(l.Name))
		if err != nil || c != nil {
			continue // the history's own fault is told elsewhere
		}
		s, err := standing(site.Buffer.Directory, string(l.Name))
		if err == nil {
			warn(fmt.Sprintf("W-706 lender %s: %s", l.Name, noConsent(l, s)),
				fmt.Sprintf("have the consent recorded: tallystick consent form --lender %s > consent.yaml, fill it in, tallystick consent grant --lender %s -f consent.yaml", l.Name, l.Name))
		}
	}
}

// logTo is a warn for the running agent.
func logTo(log *slog.Logger) func(text, do string) {
	return func(text, do string) { log.Warn(text, "do", do) }
}

// leave has a record become a leaf and says what became of it.
func (a *app) leave(ctx context.Context, site *configs.Site, t evidence.LeafType, lender string, content any) error {
	dir := site.Buffer.Directory
	name, err := desk.Leave(dir, t, lender, content)
	if err != nil {
		return &historyError{Dir: dir, Err: err}
	}
	if !history.Running(dir) {
		fmt.Fprintf(a.stderr, "kept in %s; the agent does not run, it is recorded when it starts next, before anything is sent\n", name)
		return nil
	}
	const slack = 2 * time.Second
	for until := time.Now().Add(min(site.Buffer.SyncInterval, 10*time.Second) + slack); time.Now().Before(until); {
		if _, err := os.Stat(name); errors.Is(err, fs.ErrNotExist) {
			fmt.Fprintln(a.stderr, "recorded in the signed history")
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
	fmt.Fprintf(a.stderr, "kept in %s; the running agent records it within its sync interval, else when it starts next\n", name)
	return nil
}
