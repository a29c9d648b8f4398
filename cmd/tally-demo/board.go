package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

// board is what the lender has found so far.
type board struct {
	windows, readings, gaps, altered int
	worst                            verify.Verdict // of all leaves; "" before the first
	latest                           map[string]map[string]string
	last                             verify.Result
}

func (b *board) add(r verify.Result) {
	if b.worst == "" || verify.Worst(b.worst, r.Verdict) == r.Verdict {
		b.worst = r.Verdict
	}
	b.last = r
	switch r.Verdict {
	case verify.Verified:
		if r.Type == evidence.WindowLeaf {
			b.windows++
			b.readings += r.Readings
		}
	case verify.Gap:
		b.gaps++
	case verify.Altered:
		b.altered++
	}
	if r.Window == nil {
		return
	}
	if b.latest == nil {
		b.latest = map[string]map[string]string{}
	}
	for v := range r.Window.Values() {
		if b.latest[v.Meter] == nil {
			b.latest[v.Meter] = map[string]string{}
		}
		text := v.Decimal()
		if text == "" {
			text = "—"
		}
		b.latest[v.Meter][v.Quantity] = text
	}
}

// verdict is the worst so far. Nothing received proves nothing.
func (b *board) verdict() verify.Verdict {
	if b.windows == 0 {
		return verify.Gap
	}
	return b.worst
}

// display draws the board until ctx ends: over itself on a terminal, once each
// ten seconds elsewhere.
func (s *show) display(ctx context.Context, out io.Writer) {
	every, home := 10*time.Second, ""
	if f, ok := out.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			every, home = time.Second, "\x1b[H\x1b[2J"
		}
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			s.draw(out, home)
			return
		case <-tick.C:
			s.draw(out, home)
		}
	}
}

func (s *show) draw(out io.Writer, home string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	b := &s.board
	fmt.Fprintf(out, "%sTallystick demo 演示 · what the lender has verified 贷方已核验的数据\n", home)
	fmt.Fprintf(out, "%-12s %-16s %-9s %12s %14s %9s\n", "METER", "PROFILE", "LINE", "POWER W", "ENERGY kWh", "U L1 V")
	for _, m := range s.meters {
		v := b.latest[m.Name()]
		fmt.Fprintf(out, "%-12s %-16s %-9s %12s %14s %9s\n", m.Name(), m.Profile, s.factory.Lines[m.Line].Kind,
			dash(v["power"]), dash(v["energy_import"]), dash(v["voltage_l1"]))
	}
	fmt.Fprintf(out, "leaf %d, %d windows and %d readings verified, %d gaps, %d altered\n", b.last.N, b.windows, b.readings, b.gaps, b.altered)
}

func dash(s string) string {
	if s == "" {
		return "—"
	}
	return s
}
