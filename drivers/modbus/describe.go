package modbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// Describe says what the first sound frame in b says. RTU frames are found by
// their checksum, whatever stands before them; where there is none, all of b is
// taken for one and the Reason says what is wrong with it. Checksums are written
// as on the wire, low byte first.
//
// Request and reply of the functions 05, 06, 08 and 16 look alike and are
// called requests. Eight bytes of function 01 or 02 could be either, and are a
// request where they ask for a number of bits a request may ask for.
func Describe(f Framing, b []byte) drivers.Description {
	d := drivers.Description{Protocol: f.String()}
	var unit byte
	var pdu []byte
	switch f {
	case ASCII:
		unit, pdu = openASCII(b, &d)
	case TCP:
		unit, pdu = openTCP(b, &d)
	default:
		unit, pdu = openRTU(b, &d)
	}
	if d.Reason != "" {
		d.Text = d.Reason
		return d
	}
	d.Valid = true
	d.Address = strconv.Itoa(int(unit))
	describe(&d, pdu)
	return d
}

// String is the protocol's word in a site file.
func (f Framing) String() string {
	switch f {
	case ASCII:
		return "modbus-ascii"
	case TCP:
		return "modbus-tcp"
	}
	return "modbus-rtu"
}

// openRTU takes unit and PDU out of b, or gives a Reason.
func openRTU(b []byte, d *drivers.Description) (unit byte, pdu []byte) {
	for from := range b {
		rest := b[from:]
		for _, n := range append(sizes(rest), len(rest)) {
			if n >= 4 && n <= len(rest) && crc(rest[:n-2]) == binary.LittleEndian.Uint16(rest[n-2:]) {
				d.Skipped = from
				if more := len(rest) - n; more > 0 {
					d.Text = fmt.Sprintf("; %d bytes follow", more)
				}
				return rest[0], rest[1 : n-2]
			}
		}
	}
	if len(b) < 4 {
		d.Reason = fmt.Sprintf("truncated: %d bytes, expected at least 4", len(b))
		return 0, nil
	}
	sum := binary.LittleEndian.AppendUint16(nil, crc(b[:len(b)-2]))
	d.Reason = fmt.Sprintf("checksum %X, computed %X", b[len(b)-2:], sum)
	return 0, nil
}

// sizes lists how long an RTU frame that begins with b may be, by its function
// code: as a request, as a reply.
func sizes(b []byte) []int {
	if len(b) < 2 {
		return nil
	}
	counted := func(at, more int) int { // a byte count at b[at]
		if len(b) <= at {
			return 0
		}
		return more + int(b[at])
	}
	switch code := b[1]; {
	case code&0x80 != 0:
		return []int{5}
	case code >= 1 && code <= 4:
		return []int{8, counted(2, 5)}
	case code == 5 || code == 6 || code == 8:
		return []int{8}
	case code == 15 || code == 16:
		return []int{8, counted(6, 9)}
	case code == 22:
		return []int{10}
	case code == 23:
		return []int{counted(10, 13), counted(2, 5)}
	case code == 7:
		return []int{4, 5}
	case code == 11:
		return []int{4, 8}
	case code == 12 || code == 17 || code == 20 || code == 21:
		return []int{counted(2, 5), 4}
	}
	return nil
}

func openASCII(b []byte, d *drivers.Description) (unit byte, pdu []byte) {
	at := bytes.IndexByte(b, ':')
	if at < 0 {
		d.Skipped, d.Reason = len(b), "no frame: no colon found"
		return 0, nil
	}
	d.Skipped = at
	text := b[at+1:]
	end := bytes.Index(text, []byte("\r\n"))
	if end < 0 {
		d.Reason = "truncated: no CR LF found"
		return 0, nil
	}
	plain := make([]byte, end/2)
	if _, err := hex.Decode(plain, text[:end]); err != nil {
		d.Reason = fmt.Sprintf("%q is not hexadecimal", text[:end])
		return 0, nil
	}
	if len(plain) < 3 {
		d.Reason = fmt.Sprintf("truncated: %d bytes, expected at least 3", len(plain))
		return 0, nil
	}
	last := len(plain) - 1
	if sum := lrc(plain[:last]); sum != plain[last] {
		d.Reason = fmt.Sprintf("LRC %02X, computed %02X", plain[last], sum)
		return 0, nil
	}
	if more := len(text) - end - 2; more > 0 {
		d.Text = fmt.Sprintf("; %d bytes follow", more)
	}
	return plain[0], plain[1:last]
}

func openTCP(b []byte, d *drivers.Description) (unit byte, pdu []byte) {
	if len(b) < mbap+1 {
		d.Reason = fmt.Sprintf("truncated: %d bytes, expected at least %d", len(b), mbap+1)
		return 0, nil
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	switch protocol := binary.BigEndian.Uint16(b[2:]); {
	case protocol != 0:
		d.Reason = fmt.Sprintf("protocol id %04X, expected 0000", protocol)
	case length < 2 || length > 254:
		d.Reason = fmt.Sprintf("length field %d, expected 2 to 254", length)
	case len(b) < 6+length:
		d.Reason = fmt.Sprintf("truncated: length field %d, found %d bytes", length, len(b)-6)
	}
	if d.Reason != "" {
		return 0, nil
	}
	if more := len(b) - 6 - length; more > 0 {
		d.Text = fmt.Sprintf("; %d bytes follow", more)
	}
	return b[6], b[mbap : 6+length]
}

// functions are the function codes of Modbus Application Protocol V1.1b3,
// section 6.
var functions = map[byte]struct {
	words  string
	writes bool
}{
	1: {"read coils", false}, 2: {"read discrete inputs", false},
	3: {"read holding registers", false}, 4: {"read input registers", false},
	5: {"write single coil", true}, 6: {"write single register", true},
	7: {"read exception status", false}, 8: {"diagnostics", true},
	11: {"get event counter", false}, 12: {"get event log", false},
	15: {"write coils", true}, 16: {"write registers", true}, 17: {"report server id", false},
	20: {"read file record", false}, 21: {"write file record", true},
	22: {"mask write register", true}, 23: {"read and write registers", true},
	24: {"read FIFO queue", false}, 43: {"encapsulated interface", false},
}

func describe(d *drivers.Description, pdu []byte) {
	trailing := d.Text
	code, data := pdu[0], pdu[1:]
	d.Control = fmt.Sprintf("%02X", code)
	f := functions[code&0x7F]
	d.Write = f.writes
	if f.words == "" {
		f.words = fmt.Sprintf("function %02X", code&0x7F)
		d.Write = code&0x7F != 0 // nobody knows what it does
	}
	defer func() {
		var words []string
		for _, v := range d.Values {
			words = append(words, strings.TrimSpace(v.Quantity+" "+v.Value))
		}
		if d.Error != nil {
			words = append(words, d.Error.Text)
		}
		d.Text = fmt.Sprintf("unit %s, %s %s", d.Address, d.Direction, f.words)
		if d.DataID != "" {
			d.Text += " 0x" + d.DataID
		}
		if len(words) > 0 {
			d.Text += ": " + strings.Join(words, ", ")
		}
		d.Text += trailing
	}()
	if code&0x80 != 0 {
		d.Direction = "response"
		d.Error = &drivers.Refusal{Code: "00", Text: "no exception code"}
		if len(data) > 0 {
			d.Error = &drivers.Refusal{Code: fmt.Sprintf("%02X", data[0]), Text: Exception(data[0]).words()}
		}
		return
	}
	value := func(name string, v uint16) {
		d.Values = append(d.Values, drivers.DescribedValue{Quantity: name, Value: strconv.Itoa(int(v))})
	}
	address := func() {
		if len(data) >= 2 {
			d.DataID = fmt.Sprintf("%04X", binary.BigEndian.Uint16(data))
		}
	}
	registers := func(b []byte) {
		for i := 0; i+1 < len(b); i += 2 {
			value(fmt.Sprintf("register %d", i/2), binary.BigEndian.Uint16(b[i:]))
		}
	}
	bits := func(b []byte) {
		for i := range 8 * len(b) {
			value(fmt.Sprintf("bit %d", i), uint16(b[i/8]>>(i%8)&1))
		}
	}
	word := func(at int) uint16 { return binary.BigEndian.Uint16(data[at:]) }
	d.Direction = "request"
	switch {
	case code >= 1 && code <= 4:
		if isReadReply(code, data) {
			d.Direction = "response"
			if code <= 2 {
				bits(data[1:])
			} else {
				registers(data[1:])
			}
			return
		}
		address()
		if len(data) >= 4 {
			value("count", word(2))
		}
	case code == 5 || code == 6:
		address()
		if len(data) >= 4 {
			value("value", word(2))
		}
	case code == 15 || code == 16:
		address()
		if len(data) == 4 {
			d.Direction = "response"
		}
		if len(data) >= 4 {
			value("count", word(2))
		}
		if len(data) > 5 && code == 16 {
			registers(data[5:])
		} else if len(data) > 5 {
			bits(data[5:])
		}
	case code == 22:
		address()
	case code == 23:
		if len(data) > 0 && int(data[0]) == len(data)-1 {
			d.Direction = "response"
			registers(data[1:])
			return
		}
		address()
	case code == 12 || code == 17 || code == 7 || code == 11:
		if len(data) > 0 {
			d.Direction = "response"
		}
	}
}

// isReadReply tells the reply to a function 01 to 04 from its request.
func isReadReply(code byte, data []byte) bool {
	if len(data) == 0 || int(data[0]) != len(data)-1 {
		return false
	}
	if len(data) != 4 {
		return true
	}
	n := binary.BigEndian.Uint16(data[2:])
	return code <= 2 && (n < 1 || n > maxBits)
}
