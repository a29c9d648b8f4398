package evidence

import (
	"bytes"
	"encoding/binary"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Limits of raw frames (SPEC.md "Raw frames").
const (
	MaxFrame        = 64 << 10 // bytes of one request, and of one reply
	MaxMeterFrames  = 1 << 20  // bytes of one meter's exchanges in one block, as encoded
	MaxWindowFrames = 2 << 20  // bytes of all meters' exchanges in one block, as encoded

	// ExchangeOverhead is the most bytes that an exchange takes besides its
	// request and its reply.
	ExchangeOverhead = 2*binary.MaxVarintLen64 + 2*3

	leastExchange = 4 // bytes: four numbers, nothing asked, no reply
)

// Frames are what crossed the wire while one meter was polled in one window.
type Frames struct {
	Exchanges []Exchange // in the order they were made
	Dropped   uint64     // exchanges after the last one kept that found no room
}

// Exchange is one request and every byte that came back.
type Exchange struct {
	At      int64  // first byte of the request, ms after the window's start; may be negative
	Took    int64  // until the last byte of the reply or the end of the wait, ms
	Request []byte // empty where the meter goes on unasked (IEC 62056-21 mode B)
	Reply   []byte // noise included; empty where none came
}

// framesBody writes the body of a block of channel 10, one section for each of
// meters.
func framesBody(dst []byte, meters []Samples, dict []ChannelMeter) ([]byte, error) {
	if len(meters) != len(dict) {
		return nil, canon.Malformed("raw frames", "%d meters, the dictionary has %d", len(meters), len(dict))
	}
	total := 0
	for m := range meters {
		f := meters[m].Frames
		if f == nil || meters[m].Slots != 0 {
			return nil, canon.Malformed("raw frames", "meter %d has samples, or no frames", m)
		}
		dst = binary.AppendUvarint(dst, uint64(len(f.Exchanges)))
		start, before := len(dst), int64(0)
		for i := range f.Exchanges {
			x := &f.Exchanges[i]
			if len(x.Request) > MaxFrame || len(x.Reply) > MaxFrame {
				return nil, canon.Malformed("raw frames", "meter %d, exchange %d: messages of %d and %d bytes, limit %d", m, i, len(x.Request), len(x.Reply), MaxFrame)
			}
			dst = binary.AppendUvarint(dst, zigzag(x.At-before))
			dst = binary.AppendUvarint(dst, zigzag(x.Took))
			dst = append(binary.AppendUvarint(dst, uint64(len(x.Request))), x.Request...)
			dst = append(binary.AppendUvarint(dst, uint64(len(x.Reply))), x.Reply...)
			before = x.At
		}
		size := len(dst) - start
		if total += size; size > MaxMeterFrames || total > MaxWindowFrames {
			return nil, canon.Malformed("raw frames", "meter %d: %d bytes, with the meters before %d, limits %d and %d", m, size, total, MaxMeterFrames, MaxWindowFrames)
		}
		dst = binary.AppendUvarint(dst, f.Dropped)
	}
	return dst, nil
}

// decodeFrames reads what framesBody wrote, and nothing else. Its memory is at
// most some twenty times the length of body.
func decodeFrames(body []byte, dict []ChannelMeter) ([]Samples, error) {
	r := canon.NewReader("raw frames", body)
	meters := make([]Samples, len(dict))
	total := 0
	for m := range meters {
		n := r.Uvarint("exchange count")
		if n > uint64(r.Left()/leastExchange) {
			r.Fail("meter %d: %d exchanges announced in %d bytes", m, n, r.Left())
		}
		if r.Err() != nil {
			return nil, r.Err()
		}
		f := &Frames{}
		if n > 0 {
			f.Exchanges = make([]Exchange, n)
		}
		start, before := r.At(), int64(0)
		for i := range f.Exchanges {
			x := &f.Exchanges[i]
			x.At = before + unzigzag(r.Uvarint("offset"))
			x.Took = unzigzag(r.Uvarint("duration"))
			x.Request = readMessage(r, "request")
			x.Reply = readMessage(r, "reply")
			before = x.At
		}
		size := r.At() - start
		if total += size; r.Err() == nil && (size > MaxMeterFrames || total > MaxWindowFrames) {
			r.Fail("meter %d: %d bytes, with the meters before %d, limits %d and %d", m, size, total, MaxMeterFrames, MaxWindowFrames)
		}
		f.Dropped = r.Uvarint("dropped exchanges")
		if r.Err() != nil {
			return nil, r.Err()
		}
		meters[m].Frames = f
	}
	return meters, r.End()
}

// readMessage reads a length and as many bytes, which it copies.
func readMessage(r *canon.Reader, what string) []byte {
	n := r.Uvarint(what + " length")
	if n > MaxFrame || n > uint64(r.Left()) {
		r.Fail("%s of %d bytes, %d left, limit %d", what, n, r.Left(), MaxFrame)
	}
	if r.Err() != nil || n == 0 {
		return nil
	}
	return bytes.Clone(r.Take(n, what))
}
