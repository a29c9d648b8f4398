package lender

import (
	"crypto/rand"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// remembered is how many nonces of a log are kept: a box answers the newest one
// it has, so what matters is how many may be on their way.
const remembered = 256

// nonces are those given out for one log. They live as long as the process;
// after a restart the first receipt brings a new one.
type nonces struct {
	given map[evidence.NonceHash]time.Time
	order []evidence.NonceHash
}

// issue makes a nonce and remembers when.
func (n *nonces) issue(suite evidence.Suite, now time.Time) []byte {
	nonce := make([]byte, 16)
	rand.Read(nonce) // never fails (crypto/rand)
	h := suite.NonceHash(nonce)
	if n.given == nil {
		n.given = map[evidence.NonceHash]time.Time{}
	}
	if len(n.order) == remembered {
		delete(n.given, n.order[0])
		n.order = n.order[1:]
	}
	n.given[h], n.order = now, append(n.order, h)
	return nonce
}

// find says when a nonce was given out.
func (n *nonces) find(h evidence.NonceHash) (time.Time, bool) {
	at, ok := n.given[h]
	return at, ok
}
