package sim

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/meter"
	"github.com/tallystick/tallystick/drivers/sim/plant"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

// held is a clock that never moves.
func held(t testing.TB) *plant.Clock {
	t.Helper()
	c, err := plant.NewClock(1, plant.Hold{For: 1e6 * time.Hour}, 0)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// even is a load of 12 kW and 5 kvar.
func even() *plant.Load {
	return plant.NewLoad(time.Time{}, time.Hour, false, []plant.Interval{{Active: 12e6, Lagging: 5e6}})
}

// constant is a Modbus meter with 12000 W in the first of its 40 holding
// registers.
func constant(t testing.TB, fault func(int) meter.Fault) *meter.Modbus {
	t.Helper()
	m, err := meter.NewModbus(meter.Config{
		Name: "constant", Load: even(), Clock: held(t), Fault: fault,
		Registers: []drivers.Register{{Quantity: drivers.Quantity{Name: "power", Unit: "W"}, Table: drivers.HoldingRegister, Type: drivers.Uint16}},
		Ranges:    []drivers.Range{{Table: drivers.HoldingRegister, Last: 39}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func named(t *testing.T, c meter.Config, model meter.Model) *meter.Named {
	t.Helper()
	c.Load, c.Clock = even(), held(t)
	m, err := meter.NewNamed(c, model)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// rtu is a frame of Modbus RTU.
func rtu(unit byte, pdu []byte) []byte {
	b := append([]byte{unit}, pdu...)
	crc := uint16(0xFFFF)
	for _, c := range b {
		crc ^= uint16(c)
		for range 8 {
			odd := crc & 1
			crc = crc>>1 ^ 0xA001*odd
		}
	}
	return binary.LittleEndian.AppendUint16(b, crc)
}

// ask645 is a request of DL/T 645.
func ask645(address string, control byte, data ...byte) []byte {
	b := append(reversed([]byte{0x68}, address), 0x68, control, byte(len(data)))
	for _, d := range data {
		b = append(b, d+0x33)
	}
	return closed(b)
}

// ask188 is a request of CJ/T 188.
func ask188(class byte, address string, control byte, data ...byte) []byte {
	b := append(reversed([]byte{0x68, class}, address), control, byte(len(data)))
	return closed(append(b, data...))
}

// reversed appends digits as BCD, the last two first.
func reversed(b []byte, digits string) []byte {
	bcd := unhex(digits)
	slices.Reverse(bcd)
	return append(b, bcd...)
}

// closed appends the sum and the end of a frame.
func closed(b []byte) []byte {
	sum := byte(0)
	for _, c := range b {
		sum += c
	}
	return append(b, sum, 0x16)
}

// exchange sends a request and collects what comes within a second, with the
// moment of the last byte.
func exchange(t *testing.T, conn net.Conn, request []byte) (reply []byte, took time.Duration) {
	t.Helper()
	return exchangeFor(t, conn, request, time.Second)
}

func exchangeFor(t *testing.T, conn net.Conn, request []byte, wait time.Duration) (reply []byte, took time.Duration) {
	t.Helper()
	start := time.Now()
	if _, err := conn.Write(request); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 512)
	conn.SetReadDeadline(start.Add(wait))
	for {
		n, err := conn.Read(buf)
		if err != nil {
			return reply, took
		}
		reply, took = append(reply, buf[:n]...), time.Since(start)
	}
}

// wired serves a line over a pipe, in a synctest bubble.
func wired(t *testing.T, l Line, host func() (drivers.Settings, bool)) (end net.Conn, stop func()) {
	t.Helper()
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- serve(ctx, far, l.wire(far, host)) }()
	return near, func() {
		cancel()
		near.Close()
		if err := <-served; err != nil {
			t.Errorf("serve: %v, want nil after its context ended", err)
		}
	}
}

func settings(t *testing.T, s string) drivers.Settings {
	t.Helper()
	v, err := drivers.ParseSettings(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// chars is the time of a request, the silence after it and a reply.
func chars(request, reply, bits, baud int) time.Duration {
	return time.Duration((float64(request+reply) + 3.5) * float64(bits) / float64(baud) * 1e9)
}
