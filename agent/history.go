package agent

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// ErrNoHistory says a directory holds no history yet.
var ErrNoHistory = errors.New("holds no history yet: the agent has never run there")

// History is a site's history opened for reading; an agent may run on it
// meanwhile.
type History struct {
	log  *buffer.Log
	meta []byte
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
	meta, err := metaAt(log, log.Next()-1)
	if err != nil {
		return nil, err
	}
	return &History{log: log, meta: meta}, nil
}

// First is the oldest leaf there is, Next the index after the newest.
func (h *History) First() uint64 { return h.log.First() }
func (h *History) Next() uint64  { return h.log.Next() }

// LogID names the history.
func (h *History) LogID() evidence.LogID {
	genesis, _, _ := evidence.ParseMeta(h.meta) // made by metaAt
	return genesis.Manifest.Log
}

// PublicKey is the key the history is signed with.
func (h *History) PublicKey() ed25519.PublicKey {
	genesis, _, _ := evidence.ParseMeta(h.meta)
	return genesis.Manifest.Genesis.Key.Public
}

// Export writes leaves lo to hi, both included and with all channels, as a
// bundle (SPEC.md, "Bundle").
func (h *History) Export(w io.Writer, lo, hi uint64) error {
	meta, err := metaAt(h.log, lo)
	if err != nil {
		return err
	}
	genesis, dictionary, err := evidence.ParseMeta(meta)
	if err != nil {
		return err
	}
	header := evidence.BundleHeader{Log: genesis.Manifest.Log, Lo: lo, Hi: hi, Genesis: genesis.Sign1, Dictionary: dictionary.Sign1}
	if lo > 0 {
		a, err := anchorAt(h.log, lo)
		if err != nil {
			return err
		}
		header.Anchor = &a
	}
	b, err := evidence.NewBundleWriter(w, header)
	if err != nil {
		return err
	}
	var rec []byte
	for n := lo; n <= hi; n++ {
		if rec, err = h.log.Read(n, rec[:0]); err != nil {
			return err
		}
		if err := b.Append(rec); err != nil {
			return err
		}
	}
	return nil
}

// Close lets go of the history.
func (h *History) Close() error { return h.log.Close() }

// metaAt is the meta message with which leaf n can be read: the genesis and the
// leaf whose dictionary is in force there.
func metaAt(log *buffer.Log, n uint64) ([]byte, error) {
	first, preamble, err := log.Preamble(n)
	if err != nil {
		return nil, err
	}
	var genesis, dictionary []byte
	if len(preamble) > 0 {
		if genesis, dictionary, err = evidence.PreambleMeta(preamble); err != nil {
			return nil, err
		}
	}
	var rec []byte
	for ; first <= n; first++ {
		if rec, err = log.Read(first, rec[:0]); err != nil {
			return nil, err
		}
		d, err := evidence.ParseDelivery(rec)
		if err != nil {
			return nil, err
		}
		if d.Manifest.Dictionary() == nil {
			continue
		}
		dictionary = append([]byte(nil), d.Sign1...)
		if d.Manifest.Genesis != nil {
			genesis = dictionary
		}
	}
	return evidence.EncodeMeta(genesis, dictionary), nil
}
