package witness

import (
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/buffer/vfs"
)

// A cosignature with the disk of this machine: one signature verified, one
// made, two flushes.
func BenchmarkAddCheckpoint(b *testing.B) {
	h := newHistory(b, 1)
	cfg := config(b, vfs.OS(), h)
	cfg.Dir = filepath.Join(b.TempDir(), "state")
	w := open(b, cfg)
	must(b, w, h.request(0, 1000))
	again := h.request(1000, 1000).encode()
	for b.Loop() {
		if resp := post(w, again); resp.StatusCode != 200 {
			b.Fatal(resp.StatusCode)
		}
	}
}
