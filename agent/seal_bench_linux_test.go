package agent

import (
	"fmt"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent/clock"
	"github.com/tallystick/tallystick/agent/window"
	"github.com/tallystick/tallystick/buffer/vfs"
	"github.com/tallystick/tallystick/drivers"
)

// BenchmarkSealedWindow seals, appends and flushes windows of 20 meters with 17
// values every 10 s on this machine's disk, and reports the CPU time of one,
// the kernel's included.
func BenchmarkSealedWindow(b *testing.B) {
	s := testSite(filepath.Join(b.TempDir(), "box"))
	s.Lines[0].Meters = nil
	for i := range 20 {
		m := Meter{Name: fmt.Sprintf("press-%d", i), Profile: "test", Interval: 10 * time.Second}
		for c := range 17 {
			unit := []string{"kWh", "V", "A"}[min(c, 2)]
			m.Columns = append(m.Columns, Column{Quantity: drivers.Quantity{Name: fmt.Sprintf("q%d", c), Unit: unit, Exp: -2}, Multiplier: drivers.Decimal{Coef: 1}})
		}
		s.Lines[0].Meters = append(s.Lines[0].Meters, m)
	}
	dict, order := newDictionary(&s)
	st, _, err := openStore(&machine{vfs.OS(), clock.Uptime}, &s, dict)
	if err != nil {
		b.Fatal(err)
	}
	defer st.close()
	lay, n := window.LayoutOf(dict), int64(0)
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := cpu()
	for b.Loop() {
		w := filled(order, n*60_000, func(slot, c int64) int64 { return 100*n + slot*3 + c })
		n++
		if err := st.seal(w, &lay, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpu()-before).Microseconds())/float64(b.N), "us-cpu/window")
}
