package evidence

import "github.com/tallystick/tallystick/uplink/evidence/canon"

// Receipt is a lender's signed word that it has received, verified and stored
// a log up to and including leaf N. It is cumulative and idempotent.
type Receipt struct {
	Log        LogID
	Empty      bool               // nothing received yet: N and Root mean nothing
	N          uint64             // highest contiguous leaf
	Root       Hash               // of leaves 0..N
	Channels   map[Channel]uint64 // newest block sequence stored, by channel
	ReceivedAt int64              // Unix milliseconds by the lender's clock
	Status     string             // "ok", "gap", ...; a hint for people
	Nonce      []byte             // 16 bytes to be hashed into a later manifest, or nil
}

type wireReceipt struct {
	Log        LogID              `cbor:"1,keyasint"`
	N          *uint64            `cbor:"2,keyasint,omitempty"`
	Root       *Hash              `cbor:"3,keyasint,omitempty"`
	Channels   map[Channel]uint64 `cbor:"4,keyasint"`
	ReceivedAt int64              `cbor:"5,keyasint"`
	Status     string             `cbor:"6,keyasint"`
	Nonce      *[16]byte          `cbor:"7,keyasint,omitempty"`
}

func (r *Receipt) wire() wireReceipt {
	w := wireReceipt{Log: r.Log, Channels: r.Channels, ReceivedAt: r.ReceivedAt, Status: r.Status}
	if !r.Empty {
		w.N, w.Root = &r.N, &r.Root
	}
	if r.Nonce != nil {
		w.Nonce = (*[16]byte)(r.Nonce)
	}
	return w
}

// SignReceipt encodes and signs a receipt with the lender's key.
func SignReceipt(key Signer, r Receipt) ([]byte, error) {
	if r.Nonce != nil && len(r.Nonce) != 16 {
		return nil, canon.Malformed("receipt", "nonce of %d bytes, want 16", len(r.Nonce))
	}
	if !ValidText(r.Status) || !ValidTime(r.ReceivedAt) {
		return nil, canon.Malformed("receipt", "status longer than %d bytes, or received at %d ms", MaxText, r.ReceivedAt)
	}
	payload, err := canon.Marshal(r.wire())
	if err != nil {
		return nil, err
	}
	return Sign1(key, payload)
}

// OpenReceipt returns the receipt in b when pub signed it: ErrSignature when
// it did not, a *canon.FormatError when b is no receipt.
func OpenReceipt(pub PublicKey, b []byte) (Receipt, error) {
	e, err := ParseSign1("receipt", b)
	if err != nil {
		return Receipt{}, err
	}
	if err := e.VerifySignature(pub); err != nil {
		return Receipt{}, err
	}
	return decodeReceipt(e.Payload)
}

// UnverifiedReceipt is what b says, whoever signed it: for showing, not for
// believing.
func UnverifiedReceipt(b []byte) (Receipt, error) {
	e, err := ParseSign1("receipt", b)
	if err != nil {
		return Receipt{}, err
	}
	return decodeReceipt(e.Payload)
}

func decodeReceipt(payload []byte) (Receipt, error) {
	const where = "receipt"
	var w wireReceipt
	if err := canon.Unmarshal(where, payload, &w); err != nil {
		return Receipt{}, err
	}
	if (w.N == nil) != (w.Root == nil) || !ValidText(w.Status) || !ValidTime(w.ReceivedAt) {
		return Receipt{}, canon.Malformed(where, "index without root, long status or impossible time")
	}
	r := Receipt{Log: w.Log, Empty: w.N == nil, N: deref(w.N), Root: deref(w.Root), Channels: w.Channels,
		ReceivedAt: w.ReceivedAt, Status: w.Status}
	if w.Nonce != nil {
		r.Nonce = w.Nonce[:]
	}
	return r, canon.Check(where, payload, r.wire())
}
