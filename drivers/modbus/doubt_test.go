package modbus

import (
	"encoding/binary"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	goburrow "github.com/goburrow/modbus"
	"github.com/tallystick/tallystick/drivers"
)

// probed returns a meter with two requests of the same length, the trap for
// late replies, on line s.
func probed(t *testing.T) (*slave, *Meter) {
	s, regs := counters(0, 1, 50, 51)
	return s, newMeter(t, config(regs, span(0, 1), span(50, 51)), s)
}

func TestProbeIsUnlikeAnyRequest(t *testing.T) {
	whole := func(r drivers.Register) []drivers.Register { return []drivers.Register{r} }
	many := make([]drivers.Register, 0, 20)
	var apart []drivers.Range
	for n := range uint16(10) { // requests of 1 to 10 registers
		for i := range n + 1 {
			many = append(many, drivers.Register{Address: 20*n + i})
		}
		apart = append(apart, span(20*n, 20*n+n))
	}
	for want, cfg := range map[string]Config{
		"read holding registers 0x0000+1":  {Registers: []drivers.Register{{Address: 0}, {Address: 1}}, Ranges: []drivers.Range{span(0, 9)}},
		"read holding registers 0x0000+2":  {Registers: whole(drivers.Register{})},
		"read holding registers 0x0000+1 ": {Registers: whole(drivers.Register{Type: drivers.Float32})},
		// Float registers are probed by whole floats where the plan allows it.
		"read input registers 0x0000+2": {Registers: []drivers.Register{
			{Table: drivers.InputRegister, Type: drivers.Float32}, {Table: drivers.InputRegister, Type: drivers.Float32, Address: 2}},
			Ranges: []drivers.Range{{Table: drivers.InputRegister, Last: 9}}},
		"read discrete inputs 0x0000+9":    {Registers: whole(drivers.Register{Table: drivers.DiscreteInput, Type: drivers.Bit})},
		"read holding registers 0x0000+11": {Registers: many, Ranges: apart},
	} {
		cfg.Unit = 1
		m := newMeter(t, cfg, nil)
		if got := m.probes[0].String(); got != strings.TrimSpace(want) {
			t.Errorf("probe %s, want %s", got, want)
		}
		for _, r := range m.Requests() {
			if r.bytes() == m.probes[0].bytes() {
				t.Errorf("the reply to probe %v is as long as that to %v", m.probes[0], r)
			}
		}
	}
}

func TestProbeAfterTimeout(t *testing.T) {
	s, m := probed(t)
	s.spoil = func(int, []byte) []byte { return nil }
	got, err := read(m)
	s.spoil = nil
	wantFault(t, err, "read holding registers 0x0000+2 from meter press-1: timeout after 300ms")
	wantReadings(t, got, "timeout timeout timeout timeout")
	s.log()
	for _, want := range []string{"0x0000+1 0x0000+2 0x0032+2", "0x0000+2 0x0032+2"} {
		got, err = read(m)
		wantFault(t, err, "")
		wantReadings(t, got, "1000 1001 1050 1051")
		if log := fmt.Sprint(s.log()); log != want {
			t.Errorf("asked %s, want %s", log, want)
		}
	}
}

// The reply to an unanswered request comes with the next: it is nobody's.
func TestLateReply(t *testing.T) {
	s, m := probed(t)
	var late []byte
	s.spoil = func(n int, reply []byte) []byte {
		switch n {
		case 2: // the second request of the first read
			late = slices.Clone(reply)
			return nil
		case 3: // the probe
			return append(late, reply...)
		}
		return reply
	}
	got, _ := read(m)
	wantReadings(t, got, "1000 1001 timeout timeout")
	got, err := read(m)
	wantFault(t, err, "")
	wantReadings(t, got, "1000 1001 1050 1051")
}

// A meter that always answers the question before: nothing is ever read from
// it, and nothing wrong.
func TestAlwaysLate(t *testing.T) {
	for _, framing := range []Framing{RTU, TCP} {
		for lag := 1; lag < maxProbes; lag++ {
			s, regs := counters(0, 1, 50, 51)
			s.framing = framing
			cfg := config(regs, span(0, 1), span(50, 51))
			cfg.Framing = framing
			m := newMeter(t, cfg, s)
			var queue [][]byte
			poll := uint16(0)
			s.spoil = func(n int, reply []byte) []byte {
				queue = append(queue, slices.Clone(reply))
				if n <= 6 { // three polls in time
					queue = nil
					return reply
				}
				if len(queue) <= lag {
					return nil
				}
				reply, queue = queue[0], queue[1:]
				return reply
			}
			wrong, right := 0, 0
			for poll = range 500 {
				s.words[0], s.words[1], s.words[50], s.words[51] = 4*poll, 4*poll+1, 4*poll+2, 4*poll+3
				got, _ := read(m)
				for i, r := range got {
					if r.Quality.HasValue() {
						if r.Coef == int64(4*poll)+int64(i) {
							right++
						} else {
							wrong++
						}
					}
				}
			}
			if wrong != 0 || right != 12 {
				t.Errorf("framing %d, %d late: %d values of another register or poll, %d right ones; want 0 and 12", framing, lag, wrong, right)
			}
		}
	}
}

// A meter that does not answer probes at all is not lost for ever.
func TestProbeIgnored(t *testing.T) {
	s, m := probed(t)
	s.spoil = func(n int, reply []byte) []byte {
		if n == 1 || s.asked[n-1].Count != 2 {
			return nil
		}
		return reply
	}
	for range 1 + probePatience {
		got, _ := read(m)
		wantReadings(t, got, "timeout timeout timeout timeout")
	}
	got, err := read(m)
	wantFault(t, err, "")
	wantReadings(t, got, "1000 1001 1050 1051")
}

// A meter that refuses the probe has answered it.
func TestProbeRefused(t *testing.T) {
	s, m := probed(t)
	s.refuse = func(r Request) Exception {
		if r == m.probes[0] {
			return illegalAddress
		}
		return 0
	}
	s.spoil = func(n int, reply []byte) []byte {
		if n == 1 {
			return nil
		}
		return reply
	}
	read(m)
	got, err := read(m)
	wantFault(t, err, "")
	wantReadings(t, got, "1000 1001 1050 1051")
}

// Bytes flipped, lost, doubled: no value but the true one comes out.
func TestByteFlipper(t *testing.T) {
	random := rand.New(rand.NewPCG(2, 3))
	for _, framing := range []Framing{RTU, TCP} {
		s, regs := counters(0, 1, 50, 51)
		s.framing = framing
		cfg := config(regs, span(0, 1), span(50, 51))
		cfg.Framing = framing
		m := newMeter(t, cfg, s)
		damaged := 0
		s.spoil = func(_ int, reply []byte) []byte {
			b := slices.Clone(reply)
			head := 0
			if framing == TCP {
				head = 9 // TCP protects the data itself
			}
			switch i := random.IntN(len(b)); random.IntN(8) {
			case 0:
				if framing == TCP {
					i = random.IntN(head)
				}
				b[i] ^= 1 << random.IntN(8)
			case 1:
				b = b[:i]
			case 2:
				if framing == RTU {
					b = slices.Delete(b, i, i+1)
				}
			case 3: // TCP does not repeat bytes
				if framing == RTU {
					b = append(b[:i:i], reply...)
				}
			case 4:
				b = append(b, b...)
			default:
				return b
			}
			damaged++
			return b
		}
		values := 0
		for range 8000 {
			got, _ := read(m)
			for i, want := range []int64{1000, 1001, 1050, 1051} {
				if got[i].Quality.HasValue() {
					values++
					if got[i].Coef != want {
						t.Fatalf("framing %d: value %d, the meter holds %d", framing, got[i].Coef, want)
					}
				}
			}
			s.asked = s.asked[:0]
		}
		if damaged < 2000 || values < 16000 {
			t.Errorf("%d replies damaged, %d values read: the test tests nothing", damaged, values)
		}
	}
}

// FuzzMatch holds both matchers to their contract on any bytes: total, within
// bounds, and content only with the reply to the request made.
func FuzzMatch(f *testing.F) {
	f.Add([]byte("\x07\x03\x04\x01\x02\x03\x04\x88\x53"), uint16(2), true)
	f.Add([]byte("\x00\x01\x00\x00\x00\x07\x07\x03\x04\x01\x02\x03\x04"), uint16(2), false)
	f.Add([]byte("\x07\x83\x02\x61\x30\x07"), uint16(1), true)
	f.Fuzz(func(t *testing.T, b []byte, count uint16, rtu bool) {
		framing := TCP
		if rtu {
			framing = RTU
		}
		count = count%125 + 1
		w := newWire(Config{Unit: 7, Framing: framing}, nil)
		if _, err := w.Encode(&goburrow.ProtocolDataUnit{FunctionCode: 3, Data: []byte{0, 0, 0, byte(count)}}); err != nil {
			t.Fatal(err)
		}
		skip, size := w.match(b)
		if skip < 0 || size < 0 || skip+size > len(b) {
			t.Fatalf("skip %d, size %d of %d bytes", skip, size, len(b))
		}
		if size == 0 {
			return
		}
		reply := b[skip : skip+size]
		pdu, err := w.Decode(reply)
		if err != nil {
			t.Fatal(err)
		}
		if rtu && (reply[0] != 7 || crc(reply[:size-2]) != binary.LittleEndian.Uint16(reply[size-2:])) {
			t.Fatalf("accepted % x", reply)
		}
		if !rtu && (binary.BigEndian.Uint16(reply) != 1 || int(binary.BigEndian.Uint16(reply[4:])) != size-6 || reply[6] != 7) {
			t.Fatalf("accepted % x", reply)
		}
		switch pdu.FunctionCode {
		case 3:
			if len(pdu.Data) != 1+2*int(count) || int(pdu.Data[0]) != 2*int(count) {
				t.Fatalf("accepted %d bytes for %d registers", len(pdu.Data), count)
			}
		case 0x83:
			if len(pdu.Data) != 1 {
				t.Fatalf("accepted exception % x", reply)
			}
		default:
			t.Fatalf("accepted function %#02x", pdu.FunctionCode)
		}
	})
}

// No function code but the four reads leaves the package, whatever is asked of
// the library.
func TestOnlyReadsAreSent(t *testing.T) {
	for _, framing := range []Framing{RTU, TCP} {
		sent := 0
		w := newWire(Config{Unit: 1, Framing: framing}, exchanger(func(x drivers.Exchange) ([]byte, error) {
			sent++
			return nil, &drivers.Fault{Kind: drivers.Timeout, Err: fmt.Errorf("timeout")}
		}))
		c := goburrow.NewClient2(w, w)
		for name, write := range map[string]func() ([]byte, error){
			"coil":       func() ([]byte, error) { return c.WriteSingleCoil(0, 0xFF00) },
			"coils":      func() ([]byte, error) { return c.WriteMultipleCoils(0, 8, []byte{1}) },
			"register":   func() ([]byte, error) { return c.WriteSingleRegister(0, 1) },
			"registers":  func() ([]byte, error) { return c.WriteMultipleRegisters(0, 1, []byte{0, 1}) },
			"mask":       func() ([]byte, error) { return c.MaskWriteRegister(0, 1, 2) },
			"read+write": func() ([]byte, error) { return c.ReadWriteMultipleRegisters(0, 1, 0, 1, []byte{0, 1}) },
			"FIFO":       func() ([]byte, error) { return c.ReadFIFOQueue(0) },
		} {
			if _, err := write(); err == nil || !strings.Contains(err.Error(), "is not one of the reads") {
				t.Errorf("%s: %v", name, err)
			}
		}
		for code := range 256 {
			_, err := w.Encode(&goburrow.ProtocolDataUnit{FunctionCode: byte(code), Data: make([]byte, 4)})
			if read := code >= 1 && code <= 4; read != (err == nil) {
				t.Errorf("function %#02x: %v", code, err)
			}
		}
		if sent != 0 {
			t.Errorf("%d requests sent", sent)
		}
	}
}

// Nor does anything in the tree try.
func TestNothingWritesToMeters(t *testing.T) {
	write := regexp.MustCompile(`^(WriteSingle|WriteMultiple|MaskWrite|ReadWriteMultiple|FuncCodeWrite|FuncCodeMaskWrite|FuncCodeReadWrite)`)
	files := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		files++
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil // the compiler's business
		}
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok && write.MatchString(s.Sel.Name) {
				t.Errorf("%s uses %s", path, s.Sel.Name)
			}
			return true
		})
		return nil
	})
	if err != nil || files < 5 {
		t.Errorf("%d files looked at, %v", files, err)
	}
}
