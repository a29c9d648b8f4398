package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/cli"
)

func newKeyCommand(a *app) *cobra.Command {
	c := &cobra.Command{Use: "key", Short: "The key this box signs with"}
	c.AddCommand(&cobra.Command{
		Use:   "show",
		Short: "Print the public key, for the lender's file",
		Long: `Prints the public half of the key this box signs with; the lender pins it as
key: of the box. The key is made on the first run, or now.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			site, err := a.load()
			if err != nil {
				return err
			}
			id, created, err := assembly.Identity(site)
			if err != nil {
				return err
			}
			if created {
				fmt.Fprintf(a.stderr, "made a new key in %s; back it up: without it this history cannot go on\n", site.Key)
			}
			fmt.Fprintln(cmd.OutOrStdout(), id.Public())
			return nil
		},
	})
	return c
}
