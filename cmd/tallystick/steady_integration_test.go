//go:build integration

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
)

// BenchmarkSteadyState measures the agent as users run it: 50 meters with 20
// values each every 10 s over one Modbus TCP connection to tally-sim, to
// mosquitto at QoS 1, a lender confirming, signing and disk log included, for
// three minutes. Run it with -benchtime 1x. It reports
//
//	rss-MB         resident memory at the end
//	cpu-%          of one core, user and system, the start excluded
//	first-poll-ms  from the start of the process to its first poll
//	binary-MB      the stripped static binary
//	flash-B/value  written to disk by the process
//	wire-B/value   payload of the window deliveries
func BenchmarkSteadyState(b *testing.B) {
	const meters, values, length = 50, 20, 3 * time.Minute
	dir := b.TempDir()
	tallystick, lender := binary(b, "tallystick"), binary(b, "tally-lender")
	sim := start(b, binary(b, "tally-sim"), "--line", "tcp:127.0.0.1:0", "--meter", fmt.Sprintf("1-%d=eastron-sdm630", meters), "--json")
	eventually(b, 10*time.Second, "the simulator is ready", func() bool { return len(sim.output()) > 0 })
	var ready struct{ Lines []struct{ Address string } }
	if err := json.Unmarshal([]byte(sim.output()[0]), &ready); err != nil {
		b.Fatal(err)
	}
	port := freePort(b)
	mosquitto(b, port)

	lenderKey := strings.TrimSpace(output(b, lender, "keygen", filepath.Join(dir, "lender.key")))
	var site strings.Builder
	fmt.Fprintf(&site, "site: {name: steady}\nlines: [{name: bus, tcp: \"%s\"}]\nmeters:\n", ready.Lines[0].Address)
	for unit := 1; unit <= meters; unit++ {
		fmt.Fprintf(&site, "  - {name: m%d, line: bus, protocol: modbus-tcp, address: %d, profile: eastron-sdm630, interval: 10s, quantities: ["+
			"voltage_l1, voltage_l2, voltage_l3, current_l1, current_l2, current_l3, power_l1, power_l2, power_l3, "+
			"apparent_power_l1, apparent_power_l2, apparent_power_l3, power, reactive_power, power_factor, frequency, "+
			"energy_import, energy_export, reactive_import, reactive_export]}\n", unit, unit)
	}
	fmt.Fprintf(&site, `lenders:
  - {name: bank-a, broker: "mqtt://127.0.0.1:%d", public_key: "%s", share: [energy, power, voltage-current, reactive, frequency, timing]}
buffer: {directory: %s}
`, port, lenderKey, filepath.Join(dir, "box"))
	config := filepath.Join(dir, "tallystick.yaml")
	write(b, config, site.String())
	boxKey := strings.TrimSpace(output(b, tallystick, "key", "show", "--config", config))
	watchFile := filepath.Join(dir, "lender.yaml")
	write(b, watchFile, fmt.Sprintf("name: bank-a\nkey: lender.key\nbroker: mqtt://127.0.0.1:%d\ndirectory: bank\nboxes: [{name: steady, key: \"%s\"}]\n", port, boxKey))
	watch := start(b, lender, "watch", "--config", watchFile, "--json")

	for b.Loop() {
		began := time.Now()
		agent := start(b, tallystick, "run", "--config", config)
		time.Sleep(5 * time.Second) // the start is not the steady state
		pid := agent.cmd.Process.Pid
		cpu0, io0, at := cpuTicks(b, pid), writtenBytes(b, pid), time.Now()
		time.Sleep(length)
		cpu1, io1, elapsed := cpuTicks(b, pid), writtenBytes(b, pid), time.Since(at)
		rss := residentKB(b, pid)
		if code := agent.stop(b); code != 0 {
			b.Fatalf("agent exited with %d", code)
		}
		leaves := objects[watched](b, watch)
		readings := 0
		for _, l := range leaves {
			if l.Verdict != "verified" {
				b.Fatalf("leaf %d: %s %s", l.N, l.Verdict, l.Reasons)
			}
			readings += l.Readings
		}
		first, ok := firstPoll(leaves)
		if !ok {
			b.Fatal("the lender has no reading")
		}
		archives, _ := filepath.Glob(filepath.Join(dir, "bank", "steady", "*", "archive.tally"))
		if len(archives) != 1 {
			b.Fatalf("%d archives at the lender", len(archives))
		}
		bin, err := os.Stat(tallystick)
		if err != nil {
			b.Fatal(err)
		}
		polled := float64(meters*values) * elapsed.Seconds() / 10
		b.ReportMetric(float64(rss)/1000, "rss-MB")
		b.ReportMetric(100*float64(cpu1-cpu0)/ticksPerSecond/elapsed.Seconds(), "cpu-%")
		b.ReportMetric(float64(first.Sub(began).Milliseconds()), "first-poll-ms")
		b.ReportMetric(float64(bin.Size())/1e6, "binary-MB")
		b.ReportMetric(float64(io1-io0)/polled, "flash-B/value")
		b.ReportMetric(float64(windowBytes(b, archives[0]))/float64(readings), "wire-B/value")
	}
}

// windowBytes is the size of the window deliveries in a bundle.
func windowBytes(b *testing.B, path string) (n int) {
	b.Helper()
	f, err := os.Open(path)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r, err := bundle.NewReader(f)
	if err != nil {
		b.Fatal(err)
	}
	for {
		d, err := r.Next()
		if errors.Is(err, io.EOF) {
			return n
		}
		if err != nil {
			b.Fatal(err)
		}
		u, err := evidence.ParseDelivery(d)
		if err != nil {
			b.Fatal(err)
		}
		if u.Manifest.Type == evidence.WindowLeaf {
			n += len(d)
		}
	}
}

// ticksPerSecond is USER_HZ, 100 on every Linux Go runs on.
const ticksPerSecond = 100

// cpuTicks is user and system time (proc(5), stat fields 14 and 15).
func cpuTicks(b *testing.B, pid int) int64 {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+2:]))
	return number(b, f[11]) + number(b, f[12])
}

func writtenBytes(b *testing.B, pid int) int64 {
	b.Helper()
	return field(b, fmt.Sprintf("/proc/%d/io", pid), "write_bytes:")
}

func residentKB(b *testing.B, pid int) int64 {
	b.Helper()
	return field(b, fmt.Sprintf("/proc/%d/status", pid), "VmRSS:")
}

func field(b *testing.B, file, name string) int64 {
	b.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		b.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, name); ok {
			return number(b, strings.Fields(rest)[0])
		}
	}
	b.Fatalf("%s has no %s", file, name)
	return 0
}

func number(b *testing.B, s string) int64 {
	b.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}
