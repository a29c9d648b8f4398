package iec62056

import (
	"bytes"
	"fmt"
	"math/bits"
	"strings"

	"github.com/tallystick/tallystick/drivers"
)

// Messages of IEC 62056-21:2002, section 6.3, all in characters of seven bits:
//
//	/ ? address ! CR LF                request
//	/ XXX Z identification CR LF       identification
//	ACK V Z Y CR LF                    option select
//	STX data ! CR LF ETX BCC           data
//	SOH C D STX data ETX BCC           command of the programming mode
//
// BCC is the exclusive or of everything behind STX or SOH up to and including
// ETX (IEC 1155).
const (
	soh, stx, etx, eot = 0x01, 0x02, 0x03, 0x04
	ack, nak           = 0x06, 0x15

	maxLine  = 128      // longest request or identification taken for one
	maxBlock = 64 << 10 // longest data taken for some
)

// plain takes the parity bits off b into a copy that begins with dst's memory.
func plain(dst, b []byte) []byte {
	dst = dst[:0]
	for _, c := range b {
		dst = append(dst, c&0x7F)
	}
	return dst
}

// even puts an even parity bit on every character.
func even(b []byte) []byte {
	for i, c := range b {
		if odd(c) {
			b[i] |= 0x80
		}
	}
	return b
}

func odd(c byte) bool { return bits.OnesCount8(c)&1 == 1 }

// parityError is where in b the first character with a wrong parity bit is, or
// -1. In b with no parity bits at all, where a line has dealt with them, it is
// the first character of eight bits.
func parityError(b []byte) int {
	wrong, high := 0, 0
	firstWrong, firstHigh := -1, -1
	for i := len(b) - 1; i >= 0; i-- {
		if odd(b[i]) {
			wrong++
			firstWrong = i
		}
		if b[i] > 0x7F {
			high++
			firstHigh = i
		}
	}
	if wrong <= high && high > 0 {
		return firstWrong
	}
	return firstHigh
}

func blockCheck(b []byte) (x byte) {
	for _, c := range b {
		x ^= c
	}
	return x
}

// kind is what a message is.
type kind uint8

const (
	request kind = iota
	identified
	option
	data
	command
	accepted // a single ACK
	repeat   // a single NAK
)

// message is one message taken apart.
type message struct {
	kind    kind
	address string         // of a request
	id      identification // of the meter, with kind data too where it came along
	option  [3]byte        // V Z Y
	command string         // "R1"
	text    []byte         // data between STX and ETX, or of a readout without them
	checked bool           // the text had a block check
	more    bool           // EOT in the place of ETX: a further block follows
}

// flaw is what is wrong with the bytes where a message might begin. A lesser
// one looks more like a message.
type flaw uint8

const (
	sound flaw = iota
	badCheck
	short
	noMessage
)

// inspect looks at plain text b as one message of size bytes. reason is set
// with badCheck and short.
func inspect(b []byte) (m message, size int, f flaw, reason string) {
	switch {
	case len(b) == 0:
		return m, 0, noMessage, ""
	case b[0] == '/' && len(b) > 1 && b[1] == '?':
		return inspectRequest(b)
	case b[0] == '/':
		return inspectAnswer(b)
	case b[0] == stx, b[0] == soh:
		return inspectBlock(b)
	case b[0] == ack && len(b) == 1:
		return message{kind: accepted}, 1, sound, ""
	case b[0] == nak && len(b) == 1:
		return message{kind: repeat}, 1, sound, ""
	case b[0] == ack:
		for i, c := range b[1:min(len(b), 4)] {
			if c < '0' || c > '9' && (i < 1 || c < 'A' || c > 'I') {
				return m, 0, noMessage, ""
			}
		}
		if len(b) < 6 {
			return m, 0, short, fmt.Sprintf("truncated: %d bytes, expected 6", len(b))
		}
		if b[4] != '\r' || b[5] != '\n' {
			return m, 0, noMessage, ""
		}
		return message{kind: option, option: [3]byte(b[1:4])}, 6, sound, ""
	}
	return m, 0, noMessage, ""
}

func inspectRequest(b []byte) (m message, size int, f flaw, reason string) {
	n := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if n < 0 {
		return m, 0, short, fmt.Sprintf("truncated: %d bytes, no CR LF", len(b))
	}
	address, ok := bytes.CutSuffix(b[2:n+1], []byte("!\r\n"))
	if !ok || !printable(address) {
		return m, 0, noMessage, ""
	}
	return message{kind: request, address: string(address)}, n + 1, sound, ""
}

// inspectAnswer is an identification, and the readout where one follows.
func inspectAnswer(b []byte) (m message, size int, f flaw, reason string) {
	id, n, f := parseIdentification(b)
	if f == short {
		return m, 0, f, fmt.Sprintf("truncated: %d bytes, no CR LF", len(b))
	}
	m = message{kind: identified, id: id}
	rest := bytes.TrimLeft(b[n:], "\r\n\x00\x7F")
	lead := len(b) - len(rest)
	if f != sound || len(rest) == 0 {
		return m, n, f, ""
	}
	if rest[0] == stx {
		m, size, f, reason = inspectBlock(rest)
	} else {
		m, size, f, reason = inspectReadout(rest)
	}
	if f == noMessage {
		if bytes.IndexByte(rest, '(') >= 0 {
			return m, len(b), badCheck, fmt.Sprintf("%d bytes behind the identification, damaged data", len(rest))
		}
		return message{kind: identified, id: id}, n, sound, ""
	}
	m.id = id
	return m, lead + size, f, reason
}

// inspectReadout is data without STX and block check, as some meters send
// them. It must be nothing but data sets, down to the "!" that ends it.
func inspectReadout(b []byte) (m message, size int, f flaw, reason string) {
	n := bytes.Index(b, []byte("!\r\n"))
	if n < 0 {
		if _, ok := parseSets(b); !ok && !bytes.ContainsRune(b, '(') {
			return m, 0, noMessage, ""
		}
		return m, 0, short, fmt.Sprintf("truncated: %d bytes of data, no ! CR LF", len(b))
	}
	if _, ok := parseSets(b[:n]); !ok {
		return m, 0, noMessage, ""
	}
	return message{kind: data, text: b[:n]}, n + 3, sound, ""
}

// inspectBlock is what begins with STX or SOH.
func inspectBlock(b []byte) (m message, size int, f flaw, reason string) {
	m = message{kind: data, checked: true}
	text := b[1:]
	if b[0] == soh {
		m.kind = command
		if len(b) < 3 {
			return m, 0, short, fmt.Sprintf("truncated: %d bytes, no ETX", len(b))
		}
		if strings.IndexByte("PWREB", b[1]) < 0 || b[2] < '0' || b[2] > '9' {
			return m, 0, noMessage, ""
		}
		m.command = string(b[1:3])
		if text = b[3:]; len(text) > 0 && text[0] == stx {
			text = text[1:]
		}
	} else if len(text) > 0 && !readable(text[:min(len(text), 8)]) {
		return m, 0, noMessage, ""
	}
	n := bytes.IndexAny(text, "\x03\x04")
	if n < 0 || len(text) < n+2 {
		return m, 0, short, fmt.Sprintf("truncated: %d bytes, no ETX and block check", len(b))
	}
	m.text, m.more = text[:n], text[n] == eot
	size = len(b) - len(text) + n + 2
	if got, want := b[size-1], blockCheck(b[1:size-1]); got != want {
		return m, size, badCheck, fmt.Sprintf("block check %02X, computed %02X", got, want)
	}
	return m, size, sound, ""
}

func printable(b []byte) bool {
	for _, c := range b {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// readable reports whether b can be text of a data block, as far as that goes.
func readable(b []byte) bool {
	for _, c := range b {
		if c == etx || c == eot {
			return true
		}
		if (c < ' ' || c > '~') && c != '\r' && c != '\n' {
			return false
		}
	}
	return true
}

// identification is what a meter says of itself: /XXXZidentification.
type identification struct {
	manufacturer string // three letters, the third lower-case in a fast meter
	speed        byte   // Z
	model        string
}

// parseIdentification reads the identification line b begins with.
func parseIdentification(b []byte) (id identification, size int, f flaw) {
	n := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	if n < 0 {
		if len(b) < maxLine && printable(bytes.TrimRight(b, "\r")) {
			return id, 0, short
		}
		return id, 0, noMessage
	}
	line := bytes.TrimRight(b[:n], "\r")
	if len(line) < 5 || !printable(line) || line[1] == '?' {
		return id, 0, noMessage
	}
	for _, c := range line[1:4] {
		if c|0x20 < 'a' || c|0x20 > 'z' {
			return id, 0, noMessage
		}
	}
	return identification{manufacturer: string(line[1:4]), speed: line[4], model: string(line[5:])}, n + 1, sound
}

// mode is 'A', 'B' or 'C', section 6.3.2 item 13.
func (id identification) mode() byte {
	switch {
	case '0' <= id.speed && id.speed <= '9':
		return 'C'
	case 'A' <= id.speed && id.speed <= 'I':
		return 'B'
	}
	return 'A'
}

// baud is the speed proposed, 0 where there is none or it is reserved.
func (id identification) baud() int {
	n := int(id.speed) - '0'
	if id.mode() == 'B' {
		n = int(id.speed) - 'A' + 1
	}
	if id.mode() == 'A' || n >= len(speeds) {
		return 0
	}
	return speeds[n]
}

var speeds = [...]int{300, 600, 1200, 2400, 4800, 9600, 19200}

// set is one value of a data set: address(value*unit). Where several follow
// one address, part counts them.
type set struct {
	id, value, unit string
	part            int
}

// parseSets reads the data sets in text. ok is false where it is not data sets
// all through; those that are come nevertheless.
func parseSets(text []byte) (sets []set, ok bool) {
	ok = true
	id, part := "", 0
	for len(text) > 0 {
		switch c := text[0]; {
		case c == '\r' || c == '\n':
			text = text[1:]
		case c == '!': // the end of a data block
			return sets, ok && len(bytes.Trim(text[1:], "\r\n")) == 0
		default:
			open := bytes.IndexAny(text, "(\r\n")
			if open < 0 || text[open] != '(' {
				ok = false
				if open < 0 {
					return sets, false
				}
				text = text[open:]
				continue
			}
			if open > 0 {
				id, part = string(text[:open]), 0
			}
			shut := bytes.IndexAny(text[open:], ")\r\n")
			if shut < 0 || text[open+shut] != ')' || !printable(text[:open+shut]) {
				ok = false
				if shut < 0 {
					return sets, false
				}
				text = text[open+shut:]
				if text[0] == ')' {
					text = text[1:]
				}
				continue
			}
			for _, one := range values(string(text[open+1 : open+shut])) {
				value, unit, _ := strings.Cut(one, "*")
				sets = append(sets, set{id: id, value: value, unit: unit, part: part})
				part++
			}
			text = text[open+shut+1:]
		}
	}
	return sets, ok
}

// values are those between one pair of brackets: Landis & Gyr's heat meters put
// two with their units there, (082.2*C&079.6*C).
func values(s string) []string {
	all := strings.Split(s, "&")
	for _, one := range all {
		if !strings.Contains(one, "*") {
			return []string{s}
		}
	}
	return all
}

// canonical is an OBIS code without what says nothing more: the medium
// electricity with its channel (1-0:), the abstract medium (0-0:), and the
// current billing period (*255).
func canonical(id string) string {
	id = strings.TrimSuffix(id, "*255")
	if medium, rest, ok := strings.Cut(id, ":"); ok && (strings.HasPrefix(medium, "1-") || medium == "0-0") {
		return rest
	}
	return id
}

// number reads a decimal number as it stands in a data set; some meters have a
// space where a sign could be. ok is false where it is none or has more than
// eighteen digits.
func number(s string) (d drivers.Decimal, ok bool) {
	s = strings.Trim(s, " ")
	rest := strings.TrimLeft(s, "+-")
	sign := s[:len(s)-len(rest)]
	if len(sign) > 1 {
		return d, false
	}
	whole, frac, point := strings.Cut(rest, ".")
	if whole == "" || point && frac == "" {
		return d, false
	}
	digits := strings.TrimLeft(whole+frac, "0")
	if len(digits) > 18 || len(frac) > 18 {
		return d, false
	}
	for _, c := range []byte(whole + frac) {
		if c < '0' || c > '9' {
			return d, false
		}
		d.Coef = 10*d.Coef + int64(c-'0')
	}
	if sign == "-" {
		d.Coef = -d.Coef
	}
	d.Exp = -int8(len(frac))
	return d, true
}
