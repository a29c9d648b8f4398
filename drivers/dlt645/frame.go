// Package dlt645 reads electricity meters that speak DL/T 645-2007 or its
// forerunner of 1997: it asks for the data identifiers a site file names and
// turns their BCD digits into exact decimal numbers of the unit asked for.
//
// It can only read: the control codes 11, 12 and 13 (1997: 01 and 02) are the
// only ones it encodes. It describes all others.
package dlt645

import (
	"fmt"
	"strings"
)

// Version is the edition of the standard a meter follows.
type Version uint8

const (
	V2007 Version = iota
	V1997
)

// String is the protocol's word in a site file.
func (v Version) String() string {
	if v == V1997 {
		return "dlt645-1997"
	}
	return "dlt645-2007"
}

// other is the edition v is not.
func (v Version) other() Version { return V1997 - v }

// idBytes is the length of a data identifier.
func (v Version) idBytes() int {
	if v == V1997 {
		return 2
	}
	return 4
}

// A frame, DL/T 645-2007 section 5, 1997 the same:
//
//	68 A0..A5 68 C L DATA(L) CS 16
//
// CS is the sum of all bytes from the first 68 to the last of DATA. Addresses
// and values are BCD, low byte first. Every byte of DATA is sent with 33H added.
// DATA begins with the data identifier, low byte first, except in replies that
// refuse, and in those to "read address".
const (
	start, end = 0x68, 0x16
	offset     = 0x33
	head       = 10 // bytes before DATA
	tail       = 2  // bytes behind it
	wakeup     = 0xFE

	fromMeter = 0x80 // bits of the control code
	refused   = 0x40
	more      = 0x20
	function  = 0x1F

	wild = 0xAA // as each byte of an address
)

// control is a control code without the bits of a reply.
type control byte

const (
	readData2007    control = 0x11
	readMore2007    control = 0x12
	readAddress2007 control = 0x13
	readData1997    control = 0x01
	readMore1997    control = 0x02
)

// Codes that are decoded and never sent.
const (
	setTime control = 0x08 // in both editions

	authenticate2007 control = 0x03
	write2007        control = 0x14
	writeAddress2007 control = 0x15
	password2007     control = 0x18
	relay2007        control = 0x1C

	repeat1997       control = 0x03
	write1997        control = 0x04
	writeAddress1997 control = 0x0A
)

// words is what a control code asks for, as messages have it, and whether it
// changes something in the meter. A code the edition does not have counts as one
// that does: nobody knows what a vendor made of it.
func (v Version) words(c control) (text string, writes bool) {
	if text, writes = v.standard(c); text != "" {
		return text, writes
	}
	text = fmt.Sprintf("control code %02X", byte(c))
	if other, _ := v.other().standard(c); other != "" {
		text += fmt.Sprintf(" (%s in %v)", other, v.other())
	}
	return text, true
}

// standard is words for the codes of the edition, "" for all others.
func (v Version) standard(c control) (text string, writes bool) {
	if v == V1997 {
		switch c {
		case readData1997:
			return "read data", false
		case readMore1997:
			return "read following data", false
		case repeat1997:
			return "repeat", false
		case write1997:
			return "write data", true
		case setTime:
			return "set time", true
		case writeAddress1997:
			return "write address", true
		case 0x0C:
			return "change speed", true
		case 0x0F:
			return "change password", true
		case 0x10:
			return "clear maximum demand", true
		}
		return "", false
	}
	switch c {
	case authenticate2007:
		return "security authentication", true
	case setTime:
		return "set time", true
	case readData2007:
		return "read data", false
	case readMore2007:
		return "read following data", false
	case readAddress2007:
		return "read address", false
	case write2007:
		return "write data", true
	case writeAddress2007:
		return "write address", true
	case 0x16:
		return "freeze", true
	case 0x17:
		return "change speed", true
	case password2007:
		return "change password", true
	case 0x19:
		return "clear maximum demand", true
	case 0x1A:
		return "clear meter", true
	case 0x1B:
		return "clear events", true
	case relay2007:
		return "switch relay or alarm", true
	case 0x1D:
		return "set output terminal", true
	}
	return "", false
}

// address is as on the wire.
type address [6]byte

var (
	wildcard  = address{wild, wild, wild, wild, wild, wild}
	everybody = address{0x99, 0x99, 0x99, 0x99, 0x99, 0x99} // obey and do not answer
)

// parseAddress reads the digits printed on a meter, twelve or less; "a" stands
// for any digit, in pairs.
func parseAddress(s string) (a address, err error) {
	if len(s) == 0 || len(s) > 2*len(a) {
		return a, fmt.Errorf("address %q has %d digits, expected 12", s, len(s))
	}
	full := strings.Repeat("0", 2*len(a)-len(s)) + s
	for i := range a {
		hi, lo := full[2*i], full[2*i+1]
		switch {
		case hi == 'a' && lo == 'a':
			a[len(a)-1-i] = wild
		case hi < '0' || hi > '9' || lo < '0' || lo > '9':
			return a, fmt.Errorf("address %q is not all digits", s)
		default:
			a[len(a)-1-i] = (hi-'0')<<4 | (lo - '0')
		}
	}
	return a, nil
}

// String is the address as it is printed on the meter.
func (a address) String() string {
	return fmt.Sprintf("%02x%02x%02x%02x%02x%02x", a[5], a[4], a[3], a[2], a[1], a[0])
}

// matches reports whether a meter of address a answers to pattern.
func (a address) matches(pattern address) bool {
	for i := range a {
		if pattern[i] != wild && pattern[i] != a[i] {
			return false
		}
	}
	return true
}

// frame is a sound frame as it lies on the wire. Its data still has 33H on it.
type frame struct {
	address address
	control byte // with the bits of a reply
	data    []byte
}

func (f frame) function() control { return control(f.control & function) }
func (f frame) reply() bool       { return f.control&fromMeter != 0 }
func (f frame) refusal() bool     { return f.control&(fromMeter|refused) == fromMeter|refused }
func (f frame) more() bool        { return f.control&more != 0 }

// id is the data identifier. ok is false where the frame has none.
func (f frame) id(v Version) (id uint32, ok bool) {
	n := v.idBytes()
	if len(f.data) < n || f.refusal() || !v.identifies(f.function(), f.reply()) {
		return 0, false
	}
	for i := n - 1; i >= 0; i-- {
		id = id<<8 | uint32(f.data[i]-offset)
	}
	return id, true
}

// identifies reports whether the data of a frame begin with an identifier
// (DL/T 645-2007 section 7, DL/T 645-1997 section 6). Commands begin with a
// time, an address, or a password and the operator's code.
func (v Version) identifies(c control, reply bool) bool {
	if v == V1997 {
		return c == readData1997 || c == readMore1997 || c == repeat1997 && reply || c == write1997 && !reply
	}
	switch c {
	case readData2007, readMore2007, authenticate2007:
		return true
	case write2007, password2007:
		return !reply
	}
	return false
}

// fault is what is wrong with the bytes at a 68; sound means nothing is.
type fault uint8

const (
	sound     fault = iota
	badSum          // the end is where it should be
	badEnd          // the sum is right
	truncated       // more bytes are needed
	badBoth         // most likely no frame
	noSecond        // no second 68: no frame
)

// inspect looks at b, which begins with 68, as a frame of size bytes. Size is
// the least the frame can have where its length byte is missing.
func inspect(b []byte) (size int, _ fault) {
	if len(b) > 7 && b[7] != start {
		return 0, noSecond
	}
	if len(b) < head {
		return head + tail, truncated
	}
	size = head + int(b[head-1]) + tail
	if len(b) < size {
		return size, truncated
	}
	switch goodSum, goodEnd := sum(b[:size-tail]) == b[size-2], b[size-1] == end; {
	case goodSum && goodEnd:
		return size, sound
	case goodEnd:
		return size, badSum
	case goodSum:
		return size, badEnd
	}
	return size, badBoth
}

// parse takes a sound frame apart. The data is b's.
func parse(b []byte) frame {
	return frame{address: address(b[1:7]), control: b[8], data: b[head : len(b)-tail]}
}

func sum(b []byte) (s byte) {
	for _, c := range b {
		s += c
	}
	return s
}

// appendRead appends a request to b: the one encoder of this package. There is
// a way to say read and none to say anything else. id and seq are left out
// where the code has none.
func appendRead(b []byte, v Version, a address, what reading, id uint32, seq byte) []byte {
	code, n := readData2007, 4
	switch {
	case v == V1997 && what == following:
		code, n = readMore1997, 2
	case v == V1997:
		code, n = readData1997, 2
	case what == following:
		code = readMore2007
	case what == ownAddress:
		code, n = readAddress2007, 0
	}
	from := len(b)
	b = append(b, start, a[0], a[1], a[2], a[3], a[4], a[5], start, byte(code), byte(n))
	for range n {
		b = append(b, byte(id)+offset)
		id >>= 8
	}
	if code == readMore2007 {
		b[from+head-1]++
		b = append(b, seq+offset)
	}
	return append(b, sum(b[from:]), end)
}

// reading is what a request may ask for.
type reading uint8

const (
	data       reading = iota
	following          // the rest of data that did not fit one frame
	ownAddress         // 2007 only
)

// hunt looks in b for the first sound frame that wanted accepts and returns
// what drivers.Exchange.Match must. What stands before it - wake-up bytes,
// echo, noise, other frames - is skipped.
func hunt(b []byte, wanted func(frame) bool) (skip, size int) {
	partial := -1 // where a frame that is not complete yet may begin
	for i := 0; i < len(b); i++ {
		if b[i] != start {
			continue
		}
		size, f := inspect(b[i:])
		switch {
		case f == truncated && partial < 0:
			partial = i
		case f == sound && wanted(parse(b[i:i+size])):
			return i, size
		case f == sound && partial < 0:
			i += size - 1
		}
	}
	if partial < 0 {
		return len(b), 0
	}
	return partial, 0
}

// refusal is the error byte of a refusal in words, DL/T 645-2007 annex.
func refusal(code byte) string {
	var words []string
	for i, w := range []string{
		"other error", "no such data", "password wrong or not authorised", "speed cannot be changed",
		"too many year zones", "too many day slots", "too many tariffs", "reserved",
	} {
		if code>>i&1 == 1 {
			words = append(words, w)
		}
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, ", ")
}

// noSuchData is the bit of a refusal that says the meter has no such data.
const noSuchData = 0x02
