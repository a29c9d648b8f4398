package agent

import (
	"sync"

	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// news is what happened and is in no leaf yet. Pollers add, the sealer takes.
type news struct {
	mu sync.Mutex
	of []evidence.Happening // guarded by mu
}

// add takes note of events, for the next events leaf. Beyond what a leaf
// holds the newest are dropped: somebody is cutting a cable again and again.
func (n *news) add(events []judge.Event) {
	if len(events) == 0 {
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range events {
		if len(n.of) < evidence.MaxEvents {
			n.of = append(n.of, evidence.Happening{
				At: max(0, e.At.UnixMilli()), Kind: e.Kind, Subject: e.Subject, Quantity: e.Quantity, Count: e.Count,
			})
		}
	}
}

// take returns the events since it was last called.
func (n *news) take() []evidence.Happening {
	n.mu.Lock()
	defer n.mu.Unlock()
	of := n.of
	n.of = nil
	return of
}
