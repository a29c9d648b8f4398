//go:build unix

package modbus_test

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/line"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// BenchmarkModbusTCP polls 50 units of 40 registers, 20 float32 values each,
// over one connection. The slave is a process of its own, so that cpu-ns/value
// is the reader's CPU time, user and system, alone.
func BenchmarkModbusTCP(b *testing.B) {
	if os.Getenv("MODBUS_BENCH_SLAVE") != "" {
		benchSlave()
		return
	}
	slave := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkModbusTCP$", "-test.benchtime=1x")
	slave.Env = append(os.Environ(), "MODBUS_BENCH_SLAVE=1")
	in, err := slave.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := slave.StderrPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := slave.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() { in.Close(); slave.Wait() }()
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		b.Fatal(err)
	}

	bus := line.New(line.Config{Name: "bench", TCP: address[:len(address)-1]})
	defer bus.Close()
	const units, values = 50, 20
	meters := make([]*modbus.Meter, units)
	for i := range meters {
		cfg := modbus.Config{Name: fmt.Sprint("m", i), Unit: uint8(i + 1), Framing: modbus.TCP, Ranges: []drivers.Range{{Last: 2*values - 1}}}
		for v := range uint16(values) {
			cfg.Registers = append(cfg.Registers, drivers.Register{
				Quantity: drivers.Quantity{Name: fmt.Sprint("q", v), Exp: -1}, Address: 2 * v, Type: drivers.Float32, Limited: true, Max: 5000})
		}
		if meters[i], err = modbus.New(cfg, bus); err != nil {
			b.Fatal(err)
		}
		if n := len(meters[i].Requests()); n != 1 {
			b.Fatalf("%d requests for 40 registers", n)
		}
	}
	dst := make([]drivers.Reading, values)
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	b.ReportAllocs()
	before := cpu()
	for b.Loop() {
		for _, m := range meters {
			if err := m.Read(ctx, dst); err != nil || dst[values-1] != (drivers.Reading{Coef: 2301}) {
				b.Fatal(err, dst)
			}
		}
	}
	total := float64(b.N) * units * values
	b.ReportMetric(float64(cpu()-before)/total, "cpu-ns/value")
	b.ReportMetric(float64(b.Elapsed())/total, "ns/value")
}

// cpu is the CPU time this process has used.
func cpu() time.Duration {
	var u syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// benchSlave answers until its standard input ends. Its address goes to
// standard error, which the test framework leaves alone.
func benchSlave() {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return
	}
	fmt.Fprintln(os.Stderr, l.Addr())
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		request, reply := make([]byte, 12), make([]byte, 9+250)
		for {
			if _, err := io.ReadFull(c, request); err != nil {
				return
			}
			n := 2 * int(binary.BigEndian.Uint16(request[10:]))
			copy(reply, request[:8])
			binary.BigEndian.PutUint16(reply[4:], uint16(3+n))
			reply[8] = byte(n)
			for i := 0; i < n; i += 4 {
				binary.BigEndian.PutUint32(reply[9+i:], math.Float32bits(230.1))
			}
			c.Write(reply[:9+n])
		}
	}()
	io.Copy(io.Discard, os.Stdin)
}

// BenchmarkRead is the part of it that is not the kernel's and the line's.
func BenchmarkRead(b *testing.B) {
	const values = 20
	data := make([]byte, 9+4*values)
	for i := range values {
		binary.BigEndian.PutUint32(data[9+4*i:], math.Float32bits(230.1))
	}
	bus := exchanger(func(x drivers.Exchange) []byte {
		copy(data, x.Request[:8])
		data[5], data[8] = byte(3+4*values), 4*values
		skip, size := x.Match(data)
		return data[skip : skip+size]
	})
	cfg := modbus.Config{Name: "m", Unit: 1, Framing: modbus.TCP, Ranges: []drivers.Range{{Last: 2*values - 1}}}
	for v := range uint16(values) {
		cfg.Registers = append(cfg.Registers, drivers.Register{
			Quantity: drivers.Quantity{Name: fmt.Sprint("q", v), Exp: -1}, Address: 2 * v, Type: drivers.Float32, Limited: true, Max: 5000})
	}
	m, err := modbus.New(cfg, bus)
	if err != nil {
		b.Fatal(err)
	}
	dst := make([]drivers.Reading, values)
	b.ReportAllocs()
	for b.Loop() {
		if err := m.Read(context.Background(), dst); err != nil || dst[values-1].Coef != 2301 {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed())/float64(b.N)/values, "ns/value")
}

type exchanger func(drivers.Exchange) []byte

func (e exchanger) Exchange(_ context.Context, x drivers.Exchange) ([]byte, error) { return e(x), nil }
