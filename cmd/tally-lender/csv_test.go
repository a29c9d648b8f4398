package main

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCSVCommand(t *testing.T) {
	good, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	out := filepath.Join(t.TempDir(), "out.csv")
	exit, stdout, stderr := command("csv", good, "--key", key, "-o", out, "--channel", "energy", "--meter", "oven,press-2")
	if exit != 0 || stdout != "" || !strings.Contains(stderr, `no row is of meter "press-2"`) {
		t.Errorf("exit %d, %q, %s", exit, stdout, stderr)
	}
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\r\n"); n != 19 {
		t.Errorf("%d lines, want a head and 18:\n%s", n, text)
	}
	if exit, _, stderr := command("csv", good, "--channel", "heat"); exit != 2 || !strings.Contains(stderr, "no such channel; there are energy,") {
		t.Errorf("unknown channel: exit %d, %s", exit, stderr)
	}
	if exit, stdout, _ := command("csv", good, "--key", key, "--channel", "1"); exit != 0 || strings.Count(stdout, "\r\n") != 37 {
		t.Errorf("on stdout: exit %d, %d lines", exit, strings.Count(stdout, "\r\n"))
	}
}

// What verifies is written, what does not is counted, and the exit code is
// that of verify. Where nothing can be read no file is left behind.
func TestCSVCommandOfDamagedFiles(t *testing.T) {
	altered, key := bundleOf(t, func(ds [][]byte) [][]byte {
		ds[3] = bytes.Clone(ds[3])
		ds[3][len(ds[3])-1] ^= 1
		return ds
	})
	out := filepath.Join(t.TempDir(), "out.csv")
	if exit, _, stderr := command("csv", altered, "--key", key, "-o", out); exit != 4 || !strings.Contains(stderr, "left out: 1 leaves") {
		t.Errorf("altered: exit %d, %s", exit, stderr)
	}
	if text, err := os.ReadFile(out); err != nil || strings.Contains(string(text), ",3,D\r\n") || !strings.Contains(string(text), ",4,D\r\n") {
		t.Errorf("altered: %v\n%s", err, text)
	}
	gap, _ := bundleOf(t, func(ds [][]byte) [][]byte { return slices.Delete(ds, 3, 4) })
	if exit, _, _ := command("csv", gap, "--key", key, "-o", out); exit != 1 {
		t.Errorf("gap: exit %d", exit)
	}
	dir := t.TempDir()
	none := filepath.Join(dir, "none.csv")
	if exit, _, stderr := command("csv", out, "-o", none); exit != 3 || !strings.Contains(stderr, "E-409") {
		t.Errorf("no bundle: exit %d, %s", exit, stderr)
	}
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
}
