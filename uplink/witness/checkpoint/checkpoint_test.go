package checkpoint

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"
)

func key(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
}

// party is a log or witness with a fixed key.
type party struct {
	note.Verifier
	signer note.Signer
	vkey   string
	key    ed25519.PrivateKey
}

// Sign makes it a note.Signer too.
func (p party) Sign(msg []byte) ([]byte, error) { return p.signer.Sign(msg) }

func newLog(t testing.TB, origin string, n byte) party {
	t.Helper()
	s, vkey, err := LogKey(origin, key(n))
	if err != nil {
		t.Fatal(err)
	}
	v, err := LogVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return party{v, s, vkey, key(n)}
}

func newWitness(t testing.TB, name string, n byte) party {
	t.Helper()
	s, vkey, err := WitnessKey(name, key(n))
	if err != nil {
		t.Fatal(err)
	}
	v, err := WitnessVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return party{v, s, vkey, key(n)}
}

// cosign is a second reading of tlog-cosignature, "Ed25519 signed message".
func (p party) cosign(msg []byte, at int64) string {
	text, _, _ := bytes.Cut(msg, []byte("\n\n"))
	signed := fmt.Sprintf("cosignature/v1\ntime %d\n%s\n", uint64(at), text)
	id := sha256.Sum256([]byte(p.Name() + "\n\x04" + string(p.key.Public().(ed25519.PublicKey))))
	line := binary.BigEndian.AppendUint64(bytes.Clone(id[:4]), uint64(at))
	line = append(line, ed25519.Sign(p.key, []byte(signed))...)
	return "— " + p.Name() + " " + base64.StdEncoding.EncodeToString(line) + "\n"
}

var boxLog = [16]byte{0x5f, 0x3c, 15: 0xa1}

func signed(t testing.TB, log party, size uint64, root byte) []byte {
	t.Helper()
	msg, err := Sign(Checkpoint{Origin: log.Name(), Size: size, Root: [32]byte{root}}, log)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

func TestSignOpenCosign(t *testing.T) {
	log := newLog(t, Origin(boxLog), 1)
	msg := signed(t, log, 1440, 7)
	want := "tallystick.org/log/5f3c00000000000000000000000000a1\n1440\nBwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\n— tallystick.org/log/5f3c00000000000000000000000000a1 "
	if !strings.HasPrefix(string(msg), want) {
		t.Fatalf("checkpoint\n%s", msg)
	}
	w1, w2 := newWitness(t, "witness.example/w1", 2), newWitness(t, "witness.example/w2", 3)
	msg = append(msg, w1.cosign(msg, 1679315147)...)
	msg = append(msg, w2.cosign(msg, 1679315150)...)
	c, cosigned, err := Open(msg, []note.Verifier{log}, w1, w2)
	if err != nil {
		t.Fatal(err)
	}
	if c.Size != 1440 || c.Root != [32]byte{7} || c.Origin != Origin(boxLog) || c.Extensions != nil {
		t.Errorf("opened %+v", c)
	}
	if len(cosigned) != 2 || cosigned[0].Name != "witness.example/w1" || !cosigned[0].Time.Equal(time.Unix(1679315147, 0)) || !cosigned[1].Time.Equal(time.Unix(1679315150, 0)) {
		t.Errorf("cosignatures %+v", cosigned)
	}
	if _, cosigned, err := Open(msg, []note.Verifier{log}, w2); err != nil || len(cosigned) != 1 || cosigned[0].Line != w2.cosign(msg, 1679315150) {
		t.Errorf("with one of them known: %+v, %v", cosigned, err)
	}
}

// The signer of witnesses says the present time, and what it signs holds for
// the second reading above.
func TestWitnessKeySigns(t *testing.T) {
	log, w := newLog(t, Origin(boxLog), 1), newWitness(t, "witness.example/w1", 2)
	msg := signed(t, log, 5, 1)
	before := time.Now().Truncate(time.Second)
	n, err := note.Open(msg, note.VerifierList(log))
	if err != nil {
		t.Fatal(err)
	}
	both, err := note.Sign(n, w)
	if err != nil {
		t.Fatal(err)
	}
	cosigned, err := Cosignatures(both, w)
	if err != nil || len(cosigned) != 1 {
		t.Fatalf("%+v, %v", cosigned, err)
	}
	if at := cosigned[0].Time; at.Before(before) || at.After(time.Now()) {
		t.Errorf("time %v, before %v", at, before)
	}
	if want := w.cosign(msg, cosigned[0].Time.Unix()); cosigned[0].Line != want {
		t.Errorf("line %q, want %q", cosigned[0].Line, want)
	}
}

func TestOpenRefuses(t *testing.T) {
	log, other := newLog(t, Origin(boxLog), 1), newLog(t, "other.example/log", 4)
	w := newWitness(t, "witness.example/w1", 2)
	good := signed(t, log, 1440, 7)
	mangled := w.cosign(good, 100)
	at := strings.LastIndex(mangled, " ") + 20
	mangled = mangled[:at] + string(mangled[at]^1) + mangled[at+1:]
	alien, err := note.Sign(&note.Note{Text: Checkpoint{Origin: "third.example/log", Size: 1}.String()}, log)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		msg  []byte
		want string
	}{
		"another log's":            {signed(t, other, 1440, 7), "no verifiable signatures"},
		"of another origin":        {alien, "third.example/log"},
		"changed":                  {bytes.Replace(good, []byte("1440"), []byte("1441"), 1), "invalid signature"},
		"wrong cosignature":        {append(bytes.Clone(good), mangled...), "invalid signature for key witness.example/w1"},
		"cosignature of time 0":    {append(bytes.Clone(good), w.cosign(good, 0)...), "time 0"},
		"cosignature before 1970":  {append(bytes.Clone(good), w.cosign(good, -5)...), "time -5"},
		"cosignature of year 10^4": {append(bytes.Clone(good), w.cosign(good, lastTime+1)...), "time 253402300800"},
		"cut off":                  {good[:len(good)-1], "malformed"},
		"huge":                     {append(bytes.Repeat([]byte("x"), MaxBytes), good...), "expected at most"},
	} {
		if _, _, err := Open(c.msg, []note.Verifier{log}, w); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

func TestParseIsStrict(t *testing.T) {
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	good := "o\n12\n" + root + "\n"
	if c, err := Parse(good); err != nil || c.String() != good {
		t.Fatalf("%+v %v", c, err)
	}
	if c, err := Parse(good + "extension\n"); err != nil || len(c.Extensions) != 1 || c.String() != good+"extension\n" {
		t.Fatalf("%+v %v", c, err)
	}
	for _, bad := range []string{
		"", "\n", "o\n12\n", good[:len(good)-1], "\n12\n" + root + "\n", good + "\n", good + "\nextension\n",
		"o\n012\n" + root + "\n", "o\n+12\n" + root + "\n", "o\n-1\n" + root + "\n", "o\n1_2\n" + root + "\n", "o\n12 \n" + root + "\n",
		"o\n9223372036854775808\n" + root + "\n", "o\n99999999999999999999\n" + root + "\n",
		"o\n12\n" + root[:40] + "\n", "o\n12\n" + root[:43] + "\n", "o\n12\n" + root[:42] + "B=\n", "o\n12\n" + root + "\r\n", "o\r\n12\r\n" + root + "\r\n",
	} {
		if c, err := Parse(bad); err == nil {
			t.Errorf("%q was read as %+v", bad, c)
		}
	}
}

func TestSignRefuses(t *testing.T) {
	log := newLog(t, Origin(boxLog), 1)
	for name, c := range map[string]Checkpoint{
		"another origin":  {Origin: "other.example/log"},
		"too large":       {Origin: Origin(boxLog), Size: maxSize + 1},
		"empty extension": {Origin: Origin(boxLog), Extensions: []string{""}},
		"two in one":      {Origin: Origin(boxLog), Extensions: []string{"a\nb"}},
	} {
		if msg, err := Sign(c, log); err == nil {
			t.Errorf("%s: signed %q", name, msg)
		}
	}
}

// The example of signed-note, "Verifier keys".
func TestForeignNote(t *testing.T) {
	v, err := LogVerifier("example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k")
	if err != nil {
		t.Fatal(err)
	}
	msg := "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
	if n, err := openNote([]byte(msg), []note.Verifier{v}); err != nil || len(n.Sigs) != 1 {
		t.Error(err)
	}
}

func TestKeysRefuse(t *testing.T) {
	log, w := newLog(t, Origin(boxLog), 1), newWitness(t, "witness.example/w1", 2)
	id := strings.Index(w.vkey, "+") + 1
	for _, bad := range []string{"", "+", "++", "a+b+c", log.vkey, w.vkey[:id] + "00000000" + w.vkey[id+8:], w.vkey[:len(w.vkey)-4], "x" + w.vkey, strings.ToUpper(w.vkey)} {
		if _, err := WitnessVerifier(bad); err == nil {
			t.Errorf("%q was taken for a witness's key", bad)
		}
	}
	for _, bad := range []string{"", "+", "++", "a+b+c", w.vkey, "x" + log.vkey, log.vkey[:len(log.vkey)-4]} {
		if _, err := LogVerifier(bad); err == nil {
			t.Errorf("%q was taken for a log's key", bad)
		}
	}
	for _, name := range []string{"", "a b", "a+b", "a\n", "\xff"} {
		if _, _, err := WitnessKey(name, key(1)); err == nil {
			t.Errorf("a witness may be named %q", name)
		}
		if _, _, err := LogKey(name, key(1)); err == nil {
			t.Errorf("a log may be named %q", name)
		}
	}
}

func TestUnverified(t *testing.T) {
	msg := signed(t, newLog(t, Origin(boxLog), 1), 9, 9)
	if c, err := Unverified(msg); err != nil || c.Size != 9 {
		t.Errorf("%+v, %v", c, err)
	}
	var unverified *note.UnverifiedNoteError
	if _, _, err := Open(msg, nil); !errors.As(err, &unverified) {
		t.Errorf("opened without a key: %v", err)
	}
}
