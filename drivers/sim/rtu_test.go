package sim

import (
	"bytes"
	"context"
	"encoding/hex"
	"math/rand/v2"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func unhex(s string) []byte {
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		panic(err)
	}
	return b
}

func TestCRC(t *testing.T) {
	// Modbus over Serial Line V1.02, appendix B: 02 07 -> 41 12 on the wire.
	if got := appendRTU(nil, 2, []byte{7}); !bytes.Equal(got, unhex("02 07 41 12")) {
		t.Errorf("% X", got)
	}
}

// When the bytes of a reply are through, by arithmetic: 8 characters of
// request, 3.5 of silence, the meter's delay, then one character each.
func TestTimingLands(t *testing.T) {
	for _, c := range []struct {
		name   string
		timing Timing
		i      int
		want   time.Duration
	}{
		{"no wire", Timing{}, 8, 0},
		{"9600 8N1, first byte", Timing{Baud: 9600, Bits: 10}, 0, 8333333 + 7291666/2 + 1041666},
		{"9600 8N1, ninth byte", Timing{Baud: 9600, Bits: 10}, 8, 8333333 + 7291666/2 + 9375000},
		{"2400 8E1 and a slow meter", Timing{Baud: 2400, Delay: 20 * time.Millisecond}, 0, 36666666 + 32083333/2 + 20*time.Millisecond + 4583333},
		{"115200 8N1", Timing{Baud: 115200, Bits: 10}, 0, 694444 + 1750*time.Microsecond + 86805},
	} {
		if got := c.timing.landed(8, c.i); got != c.want {
			t.Errorf("%s: %d ns, want %d", c.name, got, c.want)
		}
	}
}

func bus(t *testing.T, timing Timing, fault func(int) Fault) (end net.Conn, stop func()) {
	t.Helper()
	m := meterOfConstants(t)
	m.fault = fault
	near, far := net.Pipe()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error)
	go func() { served <- ServeRTU(ctx, far, Units{3: m}, timing) }()
	return near, func() {
		cancel()
		near.Close()
		if err := <-served; err != nil {
			t.Errorf("ServeRTU: %v, want nil after its context ended", err)
		}
	}
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

func TestRTUTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn, stop := bus(t, Timing{Baud: 9600, Bits: 10, Delay: 5 * time.Millisecond}, nil)
		defer stop()
		reply, took := exchange(t, conn, appendRTU(nil, 3, unhex("03 0000 0012")))
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
	good := appendRTU(nil, 3, unhex("03 0000 0001"))
	answer := appendRTU(nil, 3, unhex("03 02 2EE0"))
	bad := append([]byte{}, good...)
	bad[7] ^= 1
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	for _, c := range []struct {
		name      string
		ask, want []byte
	}{
		{"request", good, answer},
		{"two at once", cat(good, good), cat(answer, answer)},
		{"other unit", appendRTU(nil, 4, unhex("03 0000 0001")), nil},
		{"broadcast", appendRTU(nil, 0, unhex("03 0000 0001")), nil},
		{"bad checksum", bad, nil},
		{"bad, then good", cat(bad, good), answer},
		{"noise before", cat(unhex("00 FF 03"), good), answer},
		{"beginning of a long write before", cat(unhex("03 10 0000 0040 80 0001"), good), answer},
		{"noise longer than the buffer", cat(bytes.Repeat([]byte{3, 16, 0, 0, 0, 120, 240}, 90), good), answer},
		{"write", appendRTU(nil, 3, unhex("10 0000 0001 02 0000")), appendRTU(nil, 3, unhex("90 01"))},
		{"write coils", appendRTU(nil, 3, unhex("0F 0000 0001 01 01")), appendRTU(nil, 3, unhex("8F 01"))},
		{"single write", appendRTU(nil, 3, unhex("06 0000 0001")), appendRTU(nil, 3, unhex("86 01"))},
		{"report server id", appendRTU(nil, 3, unhex("11")), appendRTU(nil, 3, unhex("91 01"))},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				conn, stop := bus(t, Timing{}, nil)
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
	good := appendRTU(nil, 3, unhex("03 0000 0001"))
	synctest.Test(t, func(t *testing.T) {
		conn, stop := bus(t, Timing{}, nil)
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
	good := appendRTU(nil, 3, unhex("03 0000 0001"))
	script := []Fault{
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
		appendRTU(nil, 3, unhex("03 02 2EE0")),
		nil,
		appendRTU(nil, 3, unhex("03 02 2EE0")),
		appendRTU(nil, 3, unhex("83 06")),
		appendRTU(nil, 9, unhex("03 02 2EE0")),
		append(unhex("FF 00"), appendRTU(nil, 3, unhex("03 02 2EE0"))...),
		unhex("AA"),
		appendRTU(nil, 4, unhex("03 02 2EE0")),
		appendRTU(nil, 3, unhex("03 02 2EE0"))[:5],
		appendRTU(nil, 3, unhex("03 02 5DC0")),
		appendRTU(nil, 3, unhex("03 02 2EE0")),
		unhex("68"),
	}
	synctest.Test(t, func(t *testing.T) {
		conn, stop := bus(t, Timing{}, func(n int) Fault { return script[n] })
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

// Whatever stands before a request, the request is found; and every answer of
// the scanner stays within its input.
func TestScanFindsRequestsInNoise(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	request := appendRTU(nil, 3, unhex("04 0010 0004"))
	for range 2000 {
		noise := make([]byte, rng.IntN(40))
		for i := range noise {
			noise[i] = byte(rng.Uint32())
		}
		b := append(noise, request...)
		for len(b) > 0 {
			skip, size := scanRequest(b)
			if size == 0 {
				t.Fatalf("not found after noise % X", noise)
			}
			if bytes.Equal(b[skip:skip+size], request) {
				break
			}
			b = b[skip+size:] // a checksum good by chance
		}
	}
}

func FuzzScanRequest(f *testing.F) {
	f.Add(appendRTU(nil, 3, unhex("03 0000 0001")))
	f.Add(appendRTU(unhex("FF 00"), 3, unhex("10 0000 0001 02 0000")))
	f.Add(unhex("01 10 00 00 00 7B F6"))
	f.Fuzz(func(t *testing.T, b []byte) {
		skip, size := scanRequest(b)
		if skip < 0 || size < 0 || skip+size > len(b) {
			t.Fatalf("skip %d, size %d of %d bytes", skip, size, len(b))
		}
		if size > 0 && crc16(b[skip:skip+size]) != 0 { // a frame with its checksum leaves 0
			t.Fatalf("found % X", b[skip:skip+size])
		}
		if size == 0 && len(b)-skip > maxRTU+8 {
			t.Fatalf("waits with %d bytes", len(b)-skip)
		}
	})
}
