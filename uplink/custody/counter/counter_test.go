package counter

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/custody/suite"
)

const handle = 0x01800010

// build writes a TPMS_ATTEST by Part 2 of the specification, field by field.
func build(index [34]byte, extra [32]byte, value uint64) []byte {
	a := binary.BigEndian.AppendUint32(nil, 0xff544347)
	a = binary.BigEndian.AppendUint16(a, 0x8014)
	a = binary.BigEndian.AppendUint16(a, 34)
	a = append(append(a, 0, 0x0b), bytes.Repeat([]byte{0xaa}, 32)...)
	a = binary.BigEndian.AppendUint16(a, 32)
	a = append(a, extra[:]...)
	a = binary.BigEndian.AppendUint64(a, 123456) // clock
	a = binary.BigEndian.AppendUint32(a, 3)      // resetCount
	a = binary.BigEndian.AppendUint32(a, 1)      // restartCount
	a = append(a, 1)                             // safe
	a = binary.BigEndian.AppendUint64(a, 0x2019_1023)
	a = binary.BigEndian.AppendUint16(a, 34)
	a = append(a, index[:]...)
	a = binary.BigEndian.AppendUint16(a, 0)
	a = binary.BigEndian.AppendUint16(a, 8)
	return binary.BigEndian.AppendUint64(a, value)
}

func key(t testing.TB) (crypto.Signer, []byte) {
	t.Helper()
	k, err := suite.Generate(suite.ES256)
	if err != nil {
		t.Fatal(err)
	}
	_, pub, err := suite.Public(k)
	if err != nil {
		t.Fatal(err)
	}
	return k, pub
}

// What swtpm 0.7.1 certified: its counter at 0x01800042 at its second value,
// with SHA-256("head").
func TestVerifyRecorded(t *testing.T) {
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	ak := unhex("5103c7d07ea48b19aaebaf82bde045c95d242709b0176a1cc5ad0201d094594e20b6b8c891dc1aa3d3ef7a989b1e6defe227ad7015981dbce9a16bf41ce1619b")
	attest := unhex("ff54434780140022000baff5e87de221e6c418d3270f36c352729edaa3a50310ae0e17239e70cdd4307200209f2e6d33a3717ee826353a404ba4618d1aeeb6879ad7936bce8ed5f46814924d0000000000000024c95b28532ea9ec1901a582249a2583f28b0022000be4c5fc879069bb553ecb486d75d3e952881e08a13d292fe56d554eb8b39eb573000000080000000000000002")
	signature := unhex("8e99ba6480ce67c2cce255e3eaf9ab5f79bb76d5ed91ad3d13e706369ca443c70a31dce617431431614e9da638b97460b7e029d15fc51e4954c4b63ad57a38e7")
	if v, err := Verify(ak, 0x01800042, attest, signature, sha256.Sum256([]byte("head"))); err != nil || v != 2 {
		t.Fatalf("value %d, %v; want 2", v, err)
	}
}

func TestVerify(t *testing.T) {
	ak, pub := key(t)
	other, _ := key(t)
	head := [32]byte{1, 2, 3}
	good := build(Name(handle), head, 77)
	sign := func(k crypto.Signer, attest []byte) []byte {
		sig, err := suite.Sign(k, attest)
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	if v, err := Verify(pub, handle, good, sign(ak, good), head); err != nil || v != 77 {
		t.Fatalf("value %d, %v; want 77", v, err)
	}

	// An attacker has the attestation key sign what a TPM would sign for another
	// index, or for another head.
	refused := func(name string, pub []byte, attest, sig []byte, want string) {
		t.Helper()
		if v, err := Verify(pub, handle, attest, sig, head); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: value %d, error %v, want one about %q", name, v, err, want)
		}
	}
	refused("another key", pub, good, sign(other, good), "not signed by attestation key")
	refused("no key", nil, good, sign(ak, good), "attestation key: public key of suite 2")
	refused("no signature", pub, good, nil, "not signed by attestation key")
	index := build(Name(handle+1), head, 77)
	refused("another index", pub, index, sign(ak, index), "expected 000b")
	past := build(Name(handle), [32]byte{1}, 77)
	refused("another head", pub, past, sign(ak, past), "made for 01000000")
	turned := bytes.Clone(good)
	turned[len(turned)-1]++
	refused("another value", pub, turned, sign(ak, good), "not signed by attestation key")

	for name, c := range map[string]struct {
		at   int
		to   []byte
		want string
	}{
		"not made by a TPM":        {0, []byte{0xfe}, "magic 0xfe544347, expected 0xff544347"},
		"a quote":                  {4, []byte{0x80, 0x18}, "type 0x8018, expected 0x8014"},
		"signer's name too long":   {6, []byte{0, 35}, "size of the signer's name 0x0023"},
		"signer's name by SHA-1":   {8, []byte{0, 4}, "hash of the signer's name 0x0004"},
		"qualifying data short":    {42, []byte{0, 31}, "size of the qualifying data 0x001f"},
		"clock neither nor":        {92, []byte{2}, "clock flag 0x02"},
		"index name cut":           {101, []byte{0, 33}, "size of the index's name 0x0021"},
		"from the middle":          {137, []byte{0, 4}, "offset 0x0004, expected 0x0000"},
		"contents of another size": {139, []byte{0, 7}, "size of the contents 0x0007"},
	} {
		bad := bytes.Clone(good)
		copy(bad[c.at:], c.to)
		refused(name, pub, bad, sign(ak, bad), c.want)
	}
	for n := range len(good) + 9 {
		bad := append(bytes.Clone(good), make([]byte, 9)...)[:n]
		if n != len(good) {
			refused("length", pub, bad, sign(ak, bad), "expected 149")
		}
	}
}

// What parse accepts, it read in full: written again it is the same but for the
// fields nobody uses.
func FuzzParse(f *testing.F) {
	f.Add(build(Name(handle), [32]byte{1}, 1))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, attest []byte) {
		c, err := parse(attest)
		if err != nil {
			return
		}
		again := build(c.index, c.extra, c.value)
		copy(again[10:42], attest[10:42])   // the signer's name
		copy(again[76:101], attest[76:101]) // clockInfo, firmwareVersion
		if !bytes.Equal(again, attest) {
			t.Fatalf("read %x, wrote %x", attest, again)
		}
	})
}
