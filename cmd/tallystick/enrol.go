package main

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// claimFile is where a claim is written unless somebody names another place.
const claimFile = "claim.tally-claim"

func newEnrolCommand(a *app) *cobra.Command {
	var sealed, output, accept string
	c := &cobra.Command{
		Use:   "enrol",
		Short: "Introduce this box to a lender, and take up the lender's answer",
		Long: `Writes a claim, signed with this box's key: the key, the site's pseudonym, its
meters with serial numbers (where a meter tells it and its port is free), ratios and
seals. Send the file to the lender, and the fingerprint on another way: read it out
on the telephone, or let the lender scan the code. There is no shared secret.

The lender answers with a file; "enrol --accept FILE" checks it, prints the entry
for lenders: in the site file, and records both in the signed history.

--meters-sealed names a CSV file, one meter a line: name,seal number.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeys(func(site *configs.Site, keys *assembly.Keys) error {
				if accept != "" {
					return a.accepted(cmd, site, keys, output, accept)
				}
				return a.claim(cmd, site, keys, sealed, output)
			})
		},
	}
	c.Flags().StringVar(&sealed, "meters-sealed", "", "CSV `FILE` with the meters' seal numbers")
	c.Flags().StringVarP(&output, "output", "o", claimFile, "the claim's file")
	c.Flags().StringVar(&accept, "accept", "", "the lender's answer")
	return c
}

// claim writes a claim and shows its key.
func (a *app) claim(cmd *cobra.Command, site *configs.Site, keys *assembly.Keys, sealed, output string) error {
	signer, err := keys.Signer()
	if err != nil {
		return err
	}
	pinned, log := assembly.Pinned(site, keys)
	c := record.Claim{Site: string(site.Site.Name), Issued: time.Now().UnixMilli()}
	if log != (evidence.LogID{}) {
		c.Log = &log
	}
	if pinned != keys.Public() {
		c.Opened = pinned.String()
	}
	seals, err := readSeals(site, sealed)
	if err != nil {
		return err
	}
	serials := a.serials(cmd.Context(), site)
	for i := range site.Meters {
		m := &site.Meters[i]
		c.Meters = append(c.Meters, record.ClaimedMeter{
			Name: string(m.Name), Profile: m.Profile, Serial: serials[string(m.Name)], Seal: seals[string(m.Name)],
			CT: record.Decimal{Coef: m.CT.Coef, Exp: m.CT.Exp}, PT: record.Decimal{Coef: m.PT.Coef, Exp: m.PT.Exp},
		})
	}
	b, err := record.SignClaim(signer, c)
	if err != nil {
		return err
	}
	err = writeWhole(output, func(w io.Writer) error { _, err := w.Write(b); return err })
	if err != nil {
		return err
	}
	out, f := cmd.OutOrStdout(), words.Fingerprint(pinned)
	for _, m := range c.Meters {
		fmt.Fprintf(out, "%s: %s, serial number %s, seal %s\n", m.Name, m.Profile, orNone(m.Serial), orNone(m.Seal))
	}
	fmt.Fprintf(out, "key %s\nfingerprint / 指纹:\n%s\n", pinned, f)
	qrterminal.GenerateHalfBlock(f, qrterminal.M, out)
	fmt.Fprintf(a.stderr, "%s is for the lender: tally-lender accept %s. Give the fingerprint on another way\n", output, output)
	return nil
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// serials asks the meters who they are. One that does not tell has none.
func (a *app) serials(ctx context.Context, site *configs.Site) map[string]string {
	found := map[string]string{}
	lib, err := assembly.Library(site.Profiles)
	if err != nil {
		return found
	}
	lines, err := assembly.Lines(site, lib, nil, func(error) {})
	if err != nil {
		return found
	}
	for _, l := range lines {
		for _, m := range l.Meters {
			if m.Identity == nil {
				continue
			}
			limit, cancel := context.WithTimeout(ctx, 5*time.Second)
			s, err := m.Identity(limit)
			cancel()
			if err != nil {
				fmt.Fprintf(a.stderr, "meter %s does not tell its serial number now (%v); the claim goes without it\n", m.Name, err)
				continue
			}
			found[m.Name] = s
		}
		if l.Close != nil {
			_ = l.Close() // nothing was written
		}
	}
	return found
}

// readSeals reads the numbers on the meters' seals.
func readSeals(site *configs.Site, path string) (map[string]string, error) {
	seals := map[string]string{}
	if path == "" {
		return seals, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r := csv.NewReader(io.LimitReader(f, 1<<20))
	r.FieldsPerRecord, r.TrimLeadingSpace, r.Comment = 2, true, '#'
	rows, err := r.ReadAll()
	if err != nil {
		return nil, cli.UsageError("%s: %v; expected one meter a line: name,seal number", path, err)
	}
	for _, row := range rows {
		if !slices.ContainsFunc(site.Meters, func(m configs.Meter) bool { return string(m.Name) == row[0] }) {
			return nil, cli.UsageError("%s: no meter %q in the site file", path, row[0])
		}
		seals[row[0]] = row[1]
	}
	return seals, nil
}

// accepted takes up a lender's acceptance of the claim in the file named.
func (a *app) accepted(cmd *cobra.Command, site *configs.Site, keys *assembly.Keys, claimPath, path string) error {
	claim, err := os.ReadFile(claimPath)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bad := func(why error) error {
		return &cli.Error{Exit: cli.NotVerified, Code: "E-707", Text: fmt.Sprintf("%s is not a lender's answer to %s: %v", path, claimPath, why),
			Hint: "name the claim that was sent, with -o, and ask the lender for its file again"}
	}
	acc, err := record.OpenAcceptance(b, claim)
	if err != nil {
		return bad(err)
	}
	pinned, _ := assembly.Pinned(site, keys)
	if c, err := record.OpenClaim(claim); err != nil {
		return bad(err)
	} else if c.Pin() != pinned {
		return bad(errors.New("the claim is of another box's key"))
	}
	key := acc.Key.Key()
	i := slices.IndexFunc(site.Lenders, func(l configs.Lender) bool { return string(l.Name) == acc.Lender })
	if i >= 0 && site.Lenders[i].PublicKey != (configs.PublicKey{}) {
		if pinned := site.Lenders[i].PublicKey.String(); pinned != key.String() {
			return &cli.Error{Exit: cli.NotVerified, Code: "E-708", Text: fmt.Sprintf("the answer is signed by %s, and public_key: of lender %s is %s", key, acc.Lender, pinned),
				Hint: "compare the fingerprint with the lender on the telephone; somebody else may have answered"}
		}
	}
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "# lender %s, key fingerprint / 指纹: %s\n", acc.Lender, words.Fingerprint(key))
	if i < 0 {
		fmt.Fprintf(out, "lenders:\n  - name: %s\n    broker: mqtts://HOST:8883   # the lender says which\n    public_key: %s\n    share: [%s]   # what this lender may see\n    consent: required\n",
			acc.Lender, key, strings.Join(shareable(site), ", "))
	}
	fmt.Fprintln(a.stderr, "compare this fingerprint with the lender on another way before you trust it")
	return a.leave(cmd.Context(), site, evidence.CommissioningLeaf, acc.Lender, record.Commissioning{Claim: claim, Acceptance: b})
}

// shareable are the channels a site file could share.
func shareable(site *configs.Site) []string {
	names := make([]string, len(site.Channels))
	for i, c := range site.Channels {
		names[i] = string(c)
	}
	return names
}
