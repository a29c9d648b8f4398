package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	mpackets "github.com/mochi-mqtt/server/v2/packets"

	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
)

func wantReason(t *testing.T, err error, want Reason, words string) {
	t.Helper()
	var e *ConnectError
	if !errors.As(err, &e) {
		t.Fatalf("got %v, want a connect error", err)
	}
	if e.Reason != want || !strings.Contains(err.Error(), words) || !strings.HasPrefix(err.Error(), "connect to broker ") || e.Hint() == "" {
		t.Fatalf("got %s: %q (hint %q), want %s with %q", e.Reason, err, e.Hint(), want, words)
	}
}

func TestBadAddress(t *testing.T) {
	for url, words := range map[string]string{
		"broker.test:1883":              "scheme",
		"http://broker.test":            `scheme "http"`,
		"mqtt://":                       "expected mqtts://host:port",
		"mqtt://broker.test/x":          "nothing behind it",
		"mqtt://joe:secret@broker.test": "user name or password",
		"mqtt://a b":                    "not a URL",
	} {
		_, err := Dial(t.Context(), Options{Broker: url})
		wantReason(t, err, BadAddress, words)
		if strings.Contains(err.Error(), "secret") {
			t.Fatalf("a password is shown: %v", err)
		}
	}
	_, err := Dial(t.Context(), Options{Broker: "mqtt://broker.test", TLS: &tls.Config{}})
	wantReason(t, err, BadAddress, "not mqtts")
	b, err := parseBroker("ssl://broker.test")
	if err != nil || b.address != "broker.test:8883" || !b.tls {
		t.Fatal(b, err)
	}
}

func TestReturnCodes(t *testing.T) {
	for code, want := range map[byte]struct {
		reason Reason
		words  string
	}{
		1:   {Protocol, "does not speak MQTT 3.1.1"},
		2:   {IDInUse, "client id refused"},
		3:   {Unavailable, "unavailable"},
		4:   {BadCredentials, "wrong user name or password"},
		5:   {NotAuthorised, "not authorised"},
		42:  {Protocol, "return code 42"},
		254: {Protocol, "return code 254"},
	} {
		t.Run(fmt.Sprint(code), func(t *testing.T) {
			connections := make(chan byte, 4)
			s := startScript(t, func(p *peer) {
				connections <- 1
				p.next()
				p.Write([]byte{0x20, 2, 0, code})
				p.hold()
			})
			_, err := Dial(t.Context(), Options{Broker: "mqtt://" + s.addr, ClientID: "box-7"})
			wantReason(t, err, want.reason, want.words)
			if len(connections) != 1 {
				t.Fatalf("%d connections: MQTT 3.1 must not be tried", len(connections))
			}
		})
	}
}

func TestBrokersThatAreNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := l.Addr().String()
	l.Close()
	_, err = Dial(t.Context(), Options{Broker: "mqtt://" + closed})
	wantReason(t, err, Refused, "connection refused")

	web := startScript(t, func(p *peer) { p.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")); p.hold() })
	_, err = Dial(t.Context(), Options{Broker: "mqtt://" + web.addr})
	wantReason(t, err, Protocol, "the broker sent")

	shut := startScript(t, func(p *peer) { p.next() })
	_, err = Dial(t.Context(), Options{Broker: "mqtt://" + shut.addr})
	wantReason(t, err, Unavailable, "closed the connection")

	silent := startScript(t, func(p *peer) { p.hold() })
	_, err = Dial(t.Context(), Options{Broker: "mqtt://" + silent.addr, ConnectTimeout: 30 * time.Millisecond})
	wantReason(t, err, Timeout, "within 30ms")
	_, err = Dial(t.Context(), Options{Broker: "mqtts://" + silent.addr, ConnectTimeout: 30 * time.Millisecond})
	wantReason(t, err, Timeout, "within 30ms")

	ctx, cancel := context.WithCancel(t.Context())
	called := startScript(t, func(p *peer) { p.next(); cancel(); p.hold() })
	_, err = Dial(ctx, Options{Broker: "mqtt://" + called.addr})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
}

func TestNetworkWords(t *testing.T) {
	b, _ := parseBroker("mqtts://broker.test")
	for want, err := range map[Reason]error{
		DNS:         &net.OpError{Err: &net.DNSError{Err: "no such host", Name: "broker.test"}},
		Unreachable: &net.OpError{Err: syscall.EHOSTUNREACH},
		Timeout:     fmt.Errorf("dial: %w", context.DeadlineExceeded),
		TLS:         fmt.Errorf("read: %w", syscall.ECONNRESET), // after the handshake: the client certificate
	} {
		wantReason(t, classify(t.Context(), b, Options{}, err), want, "")
	}
}

// server is a TLS configuration for a broker, checked by the real clock.
func (a *authority) server(change ...func(*x509.Certificate)) *tls.Config {
	a.t.Helper()
	key := newKey(a.t)
	change = append([]func(*x509.Certificate){func(c *x509.Certificate) {
		c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	}}, change...)
	leaf := a.issue("broker", key, change...)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}}}
}

func TestTLS(t *testing.T) {
	long := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().AddDate(10, 0, 0) }
	ca, other := newAuthority(t, "Test CA", long), newAuthority(t, "Other CA", long)
	dir := t.TempDir()
	caFile := write(t, dir, "ca.pem", 0o644, certPEM(ca.cert))
	key := newKey(t)
	files := func(a *authority) Files {
		leaf := a.issue("box-1", key, long)
		return Files{CA: caFile, Cert: write(t, dir, a.cert.Subject.CommonName+".pem", 0o644, certPEM(leaf)), Key: write(t, dir, "key.pem", 0o600, keyPEM(t, key))}
	}
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	withClients := ca.server()
	withClients.ClientAuth, withClients.ClientCAs = tls.RequireAndVerifyClientCert, pool
	old := ca.server()
	old.MaxVersion = tls.VersionTLS11

	for _, c := range []struct {
		name   string
		server *tls.Config
		files  Files
		clock  time.Time
		words  string // "" = connects
	}{
		{name: "good", server: ca.server(), files: Files{CA: caFile}},
		{name: "good by another name", server: ca.server(), files: Files{CA: caFile, ServerName: "broker.test"}},
		{name: "good with client certificate", server: withClients, files: files(ca)},
		{name: "wrong CA", server: other.server(), files: Files{CA: caFile},
			words: `the broker's certificate "CN=broker" is signed by "CN=Other CA", which is not the certificate authority given`},
		{name: "system's CAs", server: ca.server(), words: `signed by "CN=Test CA"`},
		{name: "wrong name", server: ca.server(), files: Files{CA: caFile, ServerName: "mq.bank.example"},
			words: `is for broker.test, 127.0.0.1, not for "mq.bank.example"`},
		{name: "expired", server: ca.server(func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }), files: Files{CA: caFile}, words: "this box believes it is"},
		{name: "clock at 1970", server: ca.server(), files: Files{CA: caFile}, clock: time.Unix(86400, 0), words: "this box believes it is 1970-01-02 00:00 UTC"},
		{name: "client certificate missing", server: withClients, files: Files{CA: caFile}, words: "the secure connection"},
		{name: "client certificate of another CA", server: withClients, files: files(other), words: "the secure connection"},
		{name: "TLS 1.1", server: old, files: Files{CA: caFile}, words: "version"},
	} {
		t.Run(c.name, func(t *testing.T) {
			addr := mqtttest.Broker(t, mqtttest.Anywhere, c.server)
			clock := c.clock
			if clock.IsZero() {
				clock = time.Now()
			}
			cfg, err := LoadTLS(c.files, clock)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Dial(t.Context(), Options{Broker: "mqtts://" + addr, ClientID: "x", TLS: cfg})
			if c.words == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Publish(t.Context(), "a", 1, false, []byte("x")); err != nil {
					t.Fatal(err)
				}
				s.Close(t.Context())
				return
			}
			wantReason(t, err, TLS, c.words)
		})
	}
	t.Run("plain broker", func(t *testing.T) {
		_, err := Dial(t.Context(), Options{Broker: "mqtts://" + mqtttest.Broker(t, mqtttest.Anywhere, nil), ConnectTimeout: 2 * time.Second})
		wantReason(t, err, TLS, "TLS at this port")
	})
	t.Run("TLS broker, plain client", func(t *testing.T) {
		_, err := Dial(t.Context(), Options{Broker: "mqtt://" + mqtttest.Broker(t, mqtttest.Anywhere, ca.server()), ConnectTimeout: 2 * time.Second})
		var e *ConnectError
		if !errors.As(err, &e) || e.Reason != Protocol && e.Reason != Unavailable {
			t.Fatal(err)
		}
	})
}

// account is a broker hook with one account and one forbidden topic.
type account struct{ mochi.HookBase }

func (*account) ID() string { return "account" }
func (*account) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*account) OnConnectAuthenticate(_ *mochi.Client, p mpackets.Packet) bool {
	return string(p.Connect.Username) == "joe" && string(p.Connect.Password) == "right"
}
func (*account) OnACLCheck(_ *mochi.Client, topic string, _ bool) bool { return topic != "secret" }

func TestAccount(t *testing.T) {
	addr := mqtttest.Broker(t, mqtttest.Anywhere, nil, new(account))
	_, err := Dial(t.Context(), Options{Broker: "mqtt://" + addr, ClientID: "x", Username: "joe", Password: "wrong"})
	wantReason(t, err, NotAuthorised, "wrong user name or password")
	if strings.Contains(fmt.Sprintf("%+v", err), "wrong\"") {
		t.Fatal("the password is shown")
	}
	s := dial(t, Options{Broker: "mqtt://" + addr, ClientID: "x", Username: "joe", Password: "right"})
	wantReason(t, s.Subscribe(t.Context(), "secret", 1, func(string, []byte) {}), NotAuthorised, "subscription to secret refused")
}
