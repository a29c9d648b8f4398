package evidence

import "encoding/binary"

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
		return nil, malformed("raw frames", "%d meters, the dictionary has %d", len(meters), len(dict))
	}
	total := 0
	for m := range meters {
		f := meters[m].Frames
		if f == nil || meters[m].Slots != 0 {
			return nil, malformed("raw frames", "meter %d has samples, or no frames", m)
		}
		dst = binary.AppendUvarint(dst, uint64(len(f.Exchanges)))
		start, before := len(dst), int64(0)
		for i := range f.Exchanges {
			x := &f.Exchanges[i]
			if len(x.Request) > MaxFrame || len(x.Reply) > MaxFrame {
				return nil, malformed("raw frames", "meter %d, exchange %d: messages of %d and %d bytes, limit %d", m, i, len(x.Request), len(x.Reply), MaxFrame)
			}
			dst = binary.AppendUvarint(dst, zigzag(x.At-before))
			dst = binary.AppendUvarint(dst, zigzag(x.Took))
			dst = append(binary.AppendUvarint(dst, uint64(len(x.Request))), x.Request...)
			dst = append(binary.AppendUvarint(dst, uint64(len(x.Reply))), x.Reply...)
			before = x.At
		}
		size := len(dst) - start
		if total += size; size > MaxMeterFrames || total > MaxWindowFrames {
			return nil, malformed("raw frames", "meter %d: %d bytes, with the meters before %d, limits %d and %d", m, size, total, MaxMeterFrames, MaxWindowFrames)
		}
		dst = binary.AppendUvarint(dst, f.Dropped)
	}
	return dst, nil
}

// decodeFrames reads what framesBody wrote, and nothing else. Its memory is at
// most some twenty times the length of body.
func decodeFrames(body []byte, dict []ChannelMeter) ([]Samples, error) {
	r := &reader{where: "raw frames", b: body}
	meters := make([]Samples, len(dict))
	total := 0
	for m := range meters {
		n := r.uvarint("exchange count")
		if n > uint64(r.left()/leastExchange) {
			r.fail("meter %d: %d exchanges announced in %d bytes", m, n, r.left())
		}
		if r.err != nil {
			return nil, r.err
		}
		f := &Frames{}
		if n > 0 {
			f.Exchanges = make([]Exchange, n)
		}
		start, before := r.at, int64(0)
		for i := range f.Exchanges {
			x := &f.Exchanges[i]
			x.At = before + unzigzag(r.uvarint("offset"))
			x.Took = unzigzag(r.uvarint("duration"))
			x.Request = r.message("request")
			x.Reply = r.message("reply")
			before = x.At
		}
		size := r.at - start
		if total += size; r.err == nil && (size > MaxMeterFrames || total > MaxWindowFrames) {
			r.fail("meter %d: %d bytes, with the meters before %d, limits %d and %d", m, size, total, MaxMeterFrames, MaxWindowFrames)
		}
		f.Dropped = r.uvarint("dropped exchanges")
		if r.err != nil {
			return nil, r.err
		}
		meters[m].Frames = f
	}
	return meters, r.end()
}

// message reads a length and as many bytes, which it copies.
func (r *reader) message(what string) []byte {
	n := r.uvarint(what + " length")
	if n > MaxFrame || n > uint64(r.left()) {
		r.fail("%s of %d bytes, %d left, limit %d", what, n, r.left(), MaxFrame)
	}
	if r.err != nil || n == 0 {
		return nil
	}
	b := append([]byte(nil), r.b[r.at:r.at+int(n)]...)
	r.at += int(n)
	return b
}
