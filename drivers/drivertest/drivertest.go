// Package drivertest holds one suite of tests that every driver must pass: what
// a driver does with silence, damage, noise, echo, late replies and replies of
// other meters does not depend on what it speaks.
package drivertest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tallystick/tallystick/drivers"
)

// Device is what the agent sees of a driver.
type Device interface {
	Read(ctx context.Context, dst []drivers.Reading) error
}

// Suite is one driver, set up to read a few values of one meter.
type Suite struct {
	// New makes a fresh driver on line. It is called for every test.
	New func(line drivers.Exchanger) (Device, error)
	// Want is what the meter of Answer shows.
	Want []drivers.Reading
	// Answer is the reply of a faultless meter, nil to what it does not answer.
	Answer func(request []byte) []byte
	// Foreign is what another meter would say at the same time: the reply of
	// Answer with another address and a good checksum, but not its values.
	Foreign func(request []byte) []byte
	// Unchecked says that frames carry no checksum of their own, as over TCP:
	// then damage is not tried.
	Unchecked bool
	// Reads reports whether a request changes nothing in a meter.
	Reads func(request []byte) bool
}

// Line hands a driver what Reply makes of each request, as drivers/line would:
// byte by byte, and only what Match lets through.
type Line struct {
	Reply    func(request []byte) (reply []byte, err error)
	Requests [][]byte
}

// Exchange implements drivers.Exchanger.
func (l *Line) Exchange(ctx context.Context, x drivers.Exchange) ([]byte, error) {
	if ctx.Err() != nil {
		return nil, &drivers.Fault{Kind: drivers.Skipped, Err: ctx.Err()}
	}
	l.Requests = append(l.Requests, slices.Clone(x.Request))
	b, err := l.Reply(x.Request)
	if err != nil {
		return nil, err
	}
	start := 0
	for n := 1; n <= len(b); n++ {
		skip, size := x.Match(b[start:n])
		if skip < 0 || start+skip > n || size < 0 {
			panic(fmt.Sprintf("match of % x: skip %d, size %d", b[start:n], skip, size))
		}
		if start += skip; size > 0 && start+size <= n {
			return slices.Clone(b[start : start+size]), nil
		}
	}
	if len(b) == 0 {
		return nil, &drivers.Fault{Kind: drivers.Timeout, Err: errors.New("timeout after 1s")}
	}
	return nil, &drivers.Fault{Kind: drivers.BadFrame, Err: fmt.Errorf("%d bytes but no valid reply", len(b))}
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Run("good", func(t *testing.T) { s.reads(t, func(q []byte) []byte { return s.Answer(q) }) })
	t.Run("noise", func(t *testing.T) {
		for _, noise := range []string{"\x00", "\xFF\xFE", "\xD8\xB0\x4C\xBD\xD1\x47", "keepalive", "\x68\x01", ":01"} {
			s.reads(t, func(q []byte) []byte { return append([]byte(noise), s.Answer(q)...) })
		}
	})
	t.Run("echo", func(t *testing.T) {
		s.reads(t, func(q []byte) []byte { return append(slices.Clone(q), s.Answer(q)...) })
	})
	t.Run("stale", func(t *testing.T) { // the reply to the request before, and then the right one
		var last []byte
		s.reads(t, func(q []byte) []byte {
			b := append(slices.Clone(last), s.Answer(q)...)
			last = s.Answer(q)
			return b
		})
	})
	t.Run("foreign", s.foreign)
	t.Run("silence", s.silence)
	t.Run("cut", s.cut)
	if !s.Unchecked {
		t.Run("damage", s.damage)
		t.Run("one damaged reply is asked for again", s.again)
	}
	t.Run("stopped", s.stopped)
	t.Run("lost line", s.lost)
	t.Run("wrong count", func(t *testing.T) {
		d, _ := s.device(t, s.Answer)
		if err := d.Read(t.Context(), make([]drivers.Reading, len(s.Want)+1)); err == nil {
			t.Fatal("no error for too many readings")
		}
	})
}

func (s Suite) device(t *testing.T, reply func([]byte) []byte) (Device, *Line) {
	t.Helper()
	l := &Line{Reply: func(q []byte) ([]byte, error) { return reply(q), nil }}
	d, err := s.New(l)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, q := range l.Requests {
			if !s.Reads(q) {
				t.Errorf("% x was sent: not a request to read", q)
			}
		}
	})
	return d, l
}

// reads expects the right values, twice.
func (s Suite) reads(t *testing.T, reply func([]byte) []byte) {
	t.Helper()
	d, _ := s.device(t, reply)
	for range 2 {
		got := make([]drivers.Reading, len(s.Want))
		if err := d.Read(t.Context(), got); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got, s.Want) {
			t.Fatalf("read %+v, want %+v", got, s.Want)
		}
	}
}

// neverWrong expects that what has a value has the right one.
func (s Suite) neverWrong(t *testing.T, what string, got []drivers.Reading) {
	t.Helper()
	for i, r := range got {
		if r.Quality.HasValue() && r != s.Want[i] {
			t.Fatalf("%s: value %d became %+v, want %+v or none", what, i, r, s.Want[i])
		}
	}
}

func (s Suite) foreign(t *testing.T) {
	d, _ := s.device(t, s.Foreign)
	got := make([]drivers.Reading, len(s.Want))
	err := d.Read(t.Context(), got)
	for i, r := range got {
		if r.Quality.HasValue() {
			t.Fatalf("value %d of another meter was taken: %+v", i, r)
		}
	}
	if err == nil {
		t.Fatal("no fault")
	}
	s.reads(t, func(q []byte) []byte { return append(s.Foreign(q), s.Answer(q)...) })
}

func (s Suite) silence(t *testing.T) {
	d, l := s.device(t, func([]byte) []byte { return nil })
	got := make([]drivers.Reading, len(s.Want))
	err := d.Read(t.Context(), got)
	var fault *drivers.Fault
	if !errors.As(err, &fault) || fault.Kind != drivers.Timeout {
		t.Fatalf("%v, want a time-out", err)
	}
	if !strings.HasPrefix(err.Error(), "read ") || !strings.Contains(err.Error(), " from meter ") || !strings.Contains(err.Error(), ": timeout after ") {
		t.Errorf("%q does not say what was read from which meter and why not", err)
	}
	for i, r := range got {
		if r != (drivers.Reading{Quality: drivers.Timeout}) {
			t.Errorf("value %d of a silent meter: %+v", i, r)
		}
	}
	if len(l.Requests) > 4 {
		t.Errorf("a silent meter was asked %d times in one read", len(l.Requests))
	}
}

// damage inverts every bit of every reply, one at a time.
func (s Suite) damage(t *testing.T) {
	longest := 0
	for bit := 0; bit == 0 || bit < 8*longest; bit++ {
		d, _ := s.device(t, func(q []byte) []byte {
			b := slices.Clone(s.Answer(q))
			longest = max(longest, len(b))
			if bit/8 < len(b) {
				b[bit/8] ^= 1 << (bit % 8)
			}
			return b
		})
		got := make([]drivers.Reading, len(s.Want))
		_ = d.Read(t.Context(), got) // a fault or the right values
		s.neverWrong(t, fmt.Sprintf("bit %d inverted", bit), got)
	}
}

// cut ends every reply early, at every length.
func (s Suite) cut(t *testing.T) {
	longest := 0
	for n := 0; n == 0 || n < longest; n++ {
		d, _ := s.device(t, func(q []byte) []byte {
			b := s.Answer(q)
			longest = max(longest, len(b))
			return b[:min(n, len(b))]
		})
		got := make([]drivers.Reading, len(s.Want))
		_ = d.Read(t.Context(), got)
		s.neverWrong(t, fmt.Sprintf("cut to %d bytes", n), got)
	}
}

func (s Suite) again(t *testing.T) {
	n := 0
	s.reads(t, func(q []byte) []byte {
		b := slices.Clone(s.Answer(q))
		if n++; n == 1 {
			b[len(b)/2] ^= 0x10
		}
		return b
	})
}

func (s Suite) stopped(t *testing.T) {
	d, _ := s.device(t, s.Answer)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	got := make([]drivers.Reading, len(s.Want))
	var fault *drivers.Fault
	if err := d.Read(ctx, got); !errors.As(err, &fault) || fault.Kind != drivers.Skipped {
		t.Fatalf("%v, want skipped", err)
	}
}

func (s Suite) lost(t *testing.T) {
	l := &Line{Reply: func([]byte) ([]byte, error) {
		return nil, &drivers.Fault{Kind: drivers.Disconnected, Err: errors.New("line hall-a: port is gone")}
	}}
	d, err := s.New(l)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]drivers.Reading, len(s.Want))
	var fault *drivers.Fault
	if err := d.Read(t.Context(), got); !errors.As(err, &fault) || fault.Kind != drivers.Disconnected {
		t.Fatalf("%v, want disconnected", err)
	}
	for i, r := range got {
		if r != (drivers.Reading{Quality: drivers.Disconnected}) {
			t.Errorf("value %d of a lost line: %+v", i, r)
		}
	}
}
