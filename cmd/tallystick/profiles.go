package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/drivers/profile"
)

func newProfileCommand() *cobra.Command {
	c := &cobra.Command{Use: "profile", Short: "The devices known"}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List the device profiles", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			lib, err := profile.Builtin()
			if err != nil {
				return err
			}
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 8, 2, ' ', 0)
			for _, id := range lib.IDs() {
				p, err := lib.Get(id)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\n", p.ID, p.Serial, p.Name.EN, p.Name.ZH)
			}
			return w.Flush()
		},
	})
	return c
}
