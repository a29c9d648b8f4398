package history

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// ErrNone says a directory holds no history yet.
var ErrNone = errors.New("holds no history yet: the agent has never run there")

// Reader is a site's history opened for reading; an agent may run on it
// meanwhile.
type Reader struct {
	log  *buffer.Log
	meta evidence.UnverifiedMeta
}

// OpenReader opens the history below dir, as far as it is durable now.
func OpenReader(dir string) (*Reader, error) { return OpenReaderOn(vfs.OS(), dir) }

// OpenReaderOn is OpenReader on another disk than the machine's.
func OpenReaderOn(fsys vfs.FS, dir string) (r *Reader, err error) {
	log, _, err := buffer.Open(fsys, filepath.Join(dir, sealedDir), buffer.Options{ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			log.Close()
		}
	}()
	if log.Next() == 0 {
		return nil, fmt.Errorf("%s %w", dir, ErrNone)
	}
	raw, err := metaAt(log, log.Next()-1)
	if err != nil {
		return nil, err
	}
	meta, err := raw.Parse()
	if err != nil {
		return nil, err
	}
	return &Reader{log: log, meta: meta}, nil
}

// First is the oldest leaf there is, Next the index after the newest.
func (r *Reader) First() uint64 { return r.log.First() }
func (r *Reader) Next() uint64  { return r.log.Next() }

// Read appends the stored delivery of leaf n, all channels, to dst.
func (r *Reader) Read(n uint64, dst []byte) ([]byte, error) { return r.log.Read(n, dst) }

// LogID names the history.
func (r *Reader) LogID() evidence.LogID {
	return r.meta.Genesis.Manifest.Log
}

// PublicKey is the key of the genesis leaf, which lenders pin; Current the one
// that signs now.
func (r *Reader) PublicKey() evidence.PublicKey {
	return r.meta.Genesis.Manifest.Genesis.Key.Key()
}

// Current is the key in force.
func (r *Reader) Current() evidence.PublicKey {
	if n := len(r.meta.Rotations); n > 0 {
		return r.meta.Rotations[n-1].Manifest.Rotation.Key.Key()
	}
	return r.PublicKey()
}

// Previous is what the genesis says of a log before this one; nil for nothing.
func (r *Reader) Previous() *evidence.Previous { return r.meta.Genesis.Manifest.Genesis.Prev }

// Continues reports whether the genesis names a log before this one.
func (r *Reader) Continues() bool { return r.Previous() != nil }

// End is where the history ends, as another one names it.
func (r *Reader) End(why string) (evidence.Previous, error) {
	a, err := anchorAt(r.log, r.Next())
	if err != nil {
		return evidence.Previous{}, err
	}
	return evidence.Previous{Log: r.LogID(), N: r.Next(), Root: a.Root(r.PublicKey().Suite()), Why: why}, nil
}

// Export writes leaves lo to hi, both included and with all channels, as a
// bundle (SPEC.md, "Bundle"); raw frames only where that is wanted.
func (r *Reader) Export(w io.Writer, lo, hi uint64, rawFrames bool) error {
	keep := func(b evidence.RawBlock) bool { return rawFrames || b.Channel != evidence.RawFrames }
	return r.ExportBlocks(w, lo, hi, func(int64) func(evidence.RawBlock) bool { return keep })
}

// ExportBlocks is Export with those blocks alone that keep lets pass, of a leaf
// that begins at the Unix ms it is given.
func (r *Reader) ExportBlocks(w io.Writer, lo, hi uint64, keep func(at int64) func(evidence.RawBlock) bool) error {
	meta, err := metaAt(r.log, lo)
	if err != nil {
		return err
	}
	header := bundle.Header{Log: r.LogID(), Lo: lo, Hi: hi, Meta: meta}
	if lo > 0 {
		a, err := anchorAt(r.log, lo)
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
		if rec, err = r.log.Read(n, rec[:0]); err != nil {
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
func (r *Reader) Leaf(n uint64) (evidence.UnverifiedDelivery, error) {
	rec, err := r.log.Read(n, nil)
	if err != nil {
		return evidence.UnverifiedDelivery{}, err
	}
	return evidence.ParseDelivery(rec)
}

// Receipted is, for each lender that was ever sent to, the first leaf without its
// receipt, as of when the history was opened.
func (r *Reader) Receipted() map[string]uint64 { return r.log.Cursors() }

// Close lets go of the history.
func (r *Reader) Close() error { return r.log.Close() }

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

// Running reports whether a process that once took dir for its own still lives;
// it may be another one with the same number.
func Running(dir string) bool {
	text, err := os.ReadFile(filepath.Join(dir, sealedDir, "lock"))
	if err != nil {
		return false
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return false
	}
	return alive(pid)
}
