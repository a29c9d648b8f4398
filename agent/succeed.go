package agent

import (
	"context"
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Unconfirmed says that a history cannot end: a lender does not have all of it.
type Unconfirmed struct {
	Lender string
	Lo, Hi uint64 // leaves without its receipt
}

func (e *Unconfirmed) Error() string {
	return fmt.Sprintf("lender %s has not confirmed leaves %d to %d of the history that is to end", e.Lender, e.Lo, e.Hi)
}

// Conclude ends the history of s for good: its last leaf names heir, the key that
// opens the one after it, and goes to the lenders, for at most s.Drain. It may be
// called again after an *Unconfirmed or another error; then a later leaf is the
// last. No agent may be running on s.
func Conclude(s Site, heir evidence.PublicKey) error {
	a, err := Open(s)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.Background())
	stop() // nothing is to be measured
	if err := a.run(ctx, evidence.SucceededBy(heir)); err != nil {
		return err
	}
	h, err := history.OpenReader(s.Dir)
	if err != nil {
		return err
	}
	defer h.Close()
	have := h.Receipted()
	for _, l := range s.Lenders {
		if next := have[l.Name]; next < h.Next() {
			return &Unconfirmed{l.Name, next, h.Next() - 1}
		}
	}
	return nil
}

// Continue begins in s the history after the one in old, which was concluded. Its
// genesis names where that one ended and why it was left; what the factory said to
// its lenders is stated again.
func Continue(s Site, old, why string) error {
	if h, err := history.OpenReader(s.Dir); err == nil {
		return errors.Join(fmt.Errorf("%s holds another history already", s.Dir), h.Close())
	}
	h, err := history.OpenReader(old)
	if err != nil {
		return err
	}
	prev, err := h.End(why)
	if err = errors.Join(err, h.Close()); err != nil {
		return err
	}
	fsys := vfs.OS()
	if err := fsys.MkdirAll(s.Dir); err != nil {
		return err
	}
	if err := desk.CopyConsents(fsys, old, s.Dir); err != nil {
		return err
	}
	s.continues = &prev
	dict, _ := newDictionary(&s)
	st, _, err := openStore(&machine{fsys, clock.Uptime}, &s, dict)
	if err != nil {
		return err
	}
	defer st.close()
	if err := desk.NewRequests(fsys, s.Dir, st.consents, s.Log).Seal(st); err != nil {
		return err
	}
	return st.Shutdown("begun")
}
