package mqtt

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	paho "github.com/eclipse/paho.mqtt.golang"
)

// Message is one MQTT application message.
type Message struct {
	Topic    string
	Payload  []byte // must not change until the publish has been settled
	QoS      byte   // 0 or 1
	Retained bool
}

// Options say how to reach one broker. The zero value of everything but
// Broker is usable.
type Options struct {
	// Broker is mqtt://host:port (also tcp://) or mqtts://host:port (also
	// ssl://). Without a port it is 1883 or 8883. User names and passwords do
	// not belong into it and are refused there.
	Broker   string
	ClientID string
	Username string
	Password string
	// TLS is the configuration for an mqtts broker, usually from LoadTLS; nil
	// means the system's certificate authorities and no client certificate.
	// Given with an mqtt broker it is an error: somebody meant to be safe.
	TLS  *tls.Config
	Will *Message // published by the broker when the session ends without Close
	// KeepAlive is the longest silence before a ping; default 30 s, whole
	// seconds. TCP gives up at 1.5 times this, as the broker does (MQTT 3.1.1,
	// section 3.1.2.10).
	KeepAlive      time.Duration
	ConnectTimeout time.Duration // for TCP, TLS and MQTT together; default 20 s
	WriteTimeout   time.Duration // for one packet; default 20 s
	// MaxPacket bounds the payload of one message in both directions, bytes;
	// default 4 MiB. MQTT itself ends at 268,435,455 bytes for topic, headers
	// and payload together.
	MaxPacket int
	Log       *slog.Logger // default: discard
}

func (o *Options) defaults() {
	if o.KeepAlive < time.Second {
		o.KeepAlive = 30 * time.Second
	}
	if o.ConnectTimeout <= 0 {
		o.ConnectTimeout = 20 * time.Second
	}
	if o.WriteTimeout <= 0 {
		o.WriteTimeout = 20 * time.Second
	}
	if o.MaxPacket <= 0 {
		o.MaxPacket = 4 << 20
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// broker is a parsed broker URL.
type broker struct {
	url, host, address string
	tls                bool
}

func parseBroker(s string) (broker, error) {
	bad := func(format string, a ...any) (broker, error) {
		return broker{}, &ConnectError{Reason: BadAddress, Broker: redact(s), Err: fmt.Errorf(format, a...)}
	}
	u, err := url.Parse(s)
	if err != nil {
		return bad("not a URL")
	}
	b := broker{host: u.Hostname()}
	port := "1883"
	switch u.Scheme {
	case "mqtt", "tcp":
	case "mqtts", "ssl":
		b.tls, port = true, "8883"
	default:
		return bad("scheme %q; expected mqtt or mqtts", u.Scheme)
	}
	if u.User != nil {
		return bad("the address contains a user name or password")
	}
	if b.host == "" || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return bad("expected mqtts://host:port and nothing behind it")
	}
	if p := u.Port(); p != "" {
		port = p
	}
	b.address = net.JoinHostPort(b.host, port)
	b.url = u.Scheme + "://" + b.address
	return b, nil
}

// redact removes a user name and password from a URL that is about to be
// shown.
func redact(s string) string {
	if u, err := url.Parse(s); err == nil && u.User != nil {
		u.User = nil
		return u.String()
	}
	return s
}

// Dial opens a connection, logs in and returns the session. Every error is a
// *ConnectError. The session lives until the connection is lost or Close is
// called; ctx ends only the attempt.
func Dial(ctx context.Context, o Options) (*Session, error) {
	o.defaults()
	b, err := parseBroker(o.Broker)
	if err != nil {
		return nil, err
	}
	if o.TLS != nil && !b.tls {
		return nil, &ConnectError{Reason: BadAddress, Broker: b.url, Err: fmt.Errorf("TLS files are given but the scheme is not mqtts")}
	}
	if o.Will != nil {
		if err := checkMessage(*o.Will, o.MaxPacket); err != nil {
			return nil, &ConnectError{Reason: Protocol, Broker: b.url, Err: fmt.Errorf("last will: %w", err)}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, o.ConnectTimeout)
	defer cancel()
	conn, err := open(ctx, b, o)
	if err != nil {
		return nil, classify(ctx, b, o, err)
	}
	s := newSession(b, o, newWire(conn, o.WriteTimeout, o.MaxPacket+packetOverhead))
	if err := s.login(ctx); err != nil {
		conn.Close()
		return nil, classify(ctx, b, o, err)
	}
	go s.sendLoop()
	go s.deliverLoop()
	return s, nil
}

// packetOverhead is what topic, length fields and identifier add to a payload
// at most.
const packetOverhead = maxString + 4

// open connects TCP and, for mqtts, TLS.
func open(ctx context.Context, b broker, o Options) (net.Conn, error) {
	d := net.Dialer{Control: userTimeout(o.KeepAlive * 3 / 2)}
	conn, err := d.DialContext(ctx, "tcp", b.address)
	if err != nil || !b.tls {
		return conn, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.TLS != nil {
		cfg = o.TLS.Clone()
		cfg.MinVersion = max(cfg.MinVersion, tls.VersionTLS12)
	}
	if cfg.ServerName == "" {
		cfg.ServerName = b.host
	}
	secure := tls.Client(conn, cfg)
	if err := secure.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return secure, nil
}

var errHandshake = errors.New("TLS handshake")

// pahoOptions is the recipe: one connection, no reconnect, no retry, no
// resumption, no store, no fall-back to MQTT 3.1.
func pahoOptions(b broker, o Options, w *wire, lost func(error)) *paho.ClientOptions {
	p := paho.NewClientOptions()
	p.AddBroker(b.url)
	p.SetCustomOpenConnectionFn(func(*url.URL, paho.ClientOptions) (net.Conn, error) { return w, nil })
	p.SetClientID(o.ClientID)
	p.SetUsername(o.Username)
	p.SetPassword(o.Password)
	p.SetProtocolVersion(4)
	p.SetCleanSession(true)
	p.SetAutoReconnect(false)
	p.SetConnectRetry(false)
	p.SetResumeSubs(false)
	p.SetStore(noStore{})
	p.SetOrderMatters(true)
	p.SetAutoAckDisabled(true)
	p.SetKeepAlive(o.KeepAlive)
	p.SetPingTimeout(max(o.KeepAlive/2, time.Second))
	p.SetConnectTimeout(o.ConnectTimeout)
	p.SetWriteTimeout(o.WriteTimeout)
	if o.Will != nil {
		p.SetBinaryWill(o.Will.Topic, o.Will.Payload, o.Will.QoS, o.Will.Retained)
	}
	p.SetConnectionLostHandler(func(_ paho.Client, err error) { lost(err) })
	return p
}
