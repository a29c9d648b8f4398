//go:build integration

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
)

// watched is one line of tally-lender watch --json.
type watched struct {
	Log      string          `json:"log"`
	N        uint64          `json:"n"`
	Type     string          `json:"type"`
	From     time.Time       `json:"from"`
	Readings int             `json:"readings"`
	Verdict  string          `json:"verdict"`
	Reasons  json.RawMessage `json:"reasons"`
	Values   []watchedValue  `json:"values"`
}

type watchedValue struct {
	Meter    string    `json:"meter"`
	Quantity string    `json:"quantity"`
	Value    *string   `json:"value"`
	Quality  string    `json:"quality"`
	Time     time.Time `json:"time"`
}

type simSummary struct {
	Ready  bool `json:"ready"`
	Ended  bool `json:"ended"`
	Meters []struct {
		EnergyBase   string `json:"energy_base"`
		EnergyImport string `json:"energy_import"`
		CurveKWh     string `json:"curve_kwh"`
	} `json:"meters"`
}

// TestIntegrationFebruary replays a steel plant's February through a meter on a
// serial line, the agent, mosquitto and the lender's tool, while the agent is
// killed ten times, twice with the broker down when it comes back. The lender
// must end with the meter's register to the last digit, with no index missing
// or twice, and with every reading the box recorded.
func TestIntegrationFebruary(t *testing.T) {
	curve, err := filepath.Abs("../../../shared/data/Steel_industry_data.csv")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(curve); err != nil {
		t.Skip("the load curve is not beside this checkout")
	}
	dir := t.TempDir()
	tallystick, lender := binary(t, "tallystick"), binary(t, "tally-lender")

	tty := filepath.Join(dir, "meter")
	sim := start(t, binary(t, "tally-sim"), "--line", "rtu:"+tty+"@9600-8N1", "--meter", "1=eastron-sdm630,base=10000",
		"--load-curve", curve, "--from", "2018-02-01", "--to", "2018-03-01", "--speed", "24000", "--hold", "first-poll+5s", "--json")
	eventually(t, 10*time.Second, "the simulator is ready", func() bool { return len(sim.output()) > 0 })

	port := freePort(t)
	broker := mosquitto(t, port)

	lenderKey := strings.TrimSpace(output(t, lender, "keygen", filepath.Join(dir, "lender.key")))
	site := filepath.Join(dir, "tallystick.yaml")
	write(t, site, fmt.Sprintf(`site: {name: steel-plant, label: 光阳钢厂}
lines:
  - {name: hall-a, port: %s, serial: 9600 8N1}
meters:
  - {name: main, line: hall-a, address: 1, profile: eastron-sdm630, interval: 1s}
lenders:
  - name: bank-a
    broker: mqtt://127.0.0.1:%d
    public_key: %s
    share: [energy, power, voltage-current, timing]
buffer: {directory: %s, sync_interval: 1s}
window: 2s
`, tty, port, lenderKey, filepath.Join(dir, "box")))
	boxKey := strings.TrimSpace(output(t, tallystick, "key", "show", "--config", site))
	watchFile := filepath.Join(dir, "lender.yaml")
	write(t, watchFile, fmt.Sprintf(`name: bank-a
key: %s
broker: mqtt://127.0.0.1:%d
directory: %s
boxes:
  - {name: steel-plant, key: "%s"}
`, filepath.Join(dir, "lender.key"), port, filepath.Join(dir, "bank"), boxKey))

	watch := start(t, lender, "watch", "--config", watchFile, "--json")
	agent := start(t, tallystick, "run", "--config", site)
	received := func() []watched { return objects[watched](t, watch) }
	eventually(t, 20*time.Second, "the lender has a verified window", func() bool { return len(received()) > 2 })

	var kills []time.Time
	for i := range 10 {
		time.Sleep(4*time.Second + time.Duration(rand.IntN(4000))*time.Millisecond)
		down := i == 3 || i == 7
		if down {
			broker.kill()
			time.Sleep(time.Second)
		}
		kills = append(kills, time.Now())
		agent.kill()
		agent = start(t, tallystick, "run", "--config", site)
		if down {
			time.Sleep(5 * time.Second)
			broker = mosquitto(t, port)
		}
	}

	// The curve ends, the last register value is read and delivered.
	var truth simSummary
	eventually(t, 5*time.Minute, "the load curve ends", func() bool {
		lines := sim.output()
		return json.Unmarshal([]byte(lines[len(lines)-1]), &truth) == nil && truth.Ended
	})
	want := truth.Meters[0].EnergyImport
	eventually(t, time.Minute, "the register's last value is verified by the lender", func() bool {
		all := energies(received())
		return len(all) > 0 && all[len(all)-1] == want
	})
	if code := agent.stop(t); code != 0 {
		t.Fatalf("agent exited with %d after SIGTERM, want 0", code)
	}

	// What the box holds, read from its own export.
	bundle := filepath.Join(dir, "all.tally")
	output(t, tallystick, "log", "export", "--config", site, "-o", bundle)
	manifests := readBundle(t, bundle)
	eventually(t, 30*time.Second, "the lender has every leaf", func() bool { return len(received()) >= len(manifests) })

	leaves := received()
	boots, readings := 0, 0
	for i, l := range leaves {
		if l.N != uint64(i) || l.Verdict != "verified" {
			t.Fatalf("line %d of the lender is leaf %d, %s %s; want leaf %d, verified", i, l.N, l.Verdict, l.Reasons, i)
		}
		readings += l.Readings
	}
	for i, m := range manifests {
		if m.BootInfo == nil {
			continue
		}
		if m.BootInfo.Clean {
			t.Errorf("boot leaf %d says the run before stopped in order", m.N)
		}
		// Recorded is what was flushed: at most the sync interval, one poll and
		// the kill's own delay before the kill.
		if gap := kills[boots].Sub(time.UnixMilli(m.BootInfo.LastRecordedMS)); gap > 3*time.Second {
			t.Errorf("boot leaf %d: readings survive up to %v before the kill, sync interval is 1 s", m.N, gap)
		}
		if first, ok := firstPoll(leaves[i:]); !ok || first.Sub(time.UnixMilli(m.Start)) > time.Second {
			t.Errorf("boot leaf %d at %v: first reading at %v, want within a second, broker or not", m.N, time.UnixMilli(m.Start), first)
		}
		boots++
	}
	if boots != 10 {
		t.Errorf("%d boot leaves, want 10", boots)
	}

	if code := watch.stop(t); code != 0 {
		t.Errorf("lender exited with %d, want 0", code)
	}
	offline := output(t, lender, "verify", bundle, "--key", boxKey, "--json")
	var verdict struct {
		Verdict  string `json:"verdict"`
		Windows  int    `json:"windows"`
		Readings int    `json:"readings"`
	}
	if err := json.Unmarshal([]byte(offline), &verdict); err != nil || verdict.Verdict != "verified" {
		t.Fatalf("offline: %s %v", offline, err)
	}

	all := energies(leaves)
	first := all[0]
	if first != truth.Meters[0].EnergyBase && !sameDecimal(first, truth.Meters[0].EnergyBase) {
		t.Errorf("first energy %s, the register began at %s", first, truth.Meters[0].EnergyBase)
	}
	drawn := hundredths(t, want) - hundredths(t, first)
	if curve := hundredths(t, truth.Meters[0].CurveKWh); drawn-curve > 1 || curve-drawn > 1 {
		t.Errorf("the lender saw %d.%02d kWh drawn, the curve sums to %s", drawn/100, drawn%100, truth.Meters[0].CurveKWh)
	}
	t.Logf("%d leaves, %d readings at the lender, %d boots; register %s, lender %s, curve %s kWh",
		len(leaves), readings, boots, want, all[len(all)-1], truth.Meters[0].CurveKWh)
}

// energies are the values of the import register in order.
func energies(ls []watched) (vs []string) {
	for _, l := range ls {
		for _, v := range l.Values {
			if v.Quantity == "energy_import" && v.Value != nil {
				vs = append(vs, *v.Value)
			}
		}
	}
	return vs
}

// firstPoll is when the first reading in ls was taken.
func firstPoll(ls []watched) (time.Time, bool) {
	for _, l := range ls {
		for _, v := range l.Values {
			return v.Time, true
		}
	}
	return time.Time{}, false
}

// hundredths reads a decimal of at most two places exactly, cutting the rest.
func hundredths(t *testing.T, s string) int64 {
	t.Helper()
	whole, frac, _ := strings.Cut(s, ".")
	var n int64
	if _, err := fmt.Sscan(strings.TrimLeft(whole+(frac + "00")[:2], "0")+"", &n); err != nil {
		t.Fatalf("decimal %q: %v", s, err)
	}
	return n
}

func sameDecimal(a, b string) bool {
	trim := func(s string) string { return strings.TrimRight(strings.TrimRight(s, "0"), ".") }
	return trim(a) == trim(b)
}

func readBundle(t *testing.T, path string) (ms []evidence.Manifest) {
	t.Helper()
	for _, d := range deliveries(t, path) {
		ms = append(ms, d.Manifest)
	}
	return ms
}

// deliveries takes a bundle apart.
func deliveries(t *testing.T, path string) (ds []evidence.UnverifiedDelivery) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := bundle.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		b, err := r.Next()
		if errors.Is(err, io.EOF) {
			return ds
		}
		if err != nil {
			t.Fatal(err)
		}
		d, err := evidence.ParseDelivery(bytes.Clone(b)) // b is the reader's
		if err != nil {
			t.Fatal(err)
		}
		ds = append(ds, d)
	}
}
