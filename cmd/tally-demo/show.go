package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/listeners"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/identity"
	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/cmd/internal/broker"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/verify"
)

const (
	siteName   = "demo-plant"
	lenderName = "bank-a"
	window     = 2 * time.Second
)

// show is everything at once. The parts meet only where they meet in the
// field: on the lines, at the broker, in the two configuration files.
type show struct {
	dir     string
	factory *sim.Factory
	meters  []sim.DemoMeter
	broker  *mochi.Server
	agent   *agent.Agent
	lender  *lender.Lender
	boxKey  evidence.PublicKey

	mu       sync.Mutex
	taken    int   // readings with a value, by the agent
	received int64 // bytes of deliveries at the lender
	board    board
}

func newShow(dir string) (s *show, err error) {
	s = &show{dir: dir}
	if s.factory, s.meters, err = sim.Demo(1, dir); err != nil {
		return nil, err
	}
	address, err := s.startBroker()
	if err != nil {
		return nil, err
	}
	lenderKey, err := keyfile.Create(filepath.Join(dir, "lender.key"))
	if err != nil {
		return nil, err
	}
	box, _, err := identity.Open(identity.Config{Path: filepath.Join(dir, "box", "device.key"), Suite: evidence.SuiteEd25519})
	if err != nil {
		return nil, err
	}
	s.boxKey = box.Public()
	if err := s.openAgent(address, evidence.Ed25519PublicKey(lenderKey.Public().(ed25519.PublicKey))); err != nil {
		return nil, err
	}
	return s, s.openLender(address, lenderKey)
}

// startBroker runs a broker on loopback, open to all who reach it there.
func (s *show) startBroker() (address string, err error) {
	s.broker = mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := s.broker.AddHook(new(open), nil); err != nil {
		return "", err
	}
	l := listeners.NewTCP(listeners.Config{ID: "demo", Address: "127.0.0.1:0"})
	if err := s.broker.AddListener(l); err != nil {
		return "", err
	}
	return l.Address(), s.broker.Serve()
}

// open lets everybody in: the broker listens on loopback, for the demo only.
type open struct{ mochi.HookBase }

func (*open) ID() string { return "open" }
func (*open) Provides(b byte) bool {
	return b == mochi.OnConnectAuthenticate || b == mochi.OnACLCheck
}
func (*open) OnConnectAuthenticate(*mochi.Client, packets.Packet) bool { return true }
func (*open) OnACLCheck(*mochi.Client, string, bool) bool              { return true }

// siteFile is what the factory's electrician would write.
func (s *show) siteFile(address string, lenderKey evidence.PublicKey) string {
	var b strings.Builder
	fmt.Fprintf(&b, "site: {name: %s, label: 示范工厂}\nlines:\n", siteName)
	for i, l := range s.factory.Lines {
		if l.Kind == sim.RTU {
			fmt.Fprintf(&b, "  - {name: line-%d, port: %s, serial: %v}\n", i, l.Address, l.Serial)
		} else {
			fmt.Fprintf(&b, "  - {name: line-%d, tcp: \"%s\"}\n", i, l.Address)
		}
	}
	b.WriteString("meters:\n")
	for _, m := range s.meters {
		protocol, ct := configs.ModbusRTU, ""
		if s.factory.Lines[m.Line].Kind == sim.TCP {
			protocol = configs.ModbusTCP
		}
		if m.Ratio != 1 {
			ct = fmt.Sprintf(", ct: %d", m.Ratio)
		}
		fmt.Fprintf(&b, "  - {name: %s, line: line-%d, protocol: %s, address: %d, profile: %s%s, interval: %v}\n",
			m.Name(), m.Line, protocol, m.Unit, m.Profile, ct, window)
	}
	fmt.Fprintf(&b, `lenders:
  - name: %s
    broker: mqtt://%s
    public_key: %s
    share: [energy, power, voltage-current, reactive, frequency, timing, status]
buffer: {directory: box, sync_interval: 1s}
window: %v
`, lenderName, address, lenderKey, window)
	return b.String()
}

func (s *show) openAgent(address string, lenderKey evidence.PublicKey) error {
	path := filepath.Join(s.dir, "tallystick.yaml")
	if err := os.WriteFile(path, []byte(s.siteFile(address, lenderKey)), 0o600); err != nil {
		return err
	}
	site, err := assembly.Load(path)
	if err != nil {
		return err
	}
	s.agent, err = assembly.Open(site, assembly.Options{
		Software: "tally-demo", Log: slog.New(slog.DiscardHandler),
		OnPoll: func(p agent.Poll) {
			s.mu.Lock()
			defer s.mu.Unlock()
			for _, r := range p.Readings {
				if r.Quality.HasValue() {
					s.taken++
				}
			}
		},
	})
	return err
}

func (s *show) openLender(address string, key ed25519.PrivateKey) (err error) {
	connection := configs.Connection{Broker: configs.Broker("mqtt://" + address)}
	log := slog.New(slog.DiscardHandler)
	s.lender, err = lender.New(lender.Config{
		Name: lenderName, Key: evidence.NewEd25519Signer(key, "file"), Dir: filepath.Join(s.dir, "bank"),
		Boxes: []lender.Box{{Name: siteName, Key: s.boxKey}},
		Dial: func(ctx context.Context) (uplink.Session, error) {
			sess, err := broker.Dial(ctx, &connection, "tally-lender", nil, log)
			if err != nil {
				return nil, err
			}
			return &counting{Session: sess, count: s.count}, nil
		},
		OnWindow: func(_ string, r verify.Result) {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.board.add(r)
		},
	})
	return err
}

// counting counts the bytes of the deliveries that arrive.
type counting struct {
	uplink.Session
	count func(topic string, n int)
}

func (c *counting) Subscribe(ctx context.Context, filter string, qos byte, f func(string, []byte)) error {
	return c.Session.Subscribe(ctx, filter, qos, func(topic string, payload []byte) {
		c.count(topic, len(payload))
		f(topic, payload)
	})
}

func (s *show) count(topic string, n int) {
	if kind, _, _, err := evidence.ParseTopic(topic); err == nil && kind == evidence.DeliveryTopic {
		s.mu.Lock()
		s.received += int64(n)
		s.mu.Unlock()
	}
}

// run plays until ctx ends; then the agent stops in order, which includes the
// lender's last receipt, and the others follow.
func (s *show) run(ctx context.Context, people io.Writer) error {
	stage, close := context.WithCancel(context.WithoutCancel(ctx)) // for those who outlive the agent
	var wg sync.WaitGroup
	var errs [3]error
	wg.Go(func() { errs[0] = s.factory.Run(stage) })
	wg.Go(func() { errs[1] = s.lender.Run(stage) })
	show, stopShow := context.WithCancel(stage)
	var shown sync.WaitGroup
	shown.Go(func() { s.display(show, people) })
	errs[2] = s.agent.Run(ctx)
	stopShow()
	shown.Wait()
	close()
	wg.Wait()
	return errors.Join(errors.Join(errs[:]...), s.broker.Close())
}

// archive is what the lender kept: a bundle like any other.
func (s *show) archive() string {
	return filepath.Join(s.dir, "bank", siteName, s.agent.LogID().String(), "archive.tally")
}

func (s *show) result() result {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.board
	r := result{
		Meters: len(s.meters), Readings: s.taken, WindowsVerified: b.windows, ReadingsVerified: b.readings,
		Gaps: b.gaps, Altered: b.altered, Verdict: string(b.verdict()),
	}
	if b.readings > 0 {
		r.BytesPerReading = float64(100*s.received/int64(b.readings)) / 100
	}
	return r
}
