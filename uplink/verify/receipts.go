package verify

import (
	"errors"
	"io"
	"sort"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/bundle"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// Believed are those whose word counts about when a log was made: lenders by
// their receipts, witnesses by their cosignatures.
type Believed struct {
	Lenders   []evidence.PublicKey
	Witnesses *checkpoint.Policy // how many of which witnesses are enough; nil: none
}

// Receipts are what those who are believed have confirmed of a log, taken from
// its receipt records and witnessed leaves. A nil *Receipts knows nothing.
type Receipts struct {
	confirmed []confirmed // ascending by n and, after sorting, by time
	nonces    map[evidence.NonceHash]int64
	suite     evidence.Suite // of the log, zero where no genesis is at hand
	// Cosigned counts the checkpoints that enough witnesses had signed.
	Cosigned int
}

// confirmed says that leaves 0..n, with that root, were seen at that time.
type confirmed struct {
	n       uint64
	root    evidence.Hash
	at      int64 // Unix ms
	witness bool  // by witnesses: the root is the box's signed statement too
}

// mostReceipts bounds the memory of CollectReceipts: fifteen years of one
// lender, or five of three. What is beyond only lowers grades.
const mostReceipts = 1 << 19

// CollectReceipts reads a bundle from front to back and keeps what those who are
// believed have signed about the log of the bundle. Errors are those of the
// reader and of the bundle's head.
func CollectReceipts(r io.Reader, who Believed) (*Receipts, error) {
	br, err := bundle.NewReader(r)
	if err != nil {
		return nil, err
	}
	rs := &Receipts{nonces: map[evidence.NonceHash]int64{}}
	if genesis, err := evidence.ParseLeaf(br.Header().Genesis); err == nil {
		rs.suite = genesis.Suite()
	}
	logs := checkpointKey(br.Header())
	for len(rs.confirmed) < mostReceipts {
		item, err := br.Next()
		var damaged *canon.FormatError
		if err == io.EOF || err == io.ErrUnexpectedEOF || errors.As(err, &damaged) {
			break // what is wrong with it is for Bundle to say
		}
		if err != nil {
			return nil, err
		}
		rs.take(evidence.RecordBlock(item), br.Header().Log, who.Lenders)
		if note := evidence.WitnessedNote(item); note != "" && who.Witnesses != nil {
			rs.cosigned(note, br.Header().Log, who.Witnesses, logs)
		}
	}
	sort.Slice(rs.confirmed, func(i, j int) bool { return rs.confirmed[i].n < rs.confirmed[j].n })
	for i := len(rs.confirmed) - 2; i >= 0; i-- { // a later receipt covers earlier leaves too
		rs.confirmed[i].at = min(rs.confirmed[i].at, rs.confirmed[i+1].at)
	}
	return rs, nil
}

// take keeps a receipt, if that is what the block holds.
func (rs *Receipts) take(block []byte, log evidence.LogID, lenders []evidence.PublicKey) {
	if block == nil {
		return
	}
	rec, err := record.Parse(block)
	var raw []byte
	if err != nil || rec.Decode(&raw) != nil {
		return
	}
	for _, key := range lenders {
		m, err := evidence.OpenMessage(key, raw)
		if err != nil || m.Receipt == nil || m.Receipt.Log != log {
			continue
		}
		if !m.Receipt.Empty {
			rs.confirm(confirmed{n: m.Receipt.N, root: m.Receipt.Root, at: m.Receipt.ReceivedAt})
		}
		if m.Receipt.Nonce != nil {
			rs.given(m.Receipt.Nonce, m.Receipt.ReceivedAt)
		}
		return
	}
}

// confirm keeps what is not a repetition of what came last: a box may put one receipt
// into its log as often as it likes.
func (rs *Receipts) confirm(c confirmed) {
	if n := len(rs.confirmed); n == 0 || rs.confirmed[n-1] != c {
		rs.confirmed = append(rs.confirmed, c)
	}
}

// given notes a nonce. Of one given out twice the earlier time counts.
func (rs *Receipts) given(nonce []byte, at int64) {
	h := rs.suite.NonceHash(nonce)
	if was, known := rs.nonces[h]; !known || at < was {
		rs.nonces[h] = at
	}
}

// checkpointKey is the key that signs the checkpoints of a bundle's log.
func checkpointKey(h bundle.Header) []note.Verifier {
	genesis, err := evidence.ParseLeaf(h.Genesis)
	if err != nil || genesis.Manifest.Genesis == nil || genesis.Manifest.Genesis.Checkpoint == nil {
		return nil
	}
	vkey, err := note.NewEd25519VerifierKey(checkpoint.Origin(h.Log), genesis.Manifest.Genesis.Checkpoint)
	if err != nil {
		return nil
	}
	v, err := checkpoint.LogVerifier(vkey)
	if err != nil {
		return nil
	}
	return []note.Verifier{v}
}

// cosigned keeps a checkpoint of the log that enough witnesses have signed, and
// the times of their signatures, which windows may answer like nonces.
func (rs *Receipts) cosigned(text string, log evidence.LogID, policy *checkpoint.Policy, logs []note.Verifier) {
	st, err := policy.Evaluate([]byte(text), logs...)
	if err != nil || st.Checkpoint.Origin != checkpoint.Origin(log) || st.Checkpoint.Size == 0 {
		return
	}
	for _, w := range st.By {
		if sig := w.Bytes(); sig != nil {
			rs.given(sig, w.Time.UnixMilli())
		}
	}
	if st.Met && !st.MetAt.IsZero() {
		rs.Cosigned++
		rs.confirm(confirmed{n: st.Checkpoint.Size - 1, root: st.Checkpoint.Root, at: st.MetAt.UnixMilli(), witness: true})
	}
}

// differs finds what was confirmed of the leaves before n with another root than
// the one leaf n is signed over.
func (rs *Receipts) differs(n uint64, root evidence.Hash) (found confirmed, ok bool) {
	if rs == nil || n == 0 {
		return found, false
	}
	for i := sort.Search(len(rs.confirmed), func(i int) bool { return rs.confirmed[i].n >= n-1 }); i < len(rs.confirmed) && rs.confirmed[i].n == n-1; i++ {
		if rs.confirmed[i].root != root {
			return rs.confirmed[i], true
		}
	}
	return found, false
}

// received is when leaf n was with a lender at the latest; zero when unknown.
func (rs *Receipts) received(n uint64) time.Time {
	if rs == nil {
		return time.Time{}
	}
	i := sort.Search(len(rs.confirmed), func(i int) bool { return rs.confirmed[i].n >= n })
	if i == len(rs.confirmed) {
		return time.Time{}
	}
	return time.UnixMilli(rs.confirmed[i].at).UTC()
}

// issued is when a nonce was given out.
func (rs *Receipts) issued(h evidence.NonceHash) (time.Time, bool) {
	if rs == nil {
		return time.Time{}, false
	}
	at, ok := rs.nonces[h]
	return time.UnixMilli(at).UTC(), ok
}
