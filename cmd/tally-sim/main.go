// Tally-sim is a simulated factory: meters on pseudo-terminals and TCP ports.
package main

import (
	"os"

	"github.com/tallystick/tallystick/cmd/internal/cli"
)

func main() {
	ctx, stop := cli.Interrupted()
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
