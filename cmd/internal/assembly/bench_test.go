package assembly

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/goburrow/modbus"

	"github.com/tallystick/tallystick/agent"
	"github.com/tallystick/tallystick/configs"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// BenchmarkSocketToSealedWindow measures the agent's CPU for one value, from
// the socket to the sealed, flushed window: 50 units with 20 float32 values in
// 40 registers each, one Modbus TCP connection to tally-sim in a process of its
// own. One operation is one unit read. cpu-us/value counts user and system time
// of this process only.
func BenchmarkSocketToSealedWindow(b *testing.B) {
	const units, values = 50, 20
	lib, err := profile.Builtin()
	if err != nil {
		b.Fatal(err)
	}
	site := &configs.Site{Lines: []configs.Line{{Name: "bench", TCP: configs.Address(startSim(b, units))}}}
	for unit := range units {
		site.Meters = append(site.Meters, configs.Meter{
			Name: configs.Name("m" + string(rune('a'+unit/26)) + string(rune('a'+unit%26))), Line: "bench",
			Protocol: configs.ModbusTCP, Address: configs.MeterAddress(strconv.Itoa(unit + 1)), Profile: "eastron-sdm630",
			CT: configs.Ratio{Coef: 1}, PT: configs.Ratio{Coef: 1},
			Quantities: []string{ // registers 342 to 381, without a hole
				"energy_sum", "reactive_sum", "energy_import_l1", "energy_import_l2", "energy_import_l3",
				"energy_export_l1", "energy_export_l2", "energy_export_l3", "energy_sum_l1", "energy_sum_l2", "energy_sum_l3",
				"reactive_import_l1", "reactive_import_l2", "reactive_import_l3", "reactive_export_l1", "reactive_export_l2",
				"reactive_export_l3", "reactive_sum_l1", "reactive_sum_l2", "reactive_sum_l3",
			},
		})
	}
	lines, err := Lines(site, lib, nil, nil)
	if err != nil {
		b.Fatal(err)
	}
	interval := pace(b, lines[0].Meters)
	for i := range lines[0].Meters {
		lines[0].Meters[i].Interval = interval
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		b.Fatal(err)
	}
	ctx, stop := context.WithCancel(b.Context())
	defer stop()
	polls, failed := 0, 0
	a, err := agent.Open(agent.Site{
		Lines: lines, Dir: b.TempDir(),
		Channels: []evidence.Channel{evidence.Energy, evidence.Reactive, evidence.Timing},
		Window:   200 * time.Millisecond, Sync: 10 * time.Second,
		Signer: evidence.NewEd25519Signer(key, "file"), Salt: make([]byte, 32),
		Software: "bench", Log: slog.New(slog.DiscardHandler),
		OnPoll: func(p agent.Poll) {
			if p.Err != nil {
				failed++
			}
			if polls++; polls == b.N {
				stop()
			}
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	b.ResetTimer()
	before := cpu(b)
	if err := a.Run(ctx); err != nil {
		b.Fatal(err)
	}
	used := cpu(b) - before
	b.StopTimer()
	if failed > 0 {
		b.Fatalf("%d of %d polls failed", failed, polls)
	}
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(polls*values), "cpu-us/value")
}

// pace is the shortest interval, in whole milliseconds, at which this machine
// reads all meters without leaving one out: the loops this is held against never
// pause either.
func pace(b *testing.B, meters []agent.Meter) time.Duration {
	b.Helper()
	const rounds = 100
	dst := make([]drivers.Reading, len(meters[0].Columns))
	start := time.Now()
	for range rounds {
		for _, m := range meters {
			if err := m.Device.Read(b.Context(), dst); err != nil {
				b.Fatal(err)
			}
		}
	}
	round := time.Since(start) / rounds
	return (round*5/4 + time.Millisecond).Truncate(time.Millisecond)
}

// BenchmarkBareSocket is the floor of the above: the same requests and replies
// over a connection to the same simulator, nothing decoded, checked or kept.
func BenchmarkBareSocket(b *testing.B) {
	const units, values = 50, 20
	conn, err := net.Dial("tcp", startSim(b, units))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	// Read input registers 342+40 (Modbus application protocol, section 6.4).
	request := []byte{0, 0, 0, 0, 0, 6, 1, 4, 342 >> 8, 342 & 0xff, 0, 40}
	reply := make([]byte, 9+80)
	b.ResetTimer()
	before := cpu(b)
	for i := range b.N {
		request[1], request[6] = byte(i), byte(i%units)+1
		if _, err := conn.Write(request); err != nil {
			b.Fatal(err)
		}
		if _, err := io.ReadFull(conn, reply); err != nil {
			b.Fatal(err)
		}
	}
	used := cpu(b) - before
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N*values), "cpu-us/value")
}

// BenchmarkGoburrowLoop is the library's own client in a loop over the same
// units and registers: decoded to bytes, nothing kept.
func BenchmarkGoburrowLoop(b *testing.B) {
	const units, values = 50, 20
	h := modbus.NewTCPClientHandler(startSim(b, units))
	if err := h.Connect(); err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	client := modbus.NewClient(h)
	b.ResetTimer()
	before := cpu(b)
	for i := range b.N {
		h.SlaveId = byte(i%units) + 1
		if _, err := client.ReadInputRegisters(342, 40); err != nil {
			b.Fatal(err)
		}
	}
	used := cpu(b) - before
	b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N*values), "cpu-us/value")
}

// cpu is the user and system time this process has used.
func cpu(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// startSim runs tally-sim with units of an SDM630 and returns where it listens.
func startSim(b *testing.B, units int) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "tally-sim")
	if out, err := exec.Command("go", "build", "-o", bin, "../../tally-sim").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	sim := exec.Command(bin, "--line", "tcp:127.0.0.1:0", "--meter", "1-50=eastron-sdm630", "--json")
	out, err := sim.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := sim.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		sim.Process.Kill()
		sim.Wait()
	})
	line, err := bufio.NewReader(out).ReadBytes('\n')
	if err != nil {
		b.Fatal(err)
	}
	var ready struct {
		Lines []struct {
			Address string `json:"address"`
		} `json:"lines"`
	}
	if err := json.Unmarshal(line, &ready); err != nil {
		b.Fatal(err)
	}
	return ready.Lines[0].Address
}
