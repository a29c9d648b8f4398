package lender

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/verify"
)

const (
	archiveFile = "archive.tally"
	leavesFile  = "leaves"
	timesFile   = "times"
	stateFile   = "state"
	alteredFile = "altered"
	consentFile = "consent"
	fraudDir    = "forks"

	leafSize = 32
	timeSize = 16
	fraudMax = 64 // proofs kept per log; a box that forks for ever shall not fill the disk
)

// archive is what a lender keeps of one log. append only collects; flush
// writes and returns when the disk has it. After an error everything is
// refused: what the disk holds is then to be found out by opening it again.
type archive struct {
	dir    string
	file   *os.File // nil before the first delivery
	leaves *os.File
	times  *os.File // like leaves: when each was received, and made at the earliest
	lo     uint64   // index of the first entry of leaves
	size   int64    // bytes of the archive that are durable

	pending bytes.Buffer
	hashes  []leafEntry
	err     error // the first fault; sticks
}

type leafEntry struct {
	n                   uint64
	hash                evidence.Hash
	received, notBefore time.Time // zero where not known
}

func entryOf(r verify.Result, received time.Time) leafEntry {
	return leafEntry{n: r.N, hash: r.Leaf, received: received, notBefore: r.NotBefore}
}

func newArchive(dir string) *archive { return &archive{dir: dir} }

func (a *archive) path(name string) string { return filepath.Join(a.dir, name) }

func (a *archive) fail(err error) {
	if a.err == nil {
		a.err = err
	}
}

// append collects one accepted delivery and when it came. The first one of a log
// also makes the files; meta is needed for their header.
func (a *archive) append(delivery []byte, r verify.Result, received time.Time, meta []byte) {
	if a.err != nil {
		return
	}
	if a.file == nil {
		if err := a.create(delivery, r, meta); err != nil {
			a.fail(err)
			return
		}
	}
	if err := bundle.AppendTo(&a.pending).Append(delivery); err != nil {
		a.fail(err)
	}
	a.hashes = append(a.hashes, entryOf(r, received))
	if r.Type == evidence.ConsentLeaf && r.Record != nil {
		// For whoever looks from outside and for the next start; it stands in the archive too.
		if err := replaceFile(a.path(consentFile), r.Record.Body); err != nil {
			a.fail(err)
		}
	}
}

func (a *archive) create(delivery []byte, r verify.Result, meta []byte) error {
	m, err := evidence.ParseMeta(meta)
	if err != nil {
		return err
	}
	h := bundle.Header{Log: r.Log, Lo: r.N, Open: true, Meta: m.Raw()}
	if r.N > 0 {
		d, err := evidence.ParseDelivery(delivery)
		if err != nil {
			return err
		}
		h.Anchor = d.Anchor
	}
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	if _, err := bundle.NewWriter(&a.pending, h); err != nil {
		return err
	}
	if a.file, err = os.OpenFile(a.path(archiveFile), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
		return err
	}
	a.lo = r.N
	if err := a.openLeaves(os.O_TRUNC); err != nil {
		return err
	}
	// The names of the new files and folders must survive a power cut too.
	for dir, up := a.dir, 0; up < 3; dir, up = filepath.Dir(dir), up+1 {
		if err := vfs.OS().SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

// openLeaves opens the two files that have an entry for each leaf.
func (a *archive) openLeaves(flag int) (err error) {
	if a.leaves, err = os.OpenFile(a.path(leavesFile), os.O_RDWR|os.O_CREATE|flag, 0o600); err != nil {
		return err
	}
	a.times, err = os.OpenFile(a.path(timesFile), os.O_RDWR|os.O_CREATE|flag, 0o600)
	return err
}

// flush writes what was collected; when it returns nil the disk has it.
func (a *archive) flush() error {
	if a.err != nil || a.pending.Len() == 0 {
		return a.err
	}
	n, err := a.file.WriteAt(a.pending.Bytes(), a.size)
	if err == nil {
		err = a.file.Sync()
	}
	if err == nil {
		err = a.writeLeaves()
	}
	if err != nil {
		a.fail(err)
		return err
	}
	a.size += int64(n)
	a.pending.Reset()
	return nil
}

// writeLeaves notes hashes and times of leaves. They are not flushed here: the
// archive brings the hashes back, and a time that is lost only lowers a grade.
func (a *archive) writeLeaves() error {
	for _, e := range a.hashes {
		if _, err := a.leaves.WriteAt(e.hash[:], int64(e.n-a.lo)*leafSize); err != nil {
			return err
		}
		if e.received.IsZero() {
			continue
		}
		var b [timeSize]byte
		binary.BigEndian.PutUint64(b[:8], uint64(e.received.UnixMilli()))
		if !e.notBefore.IsZero() {
			binary.BigEndian.PutUint64(b[8:], uint64(e.notBefore.UnixMilli()))
		}
		if _, err := a.times.WriteAt(b[:], int64(e.n-a.lo)*timeSize); err != nil {
			return err
		}
	}
	a.hashes = a.hashes[:0]
	return nil
}

// leaf is the hash of leaf n where it was accepted.
func (a *archive) leaf(n uint64) (evidence.Hash, bool) {
	var h evidence.Hash
	if a.leaves == nil || n < a.lo || n-a.lo > 1<<58 {
		return h, false
	}
	if _, err := a.leaves.ReadAt(h[:], int64(n-a.lo)*leafSize); err != nil {
		return h, false
	}
	return h, h != evidence.Hash{}
}

// admit notes that a delivery is kept although it is altered. Without the note
// a delivery torn by a power cut could be taken for one, and the box blamed.
func (a *archive) admit(delivery []byte) {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		a.fail(err)
		return
	}
	kept, err := os.ReadFile(a.path(alteredFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		a.fail(err)
		return
	}
	sum := sha256.Sum256(delivery)
	if err := replaceFile(a.path(alteredFile), append(kept, sum[:]...)); err != nil {
		a.fail(err)
	}
}

// admitted reports whether admit was called for a delivery.
func (a *archive) admitted(delivery []byte) bool {
	kept, err := os.ReadFile(a.path(alteredFile))
	sum := sha256.Sum256(delivery)
	for ; err == nil && len(kept) >= len(sum); kept = kept[len(sum):] {
		if bytes.Equal(kept[:len(sum)], sum[:]) {
			return true
		}
	}
	return false
}

// savedState is the state file.
type savedState struct {
	_        struct{} `cbor:",toarray"`
	Offset   int64    // of the archive: what is before it is in Verifier
	Verifier []byte
}

// snapshot replaces the state file. Leaves are flushed first: after a restart
// only what follows Offset is read again.
func (a *archive) snapshot(verifier []byte) error {
	if a.err != nil || a.file == nil {
		return a.err
	}
	if err := a.leaves.Sync(); err != nil {
		return err
	}
	b, err := cbor.Marshal(savedState{Offset: a.size, Verifier: verifier})
	if err != nil {
		return err
	}
	return replaceFile(a.path(stateFile), b)
}

// keepFraud stores a delivery with the accepted one it contradicts, as a proof
// for anybody.
func (a *archive) keepFraud(n uint64, leaf evidence.Hash, delivery, meta []byte) error {
	dir := a.path(fraudDir)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	if kept, err := os.ReadDir(dir); err != nil || len(kept) >= fraudMax {
		return err
	}
	name := filepath.Join(dir, fmt.Sprintf("%d-%s.fork", n, leaf.String()[:16]))
	if _, err := os.Stat(name); err == nil {
		return nil
	}
	ours, err := a.find(n)
	if err != nil || ours == nil {
		return err
	}
	proof := bundle.FraudProof{Meta: meta, A: ours, B: delivery}
	return replaceFile(name, proof.Encode())
}

// find returns the accepted delivery with index n, or the newest one before
// it; nil when there is none.
func (a *archive) find(n uint64) ([]byte, error) {
	if err := a.flush(); err != nil || a.file == nil {
		return nil, err
	}
	r, err := bundle.NewReader(io.NewSectionReader(a.file, 0, a.size))
	if err != nil {
		return nil, err
	}
	var found []byte
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		d, err := evidence.ParseDelivery(b)
		if err != nil {
			return nil, err
		}
		if d.Manifest.N > n {
			return found, nil
		}
		found = bytes.Clone(b)
	}
}

func (a *archive) close() {
	for _, f := range []*os.File{a.file, a.leaves, a.times} {
		if f != nil {
			f.Close()
		}
	}
}

// replaceFile writes a file so that after a crash it is the old or the new
// one.
func replaceFile(path string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // does nothing once it is renamed
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = vfs.OS().SyncDir(filepath.Dir(path))
	}
	return err
}
