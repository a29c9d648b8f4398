package mqtt

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	mpackets "github.com/mochi-mqtt/server/v2/packets"
)

// allowAll lets everybody do everything.
type allowAll struct{ mochi.HookBase }

func (*allowAll) ID() string { return "allow-all" }
func (*allowAll) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*allowAll) OnConnectAuthenticate(*mochi.Client, mpackets.Packet) bool { return true }
func (*allowAll) OnACLCheck(*mochi.Client, string, bool) bool               { return true }

// startBroker runs an honest broker in this process and returns its address.
func startBroker(t *testing.T, cfg *tls.Config, hooks ...mochi.Hook) string {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if len(hooks) == 0 {
		hooks = []mochi.Hook{new(allowAll)}
	}
	for _, h := range hooks {
		if err := s.AddHook(h, nil); err != nil {
			t.Fatal(err)
		}
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: "127.0.0.1:0", TLSConfig: cfg})
	if err := s.AddListener(l); err != nil {
		t.Fatal(err)
	}
	if err := s.Serve(); err != nil {
		t.Fatal(err)
	}
	// Server.Close races with connections that are just being made.
	t.Cleanup(func() {
		l.Close(func(string) {})
		for _, c := range s.Clients.GetAll() {
			c.Stop(io.EOF)
		}
	})
	return l.Address()
}

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
