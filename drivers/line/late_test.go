package line

import (
	"encoding/binary"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// slave answers reads of holding registers, register a of poll p holding
// 8*p + a, on the far end of a wire.
type slave struct {
	framing modbus.Framing
	poll    uint16
}

func (s *slave) answer(request []byte) []byte {
	pdu := request[1:]
	if s.framing == modbus.TCP {
		pdu = request[7:]
	}
	address, count := binary.BigEndian.Uint16(pdu[1:]), binary.BigEndian.Uint16(pdu[3:])
	reply := []byte{1, 3, byte(2 * count)}
	for a := address; a < address+count; a++ {
		reply = binary.BigEndian.AppendUint16(reply, 8*s.poll+a)
	}
	if s.framing == modbus.TCP {
		head := slices.Clone(request[:4])
		return append(binary.BigEndian.AppendUint16(head, uint16(len(reply))), reply...)
	}
	return binary.LittleEndian.AppendUint16(reply, crc(reply))
}

func crc(b []byte) uint16 {
	sum := uint16(0xFFFF)
	for _, c := range b {
		sum ^= uint16(c)
		for range 8 {
			if sum&1 == 1 {
				sum = sum>>1 ^ 0xA001
			} else {
				sum >>= 1
			}
		}
	}
	return sum
}

// A meter whose replies come late - by a little, by exactly one poll, by more -
// or always answer the question before: thousands of polls through the real
// line and driver, and not one value given to another register or poll.
func TestNoValueIsMisassigned(t *testing.T) {
	const polls = 1000
	interval := time.Second
	lines := map[string]struct {
		cfg     Config
		framing modbus.Framing
	}{
		"RTU":          {bus, modbus.RTU},
		"RTU over TCP": {server, modbus.RTU},
		"TCP":          {server, modbus.TCP},
	}
	// delays gives the delay of the reply to request n.
	for name, delay := range map[string]func(n int) time.Duration{
		"every 10th by 310 ms":        func(n int) time.Duration { return choose(n%10 == 0, 310*time.Millisecond) },
		"every 7th by 370 ms":         func(n int) time.Duration { return choose(n%7 == 0, 370*time.Millisecond) },
		"every 3rd by one poll":       func(n int) time.Duration { return choose(n%3 == 0, interval) },
		"every 5th by one poll, less": func(n int) time.Duration { return choose(n%5 == 0, interval-5*time.Millisecond) },
		"every 5th by one poll, more": func(n int) time.Duration { return choose(n%5 == 0, interval+5*time.Millisecond) },
		"by 0 to 2 polls":             func(n int) time.Duration { return choose(n%4 == 0, time.Duration(n*7919%2000)*time.Millisecond) },
		"all by one poll":             func(n int) time.Duration { return choose(n > 20, interval) },
		"one question behind":         nil,
	} {
		for line, c := range lines {
			t.Run(line+"/"+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := slave{framing: c.framing}
					var w *wire
					var behind []byte
					var free time.Time // when the meter has sent the replies it owes
					w = newWire(func(n int) {
						reply := s.answer(w.requests[n-1])
						if delay == nil && n > 20 {
							reply, behind = behind, reply
							w.after(5*time.Millisecond, string(reply))
						} else if delay == nil {
							w.after(5*time.Millisecond, string(reply))
						} else {
							// A meter answers one question after the other.
							at := time.Now().Add(5*time.Millisecond + delay(n))
							if at.Before(free) {
								at = free
							}
							free = at.Add(time.Millisecond)
							w.after(time.Until(at), string(reply))
						}
					})
					cfg := modbus.Config{
						Name: "m", Unit: 1, Framing: c.framing, Timeout: 300 * time.Millisecond,
						// Three requests, two of them of the same length.
						Registers: []drivers.Register{{Address: 0}, {Address: 1}, {Address: 3}, {Address: 4}, {Address: 6}},
						Ranges:    []drivers.Range{{Address: 0, Last: 1}, {Address: 3, Last: 4}},
					}
					wires := make([]*wire, polls) // a connection closed for garbage is opened again
					for i := range wires {
						wires[i] = w
					}
					m, err := modbus.New(cfg, on(c.cfg, wires...))
					if err != nil {
						t.Fatal(err)
					}
					right, wrong := 0, 0
					dst := make([]drivers.Reading, 5)
					for poll := range uint16(polls) {
						start := time.Now()
						s.poll = poll
						m.Read(t.Context(), dst)
						for i, a := range []uint16{0, 1, 3, 4, 6} {
							if !dst[i].Quality.HasValue() {
								continue
							}
							if dst[i].Coef == int64(8*poll+a) {
								right++
							} else {
								wrong++
							}
						}
						time.Sleep(interval - time.Since(start))
					}
					if wrong != 0 {
						t.Errorf("%d of %d values belong to another register or poll", wrong, right+wrong)
					}
					if right == 0 {
						t.Error("nothing was read: the test tests nothing")
					}
					t.Logf("%d right values, %d requests", right, len(w.requests))
					time.Sleep(10 * time.Second) // let the wire's timers run out
				})
			})
		}
	}
}

func choose(late bool, d time.Duration) time.Duration {
	if late {
		return d
	}
	return 0
}
