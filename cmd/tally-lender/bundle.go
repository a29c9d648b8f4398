package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink/verify"
)

// check verifies a bundle and gives each result to add; after an error of add
// the file is not looked at any further. copied, where not nil, gets the bytes
// of the file.
func (t *trust) check(path string, copied io.Writer, stderr io.Writer, add func(verify.Result) error) (verify.Summary, error) {
	f, err := open(path)
	if err != nil {
		return verify.Summary{}, err
	}
	defer f.Close()
	policy, assumed, done, err := t.policyFor(f, stderr)
	defer done()
	if err != nil {
		return verify.Summary{}, err
	}
	input := &stoppable{r: f}
	if copied != nil {
		input.r = io.TeeReader(f, copied)
	}
	sum, err := verify.Bundle(input, policy, func(r verify.Result) {
		if input.err == nil {
			input.err = add(r)
		}
	})
	if input.err != nil {
		return sum, input.err
	}
	if err != nil {
		return sum, fmt.Errorf("%s: %w", path, err)
	}
	if copied != nil { // what comes after a cut belongs to the file too
		if _, err := io.Copy(io.Discard, input); err != nil {
			return sum, err
		}
	}
	if !assumed.IsZero() {
		sum.Assumptions = append(sum.Assumptions, verify.KeyAssumed(assumed))
	}
	return sum, nil
}

// stoppable is a reader that ends with err once it is set.
type stoppable struct {
	r   io.Reader
	err error
}

func (s *stoppable) Read(p []byte) (int, error) {
	if s.err != nil {
		return 0, s.err
	}
	return s.r.Read(p)
}

// writeWhole leaves what write wrote at path, or nothing where it could not
// finish; that the evidence does not verify is no reason not to. An empty path
// stands for stdout.
func writeWhole(path string, stdout io.Writer, write func(io.Writer) error) error {
	if path == "" {
		return write(stdout)
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".tally-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	verdict := write(f)
	var exit *cli.Error
	if verdict != nil && !(errors.As(verdict, &exit) && exit.Text == "") {
		f.Close()
		return verdict
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return verdict
}
