package modbus

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// Describe says what the first sound frame in b says. RTU frames are found by
// their checksum, whatever stands before them; where there is none, all of b is
// taken for one and the Reason says what is wrong with it. Checksums are written
// as on the wire, low byte first.
//
// Request and reply of the functions 05, 06, 08, 15 (21) and 16 (22) look alike
// and are called requests. Eight bytes of function 01 or 02 could be either, and
// are a request where they ask for a number of bits a request may ask for.
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
			if n >= 4 && n <= min(len(rest), maxFrame) && crc(rest[:n-2]) == binary.LittleEndian.Uint16(rest[n-2:]) {
				d.Skipped = from
				d.Behind = len(rest) - n
				return rest[0], rest[1 : n-2]
			}
		}
	}
	switch {
	case len(b) < 4:
		d.Reason = fmt.Sprintf("truncated: %d bytes, expected at least 4", len(b))
		return 0, nil
	case len(b) > maxFrame:
		d.Reason = fmt.Sprintf("no frame with a right checksum among %d bytes", len(b))
		return 0, nil
	}
	if n := slices.DeleteFunc(sizes(b), func(n int) bool { return n == 0 }); len(n) > 0 && slices.Min(n) > len(b) {
		d.Reason = fmt.Sprintf("truncated: %d bytes, expected %d", len(b), slices.Min(n))
		return 0, nil
	}
	sum := binary.LittleEndian.AppendUint16(nil, crc(b[:len(b)-2]))
	d.Reason = fmt.Sprintf("checksum %X, computed %X", b[len(b)-2:], sum)
	return 0, nil
}

// maxFrame is the longest RTU frame, Modbus over Serial Line V1.02 section 2.3.
const maxFrame = 256

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
	case code >= 1 && code <= 4 && len(b) > 2 && b[2] > 0:
		return []int{8, counted(2, 5)}
	case code >= 1 && code <= 4:
		return []int{8}
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
	case code == 24 && len(b) > 3:
		return []int{6, 6 + int(binary.BigEndian.Uint16(b[2:]))}
	case code == 43 && len(b) > 7 && b[2] == readIdentity:
		return []int{7, 2 + len(b) - len(identity(b[7:], nil))}
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
	d.Behind = len(text) - end - 2
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
	d.Behind = len(b) - 6 - length
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
	7: {"read exception status", false}, 8: {"diagnostics", false},
	11: {"get event counter", false}, 12: {"get event log", false},
	15: {"write coils", true}, 16: {"write registers", true}, 17: {"report server id", false},
	20: {"read file record", false}, 21: {"write file record", true},
	22: {"mask write register", true}, 23: {"read and write registers", true},
	24: {"read FIFO queue", false}, 43: {"encapsulated interface", false},
}

func describe(d *drivers.Description, pdu []byte) {
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
		if d.Behind > 0 {
			d.Text += fmt.Sprintf("; %d bytes follow", d.Behind)
		}
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
	text := func(name, v string) {
		if v != "" {
			d.Values = append(d.Values, drivers.DescribedValue{Quantity: name, Value: v})
		}
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
	case code == 7 && len(data) == 1:
		d.Direction = "response"
		bits(data)
	case code == 8 && len(data) >= 2:
		switch word(0) {
		case 0x01, 0x03, 0x04, 0x0A, 0x14: // restart, delimiter, listen only, clear counters
			d.Write = true
		}
		value("subfunction", word(0))
		registers(data[2:])
	case code == 11 && len(data) == 4:
		d.Direction = "response"
		value("status", word(0))
		value("event_count", word(2))
	case code == 12 && len(data) >= 7:
		d.Direction = "response"
		value("status", word(1))
		value("event_count", word(3))
		value("message_count", word(5))
		text("events", fmt.Sprintf("% X", data[7:]))
	case code == 17 && len(data) > 0:
		d.Direction = "response"
		text("server_id", fmt.Sprintf("% X", data[1:]))
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
	case code == 20 && len(data) > 0:
		rest := data[1:]
		if len(rest)%7 != 0 || len(rest) > 0 && rest[0] != fileRecord { // seven bytes ask for a record
			d.Direction = "response"
			for len(rest) > 1 && int(rest[0]) < len(rest) {
				n := 1 + max(1, int(rest[0]))
				registers(rest[2:n])
				rest = rest[n:]
			}
			return
		}
		for ; len(rest) > 0; rest = rest[7:] {
			value("file", binary.BigEndian.Uint16(rest[1:]))
			value("record", binary.BigEndian.Uint16(rest[3:]))
			value("count", binary.BigEndian.Uint16(rest[5:]))
		}
	case code == 21 && len(data) > 0:
		for rest := data[1:]; len(rest) >= 7; {
			n := min(len(rest), 7+2*int(binary.BigEndian.Uint16(rest[5:])))
			value("file", binary.BigEndian.Uint16(rest[1:]))
			value("record", binary.BigEndian.Uint16(rest[3:]))
			registers(rest[7:n])
			rest = rest[n:]
		}
	case code == 22:
		address()
		if len(data) >= 6 {
			value("and_mask", word(2))
			value("or_mask", word(4))
		}
	case code == 23:
		if len(data) > 0 && int(data[0]) == len(data)-1 {
			d.Direction = "response"
			registers(data[1:])
			return
		}
		address()
		if len(data) >= 9 {
			value("count", word(2))
			value("write_address", word(4))
			value("write_count", word(6))
			registers(data[9:])
		}
	case code == 24 && len(data) > 2:
		d.Direction = "response"
		if len(data) >= 4 {
			value("count", word(2))
			registers(data[4:])
		}
	case code == 24:
		address()
	case code == 43 && len(data) > 0 && data[0] == readIdentity:
		if len(data) <= 3 {
			return
		}
		d.Direction = "response"
		d.MoreFollows = data[3] == 0xFF
		identity(data[min(len(data), 5):], text)
	case code == 43:
		d.Write = true // CANopen's way in, or a vendor's
	}
}

const (
	fileRecord   = 6    // the reference type of functions 20 and 21
	readIdentity = 0x0E // what function 43 carries here
)

// identity tells found the objects of a device identification, section 6.21 of
// the protocol, and returns what stands behind them.
func identity(b []byte, found func(name, value string)) (rest []byte) {
	names := [...]string{"vendor", "product", "revision", "vendor_url", "product_name", "model", "application"}
	if len(b) == 0 {
		return nil
	}
	objects := b[0]
	for b = b[1:]; objects > 0 && len(b) >= 2 && len(b) >= 2+int(b[1]); objects-- {
		name := fmt.Sprintf("object_%02X", b[0])
		if int(b[0]) < len(names) {
			name = names[b[0]]
		}
		n := 2 + int(b[1])
		if found != nil {
			found(name, printable(b[2:n]))
		}
		b = b[n:]
	}
	return b
}

// printable is text, or bytes in hexadecimal where it is none.
func printable(b []byte) string {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return fmt.Sprintf("% X", b)
		}
	}
	return string(b)
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
