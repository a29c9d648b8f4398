package cli

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/spf13/cobra"
)

func TestExitCodesAndShape(t *testing.T) {
	explain := func(err error) *Error {
		if err.Error() == "known" {
			return &Error{Exit: Environment, Code: "E-201", Text: "port gone", Hint: "plug it in"}
		}
		return nil
	}
	for _, c := range []struct {
		args   []string
		err    error
		exit   int
		stderr string
	}{
		{[]string{"x"}, nil, Done, ""},
		{[]string{"x"}, errors.New("disk on fire"), Environment, "tool: error: disk on fire\n"},
		{[]string{"x"}, errors.New("known"), Environment, "tool: error: E-201 port gone\ntool: hint: plug it in\n"},
		{[]string{"x"}, &Error{Exit: Fault}, Fault, ""},
		{[]string{"x", "--nope"}, nil, Usage, "tool: error: unknown flag: --nope\ntool: hint: run: tool x --help\n"},
		{[]string{"x", "z"}, nil, Usage, "tool: error: unknown command \"z\" for \"tool x\"\ntool: hint: run: tool x --help\n"},
		{[]string{"needs"}, nil, Usage, "tool: error: required flag(s) \"key\" not set\ntool: hint: run: tool needs --help\n"},
		{[]string{"y"}, nil, Usage, "tool: error: unknown command \"y\" for \"tool\" Did you mean this? x\ntool: hint: run: tool --help\n"},
	} {
		root := &cobra.Command{Use: "tool"}
		root.AddCommand(&cobra.Command{Use: "x", Args: cobra.NoArgs, RunE: func(*cobra.Command, []string) error { return c.err }})
		needs := &cobra.Command{Use: "needs", RunE: func(*cobra.Command, []string) error { return c.err }}
		needs.Flags().String("key", "", "")
		if err := needs.MarkFlagRequired("key"); err != nil {
			t.Fatal(err)
		}
		root.AddCommand(needs)
		var out, stderr bytes.Buffer
		exit := Execute(context.Background(), root, c.args, &out, &stderr, explain)
		if exit != c.exit || stderr.String() != c.stderr || out.Len() != 0 {
			t.Errorf("%v with %v: exit %d, stderr %q, stdout %q; want %d, %q, none", c.args, c.err, exit, stderr.String(), out.String(), c.exit, c.stderr)
		}
	}
}
