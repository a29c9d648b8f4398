package configs

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tallystick/tallystick/configs/strict"
)

func (c *checker) lenders(s *Site) {
	taken := c.names("lender")
	clients := make(map[string]*Lender)
	allowed := s.Channels
	if c.at.Has(&s.Channels) && !c.at.Sound(&s.Channels) {
		allowed = append(AllChannels(), RawFrames) // unknown
	} else if slices.ContainsFunc(s.Meters, func(m Meter) bool { return m.RawFrames }) {
		allowed = append(slices.Clone(allowed), RawFrames)
	}
	for i := range s.Lenders {
		l := &s.Lenders[i]
		taken(string(l.Name), &l.Name)
		c.connection(&l.Connection)
		c.channels(&l.Share, allowed)
		if ack := []string{string(AckReceipt), string(AckPUBACK)}; !slices.Contains(ack, string(l.Ack)) {
			c.fault(&l.Ack, CodeAck, "write receipt, or puback for a lender that gives no receipts", "ack: expected receipt or puback, found %s", quote(string(l.Ack)))
		} else if l.Ack == AckReceipt && l.PublicKey == (PublicKey{}) && c.at.Sound(l) {
			c.fault(l, CodeAck, "add public_key: ed25519:..., the lender prints it with tally-lender keygen; or write ack: puback",
				"lender %s is to sign receipts, and its public_key is missing", l.Name)
		}
		if l.From != "" && l.Until != "" && l.Until < l.From {
			c.fault(&l.Until, CodeTime, "write the last day of the readings this lender may see", "until: %s is before from: %s", l.Until, l.From)
		}
		if l.Consent != "" && l.Consent != Required {
			c.fault(&l.Consent, strict.CodeValue, "write consent: required, or leave the key out", "consent: expected required, found %s", quote(string(l.Consent)))
		}
		if l.ClientID == "" {
			continue
		}
		id := string(l.Broker) + " " + l.ClientID
		if first := clients[id]; first != nil {
			c.fault(&l.ClientID, CodeClientID, "give each connection its own, or leave the key out", "client_id %s is used by lender %s on the same broker: they would throw each other out", quote(l.ClientID), first.Name)
		} else {
			clients[id] = l
		}
	}
}

const maxClientID = 64 // characters of an MQTT client id

var clientIDForm = regexp.MustCompile(`^[A-Za-z0-9._-]+$`)

// connection checks what the two files have in common.
func (c *checker) connection(n *Connection) {
	for _, p := range []*string{&n.PasswordFile, &n.TLS.CA, &n.TLS.Cert, &n.TLS.Key} {
		c.path(p)
	}
	if c.at.Has(&n.ClientID) && (!clientIDForm.MatchString(n.ClientID) || len(n.ClientID) > maxClientID) {
		c.fault(&n.ClientID, CodeClientID, "", "client_id: expected 1 to %d of letters, digits, '.', '_' and '-', found %s", maxClientID, quote(n.ClientID))
	}
	if utf8.RuneCountInString(n.Username) > 256 || strings.ContainsFunc(n.Username, func(r rune) bool { return r < ' ' }) {
		c.fault(&n.Username, CodeName, "", "username: expected one line of at most 256 characters")
	}
	if n.PasswordFile != "" && n.Username == "" && c.at.Has(&n.PasswordFile) {
		c.fault(&n.PasswordFile, CodeBroker, "add username: ..., MQTT sends no password without one", "a password is given and no user name")
	}
	if (n.TLS.Cert == "") != (n.TLS.Key == "") {
		have, want := "cert", "key"
		if n.TLS.Cert == "" {
			have, want = want, have
		}
		c.fault(&n.TLS, CodeTLS, "add "+want+": FILE", "tls: a client certificate is two files, found only %s", have)
	}
	if !c.at.Has(&n.Broker) || n.Broker.Encrypted() {
		return
	}
	far := n.Broker.reach()
	switch {
	case c.at.Has(&n.TLS):
		c.fault(&n.TLS, CodeTLS, "write mqtts:// in broker, or remove tls", "tls is given, but the broker is not asked for an encrypted connection")
	case far == anywhere:
		c.fault(&n.Broker, CodeClear, "write mqtts://, and the port of the encrypted service, mostly 8883", "mqtt:// would send the readings unencrypted over a public network")
	case far == privateNetwork && n.PasswordFile != "":
		c.fault(&n.Broker, CodeClear, "write mqtts://, and the port of the encrypted service, mostly 8883", "mqtt:// would send the password unencrypted over the network")
	case far == privateNetwork:
		c.warn(&n.Broker, CodeClearPrivate, "write mqtts:// where the broker can do it", "mqtt:// sends the readings unencrypted; anybody on this network can read them")
	}
}
