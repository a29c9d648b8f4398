//go:build integration

package witness

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"errors"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// foreign builds the other implementation of both ends, see testdata/foreign.
func foreign(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "foreign")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "testdata/foreign"
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build the foreign witness: %v\n%s", err, out)
	}
	return program
}

func TestForeignWitness(t *testing.T) {
	h := newHistory(t, 1)
	cmd := exec.Command(foreign(t), "serve", h.vkey)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	said := bufio.NewScanner(out)
	line := func() string {
		if !said.Scan() {
			t.Fatal("the foreign witness says nothing")
		}
		return said.Text()
	}
	url, classic, quantum := line(), line(), line()
	policy, err := checkpoint.ParsePolicy([]byte("log " + h.vkey + "\nwitness classic " + classic + " " + url + "\nwitness quantum " + quantum + " " + url + "\ngroup both all classic quantum\nquorum both\n"))
	if err != nil {
		t.Fatal(err)
	}
	client := NewClient()
	for _, step := range [][2]uint64{{0, 3}, {3, 8}, {8, 8}, {8, 1000}} {
		proof, _ := h.prove(step[0], step[1])
		msg := h.signed(step[1])
		for i, w := range policy.Witnesses { // one server with two keys
			old := step[0]
			if i == 1 {
				old, proof = step[1], nil
			}
			c, err := client.Cosign(t.Context(), w, old, proof, h.signed(step[1]))
			if err != nil {
				t.Fatalf("%v by %s: %v", step, w.Name, err)
			}
			msg = append(msg, c.Line...)
		}
		if s, err := policy.Evaluate(msg); err != nil || !s.Met || s.Checkpoint.Size != step[1] {
			t.Errorf("%v: %+v, %v", step, s, err)
		}
	}
	ask := func(h *history, old, new uint64) error {
		proof, _ := h.prove(old, new)
		_, err := client.Cosign(t.Context(), policy.Witnesses[0], old, proof, h.signed(new))
		return err
	}
	var conflict *Conflict
	if err := ask(h, 8, 1001); !errors.As(err, &conflict) || conflict.Size != 1000 {
		t.Errorf("stale: %v", err)
	}
	var refused *Refused
	if err := ask(h.forked(900, 1), 1000, 1001); !errors.As(err, &refused) || refused.Status != 422 {
		t.Errorf("another history: %v", err)
	}
	if err := ask(newHistory(t, 2), 0, 5); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("unknown log: %v", err)
	}
}

func TestForeignClient(t *testing.T) {
	h := newHistory(t, 1)
	srv := httptest.NewServer(newWitness(t, h))
	defer srv.Close()
	program := foreign(t)
	ask := func(r request) (string, error) {
		args := []string{"ask", srv.URL, strconv.FormatUint(r.old, 10)}
		for _, p := range r.proof {
			args = append(args, base64.StdEncoding.EncodeToString(p[:]))
		}
		cmd := exec.Command(program, args...)
		cmd.Stdin = bytes.NewReader(r.checkpoint)
		out, err := cmd.Output()
		return string(out), err
	}
	for _, step := range [][2]uint64{{0, 3}, {3, 8}, {8, 8}, {8, 1000}} {
		r := h.request(step[0], step[1])
		lines, err := ask(r)
		if err != nil {
			t.Fatal(err)
		}
		verifyLines(t, r.checkpoint, lines)
	}
	if said, err := ask(h.request(3, 1001)); err != nil || strings.TrimSpace(said) != "conflict 1000" {
		t.Errorf("stale: %q, %v", said, err)
	}
	for _, r := range []request{h.forked(900, 1).request(1000, 1001), newHistory(t, 2).request(0, 5)} {
		var failed *exec.ExitError
		if said, err := ask(r); !errors.As(err, &failed) {
			t.Errorf("%q, %v", said, err)
		}
	}
}
