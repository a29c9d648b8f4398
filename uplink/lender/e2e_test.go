package lender

import (
	"context"
	"errors"
	"flag"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/mqtt"
	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
	"github.com/tallystick/tallystick/uplink/verify"
)

// The whole uplink: shipper, MQTT, broker, lender.

// streamLog is a finished stream as the source of a shipper.
type streamLog struct{ *evidencetest.Stream }

func (l streamLog) First() uint64 { return 0 }
func (l streamLog) Next() uint64  { return uint64(len(l.Deliveries)) }
func (streamLog) Head() []byte    { return nil }
func (l streamLog) Meta() []byte  { return l.Stream.Meta }
func (l streamLog) Read(seq uint64, dst []byte) ([]byte, error) {
	return append(dst[:0], l.Deliveries[seq]...), nil
}
func (l streamLog) Wait(ctx context.Context, seq uint64) error {
	if seq < l.Next() {
		return nil
	}
	<-ctx.Done()
	return ctx.Err()
}
func (l streamLog) Anchor(seq uint64) (evidence.Anchor, error) {
	if seq != l.Next() {
		return evidence.Anchor{}, errors.New("not needed")
	}
	return l.Writer.Anchor(), nil
}

type cursor struct{ at atomic.Uint64 }

func (c *cursor) Get() uint64        { return c.at.Load() }
func (c *cursor) Set(n uint64) error { c.at.Store(n); return nil }

func shipperFor(t *testing.T, s *evidencetest.Stream, broker string, change ...func(*uplink.Config)) *uplink.Shipper {
	t.Helper()
	cfg := uplink.Config{
		Lender: "bank-a", Log: s.Writer.LogID(), Suite: evidence.SuiteEd25519, Grants: func(int64) []evidence.Channel {
			return []evidence.Channel{evidence.Energy, evidence.VoltageCurrent, evidence.Timing}
		},
		Key: public(evidencetest.Key(9)), Source: streamLog{s}, Cursor: new(cursor),
		ReceiptTimeout: 200 * time.Millisecond, Backoff: uplink.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond},
		Dial: func(ctx context.Context, will uplink.Will) (uplink.Session, error) {
			return session(mqtt.Dial(ctx, mqtt.Options{Broker: broker, ClientID: "box-" + s.Writer.LogID().String()[:8],
				Will: &mqtt.Message{Topic: will.Topic, Payload: will.Payload, QoS: 1, Retained: true}}))
		},
	}
	for _, f := range change {
		f(&cfg)
	}
	sh, err := uplink.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return sh
}

// session keeps a nil *mqtt.Session from becoming an interface that is not nil.
func session(s *mqtt.Session, err error) (uplink.Session, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// tally counts what a lender reports.
type tally struct {
	mu       sync.Mutex
	verdicts map[verify.Verdict]int
	next     map[evidence.LogID]uint64
	disorder int

	connected chan struct{} // one for each session of the lender
}

func (y *tally) window(_ string, r verify.Result) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.verdicts[r.Verdict]++
	if r.N != y.next[r.Log] {
		y.disorder++
	}
	y.next[r.Log] = r.N + 1
}

func lenderAt(t *testing.T, broker, dir string) (*Lender, *tally) {
	t.Helper()
	y := &tally{verdicts: map[verify.Verdict]int{}, next: map[evidence.LogID]uint64{}, connected: make(chan struct{}, 100)}
	l, err := New(Config{
		Name: "bank-a", Key: evidencetest.Signer(9), Dir: dir,
		Boxes:    []Box{{"box-1", public(evidencetest.Key(1))}, {"box-2", public(evidencetest.Key(2))}, {"box-3", public(evidencetest.Key(3))}},
		Backoff:  uplink.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond},
		Silence:  3 * time.Second, // the embedded broker forgets clients that come back quickly
		OnWindow: y.window,
		OnEvent: func(e Event) {
			if e.Kind == Connected {
				y.connected <- struct{}{}
			}
		},
		Dial: func(ctx context.Context) (uplink.Session, error) {
			return session(mqtt.Dial(ctx, mqtt.Options{Broker: broker, ClientID: "bank-a"}))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return l, y
}

// background runs f until stop.
func background(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := f(ctx); err != nil {
			t.Errorf("run: %v", err)
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

func drain(t *testing.T, s *uplink.Shipper) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if err := s.Drain(ctx); err != nil {
		t.Fatalf("%v (%+v)", err, s.Status())
	}
}

// nothingMissing reads the lender's archives as a stranger would.
func nothingMissing(t *testing.T, dir string, y *tally, streams ...*evidencetest.Stream) {
	t.Helper()
	for _, s := range streams {
		f := filepath.Join(dir, boxOf(s), s.Writer.LogID().String())
		sum, err := verifyArchive(f)
		if err != nil || sum.Verdict != verify.Verified || sum.Leaves != uint64(len(s.Deliveries)) || len(sum.Gaps) != 0 {
			t.Fatalf("archive of %s: %+v, %v", f, sum, err)
		}
	}
	y.mu.Lock()
	defer y.mu.Unlock()
	want := 0
	for _, s := range streams {
		want += len(s.Deliveries)
	}
	if y.verdicts[verify.Verified] != want || len(y.verdicts) != 1 || y.disorder != 0 {
		t.Fatalf("reported %v, want %d verified; %d out of order", y.verdicts, want, y.disorder)
	}
}

// lossy is a broker hook that acknowledges deliveries and receipts and then
// forgets every so-manieth.
type lossy struct {
	mqtttest.Open
	every   int64
	seen    atomic.Int64
	dropped atomic.Int64
}

func (*lossy) ID() string             { return "lossy" }
func (h *lossy) Provides(b byte) bool { return h.Open.Provides(b) || b == mochi.OnPublish }
func (h *lossy) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	kind, _, _, err := evidence.ParseTopic(p.TopicName)
	if err == nil && (kind == evidence.DeliveryTopic || kind == evidence.ReceiptTopic) && h.every > 0 && h.seen.Add(1)%h.every == 0 {
		h.dropped.Add(1)
		return p, packets.CodeSuccessIgnore
	}
	return p, nil
}

var backlog = flag.Int("backlog", 1000, "leaves that TestBacklogThroughALossyBroker ships")

func TestBacklogThroughALossyBroker(t *testing.T) {
	h := &lossy{every: 199}
	broker, dir, s := "mqtt://"+mqtttest.Broker(t, mqtttest.Anywhere, nil, h), t.TempDir(), evidencetest.NewStream(t, 1, *backlog)
	l, y := lenderAt(t, broker, dir)
	stopLender := background(t, l.Run)
	<-y.connected
	sh := shipperFor(t, s, broker, func(c *uplink.Config) { c.InFlight = 64 })
	stop := background(t, sh.Run)
	drain(t, sh)
	stop()
	stopLender()
	if h.dropped.Load() == 0 {
		t.Fatal("the broker dropped nothing")
	}
	nothingMissing(t, dir, y, s)
}

func TestLenderRestartsAndBoxesShareABroker(t *testing.T) {
	broker, dir := "mqtt://"+mqtttest.Broker(t, mqtttest.Anywhere, nil), t.TempDir()
	streams := []*evidencetest.Stream{evidencetest.NewStream(t, 1, 200), evidencetest.NewStream(t, 2, 200), evidencetest.NewStream(t, 3, 200)}
	l, y := lenderAt(t, broker, dir)
	stopLender := background(t, l.Run)
	<-y.connected // the embedded broker races when it retains a message while somebody subscribes
	var shippers []*uplink.Shipper
	for _, s := range streams {
		sh := shipperFor(t, s, broker)
		background(t, sh.Run)
		shippers = append(shippers, sh)
	}
	stopLender() // wherever it stands
	l, _ = lenderAt(t, broker, dir)
	l.cfg.OnWindow = y.window
	stopLender = background(t, l.Run)
	for _, sh := range shippers {
		drain(t, sh)
	}
	stopLender()
	nothingMissing(t, dir, y, streams...)
}
