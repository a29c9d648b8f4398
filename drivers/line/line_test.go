package line

import (
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

// kind is the quality of a fault, OK of none.
func kind(t *testing.T, err error) drivers.Quality {
	t.Helper()
	if err == nil {
		return drivers.OK
	}
	var f *drivers.Fault
	if !errors.As(err, &f) {
		t.Fatalf("error %v (%T) is no *drivers.Fault", err, err)
	}
	if f.Op != "" || f.Meter != "" {
		t.Errorf("fault %v names an operation or a meter, which a line does not know", err)
	}
	return f.Kind
}

func want(t *testing.T, reply []byte, err error, wanted string) {
	t.Helper()
	if err != nil || string(reply) != wanted {
		t.Fatalf("reply %q, error %v; want %q", reply, err, wanted)
	}
}

func wantFault(t *testing.T, err error, k drivers.Quality, text string) {
	t.Helper()
	if got := kind(t, err); got != k || !strings.Contains(err.Error(), text) {
		t.Fatalf("fault %v: %v; want %v: ...%s...", got, err, k, text)
	}
}

func TestReplyAmongNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) {
			w.after(10*time.Millisecond, "\x00\x00<re")
			w.after(20*time.Millisecond, "ply1>\xff")
		})
		var frames []drivers.Frame
		cfg := bus
		cfg.Tap = func(f drivers.Frame) {
			f.Reply = append([]byte(nil), f.Reply...)
			frames = append(frames, f)
		}
		reply, err := on(cfg, w).Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		if len(frames) != 1 {
			t.Fatalf("%d frames tapped, want 1", len(frames))
		}
		f := frames[0]
		if f.Line != "hall-a" || string(f.Request) != "ask" || string(f.Reply) != "\x00\x00<reply1>\xff" || f.Err != nil {
			t.Errorf("tapped %+v", f)
		}
		if d := f.Received.Sub(f.Sent); d != 20*time.Millisecond {
			t.Errorf("frame took %v, want 20ms", d)
		}
	})
}

func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		play func(w *wire)
		kind drivers.Quality
		text string
	}{
		"silence": {func(w *wire) {}, drivers.Timeout, "timeout after 300ms"},
		"garbage": {func(w *wire) { w.after(5*time.Millisecond, "\x01\x83\xff") }, drivers.BadFrame, "3 bytes but no valid reply within 300ms: 01 83 ff"},
		"much garbage": {func(w *wire) { w.send(strings.Repeat("\xaa", 40)) }, drivers.BadFrame,
			"40 bytes but no valid reply within 300ms: aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa aa ..."},
		"babble": {func(w *wire) {
			for i := range 40 {
				w.after(time.Duration(i)*time.Millisecond, strings.Repeat("\xbb", 100))
			}
		}, drivers.BadFrame, "4000 bytes but no valid reply"},
		"half a reply":   {func(w *wire) { w.after(5*time.Millisecond, "<repl") }, drivers.BadFrame, "5 bytes but no valid reply"},
		"reply too late": {func(w *wire) { w.after(310*time.Millisecond, "<reply1>") }, drivers.Timeout, "timeout after 300ms"},
		"hang-up": {func(w *wire) {
			w.after(5*time.Millisecond, "<re")
			time.AfterFunc(9*time.Millisecond, func() { w.hangUp(io.EOF) })
		}, drivers.Disconnected, "line hall-a: port is gone: was its adapter unplugged?"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var w *wire
				w = newWire(func(int) { c.play(w) })
				var tapped error
				cfg := bus
				cfg.Tap = func(f drivers.Frame) { tapped = f.Err }
				_, err := on(cfg, w).Exchange(t.Context(), poll())
				wantFault(t, err, c.kind, c.text)
				if tapped == nil || tapped.Error() != err.Error() {
					t.Errorf("tapped error %v, want %v", tapped, err)
				}
				time.Sleep(time.Second) // let the wire's timers run out
			})
		})
	}
}

// A reply is found behind more noise than the buffer holds.
func TestReplyAfterBabble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.send(strings.Repeat("\xaa", 3000) + "<reply2>") })
		reply, err := on(server, w).Exchange(t.Context(), poll())
		want(t, reply, err, "<reply2>")
	})
}

// A Match that never decides does not let the buffer overflow.
func TestUndecidedMatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.send(strings.Repeat("\xaa", 5000)) })
		x := poll()
		x.Match = func([]byte) (int, int) { return 0, 0 }
		_, err := on(server, w).Exchange(t.Context(), x)
		wantFault(t, err, drivers.BadFrame, "5000 bytes")
	})
}

// A buffer exactly full of noise is no silence.
func TestBufferOfNoise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.send(strings.Repeat("\xaa", bufferSize)) })
		x := poll()
		x.Match = func(b []byte) (int, int) { return len(b), 0 }
		_, err := on(server, w).Exchange(t.Context(), x)
		wantFault(t, err, drivers.BadFrame, "512 bytes")
	})
}

// What a serial server says by itself after connecting, or a bus carried while
// nobody listened, is no reply.
func TestGreeting(t *testing.T) {
	for _, cfg := range []Config{bus, server} {
		synctest.Test(t, func(t *testing.T) {
			var w *wire
			w = newWire(func(int) { w.after(30*time.Millisecond, "<reply1>") })
			w.after(20*time.Millisecond, "<reply9>")
			reply, err := on(cfg, w).Exchange(t.Context(), poll())
			want(t, reply, err, "<reply1>")
		})
	}
}

// What is in the input before the request is sent is not its reply.
func TestFlushBeforeRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(n int) { w.send("<reply" + string(rune('0'+n)) + ">") })
		l := on(server, w)
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		w.send("<reply9>")
		reply, err = l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply2>")
	})
}

// The reply to an unanswered request comes while the line would already ask
// the next one: it is drained, on a bus and behind a serial server alike.
func TestDrainAfterTimeout(t *testing.T) {
	for _, cfg := range []Config{bus, server} {
		synctest.Test(t, func(t *testing.T) {
			var w *wire
			w = newWire(func(n int) {
				if n == 1 {
					w.after(310*time.Millisecond, "<reply1>") // 10 ms after the time-out
					w.after(360*time.Millisecond, "<reply1>") // and once more, within settle
				} else {
					w.after(5*time.Millisecond, "<reply2>")
				}
			})
			l := on(cfg, w)
			_, err := l.Exchange(t.Context(), poll())
			wantFault(t, err, drivers.Timeout, "timeout")
			reply, err := l.Exchange(t.Context(), poll())
			want(t, reply, err, "<reply2>")
			if gap := w.sentAt[1].Sub(w.sentAt[0]); gap < 420*time.Millisecond {
				t.Errorf("asked again %v after the first request, want >= 300ms + 60ms + the silence after the last late byte", gap)
			}
		})
	}
}

// A line that never falls silent is asked all the same.
func TestDrainIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWire(nil)
		done := make(chan struct{})
		go func() {
			for {
				select {
				case <-done:
					return
				case <-time.After(20 * time.Millisecond):
					w.send("\x55")
				}
			}
		}()
		w.onWrite = func(n int) {
			if n == 2 {
				w.send("<reply2>")
			}
		}
		l := on(bus, w)
		_, err := l.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.BadFrame, "no valid reply")
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply2>")
		close(done)
	})
}

// A numbered exchange on TCP drops a late reply without waiting for silence
// and keeps the connection; bytes that are no reply close it.
func TestNumbered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(n int) {
			if n == 1 {
				w.after(400*time.Millisecond, "<reply1>")
			} else {
				w.send("<reply2>")
			}
		})
		l := on(server, w)
		x := poll()
		x.Numbered = true
		_, err := l.Exchange(t.Context(), x)
		wantFault(t, err, drivers.Timeout, "timeout")
		time.Sleep(200 * time.Millisecond)
		start := time.Now()
		reply, err := l.Exchange(t.Context(), x)
		want(t, reply, err, "<reply2>")
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v before a numbered request", waited)
		}
		if w.closed {
			t.Error("connection closed after a plain time-out")
		}
	})
	synctest.Test(t, func(t *testing.T) {
		var first, second *wire
		first = newWire(func(int) { first.send("HTTP/1.1 400") })
		second = newWire(func(int) { second.send("<reply1>") })
		l := on(server, first, second)
		x := poll()
		x.Numbered = true
		_, err := l.Exchange(t.Context(), x)
		wantFault(t, err, drivers.BadFrame, "12 bytes")
		if !first.closed {
			t.Error("connection kept after bytes that are no reply")
		}
		reply, err := l.Exchange(t.Context(), x)
		want(t, reply, err, "<reply1>")
	})
}

// A serial server that closed an idle connection does not cost a reading, one
// that closes every connection before it answers does.
func TestSecondChance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var first, second *wire
		first = newWire(func(int) { first.send("<reply1>") })
		second = newWire(func(int) { second.send("<reply2>") })
		l := on(server, first, second)
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		first.hangUp(io.EOF)
		reply, err = l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply2>")
	})
	synctest.Test(t, func(t *testing.T) {
		var first, second *wire
		first = newWire(func(int) { first.hangUp(io.EOF) })
		second = newWire(func(int) { second.send("<reply2>") })
		_, err := on(server, first, second).Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Disconnected, "line hall-b: closed by the other end")
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		opened := 0
		l := New(server)
		up := false
		var w *wire
		w = newWire(func(int) { w.send("<reply1>") })
		l.dial = func(context.Context) (port, error) {
			opened++
			if up {
				return w, nil
			}
			return nil, errors.New("connect to 192.0.2.1:4001: connection refused")
		}
		_, err := l.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Disconnected, "line hall-b: connect to 192.0.2.1:4001: connection refused")
		start := time.Now()
		_, err = l.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Disconnected, "connection refused; next try in 500ms")
		if opened != 1 || time.Since(start) != 0 {
			t.Fatalf("%d openings, %v waited; want no try and no wait during the pause", opened, time.Since(start))
		}
		for range 100 { // ten minutes
			time.Sleep(6 * time.Second)
			_, err = l.Exchange(t.Context(), poll())
			wantFault(t, err, drivers.Disconnected, "connection refused")
		}
		if opened < 30 || opened > 45 {
			t.Errorf("%d tries in ten minutes, want one in 15 s, the first few sooner", opened)
		}
		up = true
		time.Sleep(lastRetry)
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		if l.retry != firstRetry {
			t.Errorf("pause after success %v, want %v", l.retry, firstRetry)
		}
	})
}

// 3.5 characters of silence before a request; on TCP none.
func TestSilence(t *testing.T) {
	for _, c := range []struct {
		cfg     Config
		silence time.Duration // asked for by the driver
		want    time.Duration
	}{
		{bus, 0, 4010416 * time.Nanosecond},
		{bus, 20 * time.Millisecond, 20 * time.Millisecond},
		{Config{Serial: &Serial{Settings: drivers.Settings{Baud: 115200, DataBits: 8, Parity: 'E', StopBits: 1}}}, 0, 1750 * time.Microsecond},
		{server, 20 * time.Millisecond, 0},
	} {
		synctest.Test(t, func(t *testing.T) {
			var w *wire
			w = newWire(func(int) { w.after(time.Millisecond, "<reply1>") })
			l := on(c.cfg, w)
			x := poll()
			x.Silence = c.silence
			for range 2 {
				reply, err := l.Exchange(t.Context(), x)
				want(t, reply, err, "<reply1>")
			}
			if got := w.sentAt[1].Sub(w.sentAt[0]) - time.Millisecond; got != c.want {
				t.Errorf("%v: silence %v before a request, want %v", c.cfg.Serial, got, c.want)
			}
		})
	}
}

// The time the request itself takes on the wire is not the meter's.
func TestTimeoutStartsAfterRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := Config{Serial: &Serial{Settings: drivers.Settings{Baud: 300, DataBits: 8, Parity: 'N', StopBits: 1}}} // "ask" takes 100 ms
		var w *wire
		w = newWire(func(int) { w.after(390*time.Millisecond, "<reply1>") })
		reply, err := on(slow, w).Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
	})
}

func TestContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := newWire(nil)
		l := on(bus, w)
		x := poll()
		x.Timeout = time.Minute
		time.AfterFunc(time.Second, cancel)
		start := time.Now()
		_, err := l.Exchange(ctx, x)
		wantFault(t, err, drivers.Skipped, "context canceled")
		if took := time.Since(start); took > time.Second+slice {
			t.Errorf("ended %v after the start, want within %v of the context's end", took, slice)
		}
		_, err = l.Exchange(ctx, x)
		wantFault(t, err, drivers.Skipped, "context canceled")
		if len(w.requests) != 1 {
			t.Errorf("%d requests, want none after the context ended", len(w.requests))
		}
	})
}

func TestStuckPort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := on(bus)
		l.dial = func(context.Context) (port, error) { return stuck{newWire(nil)}, nil }
		_, err := l.Exchange(t.Context(), poll())
		wantFault(t, err, drivers.Disconnected, "port takes no bytes for 1s")
	})
}

// stuck is a port that takes no bytes.
type stuck struct{ *wire }

func (s stuck) Write([]byte) (int, error) { return s.Read(nil) }

// A machine too busy to run us at the time-out finds the reply that came in time.
func TestReplyDuringStall(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := &busy{wire: newWire(nil)}
			w.onWrite = func(int) {
				if !late {
					w.after(5*time.Millisecond, "<reply1>")
				}
			}
			l := on(server)
			l.dial = func(context.Context) (port, error) { return w, nil }
			reply, err := l.Exchange(t.Context(), poll())
			if !late {
				want(t, reply, err, "<reply1>")
			} else {
				wantFault(t, err, drivers.Timeout, "timeout after 300ms")
			}
		})
	}
}

// busy is a port whose first read after a request comes back long after its
// deadline, and by then without the bytes that came, as Go's poller does it.
type busy struct {
	*wire
	reads int
}

func (b *busy) Read(p []byte) (int, error) {
	if len(b.requests) == 1 {
		if b.reads++; b.reads == 1 {
			time.Sleep(time.Second)
			return 0, os.ErrDeadlineExceeded
		}
	}
	return b.wire.Read(p)
}
