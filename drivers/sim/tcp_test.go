package sim

import (
	"bytes"
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// serveOn runs a server on a loopback listener until the test ends.
func serveOn(t testing.TB, serve func(context.Context, net.Listener) error) net.Conn {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- serve(ctx, ln) }()
	conn, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn.SetDeadline(time.Now().Add(time.Minute)) // only so that a broken server cannot hang the test
	t.Cleanup(func() {
		conn.Close()
		cancel()
		if err := <-served; err != nil {
			t.Errorf("serve: %v, want nil after its context ended", err)
		}
	})
	return conn
}

func TestModbusTCP(t *testing.T) {
	m := constant(t, nil)
	for _, c := range []struct {
		name      string
		ask, want string // the connection is half-closed after ask; want is all that comes
	}{
		{"one", "0001 0000 0006 03 03 0000 0001", "0001 0000 0005 03 03 02 2EE0"},
		{"two at once", "0001 0000 0006 03 03 0000 0001 FFFF 0000 0006 03 03 0000 0001", "0001 0000 0005 03 03 02 2EE0 FFFF 0000 0005 03 03 02 2EE0"},
		{"other unit, then ours", "0001 0000 0006 04 03 0000 0001 0002 0000 0006 03 03 0000 0001", "0002 0000 0005 03 03 02 2EE0"},
		{"exception", "0001 0000 0006 03 06 0000 0001", "0001 0000 0003 03 86 01"},
		{"other protocol", "0001 0001 0006 03 03 0000 0001", ""},
		{"no function", "0001 0000 0001 03", ""},
		{"too long", "0001 0000 00FF 03 03" + strings.Repeat("00", 253), ""},
		{"cut off", "0001 0000 0006 03 03 00", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			conn := serveOn(t, func(ctx context.Context, ln net.Listener) error { return serveModbusTCP(ctx, ln, meter.Units{3: m}) })
			for _, b := range unhex(c.ask) { // the server must not care how TCP cuts it
				conn.Write([]byte{b})
			}
			conn.(*net.TCPConn).CloseWrite()
			got, _ := io.ReadAll(conn) // a reset after the refusal is fine, too
			if !bytes.Equal(got, unhex(c.want)) {
				t.Errorf("% X, want %s", got, c.want)
			}
		})
	}
}

func BenchmarkTCP(b *testing.B) {
	m := constant(b, nil)
	conn := serveOn(b, func(ctx context.Context, ln net.Listener) error { return serveModbusTCP(ctx, ln, meter.Units{1: m}) })
	ask := unhex("0001 0000 0006 01 03 0000 0028")
	reply := make([]byte, 9+80)
	b.ReportAllocs()
	for b.Loop() {
		conn.Write(ask)
		if _, err := io.ReadFull(conn, reply); err != nil {
			b.Fatal(err)
		}
	}
}
