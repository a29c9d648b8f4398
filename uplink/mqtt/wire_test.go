package mqtt

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestInspectorRefusals(t *testing.T) {
	for _, c := range []struct {
		name, want string
		bytes      []byte
	}{
		{"giant message", "268435455 bytes", []byte{0x30, 0xff, 0xff, 0xff, 0x7f}},
		{"length of five bytes", "more than four bytes", []byte{0x30, 0xff, 0xff, 0xff, 0xff, 0x01}},
		{"more return codes than topics", "type 9", []byte{0x90, 4, 0, 1, 0, 0}},
		{"return code out of the standard", "return code 42", []byte{0x20, 2, 0, 42}},
		{"paho's own network error as a return code", "return code 254", []byte{0x20, 2, 0, 254}},
		{"QoS 2", "QoS 2", []byte{0x34, 5}},
		{"QoS 3", "QoS 3", []byte{0x36, 5}},
		{"client packet", "type 1,", []byte{0x10, 0}},
		{"pubrel", "type 6", []byte{0x62, 2}},
		{"reserved type", "type 15", []byte{0xf0, 0}},
		{"long puback", "type 4", []byte{0x40, 3}},
		{"ping reply with flags", "flags 0x3", []byte{0xd3, 0}},
		{"web server", "type 4 ", []byte("HTTP/1.1 400 Bad Request\r\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{1, len(c.bytes)} { // however the bytes come
				in := newInspector(1 << 20)
				var err error
				for i := 0; i < len(c.bytes) && err == nil; i += step {
					err = in.scan(c.bytes[i:min(i+step, len(c.bytes))])
				}
				var p *ProtocolError
				if !errors.As(err, &p) || !strings.Contains(err.Error(), c.want) {
					t.Fatalf("in steps of %d: %v, want %q", step, err, c.want)
				}
				if in.scan([]byte{0xd0, 0}) == nil {
					t.Fatal("the fault did not stick")
				}
			}
		})
	}
}

func TestInspectorRemembersPubacks(t *testing.T) {
	in := newInspector(1 << 20)
	stream := []byte{
		0x20, 2, 0, 0, // CONNACK
		0x90, 3, 0, 1, 1, // SUBACK
		0x32, 7, 0, 1, 'a', 0, 9, 'x', 'y', // PUBLISH
		0x40, 2, 0x12, 0x34, // PUBACK
		0xd0, 0, // PINGRESP
		0x30, 3, 0, 1, 'a', // PUBLISH, empty
		0x40, 2, 0, 7,
	}
	for i := range stream {
		if err := in.scan(stream[i : i+1]); err != nil {
			t.Fatalf("byte %d: %v", i, err)
		}
	}
	if in.claim(0x1235) || !in.claim(0x1234) || in.claim(0x1234) || !in.claim(7) {
		t.Fatal("claims differ from the PUBACKs in the stream")
	}
}

func FuzzInspector(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0x40, 2, 0, 1, 0x30, 3, 0, 1, 'a'}, byte(3))
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, byte(1))
	f.Fuzz(func(t *testing.T, b []byte, step byte) {
		whole, pieces := newInspector(100), newInspector(100)
		want := whole.scan(b)
		var got error
		for n := int(step%7) + 1; len(b) > 0 && got == nil; b = b[min(n, len(b)):] {
			got = pieces.scan(b[:min(n, len(b))])
		}
		if (want == nil) != (got == nil) {
			t.Fatalf("at once: %v; in pieces: %v", want, got)
		}
		if len(whole.acked) > 1<<16 {
			t.Fatal("unbounded memory")
		}
	})
}

func TestBlockedWriteEnds(t *testing.T) {
	a, b := net.Pipe() // nobody reads b
	defer b.Close()
	w := newWire(a, 10*time.Millisecond, 100)
	if err := w.SetWriteDeadline(time.Time{}); err != nil { // as paho does after each publish
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("write to a peer that takes nothing: %v", err)
	}
}

func TestWireHandsOverNothingRefused(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	go b.Write([]byte{0xd0, 0, 0x30, 0xff, 0xff, 0xff, 0x7f})
	w := newWire(a, time.Second, 100)
	got, err := io.ReadAll(w)
	var p *ProtocolError
	if !errors.As(err, &p) || len(got) > 2 {
		t.Fatalf("read %x, %v", got, err)
	}
}
