package evidence

import "github.com/tallystick/tallystick/uplink/evidence/canon"

// Challenge is a lender's wish to see registers read now (SPEC.md section 9.2).
// Its nonce is answered in the next window like that of a receipt.
type Challenge struct {
	Log    LogID
	Nonce  [16]byte
	Issued int64 // Unix milliseconds by the lender's clock
	Reads  []RegisterRead
}

// RegisterRead names Modbus data of one meter.
type RegisterRead struct {
	_       struct{} `cbor:",toarray"`
	Meter   string
	Table   RegisterTable
	Address uint64 // of the first, from 0
	Count   uint64
}

// RegisterTable is one of the four of Modbus.
type RegisterTable uint8

const (
	Coils            RegisterTable = 1
	DiscreteInputs   RegisterTable = 2
	HoldingRegisters RegisterTable = 3
	InputRegisters   RegisterTable = 4
)

// Replay is a lender's wish to get deliveries again (SPEC.md section 9.2).
type Replay struct {
	Log      LogID
	Issued   int64
	Lo, Hi   uint64 // leaf indexes, both included
	Channels []Channel
}

// Limits of a request.
const (
	MaxReads     = 8
	MaxReadCount = 125 // registers or bits in one read
)

type wireRequest struct {
	Log      LogID           `cbor:"1,keyasint"`
	Nonce    *[16]byte       `cbor:"7,keyasint,omitempty"`
	Issued   int64           `cbor:"8,keyasint"`
	Reads    *[]RegisterRead `cbor:"9,keyasint,omitempty"`
	Range    *[2]uint64      `cbor:"10,keyasint,omitempty"`
	Channels *[]Channel      `cbor:"11,keyasint,omitempty"`
}

func (c *Challenge) wire() wireRequest {
	return wireRequest{Log: c.Log, Nonce: &c.Nonce, Issued: c.Issued, Reads: &c.Reads}
}

func (r *Replay) wire() wireRequest {
	return wireRequest{Log: r.Log, Issued: r.Issued, Range: &[2]uint64{r.Lo, r.Hi}, Channels: &r.Channels}
}

// SignChallenge encodes and signs a challenge with the lender's key.
func SignChallenge(key Signer, c Challenge) ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return signRequest(key, c.wire())
}

// SignReplay encodes and signs a request for deliveries with the lender's key.
func SignReplay(key Signer, r Replay) ([]byte, error) {
	if err := r.validate(); err != nil {
		return nil, err
	}
	return signRequest(key, r.wire())
}

func signRequest(key Signer, w wireRequest) ([]byte, error) {
	payload, err := canon.Marshal(w)
	if err != nil {
		return nil, err
	}
	return Sign1(key, payload)
}

func (c *Challenge) validate() error {
	const where = "challenge"
	if !ValidTime(c.Issued) || len(c.Reads) == 0 || len(c.Reads) > MaxReads {
		return canon.Malformed(where, "%d reads, want 1 to %d", len(c.Reads), MaxReads)
	}
	for _, r := range c.Reads {
		if err := r.Validate(); err != nil {
			return err
		}
	}
	return nil
}

// Validate reports what a read must not ask.
func (r *RegisterRead) Validate() error {
	if r.Meter == "" || !ValidText(r.Meter) || r.Table < Coils || r.Table > InputRegisters || r.Count == 0 || r.Count > MaxReadCount || r.Address > 1<<16-r.Count {
		return canon.Malformed("register read", "%d of table %d from %d of meter %.40q: want 1 to %d below 65536", r.Count, r.Table, r.Address, r.Meter, MaxReadCount)
	}
	return nil
}

func (r *Replay) validate() error {
	if !ValidTime(r.Issued) || r.Lo > r.Hi || len(r.Channels) > 64 {
		return canon.Malformed("replay request", "leaves %d to %d, %d channels", r.Lo, r.Hi, len(r.Channels))
	}
	return nil
}

// Message is what a lender says on the receipt topic: exactly one is set.
type Message struct {
	Receipt   *Receipt
	Challenge *Challenge
	Replay    *Replay
}

// OpenMessage returns the receipt or request in b when pub signed it:
// ErrSignature when it did not, a *canon.FormatError when b is neither.
func OpenMessage(pub PublicKey, b []byte) (Message, error) {
	const where = "request"
	e, err := ParseSign1(where, b)
	if err != nil {
		return Message{}, err
	}
	var kind struct {
		Reads *any `cbor:"9,keyasint"`
		Range *any `cbor:"10,keyasint"`
	}
	if err := canon.Peek(e.Payload, &kind); err != nil || kind.Reads == nil && kind.Range == nil {
		r, err := OpenReceipt(pub, b)
		if err != nil {
			return Message{}, err
		}
		return Message{Receipt: &r}, nil
	}
	if err := e.VerifySignature(pub); err != nil {
		return Message{}, err
	}
	var w wireRequest
	if err := canon.Unmarshal(where, e.Payload, &w); err != nil {
		return Message{}, err
	}
	if w.Range != nil {
		r := Replay{Log: w.Log, Issued: w.Issued, Lo: w.Range[0], Hi: w.Range[1], Channels: deref(w.Channels)}
		if err := r.validate(); err != nil {
			return Message{}, err
		}
		return Message{Replay: &r}, canon.Check(where, e.Payload, r.wire())
	}
	c := Challenge{Log: w.Log, Nonce: deref(w.Nonce), Issued: w.Issued, Reads: deref(w.Reads)}
	if err := c.validate(); err != nil {
		return Message{}, err
	}
	return Message{Challenge: &c}, canon.Check(where, e.Payload, c.wire())
}
