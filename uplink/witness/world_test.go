package witness

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/transparency-dev/merkle"
	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// history is a log that can sign any size of itself and prove any step.
type history struct {
	t    testing.TB
	tree merkle.LogHasher
	key  note.Signer
	vkey string
	salt byte // leaves from fork on depend on it
	fork uint64
}

func newHistory(t testing.TB, seed byte) *history {
	t.Helper()
	signer, vkey, err := checkpoint.LogKey(checkpoint.Origin([16]byte{seed}), ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return &history{t: t, tree: checkpoint.SHA256(), key: signer, vkey: vkey}
}

// forked is the same log with other leaves from index at on.
func (h *history) forked(at uint64, salt byte) *history {
	f := *h
	f.fork, f.salt = at, salt
	return &f
}

func (h *history) log() Log {
	h.t.Helper()
	v, err := checkpoint.LogVerifier(h.vkey)
	if err != nil {
		h.t.Fatal(err)
	}
	return Log{v, h.tree}
}

func (h *history) prove(old, new uint64) (proof [][32]byte, root [32]byte) {
	h.t.Helper()
	p, err := checkpoint.NewProver(h.tree, 0, nil, old, new)
	if err != nil {
		h.t.Fatal(err)
	}
	for i := range new {
		leaf := binary.BigEndian.AppendUint64(nil, i)
		if i >= h.fork && h.salt != 0 {
			leaf = append(leaf, h.salt)
		}
		if err := p.Append([32]byte(h.tree.HashLeaf(leaf))); err != nil {
			h.t.Fatal(err)
		}
	}
	proof, root, err = p.Proof()
	if err != nil {
		h.t.Fatal(err)
	}
	return proof, root
}

func (h *history) signed(size uint64) []byte {
	h.t.Helper()
	_, root := h.prove(0, size)
	return h.sign(checkpoint.Checkpoint{Origin: h.key.Name(), Size: size, Root: root})
}

func (h *history) sign(c checkpoint.Checkpoint) []byte {
	h.t.Helper()
	msg, err := checkpoint.Sign(c, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	return msg
}

// request asks to go on from old to new.
func (h *history) request(old, new uint64) request {
	proof, _ := h.prove(old, new)
	return request{old, proof, h.signed(new)}
}

// witnessKey is the key of the witness under test.
func witnessKey(t testing.TB) (note.Signer, note.Verifier) {
	t.Helper()
	signer, vkey, err := checkpoint.WitnessKey("witness.example/w1", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{200}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	v, err := checkpoint.WitnessVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, v
}

const stateDir = "/state"

func config(t testing.TB, fsys vfs.FS, logs ...*history) Config {
	key, _ := witnessKey(t)
	cfg := Config{FS: fsys, Dir: stateDir, Key: key, Logger: slog.New(slog.DiscardHandler)}
	for _, l := range logs {
		cfg.Logs = append(cfg.Logs, l.log())
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Witness {
	t.Helper()
	w, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.Close() })
	return w
}

func newWitness(t testing.TB, logs ...*history) *Witness {
	t.Helper()
	return open(t, config(t, crashfs.New(), logs...))
}

// post sends a body as it is.
func post(w http.Handler, body []byte) *http.Response {
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest(http.MethodPost, "/add-checkpoint", bytes.NewReader(body)))
	return rec.Result()
}

func text(t testing.TB, r *http.Response) string {
	t.Helper()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// must asks for a cosignature and verifies it.
func must(t testing.TB, w http.Handler, r request) {
	t.Helper()
	resp := post(w, r.encode())
	lines := text(t, resp)
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("from %d: status %d %s", r.old, resp.StatusCode, lines)
	}
	verifyLines(t, r.checkpoint, lines)
}

func verifyLines(t testing.TB, signed []byte, lines string) {
	t.Helper()
	_, v := witnessKey(t)
	cs, err := checkpoint.Cosignatures(append(bytes.Clone(signed), lines...), v)
	if err != nil || len(cs) != 1 || strings.Count(lines, "\n") != 1 || cs[0].Line != lines {
		t.Fatalf("answer %q is no one cosignature: %v", lines, err)
	}
}
