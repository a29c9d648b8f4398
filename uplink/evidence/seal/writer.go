// Package seal writes a log: the box's end of package evidence. Nothing of it is
// needed to read or to check one.
package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Writer is the box's end of one log. It owns the leaf index, the compact
// range over all leaves, the channel sequences, the dictionary and the key in
// force and the epoch secret. Not safe for concurrent use.
//
// Every method that returns a delivery has advanced the log: those bytes are
// the only leaf N there may ever be. The caller appends them to its durable
// log, again and again if need be, before it asks for another and before it
// publishes anything; after a crash it publishes what is stored. A returned
// slice is valid until the next call. A method that returns an error has
// changed nothing.
type Writer struct {
	signer evidence.Signer
	suite  evidence.Suite
	mac    []byte // epoch secret: salts are HMAC-SHA-256 under it

	log     evidence.LogID
	tree    evidence.Anchor // leaves 0..N-1
	seqs    map[evidence.Channel]uint64
	genesis []byte // its COSE_Sign1; nil before NewWriter or Replay has seen it
	dict    dictionaryLeaf
	epochs  []epoch

	blocks, out []byte // reused
}

// dictionaryLeaf is the dictionary in force and the leaf it came from.
type dictionaryLeaf struct {
	n     uint64
	sign1 []byte
	*evidence.Dictionary
}

// epoch is a key and the leaf that put it in force.
type epoch struct {
	n         uint64
	sign1     []byte // genesis or rotation leaf
	key       evidence.PublicKey
	successor *evidence.Hash
}

// NewWriter opens a log: its delivery holds the genesis leaf, n = 0. secret
// is at least 16 random bytes that stay on the box; whoever knows it can
// guess withheld blocks. g's Version, Suite and Key are filled in.
func NewWriter(s evidence.Signer, secret []byte, g evidence.Genesis) (w *Writer, delivery []byte, err error) {
	if w, err = newWriter(s, secret); err != nil {
		return nil, nil, err
	}
	g.Version, g.Suite, g.Key = evidence.Version, w.suite, s.Public()
	if delivery, err = w.leaf(evidence.Manifest{Type: evidence.GenesisLeaf, Event: g.Event, Genesis: &g}, nil); err != nil {
		return nil, nil, err
	}
	return w, delivery, nil
}

func newWriter(s evidence.Signer, secret []byte) (*Writer, error) {
	if len(secret) < 16 {
		return nil, canon.Malformed("epoch secret", "%d bytes, want at least 16", len(secret))
	}
	record := s.Public()
	return &Writer{signer: s, suite: record.Key().Suite(), mac: bytes.Clone(secret), seqs: map[evidence.Channel]uint64{}}, nil
}

// Resume rebuilds a writer after a restart from the preamble of the newest
// segment of the log, or from nil for a log whose every record will be replayed.
// Replay must follow for each record after it, and then Ready.
func Resume(s evidence.Signer, secret []byte, stored []byte) (*Writer, error) {
	w, err := newWriter(s, secret)
	if err != nil || len(stored) == 0 {
		return w, err
	}
	p, err := decodePreamble(stored)
	if err != nil {
		return nil, err
	}
	if len(p.Genesis) == 0 {
		return w, nil
	}
	leaves := append([][]byte{p.Genesis}, p.Rotations...)
	if len(p.Dictionary) > 0 {
		leaves = append(leaves, p.Dictionary)
	}
	for _, sign1 := range leaves {
		if err := w.learn(sign1); err != nil {
			return nil, err
		}
	}
	w.tree, w.seqs = p.Tree, p.Seqs
	return w, nil
}

// learn takes over a signed leaf that holds a key or a dictionary.
func (w *Writer) learn(sign1 []byte) error {
	l, err := evidence.ParseLeaf(sign1)
	if err != nil {
		return err
	}
	if err := w.own(&l); err != nil {
		return err
	}
	w.adopt(&l.Manifest, bytes.Clone(sign1))
	return nil
}

// own checks that the key in force at l signed it, for this writer's log.
func (w *Writer) own(l *evidence.UnverifiedLeaf) error {
	var key evidence.PublicKey
	if g := l.Manifest.Genesis; g != nil {
		key = g.Key.Key() // whether it is ours is for Ready and the log id to say
	}
	for _, e := range w.epochs {
		if e.n < l.Manifest.N {
			key = e.key
		}
	}
	if err := l.VerifySignature(key); err != nil {
		return fmt.Errorf("replay leaf %d: signed by another key than this box's, or changed: %w", l.Manifest.N, err)
	}
	if w.genesis != nil && l.Manifest.Log != w.log {
		return canon.Malformed("replay", "leaf %d belongs to log %s, this is log %s", l.Manifest.N, l.Manifest.Log, w.log)
	}
	return nil
}

// Ready is called when everything stored was replayed: the key that signs what
// comes must be the one in force. ErrSignature when it is not.
func (w *Writer) Ready() error {
	if w.genesis == nil {
		return nil
	}
	pub := w.signer.Public()
	if in := w.Key(); in != pub.Key() {
		return fmt.Errorf("the history is signed with key %s, this box has %s: %w", in, pub.Key(), evidence.ErrSignature)
	}
	return nil
}

// adopt notes what later leaves depend on.
func (w *Writer) adopt(m *evidence.Manifest, sign1 []byte) {
	switch {
	case m.Genesis != nil:
		w.log, w.genesis = m.Log, sign1
		w.epochs = []epoch{{sign1: sign1, key: m.Genesis.Key.Key(), successor: m.Genesis.Successor}}
	case m.Rotation != nil:
		next := m.Rotation.Successor
		w.epochs = append(w.epochs, epoch{n: m.N, sign1: sign1, key: m.Rotation.Key.Key(), successor: &next})
	}
	if d := m.Dictionary(); d != nil {
		w.dict = dictionaryLeaf{n: m.N, sign1: sign1, Dictionary: d}
	}
	for ch, cd := range m.Channels {
		w.seqs[ch] = cd.Seq + 1
	}
}

// Replay takes one stored delivery into account. Records below N are skipped,
// so that a preamble may be newer than the start of its segment. An error
// means the stored log is not this writer's, or is damaged.
func (w *Writer) Replay(delivery []byte) error {
	d, err := evidence.ParseDelivery(delivery)
	if err != nil {
		return err
	}
	m := &d.Manifest
	if err := w.own(&d.UnverifiedLeaf); err != nil {
		return err
	}
	switch root := w.tree.Root(w.suite); {
	case m.N < w.tree.N:
		return nil
	case m.N > w.tree.N:
		return canon.Malformed("replay", "leaf %d where leaf %d is expected: the leaves between are missing", m.N, w.tree.N)
	case m.Root != root:
		return canon.Malformed("replay", "leaf %d is signed over root %s, the leaves before it have root %s", m.N, m.Root, root)
	}
	var sign1 []byte
	if m.Dictionary() != nil || m.Rotation != nil {
		sign1 = bytes.Clone(d.Sign1)
	}
	w.adopt(m, sign1)
	w.tree.Append(w.suite, d.Hash())
	return nil
}

// Preamble encodes the state before the next leaf. Stored with the log it
// lets Resume start there: take it before the call that makes the
// segment's first leaf. The result belongs to the caller.
func (w *Writer) Preamble() ([]byte, error) {
	p := preamble{Version: evidence.Version, Tree: w.tree, Seqs: w.seqs, Genesis: w.genesis, Rotations: w.rotations()}
	if w.dict.n != 0 {
		p.Dictionary = w.dict.sign1
	}
	return canon.Marshal(p)
}

// rotations are the leaves that changed the key.
func (w *Writer) rotations() (sign1 [][]byte) {
	for _, e := range w.epochs {
		if e.n > 0 {
			sign1 = append(sign1, e.sign1)
		}
	}
	return sign1
}

// N is the index of the next leaf, LogID the log's name, Suite its suite,
// Anchor the compact range of the leaves so far.
func (w *Writer) N() uint64               { return w.tree.N }
func (w *Writer) LogID() evidence.LogID   { return w.log }
func (w *Writer) Suite() evidence.Suite   { return w.suite }
func (w *Writer) Anchor() evidence.Anchor { return w.tree }

// Key is the public key in force for the next leaf, Successor the commitment
// to the one after it, nil when there is none.
func (w *Writer) Key() evidence.PublicKey   { return w.epochs[len(w.epochs)-1].key }
func (w *Writer) Successor() *evidence.Hash { return w.epochs[len(w.epochs)-1].successor }

// Dictionary is the dictionary in force; the caller must not change it.
func (w *Writer) Dictionary() *evidence.Dictionary { return w.dict.Dictionary }

// Meta is what a reader needs beside the log as it stands.
func (w *Writer) Meta() evidence.Meta {
	return evidence.Meta{Genesis: w.genesis, Dictionary: w.dict.sign1, Rotations: w.rotations()}
}

// Boot, Shutdown, Config and Loss seal a leaf of that type.
func (w *Writer) Boot(e evidence.Event, b evidence.Boot) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.BootLeaf, Event: e, BootInfo: &b}, nil)
}

// Shutdown records an orderly end and why.
func (w *Writer) Shutdown(e evidence.Event, reason string) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.ShutdownLeaf, Event: e, Shutdown: reason}, nil)
}

// Config puts d in force from the next leaf on; digest is that of the
// configuration d was made from.
func (w *Writer) Config(e evidence.Event, d evidence.Dictionary, digest evidence.Hash) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.ConfigLeaf, Event: e, Config: &evidence.Config{Dictionary: d, Digest: digest}}, nil)
}

// Loss records leaves whose data the box has dropped, ascending.
func (w *Writer) Loss(e evidence.Event, ranges []evidence.LostRange) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.LossLeaf, Event: e, Lost: ranges}, nil)
}

// Events says what happened besides measuring: 1 to MaxEvents happenings.
func (w *Writer) Events(e evidence.Event, happened []evidence.Happening) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.EventsLeaf, Event: e, Events: happened}, nil)
}

// Step says that the clock was set.
func (w *Writer) Step(e evidence.Event, before, after int64) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.ClockStepLeaf, Event: e, Step: &evidence.ClockStep{Before: before, After: after}}, nil)
}

// Rotate puts next in force: it must be the key committed to, and its record
// is signed by the key before. successor commits to the one after next.
func (w *Writer) Rotate(e evidence.Event, next evidence.Signer, successor evidence.Hash) ([]byte, error) {
	record := next.Public()
	committed := w.Successor()
	if committed == nil || record.Digest() != *committed {
		return nil, canon.Malformed("rotation", "key %s is not the successor this log has committed to", record.Key())
	}
	d, err := w.leaf(evidence.Manifest{Type: evidence.RotationLeaf, Event: e, Rotation: &evidence.Rotation{Key: record, Successor: successor}}, nil)
	if err == nil {
		w.signer = next
	}
	return d, err
}

// Witnessed records a checkpoint of this log with the cosignatures of
// witnesses, as they gave it.
func (w *Writer) Witnessed(e evidence.Event, note string) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.WitnessedLeaf, Event: e, Note: note}, nil)
}

// CounterOver is what the TPM is to certify its counter over for the next leaf.
func (w *Writer) CounterOver() evidence.Hash { return w.tree.Root(w.suite) }

// Counter records a TPM's counter, certified over CounterOver.
func (w *Writer) Counter(e evidence.Event, c evidence.Counter) ([]byte, error) {
	return w.leaf(evidence.Manifest{Type: evidence.CounterLeaf, Event: e, Counter: &c}, nil)
}

// Record seals body as a record of type t (LeafType.Record). Its block is for
// those body names, every other reader sees only that there is one.
func (w *Writer) Record(e evidence.Event, t evidence.LeafType, body []byte) ([]byte, error) {
	if !t.Record() || len(body) > evidence.MaxRecord {
		return nil, canon.Malformed("record", "%d bytes as %s", len(body), t)
	}
	b := evidence.Block{Salt: w.salt(evidence.Records), Channel: evidence.Records, Seq: w.seqs[evidence.Records]}
	block := evidence.JoinBlock(nil, &b, body)
	m := evidence.Manifest{Type: t, Event: e, Channels: map[evidence.Channel]evidence.ChannelDigest{
		evidence.Records: {Seq: b.Seq, Digest: w.suite.Sum(block)},
	}}
	return w.leaf(m, []evidence.RawBlock{{Channel: evidence.Records, Bytes: block}})
}

// Window seals one window. data holds every channel of the dictionary in
// force and no other, each with one Samples per ChannelMeter in dictionary
// order; a meter that said nothing has codes instead of values. beacon are the
// nonces this window answers, in any order.
func (w *Writer) Window(e evidence.Event, data map[evidence.Channel][]evidence.Samples, beacon []evidence.NonceHash) ([]byte, error) {
	if w.dict.Dictionary == nil {
		return nil, errors.New("seal window: the log has no genesis leaf yet")
	}
	if len(data) != len(w.dict.Channels) {
		return nil, canon.Malformed("window", "%d channels of data, the dictionary has %d", len(data), len(w.dict.Channels))
	}
	m := evidence.Manifest{
		Type: evidence.WindowLeaf, Event: e, DictionaryAt: w.dict.n,
		Channels: make(map[evidence.Channel]evidence.ChannelDigest, len(data)), Completeness: completeness(data),
	}
	if len(beacon) > 0 {
		m.Beacon = slices.Clone(beacon)
		slices.SortFunc(m.Beacon, func(a, b evidence.NonceHash) int { return bytes.Compare(a[:], b[:]) })
		m.Beacon = slices.Compact(m.Beacon)
	}
	blocks := make([]evidence.RawBlock, 0, len(data))
	w.blocks = w.blocks[:0]
	for _, ch := range w.dict.ChannelList() {
		samples, ok := data[ch]
		if !ok {
			return nil, canon.Malformed("window", "no data for channel %d", ch)
		}
		start := len(w.blocks)
		b := evidence.Block{Salt: w.salt(ch), Channel: ch, Seq: w.seqs[ch], Meters: samples}
		var err error
		if w.blocks, err = evidence.AppendBlock(w.blocks, &b, w.dict.Channels[ch]); err != nil {
			return nil, fmt.Errorf("channel %d: %w", ch, err)
		}
		raw := evidence.RawBlock{Channel: ch, Bytes: w.blocks[start:len(w.blocks):len(w.blocks)]}
		blocks = append(blocks, raw)
		m.Channels[ch] = evidence.ChannelDigest{Seq: b.Seq, Digest: raw.Digest(w.suite)}
	}
	return w.leaf(m, blocks)
}

// salt keeps a lender from guessing a block it was not given. No two blocks of
// a box have the same, because the log id and n are never used twice.
func (w *Writer) salt(ch evidence.Channel) [16]byte {
	h := hmac.New(sha256.New, w.mac)
	h.Write(w.log[:])
	var msg [16]byte
	binary.BigEndian.PutUint64(msg[:8], uint64(ch))
	binary.BigEndian.PutUint64(msg[8:], w.tree.N)
	h.Write(msg[:])
	return [16]byte(h.Sum(nil)[:16])
}

// leaf signs m as leaf N and advances.
func (w *Writer) leaf(m evidence.Manifest, blocks []evidence.RawBlock) ([]byte, error) {
	if m.Type != evidence.GenesisLeaf && w.genesis == nil {
		return nil, fmt.Errorf("seal %s: the log has no genesis leaf yet", m.Type)
	}
	m.Log, m.N, m.Root = w.log, w.tree.N, w.tree.Root(w.suite)
	l, err := evidence.SignLeaf(w.signer, m)
	if err != nil {
		return nil, err
	}
	if w.out, err = evidence.AppendDelivery(w.out[:0], l.Sign1, blocks, nil); err != nil {
		return nil, err
	}
	if len(w.out) > evidence.MaxDelivery {
		return nil, canon.Malformed("delivery", "%d bytes, limit %d: use shorter windows", len(w.out), evidence.MaxDelivery)
	}
	if d := l.Manifest.Dictionary(); d != nil {
		*d = clone(d)
	}
	w.adopt(&l.Manifest, l.Sign1)
	w.tree.Append(w.suite, l.Hash())
	return w.out, nil
}

// completeness is the permille, rounded down, of samples of measured channels
// that have a value; 1000 when there are none.
func completeness(data map[evidence.Channel][]evidence.Samples) uint16 {
	have, all := 0, 0
	for ch, meters := range data {
		if !ch.Measured() {
			continue
		}
		for i := range meters {
			s := &meters[i]
			all += s.Slots * len(s.Values)
			have += s.Present()
		}
	}
	if all == 0 {
		return 1000
	}
	return uint16(have * 1000 / all)
}

// clone copies what the caller might change under the writer.
func clone(d *evidence.Dictionary) evidence.Dictionary {
	c := evidence.Dictionary{Meters: append([]evidence.Meter(nil), d.Meters...), Channels: maps.Clone(d.Channels)}
	for ch, meters := range c.Channels {
		c.Channels[ch] = append([]evidence.ChannelMeter(nil), meters...)
		for i, m := range meters {
			c.Channels[ch][i].Columns = append([]evidence.Column(nil), m.Columns...)
		}
	}
	return c
}
