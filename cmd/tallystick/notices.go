package main

import (
	"log/slog"
	"sync"

	"github.com/tallystick/tallystick/uplink"
)

// notices logs what happens on the way to the lenders, with a code and what to
// do, and says once what would be said at every attempt. Its method may be
// called from any goroutine.
type notices struct {
	log *slog.Logger

	mu   sync.Mutex
	down map[string]string // by lender: why it is not connected, "" when it is
}

func newNotices(log *slog.Logger) *notices {
	return &notices{log: log, down: map[string]string{}}
}

// see takes one event of a lender's shipper.
func (n *notices) see(lender string, e uplink.Event) {
	log := n.log.With("lender", lender)
	if e.Hi > 0 {
		log = log.With("from", e.Lo, "to", e.Hi)
	}
	switch e.Kind {
	case uplink.Connected:
		n.news(lender, "")
		log.Info("connected")
		return
	case uplink.Receipted, uplink.Resent:
		log.Debug(string(e.Kind))
		return
	case uplink.Disconnected:
		n.disconnected(log, lender, e.Err)
		return
	}
	code, what, hint := lenderNotice(e.Kind)
	if e.Err != nil {
		log = log.With("err", e.Err)
	}
	log.Warn(code+" "+what, "do", hint)
}

// disconnected says why there is no connection: once, and to --verbose each
// time.
func (n *notices) disconnected(log *slog.Logger, lender string, err error) {
	text, hint := err.Error(), ""
	if e := explainLender(err); e != nil {
		text, hint = e.Error(), e.Hint
	}
	if n.news(lender, text) {
		log.Warn(text, "do", hint)
	} else {
		log.Debug(text, "do", hint)
	}
}

// news notes why a lender is not connected and reports whether that is new.
func (n *notices) news(lender, why string) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	was := n.down[lender]
	n.down[lender] = why
	return was != why
}

// lenderNotice is what a person is to know about an event on the way to a
// lender; the leaves it is about stand beside it.
func lenderNotice(k uplink.EventKind) (code, what, hint string) {
	switch k {
	case uplink.NoReceipts:
		return "E-311", "the broker takes the evidence, but the lender confirms nothing",
			"ask the lender whether tally-lender watch runs there and has the key of this box (tallystick key show); everything is kept and sent again"
	case uplink.Lost:
		return "E-312", "leaves are gone before the lender had them",
			"the history says so under signature, so nobody can be blamed for hiding them; raise buffer: quota: so that it holds the longest outage"
	case uplink.Replaying:
		return "E-322", "the lender asked for leaves again; they are sent beside the new ones",
			"nothing to do; it gets the channels it may have"
	case uplink.Rewound:
		return "E-313", "the lender no longer has what it had confirmed; it is sent again",
			"nothing to do; tell the lender that it lost data"
	case uplink.BadReceipt:
		return "E-314", "a confirmation came that is not signed by this lender, or is for another box",
			"compare public_key: of this lender with what tally-lender keygen printed there; if it is right, somebody else writes to its topics"
	case uplink.LenderAhead:
		return "E-315", "the lender has more of this history than this box: an older copy of the directory was put back, or the storage lost data",
			"stop the agent and keep the directory; going on would fork the history. Move sealed and open away, leave the key file, and start with tallystick run --declare-loss: a new history begins and says so"
	case uplink.HistoryDiffers:
		return "E-316", "the lender has another history than this box under the same name: two boxes use one key, or an older copy was put back",
			"stop the agent, find the other box or copy, and tell the lender; both histories are proof"
	case uplink.Poisoned:
		return "E-317", "the broker refuses a leaf again and again",
			"ask the lender for a broker that takes larger messages (1 MiB), or set a shorter window:; it is kept and tried again"
	case uplink.TakenOver:
		return "E-318", "the broker hangs up again and again without a reason",
			"another box may use the same client id: is this one a copy of it? Make a new key and history for the copy"
	case uplink.ReadFailed:
		return "E-319", "a leaf cannot be read from this box's storage",
			"look at dmesg and replace the card or disk soon; the lender sees a gap for what cannot be read"
	case uplink.Ended:
		return "W-321", "nothing is sent to this lender: the consent was withdrawn, its time is over, or there is none",
			"see how it stands: tallystick consent show; to send again: tallystick consent grant. Readings go on being kept"
	case uplink.CursorFailed:
		return "E-320", "how far this lender is could not be stored",
			"free some space; until then a restart sends some leaves twice, which the lender sorts out"
	}
	return "", "", ""
}
