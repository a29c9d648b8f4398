package line

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// answer replies to every request on c with "<reply1>", "<reply2>", ...
func answer(c io.ReadWriter) {
	b := make([]byte, 64)
	for n := byte('1'); ; n++ {
		if k, err := io.ReadFull(c, b[:3]); err != nil || string(b[:k]) != "ask" {
			return
		}
		if _, err := c.Write([]byte{'<', 'r', 'e', 'p', 'l', 'y', n, '>'}); err != nil {
			return
		}
	}
}

// patient is a poll that a loaded machine answers in time.
func patient() drivers.Exchange {
	x := poll()
	x.Timeout = 10 * time.Second
	return x
}

// listen serves every connection with serve and returns the address.
func listen(t *testing.T, serve func(c *net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			}()
		}
	}()
	return l.Addr().String()
}

func TestTCP(t *testing.T) {
	l := New(Config{Name: "hall-b", TCP: listen(t, func(c *net.TCPConn) { answer(c) })})
	defer l.Close()
	reply, err := l.Exchange(t.Context(), patient())
	want(t, reply, err, "<reply1>")
}

// A server that closes after each reply costs no reading.
func TestTCPClosedWhenIdle(t *testing.T) {
	l := New(Config{Name: "hall-b", TCP: listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 3))
		c.Write([]byte("<reply1>"))
	})})
	defer l.Close()
	for range 5 {
		reply, err := l.Exchange(t.Context(), patient())
		want(t, reply, err, "<reply1>")
	}
}

func TestTCPRefused(t *testing.T) {
	s, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = New(Config{Name: "hall-b", TCP: s.Addr().String()}).Exchange(t.Context(), patient())
	wantFault(t, err, drivers.Disconnected, "line hall-b: connect to "+s.Addr().String()+": connection refused")
}

func TestTCPReset(t *testing.T) {
	l := New(Config{Name: "hall-b", TCP: listen(t, func(c *net.TCPConn) {
		io.ReadFull(c, make([]byte, 3))
		c.SetLinger(0)
	})})
	_, err := l.Exchange(t.Context(), patient())
	wantFault(t, err, drivers.Disconnected, "line hall-b: connection reset by peer")
}

func TestTCPDialEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	l := New(Config{Name: "hall-b", TCP: "192.0.2.1:4001"})
	l.dial = func(ctx context.Context) (port, error) {
		cancel()
		return dialTCP(ctx, l.cfg.TCP)
	}
	_, err := l.Exchange(ctx, patient())
	wantFault(t, err, drivers.Skipped, "context canceled")
}
