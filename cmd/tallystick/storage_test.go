//go:build linux

package main

import (
	"bytes"
	bin "encoding/binary"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers/sim"
)

func TestMistake15DiskFull(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.TCP, "127.0.0.1:0", 7)
	fast := strings.Replace(tcpSite(address, ""), "interval: 1s", "interval: 100ms", 1)
	many := ""
	for i := range 20 {
		many += fmt.Sprintf("  - {name: n%d, line: hall-a, address: %d, protocol: modbus-tcp, profile: eastron-sdm630, interval: 100ms}\n", i, i+20)
	}
	const hint = "tallystick: hint: free space there (df -h DIR/box), or lower buffer: quota: in the site file, then start again; readings since the last flush are lost, and the next start says so under signature\n"

	t.Run("at the start", func(t *testing.T) {
		t.Parallel()
		dir, path := site(t, fast)
		agent := background(t, "run", "--config", path)
		agent.says("reading 1 meter")
		agent.stop(0)
		// A stray byte makes the next leaf begin a segment of its own, and the
		// disk has no room for that.
		segment := segments(t, filepath.Join(dir, "box/sealed"))[0]
		change(t, segment, func(b []byte) []byte { return append(b, 1) })
		if err := os.Symlink("/dev/full", filepath.Join(dir, "box/sealed/segment.new")); err != nil {
			t.Fatal(err)
		}
		exit, _, stderr := command(t, dir, "run", "--config", path)
		want := "tallystick: error: E-404 no space for the history in DIR/box: append record 3: write DIR/box/sealed/segment.new: no space left on device\n" + hint
		same(t, "run", lastLines(stderr, 2), want)
		documented(t, want)
		if exit != 3 {
			t.Errorf("exit %d, want 3", exit)
		}
		agent = background(t, "run", "--config", path) // there is room again
		agent.says("reading 1 meter")
		agent.stop(0)
	})

	t.Run("while it runs", func(t *testing.T) {
		t.Parallel()
		dir, path := site(t, strings.Replace(fast, "buffer:", many+"buffer:", 1))
		cmd := child("small-files", "run", "--config", path)
		var stderr text
		cmd.Stderr = &stderr
		cmd.Run()
		got := tidy(dir, stderr.String())
		if exit := cmd.ProcessState.ExitCode(); exit != 3 {
			t.Errorf("exit %d, want 3", exit)
		}
		if strings.Contains(got, "panic") || strings.Contains(got, "goroutine ") {
			t.Errorf("panic:\n%s", got)
		}
		last := lastLines(got, 2)
		message, rest, _ := strings.Cut(last, "\n")
		same(t, "hint", rest, hint)
		if !strings.HasPrefix(message, "tallystick: error: E-404 no space for the history in DIR/box: ") || !strings.HasSuffix(message, ".log: file too large") {
			t.Errorf("message: %s", message)
		}
		if n := strings.Count(got, "E-404"); n != 1 {
			t.Errorf("said %d times:\n%s", n, got)
		}
		// With room again the history goes on.
		agent := background(t, "run", "--config", path)
		agent.says("reading 21 meters")
		agent.stop(0)
	})
}

// lastLines are the last n lines.
func lastLines(s string, n int) string {
	lines := strings.SplitAfter(s, "\n")
	return strings.Join(lines[max(0, len(lines)-1-n):], "")
}

func segments(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no segment in %s: %v", dir, err)
	}
	slices.Sort(names)
	return names
}

func change(t *testing.T, path string, with func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, with(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestMistake16StateFileDamaged(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.TCP, "127.0.0.1:0", 7)
	content := strings.Replace(tcpSite(address, ""), "interval: 1s", "interval: 100ms", 1)

	// A history of two segments, the second with a window of its own, and a
	// kill at the end that leaves polls in the journal.
	origin, path := site(t, content)
	for range 2 {
		agent := background(t, "run", "--config", path)
		agent.says("reading 1 meter")
		agent.stop(0)
		if s := segments(t, filepath.Join(origin, "box/sealed")); len(s) == 1 {
			change(t, s[0], func(b []byte) []byte { return append(b, 1) })
		}
	}
	cmd := child("plain", "run", "--config", path)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	size := func() (n int64) {
		names, _ := filepath.Glob(filepath.Join(origin, "box/open/*.log"))
		for _, name := range names {
			if info, err := os.Stat(name); err == nil {
				n += info.Size()
			}
		}
		return n
	}
	before := size()
	until(t, func() bool { return size() > before+600 }, func() string { return "the journal does not grow" })
	cmd.Process.Kill()
	cmd.Wait()
	if n := len(segments(t, filepath.Join(origin, "box/sealed"))); n != 2 {
		t.Fatalf("%d segments, want 2", n)
	}

	first := func(sub string) func(*testing.T, string) string {
		return func(t *testing.T, box string) string { return segments(t, filepath.Join(box, sub))[0] }
	}
	newest := func(t *testing.T, box string) string {
		s := segments(t, filepath.Join(box, "sealed"))
		return s[len(s)-1]
	}
	key := func(_ *testing.T, box string) string { return filepath.Join(box, "device.key") }
	middle := func(b []byte) []byte { b[len(b)/2] ^= 0x5a; return b }
	leaf := func(b []byte) []byte { // the first: behind head (44 bytes) and preamble
		b[44+bin.LittleEndian.Uint32(b[32:])+40] ^= 0x5a
		return b
	}
	cut := func(n int) func([]byte) []byte { return func(b []byte) []byte { return b[:min(n, len(b))] } }
	zero := func(n int) func([]byte) []byte { return func(b []byte) []byte { clear(b[:n]); return b } }
	const (
		stopped = "tallystick: hint: nothing was changed, and lenders keep what they have confirmed. Move DIR/box/sealed and DIR/box/open to a safe place, leave the key file, and start with tallystick run --declare-loss: a new history begins under the same key and says so. Never put back an older copy: lenders would see a forked history\n"
		goesOn  = `do="the agent goes on; where readings are missing lenders see a gap. Copy the directory, and replace the card or disk if this comes back (dmesg)"` + "\n"
		restore = "tallystick: hint: restore the file from your backup; with a new key the other side must accept you again\n"
	)
	for _, c := range []struct {
		name string
		file func(*testing.T, string) string
		how  func([]byte) []byte // nil: the file is removed
		exit int                 // 0: the agent starts all the same
		want string
	}{
		{"newest segment, byte in a leaf", newest, leaf, 4, "tallystick: error: E-407 the history in DIR/box cannot go on: DIR/box/sealed/NEWEST: record N is not what was written\n" + stopped},
		{"newest segment, head", newest, zero(44), 4, "tallystick: error: E-407 the history in DIR/box cannot go on: DIR/box/sealed/NEWEST: the head of the file is not what was written\n" + stopped},
		{"newest segment, emptied", newest, cut(0), 4, "tallystick: error: E-414 DIR/box: the history once went further than it does now: the disk lost what was recorded, or an older copy was put back\n" + stopped},
		{"newest segment, removed", newest, nil, 4, "tallystick: error: E-414 DIR/box: the history once went further than it does now: the disk lost what was recorded, or an older copy was put back\n" + stopped},
		{"newest segment, written by a newer version", newest, newerVersion, 3, "tallystick: error: E-402 open DIR/box/sealed: DIR/box/sealed/NEWEST: format version 2, this program knows version 1: written by a newer Tallystick, use that one\n" +
			"tallystick: hint: install the newer version again; this one leaves the files as they are\n"},
		{"old segment, byte in a leaf", first("sealed"), middle, 0, ""},
		{"old segment, head", first("sealed"), zero(44), 0, `level=ERROR msg="E-413 a part of what is stored in DIR/box is damaged and left out: sealed log: 00000000000000000000.log: header damaged" ` + goesOn},
		{"journal, byte in a record", first("open"), middle, 0, `level=ERROR msg="E-413 a part of what is stored in DIR/box is damaged and left out: journal: WHAT" ` + goesOn},
		{"journal, emptied", first("open"), cut(0), 0, `level=ERROR msg="E-413 a part of what is stored in DIR/box is damaged and left out: journal: WHAT" ` + goesOn},
		{"journal, removed", first("open"), nil, 0, `level=ERROR msg="E-413 a part of what is stored in DIR/box is damaged and left out: journal: WHAT" ` + goesOn},
		{"journal, cut in a record", first("open"), cut(300), 0, ""},
		{"key, cut", key, cut(100), 2, "tallystick: error: E-501 key file DIR/box/device.key: holds no PRIVATE KEY\n" + restore},
		{"key, emptied", key, cut(0), 2, "tallystick: error: E-501 key file DIR/box/device.key: holds no PRIVATE KEY\n" + restore},
		{"key, byte", key, keyByte, 2, "tallystick: error: E-501 key file DIR/box/device.key: the PRIVATE KEY in it is damaged\n" + restore},
		{"key, removed", key, nil, 2, "tallystick: error: E-502 key file DIR/box/device.key does not exist, but the history in DIR/box is signed with ed25519:KEY\n" + otherKey},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, path := site(t, content)
			box := filepath.Join(dir, "box")
			if err := os.CopyFS(box, os.DirFS(filepath.Join(origin, "box"))); err != nil {
				t.Fatal(err)
			}
			keep(t, box)
			file := c.file(t, box)
			if c.how == nil {
				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
			} else {
				change(t, file, c.how)
			}
			number := func(s string) string {
				s = strings.ReplaceAll(s, filepath.Base(newest(t, filepath.Join(origin, "box"))), "NEWEST")
				s = regexp.MustCompile(`journal: records? \d+[^"]*`).ReplaceAllString(s, "journal: WHAT")
				return regexp.MustCompile(`record \d+`).ReplaceAllString(s, "record N")
			}
			agent := background(t, "run", "--config", path)
			if c.exit == 0 {
				agent.says("reading 1 meter")
				agent.stop(0)
				same(t, "run", number(agent.warnings(dir)), c.want)
				if strings.HasPrefix(c.name, "journal, byte") {
					documented(t, strings.NewReplacer(`level=ERROR msg="`, "", `" do="`, "\n", "\"\n", "").Replace(c.want))
				}
				if !strings.HasPrefix(c.name, "old") {
					return
				}
				// What is damaged there is said when it is asked for.
				exit, _, stderr := command(t, dir, "log", "export", "--config", path, "-o", filepath.Join(dir, "all.tally"))
				if want := "tallystick: error: E-407 the history in DIR/box is damaged: DIR/box/sealed/00000000000000000000.log: "; exit != 4 || !strings.HasPrefix(stderr, want) || !strings.Contains(stderr, "\ntallystick: hint: choose --from and --to so that it is left out") {
					t.Errorf("export: exit %d, %s", exit, stderr)
				}
				return
			}
			agent.ends(c.exit)
			same(t, "run", number(tidy(dir, agent.stderr.String())), c.want)
			if c.name == "newest segment, byte in a leaf" || c.name == "key, byte" {
				documented(t, c.want)
			}
			if _, err := os.Stat(file); c.how == nil && err == nil {
				t.Error("the file was made anew")
			}
		})
	}

	t.Run("key of another box", func(t *testing.T) {
		t.Parallel()
		dir, path := site(t, content)
		box := filepath.Join(dir, "box")
		if exit, _, stderr := command(t, dir, "key", "show", "--config", path); exit != 0 {
			t.Fatal(stderr)
		}
		foreign, err := os.ReadFile(filepath.Join(box, "device.key"))
		if err != nil {
			t.Fatal(err)
		}
		os.RemoveAll(box)
		if err := os.CopyFS(box, os.DirFS(filepath.Join(origin, "box"))); err != nil {
			t.Fatal(err)
		}
		keep(t, box)
		change(t, filepath.Join(box, "device.key"), func([]byte) []byte { return foreign })
		exit, _, stderr := command(t, dir, "run", "--config", path)
		same(t, "run", stderr, "tallystick: error: E-503 key file DIR/box/device.key holds ed25519:KEY, but the history in DIR/box is signed with ed25519:KEY\n"+otherKey)
		if exit != 2 {
			t.Errorf("exit %d, want 2", exit)
		}
	})
}

const otherKey = "tallystick: hint: put this box's own key file back from your backup. Without it this history cannot go on: move DIR/box/sealed and DIR/box/open to a safe place and start with tallystick run --declare-loss; a new history begins, and each lender must be given its key\n"

// newerVersion makes the head of a segment one of format version 2
// (buffer/README.md: magic 8, version 4, their CRC-32C 4).
func newerVersion(b []byte) []byte {
	bin.LittleEndian.PutUint32(b[8:], 2)
	bin.LittleEndian.PutUint32(b[12:], crc32.Checksum(b[:12], crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// keyByte damages the key in its PEM file, which still reads as one.
func keyByte(b []byte) []byte { return bytes.Replace(b, []byte("MC4C"), []byte("MC4D"), 1) }

// keep gives the copied files the modes of the original.
func keep(t *testing.T, box string) {
	t.Helper()
	err := filepath.WalkDir(box, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			err = os.Chmod(path, 0o600)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestHistoryInUseIsNamed(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.TCP, "127.0.0.1:0", 7)
	dir, path := site(t, tcpSite(address, ""))
	agent := background(t, "run", "--config", path)
	agent.says("reading 1 meter")
	exit, _, stderr := command(t, dir, "run", "--config", path)
	same(t, "second agent", stderr, "tallystick: error: E-401 the history in DIR/box is in use by process PID\ntallystick: hint: one agent at a time can extend a history; see what runs: tallystick service status\n")
	if exit != 3 {
		t.Errorf("exit %d, want 3", exit)
	}
	agent.stop(0)

	exit, _, stderr = command(t, dir, "log", "export", "--config", path, "-o", filepath.Join(dir, "none", "x.tally"))
	if exit != 3 || !strings.HasPrefix(stderr, "tallystick: error: E-412 open DIR/none/.tally-") || !strings.Contains(stderr, ": no such file or directory\ntallystick: hint: see what is there: ls -ld DIR/none/.tally-") {
		t.Errorf("exit %d: %s", exit, stderr)
	}
}

// A site file half-written in a power cut does not stop a box that was told
// where the last good copy is; without that it is refused.
func TestLastGoodSiteFile(t *testing.T) {
	t.Parallel()
	address, _ := meters(t, sim.TCP, "127.0.0.1:0", 7)
	dir, path := site(t, tcpSite(address, ""))
	box := filepath.Join(dir, "box")
	agent := background(t, "run", "--config", path, "--last-good", box)
	agent.says("reading 1 meter")
	agent.stop(0)
	change(t, path, func(b []byte) []byte { return b[:len(b)/2] })
	if exit, _, stderr := command(t, dir, "run", "--config", path); exit != 2 {
		t.Errorf("exit %d without --last-good, want 2\n%s", exit, stderr)
	}
	agent = background(t, "run", "--config", path, "--last-good", box)
	agent.says("W-602")
	agent.says("reading 1 meter")
	agent.stop(0)
}
