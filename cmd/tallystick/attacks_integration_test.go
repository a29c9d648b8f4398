//go:build integration && linux

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// verifyPy is the second verifier of evidence, in Python.
func verifyPy(t *testing.T, code int, args ...string) string {
	t.Helper()
	stdout, _ := exits(t, code, "/usr/bin/python3", append([]string{"../../uplink/evidence/interop/verify.py"}, args...)...)
	return stdout
}

// onDefaultBroker is a box at one lender, on a mosquitto without rights.
func onDefaultBroker(t *testing.T) (*box, *creditor) {
	t.Helper()
	port := freePort(t)
	mosquitto(t, port)
	b := newBox(t, "")
	return b, newCreditor(t, "bank-a", "energy, power", fmt.Sprintf("broker: mqtt://127.0.0.1:%d", port), b)
}

// TestIntegrationForkedBox: a box whose disk was copied runs twice and tells
// each lender another story, each on its own broker. (On one, the two retained
// meta messages would already contradict each other.) Neither can see it alone;
// side by side they have a proof that others can check, with other programs.
func TestIntegrationForkedBox(t *testing.T) {
	b, bankA := onDefaultBroker(t)
	port := freePort(t)
	mosquitto(t, port)
	bankB := newCreditor(t, "bank-b", "voltage-current", fmt.Sprintf("broker: mqtt://127.0.0.1:%d", port), b)
	key := b.key()
	watchA, watchB := bankA.watch(key, "--json"), bankB.watch(key, "--json")
	first := b.run()
	confirmed(t, 1, watchA, watchB)
	first.stop(t)

	twin := b.copied()
	b.banks, twin.banks = b.banks[:1], twin.banks[1:]
	log := b.log()
	original, copied := b.run(), twin.run()
	confirmed(t, 2, watchA, watchB)
	for _, p := range []*process{original, copied, watchA, watchB} {
		p.stop(t)
	}
	for _, k := range []*creditor{bankA, bankB} {
		if v := judged(t, 0, k.archive(log), "--key", key); v.Verdict != "verified" {
			t.Errorf("%s alone: %+v", k.name, v)
		}
	}

	tally := binary(t, "tally-lender")
	proof := filepath.Join(t.TempDir(), "x.fork")
	_, says := exits(t, 4, tally, "compare", bankA.archive(log), bankB.archive(log), "--key", key, "--proof", proof)
	if !strings.HasPrefix(says, "forked (分叉): the box signed two different leaves with index ") || !strings.Contains(says, "proof in "+proof) {
		t.Errorf("compare says %q", says)
	}
	_, says = exits(t, 4, tally, "verify", proof, "--key", key)
	if !strings.Contains(says, ": forked (分叉); log "+log.String()) || !strings.Contains(says, "the box signed two different leaves with index ") {
		t.Errorf("verify says %q of the proof", says)
	}
	if says := verifyPy(t, 4, "--fraud", proof, key); !strings.HasPrefix(says, "forked: ") {
		t.Errorf("verify.py says %q of the proof", says)
	}
}

// proofs are the files that prove forks, beside an archive.
func (k *creditor) proofs(log evidence.LogID) []string {
	k.t.Helper()
	found, err := filepath.Glob(filepath.Join(filepath.Dir(k.archive(log)), "forks", "*.fork"))
	if err != nil {
		k.t.Fatal(err)
	}
	return found
}

// caught checks that the lender's screen says that the box forked, and that two
// verifiers agree on the proof it kept.
func caught(t *testing.T, k *creditor, watch *process, key string, log evidence.LogID) {
	t.Helper()
	eventually(t, 30*time.Second, "the lender's screen says forked", func() bool {
		return strings.Contains(strings.Join(watch.output(), ""), "the box signed two different leaves with index")
	})
	watch.stop(t)
	for _, line := range watch.output() {
		if strings.Contains(line, "the box signed two different leaves with index") && !strings.Contains(line, "forked  分叉 X") {
			t.Errorf("the screen says %q", line)
		}
	}
	found := k.proofs(log)
	if len(found) == 0 {
		t.Fatal("no proof was kept")
	}
	if _, says := exits(t, 4, binary(t, "tally-lender"), "verify", found[0], "--key", key); !strings.Contains(says, "forked (分叉)") {
		t.Errorf("verify says %q of the proof", says)
	}
	if says := verifyPy(t, 4, "--fraud", found[0], key); !strings.HasPrefix(says, "forked: ") {
		t.Errorf("verify.py says %q of the proof", says)
	}
}

// Yesterday's directory is put back: with the note of what the key has signed
// the lender tells, without it the box.
func TestIntegrationAttackRestoredDirectory(t *testing.T) {
	t.Parallel()
	b, k := onDefaultBroker(t)
	key := b.key()
	watch := k.watch(key)
	run := b.run()
	confirmed(t, 1, watch)
	run.stop(t)
	yesterday := b.copied()
	run = b.run()
	confirmed(t, 2, watch)
	run.stop(t)
	log := b.log()

	note := b.history() + "/device.key.used"
	today, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	restore(t, b, yesterday)
	restored, err := os.ReadFile(note)
	if err != nil {
		t.Fatal(err)
	}
	write(t, note, string(today))
	says := b.refuses(3)
	for _, want := range []string{"E-417 the key of this box has signed ", "leaves of log " + log.String(), "an older copy was put back", "tallystick run --declare-loss"} {
		if !strings.Contains(says, want) {
			t.Errorf("the box says %q, want %q in it", says, want)
		}
	}

	write(t, note, string(restored))
	run = b.run()
	caught(t, k, watch, key, log)
	run.kill()
	if !strings.Contains(run.stderr.String(), "E-315 the lender has more of this history than this box") {
		t.Errorf("the box says %q", run.stderr.String())
	}
	// What the lender keeps is the history it had; what the box now has is not.
	if v := judged(t, 0, k.archive(log), "--key", key); v.Verdict != "verified" {
		t.Errorf("the archive: %+v", v)
	}
	exits(t, 4, binary(t, "tally-lender"), "compare", k.archive(log), b.export("now.tally"), "--key", key, "--proof", filepath.Join(t.TempDir(), "p"))
}

// restore puts the files of from back into b.
func restore(t *testing.T, b, from *box) {
	t.Helper()
	if err := os.RemoveAll(b.history()); err != nil {
		t.Fatal(err)
	}
	output(t, "cp", "-a", from.history(), b.history())
}

// The card of the box is copied into another one, and both run.
func TestIntegrationAttackClonedBox(t *testing.T) {
	t.Parallel()
	b, k := onDefaultBroker(t)
	key := b.key()
	watch := k.watch(key)
	run := b.run()
	confirmed(t, 1, watch)
	run.stop(t)
	clone := b.copied()
	original, twin := b.run(), clone.run()
	caught(t, k, watch, key, b.log())
	original.kill()
	twin.kill()
}

// The history is deleted and the key kept: to begin anew without a word, or
// with one.
func TestIntegrationAttackDeletedLog(t *testing.T) {
	t.Parallel()
	b, k := onDefaultBroker(t)
	key := b.key()
	watch := k.watch(key)
	run := b.run()
	confirmed(t, 1, watch)
	run.stop(t)
	first := b.log()

	removeLog(t, b)
	says := b.refuses(3)
	for _, want := range []string{"E-417 the key of this box has signed ", "does not hold that log", "tallystick run --declare-loss"} {
		if !strings.Contains(says, want) {
			t.Errorf("the box says %q, want %q in it", says, want)
		}
	}
	run = b.run("--declare-loss")
	confirmed(t, 1, watch)
	run.stop(t)
	second := b.log()

	removeLog(t, b)
	if err := os.Remove(b.history() + "/device.key.used"); err != nil {
		t.Fatal(err)
	}
	run = b.run()
	confirmed(t, 1, watch)
	run.stop(t)
	third := b.log()
	watch.stop(t)

	var warned []string
	for line := range strings.Lines(watch.stderr.String()) {
		if strings.Contains(line, "msg=second-log") {
			warned = append(warned, line)
		}
	}
	said := strings.Join(warned, "")
	for _, want := range []string{
		fmt.Sprintf("the same key has begun log %s, and declares for it: loss, after ", second),
		fmt.Sprintf("the same key has begun log %s, and does not say why; of log %s ", third, first),
		fmt.Sprintf("the same key has begun log %s, and does not say why; of log %s ", third, second),
	} {
		if !strings.Contains(said, want) {
			t.Errorf("the lender is told %q, want %q in it", said, want)
		}
	}
	for log, declared := range map[evidence.LogID]bool{second: true, third: false} {
		genesis, _ := exits(t, 0, binary(t, "tally-lender"), "show", k.archive(log), "--leaf", "0", "--key", key)
		if strings.Contains(genesis, "continues  log "+first.String()) != declared {
			t.Errorf("log %s opens with\n%s", log, genesis)
		}
	}
	// Each is a good log of its own; that there are three is what tells.
	for _, log := range []evidence.LogID{first, second, third} {
		if v := judged(t, 0, k.archive(log), "--key", key); v.Verdict != "verified" || v.Log != log.String() {
			t.Errorf("%+v", v)
		}
	}
}

func removeLog(t *testing.T, b *box) {
	t.Helper()
	for _, dir := range []string{"sealed", "open"} {
		if err := os.RemoveAll(filepath.Join(b.history(), dir)); err != nil {
			t.Fatal(err)
		}
	}
}

// setBack is when, after its start, and by how many seconds the clock of the box
// below is set back.
const (
	setBackAfter = 5 * time.Second
	setBackBy    = 3600
)

// timeTraveller is the agent's binary with a wall clock that is set back while it
// runs, and nothing else changed: it is built with that in the one place of
// Go's library where the wall clock is read. (libfaketime does nothing for a
// program that does without libc.)
func timeTraveller(t *testing.T) string {
	t.Helper()
	root := strings.TrimSpace(output(t, "go", "env", "GOROOT"))
	original := filepath.Join(root, "src", "time", "time.go")
	source, err := os.ReadFile(original)
	if err != nil {
		t.Fatal(err)
	}
	const place = "\tmono -= startNano\n\tsec +="
	if strings.Count(string(source), place) != 1 {
		t.Fatalf("%s reads the clock in another way than this test knows", original)
	}
	dir := t.TempDir()
	patched, overlay, binary := filepath.Join(dir, "time.go"), filepath.Join(dir, "overlay.json"), filepath.Join(dir, "tallystick")
	write(t, patched, strings.Replace(string(source), place, fmt.Sprintf("\tmono -= startNano\n\tif mono > %d {\n\t\tsec -= %d\n\t}\n\tsec +=", setBackAfter, setBackBy), 1))
	replace, err := json.Marshal(map[string]any{"Replace": map[string]string{original: patched}})
	if err != nil {
		t.Fatal(err)
	}
	write(t, overlay, string(replace))
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-overlay", overlay, "-o", binary, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return binary
}

// The clock of the box is set back by an hour, to tell some time twice.
func TestIntegrationAttackClockSetBack(t *testing.T) {
	t.Parallel()
	traveller := timeTraveller(t)
	b, k := onDefaultBroker(t)
	key := b.key()
	watch := k.watch(key)
	run := start(t, traveller, "run", "--config", b.site())
	eventually(t, 30*time.Second, "the lender's screen says that the clock was set back", func() bool {
		return strings.Contains(strings.Join(watch.output(), ""), "the box's clock was set back")
	})
	confirmed(t, 1, watch)
	run.stop(t)
	watch.stop(t)
	for line := range strings.Lines(strings.Join(watch.output(), "")) {
		if strings.Contains(line, "the box's clock was set back") && !regexp.MustCompile(`verified  核验通过 C .* the window begins 1h0m\d*s before the end of the one before: `).MatchString(line) {
			t.Errorf("the screen says %q", line)
		}
	}

	archive := k.archive(b.log())
	steps := 0
	for _, d := range deliveries(t, archive) {
		if s := d.Manifest.Step; s != nil {
			steps++
			if by := s.Before - s.After; by < (setBackBy-2)*1000 || by > (setBackBy+2)*1000 {
				t.Errorf("leaf %d: the clock went back by %d ms, it was set back by %d s", d.Manifest.N, by, setBackBy)
			}
		}
	}
	if steps != 1 {
		t.Errorf("%d clock step leaves", steps)
	}
	v := judged(t, 0, archive, "--config", k.config())
	if v.Verdict != "verified" || v.Grade != "C" || !slices.ContainsFunc(v.Reasons, func(r verify.Reason) bool { return r.Code == "clock-backwards" }) {
		t.Errorf("%+v", v)
	}

	// Meanwhile no poll was left out; there is one a second.
	f, err := os.Open(b.export("all.tally"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	pinned, err := evidence.ParsePublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var begin, last time.Time
	_, err = verify.Bundle(f, verify.Policy{Pinned: []evidence.PublicKey{pinned}}, func(r verify.Result) {
		if begin.IsZero() {
			begin = r.From
		}
		if r.Window == nil {
			return
		}
		for p := range r.Window.Values() {
			if p.Quantity != "energy_import" {
				continue
			}
			at := p.Time
			if at.Before(begin) {
				at = at.Add(setBackBy * time.Second)
			}
			if !last.IsZero() && at.Sub(last) > 1500*time.Millisecond {
				t.Errorf("no poll for %v after %v", at.Sub(last), last)
			}
			last = at
		}
	})
	if err != nil || last.IsZero() {
		t.Fatalf("polls until %v, %v", last, err)
	}
}
