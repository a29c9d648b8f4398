package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReportCommand(t *testing.T) {
	file, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	out := filepath.Join(t.TempDir(), "report.html")
	if exit, _, stderr := command("report", file, "--key", key, "-o", out); exit != 0 || !strings.Contains(stderr, "verified") {
		t.Fatalf("exit %d, %s", exit, stderr)
	}
	page, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(text)
	for _, want := range []string{`lang="zh-CN"`, "核验通过", key, hex.EncodeToString(digest[:]), "tally-lender verify x.tally --key " + key} {
		if !strings.Contains(string(page), want) {
			t.Errorf("the page does not have %q", want)
		}
	}
	if strings.Contains(string(page), "文件自称") {
		t.Error("the key was given, the page says it was not")
	}
	if _, stdout, _ := command("report", file, "--lang", "en"); !strings.Contains(stdout, `lang="en"`) || !strings.Contains(stdout, "no key was given") {
		t.Errorf("in English: %s", stdout)
	}
	for _, args := range [][]string{{"--lang", "fr"}, {"--zone", "Nowhere/None"}} {
		if exit, stdout, _ := command(append([]string{"report", file}, args...)...); exit != 2 || stdout != "" {
			t.Errorf("%v: exit %d", args, exit)
		}
	}
}

// The digest on the page is that of the whole file, also of one that is cut.
func TestReportOfACutFile(t *testing.T) {
	file, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	cut := append(bytes.Clone(text[:len(text)-3]), 0xff) // no item begins so
	cut = append(cut, make([]byte, 100_000)...)
	if err := os.WriteFile(file, cut, 0o600); err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256(cut)
	exit, stdout, stderr := command("report", file, "--key", key)
	if exit == 0 || !strings.Contains(stdout, hex.EncodeToString(digest[:])) {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}
