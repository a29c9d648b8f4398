package lender

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/verify"
)

// stand takes the whole stream and returns the archive's path and bytes.
func stand(t *testing.T, d *desk, s *evidencetest.Stream) (path string, whole []byte) {
	t.Helper()
	d.meta(s)
	for _, b := range s.Deliveries {
		d.take(s, b)
	}
	path = filepath.Join(d.dir(s, "box-1"), archiveFile)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return path, whole
}

func TestRestart(t *testing.T) {
	for _, c := range []struct {
		name     string
		snapshot bool
		spoil    func(t *testing.T, dir string)
	}{
		{"from the archive alone", false, func(*testing.T, string) {}},
		{"from a snapshot and the tail", true, func(*testing.T, string) {}},
		{"without the leaves", true, func(t *testing.T, dir string) { remove(t, dir, leavesFile) }},
		{"with a damaged snapshot", true, func(t *testing.T, dir string) { overwrite(t, dir, stateFile, []byte("junk")) }},
		{"with an empty snapshot", true, func(t *testing.T, dir string) { overwrite(t, dir, stateFile, nil) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			d, s := newDesk(t), evidencetest.NewStream(t, 1, 40)
			d.meta(s)
			d.take(s, s.Deliveries[:20]...)
			if c.snapshot {
				if err := d.l.snapshotAll(); err != nil {
					t.Fatal(err)
				}
			}
			d.take(s, s.Deliveries[20:30]...)
			c.spoil(t, d.dir(s, "box-1"))
			d.crash()
			if len(d.windows) != 0 {
				t.Fatal("old windows were reported again")
			}
			d.take(s, s.Deliveries[29])
			d.wantReceipt(s, 29, okStatus)
			d.take(s, s.Deliveries[30:]...)
			d.wantReceipt(s, 41, okStatus)
			d.take(s, fork(t, s, 4)) // its memory of old leaves is back too
			if r := d.windows[len(d.windows)-1]; r.Verdict != verify.Forked {
				t.Fatalf("%+v", r)
			}
			if sum := d.bundle(s); sum.Verdict != verify.Verified || sum.Windows != 40 {
				t.Fatalf("%+v", sum)
			}
		})
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	if err := os.Remove(filepath.Join(dir, name)); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, dir, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A power cut may leave any part of the newest batch, or zeros in its place.
func TestTornTail(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 4)
	d.meta(s)
	d.take(s, s.Deliveries[:5]...)
	path := filepath.Join(d.dir(s, "box-1"), archiveFile)
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d.take(s, s.Deliveries[5])
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for cut := len(before); cut < len(whole); cut += 1 + (len(whole)-len(before))/20 {
		for _, zeros := range []bool{false, true} {
			torn := append([]byte(nil), whole[:cut]...)
			if zeros {
				torn = append(torn, make([]byte, len(whole)-cut)...)
			}
			if bytes.Equal(torn, whole) {
				continue
			}
			overwrite(t, filepath.Dir(path), archiveFile, torn)
			os.Remove(filepath.Join(filepath.Dir(path), stateFile))
			d.crash()
			if cut > len(before) || zeros {
				if len(d.kinds(CutTail)) != 1 {
					t.Fatalf("cut at %d: %+v", cut, d.events)
				}
				name := filepath.Join(filepath.Dir(path), fmt.Sprintf("cut-%d", len(before)))
				kept, err := os.ReadFile(name)
				os.Remove(name)
				if err != nil || len(kept) != len(torn)-len(before) {
					t.Fatalf("cut at %d: kept %d bytes, %v", cut, len(kept), err)
				}
			}
			d.take(s, s.Deliveries[4])
			d.wantReceipt(s, 4, okStatus)
			d.take(s, s.Deliveries[5])
			d.wantReceipt(s, 5, okStatus)
			if got, err := os.ReadFile(path); err != nil || string(got) != string(whole) {
				t.Fatalf("cut at %d: the archive differs afterwards", cut)
			}
		}
	}
}

// The very first write of an archive may be torn as well.
func TestTornHeader(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 4)
	path, whole := stand(t, d, s)
	for _, cut := range []int{0, 1, 50, 300} {
		overwrite(t, filepath.Dir(path), archiveFile, whole[:cut])
		os.Remove(filepath.Join(filepath.Dir(path), stateFile))
		os.Remove(filepath.Join(filepath.Dir(path), leavesFile))
		d.crash()
		d.meta(s)
		d.take(s, s.Deliveries...)
		d.wantReceipt(s, 5, okStatus)
	}
}

// Damage in the middle is cut off, kept and asked for again: what a lender
// signs for it must have.
func TestDamageInTheMiddle(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 10)
	path, whole := stand(t, d, s)
	for at := 0; at < len(whole); at += 211 {
		bad := append([]byte(nil), whole...)
		bad[at] ^= 0x40
		overwrite(t, filepath.Dir(path), archiveFile, bad)
		os.Remove(filepath.Join(filepath.Dir(path), stateFile))
		os.Remove(filepath.Join(filepath.Dir(path), leavesFile))
		l, err := New(d.cfg)
		if err != nil {
			continue // refused with an error: the header
		}
		d.l.closeLogs()
		d.l, d.windows, d.receipts = l, nil, nil
		d.meta(s)
		d.commit()
		if r := d.last(); !r.Empty && r.Root != rootAfter(t, s, r.N) {
			t.Fatalf("byte %d: a receipt for another history: %+v", at, r)
		}
		d.take(s, s.Deliveries...)
		if r := d.last(); r.N != 11 || r.Root != rootAfter(t, s, 11) {
			t.Fatalf("byte %d: %+v", at, r)
		}
	}
}

func TestBoxWithANewKey(t *testing.T) {
	d, s := newDesk(t), evidencetest.NewStream(t, 1, 4)
	stand(t, d, s)
	d.cfg.Boxes = []Box{{"box-1", public(evidencetest.Key(2))}}
	d.crash()
	if len(d.kinds(UnknownBox)) != 1 || len(d.l.logs) != 0 {
		t.Fatalf("%+v", d.events)
	}
	next := evidencetest.NewStream(t, 2, 4)
	d.meta(next)
	d.take(next, next.Deliveries...)
	d.wantReceipt(next, 5, okStatus)
}
