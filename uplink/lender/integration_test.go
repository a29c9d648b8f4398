//go:build integration

package lender

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/mqtt"
	"github.com/tallystick/tallystick/uplink/verify"
)

// mosquitto is a real broker with its default limits (20 messages in flight,
// 1,000 queued for each client) and no persistence.
type mosquitto struct {
	t    *testing.T
	conf string
	addr string
	cmd  *exec.Cmd
}

func startMosquitto(t *testing.T) *mosquitto {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().(*net.TCPAddr)
	l.Close()
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	text := fmt.Sprintf("listener %d 127.0.0.1\nallow_anonymous true\nsys_interval 1\nuser root\n", addr.Port)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	m := &mosquitto{t: t, conf: conf, addr: addr.String()}
	m.start()
	t.Cleanup(m.kill)
	return m
}

func (m *mosquitto) start() {
	m.t.Helper()
	m.cmd = exec.Command("mosquitto", "-c", m.conf)
	if err := m.cmd.Start(); err != nil {
		m.t.Fatalf("start mosquitto: %v", err)
	}
	for range 500 {
		if c, err := net.Dial("tcp", m.addr); err == nil {
			c.Close()
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	m.t.Fatal("mosquitto does not listen")
}

// kill is kill -9.
func (m *mosquitto) kill() {
	m.cmd.Process.Kill()
	m.cmd.Wait()
}

func (m *mosquitto) url() string { return "mqtt://" + m.addr }

// dropped is the broker's own count of messages it threw away.
func (m *mosquitto) dropped() int {
	m.t.Helper()
	s, err := mqtt.Dial(m.t.Context(), mqtt.Options{Broker: m.url(), ClientID: "watcher"})
	if err != nil {
		m.t.Fatal(err)
	}
	defer s.Close(context.Background())
	got := make(chan int, 16)
	if err := s.Subscribe(m.t.Context(), "$SYS/broker/publish/messages/dropped", 0, func(_ string, b []byte) {
		n, _ := strconv.Atoi(string(b))
		got <- n
	}); err != nil {
		m.t.Fatal(err)
	}
	select {
	case n := <-got:
		return n
	case <-time.After(5 * time.Second):
		return 0
	}
}

// hold makes a lender's reports wait until release is called.
func hold(l *Lender) (release func()) {
	gate := make(chan struct{})
	report := l.cfg.OnWindow
	l.cfg.OnWindow = func(box string, r verify.Result) { <-gate; report(box, r) }
	return func() { close(gate) }
}

func TestBurstThroughMosquitto(t *testing.T) {
	m, dir, s := startMosquitto(t), t.TempDir(), evidencetest.NewStream(t, 1, 5000)
	l, y := lenderAt(t, m.url(), dir)
	release := hold(l)
	stopLender := background(t, l.Run)
	<-y.connected // a broker drops what nobody subscribed to without counting it
	var lost atomic.Int64
	sh := shipperFor(t, s, m.url(), func(c *uplink.Config) {
		c.InFlight, c.ReceiptTimeout = 5000, 2*time.Second
		c.OnEvent = func(e uplink.Event) {
			if e.Kind == uplink.Disconnected {
				lost.Add(1)
			}
		}
	})
	stop := background(t, sh.Run)
	for deadline := time.Now().Add(30 * time.Second); sh.Status().Sent < 5000 && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	dropped := 0
	for deadline := time.Now().Add(20 * time.Second); dropped < 1000 && time.Now().Before(deadline); {
		dropped = m.dropped() // the broker counts once a second
	}
	release()
	if dropped < 1000 {
		t.Fatalf("the broker dropped %d messages: the burst did not hit its limits", dropped)
	}
	drain(t, sh)
	stop()
	stopLender()
	nothingMissing(t, dir, y, s)
	t.Logf("broker dropped %d of the first 5,000; sent %d, of these again %d; sessions lost %d", dropped, sh.Status().Sent, sh.Status().Resent, lost.Load())
}

func TestLenderAwayDuringTheBurst(t *testing.T) {
	m, dir, s := startMosquitto(t), t.TempDir(), evidencetest.NewStream(t, 1, 1000)
	sh := shipperFor(t, s, m.url(), func(c *uplink.Config) { c.InFlight = 1000 })
	stop := background(t, sh.Run)
	for sh.Status().Sent < 1000 {
		time.Sleep(10 * time.Millisecond)
	}
	if sh.Status().Receipted != 0 {
		t.Fatal("a receipt from nobody")
	}
	l, y := lenderAt(t, m.url(), dir)
	stopLender := background(t, l.Run)
	drain(t, sh)
	stop()
	stopLender()
	nothingMissing(t, dir, y, s)
}

// What the broker has acknowledged and not yet delivered dies with it.
func TestKilledBetweenPubackAndDelivery(t *testing.T) {
	m, dir, s := startMosquitto(t), t.TempDir(), evidencetest.NewStream(t, 1, 1500)
	l, y := lenderAt(t, m.url(), dir)
	report := l.cfg.OnWindow
	l.cfg.OnWindow = func(box string, r verify.Result) { time.Sleep(300 * time.Microsecond); report(box, r) }
	stopLender := background(t, l.Run)
	sh := shipperFor(t, s, m.url(), func(c *uplink.Config) { c.InFlight = 800 })
	stop := background(t, sh.Run)
	pending := 0
	for range 4 {
		at := sh.Status()
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			st := sh.Status()
			if st.Waiting == 0 || st.Sent > at.Sent+200 && st.Receipted > at.Receipted {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if sh.Status().Waiting > 0 {
			pending++
		}
		m.kill()
		m.start()
	}
	if pending == 0 {
		t.Fatal("nothing was under way at any kill")
	}
	drain(t, sh)
	stop()
	stopLender()
	nothingMissing(t, dir, y, s)
	t.Logf("killed 4 times, %d with windows under way; sent %d, of these again %d", pending, sh.Status().Sent, sh.Status().Resent)
}
