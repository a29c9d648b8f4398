// Package broker turns the connection part of a configuration file into
// connections. The agent's and the lender's binaries share it.
package broker

import (
	"context"
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/mqtt"
)

// Options reads the files of a connection and returns what a session needs.
// Call it for each connection: renewed certificates and passwords then take
// effect by themselves. clientID is used where the file names none. Errors are
// *mqtt.FileError and strict.Fault.
func Options(c *configs.Connection, clientID string, log *slog.Logger) (mqtt.Options, error) {
	o := mqtt.Options{Broker: string(c.Broker), ClientID: c.ClientID, Username: c.Username, Log: log}
	if o.ClientID == "" {
		o.ClientID = clientID
	}
	var err error
	if c.Broker.Encrypted() {
		o.TLS, err = mqtt.LoadTLS(mqtt.Files{CA: c.TLS.CA, Cert: c.TLS.Cert, Key: c.TLS.Key, ServerName: c.TLS.ServerName}, time.Now())
		if err != nil {
			return o, err
		}
	}
	if c.PasswordFile != "" {
		if o.Password, err = configs.ReadSecret(c.PasswordFile); err != nil {
			return o, err
		}
	}
	return o, nil
}

// Dial opens one session; will may be nil.
func Dial(ctx context.Context, c *configs.Connection, clientID string, will *uplink.Will, log *slog.Logger) (uplink.Session, error) {
	o, err := Options(c, clientID, log)
	if err != nil {
		return nil, err
	}
	if will != nil {
		o.Will = &mqtt.Message{Topic: will.Topic, Payload: will.Payload, QoS: 1, Retained: true}
	}
	s, err := mqtt.Dial(ctx, o)
	if err != nil {
		return nil, err // not a typed nil in the interface
	}
	return s, nil
}
