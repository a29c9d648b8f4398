package verify

import (
	"errors"
	"io"
	"sort"
	"time"

	"github.com/tallystick/tallystick/uplink/evidence"
)

// Receipts are what lenders that are believed have confirmed of a log, taken
// from its receipt records. A nil *Receipts knows nothing.
type Receipts struct {
	confirmed []confirmed // ascending by n and, after sorting, by time
	nonces    map[evidence.NonceHash]int64
}

// confirmed says that leaves 0..n were with a lender at that time.
type confirmed struct {
	n  uint64
	at int64 // Unix ms
}

// mostReceipts bounds the memory of CollectReceipts: fifteen years of one
// lender, or five of three. What is beyond only lowers grades.
const mostReceipts = 1 << 19

// CollectReceipts reads a bundle from front to back and keeps the receipts that
// are signed by one of the lenders, for the log of the bundle. Errors are those
// of the reader and of the bundle's head.
func CollectReceipts(r io.Reader, lenders []evidence.PublicKey) (*Receipts, error) {
	br, err := evidence.NewBundleReader(r)
	if err != nil {
		return nil, err
	}
	rs := &Receipts{nonces: map[evidence.NonceHash]int64{}}
	for len(rs.confirmed) < mostReceipts {
		item, err := br.Next()
		var damaged *evidence.FormatError
		if err == io.EOF || err == io.ErrUnexpectedEOF || errors.As(err, &damaged) {
			break // what is wrong with it is for Bundle to say
		}
		if err != nil {
			return nil, err
		}
		rs.take(evidence.RecordBlock(item), br.Header().Log, lenders)
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
	record, err := evidence.ParseRecord(block)
	var raw []byte
	if err != nil || record.Decode(&raw) != nil {
		return
	}
	for _, key := range lenders {
		m, err := evidence.OpenMessage(key, raw)
		if err != nil || m.Receipt == nil || m.Receipt.Log != log {
			continue
		}
		if !m.Receipt.Empty {
			rs.confirmed = append(rs.confirmed, confirmed{m.Receipt.N, m.Receipt.ReceivedAt})
		}
		if m.Receipt.Nonce != nil {
			for suite := evidence.SuiteEd25519; suite <= evidence.SuiteSM2; suite += 2 { // the two hashes there are
				rs.nonces[suite.NonceHash(m.Receipt.Nonce)] = m.Receipt.ReceivedAt
			}
		}
		return
	}
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
