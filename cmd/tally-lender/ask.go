package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tallystick/tallystick/cmd/internal/broker"
	"github.com/tallystick/tallystick/cmd/internal/cli"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/lender"
)

// asking is what the commands have in common that ask a box for something.
type asking struct {
	config  string
	log     string
	timeout time.Duration
}

func (a *asking) flags(c *cobra.Command, timeout time.Duration) {
	c.Flags().StringVarP(&a.config, "config", "c", "lender.yaml", "lender file")
	c.Flags().StringVar(&a.log, "log", "", "id of the log, where the box has announced several")
	c.Flags().DurationVar(&a.timeout, "timeout", timeout, "how long to wait while nothing comes")
}

// asked is a box that can be asked.
type asked struct {
	*lender.Asker
	name string
	key  evidence.PublicKey // pinned
	log  lender.Announced
}

// with connects to the broker, beside a running watch, and calls f for a box.
func (a *asking) with(cmd *cobra.Command, box string, f func(context.Context, *asked) error) error {
	w, err := loadWatch(a.config, cmd.ErrOrStderr())
	if err != nil {
		return err
	}
	b := &asked{name: box}
	if b.key, err = keyOfBox(w, box); err != nil {
		return err
	}
	key, err := signer(w)
	if err != nil {
		return err
	}
	if a.timeout <= 0 {
		return cli.UsageError("--timeout %v: give a time above 0, such as 30s", a.timeout)
	}
	c := w.Connection
	c.ClientID = besides(w)
	sess, err := broker.Dial(cmd.Context(), &c, "", nil, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(cmd.Context()), 2*time.Second)
		defer cancel()
		_ = sess.Close(ctx)
	}()
	b.Asker = &lender.Asker{Name: string(w.Name), Key: key, Session: sess, Timeout: a.timeout}
	logs, err := b.Logs(cmd.Context(), b.key)
	if errors.Is(err, lender.ErrNoLog) {
		return &cli.Error{Exit: cli.Environment, Code: "E-324", Text: fmt.Sprintf("no log of box %s is announced at %s", box, w.Broker),
			Hint: "a box announces its log when it connects: ask whether it runs, and compare key: in the lender file with tallystick keys show"}
	}
	if err != nil {
		return err
	}
	if b.log, err = a.choose(box, logs); err != nil {
		return err
	}
	if b.log.State == "offline" {
		fmt.Fprintf(cmd.ErrOrStderr(), "box %s is not connected, by what the broker says; asking all the same\n", box)
	}
	return f(cmd.Context(), b)
}

// besides is a client id that no running watch has: a broker hangs up on the
// older of two.
func besides(w *configs.Watch) string {
	id := w.ClientID
	if id == "" {
		id = "tally-lender-" + string(w.Name)
	}
	var b [4]byte
	rand.Read(b[:]) // never fails (crypto/rand)
	return fmt.Sprintf("%s-ask-%x", id, b)
}

// keyOfBox is the key pinned for a box of the lender file.
func keyOfBox(w *configs.Watch, name string) (evidence.PublicKey, error) {
	var names []string
	for i := range w.Boxes {
		if string(w.Boxes[i].Name) == name {
			return evidence.ParsePublicKey(w.Boxes[i].Key.String())
		}
		names = append(names, string(w.Boxes[i].Name))
	}
	return evidence.PublicKey{}, &cli.Error{Exit: cli.Usage, Code: "E-323", Text: fmt.Sprintf("%s has no box %q", w.Path, name),
		Hint: "it has " + strings.Join(names, ", ")}
}

// choose picks the log that is asked for.
func (a *asking) choose(box string, logs []lender.Announced) (lender.Announced, error) {
	var ids []string
	for _, l := range logs {
		if l.Log.String() == a.log || a.log == "" && len(logs) == 1 {
			return l, nil
		}
		ids = append(ids, fmt.Sprintf("%s (begun %s)", l.Log, l.Began.Local().Format(time.DateTime)))
	}
	text := fmt.Sprintf("box %s has announced %d logs", box, len(logs))
	if a.log != "" {
		text = fmt.Sprintf("box %s has announced no log %s", box, a.log)
	}
	return lender.Announced{}, &cli.Error{Exit: cli.Usage, Code: "E-325", Text: text, Hint: "choose one with --log: " + strings.Join(ids, ", ")}
}
