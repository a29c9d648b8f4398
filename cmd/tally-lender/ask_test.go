package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/keyfile"
	"github.com/tallystick/tallystick/uplink/mqtt"
	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
)

// syncBuffer is what a running command has printed so far.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}
func (b *syncBuffer) String() string { b.mu.Lock(); defer b.mu.Unlock(); return b.b.String() }

// box is a stream that a shipper sends and that grows.
type box struct {
	t      *testing.T
	broker string

	mu    sync.Mutex
	s     *evidencetest.Stream
	grown chan struct{}
	at    atomic.Uint64 // the lender's cursor
}

func newBox(t *testing.T, broker string, windows int) *box {
	return &box{t: t, broker: broker, s: evidencetest.NewStream(t, 1, windows), grown: make(chan struct{})}
}

func (b *box) First() uint64      { return 0 }
func (b *box) Next() uint64       { b.mu.Lock(); defer b.mu.Unlock(); return uint64(len(b.s.Deliveries)) }
func (b *box) Head() []byte       { return nil }
func (b *box) Meta() []byte       { return b.s.Meta }
func (b *box) Get() uint64        { return b.at.Load() }
func (b *box) Set(n uint64) error { b.at.Store(n); return nil }

func (b *box) Read(n uint64, dst []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append(dst[:0], b.s.Deliveries[n]...), nil
}

func (b *box) Wait(ctx context.Context, n uint64) error {
	for {
		b.mu.Lock()
		next, grown := uint64(len(b.s.Deliveries)), b.grown
		b.mu.Unlock()
		if n < next {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (b *box) Anchor(n uint64) (a evidence.Anchor, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, raw := range b.s.Deliveries[:n] {
		d, err := evidence.ParseDelivery(raw)
		if err != nil {
			return a, err
		}
		a.Append(d.Suite(), d.Hash())
	}
	return a, nil
}

// heard answers a challenge with numbers of its own, in the next leaf.
func (b *box) heard(_ []byte, m evidence.Message) {
	if m.Challenge == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var reads []any
	for i, r := range m.Challenge.Reads {
		data := bytes.Repeat([]byte{byte(i + 1), 2}, int(r.Count))
		if r.Table == evidence.Coils {
			data = data[:(r.Count+7)/8]
		}
		reads = append(reads, []any{r.Meter, r.Table, r.Address, r.Count, int64(evidencetest.Start), 0, data})
	}
	body, err := record.Encode("bank-a", map[int]any{1: m.Challenge.Nonce, 2: reads})
	if err != nil {
		b.t.Error(err)
	}
	d, err := b.s.Writer.Record(evidencetest.Point(len(b.s.Deliveries)-2), evidence.AnswerLeaf, body)
	b.s.Add(b.t, d, err)
	close(b.grown)
	b.grown = make(chan struct{})
}

// ship sends to bank-a until stop is called; the channels granted may change
// between two runs.
func (b *box) ship(channels ...evidence.Channel) (stop func()) {
	b.t.Helper()
	s, err := uplink.New(uplink.Config{
		Lender: "bank-a", Log: b.s.Writer.LogID(), Suite: evidence.SuiteEd25519, Grants: func(int64) []evidence.Channel { return channels },
		Key: evidencetest.PublicKey(9), Source: b, Cursor: b, Heard: b.heard,
		ReceiptTimeout: 300 * time.Millisecond, Backoff: uplink.Backoff{Min: 20 * time.Millisecond, Max: 200 * time.Millisecond},
		Dial: func(ctx context.Context, will uplink.Will) (uplink.Session, error) {
			s, err := mqtt.Dial(ctx, mqtt.Options{Broker: b.broker, ClientID: "box", Will: &mqtt.Message{Topic: will.Topic, Payload: will.Payload, QoS: 1, Retained: true}})
			if err != nil {
				return nil, err
			}
			return s, nil
		},
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return background(b.t, func(ctx context.Context) { s.Run(ctx) })
}

func background(t *testing.T, f func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); f(ctx) }()
	stop = func() { cancel(); <-ended }
	t.Cleanup(stop)
	return stop
}

// bankA writes the lender file and the key of bank-a, which pins one box.
func bankA(t *testing.T, broker string) (dir, config string) {
	t.Helper()
	dir = t.TempDir()
	config = filepath.Join(dir, "lender.yaml")
	text := fmt.Sprintf("name: bank-a\nbroker: %s\ndirectory: bank\nkey: lender.key\nboxes: [{name: plant-7, key: %s}]\n", broker, evidencetest.PublicKey(1))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := keyfile.Save(filepath.Join(dir, "lender.key"), evidencetest.Key(9)); err != nil {
		t.Fatal(err)
	}
	return dir, config
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("does not come: " + what)
		}
	}
}

// A lender that was granted energy is granted voltage later and opens it for the
// leaves it has: they verify against the digests it already had. Its watch goes
// on meanwhile, and keeps what it has.
func TestReplayOpensWhatWasNotGiven(t *testing.T) {
	t.Parallel()
	broker := "mqtt://" + mqtttest.Broker(t, mqtttest.Anywhere, nil)
	dir, config := bankA(t, broker)
	b := newBox(t, broker, 12)
	var printed, logged syncBuffer
	stopWatch := background(t, func(ctx context.Context) {
		run(ctx, []string{"watch", "-c", config, "--json", "--verbose"}, &printed, &logged)
	})
	eventually(t, "the watch", func() bool { return strings.Contains(logged.String(), "connected") })
	stop := b.ship(evidence.Energy)
	eventually(t, "all receipts", func() bool { return b.Get() == b.Next() })
	stop()
	b.ship(evidence.Energy, evidence.VoltageCurrent)

	out := filepath.Join(dir, "again.tally")
	exit, _, stderr := command("replay", "plant-7", "--from", "3", "--to", "9", "--channels", "voltage-current", "-o", out, "-c", config)
	if exit != 0 || !strings.Contains(stderr, "核验通过") || !strings.Contains(stderr, "7 leaves came, 3 to 9") {
		t.Fatalf("exit %d\n%s", exit, stderr)
	}
	exit, table, stderr := command("csv", out, "-c", config)
	if exit != 0 || strings.Count(table, "voltage_l1,V,") != 42 || strings.Contains(table, "energy_import") || !strings.Contains(table, "press-1,voltage_l1,V,230.2,") {
		t.Errorf("exit %d, %s\n%s", exit, stderr, table)
	}

	archives, err := filepath.Glob(filepath.Join(dir, "bank", "plant-7", "*", "archive.tally"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	if exit, table, _ := command("csv", archives[0], "-c", config); exit != 0 || strings.Contains(table, "voltage_l1") || !strings.Contains(table, "energy_import") {
		t.Errorf("the archive changed: exit %d\n%s", exit, table)
	}
	for n := 3; n <= 9; n++ {
		if ours, theirs := leafHash(t, archives[0], n), leafHash(t, out, n); ours != theirs {
			t.Errorf("leaf %d: %s in the archive, %s in what came again", n, ours, theirs)
		}
	}
	if s := logged.String(); strings.Contains(s, "disconnected") || strings.Count(s, "event=connected") != 1 {
		t.Errorf("the watch was disturbed:\n%s", s)
	}
	stopWatch()
}

// leafHash is the hash of a leaf, as show has it.
func leafHash(t *testing.T, bundle string, n int) string {
	t.Helper()
	_, stdout, stderr := command("show", bundle, "--leaf", fmt.Sprint(n), "--json")
	var l struct{ Hash string }
	if err := json.Unmarshal([]byte(stdout), &l); err != nil || l.Hash == "" {
		t.Fatalf("%v\n%s%s", err, stdout, stderr)
	}
	return l.Hash
}

func TestReplaySaysWhatDidNotCome(t *testing.T) {
	t.Parallel()
	broker := "mqtt://" + mqtttest.Broker(t, mqtttest.Anywhere, nil)
	dir, config := bankA(t, broker)
	out := filepath.Join(dir, "again.tally")
	again := func(lo, hi string) (int, string) {
		exit, _, stderr := command("replay", "plant-7", "--from", lo, "--to", hi, "-o", out, "-c", config, "--timeout", "150ms")
		return exit, stderr
	}
	if exit, stderr := again("0", "1"); exit != 3 || !strings.Contains(stderr, "E-324") {
		t.Errorf("without a box: exit %d\n%s", exit, stderr)
	}
	b := newBox(t, broker, 4)
	stop := b.ship(evidence.Energy)
	eventually(t, "the log", func() bool {
		exit, stderr := again("2", "9")
		return exit == 1 && strings.Contains(stderr, "4 leaves came, 2 to 5\nleaves 6 to 9 did not come")
	})
	if err := os.Remove(out); err != nil {
		t.Fatal(err)
	}
	if exit, stderr := again("50", "60"); exit != 3 || !strings.Contains(stderr, "E-326") {
		t.Errorf("beyond the end: exit %d\n%s", exit, stderr)
	}
	stop()
	if exit, stderr := again("0", "1"); exit != 3 || !strings.Contains(stderr, "E-326") || !strings.Contains(stderr, "is not connected") {
		t.Errorf("the box away: exit %d\n%s", exit, stderr)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*tally*")); len(left) != 0 {
		t.Errorf("left behind: %v", left)
	}
	// The same key begins another log.
	other := newBox(t, broker, 1)
	other.s = evidencetest.NewStreamOf(t, evidencetest.Signer(1), evidencetest.Signer(3), 1)
	other.ship(evidence.Energy)
	eventually(t, "the second log", func() bool {
		exit, stderr := again("0", "1")
		return exit == 2 && strings.Contains(stderr, "E-325") && strings.Contains(stderr, other.s.Writer.LogID().String())
	})
	exit, _, stderr := command("replay", "plant-7", "--from", "0", "--to", "2", "-o", out, "-c", config, "--log", other.s.Writer.LogID().String())
	if exit != 0 {
		t.Errorf("the log chosen: exit %d\n%s", exit, stderr)
	}
	if exit, _, stderr := command("replay", "plant-8", "--from", "0", "--to", "2", "-o", out, "-c", config); exit != 2 || !strings.Contains(stderr, "E-323") || !strings.Contains(stderr, "plant-7") {
		t.Errorf("another box: exit %d\n%s", exit, stderr)
	}
}

// The answer to a challenge is printed by whoever waits for it, and by a watch.
func TestChallengeCommand(t *testing.T) {
	t.Parallel()
	broker := "mqtt://" + mqtttest.Broker(t, mqtttest.Anywhere, nil)
	_, config := bankA(t, broker)
	b := newBox(t, broker, 2)
	var printed, logged syncBuffer
	background(t, func(ctx context.Context) { run(ctx, []string{"watch", "-c", config, "-v"}, &printed, &logged) })
	eventually(t, "the watch", func() bool { return strings.Contains(logged.String(), "connected") })
	b.ship(evidence.Energy)
	eventually(t, "all receipts", func() bool { return b.Get() == b.Next() })
	exit, stdout, stderr := command("challenge", "plant-7", "--meter", "press-1", "--holding", "0x0010+2", "--input", "7", "-c", config, "--wait", "--timeout", "20s")
	if exit != 0 || !strings.Contains(stdout, "press-1 holding 0x0010+2 = 0102 0102 (258 258)") || !strings.Contains(stdout, "press-1 input 0x0007+1 = 0202 (514)") {
		t.Fatalf("exit %d\n%s%s", exit, stdout, stderr)
	}
	eventually(t, "the answer in the watch", func() bool {
		s := printed.String()
		return strings.Contains(s, "press-1 holding 0x0010+2 = 0102 0102 (258 258)") && strings.Contains(s, "质询") && strings.Contains(s, "the agent started")
	})
	exit, stdout, _ = command("challenge", "plant-7", "--meter", "press-1", "--coil", "0x0+8", "-c", config, "--wait", "--timeout", "20s", "--json")
	var a struct {
		N     uint64
		Reads []readLine
	}
	if err := json.Unmarshal([]byte(stdout), &a); exit != 0 || err != nil || a.N != 5 || len(a.Reads) != 1 || a.Reads[0].Table != "coil" {
		t.Errorf("exit %d, %v, %s", exit, err, stdout)
	}
	if exit, _, stderr := command("challenge", "plant-7", "--meter", "press-1", "--input", "7", "-c", config); exit != 0 || !strings.Contains(stderr, "the answer comes with the feed") {
		t.Errorf("exit %d, %s", exit, stderr)
	}
}

func TestChallengeWords(t *testing.T) {
	for name, args := range map[string][]string{
		"no meter":       {"--holding", "0x10+2"},
		"no range":       {"--meter", "m"},
		"too many":       {"--meter", "m", "--coil", "1", "--coil", "2", "--coil", "3", "--coil", "4", "--coil", "5", "--coil", "6", "--coil", "7", "--input", "8", "--input", "9"},
		"no number":      {"--meter", "m", "--input", "x+2"},
		"nothing asked":  {"--meter", "m", "--input", "1+0"},
		"beyond the end": {"--meter", "m", "--input", "0xffff+2"},
		"too long":       {"--meter", "m", "--input", "0+126"},
	} {
		if exit, _, stderr := command(append([]string{"challenge", "plant-7"}, args...)...); exit != 2 {
			t.Errorf("%s: exit %d, %s", name, exit, stderr)
		}
	}
}
