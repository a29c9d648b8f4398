package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

// signer loads the lender's key.
func signer(w *configs.Watch) (evidence.Signer, error) {
	key, _, err := keyfile.Load(w.Key)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &cli.Error{Exit: cli.Usage, Code: "E-502", Text: fmt.Sprintf("key file %s does not exist", w.Key), Hint: "make it: tally-lender keygen " + w.Key}
	}
	if err != nil {
		return nil, err
	}
	return evidence.NewEd25519Signer(key, "file"), nil
}

// toSign opens the lender file, the lender's key, and the factory's file that is
// to be signed.
func toSign(cmd *cobra.Command, config, file string) (w *configs.Watch, key evidence.Signer, content []byte, err error) {
	if w, err = loadWatch(config, cmd.ErrOrStderr()); err != nil {
		return nil, nil, nil, err
	}
	if key, err = signer(w); err != nil {
		return nil, nil, nil, err
	}
	content, err = os.ReadFile(file)
	return w, key, content, err
}

func newAcceptCommand() *cobra.Command {
	var config, fingerprint, output string
	c := &cobra.Command{
		Use:   "accept CLAIM",
		Short: "Take a box in: check its claim and fingerprint, pin its key, answer",
		Long: `Shows what a box claims, asks for the fingerprint the factory gave on another way,
writes the box into the lender file, and writes a signed answer for the factory.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			w, key, b, err := toSign(cmd, config, args[0])
			if err != nil {
				return err
			}
			claim, err := record.OpenClaim(b)
			if err != nil {
				return &cli.Error{Exit: cli.NotVerified, Code: "E-711", Text: fmt.Sprintf("%s is not a claim signed with the key it names: %v", args[0], err),
					Hint: "ask the factory for the file again: tallystick enrol"}
			}
			showClaim(cmd, &claim)
			if fingerprint == "" {
				fmt.Fprint(cmd.ErrOrStderr(), "fingerprint the factory gave you, on another way than this file / 工厂另行告知的指纹: ")
				if fingerprint, err = bufio.NewReader(cmd.InOrStdin()).ReadString('\n'); err != nil && fingerprint == "" {
					return cli.UsageError("no fingerprint was given; type it, or use --fingerprint")
				}
			}
			box := claim.Pin()
			if !words.SameFingerprint(box, fingerprint) {
				return &cli.Error{Exit: cli.NotVerified, Code: "E-712", Text: "the fingerprint is not that of the key in the claim",
					Hint: "nothing was accepted; have it read out again. If it stays different, the claim is not from that box"}
			}
			answer, err := record.SignAcceptance(key, b, string(w.Name), time.Now().UnixMilli())
			if err != nil {
				return err
			}
			if output == "" {
				output = strings.TrimSuffix(args[0], filepath.Ext(args[0])) + "." + string(w.Name) + ".tally-acceptance"
			}
			if err := os.WriteFile(output, answer, 0o600); err != nil {
				return err
			}
			return pin(cmd, config, w, claim.Site, box.String(), output)
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "lender.yaml", "lender file")
	c.Flags().StringVar(&fingerprint, "fingerprint", "", "the fingerprint, instead of typing it")
	c.Flags().StringVarP(&output, "output", "o", "", "file for the answer (default: beside the claim)")
	return c
}

func showClaim(cmd *cobra.Command, c *record.Claim) {
	out := cmd.OutOrStdout()
	fmt.Fprintf(out, "site %s, claimed %s, key in: %s\n", c.Site, time.UnixMilli(c.Issued).UTC().Format(time.DateTime), c.Key.Custody)
	for _, m := range c.Meters {
		fmt.Fprintf(out, "  %s: %s, serial number %q, ct %s, pt %s, seal %q\n", m.Name, m.Profile, m.Serial, words.Decimal(m.CT), words.Decimal(m.PT), m.Seal)
	}
}

// pin writes the box into the lender file, or says what to write.
func pin(cmd *cobra.Command, config string, w *configs.Watch, site, key, answer string) error {
	for i := range w.Boxes {
		if w.Boxes[i].Key.String() == key {
			fmt.Fprintf(cmd.ErrOrStderr(), "%s has this box already, as %s; the answer for the factory is in %s\n", config, w.Boxes[i].Name, answer)
			return nil
		}
	}
	entry := fmt.Sprintf("  - name: %s\n    key: %s\n", site, key)
	if old, err := os.ReadFile(config); err == nil {
		if text, ok := configs.AppendBox(config, old, site, key); ok {
			if err := replace(config, text); err == nil {
				fmt.Fprintf(cmd.ErrOrStderr(), "box %s is in %s now; the answer for the factory is in %s\n", site, config, answer)
				return nil
			}
		}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "the answer for the factory is in %s; %s was left as it is, add below boxes: yourself:\n", answer, config)
	fmt.Fprint(cmd.OutOrStdout(), entry)
	return nil
}

// replace gives a file another content, or leaves it as it is.
func replace(path string, text []byte) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tally-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(text)
	if err = errors.Join(err, f.Chmod(info.Mode().Perm()), f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

func newCountersignCommand() *cobra.Command {
	var config string
	c := &cobra.Command{
		Use:   "countersign FILE",
		Short: "Show the terms of a consent and sign them for the factory's form",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			_, key, b, err := toSign(cmd, config, args[0])
			if err != nil {
				return err
			}
			t, err := record.DecodeTerms(b)
			if err != nil {
				return &cli.Error{Exit: cli.Usage, Code: "E-713", Text: fmt.Sprintf("%s holds no terms of a consent: %v", args[0], err), Hint: "the factory writes them: tallystick consent terms -o FILE"}
			}
			sig, err := record.Countersign(key, &t)
			if err != nil {
				return err
			}
			fmt.Fprint(cmd.ErrOrStderr(), words.Terms(&t, words.Chinese), words.Terms(&t, words.English))
			fmt.Fprintf(cmd.OutOrStdout(), "countersignature: %s\n", base64.RawURLEncoding.EncodeToString(sig))
			return nil
		},
	}
	c.Flags().StringVarP(&config, "config", "c", "lender.yaml", "lender file")
	return c
}
