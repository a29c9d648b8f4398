// Package cli holds the manners our commands share: exit codes, the shape of an
// error on the terminal, what a signal does.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/cobra"
)

// Exit codes are an interface: scripts depend on them.
const (
	Done        = 0 // what was asked is done
	Fault       = 1 // the check found a fault
	Usage       = 2 // wrong command line or configuration
	Environment = 3 // a file, port, network or the system is in the way
	NotVerified = 4 // evidence does not verify
)

// ExitCodes is the paragraph every command's help ends with.
const ExitCodes = `Exit codes: 0 done, 1 the check found a fault, 2 usage or configuration,
3 I/O or environment, 4 evidence does not verify.`

// Error is an error for people: what and where, then what to do.
type Error struct {
	Exit int    // one of the exit codes
	Code string // "E-204", for the phone call; may be empty
	Text string // what is wrong, and where; may be empty when everything is said already
	Hint string // what to do about it; may be empty
}

func (e *Error) Error() string {
	if e.Code == "" {
		return e.Text
	}
	return e.Code + " " + e.Text
}

// UsageError says the command line is wrong.
func UsageError(format string, args ...any) *Error {
	return &Error{Exit: Usage, Text: fmt.Sprintf(format, args...)}
}

// Execute runs root with args and returns the exit code. An error that is no
// *Error goes through explain first; nil stands for one that knows none.
// Machine output is the command's business on stdout; everything for people
// goes to stderr.
func Execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer, explain func(error) *Error) int {
	root.SilenceErrors, root.SilenceUsage = true, true
	root.CompletionOptions.HiddenDefaultCmd = true
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &Error{Exit: Usage, Text: err.Error(), Hint: fmt.Sprintf("run: %s --help", c.CommandPath())}
	})
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ran := false
	root.PersistentPreRun = func(*cobra.Command, []string) { ran = true }
	c, err := root.ExecuteContextC(ctx)
	if err == nil {
		return Done
	}
	var e *Error
	if !errors.As(err, &e) && explain != nil {
		e = explain(err)
	}
	if e == nil {
		e = &Error{Exit: Environment, Text: err.Error()}
		// cobra itself refused the command line; it looks for required flags late
		if !ran || strings.HasPrefix(e.Text, "required flag(s) ") {
			e.Exit, e.Text = Usage, strings.Join(strings.Fields(e.Text), " ")
			e.Hint = fmt.Sprintf("run: %s --help", c.CommandPath())
		}
	}
	Print(stderr, root.Name(), e)
	return e.Exit
}

// Print writes e in two lines, "name: error: ..." and "name: hint: ...".
func Print(w io.Writer, name string, e *Error) {
	if e.Text != "" {
		fmt.Fprintf(w, "%s: error: %s\n", name, e.Error())
	}
	if e.Hint != "" {
		fmt.Fprintf(w, "%s: hint: %s\n", name, e.Hint)
	}
}

// Count is "1 fault", "2 faults".
func Count(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}

// Interrupted is a context that ends at the first SIGINT or SIGTERM. A second
// one ends the process.
func Interrupted() (context.Context, context.CancelFunc) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
