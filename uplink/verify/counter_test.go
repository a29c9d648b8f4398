package verify

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/tallystick/tallystick/uplink/custody/counter"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// chip is a signer whose key record names a chip, and what the chip certifies.
type chip struct {
	evidence.Signer
	attest evidence.Signer
}

func newChip() chip {
	return chip{evidencetest.SuiteSigner(evidence.SuiteES256, 1), evidencetest.SuiteSigner(evidence.SuiteES256, 40)}
}

func (c chip) Public() evidence.KeyRecord {
	r := c.Signer.Public()
	r.Attestation = c.attest.Public().Public
	return r
}

const chipHandle = 0x01807a10

// certify is the TPMS_ATTEST of TPM2_NV_Certify (TPM 2.0 Part 2), signed.
func (c chip) certify(t testing.TB, over evidence.Hash, value uint64) evidence.Counter {
	t.Helper()
	a := binary.BigEndian.AppendUint32(nil, 0xff544347)
	a = binary.BigEndian.AppendUint16(a, 0x8014)
	a = binary.BigEndian.AppendUint16(a, 34)
	a = append(append(a, 0, 0x0b), bytes.Repeat([]byte{0xaa}, 32)...)
	a = binary.BigEndian.AppendUint16(a, 32)
	a = append(a, over[:]...)
	a = append(a, make([]byte, 8+4+4+1+8)...) // clock, resets, restarts, safe, firmware
	a[len(a)-9] = 1
	name := counter.Name(chipHandle)
	a = binary.BigEndian.AppendUint16(a, 34)
	a = append(a, name[:]...)
	a = binary.BigEndian.AppendUint16(a, 0)
	a = binary.BigEndian.AppendUint16(a, 8)
	a = binary.BigEndian.AppendUint64(a, value)
	sig, err := c.attest.Sign(a)
	if err != nil {
		t.Fatal(err)
	}
	return evidence.Counter{Handle: chipHandle, Attest: a, Signature: sig}
}

// chipLog is a log of suite 2 with counter leaves of the given values; 0 stands for a boot.
func chipLog(t testing.TB, values ...uint64) *evidencetest.Stream {
	t.Helper()
	c := newChip()
	s := evidencetest.NewStreamOf(t, c, nil, 1)
	boot := uint64(1)
	for _, v := range values {
		e := evidencetest.Point(1)
		e.Boot = boot
		if v == 0 {
			boot++
			e.Boot = boot
			d, err := s.Writer.Boot(e, evidence.Boot{Software: "test"})
			s.Add(t, d, err)
			continue
		}
		d, err := s.Writer.Counter(e, c.certify(t, s.Writer.CounterOver(), v))
		s.Add(t, d, err)
	}
	s.Meta = s.Writer.Meta().Encode()
	return s
}

func TestCounter(t *testing.T) {
	for name, tt := range map[string]struct {
		values  []uint64
		skipped bool
	}{
		"up by one":                      {[]uint64{7, 8, 9}, false},
		"a number left out":              {[]uint64{7, 9}, true},
		"the same again":                 {[]uint64{7, 7}, true},
		"back":                           {[]uint64{7, 8, 7}, true},
		"cut off between count and leaf": {[]uint64{7, 0, 9}, false},
		"rolled back for longer":         {[]uint64{7, 0, 10}, true},
		"a boot excuses once":            {[]uint64{7, 0, 9, 11}, true},
	} {
		s := chipLog(t, tt.values...)
		key := newChip().Public()
		v, err := New(key.Key(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, d := range s.Deliveries {
			state := v.State()
			if v, err = Restore(key.Key(), state); err != nil {
				t.Fatal(err)
			}
			res := v.Next(d, soon(d))
			last := i == len(s.Deliveries)-1
			if res.Verdict != Verified || has(res, "counter-skipped") != (tt.skipped && last) {
				t.Errorf("%s, leaf %d: %s grade %s %v", name, i, res.Verdict, res.Grade, res.Reasons)
			}
		}
	}
}
