package sim

import (
	"context"
	"encoding/binary"
	"io"
	"net"
	"sync"

	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// The header before each PDU (Modbus Messaging on TCP/IP V1.0b, section 3.1.3):
//
//	transaction 2 | protocol 2 (always 0) | length 2 (unit and PDU) | unit 1
const (
	mbap    = 7
	maxPDU  = 253
	maxADU  = mbap + maxPDU
	readBuf = 16 * maxADU
)

// serveModbusTCP answers requests on every connection to ln, in the order they
// come. It closes ln and all connections and returns nil when ctx is done; an
// error of the listener ends it at once. Requests to units that are not there
// get no reply, as from a device with one unit; bytes that are no Modbus TCP
// close their connection.
func serveModbusTCP(ctx context.Context, ln net.Listener, units meter.Units) error {
	return accept(ctx, ln, func(ctx context.Context, conn net.Conn) error {
		return answerModbusTCP(ctx, conn, units)
	})
}

func answerModbusTCP(ctx context.Context, conn io.ReadWriter, units meter.Units) error {
	in := make([]byte, readBuf)
	out := make([]byte, 0, readBuf)
	var pdu [maxPDU]byte
	have := 0
	for {
		n, err := conn.Read(in[have:])
		if err != nil {
			return err
		}
		have += n
		rest := in[:have]
		for len(rest) >= mbap {
			size := 6 + int(binary.BigEndian.Uint16(rest[4:]))
			if binary.BigEndian.Uint16(rest[2:]) != 0 || size <= mbap || size > maxADU {
				return nil
			}
			if len(rest) < size {
				break
			}
			if m := units[rest[6]]; m != nil {
				r := m.Respond(pdu[:], rest[6], rest[mbap:size])
				if r.Late > 0 { // only this reply, not those before it
					if err := flush(conn, &out); err != nil {
						return err
					}
					if err := sleep(ctx, r.Late); err != nil {
						return err
					}
				}
				out = append(out, r.Noise...)
				if len(r.PDU) > 0 {
					out = append(out, rest[0], rest[1], 0, 0)
					out = binary.BigEndian.AppendUint16(out, uint16(1+len(r.PDU)))
					out = append(append(out, r.Unit), r.PDU...)
				}
			}
			rest = rest[size:]
		}
		have = copy(in, rest)
		if err := flush(conn, &out); err != nil {
			return err
		}
	}
}

// flush writes what there is and empties it.
func flush(w io.Writer, out *[]byte) error {
	if len(*out) == 0 {
		return nil
	}
	_, err := w.Write(*out)
	*out = (*out)[:0]
	return err
}

// accept serves each connection to ln in its own goroutine. It returns when
// all of them have ended: after ctx is done, which closes them, or after ln
// failed.
func accept(ctx context.Context, ln net.Listener, serve func(context.Context, net.Conn) error) error {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(ctx, func() { ln.Close() })
	defer stop()
	var conns sync.WaitGroup
	defer conns.Wait()
	defer cancel()
	for {
		conn, err := ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		conns.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			// The far end's leaving, and what it sends, are no fault of the line.
			_ = serve(ctx, conn)
		})
	}
}
