// Package technician holds what one does at the meters with tallystick: find
// them, read them, look at their frames and profiles. None of it needs a key, a
// history or a lender, and all of it only reads.
package technician

import (
	"log/slog"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/configs"
)

// Commands are the subcommands for work at the meters. load reads the site file
// once the command line is known; it has shown the file's faults when it returns
// an error. log says what happens to a line meanwhile.
func Commands(load func() (*configs.Site, error), log *slog.Logger) []*cobra.Command {
	return []*cobra.Command{
		newReadCommand(load, log), newProfileCommand(),
		newDecodeCommand(), newRawCommand(), newScanCommand(),
	}
}
