package checkpoint

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func mustPolicy(t testing.TB, text string) *Policy {
	t.Helper()
	p, err := ParsePolicy([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestQuorum is the example of tlog-policy.
func TestQuorum(t *testing.T) {
	log := newLog(t, Origin(boxLog), 1)
	var ws []party
	text := "# two organisations\n\tlog " + log.vkey + "  https://log.example/ \n\n"
	for i, name := range []string{"X1", "X2", "X3", "Y1", "Y2", "Y3"} {
		w := newWitness(t, "witness.example/"+name, byte(10+i))
		ws = append(ws, w)
		text += "witness " + name + " " + w.vkey + " https://" + name + ".example/\n"
	}
	text += "group X-witnesses 2 X1 X2 X3\n  # inner comment\ngroup Y-witnesses any Y1 Y2 Y3\ngroup X-and-Y all X-witnesses Y-witnesses\nquorum X-and-Y\n"
	p := mustPolicy(t, text)
	if len(p.Logs) != 1 || p.Logs[0].URL != "https://log.example/" || len(p.Witnesses) != 6 || p.Witnesses[4].URL != "https://Y2.example/" || p.Witnesses[4].Name != "Y2" {
		t.Errorf("policy %+v", p)
	}
	for _, c := range []struct {
		by    string // witness and seconds
		met   bool
		metAt int64
	}{
		{"", false, 0},
		{"X1:5 X2:6", false, 0},
		{"X1:5 Y1:7", false, 0},
		{"X1:5 Y1:7 Y2:8 Y3:9", false, 0},
		{"X1:5 X3:6 Y1:7", true, 7},
		{"X1:50 X3:6 Y1:7", true, 50},
		{"Y3:1 X1:5 X2:4 X3:90 Y1:100", true, 5},
	} {
		msg := signed(t, log, 100, 1)
		var want []string
		oldest, newest := time.Time{}, time.Time{}
		for _, s := range strings.Fields(c.by) {
			name, at, _ := strings.Cut(s, ":")
			var sec int64
			fmt.Sscan(at, &sec)
			i := slices.IndexFunc(p.Witnesses, func(w Witness) bool { return w.Name == name })
			msg = append(msg, ws[i].cosign(msg, sec)...)
			want = append(want, name)
			if x := time.Unix(sec, 0); oldest.IsZero() || x.Before(oldest) {
				oldest = x
			}
			if x := time.Unix(sec, 0); x.After(newest) {
				newest = x
			}
		}
		s, err := p.Evaluate(msg)
		if err != nil {
			t.Fatalf("%s: %v", c.by, err)
		}
		var got []string
		for _, b := range s.By {
			got = append(got, b.Witness)
		}
		slices.Sort(want)
		if s.Met != c.met || !slices.Equal(got, want) || !s.Oldest.Equal(oldest) || !s.Newest.Equal(newest) || s.Checkpoint.Size != 100 {
			t.Errorf("%s: %+v", c.by, s)
		}
		if c.met && s.MetAt.Unix() != c.metAt || !c.met && !s.MetAt.IsZero() {
			t.Errorf("%s: met at %v", c.by, s.MetAt)
		}
	}
}

func TestQuorumNone(t *testing.T) {
	log, w := newLog(t, Origin(boxLog), 1), newWitness(t, "witness.example/w1", 2)
	msg := signed(t, log, 3, 1)
	p := mustPolicy(t, "quorum none\n")
	if s, err := p.Evaluate(msg, log); err != nil || !s.Met || len(s.By) != 0 || !s.MetAt.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := p.Evaluate(msg); err == nil {
		t.Error("a checkpoint of an unknown log was taken")
	}
	// The same log in the policy and from the caller is one log; a witness that
	// is not required is told all the same.
	p = mustPolicy(t, "witness w "+w.vkey+"\nquorum none\nlog "+log.vkey+"\n")
	if s, err := p.Evaluate(append(msg, w.cosign(msg, 9)...), log); err != nil || !s.Met || len(s.By) != 1 || s.Newest.Unix() != 9 || !s.MetAt.IsZero() {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestCallersListIsLeftAlone(t *testing.T) {
	a, b := newLog(t, "a.example", 1), newLog(t, "b.example", 2)
	list := append(make([]note.Verifier, 0, 4), a)
	if _, err := mustPolicy(t, "log "+b.vkey+"\nquorum none\n").Evaluate(signed(t, a, 1, 1), list...); err != nil {
		t.Fatal(err)
	}
	if list[:2][1] != nil {
		t.Error("the caller's array was written to")
	}
}

func TestPolicyFaults(t *testing.T) {
	log, log2 := newLog(t, Origin(boxLog), 1), newLog(t, "b.example", 1)
	w, w2, w3 := newWitness(t, "w.example/1", 2), newWitness(t, "w.example/2", 3), newWitness(t, "w.example/3", 2)
	two := "witness a " + w.vkey + "\nwitness b " + w2.vkey + "\n"
	for name, c := range map[string]struct {
		text string
		want string
	}{
		"empty":                  {"", "policy: no quorum line"},
		"no quorum":              {two, "policy: no quorum line"},
		"two quorums":            {"quorum none\nquorum none\n", "policy line 2: a second quorum line, the first is line 1"},
		"quorum of two":          {two + "quorum a b\n", "line 3: expected: quorum NAME"},
		"quorum unknown":         {two + "quorum c\n", `line 3: "c" is no witness or group`},
		"quorum before":          {"quorum a\n" + two, `line 1: "a" is no witness`},
		"unknown word":           {"\n\nqourum none\n", `line 3: expected log, witness, group or quorum, found "qourum"`},
		"cut off":                {"quorum none", "line 1: the newline at its end is missing"},
		"carriage return":        {"quorum none\r\n", "line 1: control character 0x0d in column 12"},
		"delete":                 {"# \x7f\nquorum none\n", "line 1: control character 0x7f"},
		"log without key":        {"log\n", "line 1: expected: log VKEY [URL], found 0 words"},
		"log and more":           {"log " + log.vkey + " u v\n", "found 3 words"},
		"log of a witness":       {"log " + w.vkey + "\n", "line 1: log key"},
		"log twice":              {"log " + log.vkey + "\n\nlog " + log2.vkey + "\n", "line 3: the log has the public key of line 1"},
		"witness of a log":       {"witness a " + log.vkey + "\n", "line 1: witness key"},
		"witness without a name": {"witness " + w.vkey + "\n", "line 1: expected: witness NAME VKEY [URL], found 1 words"},
		"witness twice":          {"witness a " + w.vkey + "\nwitness b " + w3.vkey + "\n", "line 2: the witness has the public key of line 1"},
		"name twice":             {"witness a " + w.vkey + "\nwitness a " + w2.vkey + "\n", `line 2: the name "a" is taken`},
		"none as witness":        {"witness none " + w.vkey + "\n", "line 1: the name none"},
		"none as group":          {two + "group none any a\n", "line 3: the name none"},
		"none in a group":        {two + "group g any a none\n", `line 3: member "none"`},
		"group of none":          {two + "group g any\n", "line 3: expected: group NAME"},
		"group of itself":        {two + "group g any g\n", `line 3: member "g"`},
		"group named as witness": {two + "group a any b\n", `line 3: the name "a" is taken`},
		"twice in a group":       {two + "group g any a a\n", `line 3: "a" is a member of a group already`},
		"in two groups":          {two + "group g any a\ngroup h any a\n", `line 4: "a" is a member`},
		"threshold 0":            {two + "group g 0 a b\n", "line 3: expected any, all or a number from 1 to 2"},
		"threshold 3":            {two + "group g 3 a b\n", "line 3: expected any, all or a number from 1 to 2"},
		"threshold 02":           {two + "group g 02 a b\n", `found "02"`},
		"threshold ALL":          {two + "group g ALL a b\n", `found "ALL"`},
		"many groups":            {manyGroups(t, maxDefined+1), "line 130: more than 64 group lines"},
		"large":                  {strings.Repeat("# x\n", MaxPolicyBytes/4+1), "expected at most"},
	} {
		_, err := ParsePolicy([]byte(c.text))
		if _, ok := err.(*PolicyError); !ok || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
	p := mustPolicy(t, manyGroups(t, maxDefined)+"quorum g64\n")
	msg := signed(t, log, 3, 1)
	if s, err := p.Evaluate(append(msg, newWitness(t, "w.example/many", 100).cosign(msg, 4)...), log); err != nil || !s.Met {
		t.Errorf("%+v %v", s, err)
	}
	// Names are opaque octets.
	mustPolicy(t, "witness \xff\xe2\x84\xaa "+w.vkey+" \x80\n# \xfe\nquorum \xff\xe2\x84\xaa\n")
}

// manyGroups nests n groups around the first of 65 lines of witnesses.
func manyGroups(t testing.TB, n int) string {
	t.Helper()
	var b strings.Builder
	for range 64 {
		b.WriteString("#\n")
	}
	fmt.Fprintf(&b, "witness g0 %s\n", newWitness(t, "w.example/many", 100).vkey)
	for i := 1; i <= n; i++ {
		fmt.Fprintf(&b, "group g%d all g%d\n", i, i-1)
	}
	return b.String()
}

func TestPolicyLimits(t *testing.T) {
	var logs, witnesses strings.Builder
	for i := range maxDefined {
		fmt.Fprintf(&logs, "log %s\n", newLog(t, fmt.Sprintf("l%d", i), byte(i)).vkey)
		fmt.Fprintf(&witnesses, "witness w%d %s\n", i, newWitness(t, fmt.Sprintf("w%d", i), byte(i)).vkey)
	}
	mustPolicy(t, logs.String()+witnesses.String()+"quorum none\n")
	for text, want := range map[string]string{
		logs.String() + "log " + newLog(t, "more", 200).vkey + "\n":                "line 65: more than 64 log lines",
		witnesses.String() + "witness x " + newWitness(t, "more", 200).vkey + "\n": "line 65: more than 64 witness lines",
	} {
		if _, err := ParsePolicy([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
