package sim

import (
	"context"
	"encoding/binary"
	"io"
	"net"
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
	stop := context.AfterFunc(ctx, func() { rw.Close() })
	defer stop()
	defer rw.Close()
	err := serveRTU(ctx, rw, units, timing)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func serveRTU(ctx context.Context, rw io.ReadWriter, units Units, timing Timing) error {
	var in [2 * maxRTU]byte
	var pdu, out [maxRTU]byte
	have := 0
	var last time.Time // when in[:have] arrived
	for {
		n, err := rw.Read(in[have:])
		if err != nil {
			return err
		}
		arrived := time.Now()
		if have > 0 && arrived.Sub(last) > stale {
			copy(in[:], in[have:have+n])
			have = 0
		}
		have, last = have+n, arrived
		for have > 0 {
			skip, size := scanRequest(in[:have])
			frame := in[skip : skip+size]
			if m := unitOf(units, frame); m != nil {
				r := m.respond(pdu[:], frame[0], frame[1:size-2])
				reply := append(out[:0], r.noise...)
				if len(r.pdu) > 0 {
					reply = appendRTU(reply, r.unit, r.pdu)
				}
				if err := pace(ctx, rw, reply, arrived.Add(r.late), size, timing); err != nil {
					return err
				}
			}
			have = copy(in[:], in[skip+size:have])
			if size == 0 {
				break
			}
		}
		if have > maxRTU {
			have = copy(in[:], in[have-maxRTU:have])
		}
	}
}

func unitOf(units Units, frame []byte) *Meter {
	if len(frame) == 0 {
		return nil
	}
	return units[frame[0]]
}

// pace writes a reply to a request of the given length that came at arrived.
func pace(ctx context.Context, w io.Writer, reply []byte, arrived time.Time, request int, timing Timing) error {
	step := fifo
	if timing.Baud == 0 {
		step = len(reply)
	}
	for lo := 0; lo < len(reply); lo += step {
		hi := min(lo+step, len(reply))
		if err := sleep(ctx, time.Until(arrived.Add(timing.landed(request, hi-1)))); err != nil {
			return err
		}
		if _, err := w.Write(reply[lo:hi]); err != nil {
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

// ServeRTUOverTCP is a serial server: RTU frames in a TCP stream, each
// connection served as by ServeRTU. It closes ln and returns nil when ctx is
// done.
func ServeRTUOverTCP(ctx context.Context, ln net.Listener, units Units, timing Timing) error {
	return accept(ctx, ln, func(ctx context.Context, conn net.Conn) error {
		return ServeRTU(ctx, conn, units, timing)
	})
}
