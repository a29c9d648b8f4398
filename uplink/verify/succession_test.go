package verify

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
)

// succession is one box's two logs as files, and what does not fit; "" where the
// second continues the first.
type succession struct {
	old, next []byte
	key       evidence.PublicKey // pinned for old
	why       string
}

// successions are honest changes of suite and custody, and everything that the holder
// of either key, or of neither, can do to the join of two logs.
func successions(t *testing.T) map[string]succession {
	ed, p256, sm2 := evidencetest.Signer(1), evidencetest.SuiteSigner(evidence.SuiteES256, 2), evidencetest.SuiteSigner(evidence.SuiteSM2, 2)
	ended := func(first, heir evidence.Signer, more ...func(*evidencetest.Stream)) *evidencetest.Stream {
		s := evidencetest.NewStreamOf(t, first, nil, 3)
		d, err := s.Writer.Shutdown(evidencetest.Point(4), evidence.SucceededBy(keyOf(heir)))
		s.Add(t, d, err)
		for _, f := range more {
			f(s)
		}
		return s
	}
	file := func(s *evidencetest.Stream, last int) []byte { return archive(t, s, 0, uint64(last), nil) }
	begun := func(s *evidencetest.Stream, heir evidence.Signer, edit func(*evidence.Previous)) []byte {
		prev := &evidence.Previous{Log: s.Writer.LogID(), N: s.Writer.N(), Root: s.Writer.Anchor().Root(s.Writer.Suite()), Why: "suite"}
		edit(prev)
		g := evidence.Genesis{Event: evidencetest.Point(5), Dictionary: evidencetest.Small(), Prev: prev}
		if prev.Why == "" {
			g.Prev = nil
		}
		w, genesis, err := seal.NewWriter(heir, evidencetest.Secret(), g)
		if err != nil {
			t.Fatal(err)
		}
		next := &evidencetest.Stream{Writer: w}
		next.Add(t, genesis, nil)
		return file(next, 0)
	}
	asIs := func(*evidence.Previous) {}
	s := ended(ed, p256)
	last := len(s.Deliveries) - 1
	all := map[string]succession{}
	for name, of := range map[string][2]evidence.Signer{
		"ed25519 to es256": {ed, p256}, "ed25519 to sm2": {ed, sm2}, "sm2 to ed25519": {sm2, ed}, "es256 to another": {p256, evidencetest.SuiteSigner(evidence.SuiteES256, 7)},
	} {
		s := ended(of[0], of[1])
		all[name] = succession{file(s, last), begun(s, of[1], asIs), keyOf(of[0]), ""}
	}
	to := func(edit func(*evidence.Previous)) []byte { return begun(s, p256, edit) }
	pinned := keyOf(ed)
	all["another key opens the second"] = succession{file(s, last), begun(s, sm2, asIs), pinned, "not opened by the key"}
	all["the first names nobody"] = succession{file(s, last-1), to(asIs), pinned, "names no key"}
	all["the first goes on"] = succession{file(ended(ed, p256, func(s *evidencetest.Stream) { s.Window(t) }), last+1), to(asIs), pinned, "names no key"}
	all["the second names nothing"] = succession{file(s, last), to(func(p *evidence.Previous) { p.Why = "" }), pinned, "does not name log"}
	all["the second names another log"] = succession{file(s, last), to(func(p *evidence.Previous) { p.Log[0] ^= 1 }), pinned, "does not name log"}
	all["the second leaves out the end"] = succession{file(s, last), to(func(p *evidence.Previous) { p.N-- }), pinned, "ended with 5 leaves"}
	all["the second tells another end"] = succession{file(s, last), to(func(p *evidence.Previous) { p.Root[0] ^= 1 }), pinned, "ends with 6 and root"}
	all["the first is altered"] = succession{file(alteredEnd(t, s), last), to(asIs), pinned, "the first file is altered"}
	unsigned := to(asIs)
	br, err := bundle.NewReader(bytes.NewReader(unsigned))
	if err != nil {
		t.Fatal(err)
	}
	genesis := br.Header().Genesis
	unsigned[bytes.Index(unsigned, genesis)+len(genesis)-1] ^= 1
	all["the second is not signed"] = succession{file(s, last), unsigned, pinned, "not opened by the key"}
	return all
}

func keyOf(s evidence.Signer) evidence.PublicKey {
	record := s.Public()
	return record.Key()
}

// alteredEnd is s with a bit of its last signature changed.
func alteredEnd(t *testing.T, s *evidencetest.Stream) *evidencetest.Stream {
	t.Helper()
	c := &evidencetest.Stream{Writer: s.Writer}
	for _, d := range s.Deliveries {
		c.Deliveries = append(c.Deliveries, bytes.Clone(d))
	}
	end := c.Deliveries[len(c.Deliveries)-1]
	end[bytes.LastIndex(end, []byte{0x58, 0x40})+2] ^= 1
	return c
}

func TestSuccession(t *testing.T) {
	for name, c := range successions(t) {
		heir, err := Succession(bytes.NewReader(c.old), bytes.NewReader(c.next), Policy{Pinned: []evidence.PublicKey{c.key}})
		switch {
		case c.why == "" && err == nil && !heir.IsZero():
		case c.why != "" && errors.Is(err, ErrNoSuccession) && strings.Contains(err.Error(), c.why):
		default:
			t.Errorf("%s: %v, %v; want %q", name, heir, err, c.why)
		}
		if _, err := Succession(bytes.NewReader(c.old), bytes.NewReader(c.next), Policy{Pinned: []evidence.PublicKey{pub(9)}}); err == nil {
			t.Errorf("%s: a key that nobody pinned", name)
		}
	}
}
