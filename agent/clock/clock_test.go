package clock

import (
	"testing"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

func TestClockWatch(t *testing.T) {
	var c Watch
	wall, up := time.Date(2026, 1, 5, 8, 0, 0, 0, time.UTC), time.Hour
	look := func(passed, set time.Duration) (before, after int64, stepped bool) {
		wall, up = wall.Add(passed+set), up+passed
		return c.Look(wall, up)
	}
	for _, tt := range []struct {
		set  time.Duration
		want bool
	}{{0, false}, {0, false}, {900 * time.Millisecond, false}, {-time.Hour, true}, {0, false}, {2 * time.Hour, true}, {time.Second, true}} {
		before, after, stepped := look(10*time.Second, tt.set)
		if stepped != tt.want {
			t.Fatalf("set by %v: step %v", tt.set, stepped)
		}
		if stepped && (after != wall.UnixMilli() || after-before != tt.set.Milliseconds()) {
			t.Errorf("set by %v: from %d to %d", tt.set, before, after)
		}
	}
}

func TestTimeFlag(t *testing.T) {
	now := time.Date(2026, 1, 5, 0, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		kernel evidence.TimeFlag
		at     time.Time
		set    bool
		want   evidence.TimeFlag
	}{
		{evidence.Synchronised, now, false, evidence.Synchronised},
		{evidence.Synchronised, now, true, evidence.Synchronised},
		{evidence.Unsynchronised, now, false, evidence.Unsynchronised},
		{evidence.Unsynchronised, now, true, evidence.Informative},
		{evidence.Synchronised, time.Unix(90, 0), false, evidence.Relative},
		{evidence.Unsynchronised, time.Unix(90, 0), true, evidence.Relative},
	} {
		if got := Flag(tt.kernel, tt.at, tt.set); got != tt.want {
			t.Errorf("kernel %s, %v, set %v: %s, want %s", tt.kernel, tt.at, tt.set, got, tt.want)
		}
	}
}
