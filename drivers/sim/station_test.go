package sim

import (
	"bytes"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// everybody is a line with a meter of every kind, without a speed.
func everybody(t *testing.T) Line {
	t.Helper()
	l := Line{Units: meter.Units{3: constant(t, nil)}}
	for _, m := range []meter.Model{
		{Name: "dlt645-2007-3ph", Address: "000000000001"},
		{Name: "dlt645-1997", Address: "000000000002"},
		{Name: "cjt188-water", Address: "00000000000003", Order: meter.LowFirst},
		{Name: "iec62056-generic", Address: "4"},
	} {
		l.Stations = append(l.Stations, Station{Meter: named(t, meter.Config{}, m)})
	}
	return l
}

// On a line with all protocols each request is answered by the one it is for,
// also when all come in one piece, and with noise between them.
func TestMixedLineDispatch(t *testing.T) {
	requests := [][]byte{
		rtu(3, unhex("03 0000 0001")),
		append(unhex("FE FE FE FE"), ask645("000000000001", 0x11, 0, 0, 1, 0)...),
		ask645("000000000002", 0x01, 0x10, 0x90),
		ask188(0x10, "00000000000003", 0x01, 0x1F, 0x90, 1),
		[]byte("/?4!\r\n"),
	}
	synctest.Test(t, func(t *testing.T) {
		l := everybody(t)
		conn, stop := wired(t, l, nil)
		defer stop()
		var all []byte
		for i, r := range requests {
			got, _ := exchange(t, conn, r)
			asked := []int64{l.Units[3].Requests()}
			for _, s := range l.Stations {
				asked = append(asked, s.Meter.(*meter.Named).Requests())
			}
			for j, n := range asked {
				want := int64(0)
				if j <= i {
					want = 1
				}
				if n != want {
					t.Errorf("after request %d meter %d was asked %d times, want %d", i, j, n, want)
				}
			}
			if len(got) == 0 {
				t.Errorf("request %d: silence", i)
			}
			all = append(all, got...)
		}
		together := bytes.Join(requests, unhex("00 68"))
		if got, _ := exchange(t, conn, together); !bytes.Equal(got, all) {
			t.Errorf("in one piece: % X\nwant % X", got, all)
		}
	})
}

// A meter hears what is sent with its settings, and is understood by who
// listens with them.
func TestForeignSettings(t *testing.T) {
	ours := ask645("000000000001", 0x13)
	for _, c := range []struct {
		host    string
		garbage bool
		heard   bool
	}{
		{"2400 8E1", false, true},
		{"2400 8E2", false, true},
		{"2400 8N1", false, false},
		{"2400 8O1", false, false},
		{"4800 8E1", false, false},
		{"4800 8E1", true, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := named(t, meter.Config{}, meter.Model{Name: "dlt645-2007-3ph", Address: "000000000001"})
			host := settings(t, c.host)
			conn, stop := wired(t, Line{Garbage: c.garbage, Stations: []Station{{Meter: m, Serial: settings(t, "2400 8E1")}}},
				func() (drivers.Settings, bool) { return host, true })
			defer stop()
			got, _ := exchange(t, conn, ours)
			if c.heard != (m.Requests() == 1) || c.heard != (len(got) == 18) || c.garbage != (len(got) > 0 && !c.heard) {
				t.Errorf("%s, garbage %v: % X, %d requests", c.host, c.garbage, got, m.Requests())
			}
		})
	}
}

// A host that changes its speed while the meter thinks reads nothing.
func TestHostChangesSpeed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := named(t, meter.Config{}, meter.Model{Name: "dlt645-2007-3ph", Address: "000000000001"})
		asked := 0
		conn, stop := wired(t, Line{Stations: []Station{{Meter: m, Serial: settings(t, "2400 8E1")}}}, func() (drivers.Settings, bool) {
			asked++
			if asked == 1 {
				return settings(t, "2400 8E1"), true
			}
			return settings(t, "1200 8E1"), true
		})
		defer stop()
		if got, _ := exchange(t, conn, ask645("000000000001", 0x13)); len(got) > 0 || m.Requests() != 1 {
			t.Errorf("% X, %d requests", got, m.Requests())
		}
	})
}

// IEC 62056-21 mode C: signed on to at 300 baud, the meter sends its data at
// the speed it proposed, and takes the time of that. A host that has not
// changed reads nothing; one with eight bits does the parity itself.
func TestIEC62056ChangesSpeed(t *testing.T) {
	for _, c := range []struct {
		name, before, ack, after string
		want                     bool
	}{
		{"changed", "300 7E1", "300 7E1", "2400 7E1", true},
		{"changed before the acknowledgement was read", "300 7E1", "2400 7E1", "2400 7E1", true},
		{"not changed", "300 7E1", "300 7E1", "300 7E1", false},
		{"parity done by hand", "300 8N1", "300 8N1", "2400 8N1", true},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := named(t, meter.Config{}, meter.Model{Name: "iec62056-generic", Address: "1", Speed: 2400})
			var host atomic.Pointer[drivers.Settings]
			set := func(s string) { v := settings(t, s); host.Store(&v) }
			set(c.before)
			conn, stop := wired(t, Line{Stations: []Station{{Meter: m, Serial: settings(t, "300 7E1")}}},
				func() (drivers.Settings, bool) { return *host.Load(), true })
			defer stop()
			send := func(s string) []byte {
				if host.Load().Parity == 'N' {
					return withParity([]byte(s), 'E')
				}
				return []byte(s)
			}
			ident, took := exchange(t, conn, send("/?!\r\n"))
			if string(sevenBits(ident, drivers.Settings{DataBits: 7})) != "/SIM3TALLY\r\n" {
				t.Fatalf("%s: %q", c.name, ident)
			}
			if want := chars(5, 12, 10, 300) + 200*time.Millisecond; took.Round(time.Microsecond) != want.Round(time.Microsecond) {
				t.Errorf("%s: ident after %v, want %v", c.name, took, want)
			}
			set(c.ack)
			request := send("\x06030\r\n")
			go func() {
				time.Sleep(10 * time.Millisecond)
				set(c.after)
			}()
			data, took := exchangeFor(t, conn, request, 10*time.Second)
			if c.want != bytes.HasPrefix(data, send("\x02F.F(")) || !c.want && len(data) > 0 {
				t.Errorf("%s: % X", c.name, data)
			}
			if want := chars(6, 0, 10, 300) - chars(0, 0, 10, 300) + chars(0, len(data), 10, 2400) + 200*time.Millisecond; c.want && took.Round(time.Microsecond) != want.Round(time.Microsecond) {
				t.Errorf("%s: %d bytes after %v, want %v", c.name, len(data), took, want)
			}
		})
	}
}

// A late reply does not hold up the line: it comes when others have been asked
// and have answered.
func TestLateReplyCrosses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := named(t, meter.Config{Fault: func(int) meter.Fault { return meter.Fault{Late: 2500 * time.Millisecond} }}, meter.Model{Name: "dlt645-2007-3ph", Address: "000000000001"})
		quick := named(t, meter.Config{}, meter.Model{Name: "dlt645-2007-3ph", Address: "000000000002"})
		conn, stop := wired(t, Line{Stations: []Station{{Meter: slow}, {Meter: quick}}}, nil)
		defer stop()
		for i, c := range []struct {
			address string
			from    byte // first digits of the address that answers; 0: nobody within the second
			after   time.Duration
		}{
			{"000000000001", 0, 0},
			{"000000000002", 2, 0},
			{"000000000003", 1, 500 * time.Millisecond}, // the first answer, at last
		} {
			got, took := exchange(t, conn, ask645(c.address, 0x13))
			if c.from == 0 && len(got) > 0 || c.from > 0 && (len(got) != 18 || got[1] != c.from || took != c.after) {
				t.Errorf("request %d: % X after %v", i, got, took)
			}
		}
	})
}

// Two meters of one address speak at once; neither is understood. A wildcard
// on a line with two does the same.
func TestCollision(t *testing.T) {
	for _, serial := range []drivers.Settings{{}, settings(t, "2400 8E1")} {
		synctest.Test(t, func(t *testing.T) {
			a := named(t, meter.Config{Base: &drivers.Decimal{Coef: 1111}}, meter.Model{Name: "dlt645-2007-3ph", Address: "000000000001"})
			b := named(t, meter.Config{Base: &drivers.Decimal{Coef: 2222}}, meter.Model{Name: "dlt645-2007-3ph", Address: "000000000001"})
			conn, stop := wired(t, Line{Serial: serial, Stations: []Station{{Meter: a}, {Meter: b}}}, nil)
			defer stop()
			got, _ := exchange(t, conn, ask645("000000000001", 0x11, 0, 0, 1, 0))
			if _, size := a.Find(got); len(got) != 20 || size > 0 {
				t.Errorf("% X, want 20 bytes that are no frame", got)
			}
			if a.Requests() != 1 || b.Requests() != 1 {
				t.Error("not both were asked")
			}
		})
	}
}

// Two that begin at different times overlap from there on.
func TestCollisionOverlaps(t *testing.T) {
	timing := timing{baud: 1000, bits: 10}
	later := timing
	later.delay = 25 * time.Millisecond // two characters and a half
	a := transmission{bytes: unhex("F1 F2 F3"), timing: timing}
	b := transmission{bytes: unhex("0F 1F 2F"), timing: later}
	want := unhex("F1 F2 03 1F 2F")
	if got := a.collide(b).bytes; !bytes.Equal(got, want) {
		t.Errorf("% X, want % X", got, want)
	}
	if got := b.collide(a).bytes; !bytes.Equal(got, want) {
		t.Errorf("the other way round: % X, want % X", got, want)
	}
}

func TestEcho(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := everybody(t)
		l.Echo = true
		conn, stop := wired(t, l, nil)
		defer stop()
		request := rtu(3, unhex("03 0000 0001"))
		got, _ := exchange(t, conn, request)
		if want := append(bytes.Clone(request), rtu(3, unhex("03 02 2EE0"))...); !bytes.Equal(got, want) {
			t.Errorf("% X, want % X", got, want)
		}
	})
}

// Each protocol takes the time of its bytes at its own speed.
func TestNamedTiming(t *testing.T) {
	for _, c := range []struct {
		model   meter.Model
		serial  string
		request []byte
		want    func(reply int) time.Duration
	}{
		{meter.Model{Name: "dlt645-2007-3ph", Address: "000000000001", Wakeup: 4}, "2400 8E1", append(unhex("FE FE FE FE"), ask645("000000000001", 0x11, 0, 0, 1, 0)...),
			func(n int) time.Duration { return chars(4+16, n, 11, 2400) + 30*time.Millisecond }},
		{meter.Model{Name: "cjt188-water", Address: "00000000000001"}, "9600 8N1", unhex("68 10 AA AA AA AA AA AA AA 01 03 90 1F 90 61 16"),
			func(n int) time.Duration { return chars(16, n, 10, 9600) + 50*time.Millisecond }},
		{meter.Model{Name: "iec62056-generic", Address: "1"}, "300 7E1", []byte("/?!\r\n"),
			func(n int) time.Duration { return chars(5, n, 10, 300) + 200*time.Millisecond }},
	} {
		synctest.Test(t, func(t *testing.T) {
			conn, stop := wired(t, Line{Stations: []Station{{Meter: named(t, meter.Config{}, c.model), Serial: settings(t, c.serial)}}}, nil)
			defer stop()
			reply, took := exchangeFor(t, conn, c.request, time.Minute)
			if want := c.want(len(reply)); len(reply) == 0 || took-want > time.Microsecond || want-took > time.Microsecond {
				t.Errorf("%s: %d bytes after %v, on the wire they take %v", c.model.Name, len(reply), took, want)
			}
		})
	}
}
