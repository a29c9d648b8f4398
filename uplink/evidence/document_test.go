package evidence_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink/evidence"
)

const exampleVector = "testdata/vectors/ok-one-channel.txt"

// documents hold the same worked example, in two languages.
var documents = []string{"../../docs/evidence.md", "../../docs/evidence.zh-CN.md"}

// fenced returns the blocks of a document that are marked with a language.
func fenced(t *testing.T, path, language string) (blocks []string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i, part := range strings.Split(string(text), "\n```"+language+"\n") {
		if block, _, closed := strings.Cut(part, "```\n"); i > 0 && closed {
			blocks = append(blocks, block)
		}
	}
	return blocks
}

// TestPolicyOfDocuments: the policy files they show are read without a fault.
func TestPolicyOfDocuments(t *testing.T) {
	for _, path := range documents {
		blocks := fenced(t, path, "yaml")
		if len(blocks) != 1 {
			t.Fatalf("%s: %d policy files, want 1", path, len(blocks))
		}
		file := filepath.Join(t.TempDir(), "policy.yaml")
		if err := os.WriteFile(file, []byte(blocks[0]), 0o600); err != nil {
			t.Fatal(err)
		}
		if p, err := configs.LoadPolicy(file); err != nil || len(p.Boxes) != 1 || len(p.Lenders) != 1 {
			t.Errorf("%s: %+v, %v", path, p, err)
		}
	}
}

// step is a command of the worked example with what it prints.
type step struct{ command, prints string }

// example reads the blocks marked "console" of a document.
func example(t *testing.T, path string) (steps []step) {
	t.Helper()
	for _, block := range fenced(t, path, "console") {
		for line := range strings.Lines(block) {
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				steps = append(steps, step{command: strings.TrimSpace(command)})
			} else {
				steps[len(steps)-1].prints += line
			}
		}
	}
	return steps
}

// xxd writes bytes as "xxd -p" does.
func xxd(b []byte) (s string) {
	for len(b) > 0 {
		n := min(30, len(b))
		s, b = s+hex.EncodeToString(b[:n])+"\n", b[n:]
	}
	return s
}

// TestWorkedExample computes, from the vector and with this package, everything
// the worked example of the documents prints. An integration test runs its
// commands.
func TestWorkedExample(t *testing.T) {
	v := readVectorFile(t, exampleVector)
	raw := v.messages[3]
	d, err := evidence.ParseDelivery(raw)
	if err != nil {
		t.Fatal(err)
	}
	key, err := evidence.ParsePublicKey(v.head["key"])
	if err != nil {
		t.Fatal(err)
	}
	if err := d.VerifySignature(key); err != nil {
		t.Fatal(err)
	}
	sum := func(b ...byte) []byte { h := sha256.Sum256(b); return h[:] }
	shasum := func(b []byte) string { return fmt.Sprintf("%x  -\n", sum(b...)) }

	var leaves [][]byte
	var payloads int
	leafSums := ""
	for _, m := range v.messages[:3] {
		before, err := evidence.ParseDelivery(m)
		if err != nil {
			t.Fatal(err)
		}
		h := before.Hash()
		leaves, payloads = append(leaves, h[:]), payloads+len(before.Payload)
		leafSums += fmt.Sprintf("%s  -\n", h)
	}
	left := sum(bytes.Join([][]byte{{1}, leaves[0], leaves[1]}, nil)...)
	root := sum(bytes.Join([][]byte{{1}, left, leaves[2]}, nil)...)
	if !bytes.Equal(root, d.Manifest.Root[:]) {
		t.Fatalf("root %x, signed %s", root, d.Manifest.Root)
	}
	genesis, err := evidence.ParseDelivery(v.messages[0])
	if err != nil {
		t.Fatal(err)
	}
	block := d.Blocks[0].Bytes
	blk, err := evidence.DecodeBlock(block, genesis.Manifest.Genesis.Dictionary.Channels[evidence.Energy])
	if err != nil {
		t.Fatal(err)
	}
	body := block[len(block)-12:]
	var numbers, values string
	for rest := body; len(rest) > 0; {
		n, size := binary.Uvarint(rest)
		numbers, rest = fmt.Sprintf("%s%d ", numbers, n), rest[size:]
	}
	for _, m := range blk.Meters {
		for i, x := range m.Values[0] {
			if i > 0 {
				x -= m.Values[0][i-1]
			}
			values += fmt.Sprintf(", %d", x)
		}
	}
	first := blk.Meters[0].Values[0][0]
	prefix := len(d.Sign1) - len(d.Payload) - 66 // of the leaf, before its payload; the signature has a head of two bytes
	want := []string{
		fmt.Sprintln(len(raw)),
		xxd(raw[:4]),
		xxd(d.Sign1[:prefix]),
		xxd(d.Payload),
		fmt.Sprintln(d.Manifest.Start, d.Manifest.Duration, d.Manifest.UptimeMS, d.Manifest.Completeness),
		xxd(raw[4+len(d.Sign1):]),
		shasum(block),
		shasum(genesis.Payload),
		fmt.Sprintln(payloads),
		leafSums,
		fmt.Sprintf("%x\n", root),
		fmt.Sprintf("%x\n", key.Bytes()),
		fmt.Sprintln(19 + len(d.Payload)),
		"Signature Verified Successfully\n",
		xxd(body),
		numbers + "\n",
		"[" + values[2:] + "]\n",
		fmt.Sprintf("%d.%02d\n", first*40/100, first*40%100),
	}
	if c := genesis.Manifest.Genesis.Dictionary.Channels[evidence.Energy][0].Columns[0]; c.Exp != -2 || c.MulCoef != 40 || c.MulExp != 0 || c.Unit != "kWh" {
		t.Fatalf("the meter's column is %+v", c)
	}

	for _, path := range documents {
		steps := example(t, path)
		if len(steps) != len(want) {
			t.Errorf("%s: %d commands, want %d", path, len(steps), len(want))
			continue
		}
		for i, s := range steps {
			if s.prints != want[i] {
				t.Errorf("%s: %s\nprints\n%s, want\n%s", path, s.command, s.prints, want[i])
			}
			if other := example(t, documents[0])[i]; s != other {
				t.Errorf("%s: %s\nin the other language: %s", path, s.command, other.command)
			}
		}
	}
}
