package service

import (
	"bytes"
	"context"
	"io"
	"os"
	"time"

	"golang.org/x/sys/windows/svc"
	"golang.org/x/sys/windows/svc/eventlog"

	"github.com/tallystick/tallystick/cmd/internal/cli"
)

// Run runs do until Ctrl-C or, as a service, until the service control manager
// ends it. A service has no console; what is for people goes to the event log,
// whose source "tallystick service install" makes.
func Run(do func(ctx context.Context, stderr io.Writer) int) int {
	if service, err := svc.IsWindowsService(); err != nil || !service {
		ctx, stop := cli.Interrupted()
		defer stop()
		return do(ctx, os.Stderr)
	}
	stderr := io.Discard
	if log, err := eventlog.Open(name); err == nil {
		defer log.Close()
		stderr = events{log}
	}
	s := managed{do: func(ctx context.Context) int { return do(ctx, stderr) }}
	if err := svc.Run(name, &s); err != nil {
		return cli.Environment
	}
	return s.code
}

// managed is do in the hands of the service control manager.
type managed struct {
	do   func(context.Context) int
	code int
}

// sealing is how long the manager is asked to wait for an answer: the open window
// is sealed, and the lenders' receipts have 10 s.
const sealing = 30 * time.Second

// Execute runs until do ends, asked or by itself.
func (s *managed) Execute(_ []string, requests <-chan svc.ChangeRequest, status chan<- svc.Status) (bool, uint32) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	ended := make(chan int, 1)
	go func() { ended <- s.do(ctx) }()
	status <- svc.Status{State: svc.Running, Accepts: svc.AcceptStop | svc.AcceptShutdown}
	for {
		select {
		case r := <-requests:
			switch r.Cmd {
			case svc.Interrogate:
				status <- r.CurrentStatus
			case svc.Stop, svc.Shutdown:
				status <- svc.Status{State: svc.StopPending, WaitHint: uint32(sealing.Milliseconds())}
				stop()
			}
		case s.code = <-ended:
			// Only a service that ends without a word is started again
			// (SERVICE_FAILURE_ACTIONS). A wrong site file does not mend itself;
			// anything else may.
			if s.code != cli.Done && s.code != cli.Usage && ctx.Err() == nil {
				os.Exit(s.code)
			}
			return s.code != cli.Done, uint32(s.code)
		}
	}
}

// events writes lines to the event log.
type events struct{ log *eventlog.Log }

func (e events) Write(lines []byte) (int, error) {
	const event = 1 // the one that InstallAsEventCreate's message file has for any text
	report := e.log.Info
	switch {
	case bytes.Contains(lines, []byte("level=ERROR")), bytes.Contains(lines, []byte(": error: ")):
		report = e.log.Error
	case bytes.Contains(lines, []byte("level=WARN")):
		report = e.log.Warning
	}
	if err := report(event, string(lines)); err != nil {
		return 0, err
	}
	return len(lines), nil
}
