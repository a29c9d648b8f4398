// Command tally-lender is the lender's binary: it makes the lender's key,
// follows the feeds of its boxes, and checks exported bundles offline.
package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/mqtt"
)

// version is set by the build (Makefile).
var version = "development"

func main() {
	ctx, stop := cli.Interrupted()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:   "tally-lender",
		Short: "The lender's end: follow, verify, confirm",
		Long: `tally-lender verifies what Tallystick boxes send: live from a broker, or a
bundle offline. Every verdict comes with its reasons.

` + cli.ExitCodes,
		Version: version,
	}
	root.AddCommand(newKeygenCommand(), newWatchCommand(), newVerifyCommand(), newCSVCommand(), newShowCommand(), newCompareCommand(), newReplayCommand(), newChallengeCommand(), newStatusCommand(), newReportCommand(), newRedecodeCommand(), newRecomputeCommand(), newWitnessCommand(), newAcceptCommand(), newCountersignCommand())
	return cli.Execute(ctx, root, args, stdout, stderr, explain)
}

// explain turns an error from within into one for people.
func explain(err error) *cli.Error {
	e := &cli.Error{Exit: cli.Environment, Text: err.Error()}
	var (
		file    *mqtt.FileError
		connect *mqtt.ConnectError
		lost    *mqtt.LostError
		key     *keyfile.Error
		format  *canon.FormatError
	)
	switch {
	case errors.As(err, &file):
		e.Code, e.Exit, e.Hint = "E-302", cli.Usage, file.Hint()
	case errors.As(err, &connect):
		e.Code, e.Hint = "E-301", connect.Hint()
	case errors.As(err, &lost):
		e.Code, e.Hint = "E-307", "try again; if it happens again and again, see why the broker hangs up"
	case errors.As(err, &key):
		e.Code, e.Exit, e.Hint = "E-501", cli.Usage, key.Fix
	case errors.Is(err, evidence.ErrVersion):
		e.Code, e.Hint = "E-402", "install a newer tally-lender; the bundle itself may be perfectly good"
	case errors.Is(err, bundle.ErrNotBundle):
		e.Code, e.Hint = "E-409", "a bundle is made with: tallystick log export -o FILE"
	case errors.As(err, &format):
		e.Code, e.Exit, e.Hint = "E-410", cli.Environment, "ask for the file again; if it is the same, it was cut short or damaged before it was sent"
	default:
		return nil
	}
	return e
}

func publicKey(k ed25519.PrivateKey) string {
	return evidence.Ed25519PublicKey(k.Public().(ed25519.PublicKey)).String()
}
