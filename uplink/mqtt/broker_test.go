package mqtt

import (
	"bufio"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// script is a broker that does what the test says, over real TCP.
type script struct {
	addr string
	mu   sync.Mutex
	open []net.Conn
}

// peer is the script's end of one connection.
type peer struct {
	net.Conn
	r *bufio.Reader
}

func (p *peer) next() packets.ControlPacket {
	c, err := packets.ReadPacket(p.r)
	if err != nil {
		return nil
	}
	return c
}

// until reads packets up to one of type T.
func until[T packets.ControlPacket](p *peer) (T, bool) {
	for {
		c := p.next()
		if c == nil {
			var none T
			return none, false
		}
		if x, ok := c.(T); ok {
			return x, true
		}
	}
}

func (p *peer) accept() { p.next(); p.Write([]byte{0x20, 2, 0, 0}) }

// startScript runs handle for each connection.
func startScript(t *testing.T, handle func(*peer)) *script {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &script{addr: l.Addr().String()}
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.open = append(s.open, c)
			s.mu.Unlock()
			wg.Add(1)
			go func() { defer wg.Done(); defer c.Close(); handle(&peer{c, bufio.NewReader(c)}) }()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		for _, c := range s.open {
			c.Close()
		}
		s.mu.Unlock()
		wg.Wait()
	})
	return s
}

func dial(t *testing.T, o Options) *Session {
	t.Helper()
	s, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.Close(ctx)
	})
	return s
}

// hold keeps a connection open, reading and saying nothing, until the other
// side or the test closes it.
func (p *peer) hold() { io.Copy(io.Discard, p.r) }
