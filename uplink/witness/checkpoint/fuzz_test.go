package checkpoint

import (
	"bytes"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

func FuzzParse(f *testing.F) {
	f.Add(Checkpoint{Origin: Origin(boxLog), Size: 12}.String())
	f.Add("o\n0\n" + Checkpoint{}.String()[3:] + "x\n")
	f.Fuzz(func(t *testing.T, text string) {
		c, err := Parse(text)
		if err != nil {
			return
		}
		if c.String() != text {
			t.Errorf("%q was read as %+v, which is written %q", text, c, c.String())
		}
	})
}

func FuzzOpen(f *testing.F) {
	log, w := newLog(f, Origin(boxLog), 1), newWitness(f, "witness.example/w1", 2)
	good := signed(f, log, 1440, 7)
	f.Add(good)
	f.Add(append(bytes.Clone(good), w.cosign(good, 5)...))
	f.Add(append(bytes.Clone(good), w.cosign(good, 0)...))
	f.Fuzz(func(t *testing.T, msg []byte) {
		c, cosigned, err := Open(msg, []note.Verifier{log}, w)
		if err != nil {
			return
		}
		if !bytes.HasPrefix(msg, []byte(c.String()+"\n— ")) || c.Size != 1440 || c.Root != [32]byte{7} {
			t.Errorf("%q was opened as %+v", msg, c)
		}
		for _, s := range cosigned {
			if !bytes.Contains(msg, []byte(s.Line)) {
				t.Errorf("%q holds no %q", msg, s.Line)
			}
		}
	})
}

func FuzzPolicy(f *testing.F) {
	log, w := newLog(f, Origin(boxLog), 1), newWitness(f, "witness.example/w1", 2)
	msg := signed(f, log, 1, 1)
	msg = append(msg, w.cosign(msg, 5)...)
	f.Add([]byte("log " + log.vkey + " u\nwitness a " + w.vkey + "\ngroup g 1 a\nquorum g\n"))
	f.Add([]byte("# c\nquorum none\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := ParsePolicy(text)
		if err != nil {
			if p != nil {
				t.Error("a policy and an error")
			}
			return
		}
		if len(p.Logs) > maxDefined || len(p.Witnesses) > maxDefined {
			t.Error("beyond the limits")
		}
		if s, err := p.Evaluate(msg, log); err == nil && s.Met && p.quorum != nil && s.MetAt.Unix() != 5 {
			t.Errorf("met at %v", s.MetAt)
		}
	})
}

func FuzzKeys(f *testing.F) {
	f.Add(newLog(f, Origin(boxLog), 1).vkey)
	f.Add(newWitness(f, "witness.example/w1", 2).vkey)
	f.Fuzz(func(t *testing.T, vkey string) {
		_, err1 := LogVerifier(vkey)
		_, err2 := WitnessVerifier(vkey)
		if err1 == nil && err2 == nil {
			t.Errorf("%q is the key of a log and of a witness", vkey)
		}
	})
}
