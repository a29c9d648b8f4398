package replay

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
)

// transcript reads one of drivers/profile's: what was asked, what came, and by
// quantity what it means.
func transcript(t testing.TB, file string) (xs []Exchange, want map[string]string) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]string{}
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		rest := strings.TrimSpace(line[1:])
		switch line[0] {
		case '>', '<':
			bytes, err := hex.DecodeString(strings.ReplaceAll(rest, " ", ""))
			if err != nil {
				t.Fatal(err)
			}
			if line[0] == '>' {
				xs = append(xs, Exchange{Request: bytes})
			} else {
				x := &xs[len(xs)-1]
				x.Reply = append(x.Reply, bytes...)
			}
		case '=':
			quantity, value, _ := strings.Cut(rest, " ")
			want[quantity] = value
		}
	}
	return xs, want
}

func builtin(t testing.TB, id string) *profile.Profile {
	t.Helper()
	lib := profile.Builtin()
	p, err := lib.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func text(v Value) string {
	return strings.TrimSpace(drivers.Decimal{Coef: v.Coef, Exp: v.Exp}.String() + " " + v.Unit)
}

func poll(t *testing.T, p *profile.Profile, xs []Exchange, want map[string]string) {
	t.Helper()
	got := Poll(p, xs)
	for q, value := range want {
		switch v, ok := got[q]; {
		case !ok && strings.ContainsAny(value, "0123456789"):
			t.Errorf("%s: not found, want %s", q, value)
		case ok && !strings.HasSuffix(value, text(v)): // "suspect" may stand before it
			t.Errorf("%s: %s, want %s", q, text(v), value)
		}
	}
}

const transcripts = "../profile/testdata/transcripts/"

// Every protocol's transcript gives the values its meter showed.
func TestTranscripts(t *testing.T) {
	files, err := filepath.Glob(transcripts + "*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("%d transcripts, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			id, _, _ := strings.Cut(filepath.Base(file), ".")
			xs, want := transcript(t, file)
			poll(t, builtin(t, id), xs, want)
		})
	}
}

// A reply counts only for the request it was recorded with, and a poll says
// nothing of what it does not hold.
func TestOnlyWhatWasRecorded(t *testing.T) {
	p := builtin(t, "peacefair-pzem016")
	xs, _ := transcript(t, transcripts+"peacefair-pzem016.txt")
	if got := Poll(p, nil); len(got) != 0 {
		t.Errorf("nothing recorded: %v", got)
	}
	for name, change := range map[string]func(x *Exchange){
		"no reply":              func(x *Exchange) { x.Reply = nil },
		"reply cut short":       func(x *Exchange) { x.Reply = x.Reply[:len(x.Reply)-1] },
		"checksum of the reply": func(x *Exchange) { x.Reply[len(x.Reply)-1] ^= 1 },
		"reply of another unit": func(x *Exchange) { x.Reply[0]++ },
		"request for one more":  func(x *Exchange) { x.Request[5]++ },
		"checksum of request":   func(x *Exchange) { x.Request[7] ^= 1 },
		"no request":            func(x *Exchange) { x.Request = nil },
	} {
		x := Exchange{bytes.Clone(xs[0].Request), bytes.Clone(xs[0].Reply)}
		change(&x)
		if got := Poll(p, []Exchange{x}); len(got) != 0 {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// The second try of a poll counts, whatever came of the first; and noise before
// a reply is no reply.
func TestSecondTry(t *testing.T) {
	for _, id := range []string{"peacefair-pzem016", "cjt188-water", "dlt645-1997", "iec62056-generic"} {
		xs, want := transcript(t, transcripts+id+".txt")
		var twice []Exchange
		for _, x := range xs {
			twice = append(twice, Exchange{x.Request, nil}, Exchange{x.Request, x.Reply[:len(x.Reply)-1]},
				Exchange{x.Request, slices.Concat([]byte{0, 0xFE, 0x55}, x.Reply)})
		}
		t.Run(id, func(t *testing.T) { poll(t, builtin(t, id), twice, want) })
	}
}

// A Modbus TCP reply belongs to the request of its number, not to the number the
// driver now asks with; a late reply with another number is noise.
func TestTransactionNumbers(t *testing.T) {
	p := builtin(t, "peacefair-pzem016")
	xs, want := transcript(t, transcripts+"peacefair-pzem016.txt")
	pdu := func(number byte, frame []byte) []byte {
		b := frame[:len(frame)-2] // without the checksum of RTU
		return append([]byte{0x77, number, 0, 0, 0, byte(len(b))}, b...)
	}
	late := bytes.Clone(xs[0].Reply)
	late[3] ^= 0x40
	x := Exchange{pdu(2, xs[0].Request), slices.Concat(pdu(1, late), pdu(2, xs[0].Reply))}
	poll(t, p, []Exchange{x}, want)
	// The driver's first number is 1: the late reply must not pass for its own.
	x = Exchange{append([]byte{0, 2}, x.Request[2:]...), append([]byte{0, 1}, pdu(1, late)[2:]...)}
	if got := Poll(p, []Exchange{x}); len(got) != 0 {
		t.Errorf("a reply with another number was taken: %v", got)
	}
}

// The same for the serial numbers of CJ/T 188, where a meter may have its own.
func TestSerialNumbers(t *testing.T) {
	p := builtin(t, "cjt188-water")
	xs, want := transcript(t, transcripts+"cjt188-water.txt")
	number := func(b []byte, ser byte) []byte {
		b = awake(b)
		return renumbered(b, ser)
	}
	for _, reply := range []byte{0, 0x50, 0x51, 0x9C} {
		poll(t, p, []Exchange{{number(xs[0].Request, 0x9C), number(xs[0].Reply, reply)}}, want)
	}
	for _, b := range [][]byte{xs[0].Request, xs[0].Reply} { // nor does it matter in which order the identifier goes
		other := renumbered(awake(b), 0x77)
		other[cjtHead], other[cjtHead+1] = other[cjtHead+1], other[cjtHead]
		copy(b[len(b)-len(other):], other)
	}
	poll(t, p, xs, want)
	late := bytes.Clone(xs[0].Reply)
	at := bytes.IndexByte(late, cjtStart)
	late[at+cjtSer+1] ^= 1 // of the volume
	x := Exchange{number(xs[0].Request, 0x9C), slices.Concat(number(late[at:], 0x9B), number(xs[0].Reply, 0x9C))}
	poll(t, p, []Exchange{x}, want)
}

// Total on any bytes, for every protocol.
func FuzzPoll(f *testing.F) {
	files, err := filepath.Glob(transcripts + "*.txt")
	if err != nil {
		f.Fatal(err)
	}
	lib := profile.Builtin()
	ids := lib.IDs()
	for _, file := range files {
		id, _, _ := strings.Cut(filepath.Base(file), ".")
		xs, _ := transcript(f, file)
		f.Add(byte(slices.Index(ids, id)), xs[0].Request, xs[0].Reply, xs[len(xs)-1].Request, xs[len(xs)-1].Reply)
	}
	f.Fuzz(func(t *testing.T, which byte, q1, r1, q2, r2 []byte) {
		p, err := lib.Get(ids[int(which)%len(ids)])
		if err != nil {
			t.Fatal(err)
		}
		Poll(p, []Exchange{{q1, r1}, {q2, r2}})
	})
}

func BenchmarkPoll(b *testing.B) {
	for _, id := range []string{"eastron-sdm630", "dlt645-2007-1ph", "cjt188-water", "iec62056-generic"} {
		b.Run(id, func(b *testing.B) {
			p := builtin(b, id)
			xs, _ := transcript(b, transcripts+id+".txt")
			b.ReportAllocs()
			for b.Loop() {
				Poll(p, xs)
			}
		})
	}
}
