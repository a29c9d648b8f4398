package clock

import (
	"context"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/windows"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Uptime is how long the box has run, sleep and hibernation included
// (GetTickCount64). What Windows calls shutting down may be a hibernation of its
// kernel ("fast startup"), over which this goes on.
func Uptime() time.Duration { return windows.DurationSinceBoot() }

const (
	askW32TimeEvery  = time.Minute
	askW32TimeWithin = 5 * time.Second
)

// System knows what the Windows Time service said of the clock last. It
// belongs to one goroutine.
type System struct {
	asked  time.Time
	known  bool
	status w32Status
}

// State says whether the service disciplines the clock: synchronised with a
// bound on the error, or not when it does not, does not run or cannot be asked. It
// is asked once a minute and may take 5 s to answer.
func (c *System) State() (flag evidence.TimeFlag, errorMS uint64) {
	if c.asked.IsZero() || time.Since(c.asked) >= askW32TimeEvery {
		c.status, c.known = askW32Time()
		c.asked = time.Now()
	}
	if !c.known {
		return evidence.Unsynchronised, 0
	}
	return c.status.state(time.Since(c.asked))
}

func askW32Time() (s w32Status, ok bool) {
	system, err := windows.GetSystemDirectory()
	if err != nil {
		return s, false
	}
	ctx, stop := context.WithTimeout(context.Background(), askW32TimeWithin)
	defer stop()
	c := exec.CommandContext(ctx, filepath.Join(system, "w32tm.exe"), "/query", "/status", "/verbose")
	c.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NO_WINDOW}
	c.WaitDelay = time.Second
	out, err := c.Output()
	if err != nil {
		return s, false
	}
	return parseW32Status(out)
}
