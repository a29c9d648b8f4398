package evidence

import (
	"bytes"
	"math/big"

	"github.com/fxamacker/cbor/v2"
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
		return nil, malformed("record", "for lender %.40q", lender)
	}
	raw, err := marshal(content)
	if err != nil {
		return nil, malformed("record", "%v", err)
	}
	b, err := marshal(wireRecord{For: lender, Content: raw})
	if err == nil && len(b) > MaxRecord {
		err = malformed("record", "%d bytes, limit %d", len(b), MaxRecord)
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
		return Record{}, malformed("record", "in a block of channel %d", blk.Channel)
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
		return Record{}, malformed(where, "%d bytes, limit %d", len(body), MaxRecord)
	}
	if err := unmarshal(where, body, &w); err != nil {
		return Record{}, err
	}
	if w.For != "" && !ValidLender(w.For) {
		return Record{}, malformed(where, "for lender %.40q", w.For)
	}
	var any any
	if err := codec().strict.Unmarshal(w.Content, &any); err != nil {
		return Record{}, malformed(where, "content: %v", err)
	}
	if !plain(any) {
		return Record{}, malformed(where, "content other than 64-bit integers, strings, false, true, null, lists and maps")
	}
	if err := canonical(where, w.Content, any); err != nil {
		return Record{}, err
	}
	if err := canonical(where, body, w); err != nil {
		return Record{}, err
	}
	at := bytes.LastIndex(body, w.Content) // it stands last
	return Record{For: w.For, Content: body[at:], Body: body}, nil
}

// Decode reads the content into v, refusing what v has no place for.
func (r *Record) Decode(v any) error {
	const where = "record content"
	if err := unmarshal(where, r.Content, v); err != nil {
		return err
	}
	return canonical(where, r.Content, v)
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
