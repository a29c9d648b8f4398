package verify

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
)

var update = flag.Bool("update", false, "write the vectors anew")

const vectorDir = "../evidence/testdata/vectors"

// A vector is a file: header lines "key: value", an empty line, then one hex
// line per message. testdata/vectors/README.md describes the keys.
type vector struct {
	name     string
	kind     string // "stream", "bundle", "receipt"
	about    string
	key      string // pinned
	meta     []byte
	expect   []string // per message: verdict, or verdict/reason; for receipts ok, signature, format
	messages [][]byte
	random   bool // its signatures differ each time they are made
}

func (v vector) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "about: %s\nkind: %s\nkey: %s\n", v.about, v.kind, v.key)
	if v.meta != nil {
		fmt.Fprintf(&b, "meta: %x\n", v.meta)
	}
	fmt.Fprintf(&b, "expect: %s\n\n", strings.Join(v.expect, " "))
	for _, m := range v.messages {
		fmt.Fprintf(&b, "%x\n", m)
	}
	return b.String()
}

func readVector(t *testing.T, path string) vector {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	v := vector{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
	unhex := func(s string) []byte {
		b, err := hex.DecodeString(s)
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		return b
	}
	head, body, ok := strings.Cut(string(text), "\n\n")
	if !ok {
		t.Fatalf("%s: no empty line after the header", path)
	}
	for line := range strings.Lines(head) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch key {
		case "about":
			v.about = value
		case "kind":
			v.kind = value
		case "key":
			v.key = value
		case "meta":
			v.meta = unhex(value)
		case "expect":
			v.expect = strings.Fields(value)
		default:
			t.Fatalf("%s: unknown header %q", path, key)
		}
	}
	for line := range strings.Lines(body) {
		v.messages = append(v.messages, unhex(strings.TrimSpace(line)))
	}
	return v
}

// outcomes runs a vector and returns what came of each message.
func (v vector) outcomes(t *testing.T) (got []string) {
	t.Helper()
	key, err := evidence.ParsePublicKey(v.key)
	if err != nil {
		t.Fatal(err)
	}
	switch v.kind {
	case "stream":
		ver, err := New(key, v.meta)
		if err != nil {
			return []string{"meta:" + class(err)}
		}
		for _, m := range v.messages {
			res := ver.Next(m, soon(m))
			got = append(got, outcome(res.Verdict, res.Reasons))
		}
	case "bundle":
		for _, m := range v.messages {
			sum, err := Bundle(bytes.NewReader(m), Policy{Pinned: []evidence.PublicKey{key}}, nil)
			if err != nil {
				got = append(got, class(err))
				continue
			}
			got = append(got, outcome(sum.Verdict, sum.Reasons))
		}
	case "receipt":
		for _, m := range v.messages {
			_, err := evidence.OpenReceipt(key, m)
			got = append(got, class(err))
		}
	default:
		t.Fatalf("%s: unknown kind %q", v.name, v.kind)
	}
	return got
}

// outcome names the first reason that is not about the grade.
func outcome(v Verdict, reasons []Reason) string {
	for _, r := range reasons {
		switch r.Code {
		case "no-beacon", "old-beacon", "before-beacon", "reception-unknown", "clock-unsynchronised", "clock-backwards",
			"not-live", "late", "from-the-future", "starts-late", "restart-unexplained", "counter-skipped":
		default:
			return string(v) + "/" + r.Code
		}
	}
	return string(v)
}

func class(err error) string {
	var format *canon.FormatError
	switch {
	case err == nil:
		return "ok"
	case errors.Is(err, evidence.ErrSignature):
		return "signature"
	case errors.Is(err, evidence.ErrVersion):
		return "newer-version"
	case errors.Is(err, ErrWrongKey):
		return "wrong-key"
	case errors.Is(err, bundle.ErrNotBundle):
		return "not-a-bundle"
	case errors.As(err, &format):
		return "format"
	}
	return err.Error()
}

func TestVectors(t *testing.T) {
	if *update {
		if err := os.MkdirAll(vectorDir, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, v := range makeVectors(t) {
			if err := os.WriteFile(filepath.Join(vectorDir, v.name+".txt"), []byte(v.String()), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	paths, err := filepath.Glob(filepath.Join(vectorDir, "*.txt"))
	if err != nil || len(paths) < 60 {
		t.Fatalf("%d vectors in %s, want at least 60 (%v)", len(paths), vectorDir, err)
	}
	for _, path := range paths {
		v := readVector(t, path)
		t.Run(v.name, func(t *testing.T) {
			if got := v.outcomes(t); !slices.Equal(got, v.expect) {
				t.Errorf("%s\ngot  %v\nwant %v", v.about, got, v.expect)
			}
		})
	}
}

// TestVectorsAreCurrent makes the vectors again: what is written today must
// be what was published.
func TestVectorsAreCurrent(t *testing.T) {
	for _, v := range makeVectors(t) {
		if v.random {
			continue
		}
		published, err := os.ReadFile(filepath.Join(vectorDir, v.name+".txt"))
		if err != nil {
			t.Error(err)
		} else if string(published) != v.String() {
			t.Errorf("%s: made differently than published; run with -update only while the format is not frozen", v.name)
		}
	}
}

func makeVectors(t *testing.T) []vector {
	s := evidencetest.NewStream(t, 1, 0)
	anchors := []evidence.Anchor{{}, {}}
	for range 6 {
		anchors = append(anchors, s.Writer.Anchor())
		s.Window(t)
	}
	d, err := s.Writer.Config(evidencetest.Point(6), evidencetest.Small(), evidence.Hash{0xc0})
	s.Add(t, d, err)
	d, err = s.Writer.Loss(evidencetest.Point(6), []evidence.LostRange{{Lo: 3, Hi: 4, Reason: "quota"}})
	s.Add(t, d, err)
	d, err = s.Writer.Events(evidencetest.Point(6), []evidence.Happening{
		{At: evidencetest.Start, Kind: "line_lost", Subject: "hall-a", Count: 1},
		{At: evidencetest.Start + 9, Kind: "counter_reset", Subject: "press-1", Quantity: "energy_import", Count: 2},
	})
	s.Add(t, d, err)
	d, err = s.Writer.Shutdown(evidencetest.Point(6), "SIGTERM")
	s.Add(t, d, err)

	second := evidencetest.NewStream(t, 1, 0) // the same box with other readings
	second.Deliveries = append(second.Deliveries, nil)
	for range 4 {
		second.Window(t)
	}
	secondAnchor := second.Writer.Anchor()
	second.Window(t)
	foreign := evidencetest.NewStream(t, 2, 2)

	filter := func(n int, anchor *evidence.Anchor, granted ...evidence.Channel) []byte {
		out, err := evidence.FilterDelivery(nil, s.Deliveries[n], record.Granted("", granted), anchor)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	all := []evidence.Channel{evidence.Energy, evidence.VoltageCurrent, evidence.Timing}
	edited := slices.Clone(s.Deliveries[3])
	edited[len(edited)-1] ^= 2
	resealed := func(n int, edit func(l *liar)) []byte { return lie(t, s.Deliveries[n], 1, edit) }
	body := func(edit func(b []byte) []byte) []byte { // of the energy block of leaf 3
		return resealed(3, func(l *liar) {
			l.reblock(t, 1, func(parts []any) { parts[3] = edit(parts[3].([]byte)) })
			l.digests(map[uint64]uint64{1: 1, 3: 1, 6: 1})
		})
	}
	stream := func(name, about, expect string, messages ...[]byte) vector {
		return vector{name: name, kind: "stream", about: about, key: pub(1).String(),
			meta: s.Meta, expect: strings.Fields(expect), messages: messages}
	}
	upTo := func(n int, more ...[]byte) [][]byte { return append(slices.Clone(s.Deliveries[:n]), more...) }
	const ok3 = "verified verified verified "

	vs := []vector{
		stream("ok-every-leaf", "genesis, boot, six windows (two with a meter that does not answer), config, loss, events, shutdown",
			strings.Repeat("verified ", 12), s.Deliveries...),
		stream("ok-one-channel", "a lender that was granted energy alone", ok3+"verified", upTo(3, filter(3, nil, evidence.Energy))...),
		stream("ok-no-channel", "a lender that was granted nothing checks the log all the same", ok3+"verified", upTo(3, filter(3, nil))...),
		stream("ok-late-start", "the first delivery is leaf 5, with the anchor of leaves 0 to 4", "verified verified",
			filter(5, &anchors[5], all...), s.Deliveries[6]),
		stream("ok-algorithm-19", "leaf 3 signed with the fully specified algorithm number -19", ok3+"verified", upTo(3, sign19(t, s.Deliveries[3]))...),
		stream("gap-bridged", "leaves 3 and 4 dropped by the box, leaf 5 with an anchor", ok3+"gap/missing verified",
			upTo(3, filter(5, &anchors[5], all...), s.Deliveries[6])...),
		stream("gap-unbridged", "leaf 3 dropped, no anchor: nothing after it counts as verified", ok3+"gap/missing gap/history-unchecked",
			upTo(3, s.Deliveries[4], s.Deliveries[5])...),
		stream("gap-anchor-mismatch", "the anchor sent after a gap does not hash to the signed root", ok3+"gap/missing",
			upTo(3, lie(t, s.Deliveries[5], 1, func(l *liar) { l.anchor = []any{5, [][]byte{make([]byte, 32), make([]byte, 32)}} }))...),
		stream("gap-channel-withheld", "the box signs a window without one commissioned channel", ok3+"gap/channel-missing",
			upTo(3, resealed(3, func(l *liar) {
				delete(l.blocks, 1)
				l.digests(map[uint64]uint64{3: 1, 6: 1})
			}))...),
		stream("attack-edited-block", "one value changed after signing", ok3+"altered/block-digest", upTo(3, edited)...),
		stream("attack-added-block", "a block the leaf does not mention", ok3+"altered/block-unsigned",
			upTo(3, resealed(3, func(l *liar) { l.blocks[2] = l.blocks[1] }))...),
		stream("attack-edited-leaf", "one bit of the signed payload changed", ok3+"altered/signature",
			upTo(3, flipPayload(t, s.Deliveries[3]))...),
		stream("attack-wrong-key", "a leaf of another box", ok3+"wrong-key/signed-by-other", upTo(3, foreign.Deliveries[3])...),
		stream("attack-replayed-window", "leaf 2 again", ok3+"verified replayed/replayed", upTo(4, s.Deliveries[2])...),
		stream("attack-second-leaf", "two leaves with index 3", ok3+"verified forked/second-leaf", upTo(4, second.Deliveries[4])...),
		stream("attack-second-history", "leaf 4 of another history of the same box", ok3+"verified forked/history-root", upTo(4, second.Deliveries[5])...),
		stream("attack-anchored-fork", "a gap used to slip in another history", ok3+"verified verified forked/anchor-fork",
			upTo(5, withAnchor(t, second.Deliveries[7], secondAnchor))...),
		stream("bad-map-order", "payload keys not in canonical order", ok3+"unreadable/malformed", upTo(3, swapKeys(t, s.Deliveries[3]))...),
		stream("bad-surplus-key", "a window with a shutdown reason", ok3+"unreadable/malformed", upTo(3, resealed(3, func(l *liar) { l.payload[33] = "x" }))...),
		stream("bad-missing-key", "a window without its completeness", ok3+"unreadable/malformed", upTo(3, resealed(3, func(l *liar) { delete(l.payload, 9) }))...),
		stream("bad-varint", "a value written in more bytes than it needs", ok3+"unreadable/block-form",
			upTo(3, body(func(b []byte) []byte { return append(b[:len(b)-1], b[len(b)-1]|0x80, 0) }))...),
		stream("bad-exceptions", "an empty exception", ok3+"unreadable/block-form",
			upTo(3, body(func(b []byte) []byte { return append([]byte{1, 0, 0, 0, 0, 2}, b[1:]...) }))...),
		stream("bad-trailing-body", "a byte after the last value", ok3+"unreadable/block-form",
			upTo(3, body(func(b []byte) []byte { return append(b, 0) }))...),
		stream("bad-untagged", "COSE_Sign1 without tag 18", ok3+"unreadable/malformed", upTo(3, untag(t, s.Deliveries[3]))...),
		stream("bad-unprotected-header", "a key id in the unprotected header", ok3+"unreadable/malformed", upTo(3, unprotected(t, s.Deliveries[3]))...),
		stream("bad-empty", "an empty message", ok3+"unreadable/malformed", upTo(3, []byte{})...),
		stream("newer-leaf-type", "a leaf type of a later version", ok3+"unreadable/newer-version",
			upTo(3, resealed(3, func(l *liar) { l.payload[1] = 16 }))...),
	}
	newer := stream("newer-genesis", "a log of format version 2", "unreadable/newer-version", resealed(0, func(l *liar) { l.payload[20] = 2 }))
	newer.meta = nil
	mixed := stream("attack-genesis-key", "a genesis leaf that names another key than the pinned one", "wrong-key/key-not-pinned", foreign.Deliveries[0])
	mixed.meta = nil
	return slices.Concat(vs, []vector{newer, mixed, receiptVector(t, s), bundleVector(t, s, anchors)},
		suiteVectors(t), rotationVectors(t), recordVectors(t), beaconVectors(t), genesisVectors(t), thiefVectors(t), gapVectors(t), readingVectors(t), counterVectors(t), chipVectors(t))
}
