package verify

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/seal"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// noteLine is a signature as a note holds it.
func noteLine(name string, id uint32, sig []byte) string {
	return "— " + name + " " + base64.StdEncoding.EncodeToString(append(binary.BigEndian.AppendUint32(nil, id), sig...)) + "\n"
}

// witnessed is a log with a checkpoint key and two witnesses, whose cosigned
// checkpoint after four windows stands in it; the window after answers one of
// the cosignatures. edit may make the checkpoint a lie.
func witnessed(t *testing.T, edit func(*checkpoint.Checkpoint)) (s *evidencetest.Stream, policy *checkpoint.Policy) {
	t.Helper()
	own := evidencetest.Key(20)
	w, first, err := seal.NewWriter(evidencetest.Signer(1), evidencetest.Secret(), evidence.Genesis{
		Event: evidencetest.Point(0), Dictionary: evidencetest.Small(), Checkpoint: own.Public().(ed25519.PublicKey)})
	s = &evidencetest.Stream{Writer: w}
	s.Add(t, first, err)
	d, err := w.Boot(evidencetest.Point(0), evidence.Boot{Clean: true, Software: "test"})
	s.Add(t, d, err)
	for range 4 {
		s.Window(t)
	}
	origin := checkpoint.Origin(w.LogID())
	key, _, err := checkpoint.LogKey(origin, own)
	if err != nil {
		t.Fatal(err)
	}
	c := checkpoint.Checkpoint{Origin: origin, Size: w.N(), Root: w.Anchor().Root(evidence.SuiteEd25519)}
	if edit != nil {
		edit(&c)
	}
	msg, err := checkpoint.Sign(c, key)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	rules := ""
	for i := range byte(2) {
		wk, vkey, err := checkpoint.WitnessKey(fmt.Sprintf("witness.example/w%d", i), evidencetest.Key(30+i))
		if err != nil {
			t.Fatal(err)
		}
		sig, err := wk.Sign([]byte(c.String()))
		if err != nil {
			t.Fatal(err)
		}
		rules += fmt.Sprintf("witness w%d %s\n", i, vkey)
		lines = append(lines, noteLine(wk.Name(), wk.KeyHash(), sig))
	}
	msg = append(msg, strings.Join(lines, "")...)
	if policy, err = checkpoint.ParsePolicy([]byte(rules + "group both 2 w0 w1\nquorum both\n")); err != nil {
		t.Fatal(err)
	}
	st, err := policy.Evaluate(msg, checkpointKey(bundle.Header{Log: w.LogID(), Meta: w.Meta()})...)
	if err != nil || !st.Met {
		t.Fatalf("%+v, %v", st, err)
	}
	d, err = w.Witnessed(evidencetest.Point(4), string(msg))
	s.Add(t, d, err)
	e := evidencetest.Event(4, evidencetest.SmallMS)
	e.Start = time.Now().UnixMilli() // witnesses take the time of this machine
	d, err = w.Window(e, evidencetest.SmallWindow(4), []evidence.NonceHash{evidence.SuiteEd25519.NonceHash(st.By[1].Bytes())})
	s.Add(t, d, err)
	s.Meta = w.Meta().Encode()
	return s, policy
}

func TestWitnesses(t *testing.T) {
	check := func(s *evidencetest.Stream, policy *checkpoint.Policy) Summary {
		t.Helper()
		file := archive(t, s, 0, uint64(len(s.Deliveries)-1), nil)
		p := trusting(s)
		p.Times = nil
		var err error
		if p.Receipts, err = CollectReceipts(bytes.NewReader(file), Believed{Witnesses: policy}); err != nil {
			t.Fatal(err)
		}
		var last Result
		sum, err := Bundle(bytes.NewReader(file), p, func(r Result) { last = r })
		if err != nil {
			t.Fatal(err)
		}
		if sum.Verdict == Verified && policy != nil && last.NotBefore.IsZero() {
			t.Error("the window that answers a cosignature is not known to be made after it")
		}
		return sum
	}
	has := func(rs []Reason, code string) bool {
		for _, r := range rs {
			if r.Code == code {
				return true
			}
		}
		return false
	}
	s, policy := witnessed(t, nil)
	sum := check(s, policy)
	// The four windows end months before the witnesses saw them, by this
	// machine's clock; the last one nobody has confirmed.
	if sum.Verdict != Verified || has(sum.Assumptions, "no-witness") || !has(sum.Reasons, "late") || sum.Grades[GradeD] != 5 {
		t.Errorf("%s %v %v, assumptions %v", sum.Verdict, sum.Grades, sum.Reasons, sum.Assumptions)
	}
	if sum := check(s, nil); sum.Verdict != Verified || !has(sum.Assumptions, "no-witness") {
		t.Errorf("without a policy: %s, assumptions %v", sum.Verdict, sum.Assumptions)
	}
	s, policy = witnessed(t, func(c *checkpoint.Checkpoint) { c.Root[0] ^= 1 })
	if sum := check(s, policy); sum.Verdict != Forked || !has(sum.Reasons, "checkpoint-fork") {
		t.Errorf("a checkpoint of another history: %s %v", sum.Verdict, sum.Reasons)
	}
}
