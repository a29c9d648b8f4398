//go:build unix

package assembly

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
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
	"github.com/tallystick/tallystick/drivers/profile"
	"github.com/tallystick/tallystick/uplink/evidence"
)

const (
	units, values = 50, 20                // of the meters, and of each
	interval      = 10 * time.Millisecond // between two polls of a meter
)

// BenchmarkSocketToSealedWindow measures the agent's CPU for one value, from
// the socket to the sealed, flushed window: 50 units with 20 float32 values in
// 40 registers each, one Modbus TCP connection to tally-sim in a process of its
// own. One operation is one unit read. cpu-us/value counts user and system time
// of this process only.
func BenchmarkSocketToSealedWindow(b *testing.B) {
	lib := profile.Builtin()
	site := &configs.Site{Lines: []configs.Line{{Name: "bench", TCP: configs.Address(startSim(b))}}}
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

// peer measures what ask takes, once without a pause and once pausing after
// every round of units as the agent does: an idle processor is woken at a price.
func peer(b *testing.B, ask func(i, unit int) error) {
	run := func(b *testing.B, pause func()) {
		before := cpu(b)
		for i := range b.N {
			if i%units == 0 {
				pause()
			}
			if err := ask(i, i%units+1); err != nil {
				b.Fatal(err)
			}
		}
		used := cpu(b) - before
		b.ReportMetric(float64(used.Nanoseconds())/1e3/float64(b.N*values), "cpu-us/value")
	}
	b.Run("back-to-back", func(b *testing.B) { run(b, func() {}) })
	b.Run("paced", func(b *testing.B) {
		ticks := time.NewTicker(interval)
		defer ticks.Stop()
		run(b, func() { <-ticks.C })
	})
}

// BenchmarkBareSocket is the floor of the above: the same requests and replies
// over a connection to the same simulator, nothing decoded, checked or kept.
func BenchmarkBareSocket(b *testing.B) {
	conn, err := net.Dial("tcp", startSim(b))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	// Read input registers 342+40 (Modbus application protocol, section 6.4).
	request := []byte{0, 0, 0, 0, 0, 6, 1, 4, 342 >> 8, 342 & 0xff, 0, 40}
	reply := make([]byte, 9+4*values)
	peer(b, func(i, unit int) error {
		request[1], request[6] = byte(i), byte(unit)
		if _, err := conn.Write(request); err != nil {
			return err
		}
		_, err := io.ReadFull(conn, reply)
		return err
	})
}

// BenchmarkBlockingSocket is the floor without Go's poller: the two system calls
// that any program must make for an exchange.
func BenchmarkBlockingSocket(b *testing.B) {
	conn, err := net.Dial("tcp", startSim(b))
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	f, err := conn.(*net.TCPConn).File()
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	fd := int(f.Fd()) // which makes it blocking
	request := []byte{0, 0, 0, 0, 0, 6, 1, 4, 342 >> 8, 342 & 0xff, 0, 40}
	reply := make([]byte, 9+4*values)
	peer(b, func(i, unit int) error {
		request[1], request[6] = byte(i), byte(unit)
		if _, err := syscall.Write(fd, request); err != nil {
			return err
		}
		if n, err := syscall.Read(fd, reply); err != nil || n != len(reply) {
			return fmt.Errorf("read %d bytes, expected %d: %v", n, len(reply), err)
		}
		return nil
	})
}

// BenchmarkGoburrowLoop is the library's own client in a loop over the same
// units and registers: decoded to bytes, nothing kept.
func BenchmarkGoburrowLoop(b *testing.B) {
	h := modbus.NewTCPClientHandler(startSim(b))
	if err := h.Connect(); err != nil {
		b.Fatal(err)
	}
	defer h.Close()
	client := modbus.NewClient(h)
	peer(b, func(_, unit int) error {
		h.SlaveId = byte(unit)
		_, err := client.ReadInputRegisters(342, 40)
		return err
	})
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
func startSim(b *testing.B) string {
	b.Helper()
	bin := filepath.Join(b.TempDir(), "tally-sim")
	if out, err := exec.Command("go", "build", "-o", bin, "../../tally-sim").CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, out)
	}
	sim := exec.Command(bin, "--line", "tcp:127.0.0.1:0", "--meter", "1-"+strconv.Itoa(units)+"=eastron-sdm630", "--json")
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
