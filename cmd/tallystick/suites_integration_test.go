//go:build integration && linux

package main

import (
	"bytes"
	"encoding/pem"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/uplink/custody/counter"
	"github.com/tallystick/tallystick/uplink/custody/custodytest"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// TestIntegrationSuites runs a box in each suite, rotates its key and runs it
// again. Its export verifies in Go, in Python, and leaf by leaf with OpenSSL;
// the lender keeps the key it was given.
func TestIntegrationSuites(t *testing.T) {
	for name, signing := range map[string]func(*testing.T) string{
		"ed25519 in a file": func(*testing.T) string { return "" },
		"es256 in a TPM":    func(t *testing.T) string { return "signing: {tpm: " + swtpm(t) + "}\n" },
		"sm2 in a file":     func(*testing.T) string { return "signing: {suite: sm2}\n" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, k := onDefaultBroker(t)
			b.more = signing(t)
			key := b.key()
			watch := k.watch(key, "--json")
			run := b.run()
			confirmed(t, 1, watch)
			run.stop(t)
			before := exported(t, b, key)
			if want := strings.Fields(name)[0] + ":"; !strings.HasPrefix(key, want) {
				t.Errorf("key %s, want %s", key, want)
			}

			old := privateKey(t, filepath.Join(b.history(), "device.key"))
			now := strings.TrimSpace(output(t, binary(t, "tallystick"), "keys", "rotate", "--config", b.site()))
			if now == key || b.key() != key {
				t.Errorf("after the rotation %s signs; lenders are to pin %s, before it was %s", now, b.key(), key)
			}
			gone(t, b.dir, old)

			run = b.run()
			confirmed(t, 1, watch)
			run.stop(t)
			watch.stop(t)
			after := exported(t, b, key)
			if v := judged(t, 0, k.archive(b.log()), "--key", key); v.Verdict != "verified" || v.Leaves != len(after) {
				t.Errorf("the lender's archive: %+v", v)
			}

			second(t, key, now, after)
			counters := 0
			for i, d := range after {
				if i < len(before) && !bytes.Equal(d.Sign1, before[i].Sign1) {
					t.Errorf("leaf %d is another after the rotation", i)
				}
				if d.Manifest.Counter != nil {
					counters++
				}
			}
			if strings.HasSuffix(name, "TPM") {
				counted(t, after)
			} else if counters > 0 {
				t.Errorf("%d counter leaves without a TPM", counters)
			}
		})
	}
}

// exported has the box's whole history checked by both verifiers.
func exported(t *testing.T, b *box, key string) (ds []evidence.UnverifiedDelivery) {
	t.Helper()
	file := b.export("all.tally")
	ds = deliveries(t, file)
	if v := judged(t, 0, file, "--key", key); v.Verdict != "verified" || v.Leaves != len(ds) || v.Readings == 0 {
		t.Errorf("tally-lender: %+v of %d leaves", v, len(ds))
	}
	if says := verifyPy(t, 0, file, key); !strings.Contains(says, `"verified"`) {
		t.Errorf("verify.py: %s", says)
	}
	return ds
}

// second has OpenSSL check the signatures of some leaves: under the first key
// the first one and the rotation, under the next one what follows it.
func second(t *testing.T, first, next string, ds []evidence.UnverifiedDelivery) {
	t.Helper()
	rotation := -1
	for i, d := range ds {
		if d.Manifest.Rotation != nil {
			rotation = i
		}
	}
	if rotation < 0 {
		t.Fatal("no rotation leaf")
	}
	for i, by := range map[int]string{0: first, rotation: first, rotation + 1: next, len(ds) - 1: next} {
		key, err := evidence.ParsePublicKey(by)
		if err != nil {
			t.Fatal(err)
		}
		var sign1 cbor.RawTag
		if err := cbor.Unmarshal(ds[i].Sign1, &sign1); err != nil {
			t.Fatal(err)
		}
		var m struct {
			_                  struct{} `cbor:",toarray"`
			Protected          []byte
			Unprotected        map[int]any
			Payload, Signature []byte
		}
		if err := cbor.Unmarshal(sign1.Content, &m); err != nil {
			t.Fatal(err)
		}
		signed, err := cbor.Marshal([]any{"Signature1", m.Protected, []byte{}, m.Payload}) // RFC 9052 section 4.4
		if err != nil {
			t.Fatal(err)
		}
		custodytest.OpenSSLVerify(t, uint64(key.Suite()), key.Bytes(), signed, m.Signature)
	}
}

// counted checks that each run has its counter certified by the TPM over the
// history before it, one higher each time.
func counted(t *testing.T, ds []evidence.UnverifiedDelivery) {
	t.Helper()
	record := ds[0].Manifest.Genesis.Key
	if record.Custody != "tpm" {
		t.Errorf("kept in %q", record.Custody)
	}
	var values []uint64
	for _, d := range ds {
		c := d.Manifest.Counter
		if c == nil {
			continue
		}
		value, err := counter.Verify(record.Attestation, c.Handle, c.Attest, c.Signature, d.Manifest.Root)
		if err != nil {
			t.Errorf("leaf %d: %v", d.Manifest.N, err)
		}
		values = append(values, value)
	}
	if len(values) != 2 || values[1] != values[0]+1 {
		t.Errorf("the TPM counted %v in two runs", values)
	}
}

// privateKey is the private part of a key file.
func privateKey(t *testing.T, file string) []byte {
	t.Helper()
	rest, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			t.Fatalf("%s holds no private key", file)
		}
		if strings.HasSuffix(block.Type, "PRIVATE KEY") {
			return pem.EncodeToMemory(block)
		}
	}
}

// gone checks that no file below dir holds a key.
func gone(t *testing.T, dir string, key []byte) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, key) {
			t.Errorf("%s still holds the old key", path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// swtpm starts a TPM 2.0 by other people and returns its socket.
func swtpm(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "swtpm") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	cmd := exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+dir, "--server", "type=unixio,path="+socket, "--flags", "not-need-init,startup-clear")
	if err := cmd.Start(); err != nil {
		t.Fatalf("Debian package swtpm is needed: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		os.RemoveAll(dir)
	})
	eventually(t, 5*time.Second, "swtpm listens", func() bool {
		c, err := net.Dial("unix", socket)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return socket
}
