package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/buffer/vfs/crashfs"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

func TestAddCheckpoint(t *testing.T) {
	h, stranger := newHistory(t, 1), newHistory(t, 2)
	w := newWitness(t, h)
	must(t, w, h.request(0, 5))
	must(t, w, h.request(5, 5)) // again: the cosignature is fresh
	must(t, w, h.request(5, 13))

	good := h.request(13, 20)
	edit := func(f func(r *request)) []byte {
		r := request{good.old, append([][32]byte{}, good.proof...), bytes.Clone(good.checkpoint)}
		f(&r)
		return r.encode()
	}
	_, root := h.prove(0, 20)
	unsigned := checkpoint.Checkpoint{Origin: h.key.Name(), Size: 20, Root: root}.String()
	imposter := newHistory(t, 3)
	byImposter, err := note.Sign(&note.Note{Text: unsigned}, imposter.key)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		body   []byte
		status int
		want   string
	}{
		"empty":                     {nil, 400, "expected an empty line"},
		"no empty line":             {[]byte("old 13\n"), 400, "expected an empty line"},
		"no checkpoint":             {[]byte("old 13\n\n"), 400, "malformed"},
		"no old size":               {[]byte("old\n\n" + string(good.checkpoint)), 400, "line 1"},
		"old size with zero":        {[]byte("old 013\n\n" + string(good.checkpoint)), 400, "line 1"},
		"old size of two spaces":    {[]byte("old  13\n\n" + string(good.checkpoint)), 400, "line 1"},
		"proof of 64 lines":         {edit(func(r *request) { r.proof = make([][32]byte, 64) }), 400, "at most 63"},
		"proof line too short":      {bytes.Replace(good.encode(), []byte("=\n"), []byte("\n"), 1), 400, "line 2"},
		"checkpoint without end":    {good.encode()[:len(good.encode())-1], 400, "malformed"},
		"size with zero":            {bytes.Replace(good.encode(), []byte("\n20\n"), []byte("\n020\n"), 1), 400, "size"},
		"old beyond the checkpoint": {edit(func(r *request) { r.old = 21 }), 400, "larger than that of the checkpoint"},
		"too large":                 {edit(func(r *request) { r.checkpoint = append(r.checkpoint, bytes.Repeat([]byte("x"), maxBody)...) }), 413, "at most 65536 bytes"},
		"unknown log":               {stranger.request(0, 5).encode(), 404, "is not known here"},
		"signed by another":         {edit(func(r *request) { r.checkpoint = byImposter }), 403, "no verifiable signatures"},
		"changed":                   {bytes.Replace(good.encode(), []byte("\n20\n"), []byte("\n21\n"), 1), 403, "invalid signature"},
		"stale":                     {h.request(5, 20).encode(), 409, "13\n"},
		"asked with nothing":        {h.request(0, 20).encode(), 409, "13\n"},
		"shrunk":                    {h.request(5, 7).encode(), 409, "13\n"},
		"ahead":                     {h.request(15, 20).encode(), 409, "13\n"},
		"no proof":                  {edit(func(r *request) { r.proof = nil }), 422, "empty proof"},
		"proof altered":             {edit(func(r *request) { r.proof[0][0] ^= 1 }), 422, "leads to another root"},
		"proof cut":                 {edit(func(r *request) { r.proof = r.proof[1:] }), 422, "wrong proof size"},
		"proof for the same size":   {request{13, good.proof, h.signed(13)}.encode(), 422, "proof is not empty"},
		"another history":           {h.forked(6, 9).request(13, 20).encode(), 422, "leads to another root"},
		"another root of this size": {h.forked(6, 9).request(13, 13).encode(), 422, "leads to another root"},
	} {
		resp := post(w, c.body)
		if got := text(t, resp); resp.StatusCode != c.status || !strings.Contains(got, c.want) || !strings.HasSuffix(got, "\n") {
			t.Errorf("%s: status %d %q, want %d %q", name, resp.StatusCode, got, c.status, c.want)
		}
		if kind := resp.Header.Get("Content-Type"); c.status == 409 && kind != "text/x.tlog.size" {
			t.Errorf("%s: content type %q", name, kind)
		}
	}
	must(t, w, good) // nothing of the above has moved it
}

// The request in tlog-witness, "add-checkpoint".
func TestForeignRequest(t *testing.T) {
	body := `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`
	r, err := parseRequest([]byte(body))
	if err != nil || r.old != 20852014 || len(r.proof) != 4 || r.proof[3][0] != 0xff {
		t.Fatalf("%+v, %v", r, err)
	}
	if c, err := checkpoint.Unverified(r.checkpoint); err != nil || c.Origin != "example.com/behind-the-sofa" || c.Size != 20852163 {
		t.Errorf("%+v, %v", c, err)
	}
	if string(r.encode()) != body {
		t.Errorf("written again\n%s", r.encode())
	}
}

// Other signatures than the log's are neither needed nor kept, extension lines
// are cosigned.
func TestForeignSignaturesAreDropped(t *testing.T) {
	h := newHistory(t, 1)
	w := newWitness(t, h)
	_, root := h.prove(0, 3)
	c := checkpoint.Checkpoint{Origin: h.key.Name(), Size: 3, Root: root, Extensions: []string{"extension"}}
	signed, err := note.Sign(&note.Note{Text: c.String()}, newHistory(t, 9).key, h.key)
	if err != nil {
		t.Fatal(err)
	}
	must(t, w, request{0, nil, signed})
	got := get(t, w, h)
	if strings.Contains(got, newHistory(t, 9).key.Name()) || strings.Count(got, "— ") != 2 || !strings.HasPrefix(got, c.String()) {
		t.Errorf("kept\n%s", got)
	}
}

func TestEmptyLog(t *testing.T) {
	h := newHistory(t, 1)
	w := newWitness(t, h)
	odd := h.sign(checkpoint.Checkpoint{Origin: h.key.Name(), Root: [32]byte{1}})
	if resp := post(w, request{0, nil, odd}.encode()); resp.StatusCode != 422 {
		t.Errorf("an empty log with a root: %d", resp.StatusCode)
	}
	if resp := post(w, request{0, make([][32]byte, 1), h.signed(4)}.encode()); resp.StatusCode != 422 {
		t.Errorf("a proof from nothing: %d", resp.StatusCode)
	}
	if names := kept(t, w, h, ""); len(names) != 0 {
		t.Errorf("kept as a proof beside nothing: %v", names)
	}
	must(t, w, h.request(0, 0))
	must(t, w, h.request(0, 4))
}

func TestSM3Log(t *testing.T) {
	h, plain := newHistory(t, 1), newHistory(t, 1)
	h.tree = checkpoint.SM3()
	w := newWitness(t, h)
	must(t, w, h.request(0, 0))
	must(t, w, h.request(0, 5))
	must(t, w, h.request(5, 12))
	if resp := post(w, plain.request(12, 14).encode()); resp.StatusCode != 422 {
		t.Errorf("a SHA-256 tree goes on: %d", resp.StatusCode)
	}
	must(t, w, h.request(12, 14))
}

func TestMethodsAndPaths(t *testing.T) {
	w := newWitness(t, newHistory(t, 1))
	for target, status := range map[string]int{"GET /add-checkpoint": 405, "POST /": 404, "GET /": 404, "GET /x/checkpoint": 404} {
		method, path, _ := strings.Cut(target, " ")
		rec := httptest.NewRecorder()
		w.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
		if rec.Code != status {
			t.Errorf("%s: %d, want %d", target, rec.Code, status)
		}
	}
}

// get fetches the newest checkpoint as monitors do; empty when there is none.
func get(t testing.TB, w *Witness, h *history) string {
	t.Helper()
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/"+path.Base(w.logs[h.key.Name()].dir)+"/checkpoint", nil))
	if rec.Code == http.StatusNotFound {
		return ""
	}
	return rec.Body.String()
}

func TestMonitorsSeeTheNewest(t *testing.T) {
	h := newHistory(t, 1)
	w := newWitness(t, h)
	// printf %s tallystick.org/log/01000000000000000000000000000000 | sha256sum
	if got, want := path.Base(w.logs[h.key.Name()].dir), "51cbeadb5e37f14e15a8edaf6c26a4cfcd1f20775f3fef2529a4b87cf3e02070"; got != want {
		t.Errorf("origin hash %s, want %s", got, want)
	}
	if got := get(t, w, h); got != "" {
		t.Errorf("before the first: %q", got)
	}
	must(t, w, h.request(0, 5))
	must(t, w, h.request(5, 9))
	_, v := witnessKey(t)
	c, cosigned, err := checkpoint.Open([]byte(get(t, w, h)), []note.Verifier{h.log().Key}, v)
	if err != nil || c.Size != 9 || len(cosigned) != 1 {
		t.Errorf("%+v, %+v, %v", c, cosigned, err)
	}
}

// kept lists what is kept of a kind about the log.
func kept(t testing.TB, w *Witness, h *history, kind string) (names []string) {
	t.Helper()
	all, err := w.fs.ReadDir(w.logs[h.key.Name()].dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range all {
		if strings.HasPrefix(name, kind) {
			names = append(names, name)
		}
	}
	return names
}

func TestForkIsKept(t *testing.T) {
	h := newHistory(t, 1)
	for name, old := range map[string]uint64{"seen whole": 13, "seen from afar": 5} {
		t.Run(name, func(t *testing.T) {
			fsys := crashfs.New()
			w := open(t, config(t, fsys, h))
			must(t, w, h.request(0, 13))
			other := h.forked(6, 9).request(old, 13)
			ops := 0
			for i := range 3 { // the same is kept once
				if i == 1 {
					ops = fsys.Ops()
				}
				if resp := post(w, other.encode()); resp.StatusCode != 422 && resp.StatusCode != 409 {
					t.Errorf("status %d", resp.StatusCode)
				}
			}
			if n := fsys.Ops() - ops; n != 0 {
				t.Errorf("%d operations of the disk for what is kept already", n)
			}
			names := kept(t, w, h, "fork")
			if len(names) != 1 {
				t.Fatalf("kept %v", names)
			}
			data, err := w.read(w.logs[h.key.Name()].dir + "/" + names[0])
			if err != nil {
				t.Fatal(err)
			}
			// Both checkpoints stand in it, signed: a proof for everybody.
			first, body, _ := bytes.Cut(data, []byte("\n\nold "))
			second, err := parseRequest(append([]byte("old "), body...))
			if err != nil {
				t.Fatal(err)
			}
			var cs [2]checkpoint.Checkpoint
			for i, msg := range [][]byte{append(first, '\n'), second.checkpoint} {
				if cs[i], _, err = checkpoint.Open(msg, []note.Verifier{h.log().Key}); err != nil {
					t.Fatal(err)
				}
			}
			if cs[0].Size != cs[1].Size || cs[0].Root == cs[1].Root {
				t.Errorf("%v is no proof against %v", cs[0], cs[1])
			}
			fsys.Crash(crashfs.Nothing, nil)
			again := open(t, config(t, fsys, h))
			post(again, other.encode())
			if n := len(kept(t, again, h, "fork")); n != 1 {
				t.Errorf("after a crash %d are kept", n)
			}
			must(t, again, h.request(13, 15))
		})
	}
}

func TestFailedProofIsKept(t *testing.T) {
	h := newHistory(t, 1)
	w := newWitness(t, h)
	must(t, w, h.request(0, 13))
	post(w, h.forked(6, 9).request(13, 20).encode())
	if names := kept(t, w, h, ""); len(names) != 2 || !strings.HasPrefix(names[1], "unproved-") {
		t.Errorf("kept %v", names)
	}
	must(t, w, h.request(13, 14))
}

// Whoever sends wrong proofs cannot fill the disk, nor keep out the proof of a
// fork.
func TestKeptIsBounded(t *testing.T) {
	h := newHistory(t, 1)
	fsys := crashfs.New()
	w := open(t, config(t, fsys, h))
	must(t, w, h.request(0, 3))
	for i := range maxKept + 5 {
		post(w, request{3, make([][32]byte, 1), h.signed(uint64(4 + i))}.encode())
	}
	if n := len(kept(t, w, h, "unproved-")); n != maxKept {
		t.Errorf("kept %d, want %d", n, maxKept)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	w = open(t, config(t, fsys, h))
	post(w, request{3, make([][32]byte, 1), h.signed(100)}.encode())
	if n := len(kept(t, w, h, "unproved-")); n != maxKept {
		t.Errorf("after a restart kept %d, want %d", n, maxKept)
	}
	for i := range maxKept + 5 {
		post(w, h.forked(0, byte(1+i)).request(3, 3).encode())
	}
	if n := len(kept(t, w, h, "fork-")); n != maxKept {
		t.Errorf("kept %d forks, want %d", n, maxKept)
	}
}

// slow makes the time between check and answer long enough to be hit.
type slow struct{ vfs.FS }

func (s slow) Create(name string) (vfs.File, error) {
	time.Sleep(5 * time.Millisecond)
	return s.FS.Create(name)
}

// The race of tlog-witness, "add-checkpoint": requests that each fit what the
// witness knew when they came.
func TestOneAtATime(t *testing.T) {
	h := newHistory(t, 1)
	w := open(t, config(t, slow{crashfs.New()}, h))
	must(t, w, h.request(0, 3))
	var wg sync.WaitGroup
	statuses := make([]int, 6)
	for i := range statuses {
		body := h.forked(3, byte(i)).request(3, uint64(5+i)).encode()
		wg.Go(func() { statuses[i] = post(w, body).StatusCode })
	}
	wg.Wait()
	slices.Sort(statuses)
	if statuses[0] != 200 || statuses[1] != 409 {
		t.Errorf("answers %v, want one 200", statuses)
	}
}

// Two histories of one log race for the witness: it cosigns one of them only,
// each step of which goes on from the one before.
func TestConcurrentRequests(t *testing.T) {
	a := newHistory(t, 1)
	b := a.forked(0, 7)
	other := newHistory(t, 2)
	srv := httptest.NewServer(newWitness(t, a, other))
	defer srv.Close()
	_, v := witnessKey(t)
	target := checkpoint.Witness{Name: "w", Verifier: v, URL: srv.URL}
	const most = 60
	var mu sync.Mutex
	cosigned := map[string]bool{}
	var wg sync.WaitGroup
	for i := range 8 {
		h := []*history{a, b, other}[i%3]
		wg.Go(func() {
			client := NewClient()
			size := uint64(0)
			for new := uint64(1 + i); new <= most; new += 3 {
				for {
					if size > new {
						break
					}
					proof, _ := h.prove(size, new)
					_, err := client.Cosign(context.Background(), target, size, proof, h.signed(new))
					var conflict *Conflict
					if errors.As(err, &conflict) {
						size = conflict.Size
						continue
					}
					var refused *Refused
					if errors.As(err, &refused) && refused.Status == 422 {
						break
					}
					if err != nil {
						t.Error(err)
						return
					}
					mu.Lock()
					cosigned[fmt.Sprint(h.key.Name(), h.salt)] = true
					mu.Unlock()
					size = new
					break
				}
			}
		})
	}
	wg.Wait()
	one, two := cosigned[fmt.Sprint(a.key.Name(), 0)], cosigned[fmt.Sprint(a.key.Name(), 7)]
	if one == two || !cosigned[fmt.Sprint(other.key.Name(), 0)] {
		t.Errorf("cosigned %v", cosigned)
	}
}

func TestOpenRefuses(t *testing.T) {
	h := newHistory(t, 1)
	if _, err := Open(config(t, crashfs.New(), h, h)); err == nil || !strings.Contains(err.Error(), "given twice") {
		t.Errorf("one log twice: %v", err)
	}
	fsys := crashfs.New()
	w := open(t, config(t, fsys, h))
	var locked *vfs.LockedError
	if _, err := Open(config(t, fsys, h)); !errors.As(err, &locked) {
		t.Errorf("opened twice: %v", err)
	}
	must(t, w, h.request(0, 5))
	state := w.logs[h.key.Name()].dir + "/checkpoint"
	good, err := w.read(state)
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	for name, data := range map[string][]byte{
		"empty": {}, "cut": good[:len(good)/2], "changed": bytes.Replace(good, []byte("\n5\n"), []byte("\n4\n"), 1),
		"huge": bytes.Repeat(good, 1000), "of another log": newHistory(t, 2).signed(5),
	} {
		if err := w.replace(state, data); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(config(t, fsys, h)); err == nil || !strings.Contains(err.Error(), "state of log "+h.key.Name()) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := w.replace(state, good); err != nil {
		t.Fatal(err)
	}
	must(t, open(t, config(t, fsys, h)), h.request(5, 6))
}

// A checkpoint that could not be read back must not be stored.
func TestLargeExtensions(t *testing.T) {
	h := newHistory(t, 1)
	fsys := crashfs.New()
	w := open(t, config(t, fsys, h))
	_, root := h.prove(0, 1)
	for n := checkpoint.MaxBytes - 1000; n < checkpoint.MaxBytes; n += 50 {
		c := checkpoint.Checkpoint{Origin: h.key.Name(), Size: 1, Root: root, Extensions: []string{strings.Repeat("x", n)}}
		resp := post(w, request{w.logs[h.key.Name()].head.Size, nil, h.sign(c)}.encode())
		if resp.StatusCode != 200 && resp.StatusCode != 400 {
			t.Errorf("%d: status %d", n, resp.StatusCode)
		}
	}
	w.Close()
	open(t, config(t, fsys, h))
}

func TestServeStops(t *testing.T) {
	h := newHistory(t, 1)
	w := newWitness(t, h)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Serve(ctx, l) }()
	_, v := witnessKey(t)
	proof, _ := h.prove(0, 4)
	if _, err := NewClient().Cosign(ctx, checkpoint.Witness{Name: "w", Verifier: v, URL: "http://" + l.Addr().String()}, 0, proof, h.signed(4)); err != nil {
		t.Fatal(err)
	}
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(4 * time.Second):
		t.Error("does not stop")
	}
}
