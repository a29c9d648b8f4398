// Package counter reads what a TPM says about its monotonic counter. A box has
// its head certified together with the counter's value: a flash image put back
// to an earlier day then shows, because the counter cannot go back with it. The
// package needs no TPM; uplink/custody/tpm has the other half.
//
// A TPM 2.0 NV index of type counter only ever rises, and one that was deleted
// and defined anew begins above every value any counter of that TPM ever had
// (Part 1, NV counters; Part 3, TPM2_NV_Increment). What is certified is bound
// to such an index by its name, a hash over its handle and attributes, so an
// ordinary index that holds a number of somebody's choice does not pass.
//
// All this rests on the attestation key: that it lives in a TPM, restricted to
// signing what that TPM itself made. Nothing here can tell such a key from one
// in a file that signs a made-up structure; a certificate or an enrolment has to.
package counter

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/tallystick/tallystick/uplink/custody/suite"
)

// Attributes are the TPMA_NV (Part 2 section 13.4) a counter is defined with:
// TPM_NT_COUNTER, AUTHWRITE, AUTHREAD, NO_DA. Size is its size in bytes.
const (
	Attributes uint32 = 1<<4 | 1<<2 | 1<<18 | 1<<25
	Size       uint16 = 8

	written uint32 = 1 << 29 // set by the TPM at the first increment
)

// Parts of TPMS_ATTEST (Part 2 section 10.12.12) with a SHA-256 key, 32 bytes of
// qualifying data and an 8-byte counter: every field has one length.
const (
	generated = 0xff544347 // TPM_GENERATED_VALUE
	attestNV  = 0x8014     // TPM_ST_ATTEST_NV
	algSHA256 = 0x000b     // TPM_ALG_SHA256
	nameSize  = 2 + sha256.Size

	attestSize = 4 + 2 + // magic, type
		2 + nameSize + // qualifiedSigner
		2 + 32 + // extraData
		8 + 4 + 4 + 1 + // clockInfo
		8 + // firmwareVersion
		2 + nameSize + 2 + 2 + int(Size) // TPMS_NV_CERTIFY_INFO: indexName, offset, nvContents
)

// Name is the TPM's name for a counter at handle, once it has a value: the
// algorithm and SHA-256 of its TPMS_NV_PUBLIC (Part 1 section 16, Part 2 section
// 13.5). Before its first increment a counter has another name.
func Name(handle uint32) [34]byte {
	public := binary.BigEndian.AppendUint32(nil, handle)
	public = binary.BigEndian.AppendUint16(public, algSHA256)
	public = binary.BigEndian.AppendUint32(public, Attributes|written)
	public = binary.BigEndian.AppendUint16(public, 0) // no policy
	public = binary.BigEndian.AppendUint16(public, Size)
	hash := sha256.Sum256(public)
	name := [34]byte{algSHA256 >> 8, algSHA256 & 0xff}
	copy(name[2:], hash[:])
	return name
}

// Verify returns the value of the counter at handle, if attest is what
// TPM2_NV_Certify makes for it with these qualifying data, and signature is that
// of the attestation key ak over attest. ak and signature are in the form of
// suite 2.
func Verify(ak []byte, handle uint32, attest, signature []byte, qualifying [32]byte) (uint64, error) {
	if err := suite.CheckPublic(suite.ES256, ak); err != nil {
		return 0, fmt.Errorf("attestation key: %w", err)
	}
	if !suite.VerifyES256(ak, attest, signature) {
		return 0, fmt.Errorf("counter certificate: not signed by attestation key %x", ak)
	}
	c, err := parse(attest)
	if err != nil {
		return 0, fmt.Errorf("counter certificate: %w", err)
	}
	if c.extra != qualifying {
		return 0, fmt.Errorf("counter certificate: made for %x, expected %x", c.extra, qualifying)
	}
	if want := Name(handle); c.index != want {
		return 0, fmt.Errorf("counter certificate: about NV index %x, expected %x, the counter at 0x%08x", c.index, want, handle)
	}
	return c.value, nil
}

// certificate is what a TPMS_ATTEST of type NV says and we use.
type certificate struct {
	extra [32]byte
	index [34]byte
	value uint64
}

// parse reads a TPMS_ATTEST. Every part must have the length and, where it can
// have only one, the value that a certified counter has.
func parse(attest []byte) (c certificate, err error) {
	if len(attest) != attestSize {
		return c, fmt.Errorf("%d bytes, expected %d", len(attest), attestSize)
	}
	r := bytes.NewBuffer(attest)
	number := func(size int) (v uint64) {
		for _, b := range r.Next(size) {
			v = v<<8 | uint64(b)
		}
		return v
	}
	expect := func(what string, size int, want uint64) {
		if got := number(size); got != want && err == nil {
			err = fmt.Errorf("%s 0x%0*x, expected 0x%0*x", what, 2*size, got, 2*size, want)
		}
	}
	expect("magic", 4, generated)
	expect("type", 2, attestNV)
	expect("size of the signer's name", 2, nameSize)
	expect("hash of the signer's name", 2, algSHA256)
	r.Next(sha256.Size)
	expect("size of the qualifying data", 2, uint64(len(c.extra)))
	copy(c.extra[:], r.Next(len(c.extra)))
	r.Next(8 + 4 + 4) // clock, resetCount, restartCount
	if safe := number(1); safe > 1 && err == nil {
		err = fmt.Errorf("clock flag 0x%02x, expected 0 or 1", safe)
	}
	r.Next(8) // firmwareVersion
	expect("size of the index's name", 2, nameSize)
	copy(c.index[:], r.Next(len(c.index)))
	expect("offset", 2, 0)
	expect("size of the contents", 2, uint64(Size))
	c.value = number(int(Size))
	return c, err
}
