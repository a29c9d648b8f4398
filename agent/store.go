package agent

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// journalDir is below the site's directory, beside the history.
const journalDir = "open"

// store is what a site has on disk: its history, the journal of the windows that
// are not in it yet, and two files that follow from it. seal, events and configure
// are what the Writer does with the totals brought up to it. It belongs to the sealer.
type store struct {
	*history.Writer
	journal  *window.Journal
	totals   *totals
	consents *desk.Consents
	begun    bool // there was a run before
}

// openStore opens what s has on disk, or begins it, and states what became of the
// run before: a boot leaf says up to when readings survived, then the windows it
// left open are sealed with what of them is on disk. The boot leaf stands first,
// for it explains the new boot counter that they bear too. damaged says in words
// what cannot be read and is done without.
func openStore(m *machine, s *Site, dict *evidence.Dictionary) (st *store, damaged []string, err error) {
	led, past, err := history.OpenWriter(m.disk, &history.Config{
		Dir: s.Dir, Quota: s.Quota, Retention: s.Retention,
		Signer: s.Signer, Salt: s.Salt, Successor: s.Successor, Checkpoint: s.Checkpoint, Site: s.ConfigDigest,
		Used: s.Used, DeclareLoss: s.DeclareLoss, Beside: []string{journalDir},
		Continues: s.continues, Uptime: m.uptime, ClockState: s.ClockState,
	}, dict)
	if err != nil {
		return nil, nil, err
	}
	opened := &store{Writer: led, begun: past.Begun}
	defer func() {
		if err != nil {
			opened.close()
		}
	}()
	damaged = found("sealed log", past.Found)
	note := func(err error) {
		if err != nil {
			damaged = append(damaged, err.Error())
		}
	}
	var lacking error
	opened.totals, lacking = openTotals(m.disk, s, led)
	note(lacking)
	opened.consents, lacking = desk.OpenConsents(m.disk, s.Dir, led.Source())
	note(lacking)
	journal, recovery, err := window.OpenJournal(m.disk, filepath.Join(s.Dir, journalDir))
	if err != nil {
		return nil, nil, err
	}
	opened.journal = journal
	damaged = append(damaged, found("journal", recovery)...)
	if !past.Begun {
		return opened, damaged, nil
	}
	meta, err := evidence.ParseMeta(led.Source().Meta())
	if err != nil {
		return nil, nil, err
	}
	inForce := led.Dictionary()
	left, unread := journal.Left(inForce, meta.Dictionary.Manifest.N, led.Sealed)
	damaged = append(damaged, unread...)
	recordedTo := past.RecordedTo
	for _, w := range left {
		recordedTo = max(recordedTo, w.Last)
	}
	if err := led.Boot(&past, recordedTo, s.Software); err != nil {
		return nil, nil, err
	}
	lay := window.LayoutOf(inForce)
	for _, w := range left {
		w.End = max(w.Start, w.Last)
		if err := opened.seal(w, &lay, nil); err != nil {
			return nil, nil, err
		}
	}
	return opened, damaged, journal.Trim(journal.Next())
}

// found puts into words what the recovery of a log found.
func found(what string, r buffer.Recovery) (damaged []string) {
	for _, d := range r.Damaged {
		damaged = append(damaged, fmt.Sprintf("%s: %v cannot be read", what, d))
	}
	for _, f := range r.Faults {
		damaged = append(damaged, what+": "+f)
	}
	return damaged
}

// seal makes w a leaf; beacon are the nonces it answers.
func (st *store) seal(w *window.Window, lay *window.Layout, beacon []evidence.NonceHash) error {
	samples := lay.Fill(w)
	st.totals.Window(w.Start, w.End, samples)
	return st.Window(w.Start, w.End, samples, beacon)
}

// configure states a changed site file or dictionary.
func (st *store) configure(dict *evidence.Dictionary, digest evidence.Hash) error {
	err := st.Configure(dict, digest)
	st.totals.Follow(st.Dictionary())
	return err
}

// events states what happened besides measuring.
func (st *store) events(news []evidence.Happening) error {
	st.totals.Events(news)
	return st.Events(news)
}

// keepConsents stores the consents before the history lets go of leaves that their
// file does not know.
func (st *store) keepConsents() error {
	newest, err := st.Source().SegmentOf(st.Next() - 1)
	if err != nil {
		return err
	}
	return st.consents.Keep(newest, st.Next())
}

func (st *store) close() error {
	err := st.Close()
	if st.journal != nil {
		err = errors.Join(st.journal.Close(), err)
	}
	return err
}
