package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/mqtt"
)

// docs/messages.md lists the codes our commands use, all of them and no others,
// each with words in both languages.
func TestEveryCodeIsListed(t *testing.T) {
	used := map[string]bool{}
	for _, dir := range []string{".", "../internal/*", "../tally-lender"} {
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			text, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(f, "_test.go") {
				continue
			}
			for _, m := range regexp.MustCompile(`"([EW]-\d{3})["\s]`).FindAllSubmatch(text, -1) {
				used[string(m[1])] = true
			}
		}
	}
	doc, err := os.ReadFile("../../docs/messages.md")
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^\| ([EW]-\d{3}) \| ([^|]+) \| ([^|]+) \|$`).FindAllSubmatch(doc, -1) {
		code := string(m[1])
		if listed[code] {
			t.Errorf("%s is listed twice", code)
		}
		listed[code] = true
		if !used[code] {
			t.Errorf("%s is listed and nowhere used", code)
		}
		if !regexp.MustCompile(`\p{Han}`).Match(m[3]) {
			t.Errorf("%s has no Chinese text: %s", code, m[3])
		}
	}
	for code := range used {
		if !listed[code] {
			t.Errorf("%s is used and not listed", code)
		}
	}
}

// Whatever a shipper warns of has a code and something to do, and words of its
// own.
func TestEveryLenderEventHasAMessage(t *testing.T) {
	source, err := os.ReadFile("../../uplink/doc.go")
	if err != nil {
		t.Fatal(err)
	}
	kinds := regexp.MustCompile(`EventKind\s+= "([a-z-]+)"`).FindAllSubmatch(source, -1)
	quiet := []uplink.EventKind{uplink.Connected, uplink.Disconnected, uplink.Receipted, uplink.Resent}
	seen := map[string]bool{}
	for _, k := range kinds {
		kind := uplink.EventKind(k[1])
		code, what, hint := lenderNotice(kind)
		if slices.Contains(quiet, kind) {
			continue
		}
		if code == "" || what == "" || hint == "" || seen[code] {
			t.Errorf("%s: %q %q %q", kind, code, what, hint)
		}
		seen[code] = true
	}
	if len(seen) != 12 {
		t.Errorf("%d kinds with a message, want 12", len(seen))
	}
}

// logLines collects what a handler writes, without the time.
func logLines() (*bytes.Buffer, slog.Handler) {
	b := new(bytes.Buffer)
	return b, slog.NewTextHandler(b, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
}

func TestNoticesAboutLenders(t *testing.T) {
	out, h := logLines()
	n := newNotices(slog.New(h))
	down := func(why string) error {
		return &mqtt.ConnectError{Reason: mqtt.IDInUse, Broker: "mqtts://mq:8883", ClientID: "x", Err: errors.New(why)}
	}
	see := func(lender string, kind uplink.EventKind, err error) {
		n.see(lender, uplink.Event{Kind: kind, Lender: lender, Err: err})
	}
	for range 3 {
		see("bank-a", uplink.Disconnected, down("one"))
		see("bank-b", uplink.Disconnected, down("one"))
	}
	see("bank-a", uplink.Disconnected, down("two"))
	see("bank-a", uplink.Connected, nil)
	see("bank-a", uplink.Disconnected, down("two"))
	n.see("bank-b", uplink.Event{Kind: uplink.Lost, Lo: 3, Hi: 9})
	see("bank-b", uplink.Receipted, nil)
	line := func(why, lender string) string {
		return `level=WARN msg="E-305 connect to broker mqtts://mq:8883: ` + why + `" lender=` + lender + ` do="` + strings.ReplaceAll(down("").(*mqtt.ConnectError).Hint(), `"`, `\"`) + "\"\n"
	}
	_, _, hint := lenderNotice(uplink.Lost)
	want := line("one", "bank-a") + line("one", "bank-b") + line("two", "bank-a") +
		"level=INFO msg=connected lender=bank-a\n" + line("two", "bank-a") +
		`level=WARN msg="E-312 leaves are gone before the lender had them" lender=bank-b from=3 to=9 do="` + hint + "\"\n"
	if out.String() != want {
		t.Errorf("%s\nwant:\n%s", out, want)
	}
}

func TestExplain(t *testing.T) {
	for _, c := range []struct {
		err  error
		exit int
		text string
	}{
		// A log that failed to flush fails again when it is closed.
		{errors.Join(fmt.Errorf("sync segment: input/output error: %w", buffer.ErrSync), errors.New("close: no")), cli.Environment,
			"E-403 sync segment: input/output error: storage failed to flush, restart to recover what it holds"},
		{&historyError{Dir: "/box", Err: &fs.PathError{Op: "write", Path: "/box/sealed/1.log", Err: syscall.EFBIG}}, cli.Environment,
			"E-404 no space for the history in /box: write /box/sealed/1.log: file too large"},
		{&historyError{Dir: "/box", Err: &fs.PathError{Op: "write", Path: "/usb/x.tally", Err: syscall.ENOSPC}, Reading: true}, cli.Environment,
			"E-404 write /usb/x.tally: no space left on device"},
		{&historyError{Dir: "/box", Err: fmt.Errorf("/box %w", history.ErrNone)}, cli.Environment,
			"E-406 /box holds no history yet: the agent has never run there"},
		{&historyError{Dir: "/box", Err: &canon.FormatError{Where: "leaf 3", Why: "root differs"}}, cli.NotVerified,
			"E-407 the history in /box cannot go on: " + (&canon.FormatError{Where: "leaf 3", Why: "root differs"}).Error()},
		{fmt.Errorf("start: %w", &fs.PathError{Op: "mkdir", Path: "/box", Err: syscall.EACCES}), cli.Environment,
			fmt.Sprintf("E-408 mkdir /box: user %d may not", os.Getuid())},
		{&historyError{Dir: "/box", Err: errors.New("a file of that name is in the way")}, cli.Environment,
			"E-412 a file of that name is in the way"},
	} {
		e := explain(c.err)
		if e == nil || e.Error() != c.text || e.Exit != c.exit || e.Hint == "" {
			t.Errorf("%v:\n%+v\nwant exit %d, a hint and\n%s", c.err, e, c.exit, c.text)
		}
	}
	if e := explain(errors.New("unknown command")); e != nil {
		t.Errorf("an error nobody knows: %+v", e)
	}
}
