package configs

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/tallystick/tallystick/configs/strict"
)

// Address is "host:port" of a serial server or a meter.
type Address string

var hostForm = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`)

const maxHost = 253 // characters (RFC 1035, section 2.3.4: 255 octets on the wire)

// UnmarshalText accepts host:port with the host as name or IP address.
func (a *Address) UnmarshalText(b []byte) error {
	s := string(b)
	host, port, err := net.SplitHostPort(s)
	if err != nil || !validHost(host) || !validPort(port) {
		hint := ""
		if !strings.Contains(s, ":") && validHost(s) {
			hint = "add the port: " + s + ":502"
		} else if strings.Contains(s, "://") {
			hint = "leave out what stands before the host"
		}
		return strict.Problem{Code: CodeHost, Msg: "expected host:port such as 192.168.1.50:502, found " + quote(s), Hint: hint}
	}
	*a = Address(net.JoinHostPort(strings.ToLower(host), port))
	return nil
}

func validHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return !ip.IsUnspecified() && !ip.IsMulticast()
	}
	allDigits := strings.Trim(host, "0123456789.") == "" // a mistyped IPv4 address
	return len(host) <= maxHost && hostForm.MatchString(host) && !strings.Contains(host, "..") && !allDigits
}

func validPort(port string) bool {
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0 && port[0] != '0'
}

// Broker is the URL of an MQTT broker, always with its port:
// "mqtts://mq.bank.example:8883".
type Broker string

// UnmarshalText accepts mqtt://host[:port] and mqtts://host[:port].
func (b *Broker) UnmarshalText(text []byte) error {
	const form = "expected a broker such as mqtts://mq.bank.example:8883"
	problem := func(hint, format string, args ...any) error {
		return strict.Problem{Code: CodeBroker, Msg: fmt.Sprintf(format, args...), Hint: hint}
	}
	s := string(text)
	if strings.Contains(s, "@") {
		return strict.Problem{Code: CodeSecret, Secret: true, Msg: "a user name or password stands in the broker's URL, expected only scheme, host and port",
			Hint: "write username: and password_file: as keys of their own"}
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || !strings.Contains(s, "://") {
		return problem("begin with mqtts:// (encrypted) or mqtt://", "%s, found %s", form, quote(s))
	}
	port := u.Port()
	switch u.Scheme {
	case "mqtt":
		if port == "" {
			port = defaultPort
		}
	case "mqtts":
		if port == "" {
			port = defaultPortTLS
		}
	default:
		hint := "use mqtts:// (encrypted) or mqtt://"
		switch u.Scheme {
		case "tcp":
			hint = "write mqtt:// for tcp://"
		case "ssl", "tls":
			hint = "write mqtts:// for " + u.Scheme + "://"
		}
		return problem(hint, "%s, found the scheme %s", form, quote(u.Scheme))
	}
	if !validHost(u.Hostname()) || !validPort(port) {
		return problem("", "%s, found host %s and port %s", form, quote(u.Hostname()), quote(port))
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return problem("remove what follows the port", "%s, found %s behind the host", form, quote(strings.TrimPrefix(s, u.Scheme+"://"+u.Host)))
	}
	*b = Broker(u.Scheme + "://" + net.JoinHostPort(strings.ToLower(u.Hostname()), port))
	return nil
}

// Encrypted reports whether the connection uses TLS.
func (b Broker) Encrypted() bool { return strings.HasPrefix(string(b), "mqtts://") }

// reach says how far a connection to the broker goes.
type reach int

const (
	thisMachine reach = iota
	privateNetwork
	anywhere
)

func (b Broker) reach() reach {
	_, rest, _ := strings.Cut(string(b), "://")
	host, _, _ := net.SplitHostPort(rest)
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "localhost", err == nil && ip.Unmap().IsLoopback():
		return thisMachine
	case err == nil && (ip.Unmap().IsPrivate() || ip.IsLinkLocalUnicast()), err != nil && !strings.Contains(host, "."), strings.HasSuffix(host, ".local"), strings.HasSuffix(host, ".lan"):
		return privateNetwork
	}
	return anywhere
}

// PublicKey is a public key as text: "ed25519:" and 43 characters of unpadded
// base64url, or "es256:" or "sm2:" and 86. The zero value is none.
type PublicKey struct{ text string }

const keyPrefix = "ed25519:"

// keySizes are the bytes of a public key, by what is written before them.
var keySizes = map[string]int{keyPrefix: 32, "es256:": 64, "sm2:": 64}

// UnmarshalText reads what String writes. Whether the bytes are a point of
// the curve is for those to find out who use the key.
func (k *PublicKey) UnmarshalText(b []byte) error {
	s := string(b)
	prefix, rest, ok := strings.Cut(s, ":")
	prefix += ":"
	size := keySizes[prefix]
	if strings.Contains(s, "PRIVATE") || prefix == keyPrefix && len(rest) > 80 {
		return strict.Problem{Code: CodeSecret, Secret: true, Msg: "a private key stands here, expected a public key",
			Hint: "put the public key here, and make a new key pair: this one is no longer secret"}
	}
	raw, err := base64.RawURLEncoding.Strict().DecodeString(rest)
	if !ok || size == 0 || err != nil || len(raw) != size || len(bytes.Trim(raw, "\x00")) == 0 {
		why := "without " + keyPrefix + " before it"
		if size > 0 {
			why = fmt.Sprintf("with %d characters behind %s", len(rest), prefix)
			if len(rest) == base64.RawURLEncoding.EncodedLen(size) {
				why = "with characters that are not base64url, or no key at all"
			}
		}
		return strict.Problem{Code: CodePublicKey,
			Msg:  "expected ed25519: and 43 letters, digits, - and _ (or es256: or sm2: and 86), found text " + why,
			Hint: "copy the line that tally-lender keygen (a lender's key) or tallystick key show (a box's key) prints"}
	}
	*k = PublicKey{text: s}
	return nil
}

// String is what UnmarshalText reads.
func (k PublicKey) String() string { return k.text }
