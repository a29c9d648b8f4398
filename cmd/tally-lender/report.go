package main

import (
	"crypto/sha256"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/outcome"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/report"
	"github.com/tallystick/tallystick/uplink/verify"
)

func newReportCommand() *cobra.Command {
	var trust trust
	var output, lang, zone string
	c := &cobra.Command{
		Use:   "report FILE -o report.html",
		Short: "Sum up a bundle on two sheets of paper, in Chinese or English",
		Long: `Checks a bundle as "tally-lender verify" does and writes one HTML file, two sheets A4
when printed: verdict, use per day, completeness by the hour, grades, gaps and
what happened, what was proved and what was not. It loads nothing and runs no
script. Days are those of --zone (default: this machine's).

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			l := report.Lang(lang)
			if l != report.Chinese && l != report.English {
				return cli.UsageError("--lang %s: choose zh or en", lang)
			}
			days := time.Local
			if zone != "" {
				var err error
				if days, err = time.LoadLocation(zone); err != nil {
					return cli.UsageError("--zone %s: no such time zone on this machine; write it like Asia/Shanghai", zone)
				}
			}
			stderr := cmd.ErrOrStderr()
			return writeWhole(output, cmd.OutOrStdout(), func(w io.Writer) error {
				b, digest := report.NewBuilder(days), sha256.New()
				sum, err := trust.check(args[0], digest, stderr, func(r verify.Result) error {
					b.Add(r)
					return nil
				})
				if err != nil {
					return err
				}
				source := report.Source{File: filepath.Base(args[0]), SHA256: [32]byte(digest.Sum(nil)), Assumed: !trust.pinned(), Summary: sum}
				if err := keyOf(args[0], &source); err != nil {
					return err
				}
				if err := b.HTML(w, l, source); err != nil {
					return err
				}
				outcome.Print(stderr, args[0], &sum)
				return outcome.Exit(sum.Verdict)
			})
		},
	}
	trust.flags(c)
	c.Flags().StringVarP(&output, "output", "o", "", "file to write (default: stdout)")
	c.Flags().StringVar(&lang, "lang", string(report.Chinese), "language: zh or en")
	c.Flags().StringVar(&zone, "zone", "", "time zone whose days are drawn, like Asia/Shanghai")
	return c
}

// keyOf adds the key a bundle names, where its head can be read. It is the one
// that was believed if any leaf was accepted.
func keyOf(path string, s *report.Source) error {
	f, err := open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	r, err := bundle.NewReader(f)
	if err != nil {
		return err
	}
	genesis, err := evidence.ParseLeaf(r.Header().Genesis)
	if err == nil && genesis.Manifest.Genesis != nil {
		s.Key, s.Custody = genesis.Manifest.Genesis.Key.Key(), genesis.Manifest.Genesis.Key.Custody
	}
	return nil
}
