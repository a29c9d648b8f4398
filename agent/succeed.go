package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

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
	h, err := OpenHistory(s.Dir)
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
	if h, err := OpenHistory(s.Dir); err == nil {
		return errors.Join(fmt.Errorf("%s holds another history already", s.Dir), h.Close())
	}
	h, err := OpenHistory(old)
	if err != nil {
		return err
	}
	prev, err := h.end(why)
	if err = errors.Join(err, h.Close()); err != nil {
		return err
	}
	fsys := vfs.OS()
	if err := fsys.MkdirAll(s.Dir); err != nil {
		return err
	}
	if err := copyConsents(fsys, old, s.Dir); err != nil {
		return err
	}
	s.continues = &prev
	dict, _ := newDictionary(&s)
	l, _, err := openLedger(fsys, &s, dict)
	if err != nil {
		return err
	}
	defer l.close()
	if err := l.carryConsents(); err != nil {
		return err
	}
	return l.shutdown("begun")
}

// copyConsents brings what is known of the consents of one history beside another,
// which then carries them.
func copyConsents(fsys vfs.FS, from, to string) error {
	f, err := os.Open(filepath.Join(from, consentsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // then nobody knows, and nothing is sent before somebody says
	}
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, consentsBytes))
	if err != nil {
		return err
	}
	return replaceFile(fsys, to, consentsFile, text)
}
