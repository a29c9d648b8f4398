package mqtt

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
)

func TestPublishAndSubscribeInOrder(t *testing.T) {
	addr := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	sub := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "sub"})
	pub := dial(t, Options{Broker: "tcp://" + addr, ClientID: "pub"})
	const n = 2000
	got := make(chan uint32, n)
	if err := sub.Subscribe(t.Context(), "a/+/c", 1, func(topic string, p []byte) {
		if topic != "a/b/c" {
			t.Errorf("topic %q", topic)
		}
		got <- binary.BigEndian.Uint32(p)
	}); err != nil {
		t.Fatal(err)
	}
	acked := make(chan error, n)
	for i := range uint32(n) {
		pub.PublishAsync("a/b/c", 1, false, binary.BigEndian.AppendUint32(nil, i), func(err error) { acked <- err })
	}
	for i := range uint32(n) {
		if err := <-acked; err != nil {
			t.Fatal(err)
		}
		if x := <-got; x != i {
			t.Fatalf("message %d came as number %d", x, i)
		}
	}
}

func TestSlowHandlerDoesNotEndSession(t *testing.T) {
	addr := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	s := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "s", KeepAlive: time.Second})
	release, first := make(chan struct{}), make(chan struct{}, 10)
	if err := s.Subscribe(t.Context(), "x", 1, func(string, []byte) { first <- struct{}{}; <-release }); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := s.Publish(t.Context(), "x", 1, false, []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	<-first
	// With the handler blocked, acknowledgements and publishes still flow.
	for range 20 {
		if err := s.Publish(t.Context(), "y", 1, false, []byte("2")); err != nil {
			t.Fatal(err)
		}
	}
	close(release)
	<-first
	<-first
}

func TestWillAndClose(t *testing.T) {
	addr := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	watch := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "w"})
	got := make(chan string, 4)
	if err := watch.Subscribe(t.Context(), "state/+", 1, func(topic string, p []byte) { got <- topic + "=" + string(p) }); err != nil {
		t.Fatal(err)
	}
	clean := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "c", Will: &Message{Topic: "state/c", Payload: []byte("gone")}})
	if err := clean.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-clean.Done()
	if !errors.Is(clean.Err(), ErrClosed) {
		t.Fatal(clean.Err())
	}
	if err := clean.Publish(t.Context(), "x", 1, false, nil); !errors.Is(err, ErrClosed) {
		t.Fatalf("publish on a closed session: %v", err)
	}
	cut := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "d", Will: &Message{Topic: "state/d", Payload: []byte("gone"), QoS: 1}})
	cut.wire.Conn.(*net.TCPConn).CloseWrite() // the broker sees an end without DISCONNECT
	<-cut.Done()
	if s := <-got; s != "state/d=gone" { // and nothing from the clean close before it
		t.Fatal(s)
	}
}

// The defect the package is built around: a connection that drops before the
// PUBACK, with a broker that is there again at once.
func TestNoPubackIsNoSuccess(t *testing.T) {
	var connections atomic.Int32
	s := startScript(t, func(p *peer) {
		connections.Add(1)
		p.accept()
		until[*packets.PublishPacket](p) // and close without PUBACK
	})
	c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
	err := c.Publish(t.Context(), "a", 1, false, []byte("1"))
	var lost *LostError
	if err == nil {
		t.Fatal("success for a message nobody has acknowledged")
	}
	<-c.Done()
	if !errors.As(c.Err(), &lost) || !lost.ByBroker() {
		t.Fatalf("session ended with %v", c.Err())
	}
	if err := c.Publish(t.Context(), "a", 1, false, []byte("2")); !errors.As(err, &lost) {
		t.Fatalf("publish after the end: %v", err)
	}
	if n := connections.Load(); n != 1 {
		t.Fatalf("%d connections in one session", n)
	}
}

func TestNilTokenAloneIsNotBelieved(t *testing.T) {
	addr := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	s := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "x"})
	result := make(chan error, 1)
	s.settle(tokenFor(t), outgoing{Message{QoS: 1}, func(err error) { result <- err }})
	if err := <-result; !errors.Is(err, errNoPuback) {
		t.Fatalf("token without error and without PUBACK: %v", err)
	}
}

// tokenFor returns a token that paho completed without an error.
func tokenFor(t *testing.T) paho.Token {
	t.Helper()
	s := startScript(t, func(p *peer) {
		p.accept()
		m, ok := until[*packets.PublishPacket](p)
		if ok {
			p.Write([]byte{0x40, 2, byte(m.MessageID >> 8), byte(m.MessageID)})
		}
		p.hold()
	})
	c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "y"})
	tok := c.client.Publish("a", 1, false, []byte("1"))
	<-tok.Done()
	if tok.Error() != nil {
		t.Fatal(tok.Error())
	}
	return tok
}

func TestPubackForAnotherMessage(t *testing.T) {
	s := startScript(t, func(p *peer) {
		p.accept()
		m, _ := until[*packets.PublishPacket](p)
		if m != nil {
			p.Write([]byte{0x40, 2, byte((m.MessageID + 9) >> 8), byte(m.MessageID + 9)})
		}
		p.hold()
	})
	c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := c.Publish(ctx, "a", 1, false, []byte("1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatal(err)
	}
}

func TestBlackHoleBrokerEndsSession(t *testing.T) {
	t.Parallel()
	s := startScript(t, func(p *peer) { p.accept(); p.hold() }) // takes everything, answers nothing
	c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x", KeepAlive: time.Second})
	err := c.Publish(t.Context(), "a", 1, false, []byte("1"))
	if err == nil {
		t.Fatal("acknowledged by nobody")
	}
	<-c.Done()
	if !strings.Contains(c.Err().Error(), "does not answer pings") {
		t.Fatal(c.Err())
	}
}

func TestHostileBroker(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"giant message":               {0x30, 0xff, 0xff, 0xff, 0x7f},
		"message with a lying length": {0x30, 3, 0xff, 0xff, 'a'},
		"commands nobody asked for":   {0x10, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := startScript(t, func(p *peer) { p.accept(); p.Write(bytes); p.hold() })
			c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
			<-c.Done()
			var lost *LostError
			if !errors.As(c.Err(), &lost) {
				t.Fatal(c.Err())
			}
		})
	}
	t.Run("suback with too many codes", func(t *testing.T) {
		s := startScript(t, func(p *peer) {
			p.accept()
			if m, ok := until[*packets.SubscribePacket](p); ok {
				p.Write([]byte{0x90, 5, byte(m.MessageID >> 8), byte(m.MessageID), 0, 0, 0})
			}
			p.hold()
		})
		c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
		if err := c.Subscribe(t.Context(), "a", 1, func(string, []byte) {}); err == nil {
			t.Fatal("subscribed")
		}
	})
	t.Run("topics nobody subscribed to", func(t *testing.T) {
		s := startScript(t, func(p *peer) {
			p.accept()
			for {
				switch m := p.next().(type) {
				case *packets.SubscribePacket:
					p.Write([]byte{0x32, 6, 0, 1, 'z', 0, 5, 'x'})
					p.Write([]byte{0x90, 3, byte(m.MessageID >> 8), byte(m.MessageID), 1})
					p.Write([]byte{0x32, 6, 0, 1, 'a', 0, 6, 'y'})
				case nil:
					return
				}
			}
		})
		c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
		got := make(chan string, 2)
		if err := c.Subscribe(t.Context(), "a", 1, func(topic string, p []byte) { got <- topic + string(p) }); err != nil {
			t.Fatal(err)
		}
		if m := <-got; m != "ay" {
			t.Fatalf("got %q", m)
		}
	})
}

// As mochi does while a retained message is not yet acknowledged.
func TestSubscribeAfterIdentifierInUse(t *testing.T) {
	var ids []uint16
	s := startScript(t, func(p *peer) {
		p.accept()
		for code := byte(0x91); ; code = 1 {
			m, ok := until[*packets.SubscribePacket](p)
			if !ok {
				return
			}
			ids = append(ids, m.MessageID)
			p.Write([]byte{0x90, 3, byte(m.MessageID >> 8), byte(m.MessageID), code})
		}
	})
	c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
	if err := c.Subscribe(t.Context(), "a", 1, func(string, []byte) {}); err != nil {
		t.Fatal(err)
	}
	if len(ids) != 2 || ids[0] == ids[1] {
		t.Fatalf("identifiers %v", ids)
	}
}

func TestFloodEndsSession(t *testing.T) {
	s := startScript(t, func(p *peer) {
		p.accept()
		m, ok := until[*packets.SubscribePacket](p)
		if !ok {
			return
		}
		p.Write([]byte{0x90, 3, byte(m.MessageID >> 8), byte(m.MessageID), 0})
		big := &packets.PublishPacket{FixedHeader: packets.FixedHeader{MessageType: packets.Publish}, TopicName: "a", Payload: make([]byte, 1<<20)}
		for big.Write(p) == nil {
		}
	})
	c := dial(t, Options{Broker: "mqtt://" + s.addr, ClientID: "x"})
	stop := make(chan struct{})
	defer close(stop)
	if err := c.Subscribe(t.Context(), "a", 0, func(string, []byte) { <-stop }); err != nil {
		t.Fatal(err)
	}
	<-c.Done()
	if !strings.Contains(c.Err().Error(), "wait to be handled") {
		t.Fatal(c.Err())
	}
}

func TestSizesAreCheckedBeforeSending(t *testing.T) {
	addr := mqtttest.Broker(t, mqtttest.Anywhere, nil)
	c := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "x", MaxPacket: 1000})
	var size *SizeError
	if err := c.Publish(t.Context(), strings.Repeat("t", 65536), 1, false, nil); !errors.As(err, &size) || size.What != "topic" {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), "t", 1, false, make([]byte, 1001)); !errors.As(err, &size) || size.What != "payload" {
		t.Fatal(err)
	}
	if err := c.Subscribe(t.Context(), strings.Repeat("t", 65536), 1, nil); !errors.As(err, &size) {
		t.Fatal(err)
	}
	if err := c.Publish(t.Context(), "t", 1, false, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
}
