package agent

import (
	"fmt"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Rotate states in the history that next signs from now on, and that after is
// what the one after it commits to. No agent may be running on it. s needs what
// Open needs to take a history up.
func Rotate(s Site, next evidence.Signer, after evidence.Hash) error {
	dict, _ := newDictionary(&s)
	l, past, err := openLedger(vfs.OS(), &s, dict)
	if err != nil {
		return err
	}
	defer l.close()
	if !past.begun {
		return fmt.Errorf("%s %w", s.Dir, ErrNoHistory)
	}
	if err := l.restart(&past, s.Software); err != nil {
		return err
	}
	if err := l.rotate(next, after); err != nil {
		return err
	}
	return l.shutdown("key rotated")
}
