//go:build !linux

package sim

import (
	"context"
	"io"
	"time"
)

func sleepExactly(ctx context.Context, _ io.ReadWriter, d time.Duration) error { return sleep(ctx, d) }
