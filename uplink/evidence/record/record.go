// Package record is what records say: consents, declarations, how box and lender
// came to know each other, and answers to what a lender asked. A record is a leaf
// that holds nothing but a digest; its content travels as a block of channel 11
// to the lender it is for, or to all (SPEC.md section 4.3). RECORDS.md beside
// that file is normative for the contents.
//
// A receipt is recorded as it came: it is a byte string, which package evidence
// opens.
package record

import (
	"bytes"
	"slices"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// wireRecord is the body of a record block (SPEC.md section 4.3).
type wireRecord struct {
	For     string    `cbor:"1,keyasint"`
	Content canon.Raw `cbor:"2,keyasint"`
}

// Encode builds the body of a record for one lender, by name, or with "" for all
// of them. content is encoded as the record's type has it.
func Encode(lender string, content any) ([]byte, error) {
	if lender != "" && !evidence.ValidLender(lender) {
		return nil, canon.Malformed("record", "for lender %.40q", lender)
	}
	raw, err := canon.Marshal(content)
	if err != nil {
		return nil, canon.Malformed("record", "%v", err)
	}
	b, err := canon.Marshal(wireRecord{For: lender, Content: raw})
	if err == nil && len(b) > evidence.MaxRecord {
		err = canon.Malformed("record", "%d bytes, limit %d", len(b), evidence.MaxRecord)
	}
	return b, err
}

// Record is a parsed record block. Its content is deterministic CBOR, and no
// more is known of it.
type Record struct {
	Seq     uint64
	For     string // the lender it concerns, "" for all
	Content []byte // slice of the block
	Body    []byte // what Encode built, slice of the block
}

// Parse takes apart a block of channel Records. The result aliases block.
func Parse(block []byte) (Record, error) {
	blk, body, err := evidence.SplitBlock(block)
	if err != nil {
		return Record{}, err
	}
	if blk.Channel != evidence.Records {
		return Record{}, canon.Malformed("record", "in a block of channel %d", blk.Channel)
	}
	r, err := ParseBody(body)
	r.Seq = blk.Seq
	return r, err
}

// ParseBody takes apart what Encode built. The result aliases body and has no
// sequence.
func ParseBody(body []byte) (Record, error) {
	const where = "record"
	var w wireRecord
	if len(body) > evidence.MaxRecord {
		return Record{}, canon.Malformed(where, "%d bytes, limit %d", len(body), evidence.MaxRecord)
	}
	if err := canon.Unmarshal(where, body, &w); err != nil {
		return Record{}, err
	}
	if w.For != "" && !evidence.ValidLender(w.For) {
		return Record{}, canon.Malformed(where, "for lender %.40q", w.For)
	}
	if err := canon.CheckAny("record content", w.Content); err != nil {
		return Record{}, err
	}
	if err := canon.Check(where, body, w); err != nil {
		return Record{}, err
	}
	at := bytes.LastIndex(body, w.Content) // it stands last
	return Record{For: w.For, Content: body[at:], Body: body}, nil
}

// Decode reads the content into v, refusing what v has no place for.
func (r *Record) Decode(v any) error {
	const where = "record content"
	if err := canon.Unmarshal(where, r.Content, v); err != nil {
		return err
	}
	return canon.Check(where, r.Content, v)
}

// Granted keeps, for evidence.FilterDelivery, what a lender may have: the
// channels given, and the records that are for it or for every lender.
func Granted(lender string, channels []evidence.Channel) func(evidence.RawBlock) bool {
	return func(b evidence.RawBlock) bool {
		if b.Channel != evidence.Records {
			return slices.Contains(channels, b.Channel)
		}
		r, err := Parse(b.Bytes)
		return err == nil && (r.For == "" || r.For == lender)
	}
}
