package mqtt

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/eclipse/paho.mqtt.golang/packets"
)

// Reason says in one word why a broker could not be used.
type Reason string

const (
	BadAddress     Reason = "bad-address"     // the broker's URL cannot be used
	DNS            Reason = "dns"             // the name has no address
	Refused        Reason = "refused"         // nothing listens there
	Unreachable    Reason = "unreachable"     // no way to that address
	Timeout        Reason = "timeout"         // no answer in time
	TLS            Reason = "tls"             // no secure connection: certificates, names, versions
	BadCredentials Reason = "bad-credentials" // CONNACK 4
	NotAuthorised  Reason = "not-authorised"  // CONNACK 5, or a refused subscription
	IDInUse        Reason = "id-in-use"       // CONNACK 2: the client id is taken or not allowed
	Unavailable    Reason = "unavailable"     // CONNACK 3, or closed without a word
	Protocol       Reason = "protocol"        // not an MQTT 3.1.1 broker, or it does not keep to the standard
	Canceled       Reason = "canceled"        // the caller gave up
)

// ConnectError is why a broker could not be used: what failed at which broker
// and, in Hint, what to do.
type ConnectError struct {
	Reason   Reason
	Broker   string // URL without credentials
	ClientID string
	Err      error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("connect to broker %s: %v", e.Broker, e.Err)
}

func (e *ConnectError) Unwrap() error { return e.Err }

// Hint is what to do about it, one sentence.
func (e *ConnectError) Hint() string {
	switch e.Reason {
	case BadAddress:
		return "write the broker as mqtts://host:8883 (with TLS) or mqtt://host:1883; user name and password have their own keys"
	case DNS:
		return "check the spelling of the broker's name and that this box has a name server (try: getent hosts NAME)"
	case Refused:
		return "nothing listens at that address: check host and port, and that the broker runs; readings are kept meanwhile"
	case Unreachable, Timeout:
		return "check network, route and firewall between this box and the broker; readings are kept meanwhile"
	case TLS:
		return tlsHint(e.Err)
	case BadCredentials:
		return "the broker refuses user name or password: compare them with the broker's account"
	case NotAuthorised:
		return "compare user name, password and client certificate with what the lender gave; if they are right, the lender must allow this client its topics"
	case IDInUse:
		return fmt.Sprintf("the broker refuses client id %q: it is taken or not allowed; if another box uses it, one of them is a copy", e.ClientID)
	case Unavailable:
		return "the broker closed the connection before log-in: a TLS port needs mqtts://; a busy broker is tried again"
	case Protocol:
		return "check that host and port are those of an MQTT 3.1.1 broker"
	}
	return ""
}

// LostError is why a session ended without Close.
type LostError struct {
	Broker string
	After  time.Duration // how long the session had lived
	Err    error
}

func (e *LostError) Error() string {
	what := e.Err.Error()
	switch {
	case e.ByBroker():
		what = "the broker closed it"
	case strings.HasPrefix(what, "pingresp"):
		what = "the broker does not answer pings"
	}
	return fmt.Sprintf("connection to broker %s lost after %v: %s", e.Broker, e.After.Round(time.Millisecond), what)
}

func (e *LostError) Unwrap() error { return e.Err }

// ByBroker reports whether the other side ended the connection. MQTT 3.1.1
// gives no reason: the broker restarts, refuses a message, or has given the
// client id to somebody else.
func (e *LostError) ByBroker() bool {
	return closed(e.Err)
}

// returnCodeError is a CONNACK that refuses.
type returnCodeError struct {
	reason Reason
	text   string
}

func (e *returnCodeError) Error() string { return e.text }

func returnCode(code byte) error {
	switch code {
	case packets.ErrRefusedBadProtocolVersion:
		return &returnCodeError{Protocol, "the broker does not speak MQTT 3.1.1"}
	case packets.ErrRefusedIDRejected:
		return &returnCodeError{IDInUse, "client id refused"}
	case packets.ErrRefusedServerUnavailable:
		return &returnCodeError{Unavailable, "the broker says it is unavailable"}
	case packets.ErrRefusedBadUsernameOrPassword:
		return &returnCodeError{BadCredentials, "wrong user name or password"}
	}
	// Many brokers answer a wrong password with this code too.
	return &returnCodeError{NotAuthorised, "not authorised: wrong user name or password, or no rights"}
}

// classify gives an error of a connection attempt its reason and plain words.
func classify(ctx context.Context, b broker, o Options, err error) error {
	e := &ConnectError{Broker: b.url, ClientID: o.ClientID, Err: err}
	var (
		code     *returnCodeError
		dns      *net.DNSError
		record   tls.RecordHeaderError
		verify   *tls.CertificateVerificationError
		op       *net.OpError
		protocol *ProtocolError
		netErr   net.Error
	)
	switch {
	case errors.As(err, &code):
		e.Reason = code.reason
	case errors.Is(ctx.Err(), context.Canceled):
		e.Reason, e.Err = Canceled, context.Canceled
	case errors.As(err, &dns):
		e.Reason, e.Err = DNS, fmt.Errorf("no address for %q: %s", b.host, dns.Err)
	case errors.As(err, &verify):
		e.Reason, e.Err = TLS, certificateWords(b, o.TLS, verify)
	case errors.As(err, &record), errors.Is(err, errHandshake) && closed(err):
		e.Reason, e.Err = TLS, fmt.Errorf("the broker does not speak TLS at this port")
	case errors.As(err, &op) && op.Op == "remote error": // how crypto/tls reports an alert of the peer
		e.Reason, e.Err = TLS, fmt.Errorf("the broker refuses the secure connection: %w", op.Err)
	case errors.As(err, &protocol):
		e.Reason, e.Err = Protocol, protocol
	case refused(err):
		e.Reason, e.Err = Refused, fmt.Errorf("connection refused")
	case unreachable(err):
		e.Reason, e.Err = Unreachable, fmt.Errorf("no route to the broker")
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		e.Reason, e.Err = Timeout, fmt.Errorf("no answer within %v", o.ConnectTimeout)
	case closed(err) && b.tls:
		// A TLS 1.3 server judges the client's certificate after the
		// handshake, and its alert is often lost behind the reset.
		e.Reason, e.Err = TLS, fmt.Errorf("the broker closed the secure connection before log-in: %s", clientCertificate(o.TLS))
	case closed(err):
		e.Reason, e.Err = Unavailable, fmt.Errorf("the broker closed the connection without a word")
	case strings.Contains(err.Error(), "tls: "):
		e.Reason = TLS
	default:
		e.Reason = Protocol
	}
	return e
}

// closed reports whether the other side ended the connection.
func closed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || reset(err)
}

func clientCertificate(cfg *tls.Config) string {
	if cfg == nil || len(cfg.Certificates) == 0 || cfg.Certificates[0].Leaf == nil {
		return "it may want a client certificate, and none is given"
	}
	leaf := cfg.Certificates[0].Leaf
	return fmt.Sprintf("it may not accept the client certificate %q issued by %q", leaf.Subject, leaf.Issuer)
}

// certificateError is a broker certificate that does not hold, in words.
type certificateError struct{ text, hint string }

func (e *certificateError) Error() string { return e.text }

func certificateWords(b broker, cfg *tls.Config, v *tls.CertificateVerificationError) error {
	var (
		unknown x509.UnknownAuthorityError
		name    x509.HostnameError
		invalid x509.CertificateInvalidError
		subject = "unknown"
		issuer  = "unknown"
	)
	var leaf *x509.Certificate
	if len(v.UnverifiedCertificates) > 0 {
		leaf = v.UnverifiedCertificates[0]
		subject, issuer = leaf.Subject.String(), leaf.Issuer.String()
	}
	now, host := time.Now, b.host
	if cfg != nil && cfg.Time != nil {
		now = cfg.Time
	}
	if cfg != nil && cfg.ServerName != "" {
		host = cfg.ServerName
	}
	switch {
	case errors.As(v, &unknown):
		return &certificateError{
			fmt.Sprintf("the broker's certificate %q is signed by %q, which is not the certificate authority given", subject, issuer),
			"ask the lender for the CA file of this broker and name it in tls.ca; if the broker has not changed, somebody may be standing in between",
		}
	case errors.As(v, &name):
		return &certificateError{
			fmt.Sprintf("the broker's certificate is for %s, not for %q", certificateNames(leaf), host),
			"write the broker under a name of its certificate, or set tls.server_name; if the name is right, somebody may be standing in between",
		}
	case errors.As(v, &invalid) && invalid.Reason == x509.Expired && leaf != nil:
		return &certificateError{
			fmt.Sprintf("a certificate of the broker is valid from %s to %s and this box believes it is %s",
				day(leaf.NotBefore), day(leaf.NotAfter), day(now())),
			"if the box's clock is right the lender must renew the broker's certificate; if not, set the clock (timedatectl)",
		}
	}
	return &certificateError{fmt.Sprintf("the broker's certificate %q does not hold: %v", subject, v.Err), "ask the lender to check the broker's certificate"}
}

func certificateNames(c *x509.Certificate) string {
	if c == nil {
		return "another name"
	}
	names := append([]string(nil), c.DNSNames...)
	for _, ip := range c.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "no name at all"
	}
	return strings.Join(names, ", ")
}

func tlsHint(err error) string {
	var cert *certificateError
	if errors.As(err, &cert) {
		return cert.hint
	}
	return "the broker may want a client certificate, another certificate authority or another TLS version: compare tls.cert, tls.key and tls.ca with what the lender gave; a port without TLS needs mqtt://"
}

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 MST") }
