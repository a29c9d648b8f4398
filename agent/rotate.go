package agent

import (
	"fmt"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Rotate states in the history that next signs from now on, and that after is
// what the one after it commits to. No agent may be running on it. s needs what
// Open needs to take a history up.
func Rotate(s Site, next evidence.Signer, after evidence.Hash) error {
	dict, _ := newDictionary(&s)
	st, _, err := openStore(&machine{vfs.OS(), clock.Uptime}, &s, dict)
	if err != nil {
		return err
	}
	defer st.close()
	if !st.begun {
		return fmt.Errorf("%s %w", s.Dir, history.ErrNone)
	}
	if err := st.Rotate(next, after); err != nil {
		return err
	}
	return st.Shutdown("key rotated")
}
