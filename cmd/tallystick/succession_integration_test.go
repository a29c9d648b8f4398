//go:build integration && linux

package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestIntegrationSuccession: a box goes on under a key of another suite, or in a TPM.
// Its history ends once the lender has all of it, the old key is erased, and both
// verifiers find that each log names the other.
func TestIntegrationSuccession(t *testing.T) {
	for name, signing := range map[string]func(*testing.T) string{
		"es256 in a TPM": func(t *testing.T) string { return "signing: {tpm: " + swtpm(t) + "}\n" },
		"sm2 in a file":  func(*testing.T) string { return "signing: {suite: sm2}\n" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, k := onDefaultBroker(t)
			key := b.key()
			watch := k.watch(key, "--json")
			run := b.run()
			confirmed(t, 1, watch)
			run.stop(t)
			watch.stop(t)

			next := &box{t: t, dir: t.TempDir(), meter: b.meter, more: signing(t), banks: b.banks}
			rotate := []string{"keys", "rotate", "--config", b.site(), "--to", next.site()}
			_, says := exits(t, 3, binary(t, "tallystick"), rotate...)
			if !strings.Contains(says, "E-506 lender bank-a has not confirmed leaves ") {
				t.Errorf("without the lender: %s", says)
			}

			watch = k.watch(key, "--json")
			secret := privateKey(t, filepath.Join(b.history(), "device.key"))
			heir := strings.TrimSpace(output(t, binary(t, "tallystick"), rotate...))
			watch.stop(t)
			if want := strings.Fields(name)[0] + ":"; !strings.HasPrefix(heir, want) || heir != next.key() {
				t.Errorf("goes on with key %s, want %s; the new site file has %s", heir, want, next.key())
			}
			gone(t, b.dir, secret)
			if again := strings.TrimSpace(output(t, binary(t, "tallystick"), rotate...)); again != heir {
				t.Errorf("a second time: %s", again)
			}
			if says := b.refuses(2); !strings.Contains(says, "E-502 ") {
				t.Errorf("the old history: %s", says)
			}

			watch = k.watch(heir, "--json")
			run = next.run()
			confirmed(t, 1, watch)
			run.stop(t)
			watch.stop(t)

			for file, pin := range map[string]string{k.archive(b.log()): key, k.archive(next.log()): heir, b.export("all.tally"): key, next.export("all.tally"): heir} {
				if v := judged(t, 0, file, "--key", pin); v.Verdict != "verified" {
					t.Errorf("%s: %+v", file, v)
				}
			}
			old, now := k.archive(b.log()), next.export("all.tally")
			first := deliveries(t, now)[0].Manifest
			if g := first.Genesis; g == nil || g.Prev == nil || g.Prev.Why != "suite" || g.Prev.N != uint64(len(deliveries(t, old))) {
				t.Errorf("the second log begins with %+v", first)
			}
			if _, says := exits(t, 0, binary(t, "tally-lender"), "compare", old, now, "--key", key); !strings.Contains(says, heir) {
				t.Errorf("tally-lender: %s", says)
			}
			exits(t, 4, binary(t, "tally-lender"), "compare", now, old, "--key", heir)
			python := []string{"../../uplink/evidence/interop/verify.py", "--continues"}
			exits(t, 0, "/usr/bin/python3", append(python, old, now, key)...)
			exits(t, 4, "/usr/bin/python3", append(python, now, old, heir)...)

		})
	}
}
