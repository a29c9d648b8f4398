package meter

import (
	"encoding/binary"
	"time"
)

// maxRTU is the longest frame (Modbus over Serial Line V1.02, section 2.3).
const maxRTU = 256

// Units is the meters of one line by unit number, 1 to 247. A line only reads
// it.
type Units map[byte]*Modbus

// Find looks for a request in b, whoever it is for: skip bytes that are certainly
// none, then size bytes of request; size 0 means more are needed.
func (u Units) Find(b []byte) (skip, size int) { return scanRequest(b) }

// Delay is a common meter's time to think.
func (u Units) Delay() time.Duration { return 5 * time.Millisecond }

// Answer is what is said to a request that Find found, built in buf's storage.
func (u Units) Answer(buf, frame []byte) Reply {
	m := u[frame[0]]
	if m == nil {
		return Reply{}
	}
	var pdu [maxRTU]byte
	r := m.Respond(pdu[:], frame[0], frame[1:len(frame)-2])
	start := len(buf)
	buf = append(buf, r.Noise...)
	if len(r.PDU) > 0 {
		from := len(buf)
		buf = appendRTU(buf, r.Unit, r.PDU)
		buf = buf[:from+len(r.fault.spoil(buf[from:], r.n))]
	}
	return Reply{Bytes: buf[start:], Late: r.Late}
}

// scanRequest looks for an RTU request in b: skip bytes of noise come first,
// then size bytes of request with a good checksum; size 0 means more are
// needed. A complete request further on wins over an unfinished one before it.
func scanRequest(b []byte) (skip, size int) {
	unfinished := len(b)
	for i := range b {
		n := requestLength(b[i:])
		if n == 0 || i+n > len(b) {
			unfinished = min(unfinished, i)
			continue
		}
		if frame := b[i : i+n]; crc16(frame[:n-2]) == binary.LittleEndian.Uint16(frame[n-2:]) {
			return i, n
		}
	}
	return unfinished, 0
}

// requestLength is the length of the request that starts at b, by its function
// code, or 0 while that cannot be told yet. A meter must know the end of
// requests it will refuse, too (Modbus Application Protocol V1.1b3, section 6).
func requestLength(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case 1, 2, 3, 4, 5, 6, 8:
		return 8
	case 15, 16:
		if len(b) < 7 {
			return 0
		}
		return 9 + int(b[6])
	}
	return 4 // function code alone: 7, 11, 12, 17 and whatever else
}

func appendRTU(dst []byte, unit byte, pdu []byte) []byte {
	start := len(dst)
	dst = append(append(dst, unit), pdu...)
	return binary.LittleEndian.AppendUint16(dst, crc16(dst[start:]))
}

// crc16 is the checksum of Modbus over Serial Line V1.02, section 2.5.1.2:
// polynomial 0xA001, from 0xFFFF.
func crc16(b []byte) uint16 {
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			odd := crc & 1
			crc >>= 1
			crc ^= 0xA001 * odd
		}
	}
	return crc
}
