package assembly

import (
	"errors"
	"fmt"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// SamePlace says that two site files name one key or one directory, where the
// history after another needs its own.
type SamePlace struct{ Key, What string }

func (e *SamePlace) Error() string {
	return fmt.Sprintf("both site files have %s %s; the history that ends and the one after it each need their own", e.Key, e.What)
}

// Succeed ends the history of old for good and begins that of next, with the keys
// next describes: of another suite, or kept elsewhere. Each names the other under
// signature (uplink/evidence/SPEC.md section 3.2). Then the keys of old are erased.
// It returns the key lenders are to pin for next, and may be called again after an
// error. No agent may be running on either.
func Succeed(old, next *configs.Site, o Options) (heir evidence.PublicKey, err error) {
	if old.Key == next.Key {
		return heir, &SamePlace{"key:", old.Key}
	}
	if old.Buffer.Directory == next.Buffer.Directory {
		return heir, &SamePlace{"buffer: directory:", old.Buffer.Directory}
	}
	nextKeys, err := OpenKeys(next)
	if err != nil {
		return heir, err
	}
	defer func() { err = errors.Join(err, nextKeys.Close()) }()
	heir = nextKeys.Public()
	begun, err := continues(next, old)
	if err == nil && !begun {
		err = succeed(old, next, nextKeys, o)
	}
	if err != nil {
		return heir, err
	}
	return heir, EraseKeys(old)
}

// continues reports whether the history of next is there, and says that it goes on
// from that of old.
func continues(next, old *configs.Site) (bool, error) {
	h, err := history.OpenReader(next.Buffer.Directory)
	if err != nil {
		return false, nil // to be begun; what is in the way shows then
	}
	defer h.Close()
	was, err := history.OpenReader(old.Buffer.Directory)
	if err != nil {
		return false, err
	}
	defer was.Close()
	prev := h.Previous()
	return prev != nil && prev.Log == was.LogID(), nil
}

func succeed(old, next *configs.Site, nextKeys *Keys, o Options) (err error) {
	keys, err := OpenKeys(old)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, keys.Close()) }()
	ending, err := whole(old, keys, o)
	if err != nil {
		return err
	}
	following, err := whole(next, nextKeys, o)
	if err != nil {
		return err
	}
	if err := agent.Conclude(ending, nextKeys.Public()); err != nil {
		return blameKey(old, keys, err)
	}
	why := "custody"
	if keys.Public().Suite() != nextKeys.Public().Suite() {
		why = "suite"
	}
	return agent.Continue(following, old.Buffer.Directory, why)
}
