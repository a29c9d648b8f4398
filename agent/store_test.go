package agent

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
)

// TestDiskFailsAtTheStart: whichever operation of a start fails, the start either
// does without it or ends in an error and lets go of the directory.
func TestDiskFailsAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBox(t, 1, &plant{rnd: rand.New(rand.NewPCG(1, 1))})
		b.run(t, time.Minute)
		b.cut(t, 150*time.Second)
		killed := b.disk
		failed := 0
		for at, reached := 0, true; reached; at++ {
			b.disk = killed.Clone()
			op := 0
			reached = false
			b.disk.Inject = func(crashfs.Op) (f crashfs.Fault) {
				if op == at {
					f.Err, reached = syscall.EIO, true
				}
				op++
				return f
			}
			a, err := open(&machine{b.disk, since}, b.Site)
			b.disk.Inject = nil
			if err != nil {
				failed++
			} else if err := a.store.close(); err != nil {
				t.Fatalf("operation %d: %v", at, err)
			}
			a, err = open(&machine{b.disk, since}, b.Site)
			if held := new(vfs.LockedError); errors.As(err, &held) {
				t.Fatalf("operation %d: %v", at, err)
			}
			if err == nil {
				a.store.close()
			}
		}
		if failed < 20 {
			t.Errorf("%d starts failed: the test shows little", failed)
		}
	})
}
