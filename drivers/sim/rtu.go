package sim

import (
	"context"
	"encoding/binary"
	"io"
	"time"
)

const (
	// Longest RTU frame (Modbus over Serial Line V1.02, section 2.3).
	maxRTU = 256
	// A UART hands bytes to the computer when its buffer holds this many, or
	// the line falls silent.
	fifo = 16
	// What lay unfinished this long is noise. Far above 3.5 characters, because
	// a serial server or a busy machine may stretch a frame.
	stale = 100 * time.Millisecond
)

// ServeRTU answers Modbus RTU requests from rw until ctx is done, then closes
// rw and returns nil; any other end of rw is returned as an error. Requests to
// units that are not there get no reply. Replies take as long as timing says:
// each byte is passed on when it, and the up to 15 that share the UART's buffer
// with it, would have arrived.
func ServeRTU(ctx context.Context, rw io.ReadWriteCloser, units Units, timing Timing) error {
	return serve(ctx, rw, &wire{rw: rw, ears: []*ear{{Listener: units, timing: timing}}})
}

func unitOf(units Units, frame []byte) *Meter {
	if len(frame) == 0 {
		return nil
	}
	return units[frame[0]]
}

// pace writes a reply to a request of the given length that came at arrived.
func (s speaker) pace(ctx context.Context, reply []byte, arrived time.Time, request int, timing Timing) error {
	step := fifo
	if timing.Baud == 0 {
		step = len(reply)
	}
	for lo := 0; lo < len(reply); lo += step {
		hi := min(lo+step, len(reply))
		if err := sleepExactly(ctx, s.rw, time.Until(arrived.Add(timing.landed(request, hi-1)))); err != nil {
			return err
		}
		if _, err := s.Write(reply[lo:hi]); err != nil {
			return err
		}
	}
	return nil
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
