package iec62056

import (
	"bytes"
	"math/bits"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
)

// checked puts ETX and block check behind a message that begins with STX or
// SOH.
func checked(s string) string {
	s += "\x03"
	var x byte
	for _, c := range []byte(s[1:]) {
		x ^= c
	}
	return s + string(rune(x))
}

// seven is s as seven-bit characters with even parity look on a line of eight.
func seven(s string) []byte {
	b := []byte(s)
	for i := range b {
		b[i] |= byte(bits.OnesCount8(b[i])&1) << 7
	}
	return b
}

func line(d drivers.Description) string {
	if !d.Valid {
		return d.Reason
	}
	words := []string{d.Direction}
	for _, w := range []string{d.Address, d.Control, d.DataID} {
		if w != "" {
			words = append(words, w)
		}
	}
	if d.Write {
		words = append(words, "WRITE")
	}
	if d.MoreFollows {
		words = append(words, "more")
	}
	if d.Error != nil {
		words = append(words, "error "+d.Error.Code)
	}
	for _, v := range d.Values {
		words = append(words, v.Quantity+"="+v.Value+v.Unit)
	}
	return strings.Join(words, " ")
}

const (
	// Iskra MT174, as a public Python reader prints what it received.
	mt174 = "/ISk5MT174-0002\r\n\x021-0:0.9.2*255(0220127)\r\n1-0:0.9.1*255(105644)\r\n" +
		"1-0:1.8.0*255(0000502.853*kWh)\r\n1-0:2.8.0*255(0098697.318*kWh)\r\n!\r\n\x03\x19"
	mt174Says = "response date=2022-01-27 time=10:56:44 energy_import=502.853kWh energy_export=98697.318kWh"
	// eBZ DD3, as its owners print it: pushed, without STX and block check.
	dd3 = "/EBZ5DD3BZ06ETA_107\r\n\r\n1-0:0.0.0*255(1EBZ0100507409)\r\n1-0:96.1.0*255(1EBZ0100507409)\r\n" +
		"1-0:1.8.0*255(000125.25688570*kWh)\r\n1-0:16.7.0*255(000259.20*W)\r\n1-0:36.7.0*255(000075.18*W)\r\n" +
		"1-0:32.7.0*255(232.4*V)\r\n1-0:52.7.0*255(231.7*V)\r\n1-0:72.7.0*255(233.7*V)\r\n1-0:96.5.0*255(001C0104)\r\n!\r\n"
	dd3Says = "response meter_number=1EBZ0100507409 96.1.0=1EBZ0100507409 energy_import=125.25688570kWh power=259.20W " +
		"36.7.0=75.18W voltage_l1=232.4V voltage_l2=231.7V voltage_l3=233.7V 96.5.0=001C0104"
)

func TestGoldenMessages(t *testing.T) {
	for in, want := range map[string]string{
		mt174: mt174Says,
		dd3:   dd3Says,
		// IEC 62056-21, sections 6.3 and 6.4, and block checks published with
		// a capture of a programming session (gist hdo/4231981).
		"/?!\r\n":                          "request",
		"/?00123ABC!\r\n":                  "request 00123abc",
		"/ISk5MT174-0002\r\n":              "response",
		"\x06050\r\n":                      "request",
		"\x06051\r\n":                      "request",
		"\x01B0\x03\x71":                   "request B0",
		"\x01P1\x02(00000000)\x03a":        "request P1",
		checked("\x01P0\x02(1234)"):        "response P0",
		checked("\x01R1\x021.8.0()"):       "request R1 1.8.0",
		checked("\x01W1\x020.9.1(120000)"): "request W1 0.9.1 WRITE",
		checked("\x01E2\x0296.3.10(1)"):    "request E2 96.3.10 WRITE",
		checked("\x021.8.0(0012.50*kWh)"):  "response energy_import=12.50kWh",
		checked("\x02(ER04)"):              "response error ER04",
		"\x06":                             "response",
		"\x15":                             "response error NAK",
		checked("\x02F.F(00)\r\n0.0.0(012345)\r\n!\r\n"):                  "response error=00 meter_number=012345",
		checked("\x021.6.1(0.50*kW)(2301011215)\r\n!\r\n"):                "response 1.6.1=0.50kW 1.6.1=2023-01-01T12:15:00",
		checked("\x021.8.1(007*kWh)\r\n1.8.2(--*kWh)\r\n!\r\n"):           "response energy_import_t1=7kWh",
		checked("\x0213.7.0(0.98)\r\n14.7.0(50.0*Hz)\r\n!\r\n"):           "response power_factor=0.98 frequency=50.0Hz",
		checked("\x021-0:1.8.0*01(7*kWh)\r\n1-1:1.7.0(-0.5*kW)\r\n!\r\n"): "response 1.8.0*01=7kWh power=-0.5kW",
		// Landis & Gyr UH50: several data sets a line.
		checked("\x026.8(0017.825*MWh)6.26(00428.74*m3)9.21(66153690)\r\n!\r\n"): "response 6.8=17.825MWh 6.26=428.74m3 9.21=66153690",

		mt174[:len(mt174)-1] + "\x1A":          "block check 1A, computed 19",
		mt174[:40]:                             "truncated: 23 bytes, no ETX and block check",
		"/ISk5MT1":                             "truncated: 8 bytes, no CR LF",
		"/?123":                                "truncated: 5 bytes, no CR LF",
		"\x0605":                               "truncated: 3 bytes, expected 6",
		"/EBZ5DD3\r\n\r\n1.8.0(1*kWh)\r\n":     "truncated: 14 bytes of data, no ! CR LF",
		"":                                     "no message: none of / SOH STX ACK begins one",
		"keepalive":                            "no message: none of / SOH STX ACK begins one",
		"\x021.8.0(0012.50*kWh)\r\n!\r\n\x03":  "truncated: 25 bytes, no ETX and block check",
		"\x00\x00\x7F\x7Fx/ISk5MT174-0002\r\n": "response",
	} {
		d := Describe([]byte(in))
		if got := line(d); got != want {
			t.Errorf("%q:\n got %s\nwant %s", in, got, want)
		}
		if e := Describe(seven(in)); d.Valid && (line(e) != line(d) || e.Wakeup != d.Wakeup || e.Skipped != d.Skipped) {
			t.Errorf("%q with parity:\n got %s\nwant %s", in, line(e), line(d))
		}
		if d.Text == "" || d.Protocol != "iec62056-21" {
			t.Errorf("%q: %+v", in, d)
		}
	}
	if d := Describe([]byte("\x00\x00\x7F\x7Fx/ISk5MT174-0002\r\n")); d.Wakeup != 4 || d.Skipped != 1 {
		t.Errorf("%+v", d)
	}
	if d := Describe([]byte("\x01P1\x02(00000000)\x03a")); strings.Contains(d.Text, "0000") {
		t.Errorf("a password is shown: %s", d.Text)
	}
	if d := Describe([]byte("/?!\r\n/ISk5MT174-0002\r\n")); d.Text != "asks any meter to identify itself; 17 bytes follow" {
		t.Errorf("%s", d.Text)
	}
}

// Every single wrong bit is found, by its parity.
func TestParity(t *testing.T) {
	const in = "/ISk5MT174-0002\r\n"
	whole := append([]byte{0, 0}, seven(mt174)...)
	for at := 2; at < len(whole); at++ {
		for bit := range 8 {
			b := bytes.Clone(whole)
			b[at] ^= 1 << bit
			d := Describe(b)
			if at < 2+len(in) && bit < 7 {
				continue // may leave the data alone, a message of their own
			}
			if d.Valid {
				t.Fatalf("bit %d of byte %d: %s", bit, at, line(d))
			}
		}
	}
	b := bytes.Clone(whole)
	b[50] ^= 0x80
	if d := Describe(b); d.Reason != "parity error at byte 50" {
		t.Errorf("%+v", d)
	}
	b = []byte(mt174) // no parity bits at all
	b[48] |= 0x80
	if d := Describe(b); d.Reason != "parity error at byte 48" {
		t.Errorf("%+v", d)
	}
}

func TestNumber(t *testing.T) {
	for in, want := range map[string]string{
		"00006678.394": "6678.394", "0": "0", "000.50": "0.50", "-000115.94": "-115.94", "+1": "1", "999999999999999999": "999999999999999999",
		"0000000000000000000000.1": "0.1", " 001.67": "1.67",
		"": "", "-": "", "1.": "", ".5": "", "1,5": "", "1.2.3": "", "--1": "", "1e5": "", "9999999999999999999": "", "12a": "",
	} {
		d, ok := number(in)
		if got := d.String(); ok != (want != "") || ok && got != want {
			t.Errorf("%q: %s, %t; want %q", in, got, ok, want)
		}
	}
}

func TestIdentification(t *testing.T) {
	for in, want := range map[string]string{
		"/ISk5MT174-0002\r\n": "ISk MT174-0002, mode C, 9600 baud",
		"/LGZ0ZMD\r\n":        "LGZ ZMD, mode C, 300 baud",
		"/ABCBold\r\n":        "ABC old, mode B, 1200 baud",
		"/ABC@old\r\n":        "ABC old, mode A",
		"/ABC9old\r\n":        "ABC old, mode C",
	} {
		id, n, f := parseIdentification([]byte(in + "more"))
		if id.String() != want || n != len(in) || f != sound {
			t.Errorf("%q: %v %d %d, want %s", in, id, n, f, want)
		}
	}
}

func FuzzDescribe(f *testing.F) {
	for _, s := range []string{mt174, dd3, "/?!\r\n", "\x06050\r\n", "\x01B0\x03\x71", checked("\x01R1\x021.8.0()"), "\x021(\r\n)2\x03"} {
		f.Add([]byte(s))
		f.Add(seven(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		before := bytes.Clone(b)
		d := Describe(b)
		if !bytes.Equal(before, b) {
			t.Fatal("the input was changed")
		}
		if d.Valid == (d.Reason != "") || d.Text == "" || d.Wakeup+d.Skipped > len(b) {
			t.Fatalf("%+v", d)
		}
		for _, v := range d.Values {
			if v.Value == "" {
				t.Fatalf("%+v", d)
			}
		}
	})
}
