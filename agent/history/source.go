package history

import (
	"context"
	"sync/atomic"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// Source is the durable log as shippers and the exporter read it. Record n of
// the log is leaf n. All methods may be called from any goroutine.
type Source struct {
	id        evidence.LogID
	continues bool
	log       *buffer.Log
	meta      atomic.Pointer[[]byte]
	head      atomic.Pointer[[]byte]          // newest checkpoint
	newest    atomic.Pointer[evidence.Anchor] // behind the newest durable leaf
}

// LogID names the history.
func (s *Source) LogID() evidence.LogID { return s.id }

// Continues reports whether the genesis names a log before this one.
func (s *Source) Continues() bool { return s.continues }

// First is the oldest leaf the box still has.
func (s *Source) First() uint64 { return s.log.First() }

// Next is the index after the newest durable leaf.
func (s *Source) Next() uint64 { return s.log.Durable() }

// Read appends the stored delivery of leaf n, all channels, to dst.
func (s *Source) Read(n uint64, dst []byte) ([]byte, error) { return s.log.Read(n, dst) }

// Wait returns when leaf n is durable, or with ctx's error.
func (s *Source) Wait(ctx context.Context, n uint64) error { return s.log.Wait(ctx, n) }

// Anchor is the compact range of the leaves before n: at hand for the newest,
// which every receipt in time asks for, else rolled forward from the start of
// the segment that holds n.
func (s *Source) Anchor(n uint64) (evidence.Anchor, error) {
	if a := s.newest.Load(); a != nil && a.N == n {
		return *a, nil
	}
	return anchorAt(s.log, n)
}

// Newest is the compact range of all durable leaves.
func (s *Source) Newest() evidence.Anchor { return *s.newest.Load() }

// Meta is what the retained meta topic carries: the genesis and the leaf that
// holds the dictionary in force.
func (s *Source) Meta() []byte { return *s.meta.Load() }

// Head is the newest checkpoint, as the retained head topic carries it; nil
// before the first.
func (s *Source) Head() []byte {
	if b := s.head.Load(); b != nil {
		return *b
	}
	return nil
}

// SetHead is told of a newer checkpoint.
func (s *Source) SetHead(b []byte) { s.head.Store(&b) }

func (s *Source) setMeta(b []byte) { s.meta.Store(&b) }

// MetaAt is the meta message with which leaf n can be read.
func (s *Source) MetaAt(n uint64) (evidence.Meta, error) { return metaAt(s.log, n) }

// SegmentOf is the first leaf of the segment that holds leaf n: segments are let
// go as a whole.
func (s *Source) SegmentOf(n uint64) (uint64, error) {
	first, _, err := s.log.Preamble(n)
	return first, err
}

func anchorAt(log *buffer.Log, n uint64) (a evidence.Anchor, err error) {
	first, preamble, err := log.Preamble(n)
	if err != nil {
		return a, err
	}
	if len(preamble) > 0 { // the very first segment begins with nothing
		if a, err = seal.Anchor(preamble); err != nil {
			return a, err
		}
	}
	var rec []byte
	for ; first < n; first++ {
		if rec, err = log.Read(first, rec[:0]); err != nil {
			return a, err
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			return a, err
		}
		a.Append(d.Suite(), d.Hash())
	}
	return a, nil
}
