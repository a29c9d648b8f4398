package evidence

import (
	"reflect"
	"testing"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// slowManifest is decodeManifest without the short way for windows.
func slowManifest(payload []byte) (Manifest, error) {
	var w wireManifest
	if err := canon.Unmarshal("manifest", payload, &w); err != nil {
		return Manifest{}, err
	}
	if w.Type != WindowLeaf {
		return Manifest{}, canon.Malformed("manifest", "type %d", w.Type)
	}
	m := Manifest{Type: w.Type, N: w.N, Root: w.Root, Log: deref(w.Log), Event: Event{
		Start: w.Span.Start, Duration: w.Span.Duration, TimeFlag: w.Time.Flag, TimeErrorMS: w.Time.Error,
		Boot: w.Uptime[0], UptimeMS: w.Uptime[1],
	}, Channels: deref(w.Channels), Completeness: deref(w.Completeness), Beacon: deref(w.Beacon), DictionaryAt: deref(w.DictionaryAt)}
	if err := m.validate(); err != nil {
		return m, err
	}
	return m, canon.Check("manifest", payload, m.wire())
}

// FuzzDecodeWindow holds the short way against the general one: what one takes
// the other takes, and both read the same.
func FuzzDecodeWindow(f *testing.F) {
	m := Manifest{Type: WindowLeaf, N: 9, Log: LogID{1}, Root: Hash{2}, Event: Event{Start: 1767571200000, Duration: 60000, TimeFlag: Synchronised, TimeErrorMS: 20, Boot: 1, UptimeMS: 77},
		Channels: map[Channel]ChannelDigest{1: {Seq: 7, Digest: Hash{3}}, 300: {Seq: 1 << 40}}, Completeness: 999, DictionaryAt: 4}
	for _, beacon := range [][]NonceHash{nil, {{1}}, {{1}, {2}}} {
		m.Beacon = beacon
		b, err := m.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		fast, ok := decodeWindow(payload)
		if ok && fast.validate() != nil {
			ok = false
		}
		slow, err := slowManifest(payload)
		if ok != (err == nil) {
			t.Fatalf("the short way: %v; the general one: %v", ok, err)
		}
		if ok && !reflect.DeepEqual(fast, slow) {
			t.Fatalf("read differently:\n%+v\n%+v", fast, slow)
		}
	})
}
