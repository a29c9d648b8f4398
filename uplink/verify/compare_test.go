package verify

import (
	"bytes"
	"errors"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

// shareOf is a bundle of a stream as a lender got it.
func shareOf(t *testing.T, s *evidencetest.Stream, anchors []evidence.Anchor, lo, hi uint64, channels ...evidence.Channel) []byte {
	t.Helper()
	meta, err := evidence.ParseMeta(s.Meta)
	if err != nil {
		t.Fatal(err)
	}
	h := bundle.Header{Log: s.Writer.LogID(), Lo: lo, Hi: hi, Meta: meta.Raw()}
	if lo > 0 {
		h.Anchor = &anchors[lo]
	}
	var file bytes.Buffer
	w, err := bundle.NewWriter(&file, h)
	for _, d := range s.Deliveries[lo : hi+1] {
		var share []byte
		if err == nil {
			share, err = evidence.FilterDelivery(nil, d, record.Granted("", channels), nil)
		}
		if err == nil {
			err = w.Append(share)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

func TestCompare(t *testing.T) {
	a, b, anchorsA, anchorsB := forked(t)
	foreign := evidencetest.NewStream(t, 2, 3)
	energy, timing := evidence.Energy, evidence.Timing
	one := shareOf(t, a, anchorsA, 0, 7, energy)
	for name, tt := range map[string]struct {
		other         []byte
		common        uint64
		lo            uint64
		agree, proved bool
	}{
		"another share of the same":    {shareOf(t, a, anchorsA, 2, 6, timing), 5, 2, true, false},
		"a fork":                       {shareOf(t, b, anchorsB, 0, 7, timing), 4, 0, false, true},
		"a fork seen from later on":    {shareOf(t, b, anchorsB, 5, 7, timing), 1, 5, false, true},
		"a fork before they part":      {shareOf(t, b, anchorsB, 0, 2, timing), 3, 0, true, false},
		"nothing in common to compare": {shareOf(t, a, anchorsA, 7, 7, timing), 1, 7, true, false},
	} {
		c, err := Compare(pub(1), bytes.NewReader(one), bytes.NewReader(tt.other))
		if err != nil || c.Common != tt.common || c.Lo != tt.lo || c.Agree != tt.agree || (c.Proof != nil) != tt.proved {
			t.Errorf("%s: %+v, %v", name, c, err)
			continue
		}
		if c.Proof != nil {
			if r, err := Fork(pub(1), *c.Proof); err != nil || r.Code != "second-leaf" {
				t.Errorf("%s: the proof proves nothing: %v, %v", name, r, err)
			}
		}
	}
	if _, err := Compare(pub(1), bytes.NewReader(one), bytes.NewReader(shareOf(t, foreign, nil, 0, 3))); !errors.Is(err, ErrOtherLog) {
		t.Errorf("another box's log: %v", err)
	}
	edited := bytes.Clone(one) // a lender that lies about what it got
	i := bytes.Index(edited, a.Deliveries[4][100:110])
	edited[i] ^= 1
	if c, err := Compare(pub(1), bytes.NewReader(edited), bytes.NewReader(one)); err == nil && !c.Agree {
		t.Errorf("an edited file makes a fork: %+v", c)
	}
}
