package mqtt

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

const (
	maxString  = 65535    // MQTT 3.1.1, section 1.5.3
	maxInbound = 32 << 20 // bytes waiting for their handler before the session is given up
)

// ErrClosed is Err of a session after Close.
var ErrClosed = errors.New("session closed")

// Session is one connection to a broker, from log-in until it is lost or
// closed. Its methods may be called from any goroutine.
type Session struct {
	broker broker
	opt    Options
	wire   *wire
	client paho.Client
	began  time.Time

	out     *queue[outgoing] // bounded by the caller's own window
	in      *queue[incoming] // bounded by maxInbound
	waiting atomic.Int64     // bytes in the in queue

	done chan struct{}
	end  sync.Once
	err  error // set before done is closed
}

type outgoing struct {
	msg  Message
	done func(error)
}

type incoming struct {
	msg     paho.Message
	handler func(topic string, payload []byte)
}

func newSession(b broker, o Options, w *wire) *Session {
	s := &Session{
		broker: b, opt: o, wire: w, began: time.Now(),
		out: newQueue[outgoing](), in: newQueue[incoming](),
		done: make(chan struct{}),
	}
	s.client = paho.NewClient(pahoOptions(b, o, w, s.lost))
	return s
}

// login sends CONNECT and waits for the broker's answer.
func (s *Session) login(ctx context.Context) error {
	t := s.client.Connect().(*paho.ConnectToken)
	select {
	case <-t.Done():
	case <-ctx.Done():
		s.wire.Close()
		<-t.Done() // the handshake has a deadline of its own; the close ends it at once
		return ctx.Err()
	}
	if code := t.ReturnCode(); code != packets.Accepted && code != packets.ErrNetworkError {
		return returnCode(code)
	}
	return t.Error()
}

// lost ends the session with the reason the connection ended.
func (s *Session) lost(err error) {
	s.finish(&LostError{Broker: s.broker.url, After: time.Since(s.began), Err: err})
}

func (s *Session) finish(err error) {
	s.end.Do(func() {
		s.err = err
		close(s.done)
	})
}

// Done is closed when the session has ended. It never comes back.
func (s *Session) Done() <-chan struct{} { return s.done }

// Err is nil while the session lives, then ErrClosed or a *LostError.
func (s *Session) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Close says good-bye to the broker, which then discards the last will, and
// ends the session. It does not wait for publishes under way. It returns when
// the connection is closed, at the latest when ctx ends.
func (s *Session) Close(ctx context.Context) error {
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		s.client.Disconnect(uint(s.opt.WriteTimeout.Milliseconds()))
		s.wire.Close()
		s.finish(ErrClosed)
	}()
	select {
	case <-closed:
		return nil
	case <-ctx.Done():
		s.wire.Close() // lets the goroutine above end
		s.finish(ErrClosed)
		return ctx.Err()
	}
}

// Publish sends a message and waits until the broker has acknowledged it (QoS
// 1) or it has been written (QoS 0). A nil error for QoS 1 means that the
// PUBACK was seen on this connection.
func (s *Session) Publish(ctx context.Context, topic string, qos byte, retained bool, payload []byte) error {
	result := make(chan error, 1)
	s.PublishAsync(topic, qos, retained, payload, func(err error) { result <- err })
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// PublishAsync queues a message and returns at once. done is called once, from
// a goroutine of the session, with what Publish would return. Messages go out
// in the order of the calls. The caller bounds how many are under way.
func (s *Session) PublishAsync(topic string, qos byte, retained bool, payload []byte, done func(error)) {
	m := Message{Topic: topic, Payload: payload, QoS: qos, Retained: retained}
	if err := checkMessage(m, s.opt.MaxPacket); err != nil {
		go done(err)
		return
	}
	if !s.out.push(outgoing{m, done}) {
		go done(s.Err())
	}
}

// sendLoop passes queued messages to paho, which may block for the write
// timeout, and settles what is left when the session ends.
func (s *Session) sendLoop() {
	for {
		select {
		case <-s.out.ready:
		case <-s.done:
			for _, o := range s.out.close() {
				o.done(s.err)
			}
			return
		}
		for _, o := range s.out.take() {
			go s.settle(s.client.Publish(o.msg.Topic, o.msg.QoS, o.msg.Retained, o.msg.Payload), o)
		}
	}
}

// settle waits for a publish to end one way or the other.
func (s *Session) settle(t paho.Token, o outgoing) {
	select {
	case <-t.Done():
	case <-s.done:
		o.done(s.err)
		return
	}
	err := t.Error()
	if err == nil && o.msg.QoS > 0 && !s.wire.in.claim(t.(*paho.PublishToken).MessageID()) {
		err = errNoPuback
	}
	if err != nil {
		err = fmt.Errorf("publish to %s: %w", s.broker.url, err)
	}
	o.done(err)
}

// errNoPuback is a token that says "published" without an acknowledgement.
var errNoPuback = errors.New("the broker has not acknowledged the message")

// Subscribe asks for the messages of a filter, with at most the given QoS, and
// waits for the broker's consent. f is called for each message, in the order
// of arrival, never two at a time in one session; a QoS 1 message is
// acknowledged when f returns, so a slow f slows the broker down. When
// maxInbound bytes wait all the same, the session ends.
func (s *Session) Subscribe(ctx context.Context, filter string, qos byte, f func(topic string, payload []byte)) error {
	if len(filter) > maxString {
		return &SizeError{What: "topic filter", Size: len(filter), Max: maxString}
	}
	for {
		granted, err := s.subscribe(ctx, filter, qos, f)
		switch {
		case err != nil:
			return err
		case granted == idInUse:
			// The next attempt has another identifier.
		case granted > qos:
			return &ConnectError{Reason: NotAuthorised, Broker: s.broker.url, Err: fmt.Errorf("subscription to %s refused", filter)}
		default:
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-s.done:
			return s.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// idInUse is a SUBACK code of MQTT 5 that mochi sends to 3.1.1 clients too: it
// mistakes a message of its own that is not yet acknowledged for one of the
// client with the same identifier.
const idInUse = 0x91

// subscribe makes one attempt and returns the broker's code.
func (s *Session) subscribe(ctx context.Context, filter string, qos byte, f func(topic string, payload []byte)) (code byte, err error) {
	t := s.client.Subscribe(filter, qos, func(_ paho.Client, m paho.Message) {
		if s.waiting.Add(int64(len(m.Payload()))) > maxInbound {
			s.lost(fmt.Errorf("more than %d bytes from the broker wait to be handled", maxInbound))
			go s.client.Disconnect(0) // paho does not notice a connection closed from this side
			return
		}
		s.in.push(incoming{m, f})
	}).(*paho.SubscribeToken)
	select {
	case <-t.Done():
	case <-s.done:
		return 0, s.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	code, answered := t.Result()[filter]
	if err := t.Error(); err != nil || !answered {
		return 0, fmt.Errorf("subscribe to %s at %s: %w", filter, s.broker.url, cmp.Or(err, errNoSuback))
	}
	return code, nil
}

// errNoSuback is a token that says "subscribed" without the broker's answer.
var errNoSuback = errors.New("the broker has not answered")

// deliverLoop calls the subscribers' handlers, one message at a time.
func (s *Session) deliverLoop() {
	for {
		select {
		case <-s.in.ready:
		case <-s.done:
			s.in.close()
			return
		}
		for _, m := range s.in.take() {
			if s.Err() != nil {
				break
			}
			s.waiting.Add(-int64(len(m.msg.Payload())))
			m.handler(m.msg.Topic(), m.msg.Payload())
			m.msg.Ack()
		}
	}
}

func checkMessage(m Message, max int) error {
	if len(m.Topic) > maxString {
		return &SizeError{What: "topic", Size: len(m.Topic), Max: maxString}
	}
	if len(m.Payload) > max {
		return &SizeError{What: "payload", Size: len(m.Payload), Max: max}
	}
	return nil
}

// SizeError is a message that cannot be sent whatever the connection.
type SizeError struct {
	What      string // "topic", "payload" or "topic filter"
	Size, Max int    // bytes
}

func (e *SizeError) Error() string {
	return fmt.Sprintf("%s of %d bytes is larger than the %d allowed", e.What, e.Size, e.Max)
}

// noStore is a message store that stores nothing: with a clean session and no
// reconnect paho never reads one back, and its own keep every message a broker
// sends without being asked.
type noStore struct{}

func (noStore) Open()                             {}
func (noStore) Put(string, packets.ControlPacket) {}
func (noStore) Get(string) packets.ControlPacket  { return nil }
func (noStore) All() []string                     { return nil }
func (noStore) Del(string)                        {}
func (noStore) Close()                            {}
func (noStore) Reset()                            {}
