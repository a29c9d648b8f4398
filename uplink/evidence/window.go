package evidence

import "github.com/tallystick/tallystick/uplink/evidence/canon"

// decodeWindow reads the payload of a window, which most leaves are, item by
// item in its one canonical form. ok is false for everything else, and for a
// window that is not in that form: decodeManifest then says what is wrong. What
// it returns must still be validated.
func decodeWindow(payload []byte) (m Manifest, ok bool) {
	r := canon.NewReader("manifest", payload)
	keys := r.Head(canon.Map, "map")
	key := func(want uint64) {
		if got := r.Head(canon.Uint, "key"); r.Err() == nil && got != want {
			r.Fail("key %d", got)
		}
	}
	fixed := func(dst []byte) {
		if b := r.Bytes("bytes"); r.Err() == nil && len(b) != len(dst) {
			r.Fail("%d bytes", len(b))
		} else {
			copy(dst, b)
		}
	}
	pair := func() {
		if n := r.Head(canon.Array, "pair"); r.Err() == nil && n != 2 {
			r.Fail("array of %d", n)
		}
	}
	number := func() uint64 { return r.Head(canon.Uint, "number") }

	key(1)
	if m.Type = WindowLeaf; number() != uint64(WindowLeaf) || keys < 10 || keys > 11 {
		return m, false
	}
	key(2)
	fixed(m.Log[:])
	key(3)
	m.N = number()
	key(4)
	fixed(m.Root[:])
	key(5)
	pair()
	start := number()
	m.Start, m.Duration = int64(start), number()
	key(6)
	pair()
	if n := r.Head(canon.Text, "flag"); r.Err() == nil && (n != 1 || r.Left() == 0) {
		return m, false
	}
	m.TimeFlag = TimeFlag(r.Take(1, "flag"))
	m.TimeErrorMS = number()
	key(7)
	pair()
	m.Event.Boot, m.UptimeMS = number(), number()
	key(8)
	channels := r.Head(canon.Map, "channels")
	if channels > uint64(r.Left()) {
		return m, false
	}
	m.Channels = make(map[Channel]ChannelDigest, channels)
	last := -1
	for range channels {
		ch := number()
		pair()
		cd := ChannelDigest{Seq: number()}
		fixed(cd.Digest[:])
		if r.Err() != nil || ch > 0xffff || int(ch) <= last {
			return m, false
		}
		last = int(ch)
		m.Channels[Channel(ch)] = cd
	}
	key(9)
	completeness := number()
	m.Completeness = uint16(completeness)
	if keys == 11 {
		key(10)
		n := r.Head(canon.Array, "beacon")
		if n == 0 || n > uint64(r.Left()) {
			return m, false
		}
		m.Beacon = make([]NonceHash, n)
		for i := range m.Beacon {
			fixed(m.Beacon[i][:])
		}
	}
	key(11)
	m.DictionaryAt = number()
	return m, r.End() == nil && start < 1<<63 && completeness <= 1000
}
