//go:build integration

package verify

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

var (
	agreementLogs = flag.Int("logs", 500, "logs on which the two verifiers must agree")
	agreementSeed = flag.Uint64("seed", 1, "of these logs")
)

// TestAgreement has the verifier of this package and interop/verify.py judge
// thousands of logs, whole and damaged, and wants the same verdict and grade
// for every message. Log i of a seed is always the same but for the random
// numbers in SM2 signatures.
func TestAgreement(t *testing.T) {
	const workers, batch = 2, 500
	world := newWorld(t)
	tally := make([]map[string]int, workers)
	t.Run("workers", func(t *testing.T) {
		for w := range workers {
			tally[w] = map[string]int{}
			t.Run(fmt.Sprint(w), func(t *testing.T) {
				t.Parallel()
				for at := w * batch; at < *agreementLogs; at += workers * batch {
					var cases []suit
					for i := at; i < min(at+batch, *agreementLogs); i++ {
						cases = append(cases, world.make(t, *agreementSeed, uint64(i)))
					}
					agree(t, cases, tally[w])
				}
			})
		}
	})
	counts := map[string]int{}
	for _, m := range tally {
		for word, n := range m {
			counts[word] += n
		}
	}
	t.Logf("%d logs, messages by verdict: %v", *agreementLogs, counts)
	for _, v := range []Verdict{Verified, Replayed, Gap, WrongKey, Unreadable, Altered, Forked} {
		if counts[string(v)] < *agreementLogs/100 {
			t.Errorf("%s came up %d times: the logs are too tame", v, counts[string(v)])
		}
	}
}

// suit is a log as one lender may receive it, with what was done to it.
type suit struct {
	seed, index uint64
	did         []string
	key         evidence.PublicKey
	meta        []byte
	messages    []message
	nonces      map[string]int64 // hex: Unix ms given out
}

type message struct {
	bytes    []byte
	received int64 // Unix ms; 0: not known
}

// line is how verify.py --batch takes a suit.
func (s *suit) line() []byte {
	in := struct {
		Key      string           `json:"key"`
		Meta     *string          `json:"meta"`
		Messages []string         `json:"messages"`
		Received []*int64         `json:"received"`
		Nonces   map[string]int64 `json:"nonces"`
	}{Key: s.key.String(), Messages: []string{}, Received: []*int64{}, Nonces: s.nonces}
	if s.meta != nil {
		meta := hex.EncodeToString(s.meta)
		in.Meta = &meta
	}
	for _, m := range s.messages {
		in.Messages = append(in.Messages, hex.EncodeToString(m.bytes))
		at := &m.received
		if m.received == 0 {
			at = nil
		}
		in.Received = append(in.Received, at)
	}
	b, err := json.Marshal(in)
	if err != nil {
		panic(err) // strings and numbers
	}
	return append(b, '\n')
}

// here is what this package says: verdict and grade of each message.
func (s *suit) here() (words []string, results []Result) {
	v, err := New(s.key, s.meta)
	if err != nil {
		v, _ = New(s.key, nil)
	}
	issued := map[evidence.NonceHash]int64{}
	for nonce, ms := range s.nonces {
		b, err := hex.DecodeString(nonce)
		if err != nil {
			panic(err)
		}
		issued[s.key.Suite().NonceHash(b)] = ms
	}
	v.Issued = func(h evidence.NonceHash) (time.Time, bool) { ms, ok := issued[h]; return time.UnixMilli(ms), ok }
	for _, m := range s.messages {
		received := time.Time{}
		if m.received != 0 {
			received = time.UnixMilli(m.received)
		}
		res := v.Next(m.bytes, received)
		words, results = append(words, string(res.Verdict)+" "+string(res.Grade)), append(results, res)
	}
	return words, results
}

// there is what verify.py says.
func there(t *testing.T, suits []suit) (words [][]string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "logs.jsonl")
	var in bytes.Buffer
	for i := range suits {
		in.Write(suits[i].line())
	}
	if err := os.WriteFile(path, in.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	var stderr strings.Builder
	cmd := exec.Command("/usr/bin/python3", "../evidence/interop/verify.py", "--batch", path)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("verify.py: %v\n%s", err, stderr.String())
	}
	for lines := bufio.NewReader(bytes.NewReader(out)); ; {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			break
		}
		var of []string
		if err := json.Unmarshal(line, &of); err != nil {
			t.Fatal(err)
		}
		words = append(words, of)
	}
	if len(words) != len(suits) {
		t.Fatalf("verify.py judged %d of %d logs", len(words), len(suits))
	}
	return words
}

// agree fails the test at the first log on which the two differ.
func agree(t *testing.T, suits []suit, tally map[string]int) {
	t.Helper()
	foreign := there(t, suits)
	for i := range suits {
		own, _ := suits[i].here()
		for _, word := range own {
			verdict, _, _ := strings.Cut(word, " ")
			tally[verdict]++
		}
		if !slices.Equal(own, foreign[i]) {
			t.Fatal(minimal(t, suits[i]))
		}
	}
}

// minimal drops what a disagreement does not need, and describes the rest.
func minimal(t *testing.T, s suit) string {
	t.Helper()
	differ := func(s suit) bool {
		own, _ := s.here()
		return !slices.Equal(own, there(t, []suit{s})[0])
	}
	for shrunk := true; shrunk; {
		shrunk = false
		for i := len(s.messages) - 1; i >= 0; i-- {
			less := s
			less.messages = slices.Delete(slices.Clone(s.messages), i, i+1)
			if differ(less) {
				s, shrunk = less, true
			}
		}
	}
	own, results := s.here()
	foreign := there(t, []suit{s})[0]
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d, log %d: %s\n", s.seed, s.index, strings.Join(s.did, ", "))
	for i, res := range results {
		fmt.Fprintf(&b, "  leaf %d, %s: here %q, verify.py %q", res.N, res.Type, own[i], foreign[i])
		for _, r := range res.Reasons {
			fmt.Fprintf(&b, "; %s", r.Code)
		}
		b.WriteString("\n")
	}
	fmt.Fprintf(&b, "for verify.py --batch:\n%s", s.line())
	return b.String()
}
