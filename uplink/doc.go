// Package uplink ships a box's log to its lenders: one Shipper, one connection
// and one durable cursor for each.
//
// Records go out in order, at most Config.InFlight of them without a receipt.
// What moves the cursor is the lender's signed receipt and nothing else
// (policy Receipt); with a plain broker that gives none it is the broker's
// acknowledgement (policy PUBACK), which proves delivery to that broker only.
// Brokers drop messages after acknowledging them, so a receipt that does not
// come means: go back to the cursor and send again. Duplicates cost a few
// bytes; the lender knows every index it has.
//
// Beside receipts a lender sends requests. A challenge is passed on. A request to
// get deliveries again is served one message at a time beside the live ones.
//
// A receipt is believed when it is signed by the pinned key, is for this log,
// and its root is the root of the same leaves here. Everything else is counted
// and reported, and changes nothing.
//
// What a lender may have at all is the factory's to say, and can end (Stretch,
// Grants). Then the connection ends too, and the cursor goes along with the log, so
// that nothing is kept for a lender that gets nothing.
//
// A record that cannot pass (it is too large for the broker, or the broker
// hangs up on it again and again) is isolated: it is sent alone, reported, and
// tried again at the slowest pace for as long as the box keeps it. It is not
// left out, because a lender would rightly read the hole as withheld data.
package uplink

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Session is one connection to a broker: it ends once and never comes back.
// Safe for concurrent use. uplink/mqtt implements it.
type Session interface {
	// Publish returns nil when the broker has acknowledged the message on
	// this connection (QoS 1).
	Publish(ctx context.Context, topic string, qos byte, retained bool, payload []byte) error
	// PublishAsync keeps the order of its calls and never blocks; done is
	// called once, from another goroutine. payload must not change.
	PublishAsync(topic string, qos byte, retained bool, payload []byte, done func(error))
	// Subscribe calls f for each message in the order of arrival.
	Subscribe(ctx context.Context, filter string, qos byte, f func(topic string, payload []byte)) error
	Done() <-chan struct{}
	Err() error
	Close(ctx context.Context) error
}

// Will is the message the broker publishes, retained, when a session ends
// without a good-bye.
type Will struct {
	Topic   string
	Payload []byte
}

// Source is the log to be shipped: record sequence = leaf index. Safe for
// concurrent use with the agent's appends; one Shipper calls it from one
// goroutine, Wait from another.
type Source interface {
	First() uint64 // oldest record kept
	Next() uint64  // end of the durable records; nothing from there on is shipped
	// Read returns record seq as stored, in dst's memory where it fits.
	Read(seq uint64, dst []byte) ([]byte, error)
	// Wait returns nil once record seq is durable.
	Wait(ctx context.Context, seq uint64) error
	// Anchor returns the compact range of leaves 0..seq-1, for
	// First <= seq <= Next. An error means it cannot be had.
	Anchor(seq uint64) (evidence.Anchor, error)
	// Meta returns the retained meta message as it stands; the caller keeps
	// but does not change it.
	Meta() []byte
	// Head returns the newest checkpoint, nil before the first; the caller keeps
	// but does not change it.
	Head() []byte
}

// Cursor is the durable position of one lender: the first record without a
// receipt. A position lost in a crash is only sent again.
type Cursor interface {
	Get() uint64
	Set(uint64) error
}

// AckPolicy says what moves the cursor.
type AckPolicy string

const (
	Receipt AckPolicy = "receipt" // the lender's signed receipt
	PUBACK  AckPolicy = "puback"  // the broker's acknowledgement: no proof of delivery
)

// Config is all a Shipper needs. Lender, Log, Key (for Receipt), Dial, Source
// and Cursor must be set.
type Config struct {
	Lender string         // as in the topics (evidence.ValidLender)
	Log    evidence.LogID // the log shipped
	Suite  evidence.Suite // of that log
	// Grants are the channels the factory consents to give of a leaf that began
	// at the given instant, Unix ms. Called from Run's goroutine.
	Grants func(at int64) []evidence.Channel
	// Stretch are the leaves the lender may have at all now, from lo and below
	// hi: those before go out only when it asks for them and Grants has something
	// for them, and at hi sending ends, connection and all, until hi is greater.
	// It changes only when a leaf is recorded, or with the time. Called from
	// Run's goroutine; nil: all of them.
	Stretch func() (lo, hi uint64)
	Key     evidence.PublicKey // the lender's pinned key
	Ack     AckPolicy          // default Receipt
	Dial    func(context.Context, Will) (Session, error)
	Source  Source
	Cursor  Cursor
	// InFlight is how many records may be without a receipt; default 8.
	InFlight int
	// ReceiptTimeout is how long nothing may move before records are sent
	// again; default 20 s. The next time it is twice, then four times as
	// long, and then a new session is tried.
	ReceiptTimeout time.Duration
	Backoff        Backoff
	Logger         *slog.Logger // default: discard
	OnEvent        func(Event)  // called from Run's goroutine; must not block
	// Heard is told every message of the lender that was believed, and raw is how
	// it came: receipts that confirm this log, challenges. Called from Run's
	// goroutine; must not block.
	Heard func(raw []byte, m evidence.Message)
}

func (c *Config) check() error {
	if c.Ack == "" {
		c.Ack = Receipt
	}
	switch {
	case !evidence.ValidLender(c.Lender):
		return fmt.Errorf("lender %q: a name is 1 to 32 of a-z, 0-9 and '-'", c.Lender)
	case c.Ack != Receipt && c.Ack != PUBACK:
		return fmt.Errorf("lender %s: ack %q; expected %q or %q", c.Lender, c.Ack, Receipt, PUBACK)
	case c.Ack == Receipt && c.Key.IsZero():
		return fmt.Errorf("lender %s: no public key to check receipts with", c.Lender)
	case c.Suite < evidence.SuiteEd25519 || c.Suite > evidence.SuiteSM2:
		return fmt.Errorf("lender %s: the suite of the log must be set", c.Lender)
	case c.Dial == nil || c.Source == nil || c.Cursor == nil || c.Grants == nil:
		return fmt.Errorf("lender %s: dial, source, cursor and grants must be set", c.Lender)
	}
	if c.InFlight <= 0 {
		c.InFlight = 8
	}
	if c.ReceiptTimeout <= 0 {
		c.ReceiptTimeout = 20 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.OnEvent == nil {
		c.OnEvent = func(Event) {}
	}
	if c.Stretch == nil {
		c.Stretch = func() (lo, hi uint64) { return 0, math.MaxUint64 }
	}
	if c.Heard == nil {
		c.Heard = func([]byte, evidence.Message) {}
	}
	return nil
}

// Backoff bounds the pause between connection attempts. Zero values mean 2 s
// and 2 min.
type Backoff struct{ Min, Max time.Duration }

// slowest is the longest pause.
func (b Backoff) slowest() time.Duration {
	if b.Max <= 0 {
		return 2 * time.Minute
	}
	return b.Max
}

// Delay is the pause after the given number of failures in a row (from 1): a
// random time between a quarter and the whole of Min x 2^(failures-1), at most
// Max. The spread keeps a fleet from coming back all at once.
func (b Backoff) Delay(failures int) time.Duration {
	lo := b.Min
	if lo <= 0 {
		lo = 2 * time.Second
	}
	d := min(lo<<min(max(failures-1, 0), 16), max(lo, b.slowest()))
	return d/4 + rand.N(d*3/4+1)
}

// EventKind says what an Event reports. The words never change meaning.
type EventKind string

const (
	Connected      EventKind = "connected"
	Disconnected   EventKind = "disconnected"    // Err: why; also for an attempt that failed
	Receipted      EventKind = "receipted"       // records Lo..Hi have their receipt
	Resent         EventKind = "resent"          // nothing came back for Lo..Hi; sent again
	NoReceipts     EventKind = "no-receipts"     // the broker takes records, the lender gives no receipts
	Lost           EventKind = "lost"            // Lo..Hi are no longer in the log and were never receipted
	Rewound        EventKind = "rewound"         // the lender no longer has what it receipted; sending from Lo again
	BadReceipt     EventKind = "bad-receipt"     // not signed by the lender, or for another log; Err says which
	LenderAhead    EventKind = "lender-ahead"    // the lender has receipted Hi, this log ends before it
	HistoryDiffers EventKind = "history-differs" // the lender's root for Hi is not this log's
	Poisoned       EventKind = "poisoned"        // record Lo cannot be delivered
	TakenOver      EventKind = "taken-over"      // the broker hangs up again and again: another box with the same client id?
	ReadFailed     EventKind = "read-failed"     // record Lo cannot be read; Err: why
	CursorFailed   EventKind = "cursor-failed"   // the position could not be stored; Err: why
	Replaying      EventKind = "replaying"       // the lender asked for Lo..Hi again
	Ended          EventKind = "ended"           // nothing more is sent: the factory withdrew its consent, or its time is over
)

// Event is something a person or the health page may want to know. Lo and Hi
// are leaf indexes, both included.
type Event struct {
	Kind   EventKind
	Lender string
	Lo, Hi uint64
	Err    error
}

// Causes of a BadReceipt.
var (
	ErrForgedReceipt  = errors.New("receipt not signed by the lender's key")
	ErrForeignReceipt = errors.New("receipt for another log")
)

// Status is a Shipper at one moment.
type Status struct {
	Lender    string
	Connected bool
	// Receipted is the first record without a receipt, as this process knows;
	// ReceiptAt is when it last moved, zero before that.
	Receipted uint64
	ReceiptAt time.Time
	Waiting   uint64 // durable records without a receipt
	LastErr   error  // why the last session or attempt ended; nil once connected again

	Sent, Resent, BadReceipts uint64 // counted since the process began
}
