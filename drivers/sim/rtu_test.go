package sim

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers/sim/meter"
)

// When the bytes of a reply are through, by arithmetic: 8 characters of
// request, 3.5 of silence, the meter's delay, then one character each.
func TestTimingLands(t *testing.T) {
	for _, c := range []struct {
		name   string
		timing timing
		i      int
		want   time.Duration
	}{
		{"no wire", timing{}, 8, 0},
		{"9600 8N1, first byte", timing{baud: 9600, bits: 10}, 0, 8333333 + 7291666/2 + 1041666},
		{"9600 8N1, ninth byte", timing{baud: 9600, bits: 10}, 8, 8333333 + 7291666/2 + 9375000},
		{"2400 8E1 and a slow meter", timing{baud: 2400, bits: 11, delay: 20 * time.Millisecond}, 0, 36666666 + 32083333/2 + 20*time.Millisecond + 4583333},
		{"115200 8N1", timing{baud: 115200, bits: 10}, 0, 694444 + 1750*time.Microsecond + 86805},
	} {
		if got := c.timing.landed(8, c.i); got != c.want {
			t.Errorf("%s: %d ns, want %d", c.name, got, c.want)
		}
	}
}

func TestRTUTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, stop := wired(t, Line{Serial: settings(t, "9600 8N1"), Units: meter.Units{3: constant(t, nil)}}, nil)
		defer stop()
		reply, took := exchange(t, conn, rtu(3, unhex("03 0000 0012")))
		if len(reply) != 5+36 {
			t.Fatalf("% X", reply)
		}
		// 8 + 3.5 + 41 characters of 10 bits at 9600, and 5 ms
		want := time.Duration(52.5*10/9600*1e9) + 5*time.Millisecond
		if d := took - want; d < -time.Microsecond || d > time.Microsecond {
			t.Errorf("the last byte came after %v, on the wire it takes %v", took, want)
		}
	})
}

func TestRTUFrames(t *testing.T) {
	good := rtu(3, unhex("03 0000 0001"))
	answer := rtu(3, unhex("03 02 2EE0"))
	bad := append([]byte{}, good...)
	bad[7] ^= 1
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name      string
		ask, want []byte
	}{
		{"request", good, answer},
		{"two at once", cat(good, good), cat(answer, answer)},
		{"other unit", rtu(4, unhex("03 0000 0001")), nil},
		{"broadcast", rtu(0, unhex("03 0000 0001")), nil},
		{"bad checksum", bad, nil},
		{"bad, then good", cat(bad, good), answer},
		{"noise before", cat(unhex("00 FF 03"), good), answer},
		{"beginning of a long write before", cat(unhex("03 10 0000 0040 80 0001"), good), answer},
		{"noise longer than the buffer", cat(bytes.Repeat([]byte{3, 16, 0, 0, 0, 120, 240}, 90), good), answer},
		{"write", rtu(3, unhex("10 0000 0001 02 0000")), rtu(3, unhex("90 01"))},
		{"write coils", rtu(3, unhex("0F 0000 0001 01 01")), rtu(3, unhex("8F 01"))},
		{"single write", rtu(3, unhex("06 0000 0001")), rtu(3, unhex("86 01"))},
		{"report server id", rtu(3, unhex("11")), rtu(3, unhex("91 01"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, stop := wired(t, Line{Units: meter.Units{3: constant(t, nil)}}, nil)
				defer stop()
				if got, _ := exchange(t, conn, c.ask); !bytes.Equal(got, c.want) {
					t.Errorf("% X\nwant % X", got, c.want)
				}
			})
		})
	}
}

// Half a request, a pause, and a new request: the half is forgotten. Without a
// pause the halves belong together.
func TestRTUForgetsWhatLaySilent(t *testing.T) {
	good := rtu(3, unhex("03 0000 0001"))
	synctest.Test(t, func(t *testing.T) {
		conn, stop := wired(t, Line{Units: meter.Units{3: constant(t, nil)}}, nil)
		defer stop()
		conn.Write(good[:5])
		time.Sleep(stale / 2)
		if got, _ := exchange(t, conn, good[5:]); len(got) != 7 {
			t.Errorf("a request in two parts: % X", got)
		}
		conn.Write(good[:5])
		time.Sleep(2 * stale)
		if got, _ := exchange(t, conn, good[5:]); len(got) != 0 {
			t.Errorf("the rest of a request forgotten: % X", got)
		}
	})
}

func TestFaultsOverRTU(t *testing.T) {
	good := rtu(3, unhex("03 0000 0001"))
	script := []meter.Fault{
		{},
		{Silent: true},
		{Late: 300 * time.Millisecond},
		{Exception: 6},
		{Unit: 9},
		{Noise: unhex("FF 00")},
		{Noise: unhex("AA"), Silent: true},
		{Foreign: true},
		{Cut: 2},
		{Factor: 2000},
		{}, // the truth again
		{Noise: unhex("68"), Cut: 100},
	}
	want := [][]byte{
		rtu(3, unhex("03 02 2EE0")),
		nil,
		rtu(3, unhex("03 02 2EE0")),
		rtu(3, unhex("83 06")),
		rtu(9, unhex("03 02 2EE0")),
		append(unhex("FF 00"), rtu(3, unhex("03 02 2EE0"))...),
		unhex("AA"),
		rtu(4, unhex("03 02 2EE0")),
		rtu(3, unhex("03 02 2EE0"))[:5],
		rtu(3, unhex("03 02 5DC0")),
		rtu(3, unhex("03 02 2EE0")),
		unhex("68"),
	}
	synctest.Test(t, func(t *testing.T) {
		conn, stop := wired(t, Line{Units: meter.Units{3: constant(t, func(n int) meter.Fault { return script[n] })}}, nil)
		defer stop()
		for i := range script {
			got, took := exchange(t, conn, good)
			if !bytes.Equal(got, want[i]) {
				t.Errorf("%+v: % X, want % X", script[i], got, want[i])
			}
			if took != script[i].Late {
				t.Errorf("%+v: after %v", script[i], took)
			}
		}
	})
}
