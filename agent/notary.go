package agent

import (
	"context"
	"time"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// checkpointEvery is how often the head of the log is signed as a checkpoint
// and shown to witnesses.
const checkpointEvery = 15 * time.Minute

// Notary signs a head of the history as a checkpoint (SPEC.md section 7.1) and
// gets it cosigned by whom it can reach. It reads the leaves it needs from
// source. Called from one goroutine.
type Notary func(ctx context.Context, head evidence.Anchor, suite evidence.Suite, source *history.Source) (Cosigned, error)

// Cosigned is a checkpoint as text, and the cosignatures in it.
type Cosigned struct {
	Note         string
	Cosignatures [][]byte // 72 bytes each: time and signature; none when no witness answered
}

// notarize makes a checkpoint of the newest head every checkpointEvery, until
// ctx ends: shippers publish it, and one that was cosigned becomes a leaf.
func (a *Agent) notarize(ctx context.Context, notary Notary) {
	source := a.store.Source()
	tick := time.NewTicker(checkpointEvery)
	defer tick.Stop()
	for {
		if head := source.Newest(); head.N > 0 {
			c, err := notary(ctx, head, a.store.Suite(), source)
			if err != nil {
				a.site.Log.Warn("the checkpoint was not seen by every witness", "size", head.N, "err", err)
			}
			if c.Note != "" {
				source.SetHead([]byte(c.Note))
			}
			if len(c.Cosignatures) > 0 {
				a.seal.lenders.Cosigned(c.Note, c.Cosignatures)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}
