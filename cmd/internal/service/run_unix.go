//go:build !windows

package service

import (
	"context"
	"io"
	"os"

	"github.com/tallystick/tallystick/cmd/internal/cli"
)

// Run runs do until a signal, which is how service managers end it too.
func Run(do func(ctx context.Context, stderr io.Writer) int) int {
	ctx, stop := cli.Interrupted()
	defer stop()
	return do(ctx, os.Stderr)
}
