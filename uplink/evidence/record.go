package evidence

import (
	"bytes"
	"math/big"

	"github.com/fxamacker/cbor/v2"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// wireRecord is the body of a record block (SPEC.md section 4.3).
type wireRecord struct {
	For     string          `cbor:"1,keyasint"`
	Content cbor.RawMessage `cbor:"2,keyasint"`
}

// EncodeRecord builds the body of a record for one lender, by name, or with ""
// for all of them. content is encoded as the record's type has it.
func EncodeRecord(lender string, content any) ([]byte, error) {
	if lender != "" && !ValidLender(lender) {
		return nil, canon.Malformed("record", "for lender %.40q", lender)
	}
	raw, err := canon.Marshal(content)
	if err != nil {
		return nil, canon.Malformed("record", "%v", err)
	}
	b, err := canon.Marshal(wireRecord{For: lender, Content: raw})
	if err == nil && len(b) > MaxRecord {
		err = canon.Malformed("record", "%d bytes, limit %d", len(b), MaxRecord)
	}
	return b, err
}

// Record is a parsed record block. Its content is deterministic CBOR, and no
// more is known of it.
type Record struct {
	Seq     uint64
	For     string // the lender it concerns, "" for all
	Content []byte // slice of the block
	Body    []byte // what EncodeRecord built, slice of the block
}

// ParseRecord takes apart a block of channel Records. The result aliases block.
func ParseRecord(block []byte) (Record, error) {
	blk, body, err := splitBlock(block)
	if err != nil {
		return Record{}, err
	}
	if blk.Channel != Records {
		return Record{}, canon.Malformed("record", "in a block of channel %d", blk.Channel)
	}
	r, err := ParseRecordBody(body)
	r.Seq = blk.Seq
	return r, err
}

// ParseRecordBody takes apart what EncodeRecord built. The result aliases body
// and has no sequence.
func ParseRecordBody(body []byte) (Record, error) {
	const where = "record"
	var w wireRecord
	if len(body) > MaxRecord {
		return Record{}, canon.Malformed(where, "%d bytes, limit %d", len(body), MaxRecord)
	}
	if err := canon.Unmarshal(where, body, &w); err != nil {
		return Record{}, err
	}
	if w.For != "" && !ValidLender(w.For) {
		return Record{}, canon.Malformed(where, "for lender %.40q", w.For)
	}
	var any any
	if err := canon.Unmarshal("record content", w.Content, &any); err != nil {
		return Record{}, err
	}
	if !plain(any) {
		return Record{}, canon.Malformed(where, "content other than 64-bit integers, strings, false, true, null, lists and maps")
	}
	if err := canon.Check(where, w.Content, any); err != nil {
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

// plain reports whether a decoded value holds nothing but integers of 64 bits,
// strings, false, true, null, lists, and maps whose keys are integers or strings.
func plain(v any) bool {
	switch v := v.(type) {
	case float64, cbor.SimpleValue, big.Int:
		return false
	case []any:
		for _, e := range v {
			if !plain(e) {
				return false
			}
		}
	case map[any]any:
		for k, e := range v {
			switch k.(type) {
			case uint64, int64, string, cbor.ByteString:
			default:
				return false
			}
			if !plain(e) {
				return false
			}
		}
	}
	return true
}
