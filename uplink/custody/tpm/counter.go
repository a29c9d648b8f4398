package tpm

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/google/go-tpm/tpm2"

	"github.com/tallystick/tallystick/uplink/custody/counter"
)

// Counter is an NV index of the TPM that only rises, and the key that certifies
// its value. The TPM's NV memory wears out: count by the hour, not by the window.
type Counter struct {
	ak     *AttestationKey
	handle uint32
}

// Counter returns the counter at an NV handle, defining it, with its first
// value, where the TPM has none there. Owners' handles are 0x01800000 to
// 0x01bfffff (TCG Registry of Reserved TPM 2.0 Handles section 2.3). An index of
// another kind at the handle is an error.
func (t *TPM) Counter(handle uint32, ak *AttestationKey) (*Counter, error) {
	c := &Counter{ak, handle}
	public, err := tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(handle)}.Execute(t)
	if errors.Is(err, tpm2.TPMRCHandle) {
		if err := c.define(); err != nil {
			return nil, err
		}
		public, err = tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(handle)}.Execute(t)
	}
	if err != nil {
		return nil, t.failed(fmt.Sprintf("read about NV index 0x%08x", handle), err)
	}
	info, err := public.NVPublic.Contents()
	if err != nil {
		return nil, err
	}
	if !info.Attributes.Written { // new, or the power went before its first value
		if _, err := c.Increment(); err != nil {
			return nil, err
		}
		if public, err = (tpm2.NVReadPublic{NVIndex: tpm2.TPMHandle(handle)}).Execute(t); err != nil {
			return nil, t.failed(fmt.Sprintf("read about NV index 0x%08x", handle), err)
		}
	}
	if want := counter.Name(handle); string(public.NVName.Buffer) != string(want[:]) {
		return nil, fmt.Errorf("NV index 0x%08x in TPM %s is not our counter (name %x, expected %x): choose a handle nobody uses",
			handle, t.device, public.NVName.Buffer, want)
	}
	return c, nil
}

func (c *Counter) define() error {
	var attributes [4]byte
	binary.BigEndian.PutUint32(attributes[:], counter.Attributes)
	a, err := tpm2.Unmarshal[tpm2.TPMANV](attributes[:])
	if err != nil {
		return err
	}
	_, err = tpm2.NVDefineSpace{
		AuthHandle: tpm2.AuthHandle{Handle: tpm2.TPMRHOwner, Auth: tpm2.PasswordAuth(nil)},
		PublicInfo: tpm2.New2B(tpm2.TPMSNVPublic{
			NVIndex:    tpm2.TPMHandle(c.handle),
			NameAlg:    tpm2.TPMAlgSHA256,
			Attributes: *a,
			DataSize:   counter.Size,
		}),
	}.Execute(c.ak.tpm)
	if err != nil {
		return c.failed("define", err)
	}
	return nil
}

// Increment adds one and returns the value, or a greater one if somebody else
// counts too.
func (c *Counter) Increment() (uint64, error) {
	if _, err := (tpm2.NVIncrement{AuthHandle: c.auth(), NVIndex: c.index()}).Execute(c.ak.tpm); err != nil {
		return 0, c.failed("increment", err)
	}
	read, err := tpm2.NVRead{AuthHandle: c.auth(), NVIndex: c.index(), Size: counter.Size}.Execute(c.ak.tpm)
	if err != nil {
		return 0, c.failed("read", err)
	}
	if len(read.Data.Buffer) != int(counter.Size) {
		return 0, c.failed("read", fmt.Errorf("%d bytes, expected %d", len(read.Data.Buffer), counter.Size))
	}
	return binary.BigEndian.Uint64(read.Data.Buffer), nil
}

// Certify has the attestation key sign the counter's value together with
// qualifying; counter.Verify checks what it returns.
func (c *Counter) Certify(qualifying [32]byte) (attest, signature []byte, err error) {
	var rsp *tpm2.NVCertifyResponse
	err = c.ak.use(func(h tpm2.AuthHandle) (err error) {
		rsp, err = tpm2.NVCertify{
			SignHandle:     h,
			AuthHandle:     c.auth(),
			NVIndex:        c.index(),
			QualifyingData: tpm2.TPM2BData{Buffer: qualifying[:]},
			Size:           counter.Size,
		}.Execute(c.ak.tpm)
		return err
	})
	if err != nil {
		return nil, nil, c.failed("certify", err)
	}
	signature, err = raw(&rsp.Signature)
	return rsp.CertifyInfo.Bytes(), signature, err
}

func (c *Counter) index() tpm2.NamedHandle {
	name := counter.Name(c.handle) // go-tpm wants one; a password session sends none
	return tpm2.NamedHandle{Handle: tpm2.TPMHandle(c.handle), Name: tpm2.TPM2BName{Buffer: name[:]}}
}

func (c *Counter) auth() tpm2.AuthHandle {
	return tpm2.AuthHandle{Handle: c.index().Handle, Name: c.index().Name, Auth: tpm2.PasswordAuth(nil)}
}

func (c *Counter) failed(what string, err error) error {
	return c.ak.tpm.failed(fmt.Sprintf("%s counter 0x%08x", what, c.handle), err)
}
