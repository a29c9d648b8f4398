// Command tally-demo plays everything at once: a simulated factory, the agent,
// an MQTT broker and a lender, in one process and with nothing to install.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/verify"
)

func main() {
	ctx, stop := cli.Interrupted()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var length time.Duration
	var noTamper, asJSON bool
	root := &cobra.Command{
		Use:   "tally-demo",
		Short: "A factory, its gateway, a broker and a lender, in one process",
		Long: `Runs a simulated factory with six meters on a serial line, a serial server and
Modbus TCP; the agent reads and signs, a broker passes on, a lender verifies. You
see what the lender has verified. At the end somebody tampers with copies of the
evidence, and the lender names each act.

` + cli.ExitCodes,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			people := stdout
			if asJSON {
				people = stderr
			}
			return play(cmd.Context(), length, !noTamper, asJSON, stdout, people)
		},
	}
	root.Flags().DurationVar(&length, "for", 0, "stop after this long (default: until Ctrl-C)")
	root.Flags().BoolVar(&noTamper, "no-tamper", false, "leave out the tampering at the end")
	root.Flags().BoolVar(&asJSON, "json", false, "print the result as one JSON line on stdout, the show on stderr")
	return cli.Execute(ctx, root, args, stdout, stderr, nil)
}

// result is the last line of --json; scripts depend on its fields.
type result struct {
	Meters           int     `json:"meters"`
	Readings         int     `json:"readings"` // taken by the agent
	WindowsVerified  int     `json:"windows_verified"`
	ReadingsVerified int     `json:"readings_verified"` // by the lender
	Gaps             int     `json:"gaps"`
	Altered          int     `json:"altered"`
	BytesPerReading  float64 `json:"bytes_per_reading"`
	Verdict          string  `json:"verdict"`
	*tampering
}

// play runs the show and prints its result.
func play(ctx context.Context, length time.Duration, tamper, asJSON bool, stdout, people io.Writer) error {
	dir, err := os.MkdirTemp("", "tally-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if length > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, length)
		defer cancel()
	}
	s, err := newShow(dir)
	if err != nil {
		return err
	}
	if err := s.run(ctx, people); err != nil {
		return err
	}
	res := s.result()
	fmt.Fprintf(people, "\n%d meters, %d readings taken; the lender verified %d windows with %d readings, %.1f bytes each: %s (%s)\n",
		res.Meters, res.Readings, res.WindowsVerified, res.ReadingsVerified, res.BytesPerReading, res.Verdict, verify.Verdict(res.Verdict).Chinese())
	if tamper {
		if res.tampering, err = tamperAct(s.archive(), s.boxKey, people); err != nil {
			return err
		}
	}
	if asJSON {
		if err := json.NewEncoder(stdout).Encode(res); err != nil {
			return err
		}
	}
	if res.Verdict != string(verify.Verified) || res.tampering != nil && res.Tried != res.Detected {
		return &cli.Error{Exit: cli.NotVerified}
	}
	return nil
}
