// Package mqtttest runs a real MQTT broker in a test's own process. It is for
// tests only.
package mqtttest

import (
	"crypto/tls"
	"io"
	"log/slog"
	"testing"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"
)

// Open is a hook that lets everybody do everything. A hook that embeds it
// changes what it wants otherwise, and says so in Provides.
type Open struct{ mochi.HookBase }

func (*Open) ID() string { return "open" }

func (*Open) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}

func (*Open) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }

func (*Open) OnACLCheck(*mochi.Client, string, bool) bool { return true }

// Broker runs a broker with the hooks given, or else Open, until the test ends.
// It listens at address, with TLS where cfg is not nil, and returns host:port.
func Broker(t testing.TB, address string, cfg *tls.Config, hooks ...mochi.Hook) string {
	t.Helper()
	s := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if len(hooks) == 0 {
		hooks = []mochi.Hook{new(Open)}
	}
	for _, h := range hooks {
		if err := s.AddHook(h, nil); err != nil {
			t.Fatal(err)
		}
	}
	l := listeners.NewTCP(listeners.Config{ID: "t", Address: address, TLSConfig: cfg})
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

// Anywhere is the address of a broker on any free port of this machine.
const Anywhere = "127.0.0.1:0"
