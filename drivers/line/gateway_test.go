package line

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// Of three meters behind a Modbus TCP gateway the third is dead, which the
// gateway says after a second of waiting, during which it hears nobody. It is
// held off like one that is silent, the two others keep their pace and every
// reading, and it is back when it answers.
func TestDeadBehindGateway(t *testing.T) {
	for code, reason := range map[byte]string{
		0x0A: "gateway: no path to the target (exception 0A)",
		0x0B: "gateway: target did not respond (exception 0B)",
	} {
		synctest.Test(t, func(t *testing.T) { testDeadBehindGateway(t, code, reason) })
	}
}

func testDeadBehindGateway(t *testing.T, code byte, reason string) {
	const takes, waits = 20 * time.Millisecond, time.Second
	dead, asked := true, 0
	var free time.Time // when the gateway takes the next request
	var w *wire
	w = newWire(func(n int) {
		q := w.requests[n-1]
		if now := time.Now(); free.Before(now) {
			free = now
		}
		reply := append([]byte{q[0], q[1], 0, 0, 0, byte(3 + 2*q[11]), q[6], q[7], 2 * q[11]}, make([]byte, 2*q[11])...)
		free = free.Add(takes)
		if q[6] == 3 {
			asked++
			if dead {
				reply = []byte{q[0], q[1], 0, 0, 0, 3, q[6], q[7] | 0x80, code}
				free = free.Add(waits - takes)
			}
		}
		w.after(time.Until(free), string(reply))
	})
	l := on(server, w)
	var meters []*modbus.Meter
	var stations []*Station
	for unit := range uint8(3) {
		s := l.Station(StationConfig{})
		m, err := modbus.New(modbus.Config{Name: fmt.Sprint("m", unit+1), Unit: unit + 1, Framing: modbus.TCP, Timeout: 3 * time.Second,
			Registers: []drivers.Register{{Quantity: drivers.Quantity{Name: "a"}}, {Quantity: drivers.Quantity{Name: "b"}, Address: 500}}}, s)
		if err != nil {
			t.Fatal(err)
		}
		meters, stations = append(meters, m), append(stations, s)
	}
	var dst [2]drivers.Reading
	cycle := func() (err error) {
		for i, m := range meters {
			if err = m.Read(t.Context(), dst[:]); err != nil && i < 2 {
				t.Fatal(err)
			}
		}
		return err
	}

	start := time.Now()
	err := cycle()
	if want := "read holding registers 0x0000+1 from meter m3: " + reason; err == nil || err.Error() != want {
		t.Errorf("%v, want %s", err, want)
	}
	if dst[0].Quality != drivers.Timeout || dst[1].Quality != drivers.Timeout {
		t.Errorf("readings %v", dst)
	}
	if asked != 1 {
		t.Errorf("asked %d times in one poll", asked)
	}
	for stations[2].Stats().Offline.IsZero() {
		cycle()
		if time.Since(start) > 10*time.Second {
			t.Fatal("not given up")
		}
	}
	for range 1500 { // in which the pauses grow
		cycle()
	}
	start, asked = time.Now(), 0
	const cycles = 10000
	for range cycles {
		cycle()
	}
	if ratio := float64(time.Since(start)) / cycles / float64(4*takes); ratio > 1.05 {
		t.Errorf("a cycle takes %.3f times that of the healthy two", ratio)
	}
	if n := int(time.Since(start) / lastHold); asked < n-1 || asked > n+1 {
		t.Errorf("asked %d times in %v", asked, time.Since(start))
	}

	dead, start = false, time.Now()
	for cycle() != nil {
		if time.Since(start) > lastHold+time.Second {
			t.Fatal("not found again")
		}
	}
	if st := stations[2].Stats(); !st.Offline.IsZero() {
		t.Errorf("%+v", st)
	}
	// It dies again: it is waited for as long as the gateway waits, or else the
	// others' requests would queue behind its.
	dead = true
	for range 200 {
		cycle()
	}
}
