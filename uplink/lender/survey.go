package lender

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
)

const waitingFile = "waiting"

// Waited is a stretch of leaves that have not come although later ones have.
type Waited struct {
	Lo, Hi uint64 // both included
	Since  time.Time
}

// waits notes what is waited for, for whoever looks from outside and for the next
// start.
func (a *archive) waits(w Waited) {
	err := os.MkdirAll(a.dir, 0o700)
	if err == nil {
		err = replaceFile(a.path(waitingFile), fmt.Appendf(nil, "%d %d %d\n", w.Lo, w.Hi, w.Since.UnixMilli()))
	}
	if err != nil {
		a.fail(err)
	}
}

// filled takes the note back.
func (a *archive) filled() {
	if err := os.Remove(a.path(waitingFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.fail(err)
	}
}

// waited reads the note; nil when there is none that can be read.
func (a *archive) waited() *Waited {
	text, err := os.ReadFile(a.path(waitingFile))
	if err != nil {
		return nil
	}
	var w Waited
	var since int64
	if _, err := fmt.Sscanf(string(text), "%d %d %d\n", &w.Lo, &w.Hi, &since); err != nil || w.Lo > w.Hi {
		return nil
	}
	w.Since = time.UnixMilli(since)
	return &w
}

// Kept is what a lender has of one log.
type Kept struct {
	Log     evidence.LogID
	Archive string             // path of the bundle
	Began   time.Time          // as the genesis leaf states it
	Prev    *evidence.Previous // what the genesis leaf says of a log before it, nil for nothing
	Forks   int                // proofs of two histories
	Waiting *Waited            // nil when nothing is waited for
	Consent []byte             // body of the newest consent record, nil for none
}

// Survey lists what is kept of a box in a lender's directory, the oldest log first.
// It reads names and headers alone; a Lender may run meanwhile.
func Survey(dir, box string) ([]Kept, error) {
	paths, err := filepath.Glob(filepath.Join(dir, box, "*", archiveFile))
	if err != nil {
		return nil, err
	}
	var logs []Kept
	for _, path := range paths {
		id, err := evidence.ParseLogID(filepath.Base(filepath.Dir(path)))
		if err != nil {
			continue // somebody else's folder
		}
		k, err := survey(path)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		k.Log, k.Archive = id, path
		logs = append(logs, k)
	}
	slices.SortStableFunc(logs, func(a, b Kept) int { return a.Began.Compare(b.Began) })
	return logs, nil
}

func survey(path string) (k Kept, err error) {
	f, err := os.Open(path)
	if err != nil {
		return k, err
	}
	defer f.Close()
	r, err := bundle.NewReader(f)
	if err != nil {
		return k, err
	}
	genesis, err := evidence.ParseLeaf(r.Header().Genesis)
	if err != nil {
		return k, err
	}
	k.Began = time.UnixMilli(genesis.Manifest.Start)
	if g := genesis.Manifest.Genesis; g != nil {
		k.Prev = g.Prev
	}
	a := newArchive(filepath.Dir(path))
	k.Waiting = a.waited()
	if k.Consent, err = os.ReadFile(a.path(consentFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return k, err
	}
	proofs, err := os.ReadDir(a.path(fraudDir))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	k.Forks = len(proofs)
	return k, err
}
