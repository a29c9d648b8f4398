// Package agent runs one site: it polls the lines, keeps every reading, seals
// each window into signed evidence, appends it to the durable log and lets one
// shipper per lender send it from there.
//
// The way of a reading: poller (poll.go, one goroutine per line) -> judge (what
// is odd about it) -> window (the open windows and their journal) -> sealer (seal.go,
// the one that writes) -> history (the log of leaves, and what shippers read of it).
// What lenders say and what people decide on the box comes the other way, over desk
// to the sealer.
package agent

import (
	"context"
	"log/slog"
	"time"

	"github.com/tallystick/tallystick/agent/desk"
	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/agent/judge"
	"github.com/tallystick/tallystick/buffer"
	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/uplink/evidence"
)

// Site is everything a run needs. cmd puts it together; the agent knows
// neither the site file nor a protocol.
type Site struct {
	Lines    []Line
	Lenders  []Lender
	Channels []evidence.Channel // sealed channels; the others are not recorded
	Window   time.Duration      // length of one sealed window
	Zone     *time.Location     // in which the days of channel 12 are counted; needed where it is sealed
	Sync     time.Duration      // a reading is durable at the latest this long after it was taken

	Dir       string        // owned by one agent at a time
	Quota     int64         // bytes of log on disk, 0 for no limit
	Retention time.Duration // age after which delivered records go, 0 for quota only

	Signer      evidence.Signer
	Salt        []byte         // secret the block salts come from
	Successor   *evidence.Hash // a new history commits to it; nil: its key is never rotated
	Checkpoint  []byte         // public half of the Notary's key; nil for none
	Count       Count          // nil: no counter
	Used        string         // file that remembers what the key has signed; empty: none
	DeclareLoss bool           // begin a new history where the one that was signed is gone
	// ClockState is what disciplines the wall clock, and its error in ms; nil: as the
	// system says.
	ClockState func() (flag evidence.TimeFlag, errorMS uint64)
	// Notary makes the notary of a log; nil: no checkpoints.
	Notary       func(evidence.LogID, evidence.Suite) (Notary, error)
	ConfigDigest evidence.Hash // of the site file in force
	Software     string        // name and version, for the boot leaf
	Drain        time.Duration // how long a stop waits for receipts

	continues *evidence.Previous // what a new history says of the one before; see Continue

	Close  func() error // called when Run ends; may be nil
	Log    *slog.Logger
	OnPoll func(Poll) // told of every poll and its fault, from the line's goroutine; may be nil
}

// Line is one bus and what hangs on it.
type Line struct {
	Name   string
	Meters []Meter
	Close  func() error // releases the port; called when the line's poller has stopped
	Tap    *Tap         // told of every frame; may be nil where no meter has RawFrames
}

// Meter is one device to poll.
type Meter struct {
	Name           string
	Profile        string
	ProfileVersion int
	ProfileHash    evidence.Hash
	Interval       time.Duration
	Device         Device
	Columns        []Column // one per reading the device gives, in its order
	Main           bool     // the incoming meter: those of other meters are behind it
	RawFrames      bool     // what crosses the wire in its polls is sealed too; needs the channel evidence.Timing
	// Identity reads what tells this meter from another of its model. nil: its
	// profile does not say how.
	Identity func(context.Context) (string, error)
	// Ask reads registers a lender wants to see, as they are on the wire, within
	// the ranges the profile marks readable. nil: the meter has no registers.
	Ask func(context.Context, evidence.RegisterRead) ([]byte, evidence.Code)
}

// Device reads all quantities of one meter at once. An error is the first
// fault met, for people; every reading carries its own quality.
type Device interface {
	Read(ctx context.Context, dst []drivers.Reading) error
}

// Column says what one reading of a device means at this site.
type Column struct {
	drivers.Quantity
	Multiplier drivers.Decimal // CT/PT ratio; {1, 0} where none applies
	Rule       judge.Rule      // what its values can do
}

// Poll is one meter asked once.
type Poll struct {
	Line, Meter string
	Start       time.Time         // before the first request
	Took        time.Duration     // until the last reply
	Columns     []Column          // what the readings mean
	Readings    []drivers.Reading // valid only during the call it is passed to
	Err         error             // the first fault, nil when all was read
}

// Lender is one receiver of the evidence.
type Lender struct {
	Name string // also the name of its cursor
	Ship func(Feed) (Shipper, error)
}

// Shipper sends the log to one lender. uplink.Shipper implements it.
type Shipper interface {
	// Run ships until ctx ends. A broker or lender that cannot be reached is
	// not an error.
	Run(ctx context.Context) error
	// Drain returns when the lender has confirmed everything durable, or
	// with ctx's error. Run goes on meanwhile.
	Drain(ctx context.Context) error
}

// Feed is what a shipper works from.
type Feed struct {
	Log    evidence.LogID
	Suite  evidence.Suite
	Source *history.Source
	Cursor *buffer.Cursor // next leaf the lender has not confirmed
	// Heard takes every believed message of the lender, and how it came.
	Heard func(raw []byte, m evidence.Message)
	// Standing is what the records of the log say of the lender now. It waits
	// while such a record is being written: who knows of a leaf finds its effect.
	Standing func() desk.Standing
}

// ChannelOf is the one place that decides which consent channel a quantity
// belongs to.
func ChannelOf(q drivers.Quantity) evidence.Channel {
	switch q.Unit {
	case "kWh":
		return evidence.Energy
	case "W", "kW":
		return evidence.Power
	case "V", "A":
		return evidence.VoltageCurrent
	case "Hz":
		return evidence.Frequency
	case "m3", "m3/h", "l", "l/h", "GJ", "MJ", "°C":
		return evidence.WaterGas
	case "var", "kvarh", "VA", "kVAh", "deg", "%":
		return evidence.Reactive
	}
	if len(q.Name) >= 12 && q.Name[:12] == "power_factor" {
		return evidence.Reactive
	}
	return evidence.Status
}
