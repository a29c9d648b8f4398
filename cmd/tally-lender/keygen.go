package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

func newKeygenCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "keygen FILE",
		Short: "Make the key that signs your receipts, and print its public half",
		Long: `Makes a key in FILE (mode 0600) and prints the public half, which the factory
writes into its site file as public_key: of this lender. An existing key is
not replaced; its public half is printed again.

` + cli.ExitCodes,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			key, err := keyfile.Create(args[0])
			if errors.Is(err, fs.ErrExist) {
				if key, _, err = keyfile.Load(args[0]); err == nil {
					fmt.Fprintf(cmd.ErrOrStderr(), "%s exists already; this is its public half\n", args[0])
				}
			}
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), publicKey(key))
			return nil
		},
	}
}
