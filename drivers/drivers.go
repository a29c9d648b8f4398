// Package drivers holds the words every driver and everybody behind a driver
// shares: what a meter measures (Quantity), where it keeps it (Register), what
// one poll brought back (Reading, Quality), what went over the wire (Frame) and
// what went wrong (Fault). It holds no code that talks to anything.
//
// Numbers are integers with a decimal exponent from the register to the
// lender's verdict. A float exists only inside a float32 register and on a
// screen.
package drivers

import (
	"context"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
	"time"
)

// Quantity is one thing a meter measures. A reading of it is the integer
// Reading.Coef, and the physical value on the meter's own terminals is
// Coef x 10^Exp Unit: {voltage_l1 V -1} with Coef 2301 is 230.1 V.
type Quantity struct {
	Name string // lower-case, as in the profile: "voltage_l1", "energy_import"
	Unit string // "V", "A", "W", "kWh", ... or "" for a pure number
	Exp  int8   // decimal exponent, the profile's resolution
}

// Decimal is an exact decimal number, Coef x 10^Exp.
type Decimal struct {
	Coef int64
	Exp  int8
}

// String writes every digit the exponent promises: {2300, -1} is "230.0",
// {5, 3} is "5000".
func (d Decimal) String() string {
	s := strconv.FormatInt(d.Coef, 10)
	if d.Exp >= 0 {
		if d.Coef == 0 {
			return "0"
		}
		return s + strings.Repeat("0", int(d.Exp))
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	frac := -int(d.Exp)
	if len(s) <= frac {
		s = strings.Repeat("0", frac-len(s)+1) + s
	}
	return sign + s[:len(s)-frac] + "." + s[len(s)-frac:]
}

// Times is the exact product of two decimals; ok is false where its
// coefficient does not fit an int64.
func (d Decimal) Times(f Decimal) (product Decimal, ok bool) {
	hi, lo := bits.Mul64(magnitude(d.Coef), magnitude(f.Coef))
	if hi != 0 || lo > math.MaxInt64 {
		return Decimal{}, false
	}
	p := Decimal{Coef: int64(lo), Exp: d.Exp + f.Exp}
	if (d.Coef < 0) != (f.Coef < 0) {
		p.Coef = -p.Coef
	}
	return p, true
}

func magnitude(v int64) uint64 {
	if v < 0 {
		return -uint64(v)
	}
	return uint64(v)
}

// Quality says whether a reading has a value and, where it has none or a
// doubtful one, why. The numbers are the codes of the signed format
// (uplink/evidence/SPEC.md, "Sample codes") and never change meaning.
type Quality uint8

const (
	OK           Quality = 0 // decoded, plausible
	Suspect      Quality = 1 // decoded, outside the profile's plausibility limits; the value is kept and marked
	Timeout      Quality = 2 // the meter said nothing in time
	BadFrame     Quality = 3 // bytes came, no valid reply among them
	Refused      Quality = 4 // the meter answered with a Modbus exception or the like
	Absent       Quality = 5 // the meter has said it does not have this quantity
	Invalid      Quality = 6 // the register holds "no value": sentinel, NaN, infinity, or it does not fit the resolution
	Disconnected Quality = 7 // the line itself (port, serial server) could not be used
	Skipped      Quality = 8 // due, but not asked: line too slow or meter held off after failures

	// Like Suspect these have a value, kept as it came; 9 is not a reading's.
	TooFast   Quality = 10 // changes faster than the profile allows
	Backwards Quality = 11 // a counter that went down and did not roll over
	Frozen    Quality = 12 // unchanged for longer than can be
	Stale     Quality = 13 // repeated by the meter or a gateway instead of measured anew
)

var qualityNames = [...]string{"ok", "suspect", "timeout", "bad frame", "refused", "absent", "invalid", "disconnected", "skipped",
	10: "suspect: too fast", 11: "suspect: backwards", 12: "suspect: frozen", 13: "suspect: stale"}

// String is the word shown to people and printed by --json.
func (q Quality) String() string {
	if int(q) < len(qualityNames) && qualityNames[q] != "" {
		return qualityNames[q]
	}
	return "quality " + strconv.Itoa(int(q))
}

// HasValue reports whether a reading of this quality carries a number.
func (q Quality) HasValue() bool { return q <= Suspect || q >= TooFast && q <= Stale }

// Reading is one value of one quantity. Coef is 0 and means nothing when
// Quality.HasValue is false.
type Reading struct {
	Coef    int64
	Quality Quality
}

// Frame is one exchange as it crossed the wire.
type Frame struct {
	Line     string    // name of the line
	Request  []byte    // valid only during the call it is passed to
	Reply    []byte    // every byte that came, noise included; may be empty
	Sent     time.Time // just before the first byte of the request
	Received time.Time // after the last byte of the reply, or the deadline
	Err      error     // nil when the reply was accepted
}

// Fault is a failed read: what was asked of whom, and why it did not work.
// Its text follows the house grammar:
//
//	read holding registers 0x0010+4 from meter press-1: timeout after 300ms
//
// Kind is one of the qualities without a value; it travels in the evidence.
type Fault struct {
	Kind  Quality
	Op    string // "read holding registers 0x0010+4"; empty when the fault is the line's
	Meter string // meter name; empty when the fault is the line's
	Err   error  // the cause, without repeating Op or Meter
}

func (f *Fault) Error() string {
	switch {
	case f.Meter == "" && f.Op == "":
		return f.Err.Error()
	case f.Meter == "":
		return fmt.Sprintf("%s: %v", f.Op, f.Err)
	case f.Op == "":
		return fmt.Sprintf("meter %s: %v", f.Meter, f.Err)
	}
	return fmt.Sprintf("%s from meter %s: %v", f.Op, f.Meter, f.Err)
}

func (f *Fault) Unwrap() error { return f.Err }

// Exchanger sends one request and returns the one reply that belongs to it.
// drivers/line implements it; a driver sees nothing else of the wire.
// An Exchanger belongs to one goroutine.
type Exchanger interface {
	Exchange(ctx context.Context, x Exchange) (reply []byte, err error)
}

// Exchange is one request and how to find its reply in what comes back.
type Exchange struct {
	Request []byte
	// Settings the request is sent with, and Reply those its reply comes with
	// where they differ (IEC 62056-21 changes speed in between). Zero Settings
	// are the line's own, a zero Reply is Settings. Ignored on TCP.
	Settings, Reply Settings
	// Timeout runs from the last byte of the request to the last byte of the
	// reply.
	Timeout time.Duration
	// Silence is the quiet time the protocol needs on the line before a
	// request (Modbus RTU: 3.5 characters). Ignored on a line that has no
	// timing of its own.
	Silence time.Duration
	// Match looks for the reply at the start of what has arrived so far. It
	// returns how many leading bytes are certainly noise or a stale frame
	// (skip) and the length of the reply that follows them (size), or size 0
	// when more bytes are needed. It must be total on any input.
	Match func(b []byte) (skip, size int)
	// Numbered says replies carry a transaction number that Match checks, so
	// a late reply cannot be taken for this one and the input need not be
	// drained after a timeout.
	Numbered bool
	// Silent, when set, looks whether the reply is a gateway's word that the
	// device behind it did not answer; nil says it is the device's own.
	Silent func(reply []byte) error
}
