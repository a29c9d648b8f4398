package agent

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// TestWhatHappenedWhileAwayIsSeen: a meter exchanged, and a counter set to zero,
// while the agent did not run. A kill must not hide it either.
func TestWhatHappenedWhileAwayIsSeen(t *testing.T) {
	for name, stop := range map[string]func(*testing.T, Site, time.Duration){"stopped": runFor, "killed": abandon} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				exchanged, reset := &actor{energy: 812_345, serial: "A"}, &actor{energy: 5000}
				s := testSite(t.TempDir(), exchanged, reset)
				for i := range s.Lines[0].Meters {
					s.Lines[0].Meters[i].Columns[1].Rule = judge.Rule{Counter: true, Modulus: 1_000_000, MaxRate: 10_000}
				}
				s.Lines[0].Meters[0].Identity = func(context.Context) (string, error) { return exchanged.serial, nil }
				stop(t, s, 3*time.Minute+15*time.Second)
				time.Sleep(10 * time.Hour)
				exchanged.serial, exchanged.energy, reset.energy = "B", 7, 3
				stop(t, s, 2*time.Minute+15*time.Second)
				time.Sleep(time.Hour)
				exchanged.energy, reset.energy = 1000, 90_000 // much was used meanwhile
				runFor(t, s, 2*time.Minute)
				var got []string
				for _, r := range sealed(t, s) {
					for _, e := range r.Manifest.Events {
						got = append(got, e.Kind+" "+e.Subject)
					}
				}
				slices.Sort(got)
				if want := []string{"counter_reset press-2", "meter_exchanged press-1"}; !slices.Equal(got, want) {
					t.Errorf("events %q, want %q", got, want)
				}
			})
		})
	}
}

// TestEventLeavesDoNotHideTheLastWindow: much may happen after the newest window
// and before a kill; the boot leaf knows all the same up to when readings
// survive.
func TestEventLeavesDoNotHideTheLastWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSite(t.TempDir(), &device{})
		abandon(t, s, 2*time.Minute+5*time.Second)
		a, err := openHastily(s)
		if err != nil {
			t.Fatal(err)
		}
		for range 70 {
			if err := a.store.events([]evidence.Happening{{Kind: "line_lost", Subject: "hall-a", Count: 1}}); err != nil {
				t.Fatal(err)
			}
		}
		if err := a.store.close(); err != nil {
			t.Fatal(err)
		}
		runFor(t, s, time.Millisecond)
		var boot *evidence.Boot
		for _, r := range sealed(t, s) {
			if r.Manifest.BootInfo != nil {
				boot = r.Manifest.BootInfo
			}
		}
		if boot == nil || boot.LastRecordedMS == 0 {
			t.Errorf("boot leaf %+v, want it to know the window before the events", boot)
		}
	})
}

func TestDamagedIdentitiesStopNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &actor{serial: "A"}
		s := testSite(t.TempDir(), d)
		s.Lines[0].Meters[0].Identity = d.identity
		runFor(t, s, time.Minute)
		name := filepath.Join(s.Dir, identitiesFile)
		if text, err := os.ReadFile(name); err != nil || !strings.Contains(string(text), "press-1") || strings.Contains(string(text), `"A"`) {
			t.Errorf("stored: %q, %v; want a digest of who press-1 is", text, err)
		}
		for _, text := range []string{"", "null", "[1]", `{"press-1":`} {
			if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := openHastily(s)
			if err != nil {
				t.Fatal(err)
			}
			if told := len(a.Damaged()) == 1; told != (text != "null") {
				t.Errorf("%q: damage told %q", text, a.Damaged())
			}
			if err := a.store.close(); err != nil {
				t.Fatal(err)
			}
		}
	})
}
