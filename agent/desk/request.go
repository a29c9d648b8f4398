// Package desk holds what comes in from outside for the history until it is a leaf,
// and what follows from it: what lenders say (Lenders), what people decide on the
// box (Leave, Requests), and how the factory stands to a lender (Consents).
package desk

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// What people decide on the box, consents, declarations and commissionings, comes
// to the agent as files below its directory: one each, named so that their order
// is that in which they were made. A file holds one byte, the type of the leaf,
// and the record's body (uplink/evidence/SPEC.md section 4.3).
const (
	requestsDir    = "desk"
	requestSuffix  = ".record"
	refusedSuffix  = ".refused"
	requestsAtOnce = 64 // between two windows
)

// requestable reports whether people may ask for a leaf of that type.
func requestable(t evidence.LeafType) bool {
	return t == evidence.ConsentLeaf || t == evidence.DeclarationLeaf || t == evidence.CommissioningLeaf
}

// Request is a record that waits to become a leaf.
type Request struct {
	Type   evidence.LeafType
	Record record.Record
}

// digest names a request by its content, which is never twice the same.
func (q *Request) digest() string {
	h := sha256.New()
	h.Write([]byte{byte(q.Type)})
	h.Write(q.Record.Body)
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// parseRequest checks what a file of a request holds.
func parseRequest(b []byte) (q Request, err error) {
	if len(b) == 0 || !requestable(evidence.LeafType(b[0])) {
		return q, errors.New("it is no consent, declaration or commissioning")
	}
	q.Type = evidence.LeafType(b[0])
	if q.Record, err = record.ParseBody(b[1:]); err != nil {
		return q, err
	}
	switch q.Type {
	case evidence.ConsentLeaf:
		if q.Record.For == "" {
			return q, errors.New("a consent is for one lender")
		}
		_, err = q.Record.Consent()
	case evidence.DeclarationLeaf:
		_, err = q.Record.Declaration()
	default:
		_, err = q.Record.Commissioning()
	}
	return q, err
}

// Leave puts a record for a lender, or with "" for all, where the agent that owns
// dir finds it: the running one within its sync interval, else the next one when
// it starts. The record is durable on return; name is its file.
func Leave(dir string, t evidence.LeafType, lender string, content any) (name string, err error) {
	body, err := record.Encode(lender, content)
	if err != nil {
		return "", err
	}
	b := append([]byte{byte(t)}, body...)
	q, err := parseRequest(b)
	if err != nil {
		return "", err
	}
	fsys, desk := vfs.OS(), filepath.Join(dir, requestsDir)
	if err := fsys.MkdirAll(desk); err != nil {
		return "", err
	}
	if err := handOver(desk, dir); err != nil {
		return "", err
	}
	f, err := os.CreateTemp(desk, ".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", err
	}
	if err := handOver(f.Name(), dir); err != nil {
		return "", err
	}
	name = filepath.Join(desk, fmt.Sprintf("%020d-%s%s", time.Now().UnixNano(), q.digest(), requestSuffix))
	if err := os.Rename(f.Name(), name); err != nil {
		return "", err
	}
	return name, fsys.SyncDir(desk)
}

// Pending are the requests in dir that are in no leaf yet.
func Pending(dir string) (rs []Request, err error) {
	fsys, desk := vfs.OS(), filepath.Join(dir, requestsDir)
	names, err := requests(fsys, desk)
	for _, name := range names {
		b, err := readRequest(fsys, filepath.Join(desk, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // sealed meanwhile
		}
		if err != nil {
			return rs, err
		}
		if q, err := parseRequest(b); err == nil { // else the agent says so
			rs = append(rs, q)
		}
	}
	return rs, err
}

// requests lists the files of requests in desk, oldest first.
func requests(fsys vfs.FS, desk string) (names []string, err error) {
	all, err := fsys.ReadDir(desk)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	for _, name := range all {
		if strings.HasSuffix(name, requestSuffix) {
			names = append(names, name)
		}
	}
	return names, err
}

func readRequest(fsys vfs.FS, name string) ([]byte, error) {
	f, err := fsys.OpenRead(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.NewSectionReader(f, 0, 1+evidence.MaxRecord+1))
}

// Requests is what people left in one directory, for the agent that runs there.
type Requests struct {
	fsys     vfs.FS
	dir      string // of their files
	consents *Consents
	log      *slog.Logger
	refused  map[string]bool // files that could not be read, by name
	begun    bool            // Seal was called before
}

// NewRequests is what people left in dir. consents is told of what becomes a leaf.
func NewRequests(fsys vfs.FS, dir string, consents *Consents, log *slog.Logger) *Requests {
	return &Requests{fsys: fsys, dir: filepath.Join(dir, requestsDir), consents: consents, log: log, refused: map[string]bool{}}
}

// History is what requests become leaves of.
type History interface {
	Next() uint64 // the index of the next leaf
	RecordBody(t evidence.LeafType, body []byte) error
}

// Seal has what people left become leaves of h. A file goes only when its leaf is
// durable; what a crash in between leaves behind is recognised and not sealed again.
// An error is the history's.
func (r *Requests) Seal(h History) error {
	if err := r.begin(h); err != nil {
		return err
	}
	names, err := requests(r.fsys, r.dir)
	if err != nil {
		r.log.Warn("what was decided on this box cannot be read; it is tried again", "err", err)
		return nil
	}
	gone := len(names) > 0 && len(names) <= requestsAtOnce
	for _, name := range names[:min(len(names), requestsAtOnce)] {
		removed, err := r.seal(h, filepath.Join(r.dir, name))
		if err != nil {
			return err
		}
		gone = gone && removed
	}
	if gone && r.fsys.SyncDir(r.dir) == nil {
		r.consents.forget()
	}
	return nil
}

// begin states, once, what stands in a log that was put away.
func (r *Requests) begin(h History) error {
	if r.begun {
		return nil
	}
	r.begun = true
	if err := r.consents.carry(h); err != nil || r.consents.stored {
		return err
	}
	if err := r.consents.save(h.Next()); err != nil {
		r.log.Warn("the consents could not be stored; the next start reads them from the history", "err", err)
	}
	return nil
}

// seal seals the request in the file of that name and reports whether the file
// is gone.
func (r *Requests) seal(h History, name string) (gone bool, err error) {
	b, err := readRequest(r.fsys, name)
	if err != nil {
		if !r.refused[name] {
			r.log.Warn("what was decided on this box cannot be read; it is tried again", "err", err)
			r.refused[name] = true
		}
		return false, nil
	}
	q, err := parseRequest(b)
	if err != nil {
		r.log.Warn("what was left on this box for the history is refused", "file", name+refusedSuffix, "err", err)
		if err := r.fsys.Rename(name, name+refusedSuffix); err != nil {
			r.log.Warn("it cannot be put aside", "err", err)
			return false, nil
		}
		return true, nil
	}
	if !r.consents.has(q.digest()) {
		n := h.Next()
		if err := r.consents.record(n, q, func() error { return h.RecordBody(q.Type, q.Record.Body) }); err != nil {
			return false, err
		}
		r.log.Info("recorded", "what", q.Type.String(), "leaf", n)
	}
	if err := r.consents.save(h.Next()); err != nil {
		r.log.Warn("the consents could not be stored; the next start reads them from the history", "err", err)
	}
	if err := r.fsys.Remove(name); err != nil {
		r.log.Warn("what is recorded already cannot be removed", "err", err)
		return false, nil
	}
	return true, nil
}
