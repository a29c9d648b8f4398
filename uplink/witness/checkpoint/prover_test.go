package checkpoint

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/transparency-dev/merkle"
	"github.com/transparency-dev/merkle/compact"
	"github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/tlog"
)

// leaf is the hash of leaf i: any 32 bytes will do.
func leaf(i uint64) (h [32]byte) {
	binary.BigEndian.PutUint64(h[:], i+1)
	return h
}

// ranges are the compact ranges of sizes 0..n, and their roots.
func ranges(t testing.TB, h merkle.LogHasher, n uint64) (rs [][][32]byte, roots [][]byte) {
	t.Helper()
	f := &compact.RangeFactory{Hash: h.HashChildren}
	r := f.NewEmptyRange(0)
	rs, roots = append(rs, nil), append(roots, h.EmptyRoot())
	for i := range n {
		l := leaf(i)
		if err := r.Append(l[:], nil); err != nil {
			t.Fatal(err)
		}
		var hs [][32]byte
		for _, x := range r.Hashes() {
			hs = append(hs, [32]byte(x))
		}
		root, err := r.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		rs, roots = append(rs, hs), append(roots, root)
	}
	return rs, roots
}

func prove(t testing.TB, h merkle.LogHasher, from uint64, start [][32]byte, old, new uint64) (hashes [][]byte, root []byte) {
	t.Helper()
	p, err := NewProver(h, from, start, old, new)
	if err != nil {
		t.Fatal(err)
	}
	for i := from; i < new; i++ {
		if err := p.Append(leaf(i)); err != nil {
			t.Fatal(err)
		}
	}
	hs, r, err := p.Proof()
	if err != nil {
		t.Fatalf("%d to %d from %d: %v", old, new, from, err)
	}
	for i := range hs {
		hashes = append(hashes, hs[i][:])
	}
	return hashes, r[:]
}

// store is the whole tree of the Go checksum database's library: another
// implementation of the same proofs.
type store []tlog.Hash

func (s store) ReadHashes(at []int64) ([]tlog.Hash, error) {
	hs := make([]tlog.Hash, len(at))
	for i, x := range at {
		hs[i] = s[x]
	}
	return hs, nil
}

func fullTree(t testing.TB, n uint64) store {
	t.Helper()
	var s store
	for i := range n {
		hs, err := tlog.StoredHashesForRecordHash(int64(i), tlog.Hash(leaf(i)), s)
		if err != nil {
			t.Fatal(err)
		}
		s = append(s, hs...)
	}
	return s
}

func check(t *testing.T, h merkle.LogHasher, full store, old, new uint64, got, roots [][]byte, root []byte) {
	t.Helper()
	if !bytes.Equal(root, roots[new]) {
		t.Fatalf("root of size %d is not the tree's", new)
	}
	if err := proof.VerifyConsistency(h, old, new, got, roots[old], roots[new]); err != nil {
		t.Fatalf("%d to %d: %v", old, new, err)
	}
	if full == nil || old == 0 {
		return
	}
	want, err := tlog.ProveTree(int64(new), int64(old), full)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.EqualFunc(got, want, func(a []byte, b tlog.Hash) bool { return [32]byte(a) == b }) {
		t.Fatalf("%d to %d: %x, want %x", old, new, got, want)
	}
}

func TestProverAllSmall(t *testing.T) {
	const most = 200
	rs, roots := ranges(t, SHA256(), most)
	full := fullTree(t, most)
	for new := uint64(0); new <= most; new++ {
		for old := uint64(0); old <= new; old++ {
			got, root := prove(t, SHA256(), old, rs[old], old, new)
			check(t, SHA256(), full, old, new, got, roots, root)
		}
	}
}

// An earlier compact range than that of the old size does as well.
func TestProverFromEarlier(t *testing.T) {
	const most = 40
	rs, roots := ranges(t, SHA256(), most)
	full := fullTree(t, most)
	for new := uint64(0); new <= most; new++ {
		for old := uint64(0); old <= new; old++ {
			for from := uint64(0); from <= old; from++ {
				got, root := prove(t, SHA256(), from, rs[from], old, new)
				check(t, SHA256(), full, old, new, got, roots, root)
			}
		}
	}
}

func TestProverLarge(t *testing.T) {
	const most = 20_000
	rs, roots := ranges(t, SHA256(), most)
	full := fullTree(t, most)
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		new := r.Uint64N(most + 1)
		old := r.Uint64N(new + 1)
		from := old - min(old, r.Uint64N(100))
		got, root := prove(t, SHA256(), from, rs[from], old, new)
		check(t, SHA256(), full, old, new, got, roots, root)
	}
}

// A log of astronomical size needs its compact range only.
func TestProverHuge(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 200 {
		old := r.Uint64N(maxSize-2000) + 1
		start := make([][32]byte, compact.RangeSize(0, old))
		for i := range start {
			start[i] = leaf(r.Uint64())
		}
		f := &compact.RangeFactory{Hash: SHA256().HashChildren}
		hashes := make([][]byte, len(start))
		for i := range start {
			hashes[i] = slices.Clone(start[i][:])
		}
		whole, err := f.NewRange(0, old, hashes)
		if err != nil {
			t.Fatal(err)
		}
		root1, err := whole.GetRootHash(nil)
		if err != nil {
			t.Fatal(err)
		}
		new := old + r.Uint64N(2000)
		got, root2 := prove(t, SHA256(), old, start, old, new)
		if err := proof.VerifyConsistency(SHA256(), old, new, got, root1, root2); err != nil {
			t.Fatalf("%d to %d: %v", old, new, err)
		}
		if len(got) > 63 {
			t.Fatalf("%d to %d: %d hashes", old, new, len(got))
		}
	}
}

func TestProverSM3(t *testing.T) {
	const most = 70
	rs, roots := ranges(t, SM3(), most)
	for new := uint64(0); new <= most; new++ {
		for old := uint64(0); old <= new; old++ {
			got, root := prove(t, SM3(), old, rs[old], old, new)
			check(t, SM3(), nil, old, new, got, roots, root)
		}
	}
}

// The caller may go on with its compact range while the leaves pass by.
func TestProverKeepsItsOwn(t *testing.T) {
	rs, roots := ranges(t, SHA256(), 10)
	start := slices.Clone(rs[7])
	p, err := NewProver(SHA256(), 7, start, 7, 8)
	if err != nil {
		t.Fatal(err)
	}
	clear(start)
	if err := p.Append(leaf(7)); err != nil {
		t.Fatal(err)
	}
	if _, root, err := p.Proof(); err != nil || !bytes.Equal(root[:], roots[8]) {
		t.Errorf("another root, %v", err)
	}
}

func TestProverRefuses(t *testing.T) {
	rs, _ := ranges(t, SHA256(), 10)
	for _, c := range []struct {
		from  uint64
		start [][32]byte
		old   uint64
		new   uint64
	}{{5, rs[5], 4, 8}, {5, rs[5], 7, 6}, {5, rs[6][:1], 6, 8}, {0, rs[5], 6, 8}, {0, nil, 1, maxSize + 1}} {
		if _, err := NewProver(SHA256(), c.from, c.start, c.old, c.new); err == nil {
			t.Errorf("from %d with %d hashes, %d to %d: no error", c.from, len(c.start), c.old, c.new)
		}
	}
	p, err := NewProver(SHA256(), 5, rs[5], 5, 6)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := p.Proof(); err == nil {
		t.Error("a proof without its leaf")
	}
	if err := p.Append(leaf(5)); err != nil {
		t.Fatal(err)
	}
	if err := p.Append(leaf(6)); err == nil {
		t.Error("a leaf too many")
	}
}

// What openssl dgst -sm3 says of nothing, of 00 "abc" and of 01 and 64 zeros.
func TestSM3Tree(t *testing.T) {
	for want, got := range map[string][]byte{
		"1ab21d8355cfa17f8e61194831e81a8f22bec8c728fefb747ed035eb5082aa2b": SM3().EmptyRoot(),
		"a7fe0cdcc2194aa7a9c6bfad5637581bf051d935a10bb6a9ccabfce125c27d96": SM3().HashLeaf([]byte("abc")),
		"5ec1420cd14f308650cb6ac8dcd6bab89589f1f3dced7c1a17345f269e605291": SM3().HashChildren(make([]byte, 32), make([]byte, 32)),
	} {
		if hex.EncodeToString(got) != want {
			t.Errorf("%x, want %s", got, want)
		}
	}
}
