package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/witness"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// A whole life: the key is made, a log is cosigned, the witness stops, and the
// next run remembers.
func TestWitness(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	key, vkey, err := checkpoint.LogKey(checkpoint.Origin([16]byte{7}), evidencetest.Key(1))
	if err != nil {
		t.Fatal(err)
	}
	for _, tree := range []string{"", ",sm3"} {
		ctx, stop := context.WithCancel(t.Context())
		r, w := io.Pipe()
		exit := make(chan int, 1)
		go func() {
			exit <- run(ctx, []string{"witness", "--dir", dir + tree, "--name", "witness.example/w1", "--listen", "127.0.0.1:0", "--log", vkey + tree}, io.Discard, w)
			w.Close()
		}()
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		go io.Copy(io.Discard, r)
		said := regexp.MustCompile(`^witness (\S+) at (http://\S+) for 1 logs`).FindStringSubmatch(line)
		if said == nil {
			t.Fatalf("said %q", line)
		}
		v, err := checkpoint.WitnessVerifier(said[1])
		if err != nil {
			t.Fatal(err)
		}
		target := checkpoint.Witness{Name: "w1", Verifier: v, URL: said[2]}
		hasher := checkpoint.SHA256()
		if tree != "" {
			hasher = checkpoint.SM3()
		}
		prove := func(old, new uint64) ([][32]byte, []byte) {
			p, err := checkpoint.NewProver(hasher, 0, nil, old, new)
			if err != nil {
				t.Fatal(err)
			}
			for i := range new {
				if err := p.Append([32]byte{byte(i)}); err != nil {
					t.Fatal(err)
				}
			}
			proof, root, err := p.Proof()
			if err != nil {
				t.Fatal(err)
			}
			msg, err := checkpoint.Sign(checkpoint.Checkpoint{Origin: key.Name(), Size: new, Root: root}, key)
			if err != nil {
				t.Fatal(err)
			}
			return proof, msg
		}
		for _, step := range [][2]uint64{{0, 3}, {3, 6}} {
			proof, msg := prove(step[0], step[1])
			if _, err := witness.NewClient().Cosign(ctx, target, step[0], proof, msg); err != nil {
				t.Fatal(err)
			}
		}
		if code, _, stderr := command("witness", "--dir", dir+tree, "--listen", "127.0.0.1:0", "--log", vkey); code != 3 || !strings.Contains(stderr, "in use by process") || !strings.Contains(stderr, "two cannot keep one memory") {
			t.Errorf("a second one: exit %d, %s", code, stderr)
		}
		stop()
		if code := <-exit; code != 0 {
			t.Errorf("exit %d", code)
		}
		code, stdout, _ := command("witness", "key", "--dir", dir+tree)
		if code != 0 || stdout != said[1]+"\n" {
			t.Errorf("key: exit %d, %q, want %s", code, stdout, said[1])
		}
		if _, again, err := checkpoint.LogKey(key.Name(), evidencetest.Key(2)); err != nil {
			t.Fatal(err)
		} else if code, _, stderr := command("witness", "--dir", dir+tree, "--listen", "127.0.0.1:0", "--log", again); code != 2 || !strings.Contains(stderr, "cosigned under another key") {
			t.Errorf("another key of the log: exit %d, %s", code, stderr)
		}
		states, err := filepath.Glob(filepath.Join(dir+tree, "*", "checkpoint"))
		if err != nil || len(states) != 1 {
			t.Fatalf("states %v, %v", states, err)
		}
		if err := os.Truncate(states[0], 40); err != nil {
			t.Fatal(err)
		}
		if code, _, stderr := command("witness", "--dir", dir+tree, "--listen", "127.0.0.1:0", "--log", vkey); code != 3 || !strings.Contains(stderr, "put no older copy in its place") {
			t.Errorf("damaged state: exit %d, %s", code, stderr)
		}
	}
}

func TestWitnessMistakes(t *testing.T) {
	dir := t.TempDir()
	_, vkey, err := checkpoint.LogKey(checkpoint.Origin([16]byte{7}), evidencetest.Key(1))
	if err != nil {
		t.Fatal(err)
	}
	made := filepath.Join(dir, "made")
	code, w1, _ := command("witness", "key", "--dir", made, "--name", "witness.example/w1")
	if code != 0 || !strings.HasPrefix(w1, "witness.example/w1+") {
		t.Fatalf("exit %d, %q", code, w1)
	}
	if info, err := os.Stat(filepath.Join(made, "witness.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	damaged := filepath.Join(dir, "damaged")
	if err := errors.Join(os.Mkdir(damaged, 0o700), os.WriteFile(filepath.Join(damaged, "witness.key"), []byte("x"), 0o600)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		args []string
		exit int
		want string
	}{
		"no log":         {[]string{"--dir", made}, 2, "no log to cosign for is given"},
		"no vkey":        {[]string{"--dir", made, "--log", "box-1"}, 2, "copy the whole vkey"},
		"a witness's":    {[]string{"--dir", made, "--log", strings.TrimSpace(w1)}, 2, "copy the whole vkey"},
		"unknown hash":   {[]string{"--dir", made, "--log", vkey + ",sha1"}, 2, "copy the whole vkey"},
		"a log twice":    {[]string{"--dir", made, "--log", vkey, "--log", vkey + ",sm3"}, 2, "is given twice"},
		"another name":   {[]string{"--dir", made, "--log", vkey, "--name", "witness.example/w2"}, 2, `is that of witness "witness.example/w1", not "witness.example/w2"`},
		"no name":        {[]string{"--dir", filepath.Join(dir, "new"), "--log", vkey}, 2, "give the witness a name"},
		"name of spaces": {[]string{"--dir", filepath.Join(dir, "new"), "--log", vkey, "--name", "w 1"}, 2, "without spaces"},
		"damaged key":    {[]string{"--dir", damaged, "--log", vkey}, 2, "E-501"},
		"no address":     {[]string{"--dir", made, "--log", vkey, "--listen", "nowhere"}, 3, "choose another address"},
		"an argument":    {[]string{"--dir", made, "x"}, 2, "x"},
	} {
		var out, errs bytes.Buffer
		if exit := run(t.Context(), append([]string{"witness"}, c.args...), &out, &errs); exit != c.exit || !strings.Contains(errs.String(), c.want) || out.Len() != 0 {
			t.Errorf("%s: exit %d, %s", name, exit, errs.String())
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "new", "witness.key")); err == nil {
		t.Error("a key was made for a name that cannot be")
	}
}
