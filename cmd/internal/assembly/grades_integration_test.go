//go:build integration && linux

package assembly

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/uplink"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
	"github.com/tallystick/tallystick/uplink/lender"
	"github.com/tallystick/tallystick/uplink/mqtt"
	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
	"github.com/tallystick/tallystick/uplink/verify"
)

// TestIntegrationGradeA: from the box's clock through agent, broker and lender to the
// grade, nothing is left out but the machine's own clock, which on a box where tests
// run is seldom disciplined. The windows that answer a nonce of the lender, and come
// at once, have grade A where the clock is, and C where it is not: at the lender when
// they come, in its archive, and in a bundle of the box that holds its receipts.
func TestIntegrationGradeA(t *testing.T) {
	for _, c := range []struct {
		flag evidence.TimeFlag
		want verify.Grade
	}{{evidence.Synchronised, verify.GradeA}, {evidence.Unsynchronised, verify.GradeC}} {
		t.Run(string(c.flag), func(t *testing.T) {
			t.Parallel()
			broker, dir := "mqtt://"+mqtttest.Broker(t, mqtttest.Anywhere, nil), t.TempDir()
			bank := evidencetest.Signer(9)
			record := bank.Public()
			site, err := configs.ParseSite("site.yaml", []byte(fmt.Sprintf(`site: {name: demo}
lines: [{name: hall-a, tcp: "127.0.0.1:1"}]
meters: [{name: press-1, line: hall-a, protocol: modbus-tcp, address: 7, profile: eastron-sdm630, interval: 1s}]
lenders: [{name: bank-a, broker: "%s", public_key: "%s", share: [energy]}]
buffer: {directory: %s, sync_interval: 200ms}
window: 2s
`, broker, record.Key(), filepath.Join(dir, "box"))), nil)
			if err != nil {
				t.Fatal(err)
			}
			keys, err := OpenKeys(site)
			if err != nil {
				t.Fatal(err)
			}
			defer keys.Close()
			s, err := whole(site, keys, Options{Software: "test", Log: slog.New(slog.DiscardHandler)})
			if err != nil {
				t.Fatal(err)
			}
			s.ClockState = func() (evidence.TimeFlag, uint64) { return c.flag, 20 }

			seen := &grades{}
			far, err := lender.New(lender.Config{
				Name: "bank-a", Key: bank, Dir: filepath.Join(dir, "bank"), Boxes: []lender.Box{{Name: "plant", Key: keys.Public()}},
				OnWindow: seen.add,
				Dial: func(ctx context.Context) (uplink.Session, error) {
					session, err := mqtt.Dial(ctx, mqtt.Options{Broker: broker, ClientID: "bank-a"})
					if err != nil {
						return nil, err
					}
					return session, nil
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			stopFar := started(t, far.Run)
			a, err := agent.Open(s)
			if err != nil {
				t.Fatal(err)
			}
			stopBox := started(t, a.Run)
			deadline := time.Now().Add(time.Minute)
			for seen.count(c.want) < 2 {
				if time.Now().After(deadline) {
					t.Fatalf("grades %v", seen)
				}
				time.Sleep(50 * time.Millisecond)
			}
			stopBox()
			stopFar()

			folder := filepath.Join(dir, "bank", "plant", a.LogID().String())
			times, err := lender.OpenTimes(folder)
			if err != nil {
				t.Fatal(err)
			}
			defer times.Close()
			archived, err := os.ReadFile(filepath.Join(folder, "archive.tally"))
			if err != nil {
				t.Fatal(err)
			}
			pinned := verify.Policy{Pinned: []evidence.PublicKey{keys.Public()}}
			live := pinned
			live.Times = func(n uint64) (time.Time, time.Time) { return times.Of(n) }
			graded(t, "archive", archived, live, c.want)

			h, err := history.OpenReader(s.Dir)
			if err != nil {
				t.Fatal(err)
			}
			defer h.Close()
			var exported bytes.Buffer
			if err := h.Export(&exported, 0, h.Next()-1, false); err != nil {
				t.Fatal(err)
			}
			receipted := pinned
			if receipted.Receipts, err = verify.CollectReceipts(bytes.NewReader(exported.Bytes()), verify.Believed{Lenders: []evidence.PublicKey{record.Key()}}); err != nil {
				t.Fatal(err)
			}
			graded(t, "bundle with receipts", exported.Bytes(), receipted, c.want)
			graded(t, "bundle alone", exported.Bytes(), pinned, verify.GradeD)
			forged := pinned // as if the receipts were another lender's
			if forged.Receipts, err = verify.CollectReceipts(bytes.NewReader(exported.Bytes()), verify.Believed{Lenders: []evidence.PublicKey{evidencetest.PublicKey(8)}}); err != nil {
				t.Fatal(err)
			}
			graded(t, "bundle with receipts of a stranger", exported.Bytes(), forged, verify.GradeD)

			file := filepath.Join(dir, "all.tally")
			if err := os.WriteFile(file, exported.Bytes(), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.Command("/usr/bin/python3", "../../../uplink/evidence/interop/verify.py", file, keys.Public().String()).CombinedOutput()
			if err != nil || !strings.Contains(string(out), `"verified"`) {
				t.Errorf("verify.py: %v\n%s", err, out)
			}
		})
	}
}

// graded checks that a bundle verifies and that its best windows have that grade.
func graded(t *testing.T, what string, file []byte, p verify.Policy, want verify.Grade) {
	t.Helper()
	sum, err := verify.Bundle(bytes.NewReader(file), p, nil)
	if err != nil || sum.Verdict != verify.Verified {
		t.Fatalf("%s: %+v, %v", what, sum, err)
	}
	best := verify.GradeX
	for g := range sum.Grades {
		best = min(best, g)
	}
	if best != want {
		t.Errorf("%s: grades %v, want %s at best; reasons %v", what, sum.Grades, want, sum.Reasons)
	}
}

// grades counts the windows a lender has accepted.
type grades struct {
	mu sync.Mutex
	of map[verify.Grade]int
}

func (g *grades) add(_ string, r verify.Result) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.of == nil {
		g.of = map[verify.Grade]int{}
	}
	if r.Type == evidence.WindowLeaf && r.Verdict == verify.Verified {
		g.of[r.Grade]++
	}
}

func (g *grades) count(of verify.Grade) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.of[of]
}

// started runs f until the function returned is called.
func started(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}
