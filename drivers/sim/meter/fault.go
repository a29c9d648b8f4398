package meter

import (
	"math/rand/v2"
	"time"
)

// Fault is one way to misbehave. The zero Fault is a good meter. Its parts can
// be combined.
type Fault struct {
	Silent bool // no reply
	// The reply comes this much later. On a serial line others may be asked and
	// answer meanwhile.
	Late time.Duration
	// Refuse with this code: a Modbus exception, the error byte of DL/T 645
	// (02: no such data), the first status byte of CJ/T 188. IEC 62056-21 has
	// no refusal and stays silent.
	Exception byte
	Unit      byte   // Modbus: reply in the name of another unit
	Foreign   bool   // reply in the name of another meter, the one with the next address
	Noise     []byte // bytes put on the wire before the reply, or alone when Silent
	Factor    int64  // every value times this many thousandths; 0: the truth
	// Corrupt is how many bits of the reply are turned over on the way, drawn by
	// the number of the request. Modbus TCP, which would not notice, is spared.
	Corrupt int
	Cut     int // how many bytes are missing from the end of the reply; not on Modbus TCP
}

// spoil does to a framed reply what happens on the wire.
func (f Fault) spoil(frame []byte, n int) []byte {
	rng := rand.New(rand.NewPCG(uint64(n), 0xb17))
	for range f.Corrupt {
		if len(frame) > 0 {
			frame[rng.IntN(len(frame))] ^= 1 << rng.IntN(8)
		}
	}
	return frame[:len(frame)-min(f.Cut, len(frame))]
}

// Rates are how often a meter misbehaves, each from 0 (never) to 1 (always).
type Rates struct {
	Late    float64
	LateBy  time.Duration // 0 means 2 s
	Lost    float64       // no reply
	Corrupt float64       // one to three bits turned over
	Cut     float64       // the end of the reply is missing
	Noise   float64       // some bytes of noise first
	Foreign float64       // in the name of another meter
	Wrong   float64       // a good frame with values half as high again
	Refused float64       // exception 06 (busy), DL/T 645 error 01 (other)
}

// Faults is a Config.Fault that misbehaves at these rates. Equal seeds
// misbehave alike, request by request.
func (r Rates) Faults(seed uint64) func(request int) Fault {
	if r.LateBy == 0 {
		r.LateBy = 2 * time.Second
	}
	return func(n int) Fault {
		rng := rand.New(rand.NewPCG(seed, uint64(n)))
		// Each is drawn whether it can happen or not, so that one rate does not
		// shift the fate of another.
		hit := func(rate float64) bool { return rng.Float64() < rate }
		var f Fault
		if hit(r.Late) {
			f.Late = r.LateBy
		}
		f.Silent = hit(r.Lost)
		if hit(r.Corrupt) {
			f.Corrupt = 1 + n%3
		}
		if hit(r.Cut) {
			f.Cut = 1 + n%4
		}
		if hit(r.Noise) {
			f.Noise = []byte{byte(rng.Uint32()), 0x00, byte(rng.Uint32())}
		}
		f.Foreign = hit(r.Foreign)
		if hit(r.Wrong) {
			f.Factor = 1500
		}
		if hit(r.Refused) {
			f.Exception = slaveBusy
		}
		return f
	}
}
