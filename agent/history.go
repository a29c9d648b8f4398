package agent

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// ErrNoHistory says a directory holds no history yet.
var ErrNoHistory = errors.New("holds no history yet: the agent has never run there")

// History is a site's history opened for reading; an agent may run on it
// meanwhile.
type History struct {
	dir  string
	log  *buffer.Log
	meta evidence.UnverifiedMeta
}

// OpenHistory opens the history below dir, as far as it is durable now.
func OpenHistory(dir string) (h *History, err error) {
	log, _, err := buffer.Open(vfs.OS(), filepath.Join(dir, sealedDir), buffer.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			log.Close()
		}
	}()
	if log.Next() == 0 {
		return nil, fmt.Errorf("%s %w", dir, ErrNoHistory)
	}
	raw, err := metaAt(log, log.Next()-1)
	if err != nil {
		return nil, err
	}
	meta, err := raw.Parse()
	if err != nil {
		return nil, err
	}
	return &History{dir: dir, log: log, meta: meta}, nil
}

// First is the oldest leaf there is, Next the index after the newest.
func (h *History) First() uint64 { return h.log.First() }
func (h *History) Next() uint64  { return h.log.Next() }

// LogID names the history.
func (h *History) LogID() evidence.LogID {
	return h.meta.Genesis.Manifest.Log
}

// PublicKey is the key of the genesis leaf, which lenders pin; Current the one
// that signs now.
func (h *History) PublicKey() evidence.PublicKey {
	return h.meta.Genesis.Manifest.Genesis.Key.Key()
}

// Current is the key in force.
func (h *History) Current() evidence.PublicKey {
	if n := len(h.meta.Rotations); n > 0 {
		return h.meta.Rotations[n-1].Manifest.Rotation.Key.Key()
	}
	return h.PublicKey()
}

// Previous is what the genesis says of a log before this one; nil for nothing.
func (h *History) Previous() *evidence.Previous { return h.meta.Genesis.Manifest.Genesis.Prev }

// end is where the history ends, as another one names it.
func (h *History) end(why string) (evidence.Previous, error) {
	a, err := anchorAt(h.log, h.Next())
	if err != nil {
		return evidence.Previous{}, err
	}
	return evidence.Previous{Log: h.LogID(), N: h.Next(), Root: a.Root(h.PublicKey().Suite()), Why: why}, nil
}

// Standing is how the factory stands to a lender, by the leaves there are.
func (h *History) Standing(lender string) (Standing, error) {
	c, err := openConsents(vfs.OS(), h.dir, h.LogID(), h.Previous() != nil, h.log)
	return c.of(lender), err
}

// Export writes leaves lo to hi, both included and with all channels, as a
// bundle (SPEC.md, "Bundle"); raw frames only where that is wanted.
func (h *History) Export(w io.Writer, lo, hi uint64, rawFrames bool) error {
	keep := func(b evidence.RawBlock) bool { return rawFrames || b.Channel != evidence.RawFrames }
	return h.ExportBlocks(w, lo, hi, func(int64) func(evidence.RawBlock) bool { return keep })
}

// ExportBlocks is Export with those blocks alone that keep lets pass, of a leaf
// that begins at the Unix ms it is given.
func (h *History) ExportBlocks(w io.Writer, lo, hi uint64, keep func(at int64) func(evidence.RawBlock) bool) error {
	meta, err := metaAt(h.log, lo)
	if err != nil {
		return err
	}
	header := bundle.Header{Log: h.LogID(), Lo: lo, Hi: hi, Meta: meta}
	if lo > 0 {
		a, err := anchorAt(h.log, lo)
		if err != nil {
			return err
		}
		header.Anchor = &a
	}
	b, err := bundle.NewWriter(w, header)
	if err != nil {
		return err
	}
	var rec, filtered []byte
	for n := lo; n <= hi; n++ {
		if rec, err = h.log.Read(n, rec[:0]); err != nil {
			return err
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			return err
		}
		if filtered, err = evidence.FilterDelivery(filtered[:0], rec, keep(d.Manifest.Start), nil); err != nil {
			return err
		}
		if err := b.Append(filtered); err != nil {
			return err
		}
	}
	return nil
}

// Leaf takes apart what is stored of leaf n.
func (h *History) Leaf(n uint64) (evidence.UnverifiedDelivery, error) {
	rec, err := h.log.Read(n, nil)
	if err != nil {
		return evidence.UnverifiedDelivery{}, err
	}
	return evidence.ParseDelivery(rec)
}

// Receipted is, for each lender that was ever sent to, the first leaf without its
// receipt, as of when the history was opened.
func (h *History) Receipted() map[string]uint64 { return h.log.Cursors() }

// Close lets go of the history.
func (h *History) Close() error { return h.log.Close() }

// metaAt is the meta message with which leaf n can be read: the genesis, the
// leaf whose dictionary is in force there, and the rotations up to there.
func metaAt(log *buffer.Log, n uint64) (meta evidence.Meta, err error) {
	first, preamble, err := log.Preamble(n)
	if err != nil {
		return meta, err
	}
	if len(preamble) > 0 {
		if meta, err = seal.Meta(preamble); err != nil {
			return meta, err
		}
	}
	var rec []byte
	for ; first <= n; first++ {
		if rec, err = log.Read(first, rec[:0]); err != nil {
			return meta, err
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			return meta, err
		}
		m := &d.Manifest
		if m.Dictionary() == nil && m.Rotation == nil {
			continue
		}
		sign1 := append([]byte(nil), d.Sign1...)
		switch {
		case m.Rotation != nil:
			meta.Rotations = append(meta.Rotations, sign1)
		case m.Genesis != nil:
			meta.Genesis, meta.Dictionary = sign1, sign1
		default:
			meta.Dictionary = sign1
		}
	}
	return meta, nil
}
