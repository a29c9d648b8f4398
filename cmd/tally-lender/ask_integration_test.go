//go:build integration

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/cmd/internal/assembly"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
	"github.com/tallystick/tallystick/uplink/evidence/evidencetest"
)

// startMosquitto is a broker with its default limits.
func startMosquitto(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	path, err := exec.LookPath("mosquitto")
	if err != nil {
		path = "/usr/sbin/mosquitto" // not in everybody's path
	}
	conf := filepath.Join(t.TempDir(), "mosquitto.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, "listener %d 127.0.0.1\nallow_anonymous true\n", port), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start mosquitto: %v", err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	eventually(t, "mosquitto", func() bool {
		c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	return "mqtt://127.0.0.1:" + strconv.Itoa(port)
}

// startMeter is an SDM630 on Modbus TCP, unit 7.
func startMeter(t *testing.T) (address string) {
	t.Helper()
	lib := profile.Builtin()
	p, err := lib.Get("eastron-sdm630")
	if err != nil {
		t.Fatal(err)
	}
	clock, err := plant.NewClock(1, plant.Hold{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := meter.NewModbus(meter.Config{Name: "press-1", Load: plant.ShiftPattern(1, time.Now()), Clock: clock}.WithProfile(p))
	if err != nil {
		t.Fatal(err)
	}
	f, err := sim.Open(sim.Line{Kind: sim.TCP, Address: "127.0.0.1:0", Units: meter.Units{7: m}})
	if err != nil {
		t.Fatal(err)
	}
	background(t, func(ctx context.Context) { f.Run(ctx) })
	return f.Lines[0].Address
}

// The whole way through mosquitto, with a box that reads a meter: registers are
// read for a challenge and the answer is in the archive; a channel that is granted
// later opens leaves received before.
func TestIntegrationAskABox(t *testing.T) {
	broker := startMosquitto(t)
	dir, config := bankA(t, broker)
	file := filepath.Join(dir, "tallystick.yaml")
	// agent runs the box until stop; share is what bank-a is granted.
	agent := func(share string) (stop func()) {
		t.Helper()
		text := fmt.Sprintf(`site: {name: plant-7}
lines: [{name: hall-a, tcp: "%s"}]
meters: [{name: press-1, line: hall-a, protocol: modbus-tcp, address: 7, profile: eastron-sdm630, interval: 1s}]
window: 2s
lenders: [{name: bank-a, broker: "%s", share: [%s], public_key: "%s"}]
buffer: {directory: box, sync_interval: 200ms}
`, startMeter(t), broker, share, evidencetest.PublicKey(9))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		site, err := assembly.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		ag, err := assembly.Open(site, assembly.Options{Software: "test", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		return background(t, func(ctx context.Context) {
			if err := ag.Run(ctx); err != nil {
				t.Error(err)
			}
		})
	}
	stop := agent("energy, timing")
	site, err := assembly.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := assembly.OpenKeys(site)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("name: bank-a\nbroker: %s\ndirectory: bank\nkey: lender.key\nboxes: [{name: plant-7, key: %s}]\n", broker, keys.Public())
	if err := keys.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var printed, logged syncBuffer
	stopWatch := background(t, func(ctx context.Context) { run(ctx, []string{"watch", "-c", config, "-v"}, &printed, &logged) })
	eventually(t, "two windows", func() bool { return strings.Count(printed.String(), " plant-7 window ") >= 2 })

	exit, stdout, stderr := command("challenge", "plant-7", "--meter", "press-1", "--input", "0x0000+2", "--holding", "0x9000+1", "-c", config, "--wait", "--timeout", "30s", "--json")
	var answer struct{ Reads []readLine }
	if err := json.Unmarshal([]byte(stdout), &answer); err != nil || exit != 0 || len(answer.Reads) != 2 {
		t.Fatalf("exit %d, %v\n%s%s", exit, err, stdout, stderr)
	}
	holding, input := answer.Reads[0], answer.Reads[1]
	if volts := math.Float32frombits(uint32(input.Numbers[0])<<16 | uint32(input.Numbers[1])); input.Code != "ok" || volts < 180 || volts > 280 {
		t.Errorf("%+v: %v V", input, volts)
	}
	if holding.Code == "ok" || holding.Data != "" {
		t.Errorf("a register that the profile does not mark readable was read: %+v", holding)
	}
	eventually(t, "the answer in the watch", func() bool { return strings.Contains(printed.String(), "press-1 input 0x0000+2 = "+input.Data[:4]) })
	stop()

	stop = agent("energy, voltage-current, timing")
	out := filepath.Join(dir, "again.tally")
	exit, _, stderr = command("replay", "plant-7", "--from", "2", "--to", "4", "--channels", "voltage-current,timing", "-o", out, "-c", config)
	if exit != 0 || !strings.Contains(stderr, "3 leaves came, 2 to 4") {
		t.Fatalf("exit %d\n%s", exit, stderr)
	}
	if exit, table, stderr := command("csv", out, "-c", config, "--channel", "voltage-current"); exit != 0 || !strings.Contains(table, "press-1,voltage_l1,V,2") {
		t.Errorf("exit %d, %s\n%s", exit, stderr, table)
	}
	stop()
	stopWatch()
	archives, err := filepath.Glob(filepath.Join(dir, "bank", "plant-7", "*", "archive.tally"))
	if err != nil || len(archives) != 1 {
		t.Fatal(archives, err)
	}
	if exit, _, stderr := command("verify", archives[0], "-c", config); exit != 0 {
		t.Errorf("the archive: exit %d\n%s", exit, stderr)
	}
	for n := 2; n <= 4; n++ {
		if ours, theirs := leafHash(t, archives[0], n), leafHash(t, out, n); ours != theirs {
			t.Errorf("leaf %d: %s in the archive, %s in what came again", n, ours, theirs)
		}
	}
	if s := logged.String(); strings.Contains(s, "disconnected") {
		t.Errorf("the watch was disturbed:\n%s", s)
	}
}
