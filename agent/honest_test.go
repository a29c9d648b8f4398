package agent

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/verify"
)

var boxes = flag.Int("boxes", 10, "how many boxes TestHonestBoxVerifies runs")

// TestHonestBoxVerifies: whatever happens to a box that nobody attacks (the power cut at
// any time, meters that die, another set of meters or channels), its file is verified as
// a whole. The like for logs without an agent is TestTamperHonest of package verify.
func TestHonestBoxVerifies(t *testing.T) {
	t.Parallel()
	leaves, cuts := 0, 0
	for seed := range uint64(*boxes) {
		t.Run(fmt.Sprintf("box-%d", seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 7))
				meters := []*plant{{rnd: rnd}, {rnd: rnd, energy: 1 << 20}}
				b := newBox(t, seed, meters[0], meters[1])
				b.run(t, time.Duration(1+rnd.IntN(5))*time.Minute)
				for range 3 + rnd.IntN(6) {
					switch rnd.IntN(8) {
					case 0:
						meters[rnd.IntN(2)].dead = rnd.IntN(2) == 0
					case 1: // another site file; what the journal holds is of the one before
						b.run(t, time.Minute)
						site := totalsSite("/box", meters[0], meters[1])
						if b.Lines = site.Lines; rnd.IntN(2) == 0 {
							b.Lines[0].Meters = b.Lines[0].Meters[:1]
						}
						b.Channels = site.Channels[:1+rnd.IntN(len(site.Channels))]
					case 2: // off for a while
						time.Sleep(time.Duration(rnd.Int64N(int64(3 * time.Hour))))
					case 3:
						b.run(t, time.Duration(rnd.Int64N(int64(20*time.Minute))))
					default:
						b.cut(t, time.Duration(rnd.Int64N(int64(20*time.Minute))))
						cuts++
					}
				}
				b.run(t, 2*time.Minute)
				for _, r := range b.bundle(t) { // fails where its verdict is another than verified
					leaves++
					if r.Verdict != verify.Verified || r.Type == evidence.WindowLeaf && r.Window == nil {
						t.Errorf("leaf %d, %s: %s %v", r.N, r.Type, r.Verdict, r.Reasons)
					}
					for _, reason := range r.Reasons {
						if reason.Code == "restart-unexplained" {
							t.Errorf("leaf %d, %s: %v", r.N, r.Type, reason)
						}
					}
				}
			})
		})
	}
	t.Logf("%d boxes, %d power cuts, %d leaves", *boxes, cuts, leaves)
}
