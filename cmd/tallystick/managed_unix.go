//go:build !windows

package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/tallystick/tallystick/cmd/internal/cli"
)

// managed runs do until a signal, which is how service managers end it too.
func managed(do func(ctx context.Context, stderr io.Writer) int) int {
	ctx, stop := cli.Interrupted()
	defer stop()
	return do(ctx, os.Stderr)
}

// thisUser is who runs this program, for messages.
func thisUser() string { return fmt.Sprintf("user %d", os.Getuid()) }
