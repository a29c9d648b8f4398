package modbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	goburrow "github.com/goburrow/modbus"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/drivertest"
)

// framed puts unit and PDU into a frame. like is the request, for its
// transaction number.
func framed(f Framing, unit byte, pdu, like []byte) []byte {
	b := append([]byte{unit}, pdu...)
	switch f {
	case ASCII:
		return fmt.Appendf(nil, ":%X\r\n", append(b, lrc(b)))
	case TCP:
		return append(binary.BigEndian.AppendUint16(append(slices.Clone(like[:2]), 0, 0), uint16(len(b))), b...)
	}
	return binary.LittleEndian.AppendUint16(b, crc(b))
}

// opened is the PDU of a request to unit, nil when it is for another.
func opened(f Framing, unit byte, request []byte) []byte {
	var d drivers.Description
	open := map[Framing]func([]byte, *drivers.Description) (byte, []byte){RTU: openRTU, ASCII: openASCII, TCP: openTCP}[f]
	to, pdu := open(request, &d)
	if d.Reason != "" || to != unit {
		return nil
	}
	return pdu
}

// answer is a meter whose holding register n holds base + n.
func answer(f Framing, asked, speaks byte, base uint16) func([]byte) []byte {
	return func(request []byte) []byte {
		pdu := opened(f, asked, request)
		if pdu == nil {
			return nil
		}
		address, n := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
		reply := []byte{pdu[0], byte(2 * n)}
		for i := range n {
			reply = binary.BigEndian.AppendUint16(reply, base+address+i)
		}
		return framed(f, speaks, reply, request)
	}
}

func TestSuite(t *testing.T) {
	for _, f := range []Framing{RTU, ASCII, TCP} {
		t.Run(f.String(), func(t *testing.T) {
			drivertest.Run(t, drivertest.Suite{
				New: func(l drivers.Exchanger) (drivertest.Device, error) {
					return New(Config{Name: "press-1", Unit: 7, Framing: f, Registers: []drivers.Register{
						{Quantity: drivers.Quantity{Name: "a"}, Address: 0x10},
						{Quantity: drivers.Quantity{Name: "b"}, Address: 0x11, Type: drivers.Uint32},
						{Quantity: drivers.Quantity{Name: "c"}, Address: 0x100},
					}, Ranges: []drivers.Range{{Address: 0x10, Last: 0x20}}}, l)
				},
				Unchecked: f == TCP,
				Want:      []drivers.Reading{{Coef: 0x1010}, {Coef: 0x10111012}, {Coef: 0x1100}},
				Answer:    answer(f, 7, 7, 0x1000),
				Foreign:   answer(f, 7, 8, 0x2000),
				Reads: func(q []byte) bool {
					d := Describe(f, q)
					return d.Valid && d.Direction == "request" && !d.Write && strings.Contains("01 02 03 04", d.Control)
				},
			})
		})
	}
}

// A reply that was given up must not be taken for what is read raw.
func TestRawReadWaitsForCertainty(t *testing.T) {
	asked := 0
	l := &drivertest.Line{Reply: func(q []byte) ([]byte, error) {
		if asked++; asked == 1 {
			return nil, nil // lost, or late
		}
		return answer(RTU, 7, 7, 0x1000)(q), nil
	}}
	m, err := New(Config{Name: "press-1", Unit: 7, Registers: []drivers.Register{{Quantity: drivers.Quantity{Name: "a"}, Address: 1}}}, l)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]drivers.Reading, 1)
	if err := m.Read(t.Context(), got); err == nil {
		t.Fatal("no time-out")
	}
	if _, err := m.ReadRaw(t.Context(), Request{Address: 70, Count: 1}); err == nil || asked != 1 {
		t.Fatalf("%v after %d requests", err, asked)
	}
	if err := m.Read(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if data, err := m.ReadRaw(t.Context(), Request{Address: 70, Count: 1}); err != nil || string(data) != "\x10\x46" {
		t.Fatalf("% x %v", data, err)
	}
}

// A meter that answers no probe, and is held off by its line between the probes
// it does not answer, is asked in earnest all the same, and comes back.
func TestHeldOffMeterComesBack(t *testing.T) {
	planned := Request{Address: 1, Count: 1}
	dead, n := true, 0
	l := &drivertest.Line{Reply: func(q []byte) ([]byte, error) {
		if n++; n > 3 && n%2 == 0 {
			return nil, &drivers.Fault{Kind: drivers.Skipped, Err: errors.New("silent since 14:02:07, asked again in 4s")}
		}
		pdu := opened(RTU, 7, q)
		if dead || binary.BigEndian.Uint16(pdu[1:]) != planned.Address || binary.BigEndian.Uint16(pdu[3:]) != planned.Count {
			return nil, nil // knows this one request, nothing else
		}
		return answer(RTU, 7, 7, 0x1000)(q), nil
	}}
	m, err := New(Config{Name: "press-1", Unit: 7, Registers: []drivers.Register{{Quantity: drivers.Quantity{Name: "a"}, Address: planned.Address}}}, l)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]drivers.Reading, 1)
	for range 10 {
		_ = m.Read(t.Context(), got)
	}
	dead = false
	for range 4 * probePatience {
		if m.Read(t.Context(), got) == nil {
			return
		}
	}
	t.Fatalf("still not read after %d requests: doubt %v, silent %d", n, m.doubt, m.silent)
}

func TestDescribe(t *testing.T) {
	for _, c := range []struct {
		f           Framing
		frame, want string
	}{
		// Modbus Application Protocol V1.1b3, the examples of sections 6.1 to 6.4 and 7, framed
		{RTU, "01 03 00 6B 00 03 74 17", "request 1 03 006B count=3"},
		{RTU, "01 03 06 02 2B 00 00 00 64 05 7A", "response 1 03 - register 0=555 register 1=0 register 2=100"},
		{RTU, "FF 00 01 04 00 08 00 01 B0 08", "request 1 04 0008 count=1"},
		{RTU, "01 83 02 C0 F1", "response 1 83 - error=02 illegal data address"},
		{RTU, "11 06 00 01 00 03 9A 9B", "request 17 06 0001 write value=3"},
		{RTU, "11 10 00 01 00 02 12 98", "response 17 10 0001 write count=2"},
		// the examples of sections 6.7 to 6.21
		{RTU, "11 07 4C 22", "request 17 07 -"},
		{RTU, "11 01 00 13 00 25 0E 84", "request 17 01 0013 count=37"},
		{RTU, "11 02 03 AC DB 35 20 18", "response 17 02 - bit 0=0 bit 1=0 bit 2=1 bit 3=1 bit 4=0 bit 5=1 bit 6=0 bit 7=1 bit 8=1 bit 9=1 bit 10=0 bit 11=1 bit 12=1 bit 13=0 bit 14=1 bit 15=1 bit 16=1 bit 17=0 bit 18=1 bit 19=0 bit 20=1 bit 21=1 bit 22=0 bit 23=0"},
		{TCP, "00 01 00 00 00 03 11 07 6D", "response 17 07 - bit 0=1 bit 1=0 bit 2=1 bit 3=1 bit 4=0 bit 5=1 bit 6=1 bit 7=0"},
		{TCP, "00 01 00 00 00 06 11 08 00 00 A5 37", "request 17 08 - subfunction=0 register 0=42295"},
		{TCP, "00 01 00 00 00 06 11 08 00 0A 00 00", "request 17 08 - write subfunction=10 register 0=0"},
		{TCP, "00 01 00 00 00 06 11 0B FF FF 01 08", "response 17 0B - status=65535 event_count=264"},
		{TCP, "00 01 00 00 00 0B 11 0C 08 00 00 01 08 01 21 20 00", "response 17 0C - status=0 event_count=264 message_count=289 events=20 00"},
		{TCP, "00 01 00 00 00 06 11 11 03 01 FF 4D", "response 17 11 - server_id=01 FF 4D"},
		{TCP, "00 01 00 00 00 11 11 14 0E 06 00 04 00 01 00 02 06 00 03 00 09 00 02", "request 17 14 - file=4 record=1 count=2 file=3 record=9 count=2"},
		{TCP, "00 01 00 00 00 0F 11 14 0C 05 06 0D FE 00 20 05 06 33 CD 00 40", "response 17 14 - register 0=3582 register 1=32 register 0=13261 register 1=64"},
		{TCP, "00 01 00 00 00 10 11 15 0D 06 00 04 00 07 00 03 06 AF 04 BE 10 0D", "request 17 15 - write file=4 record=7 register 0=1711 register 1=1214 register 2=4109"},
		{TCP, "00 01 00 00 00 08 11 16 00 04 00 F2 00 25", "request 17 16 0004 write and_mask=242 or_mask=37"},
		{TCP, "00 01 00 00 00 11 11 17 00 03 00 06 00 0E 00 03 06 00 FF 00 FF 00 FF", "request 17 17 0003 write count=6 write_address=14 write_count=3 register 0=255 register 1=255 register 2=255"},
		{RTU, "11 18 04 DE 07 87", "request 17 18 04DE"},
		{TCP, "00 01 00 00 00 0A 11 18 00 06 00 02 01 B8 12 84", "response 17 18 - count=2 register 0=440 register 1=4740"},
		{TCP, "00 01 00 00 00 05 11 2B 0E 01 00", "request 17 2B -"},
		{TCP, "00 01 00 00 00 05 11 2B 0D 01 00", "request 17 2B - write"},
		{RTU, "01 42 80 11", "request 1 42 - write"}, // PZEM-016: energy back to 0
		{TCP, "00 01 00 00 00 14 11 2B 0E 01 01 FF 02 02 01 05 50 72 6F 64 63 81 03 56 FF 31", "response 17 2B - more product=Prodc object_81=56 FF 31"},
		// SDM630 and PZEM-016, as their manuals print them; a copy that lost its end
		{RTU, "01 04 04 43 66 33 34 1B 38", "response 1 04 - register 0=17254 register 1=13108"},
		{RTU, "F8 04 00 00 00 0A 64 64", "request 248 04 0000 count=10"},
		// an SDM behind a serial server (github.com/volkszaehler/mbmd issue 63), a transmitter in ASCII
		{RTU, "01 04 04 43 67 AF 55 E2 10", "response 1 04 - register 0=17255 register 1=44885"},
		{RTU, "01 03 04 00 00 00 00 FA 33", "response 1 03 - register 0=0 register 1=0"},
		{ASCII, hex.EncodeToString([]byte(":01030400E503E828\r\n")), "response 1 03 - register 0=229 register 1=1000"},
		{RTU, "01 03 00 00 00 0A C5", "invalid truncated: 7 bytes, expected 8"},
		{RTU, "01 03 00 6B 00 03 74 18", "invalid checksum 7418, computed 7417"},
		{RTU, "01 03", "invalid truncated: 2 bytes, expected at least 4"},
		{RTU, strings.Repeat("01 99 ", 60_000), "invalid no frame with a right checksum among 120000 bytes"}, // and in no time
		// Modbus over Serial Line V1.02, section 2.5.2
		{ASCII, hex.EncodeToString([]byte(":010300000004F8\r\n")), "request 1 03 0000 count=4"},
		{ASCII, hex.EncodeToString([]byte("x:010300000004F9\r\n")), "invalid LRC F9, computed F8"},
		{ASCII, hex.EncodeToString([]byte(":0103")), "invalid truncated: no CR LF found"},
		// Modbus Messaging on TCP/IP V1.0b, section 3.1.3
		{TCP, "15 01 00 00 00 06 FF 03 00 04 00 01", "request 255 03 0004 count=1"},
		{TCP, "15 01 00 00 00 05 FF 03 02 00 05", "response 255 03 - register 0=5"},
		{TCP, "15 01 00 01 00 06 FF 03 00 04 00 01", "invalid protocol id 0001, expected 0000"},
		{TCP, "15 01 00 00 00 09 FF 03 00 04 00 01", "invalid truncated: length field 9, found 6 bytes"},
	} {
		b, err := hex.DecodeString(strings.ReplaceAll(c.frame, " ", ""))
		if err != nil {
			t.Fatal(err)
		}
		d := Describe(c.f, b)
		got := "invalid " + d.Reason
		if d.Valid {
			id := d.DataID
			if id == "" {
				id = "-"
			}
			got = fmt.Sprintf("%s %s %s %s", d.Direction, d.Address, d.Control, id)
			if d.Write {
				got += " write"
			}
			if d.MoreFollows {
				got += " more"
			}
			if d.Error != nil {
				got += " error=" + d.Error.Code + " " + d.Error.Text
			}
			for _, v := range d.Values {
				got += fmt.Sprintf(" %s=%s", v.Quantity, v.Value)
			}
		}
		if got != c.want {
			t.Errorf("%v %s\ngot  %s\nwant %s", c.f, c.frame, got, c.want)
		}
	}
}

// TestDescribeShortFrames: every function with too little behind it is described
// as far as it goes.
func TestDescribeShortFrames(t *testing.T) {
	for code := range 256 {
		for n := range 24 {
			for _, fill := range []byte{0, 1, 6, 7, 0x0E, 0xFF} {
				pdu := append([]byte{byte(code)}, bytes.Repeat([]byte{fill}, n)...)
				frame := append([]byte{0, 1, 0, 0, 0, byte(len(pdu) + 1), 1}, pdu...)
				if d := Describe(TCP, frame); !d.Valid && d.Reason == "" {
					t.Errorf("% X is refused for no reason", frame)
				}
			}
		}
	}
}

func FuzzDescribeFrame(f *testing.F) {
	f.Add(byte(0), []byte{1, 3, 0, 0x6B, 0, 3, 0x74, 0x17})
	f.Add(byte(2), []byte(":010300000004F8\r\n"))
	f.Add(byte(1), []byte{0x15, 1, 0, 0, 0, 6, 0xFF, 3, 0, 4, 0, 1})
	f.Fuzz(func(t *testing.T, framing byte, b []byte) {
		fr := Framing(framing % 3)
		d := Describe(fr, b)
		if d.Valid != (d.Reason == "") {
			t.Fatalf("valid %v with reason %q", d.Valid, d.Reason)
		}
		if !d.Valid {
			return
		}
		// What was understood writes the same bytes again.
		var again drivers.Description
		open := map[Framing]func([]byte, *drivers.Description) (byte, []byte){RTU: openRTU, ASCII: openASCII, TCP: openTCP}[fr]
		unit, pdu := open(b, &again)
		if frame := framed(fr, unit, pdu, b); !strings.EqualFold(string(frame), string(b[d.Skipped:][:len(frame)])) {
			t.Fatalf("% x became % x", b[d.Skipped:], frame)
		}
	})
}

func BenchmarkMatchASCII(b *testing.B) {
	w := newWire(Config{Unit: 7, Framing: ASCII}, nil)
	request, err := w.Encode(&goburrow.ProtocolDataUnit{FunctionCode: 3, Data: []byte{0, 0, 0, 40}})
	if err != nil {
		b.Fatal(err)
	}
	reply := answer(ASCII, 7, 7, 0)(request)
	b.ReportAllocs()
	for b.Loop() {
		if _, size := w.match(reply); size != len(reply) {
			b.Fatal(size)
		}
		if _, err := w.Decode(reply); err != nil {
			b.Fatal(err)
		}
	}
}
