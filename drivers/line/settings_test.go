package line

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/drivers"
)

var (
	at9600 = drivers.Settings{Baud: 9600, DataBits: 8, Parity: 'N', StopBits: 1} // those of bus
	at2400 = drivers.Settings{Baud: 2400, DataBits: 8, Parity: 'E', StopBits: 1}
	at300  = drivers.Settings{Baud: 300, DataBits: 7, Parity: 'E', StopBits: 1}
)

// The port is changed between requests of different settings and at no other
// time, and the line is silent around the change for as long as both speeds and
// the guard interval need.
func TestSettingsOfExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.after(10*time.Millisecond, "<reply1>") })
		l := on(bus, w)
		var ended []time.Time
		for _, s := range []drivers.Settings{{}, at9600, at2400, at2400, {}, at300} {
			x := poll()
			x.Settings = s
			reply, err := l.Exchange(t.Context(), x)
			want(t, reply, err, "<reply1>")
			ended = append(ended, time.Now())
		}
		if !slices.Equal(w.settings, []drivers.Settings{at2400, at9600, at300}) {
			t.Errorf("port set to %v", w.settings)
		}
		for i, quiet := range []time.Duration{
			at9600.Silence(),
			guard, // 2400 baud alone: 16 ms
			at2400.Silence(),
			guard,
			at300.Silence(), // 128 ms
		} {
			if got := w.sentAt[i+1].Sub(ended[i]); got != quiet {
				t.Errorf("request %d after %v of silence, want %v", i+2, got, quiet)
			}
		}
	})
}

// Whatever comes while the settings change is no reply, and breaks the silence.
func TestSettingsFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(n int) {
			w.after(10*time.Millisecond, "<reply"+string(rune('0'+n))+">")
			if n == 1 {
				w.after(25*time.Millisecond, "<reply9>") // 15 ms into the guard interval
			}
		})
		l := on(bus, w)
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		x := poll()
		x.Settings = at2400
		reply, err = l.Exchange(t.Context(), x)
		want(t, reply, err, "<reply2>")
		if got := w.sentAt[1].Sub(w.sentAt[0]); got != 50*time.Millisecond {
			t.Errorf("second request %v after the first, want the guard interval again after the stray bytes: 50ms", got)
		}
	})
}

// IEC 62056-21 changes speed between a request and its reply: the request is
// out first, and the reply's settings stay.
func TestSettingsOfReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.after(300*time.Millisecond, "<reply1>") })
		l := on(bus, w)
		x := poll()
		x.Settings, x.Reply = at300, at9600
		reply, err := l.Exchange(t.Context(), x)
		want(t, reply, err, "<reply1>")
		if !slices.Equal(w.settings, []drivers.Settings{at300, at9600}) {
			t.Fatalf("port set to %v", w.settings)
		}
		if got := w.changed[1].Sub(w.sentAt[0]); got != 100*time.Millisecond {
			t.Errorf("changed %v after the request was handed over, want the 100ms it takes on the wire", got)
		}
		if l.took != 200*time.Millisecond-at9600.Characters(8) {
			t.Errorf("response time %v", l.took)
		}
		reply, err = l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		if len(w.settings) != 2 {
			t.Errorf("port set to %v, but it was so already", w.settings)
		}
	})
}

func TestSettingsIgnoredOnTCP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.send("<reply1>") })
		x := poll()
		x.Settings, x.Reply = at300, at9600
		reply, err := on(server, w).Exchange(t.Context(), x)
		want(t, reply, err, "<reply1>")
		if len(w.settings) != 0 {
			t.Errorf("settings %v", w.settings)
		}
	})
}

// A port that cannot have one device's settings serves the others.
func TestSettingsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *wire
		w = newWire(func(int) { w.send("<reply1>") })
		l := on(bus, w)
		w.refuse = at300
		x := poll()
		x.Settings = at300
		_, err := l.Exchange(t.Context(), x)
		wantFault(t, err, drivers.Disconnected, "line hall-a: set 300 7E1 on /dev/none: the driver kept 1200 baud")
		reply, err := l.Exchange(t.Context(), poll())
		want(t, reply, err, "<reply1>")
		if !slices.Equal(w.settings, []drivers.Settings{at9600}) {
			t.Errorf("port set to %v, want it set anew after a change that failed", w.settings)
		}
	})
}
