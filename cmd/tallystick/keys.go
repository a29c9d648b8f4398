package main

import (
	"crypto/sha256"
	"fmt"
	"io"
	"time"

	"github.com/mdp/qrterminal/v3"
	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/cmd/internal/words"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

func newKeysCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "keys", Aliases: []string{"key"}, Short: "The key this box signs with"}
	c.AddCommand(newKeysInitCommand(a), newKeysShowCommand(a), newKeysRotateCommand(a), newKeysCertifyCommand(a))
	return c
}

func newKeysInitCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "init",
		Short: "Make the key, where there is none",
		Long: `Makes the key this box signs with, its successor and the key of its checkpoints,
in the file of key: or in the chip that signing: names. The first run does the
same. An existing key is left as it is.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeys(func(site *configs.Site, keys *assembly.Keys) error {
				if !keys.Created {
					fmt.Fprintf(a.stderr, "%s exists already; nothing was made\n", site.Key)
				}
				return a.showKey(cmd.OutOrStdout(), site, keys)
			})
		},
	}
}

func newKeysShowCommand(a *app) *cobra.Command {
	var qr bool
	c := &cobra.Command{
		Use:   "show",
		Short: "Print the public key, for the lender's file",
		Long: `Prints on stdout the public half of the key that opened this box's history; the
lender pins it as key: of the box. Fingerprint, custody and the key of the
checkpoints, for witnesses, are on stderr. The key is made on the first run, or
now.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeys(func(site *configs.Site, keys *assembly.Keys) error {
				if err := a.showKey(cmd.OutOrStdout(), site, keys); err != nil || !qr {
					return err
				}
				pinned, _ := assembly.Pinned(site, keys)
				qrterminal.GenerateHalfBlock(pinned.String(), qrterminal.M, a.stderr)
				return nil
			})
		},
	}
	c.Flags().BoolVar(&qr, "qr", false, "also draw the key as a QR code, for a telephone's camera")
	return c
}

// withKeys opens the keys of the site for f.
func (a *app) withKeys(f func(*configs.Site, *assembly.Keys) error) (err error) {
	site, err := a.load()
	if err != nil {
		return err
	}
	keys, err := assembly.OpenKeys(site)
	if err != nil {
		return err
	}
	defer func() {
		if e := keys.Close(); err == nil {
			err = e
		}
	}()
	if keys.Created {
		fmt.Fprintf(a.stderr, "made a new key in %s; back it up: without it this history cannot go on\n", site.Key)
	}
	return f(site, keys)
}

// showKey prints what a lender and a witness are to be given.
func (a *app) showKey(out io.Writer, site *configs.Site, keys *assembly.Keys) error {
	signer, err := keys.Signer()
	if err != nil {
		return err
	}
	pinned, log := assembly.Pinned(site, keys)
	fmt.Fprintln(out, pinned)
	fmt.Fprintf(a.stderr, "fingerprint %s, kept in: %s\n", words.Fingerprint(pinned), signer.Public().Custody)
	if now := keys.Public(); now != pinned {
		fmt.Fprintf(a.stderr, "in force now %s, after a rotation; lenders keep the one above\n", now)
	}
	if log == (evidence.LogID{}) {
		return nil
	}
	vkey, err := assembly.CheckpointKey(log, keys)
	if err == nil && vkey != "" {
		fmt.Fprintf(a.stderr, "checkpoints, for witnesses: %s\n", vkey)
	}
	return err
}

func newKeysRotateCommand(a *app) *cobra.Command {
	var to string
	c := &cobra.Command{
		Use:   "rotate",
		Short: "Go on with the next key, and erase the one in use",
		Long: `Writes into the history, signed with the key in use, that the next key signs from
now on; that was committed to before. Then the old key is erased. Lenders need
do nothing: they keep the key they were given, and follow. The agent must not be
running.

With --to the history goes on in another one, under a key of another suite or kept
elsewhere: --to names the site file from now on, with its own key:, its own buffer:
directory: and its signing:. The last leaf of this history names that key, goes to
the lenders, and must be confirmed by each; the new history begins with where this
one ended, and with the consents in force. Then the old keys are erased. Lenders pin
the key printed, after tally-lender compare OLD NEW has shown them that each history
names the other. The old history stays, to be exported with the old site file.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, err := a.load()
			if err != nil {
				return err
			}
			if to != "" {
				return a.succeed(cmd.OutOrStdout(), site, to)
			}
			now, err := assembly.Rotate(site, "tallystick "+version, a.logger(0))
			if err != nil {
				return &historyError{Dir: site.Buffer.Directory, Err: err}
			}
			fmt.Fprintf(a.stderr, "the old key is erased; back up %s again: the copy you have signs nothing any more\n", site.Key)
			fmt.Fprintln(cmd.OutOrStdout(), now)
			return nil
		},
	}
	c.Flags().StringVar(&to, "to", "", "site file of the history that comes after this one, with keys of another suite or elsewhere")
	return c
}

// succeed goes on in the history of another site file.
func (a *app) succeed(out io.Writer, site *configs.Site, to string) error {
	following := *a
	following.config = to
	next, err := following.load()
	if err != nil {
		return err
	}
	heir, err := assembly.Succeed(site, next, assembly.Options{Software: "tallystick " + version, Log: a.logger(0)})
	if err != nil {
		return &historyError{Dir: site.Buffer.Directory, Err: err}
	}
	fmt.Fprintf(a.stderr, "the keys of %s are erased; run the agent with %s, back up %s, and give each lender the key below, fingerprint %s\n",
		a.config, to, next.Key, words.Fingerprint(heir))
	fmt.Fprintln(out, heir)
	return nil
}

func newKeysCertifyCommand(a *app) *cobra.Command {
	return &cobra.Command{
		Use:   "certify",
		Short: "Have the TPM certify its counter, to see that it can",
		Long: `Raises the counter of the TPM named in signing: and has it certified, as the
agent does every hour together with the head of the history. The certificate is
checked and shown, and goes nowhere; because the counter has risen, lenders see
one number left out, which an orderly restart explains.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withKeys(func(site *configs.Site, keys *assembly.Keys) error {
				if keys.Count == nil {
					return &cli.Error{Exit: cli.Usage, Code: "E-505", Text: "no TPM is named, so there is no counter", Hint: "add signing: {tpm: /dev/tpmrm0} before the first run"}
				}
				over := evidence.Hash(sha256.Sum256([]byte(time.Now().String())))
				c, err := keys.Count(over)
				if err != nil {
					return err
				}
				signer, err := keys.Signer()
				if err != nil {
					return err
				}
				value, err := assembly.CheckCounter(signer.Public(), c, over)
				if err != nil {
					return err
				}
				fmt.Fprintf(cmd.OutOrStdout(), "counter 0x%08x is at %d, certified by the TPM\n", c.Handle, value)
				return nil
			})
		},
	}
}
