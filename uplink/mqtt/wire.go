package mqtt

import (
	"bufio"
	"net"
	"time"
)

// wire is the connection paho reads and writes. It bounds every write in time
// and shows each packet to an inspector before paho sees it.
//
// Reads come from one goroutine, writes from several.
type wire struct {
	net.Conn
	r            *bufio.Reader
	in           *inspector
	writeTimeout time.Duration
}

func newWire(c net.Conn, writeTimeout time.Duration, maxPacket int) *wire {
	return &wire{Conn: c, r: bufio.NewReader(c), in: newInspector(maxPacket), writeTimeout: writeTimeout}
}

// Read hands over nothing of a packet whose header is not acceptable.
func (w *wire) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if fault := w.in.scan(p[:n]); fault != nil {
		return 0, fault
	}
	return n, err
}

// Write ends after the write timeout even when the peer takes nothing: a
// blocked write would hold back the ping and with it the discovery that the
// link is dead.
func (w *wire) Write(p []byte) (int, error) {
	if err := w.Conn.SetWriteDeadline(time.Now().Add(w.writeTimeout)); err != nil {
		return 0, err
	}
	return w.Conn.Write(p)
}

// SetDeadline sets the deadline for reads; writes have their own.
func (w *wire) SetDeadline(t time.Time) error { return w.Conn.SetReadDeadline(t) }

// SetWriteDeadline does nothing: paho clears the deadline after each publish,
// which would clear it under a ping another goroutine is writing.
func (w *wire) SetWriteDeadline(time.Time) error { return nil }
