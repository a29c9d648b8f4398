//go:build integration

package tpm

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-tpm/tpm2"

	"github.com/tallystick/tallystick/uplink/custody"
	"github.com/tallystick/tallystick/uplink/custody/counter"
	"github.com/tallystick/tallystick/uplink/custody/custodytest"
	"github.com/tallystick/tallystick/uplink/custody/suite"
	"github.com/tallystick/tallystick/uplink/keyfile"
)

const nvHandle = 0x01800042

// chip is a TPM 2.0 by other people (Debian swtpm), with its state in a
// directory as a real one has it in flash.
type chip struct {
	t      *testing.T
	dir    string
	socket string
	cmd    *exec.Cmd
}

func newChip(t *testing.T) *chip {
	dir, err := os.MkdirTemp("", "swtpm") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	c := &chip{t: t, dir: dir, socket: filepath.Join(dir, "s")}
	c.powerOn()
	t.Cleanup(func() {
		c.powerOff()
		os.RemoveAll(dir)
	})
	return c
}

func (c *chip) powerOn() {
	c.t.Helper()
	c.cmd = exec.Command("swtpm", "socket", "--tpm2", "--tpmstate", "dir="+c.dir,
		"--server", "type=unixio,path="+c.socket, "--flags", "not-need-init,startup-clear")
	if err := c.cmd.Start(); err != nil {
		c.t.Fatalf("Debian package swtpm is needed: %v", err)
	}
	for range 200 {
		if conn, err := net.Dial("unix", c.socket); err == nil {
			conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	c.t.Fatal("swtpm does not listen")
}

func (c *chip) powerOff() {
	c.cmd.Process.Kill()
	c.cmd.Wait()
	os.Remove(c.socket)
}

func (c *chip) dial() *TPM {
	c.t.Helper()
	tpm, err := Dial(c.socket)
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { tpm.Close() })
	return tpm
}

// tcti tells programs built on the TCG's software stack where the chip is.
func (c *chip) tcti() string { return "cmd:socat - UNIX-CONNECT:" + c.socket }

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestSigningKey(t *testing.T) {
	c := newChip(t)
	tpm := c.dial()
	path := filepath.Join(t.TempDir(), "device.key")
	if _, err := tpm.Open(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no file: %v, want ErrNotExist", err)
	}
	key := must(tpm.Create(path))(t)
	if key.Suite() != suite.ES256 || key.Custody() != "tpm" {
		t.Fatalf("suite %d in %s", key.Suite(), key.Custody())
	}
	message := []byte("a window's leaf")
	sig := must(key.Sign(message))(t)
	if !suite.VerifyES256(key.Public(), message, sig) {
		t.Fatal("the TPM's signature is refused")
	}
	custodytest.OpenSSLVerify(t, suite.ES256, key.Public(), message, sig)
	for range 300 { // some with leading zeros
		if sig := must(key.Sign(message))(t); !suite.VerifyES256(key.Public(), message, sig) {
			t.Fatalf("signature %x is refused", sig)
		}
	}
	if _, err := tpm.Create(path); !errors.Is(err, fs.ErrExist) {
		t.Fatalf("Create over a key: %v, want ErrExist", err)
	}

	c.powerOff()
	c.powerOn()
	again := must(c.dial().Open(path))(t)
	if !bytes.Equal(again.Public(), key.Public()) || !suite.VerifyES256(key.Public(), message, must(again.Sign(message))(t)) {
		t.Fatal("after a reset the key is another")
	}

	var e *keyfile.Error
	if _, err := newChip(t).dial().Open(path); !errors.As(err, &e) || !strings.Contains(err.Error(), "it was made in another") {
		t.Fatalf("in another TPM: %v", err)
	}
	if _, err := tpm.OpenAttestationKey(path); !errors.As(err, &e) || !strings.Contains(err.Error(), "is no attestation key") {
		t.Fatalf("a signing key as attestation key: %v", err)
	}
}

// Another program, by other people, finds in the file what we put there: the
// tpm2 provider of OpenSSL signs with it.
func TestOtherProgramsReadTheKeyFile(t *testing.T) {
	c := newChip(t)
	path := filepath.Join(t.TempDir(), "device.key")
	key := must(c.dial().Create(path))(t)
	message, der := filepath.Join(t.TempDir(), "m"), filepath.Join(t.TempDir(), "s")
	if err := os.WriteFile(message, []byte("hello"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("openssl", "pkeyutl", "-provider", "tpm2", "-provider", "default", "-propquery", "?provider=tpm2",
		"-inkey", path, "-sign", "-rawin", "-digest", "sha256", "-in", message, "-out", der)
	cmd.Env = append(os.Environ(), "TPM2OPENSSL_TCTI="+c.tcti())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("Debian packages tpm2-openssl and socat are needed: %v\n%s", err, out)
	}
	sig := custodytest.RawSignature(t, must(os.ReadFile(der))(t))
	if !suite.VerifyES256(key.Public(), []byte("hello"), sig) {
		t.Fatal("what OpenSSL signed with our key file is refused")
	}
}

func TestConcurrentUse(t *testing.T) {
	tpm := newChip(t).dial()
	key := must(tpm.Create(filepath.Join(t.TempDir(), "device.key")))(t)
	errs := make(chan error)
	for i := range 8 {
		go func() {
			message := []byte{byte(i)}
			sig, err := key.Sign(message)
			if err == nil && !suite.VerifyES256(key.Public(), message, sig) {
				err = errors.New("signature refused")
			}
			errs <- err
		}()
	}
	for range 8 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestOwnerPassword(t *testing.T) {
	tpm := newChip(t).dial()
	if _, err := (tpm2.HierarchyChangeAuth{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		NewAuth:    tpm2.TPM2BAuth{Buffer: []byte("secret")},
	}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "device.key")
	if _, err := tpm.Create(path); err == nil || !strings.Contains(err.Error(), "the owner hierarchy must have no password") {
		t.Fatalf("error %v, want one that says what is in the way", err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Fatal("a file of a key that was not made")
	}
}

// A TPM without resource manager holds three objects; whoever leaks one shows,
// and so does who needs all its keys in it at once.
func TestNothingStaysLoaded(t *testing.T) {
	tpm := newChip(t).dial()
	dir := t.TempDir()
	var open []custody.Key
	for i := range 10 {
		open = append(open, must(tpm.Create(filepath.Join(dir, fmt.Sprint(i))))(t))
	}
	for _, key := range open {
		if sig := must(key.Sign(nil))(t); !suite.VerifyES256(key.Public(), nil, sig) {
			t.Fatal("signature refused")
		}
		if err := key.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := key.Sign(nil); err == nil {
			t.Fatal("a closed key signs")
		}
	}
}

func TestRotation(t *testing.T) {
	tpm := newChip(t).dial()
	dir := t.TempDir()
	r := custody.Rotation{Store: tpm, Current: filepath.Join(dir, "device.key"), Next: filepath.Join(dir, "next.key")}
	old := must(tpm.Create(r.Current))(t)
	file := must(os.ReadFile(r.Current))(t)
	next := must(r.Successor())(t)
	committed := next.Public()
	for _, k := range []custody.Key{next, old} {
		if err := k.Close(); err != nil {
			t.Fatal(err)
		}
	}
	key := must(r.Promote(committed))(t)
	if !bytes.Equal(key.Public(), committed) || !suite.VerifyES256(committed, []byte("x"), must(key.Sign([]byte("x")))(t)) {
		t.Fatal("the successor is not the current key")
	}
	for _, f := range must(os.ReadDir(dir))(t) {
		if bytes.Equal(must(os.ReadFile(filepath.Join(dir, f.Name())))(t), file) {
			t.Fatalf("%s still holds the old key", f.Name())
		}
	}
}

func TestCounter(t *testing.T) {
	c := newChip(t)
	tpm := c.dial()
	path := filepath.Join(t.TempDir(), "ak.key")
	ak := must(tpm.CreateAttestationKey(path))(t)
	if _, err := (&signingKey{ak.key}).Sign([]byte("anything")); !errors.Is(err, tpm2.TPMRCTicket) {
		t.Fatalf("the attestation key signs what no TPM made: %v", err)
	}
	n := must(tpm.Counter(nvHandle, ak))(t)
	head := sha256.Sum256([]byte("head"))
	last := uint64(0)
	certify := func(n *Counter, ak *AttestationKey) uint64 {
		t.Helper()
		attest, sig, err := n.Certify(head)
		if err != nil {
			t.Fatal(err)
		}
		value, err := counter.Verify(ak.Public(), nvHandle, attest, sig, head)
		if err != nil {
			t.Fatalf("%v\n%x\n%x", err, attest, sig)
		}
		if _, err := counter.Verify(ak.Public(), nvHandle, attest, sig, sha256.Sum256([]byte("another head"))); err == nil {
			t.Fatal("a certificate passes for another head")
		}
		custodytest.OpenSSLVerify(t, suite.ES256, ak.Public(), attest, sig)
		return value
	}
	for range 3 {
		value := must(n.Increment())(t)
		if value <= last || certify(n, ak) != value {
			t.Fatalf("counter went from %d to %d", last, value)
		}
		last = value
	}
	if must(tpm.Counter(nvHandle, ak))(t); certify(n, ak) != last {
		t.Fatal("looking at a counter counts")
	}
	// tpm2-tools, by other people, see the same name and value.
	name := counter.Name(nvHandle)
	for want, arguments := range map[string][]string{
		fmt.Sprintf("name: %x\n", name): {"tpm2_nvreadpublic", "-T", c.tcti(), fmt.Sprintf("0x%x", nvHandle)},
		fmt.Sprintf("%016x", last):      {"tpm2_nvread", "-T", c.tcti(), "-C", fmt.Sprintf("0x%x", nvHandle), fmt.Sprintf("0x%x", nvHandle)},
	} {
		out, err := exec.Command(arguments[0], arguments[1:]...).Output()
		if err != nil {
			t.Fatalf("Debian packages tpm2-tools and socat are needed: %s: %v", arguments[0], err)
		}
		if !strings.Contains(string(out), want) && fmt.Sprintf("%x", out) != want {
			t.Errorf("%s says %q, want %q", arguments[0], out, want)
		}
	}

	// A power cut, and then an owner who deletes the counter to begin anew.
	c.powerOff()
	c.powerOn()
	tpm = c.dial()
	ak = must(tpm.OpenAttestationKey(path))(t)
	n = must(tpm.Counter(nvHandle, ak))(t)
	if value := certify(n, ak); value != last {
		t.Fatalf("after a reset %d, before it %d", value, last)
	}
	undefine(t, tpm, n)
	if err := n.define(); err != nil { // and the power goes before the first value
		t.Fatal(err)
	}
	n = must(tpm.Counter(nvHandle, ak))(t)
	if value := certify(n, ak); value <= last {
		t.Fatalf("deleted and defined anew the counter is at %d, not above %d", value, last)
	} else {
		last = value
	}
	// Or clears the whole TPM. Keys are gone then, and say so.
	if _, err := (tpm2.Clear{AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHLockout, Auth: tpm2.PasswordAuth(nil)}}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	var e *keyfile.Error
	if _, err := tpm.OpenAttestationKey(path); !errors.As(err, &e) || !strings.Contains(err.Error(), "or this one was cleared") {
		t.Fatalf("after a clear: %v", err)
	}
	ak = must(tpm.CreateAttestationKey(path + "2"))(t)
	n = must(tpm.Counter(nvHandle, ak))(t)
	if value := certify(n, ak); value <= last {
		t.Fatalf("after a clear the counter is at %d, not above %d", value, last)
	}

	// An ordinary index with eight bytes of the owner's choice is no counter:
	// not for us, and not for the verifier, however truly the TPM certifies it.
	undefine(t, tpm, n)
	auth := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	if _, err := (tpm2.NVDefineSpace{AuthHandle: auth, PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
		NVIndex: nvHandle, NameAlg: tpm2.TPMAlgSHA256, DataSize: 8,
		Attributes: tpm2.TPMANV{AuthRead: true, AuthWrite: true, NoDA: true, NT: tpm2.TPMNTOrdinary},
	})}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	if _, err := (tpm2.NVWrite{AuthHandle: n.auth(), NVIndex: n.index(), Data: tpm2.TPM2BMaxNVBuffer{Buffer: []byte{0, 0, 0, 0, 0, 0, 0, 1}}}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
	if _, err := tpm.Counter(nvHandle, ak); err == nil || !strings.Contains(err.Error(), "is not our counter") {
		t.Fatalf("an ordinary index as counter: %v", err)
	}
	attest, sig, err := n.Certify(head)
	if err != nil {
		t.Fatal(err)
	}
	if v, err := counter.Verify(ak.Public(), nvHandle, attest, sig, head); err == nil {
		t.Fatalf("the verifier takes an ordinary index for a counter at %d", v)
	}
}

func undefine(t *testing.T, tpm *TPM, n *Counter) {
	t.Helper()
	auth := tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)}
	if _, err := (tpm2.NVUndefineSpace{AuthHandle: auth, NVIndex: n.index()}).Execute(tpm); err != nil {
		t.Fatal(err)
	}
}
