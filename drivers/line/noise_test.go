package line

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/modbus"
)

// reader returns a Modbus RTU meter on a line and room for its readings.
func reader(t *testing.T, line drivers.Exchanger) (*modbus.Meter, []drivers.Reading) {
	t.Helper()
	m, err := modbus.New(modbus.Config{
		Name: "m", Unit: 1, Timeout: 300 * time.Millisecond,
		Registers: []drivers.Register{{Address: 0}, {Address: 1}, {Address: 3}, {Address: 4}, {Address: 6}},
		Ranges:    []drivers.Range{{Address: 0, Last: 1}, {Address: 3, Last: 4}},
	}, line)
	if err != nil {
		t.Fatal(err)
	}
	return m, make([]drivers.Reading, 5)
}

// Serial servers put their hardware address or a heartbeat before a reply,
// RS-485 adapters the request itself, old meters wake-up bytes: a reply is found
// behind all of it, whole or in pieces, and none of it alone is one.
func TestNoiseBeforeReply(t *testing.T) {
	for name, noise := range map[string]func(request []byte) string{
		"none": func([]byte) string { return "" },
		// a USR serial server set to register itself with each packet
		"hardware address":         func([]byte) string { return "\xD8\xB0\x4C\xBD\xD1\x47" },
		"heartbeat":                func([]byte) string { return "keepalive" },
		"two heartbeats, line end": func([]byte) string { return "keepalive\r\nkeepalive\r\n" },
		"echo":                     func(request []byte) string { return string(request) },
		"echo twice":               func(request []byte) string { return string(request) + string(request) },
		"wake-up bytes":            func([]byte) string { return "\xFE\xFE\xFE\xFE" },
		"beginning of a reply":     func([]byte) string { return "\x01\x03\x04" },
		"damaged reply":            func([]byte) string { return "\x01\x03\x04\x00\x01\x00\x02\xFF\xFF" },
		"zeros":                    func([]byte) string { return strings.Repeat("\x00", 600) },
	} {
		for _, cfg := range []Config{bus, server} {
			for _, pieces := range []bool{false, true} {
				synctest.Test(t, func(t *testing.T) {
					s := slave{}
					var w *wire
					w = newWire(func(n int) {
						request := w.requests[n-1]
						all := noise(request) + string(s.answer(request))
						if !pieces {
							w.after(5*time.Millisecond, all)
							return
						}
						for i := range all {
							w.after(5*time.Millisecond+time.Duration(i)*50*time.Microsecond, all[i:i+1])
						}
					})
					m, dst := reader(t, on(cfg, w).Station(StationConfig{}))
					for s.poll = range 20 {
						if err := m.Read(t.Context(), dst); err != nil {
							t.Fatalf("%s: %v", name, err)
						}
						for i, a := range []uint16{0, 1, 3, 4, 6} {
							if dst[i] != (drivers.Reading{Coef: int64(8*s.poll + a)}) {
								t.Errorf("%s: register %d of poll %d is %+v", name, a, s.poll, dst[i])
							}
						}
					}
				})
			}
		}
	}
}

// Replies late, lost, damaged or cut, one in a hundred each, twelve thousand
// requests: not one value given to another register or poll, and no device that
// answers is given up.
func TestFaultyWire(t *testing.T) {
	const polls = 4000
	for name, cfg := range map[string]Config{"serial": bus, "server": server} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(1, 2))
				s := slave{}
				late, lost, damaged := 0, 0, 0
				var free time.Time // a meter answers one question after the other
				var w *wire
				w = newWire(func(n int) {
					reply := s.answer(w.requests[n-1])
					delay := 5 * time.Millisecond
					switch dice := random.IntN(1000); {
					case dice < 10:
						late++
						delay = time.Duration(random.IntN(1500)) * time.Millisecond
					case dice < 20:
						lost++
						return
					case dice < 30:
						damaged++
						bit := random.IntN(8 * len(reply))
						reply[bit/8] ^= 1 << (bit % 8)
					case dice < 35:
						damaged++
						reply = reply[:random.IntN(len(reply))]
					}
					at := time.Now().Add(delay)
					if at.Before(free) {
						at = free
					}
					free = at.Add(time.Millisecond)
					w.after(time.Until(at), string(reply))
				})
				st := on(cfg, slices.Repeat([]*wire{w}, polls)...).Station(StationConfig{Name: "m"})
				m, dst := reader(t, st)
				right, wrong, none := 0, 0, 0
				for poll := range uint16(polls) {
					s.poll = poll
					start := time.Now()
					m.Read(t.Context(), dst)
					for i, a := range []uint16{0, 1, 3, 4, 6} {
						switch {
						case !dst[i].Quality.HasValue():
							none++
						case dst[i].Coef == int64(8*poll+a):
							right++
						default:
							wrong++
						}
					}
					time.Sleep(time.Second - time.Since(start))
				}
				if wrong != 0 {
					t.Errorf("%d of %d values belong to another register or poll", wrong, right+wrong)
				}
				if len(w.requests) < 10_000 || min(late, lost, damaged) < 50 {
					t.Errorf("%d requests, %d replies late, %d lost, %d damaged: the test tests too little", len(w.requests), late, lost, damaged)
				}
				// Two or three faults in a hundred requests, each costing at
				// most what is left of its poll.
				if none > 5*polls/8 {
					t.Errorf("%d values missing", none)
				}
				if stats := st.Stats(); !stats.Offline.IsZero() {
					t.Errorf("given up: %+v", stats)
				}
				t.Logf("%d requests, %d late, %d lost, %d damaged; %d values right, %d missing; %+v", len(w.requests), late, lost, damaged, right, none, st.Stats())
				time.Sleep(10 * time.Second) // let the wire's timers run out
			})
		})
	}
}
