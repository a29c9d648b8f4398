package agent

import (
	"crypto/ed25519"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// usedSite keeps the note of its key beside the history's directory.
func usedSite(dir string) Site {
	s := testSite(filepath.Join(dir, "box"), &device{})
	s.Used = filepath.Join(dir, "device.key.used")
	return s
}

func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// TestUsedKey: a key that has signed a history goes on with that history or with
// none; a loss that is declared opens a log that says so.
func TestUsedKey(t *testing.T) {
	refused := func(t *testing.T, s Site, have uint64) {
		t.Helper()
		var gone *history.Gone
		if _, err := openHastily(s); !errors.As(err, &gone) || gone.Have != have {
			t.Fatalf("opened although the history is gone, or another reason: %v", err)
		}
	}
	t.Run("the log is deleted", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := usedSite(t.TempDir())
			runFor(t, s, 3*time.Minute)
			old := sealed(t, s)
			if err := os.RemoveAll(s.Dir); err != nil {
				t.Fatal(err)
			}
			refused(t, s, 0)
			s.DeclareLoss = true
			runFor(t, s, time.Minute)
			rs := sealed(t, s)
			prev := rs[0].Manifest.Genesis.Prev
			if prev == nil || prev.Log != old[0].Log || prev.N != uint64(len(old)) || prev.Why != "loss" || prev.Root == (evidence.Hash{}) {
				t.Errorf("the new log says of the old one: %+v, want %d leaves of %s", prev, len(old), old[0].Log)
			}
			s.DeclareLoss = false
			runFor(t, s, time.Minute) // the new one goes on without a word
		})
	})
	t.Run("an older copy is put back", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			s := usedSite(dir)
			runFor(t, s, 3*time.Minute)
			had := uint64(len(sealed(t, s)))
			copyTree(t, s.Dir, filepath.Join(dir, "copy"))
			runFor(t, s, 3*time.Minute)
			if err := os.RemoveAll(s.Dir); err != nil {
				t.Fatal(err)
			}
			copyTree(t, filepath.Join(dir, "copy"), s.Dir)
			refused(t, s, had)
			s.DeclareLoss = true
			runFor(t, s, time.Minute)
			if kept, _ := filepath.Glob(filepath.Join(s.Dir, "sealed.lost-*")); len(kept) != 1 {
				t.Errorf("the copy was not kept: %v", kept)
			}
		})
	})
	t.Run("a kill loses nothing of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := usedSite(t.TempDir())
			runFor(t, s, time.Minute)
			was, err := os.ReadFile(s.Used)
			if err != nil {
				t.Fatal(err)
			}
			runFor(t, s, time.Minute)
			if err := os.WriteFile(s.Used, was, 0o600); err != nil { // as if killed before it was noted
				t.Fatal(err)
			}
			runFor(t, s, time.Minute)
		})
	})
	t.Run("a note that says nothing", func(t *testing.T) {
		s := usedSite(t.TempDir())
		if err := os.WriteFile(s.Used, []byte("x y"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openHastily(s); err == nil || !strings.Contains(err.Error(), "found 2 words") {
			t.Errorf("%v", err)
		}
	})
}

// TestRotate: the history goes on under the key it had committed to, and under no
// other.
func TestRotate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usedSite(t.TempDir())
		next, after := evidencetest.Signer(3), evidencetest.Signer(4)
		record, afterRecord := next.Public(), after.Public()
		commitment := record.Digest()
		s.Successor = &commitment
		runFor(t, s, 2*time.Minute)
		if err := Rotate(s, evidencetest.Signer(5), afterRecord.Digest()); err == nil {
			t.Error("rotated to a key that was not committed to")
		}
		if err := Rotate(s, next, afterRecord.Digest()); err != nil {
			t.Fatal(err)
		}
		if _, err := openHastily(s); !errors.Is(err, evidence.ErrSignature) {
			t.Errorf("went on with the old key: %v", err)
		}
		s.Signer = next
		runFor(t, s, 2*time.Minute)
		rs := sealed(t, s)
		if got := strings.Join(types(rs), " "); strings.Count(got, "key rotation") != 1 {
			t.Errorf("leaves %s", got)
		}
		h, err := history.OpenReader(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		if h.PublicKey() != evidence.Ed25519PublicKey(key.Public().(ed25519.PublicKey)) || h.Current() != record.Key() {
			t.Errorf("pinned %s, current %s", h.PublicKey(), h.Current())
		}
	})
}

// TestCounterIsCertified: every hour the chip's counter stands in the history,
// certified over its head; a chip that fails holds up nothing.
func TestCounterIsCertified(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := usedSite(t.TempDir())
		fail := false
		var over []evidence.Hash
		s.Count = func(h evidence.Hash) (evidence.Counter, error) {
			if fail {
				return evidence.Counter{}, errors.New("the chip does not answer")
			}
			over = append(over, h)
			return evidence.Counter{Handle: 1, Attest: []byte{1}, Signature: make([]byte, 64)}, nil
		}
		runFor(t, s, 130*time.Minute)
		fail = true
		runFor(t, s, 70*time.Minute)
		h, err := history.OpenReader(s.Dir)
		if err != nil {
			t.Fatal(err)
		}
		defer h.Close()
		var roots []evidence.Hash
		for n := range h.Next() {
			d, err := h.Leaf(n)
			if err != nil {
				t.Fatal(err)
			}
			if d.Manifest.Counter != nil {
				roots = append(roots, d.Manifest.Root)
			}
		}
		if len(roots) != 3 || len(over) != 3 || roots[0] != over[0] || roots[2] != over[2] {
			t.Errorf("%d counter leaves, the chip was asked over %d heads", len(roots), len(over))
		}
	})
}
