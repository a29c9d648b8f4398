//go:build unix

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime/metrics"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// TestVerifyOfAnything: what is no bundle, or one that this program cannot
// read, is said to be so in one sentence that names the file, with what to do.
func TestVerifyOfAnything(t *testing.T) {
	dir := t.TempDir()
	good, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	// Keys 1 and 2 of the header are magic and version, the first item of the file.
	newer := bytes.Replace(whole, []byte("\x65tally\x02\x01"), []byte("\x65tally\x02\x02"), 1)
	leaf := bytes.Replace(whole, []byte{0x14, 0x01, 0x15, 0x01, 0x16}, []byte{0x14, 0x02, 0x15, 0x01, 0x16}, -1) // version of the genesis
	if bytes.Equal(newer, whole) || bytes.Equal(leaf, whole) {
		t.Fatal("the versions do not stand where this test looks for them")
	}
	pipe := filepath.Join(dir, "pipe")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, file string
		exit       int
		says       string
	}{
		{"nothing", write("empty.tally", nil), 3, "E-409 FILE: not a Tallystick bundle"},
		{"noise without an end", "/dev/urandom", 3, "E-409 FILE: not a Tallystick bundle"},
		{"zeros without an end", "/dev/zero", 3, "E-409 FILE: not a Tallystick bundle"},
		{"a directory", dir, 3, "E-412 FILE: is a directory"},
		{"a pipe that nobody writes to", pipe, 3, "E-412 FILE: is a pipe"},
		{"a photograph", write("photo.tally", []byte("\xff\xd8\xff\xe0\x00\x10JFIF\x00 and so on")), 3, "E-409 FILE: not a Tallystick bundle"},
		{"a newer file", write("newer.tally", newer), 3, "E-402 FILE: bundle format version 2, this is version 1"},
		{"a newer log", write("leaf.tally", leaf), 3, "format version 2, this is version 1"},
		{"half a header", write("half.tally", whole[:200]), 3, "E-410 FILE: bundle header: cut short"},
		{"a header alone that says of an item without end", write("item.tally",
			append(bytes.Clone(whole[:bytes.Index(whole, []byte{0x82, 0x58})-2]), 0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff)), 3, "the file is cut short or damaged at byte"},
	} {
		for _, args := range [][]string{{"verify", c.file}, {"verify", c.file, "--key", key}} {
			exit, stdout, stderr := command(args...)
			if exit != c.exit || !strings.Contains(stderr, strings.ReplaceAll(c.says, "FILE", c.file)) {
				t.Errorf("%s: exit %d, want %d with %q\n%s", c.name, exit, c.exit, c.says, stderr)
			}
			if strings.Contains(c.says, "E-") && !strings.Contains(stderr, "hint: ") {
				t.Errorf("%s: no word of what to do\n%s", c.name, stderr)
			}
			if strings.Contains(stderr, "altered") || stdout != "" {
				t.Errorf("%s: accused, or printed for machines:\n%s%s", c.name, stdout, stderr)
			}
		}
	}
}

// TestVerifyMemory: a file of a gigabyte, of items as large as there may be, is
// read in the memory of a few of them.
func TestVerifyMemory(t *testing.T) {
	const item, items = 4 << 20, 256 // evidence.MaxDelivery; 1 GiB
	good, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds[:0] })
	f, err := os.OpenFile(good, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	at, err := f.Seek(0, 2)
	if err != nil {
		t.Fatal(err)
	}
	head := binary.BigEndian.AppendUint32([]byte{0x5a}, item)
	for range items { // between the heads the file has holes
		if _, err := f.WriteAt(head, at); err != nil {
			t.Fatal(err)
		}
		at += int64(len(head)) + item
	}
	if err := f.Truncate(at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	done, peak := make(chan struct{}), make(chan uint64)
	before := inUse()
	go func() {
		most := uint64(0)
		for {
			select {
			case <-done:
				peak <- most
				return
			case <-time.After(time.Millisecond):
				most = max(most, inUse())
			}
		}
	}()
	exit, _, stderr := command("verify", good, "--key", key)
	close(done)
	grown := int64(<-peak) - int64(before)
	if exit != 3 || !strings.Contains(stderr, "unreadable") {
		t.Errorf("exit %d\n%s", exit, stderr)
	}
	if grown > 32<<20 {
		t.Errorf("%d bytes of file took %d bytes of memory, limit %d", at, grown, 32<<20)
	}
	t.Logf("%d MiB of file, %.1f MiB of memory", at>>20, float64(grown)/(1<<20))
}

// inUse is what the Go runtime holds of the machine's memory.
func inUse() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64() - s[1].Value.Uint64()
}

// TestSummaryIsWhole: a program that reads the summary finds each field of it, whatever
// was checked, and no list is null.
func TestSummaryIsWhole(t *testing.T) {
	good, key := bundleOf(t, func(ds [][]byte) [][]byte { return ds })
	gaps, _ := bundleOf(t, func(ds [][]byte) [][]byte { return append(ds[:3:3], ds[4:]...) })
	one, other := evidencetest.NewStream(t, 1, 4), evidencetest.NewStream(t, 1, 1)
	d, err := other.Writer.Window(evidencetest.Event(1, evidencetest.SmallMS), evidencetest.SmallWindow(9), nil)
	other.Add(t, d, err)
	proof := filepath.Join(t.TempDir(), "x.fork")
	command("compare", fileOf(t, one), fileOf(t, other), "--key", key, "--proof", proof)
	twice, _ := bundleOf(t, func(ds [][]byte) [][]byte { return append(ds[:3:3], ds[2:]...) })
	for name, c := range map[string]struct {
		args    []string
		exit    int
		verdict string
	}{
		"verified": {[]string{good, "--key", key}, 0, "verified"},
		"gaps":     {[]string{gaps, "--key", key}, 1, "gaps"},
		"fork":     {[]string{proof, "--key", key}, 4, "forked"},
		"twice":    {[]string{twice, "--key", key}, 1, "replayed"},
		"stranger": {[]string{good, "--key", evidencetest.PublicKey(9).String()}, 4, "wrong-key"},
	} {
		exit, stdout, stderr := command(append([]string{"verify", "--json"}, c.args...)...)
		var m map[string]any
		if err := json.Unmarshal([]byte(stdout), &m); err != nil || exit != c.exit || m["verdict"] != c.verdict {
			t.Errorf("%s: exit %d, %v\n%s%s", name, exit, err, stdout, stderr)
			continue
		}
		for _, list := range []string{"gaps", "altered", "forks", "refused", "assumptions", "reasons"} {
			items, ok := m[list].([]any)
			if !ok || list == "altered" && len(items) > 0 {
				t.Errorf("%s: %s is %v", name, list, m[list])
			}
		}
		for _, number := range []string{"windows", "readings"} {
			if _, ok := m[number].(float64); !ok {
				t.Errorf("%s: %s is %v", name, number, m[number])
			}
		}
		if _, ok := m["grade_counts"].(map[string]any); !ok {
			t.Errorf("%s: grade_counts is %v", name, m["grade_counts"])
		}
	}
}
