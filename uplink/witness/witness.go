package witness

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/transparency-dev/merkle"
	"github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// Config describes a Witness. All fields are required.
type Config struct {
	FS     vfs.FS
	Dir    string      // the state; this process's alone while the Witness is open
	Key    note.Signer // see checkpoint.WitnessKey
	Logs   []Log
	Logger *slog.Logger
}

// Log is a log the witness cosigns for.
type Log struct {
	Key  note.Verifier // its name is the origin
	Tree merkle.LogHasher
}

// Witness is the HTTP handler of a witness: add-checkpoint, and the newest
// cosigned checkpoint of each log for monitors.
//
// Dir holds a directory for each log, named by the SHA-256 of its origin:
//
//	checkpoint      the newest cosigned; what it says is durable before it is answered
//	fork-*          proof that the log has signed two histories
//	unproved-*      a checkpoint the log has signed, and a proof with it that fails: the
//	                log's doing, or that of anybody who sent it
//
// The last two hold the checkpoint cosigned before, an empty line, and the
// request that came. They are kept until somebody takes them away, at most
// maxKept of each kind and log.
type Witness struct {
	mux    *http.ServeMux
	fs     vfs.FS
	lock   io.Closer
	key    note.Signer
	logger *slog.Logger
	logs   map[string]*witnessed // by origin
	hashes map[string]*witnessed // by SHA-256 of the origin, in hex
}

const (
	stateFile = "checkpoint"
	maxKept   = 32
)

// witnessed is the state of one log.
type witnessed struct {
	Log
	dir string

	mu     sync.Mutex // held from the check until the answer is ready
	head   checkpoint.Checkpoint
	signed []byte // head as cosigned; nil before the first
	kept   map[string]bool
	broken error // a flush failed: nobody knows what the disk holds
}

// StateError says that what was cosigned for a log cannot be read or believed.
// To begin anew under the same key would be to forget it.
type StateError struct {
	Log  string // origin
	Path string
	Err  error // a *note.UnverifiedNoteError when another key has signed it
}

func (e *StateError) Error() string {
	return fmt.Sprintf("state of log %s in %s: %v", e.Log, e.Path, e.Err)
}
func (e *StateError) Unwrap() error { return e.Err }

// Open reads the state in cfg.Dir, which it makes when it is missing. Errors
// are a *vfs.LockedError, a *StateError, those of the file system, and a log
// given twice.
func Open(cfg Config) (_ *Witness, err error) {
	w := &Witness{
		mux: http.NewServeMux(), fs: cfg.FS, key: cfg.Key, logger: cfg.Logger,
		logs: map[string]*witnessed{}, hashes: map[string]*witnessed{},
	}
	if err := w.fs.MkdirAll(cfg.Dir); err != nil {
		return nil, err
	}
	if w.lock, err = w.fs.Lock(cfg.Dir); err != nil {
		return nil, err
	}
	for _, l := range cfg.Logs {
		if err := w.open(cfg.Dir, l); err != nil {
			w.lock.Close()
			return nil, err
		}
	}
	w.mux.HandleFunc("POST /add-checkpoint", w.addCheckpoint)
	w.mux.HandleFunc("GET /{origin}/checkpoint", w.newest)
	return w, nil
}

func (w *Witness) open(dir string, l Log) error {
	origin := l.Key.Name()
	if w.logs[origin] != nil {
		return fmt.Errorf("log %s is given twice", origin)
	}
	sum := sha256.Sum256([]byte(origin))
	hash := hex.EncodeToString(sum[:])
	s := &witnessed{Log: l, dir: filepath.Join(dir, hash), kept: map[string]bool{}}
	s.head = checkpoint.Checkpoint{Origin: origin, Root: [32]byte(l.Tree.EmptyRoot())}
	w.logs[origin], w.hashes[hash] = s, s
	if err := w.fs.MkdirAll(s.dir); err != nil {
		return err
	}
	names, err := w.fs.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if kind, id, ok := strings.Cut(name, "-"); ok && !strings.Contains(id, ".") && (kind == fork || kind == unproved) {
			s.kept[name] = true
		}
	}
	path := filepath.Join(s.dir, stateFile)
	s.signed, err = w.read(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		s.head, _, err = checkpoint.Open(s.signed, []note.Verifier{l.Key})
	}
	if err != nil {
		return &StateError{origin, path, err}
	}
	return nil
}

// Close ends the claim on the directory. No request may be under way.
func (w *Witness) Close() error { return w.lock.Close() }

// Serve answers requests on l until ctx ends, then lets those under way finish
// for at most 5 s. It closes l.
func (w *Witness) Serve(ctx context.Context, l net.Listener) error {
	srv := &http.Server{
		Handler:           w,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      20 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(w.logger.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		stopped <- srv.Shutdown(last)
	})
	err := srv.Serve(l)
	if stop() { // it ended by itself
		return err
	}
	return <-stopped
}

// ServeHTTP implements http.Handler.
func (w *Witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) { w.mux.ServeHTTP(rw, r) }

// answer is what a request gets.
type answer struct {
	status int
	kind   string // content type, text/plain when empty
	body   string
}

func refuse(status int, format string, args ...any) answer {
	return answer{status: status, body: fmt.Sprintf(format, args...) + "\n"}
}

func (a answer) write(rw http.ResponseWriter) {
	if a.kind == "" {
		a.kind = "text/plain; charset=utf-8"
	}
	rw.Header().Set("Content-Type", a.kind)
	rw.Header().Set("X-Content-Type-Options", "nosniff")
	rw.WriteHeader(a.status)
	io.WriteString(rw, a.body) // who hung up may ask again
}

func (w *Witness) addCheckpoint(rw http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(rw, r.Body, maxBody))
	var large *http.MaxBytesError
	switch {
	case errors.As(err, &large):
		refuse(http.StatusRequestEntityTooLarge, "expected at most %d bytes", maxBody).write(rw)
	case err != nil:
		refuse(http.StatusBadRequest, "read request: %v", err).write(rw)
	default:
		w.decide(body).write(rw)
	}
}

// decide answers an add-checkpoint. The order of the checks is that of
// tlog-witness, "add-checkpoint".
func (w *Witness) decide(body []byte) answer {
	req, err := parseRequest(body)
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	c, err := checkpoint.Unverified(req.checkpoint)
	if err != nil {
		return refuse(http.StatusBadRequest, "%v", err)
	}
	s := w.logs[c.Origin]
	if s == nil {
		return refuse(http.StatusNotFound, "log %q is not known here", c.Origin)
	}
	n, err := note.Open(req.checkpoint, note.VerifierList(s.Key))
	if err != nil {
		return refuse(http.StatusForbidden, "log %s: %v", c.Origin, err)
	}
	n.UnverifiedSigs = nil // not ours to keep
	if req.old > c.Size {
		return refuse(http.StatusBadRequest, "old size %d is larger than that of the checkpoint, %d", req.old, c.Size)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return refuse(http.StatusInternalServerError, "log %s: the state cannot be stored", c.Origin)
	}
	if c.Size == s.head.Size && c.Root != s.head.Root && s.signed != nil {
		w.keep(s, fork, c, req)
	}
	if req.old != s.head.Size {
		return answer{http.StatusConflict, sizeType, fmt.Sprintf("%d\n", s.head.Size)}
	}
	if err := s.consistent(c, req.proof); err != nil {
		if c.Size > s.head.Size && s.head.Size > 0 {
			w.keep(s, unproved, c, req)
		}
		return refuse(http.StatusUnprocessableEntity, "log %s: sizes %d and %d: %v", c.Origin, req.old, c.Size, err)
	}
	signed, err := note.Sign(n, w.key)
	if err != nil {
		w.logger.Error("cosign", "log", c.Origin, "err", err)
		return refuse(http.StatusInternalServerError, "log %s: the checkpoint cannot be cosigned", c.Origin)
	}
	if len(signed) > checkpoint.MaxBytes { // could not be read again
		return refuse(http.StatusBadRequest, "the checkpoint is too large to be cosigned")
	}
	if err := w.replace(filepath.Join(s.dir, stateFile), signed); err != nil {
		w.logger.Error("store checkpoint", "log", c.Origin, "err", err)
		if errors.Is(err, errFlush) {
			s.broken = err
		}
		return refuse(http.StatusInternalServerError, "log %s: the state cannot be stored", c.Origin)
	}
	s.head, s.signed = c, signed
	w.logger.Debug("cosigned", "log", c.Origin, "size", c.Size)
	ours := bytes.LastIndexByte(signed[:len(signed)-1], '\n') + 1 // note.Sign adds at the end
	return answer{status: http.StatusOK, body: string(signed[ours:])}
}

// consistent checks that c continues the newest checkpoint, which is the empty
// tree before the first.
func (s *witnessed) consistent(c checkpoint.Checkpoint, hashes [][32]byte) error {
	hs := make([][]byte, len(hashes))
	for i := range hashes {
		hs[i] = hashes[i][:]
	}
	if err := proof.VerifyConsistency(s.Tree, s.head.Size, c.Size, hs, s.head.Root[:], c.Root[:]); err != nil {
		var mismatch proof.RootMismatchError
		if errors.As(err, &mismatch) { // it says bytes in decimal, over two lines
			return errors.New("the proof leads to another root")
		}
		return err
	}
	return nil
}

func (w *Witness) newest(rw http.ResponseWriter, r *http.Request) {
	s := w.hashes[r.PathValue("origin")]
	if s == nil {
		refuse(http.StatusNotFound, "this log is not known here").write(rw)
		return
	}
	s.mu.Lock()
	signed := s.signed
	s.mu.Unlock()
	if signed == nil {
		refuse(http.StatusNotFound, "nothing was cosigned for this log yet").write(rw)
		return
	}
	answer{status: http.StatusOK, body: string(signed)}.write(rw)
}
