package evidence

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Samples are one meter's values in one block, indexed [column][slot].
// A nil Codes, or a nil Codes[column], means every sample is OK. Values where
// the code says there is none are ignored when writing and 0 when read.
type Samples struct {
	Slots  int
	Values [][]int64
	Codes  [][]Code
	// Frames stand in place of slots, values and codes in channel 10, and
	// nowhere else.
	Frames *Frames
}

// Code returns the code of one sample.
func (s *Samples) Code(column, slot int) Code {
	if s.Codes == nil || s.Codes[column] == nil {
		return OK
	}
	return s.Codes[column][slot]
}

// Present counts the samples that have a value.
func (s *Samples) Present() int {
	n := s.Slots * len(s.Values)
	for _, codes := range s.Codes {
		for _, code := range codes {
			if !code.HasValue() {
				n--
			}
		}
	}
	return n
}

// Block is one channel of one window.
type Block struct {
	Salt    [16]byte
	Channel Channel
	Seq     uint64
	Meters  []Samples // in dictionary order
}

// AppendBlock appends the encoding of b, whose meters are described by dict.
func AppendBlock(dst []byte, b *Block, dict []ChannelMeter) ([]byte, error) {
	start := len(dst)
	dst, err := appendBody(dst, b.Channel, b.Meters, dict)
	if err != nil {
		return nil, err
	}
	return slices.Insert(dst, start, appendBlockHead(make([]byte, 0, 40), b, len(dst)-start)...), nil
}

// JoinBlock appends what SplitBlock takes apart.
func JoinBlock(dst []byte, b *Block, body []byte) []byte {
	return append(appendBlockHead(dst, b, len(body)), body...)
}

// appendBlockHead appends a block of a body of size bytes, but that.
func appendBlockHead(dst []byte, b *Block, size int) []byte {
	dst = canon.AppendHead(dst, canon.Array, 4)
	dst = canon.AppendBytes(dst, b.Salt[:])
	dst = canon.AppendHead(dst, canon.Uint, uint64(b.Channel))
	dst = canon.AppendHead(dst, canon.Uint, b.Seq)
	return canon.AppendHead(dst, canon.Bytes, uint64(size))
}

// SplitBlock reads a block all but its body, for want of a dictionary, or
// because it has none: blk has no meters. body is a slice of b.
func SplitBlock(b []byte) (blk Block, body []byte, err error) {
	r := canon.NewReader("block", b)
	if n := r.Head(canon.Array, "array"); r.Err() == nil && n != 4 {
		r.Fail("array of %d, want 4", n)
	}
	salt := r.Bytes("salt")
	if r.Err() == nil && len(salt) != len(blk.Salt) {
		r.Fail("salt of %d bytes, want %d", len(salt), len(blk.Salt))
	}
	copy(blk.Salt[:], salt)
	ch := r.Head(canon.Uint, "channel")
	if ch > 0xffff {
		r.Fail("channel %d", ch)
	}
	blk.Channel = Channel(ch)
	blk.Seq = r.Head(canon.Uint, "channel sequence")
	body = r.Bytes("body")
	return blk, body, r.End()
}

// DecodeBlock reads a block whose meters are described by dict. Only the
// canonical encoding is accepted. The result does not alias b.
func DecodeBlock(b []byte, dict []ChannelMeter) (Block, error) {
	blk, body, err := SplitBlock(b)
	if err != nil {
		return Block{}, err
	}
	if blk.Channel == RawFrames {
		blk.Meters, err = decodeFrames(body, dict)
	} else {
		blk.Meters, err = decodeBody(body, dict)
	}
	return blk, err
}

// exception is a run of slots of one column (or of all columns, column 0) of
// one meter that share a code other than OK.
type exception struct {
	meter, column, first, count int
	code                        Code
}

// appendExceptions writes the canonical exception list: per meter first the
// slots in which all columns agree, as column 0, then what is left column by
// column, each as maximal runs.
func appendExceptions(dst []byte, meters []Samples) []byte {
	var list []exception
	for m := range meters {
		s := &meters[m]
		if s.Codes != nil {
			list = appendMeterExceptions(list, m, s)
		}
	}
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, e := range list {
		dst = binary.AppendUvarint(dst, uint64(e.meter))
		dst = binary.AppendUvarint(dst, uint64(e.column))
		dst = binary.AppendUvarint(dst, uint64(e.first))
		dst = binary.AppendUvarint(dst, uint64(e.count))
		dst = append(dst, byte(e.code))
	}
	return dst
}

func appendMeterExceptions(list []exception, meter int, s *Samples) []exception {
	shared := make([]Code, s.Slots) // the code all columns agree on
	for slot := range shared {
		shared[slot] = s.Code(0, slot)
		for c := 1; c < len(s.Values) && shared[slot] != OK; c++ {
			if s.Code(c, slot) != shared[slot] {
				shared[slot] = OK
			}
		}
	}
	list = appendRuns(list, meter, 0, shared, nil)
	for c := range s.Codes {
		if s.Codes[c] != nil {
			list = appendRuns(list, meter, c+1, s.Codes[c], shared)
		}
	}
	return list
}

// appendRuns lists the maximal runs of equal codes other than OK, leaving out
// the slots that covered already explains.
func appendRuns(list []exception, meter, column int, codes, covered []Code) []exception {
	open := false
	for slot, code := range codes {
		if code == OK || covered != nil && covered[slot] != OK {
			open = false
			continue
		}
		if last := len(list) - 1; open && list[last].code == code {
			list[last].count++
			continue
		}
		list = append(list, exception{meter: meter, column: column, first: slot, count: 1, code: code})
		open = true
	}
	return list
}

func appendBody(dst []byte, ch Channel, meters []Samples, dict []ChannelMeter) ([]byte, error) {
	if ch == RawFrames {
		return framesBody(dst, meters, dict)
	}
	if len(meters) != len(dict) {
		return nil, canon.Malformed("block", "%d meters, the dictionary has %d", len(meters), len(dict))
	}
	cells := 0
	for m := range meters {
		if err := meters[m].check(len(dict[m].Columns)); err != nil {
			return nil, canon.Malformed("block", "meter %d: %v", m, err)
		}
		cells += meters[m].Slots * len(dict[m].Columns)
	}
	if cells > MaxCells {
		return nil, canon.Malformed("block", "%d samples, limit %d", cells, MaxCells)
	}
	dst = appendExceptions(dst, meters)
	for m := range meters {
		s := &meters[m]
		dst = binary.AppendUvarint(dst, uint64(s.Slots))
		for c, column := range s.Values {
			prev := int64(0)
			for slot, v := range column {
				if s.Code(c, slot).HasValue() {
					dst = binary.AppendUvarint(dst, zigzag(v-prev))
					prev = v
				}
			}
		}
	}
	return dst, nil
}

func (s *Samples) check(columns int) error {
	switch {
	case s.Slots < 0 || s.Slots > MaxSlots:
		return canon.Malformed("samples", "%d slots, limit %d", s.Slots, MaxSlots)
	case len(s.Values) != columns:
		return canon.Malformed("samples", "%d columns, the dictionary has %d", len(s.Values), columns)
	case s.Codes != nil && len(s.Codes) != columns:
		return canon.Malformed("samples", "codes for %d columns, the dictionary has %d", len(s.Codes), columns)
	}
	for c := range s.Values {
		if len(s.Values[c]) != s.Slots {
			return canon.Malformed("samples", "column %d has %d values for %d slots", c, len(s.Values[c]), s.Slots)
		}
		if s.Codes == nil || s.Codes[c] == nil {
			continue
		}
		if len(s.Codes[c]) != s.Slots {
			return canon.Malformed("samples", "column %d has %d codes for %d slots", c, len(s.Codes[c]), s.Slots)
		}
		for _, code := range s.Codes[c] {
			if !code.Known() {
				return canon.Malformed("samples", "column %d: unknown code %d", c, code)
			}
		}
	}
	return nil
}

func decodeBody(body []byte, dict []ChannelMeter) ([]Samples, error) {
	r := canon.NewReader("block", body)
	exceptions := readExceptions(r)
	listed := body[:r.At()]
	a := arena{}
	for _, cm := range dict {
		a.columns += len(cm.Columns)
	}
	meters := make([]Samples, len(dict))
	for m := range meters {
		slots := r.Uvarint("slot count")
		if slots > MaxSlots {
			r.Fail("meter %d: %d slots, limit %d", m, slots, MaxSlots)
		}
		columns := len(dict[m].Columns)
		if a.cells += int(slots) * columns; r.Err() == nil && a.cells > MaxCells {
			r.Fail("more than %d samples", MaxCells)
		}
		if r.Err() != nil {
			return nil, r.Err()
		}
		mine := 0
		for mine < len(exceptions) && exceptions[mine].meter == m {
			mine++
		}
		meters[m] = a.samples(int(slots), columns)
		if err := readSamples(r, &meters[m], exceptions[:mine]); err != nil {
			return nil, err
		}
		exceptions = exceptions[mine:]
	}
	if len(exceptions) > 0 {
		r.Fail("exception for meter %d out of order or beyond the last meter", exceptions[0].meter)
	}
	if err := r.End(); err != nil {
		return nil, err
	}
	if !bytes.Equal(appendExceptions(make([]byte, 0, len(listed)), meters), listed) {
		return nil, canon.Malformed("block", "exceptions not in canonical form")
	}
	return meters, nil
}

// readExceptions reads the exception list; the ranges are checked where they are
// applied.
func readExceptions(r *canon.Reader) []exception {
	n := r.Uvarint("exception count")
	if r.Err() == nil && n > uint64(r.Left()/5) {
		r.Fail("%d exceptions announced in %d bytes", n, r.Left())
	}
	if r.Err() != nil || n == 0 {
		return nil
	}
	list := make([]exception, n)
	for i := range list {
		meter, column := r.Uvarint("meter"), r.Uvarint("column")
		first, count, code := r.Uvarint("first slot"), r.Uvarint("slot count"), r.Uvarint("code")
		if meter >= MaxMeters || column > MaxColumns || first > MaxSlots || count > MaxSlots || code > uint64(lastCode) {
			r.Fail("exception %d: meter %d, column %d, slots %d+%d, code %d", i, meter, column, first, count, code)
			return nil
		}
		list[i] = exception{int(meter), int(column), int(first), int(count), Code(code)}
	}
	return list
}

// readSamples applies one meter's exceptions and reads its values.
func readSamples(r *canon.Reader, s *Samples, exceptions []exception) error {
	if len(exceptions) > 0 {
		flat := make([]Code, s.Slots*len(s.Values))
		s.Codes = make([][]Code, len(s.Values))
		for c := range s.Codes {
			s.Codes[c] = flat[c*s.Slots : (c+1)*s.Slots : (c+1)*s.Slots]
		}
	}
	for _, e := range exceptions {
		if e.column > len(s.Values) || e.first+e.count > s.Slots {
			r.Fail("exception for meter %d: column %d of %d, slots %d+%d of %d", e.meter, e.column, len(s.Values), e.first, e.count, s.Slots)
			return r.Err()
		}
		lo, hi := e.column-1, e.column
		if e.column == 0 {
			lo, hi = 0, len(s.Values)
		}
		for c := lo; c < hi; c++ {
			for slot := e.first; slot < e.first+e.count; slot++ {
				s.Codes[c][slot] = e.code
			}
		}
	}
	for c, column := range s.Values {
		prev := int64(0)
		for slot := range column {
			if s.Code(c, slot).HasValue() {
				prev += unzigzag(r.Uvarint("value"))
				column[slot] = prev
			}
		}
	}
	return r.Err()
}

// arena hands out the samples of one block from few allocations.
type arena struct {
	columns int // of the whole block
	cells   int // of the meters so far
	values  []int64
	rows    [][]int64
}

func (a *arena) samples(slots, columns int) Samples {
	if n := slots * columns; len(a.values) < n {
		a.values = make([]int64, max(n, min(slots*a.columns, MaxCells)))
	}
	if len(a.rows) < columns {
		a.rows = make([][]int64, max(columns, a.columns))
	}
	s := Samples{Slots: slots, Values: a.rows[:columns:columns]}
	a.rows = a.rows[columns:]
	for c := range s.Values {
		s.Values[c] = a.values[:slots:slots]
		a.values = a.values[slots:]
	}
	return s
}

func zigzag(v int64) uint64   { return uint64(v<<1) ^ uint64(v>>63) }
func unzigzag(u uint64) int64 { return int64(u>>1) ^ -int64(u&1) }
