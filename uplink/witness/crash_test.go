package witness

import (
	"bufio"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// Whenever the power goes, what was cosigned is remembered: after the crash
// the same log cannot get another history cosigned.
func TestPowerGoesAnywhere(t *testing.T) {
	h := newHistory(t, 1)
	steps := []request{h.request(0, 3), h.request(3, 3), h.forked(1, 5).request(3, 3), h.request(3, 8), h.forked(1, 5).request(8, 9), h.request(8, 20)}
	r := rand.New(rand.NewPCG(5, 6))
	for at := 1; ; at++ {
		ended := false
		for _, mode := range crashfs.Modes() {
			fsys := crashfs.New()
			fsys.CrashAt = at
			var cosigned uint64
			w, err := Open(config(t, fsys, h))
			if err == nil {
				ended = true
				for _, step := range steps {
					resp := post(w, step.encode())
					if resp.StatusCode == http.StatusOK {
						c, err := checkpoint.Unverified(step.checkpoint)
						if err != nil {
							t.Fatal(err)
						}
						cosigned = c.Size
					}
					ended = ended && resp.StatusCode < 500
				}
				ended = ended && fsys.Ops() < at
			}
			fsys.CrashAt = 0
			fsys.Crash(mode, r)
			w, err = Open(config(t, fsys, h))
			if err != nil {
				t.Fatalf("power gone at operation %d, %v: %v", at, mode, err)
			}
			s := w.logs[h.key.Name()]
			if s.head.Size < cosigned {
				t.Fatalf("power gone at operation %d, %v: size %d was cosigned, %d is remembered", at, mode, cosigned, s.head.Size)
			}
			if _, root := h.prove(0, s.head.Size); root != s.head.Root {
				t.Fatalf("power gone at operation %d, %v: another history is remembered", at, mode)
			}
			must(t, w, h.request(s.head.Size, 30))
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if ended {
			t.Logf("%d operations, %d modes each", at, len(crashfs.Modes()))
			return
		}
	}
}

// After a failed flush nobody knows what the disk holds, so nothing is
// cosigned before somebody has looked; a full disk only has to be emptied.
func TestDiskFaults(t *testing.T) {
	for kind, lasting := range map[crashfs.Kind]bool{
		crashfs.Create: false, crashfs.Write: false, crashfs.Rename: false, crashfs.Sync: true, crashfs.SyncDir: true,
	} {
		h, other := newHistory(t, 1), newHistory(t, 2)
		fsys := crashfs.New()
		failing := false
		fsys.Inject = func(op crashfs.Op) crashfs.Fault {
			if failing && op.Kind == kind {
				return crashfs.Fault{Err: syscall.EIO}
			}
			return crashfs.Fault{}
		}
		w := open(t, config(t, fsys, h, other))
		must(t, w, h.request(0, 3))
		failing = true
		if resp := post(w, h.request(3, 5).encode()); resp.StatusCode != 500 {
			t.Errorf("%s fails: status %d", kind, resp.StatusCode)
		}
		failing = false
		if resp := post(w, h.request(3, 6).encode()); (resp.StatusCode == 500) != lasting || (resp.StatusCode == 200) == lasting {
			t.Errorf("after %s failed: status %d", kind, resp.StatusCode)
		}
		must(t, w, other.request(0, 4))
	}
}

const killedDir = "TALLYSTICK_TEST_KILLED_WITNESS"

// TestKilledBeforeTheReply kills the process of a witness at the first byte of
// its answer. The next one remembers.
func TestKilledBeforeTheReply(t *testing.T) {
	h := newHistory(t, 1)
	if dir := os.Getenv(killedDir); dir != "" {
		serveUntilKilled(t, dir, h)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledBeforeTheReply$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(10*time.Second, func() { cmd.Process.Kill() })
	defer watchdog.Stop()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_, v := witnessKey(t)
	target := checkpoint.Witness{Name: "w", Verifier: v, URL: "http://" + strings.TrimSpace(address)}
	proof, _ := h.prove(0, 7)
	if c, err := NewClient().Cosign(t.Context(), target, 0, proof, h.signed(7)); err == nil {
		t.Fatalf("it was to be killed and answered %+v", c)
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("it was to be killed and ended well")
	}
	cfg := config(t, vfs.OS(), h)
	cfg.Dir = dir
	w := open(t, cfg)
	if resp := post(w, h.forked(0, 9).request(0, 7).encode()); resp.StatusCode != 409 || text(t, resp) != "7\n" {
		t.Errorf("another history after the kill: status %d", resp.StatusCode)
	}
	must(t, w, h.request(7, 7)) // the box asks again and gets what was lost
}

func serveUntilKilled(t *testing.T, dir string, h *history) {
	cfg := config(t, vfs.OS(), h)
	cfg.Dir = dir
	cfg.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	w := open(t, cfg)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println(l.Addr())
	http.Serve(l, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.ServeHTTP(killing{rw}, r)
	}))
}

type killing struct{ http.ResponseWriter }

func (killing) WriteHeader(int) { die() }

func (killing) Write([]byte) (int, error) {
	die()
	return 0, nil
}

func die() {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		p.Kill()
	}
	select {}
}
