// Package bundle is evidence in files: a stretch of a log that anybody can check
// with no network (`.tally`, SPEC.md section 10), and the proof that a log has
// two histories (section 10.1).
package bundle

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// Header opens a `.tally` file. It is not signed: what it says is checked
// against the signed leaves.
type Header struct {
	Log    evidence.LogID
	Lo, Hi uint64           // leaf indexes held, both included
	Open   bool             // Hi was not known when the header was written
	Anchor *evidence.Anchor // state of the log before leaf Lo; nil exactly when Lo is 0
	// Meta holds the dictionary in force at Lo and the rotations before it.
	evidence.Meta
}

type wireHeader struct {
	Magic      string           `cbor:"1,keyasint"`
	Version    uint64           `cbor:"2,keyasint"`
	Log        evidence.LogID   `cbor:"3,keyasint"`
	Lo         uint64           `cbor:"4,keyasint"`
	Hi         *uint64          `cbor:"5,keyasint,omitempty"`
	Anchor     *evidence.Anchor `cbor:"6,keyasint,omitempty"`
	Genesis    []byte           `cbor:"7,keyasint"`
	Dictionary []byte           `cbor:"8,keyasint"`
	Rotations  [][]byte         `cbor:"9,keyasint,omitempty"`
}

const (
	magic   = "tally"
	version = 1
)

// ErrNotBundle says a file is something else than a .tally bundle.
var ErrNotBundle = errors.New("not a Tallystick bundle (.tally)")

func (h *Header) wire() wireHeader {
	w := wireHeader{Magic: magic, Version: version, Log: h.Log, Lo: h.Lo,
		Anchor: h.Anchor, Genesis: h.Genesis, Dictionary: h.Dictionary, Rotations: h.Rotations}
	if !h.Open {
		w.Hi = &h.Hi
	}
	return w
}

func (h *Header) validate() error {
	switch {
	case !h.Open && h.Hi < h.Lo:
		return canon.Malformed("bundle header", "leaves %d to %d", h.Lo, h.Hi)
	case (h.Anchor == nil) != (h.Lo == 0):
		return canon.Malformed("bundle header", "first leaf %d: an anchor belongs to every start but 0", h.Lo)
	case h.Anchor != nil && (h.Anchor.N != h.Lo || !h.Anchor.Valid()):
		return canon.Malformed("bundle header", "the anchor is not one for leaf %d", h.Lo)
	}
	return nil
}

// Writer writes a bundle. Not safe for concurrent use.
type Writer struct {
	w    io.Writer
	head []byte
}

// NewWriter writes the header to w.
func NewWriter(w io.Writer, h Header) (*Writer, error) {
	if err := h.validate(); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(h.wire())
	if err != nil {
		return nil, err
	}
	bw := &Writer{w: w}
	return bw, bw.Append(b)
}

// AppendTo continues a bundle whose header is already written.
func AppendTo(w io.Writer) *Writer { return &Writer{w: w} }

// Append writes one delivery, in two Writes. The caller keeps the order.
func (w *Writer) Append(delivery []byte) error {
	if len(delivery) > evidence.MaxDelivery {
		return canon.Malformed("bundle", "item of %d bytes, limit %d", len(delivery), evidence.MaxDelivery)
	}
	w.head = canon.AppendHead(w.head[:0], canon.Bytes, uint64(len(delivery)))
	if _, err := w.w.Write(w.head); err != nil {
		return err
	}
	_, err := w.w.Write(delivery)
	return err
}

// Reader reads a bundle from front to back, holding one item at a time.
// Not safe for concurrent use.
type Reader struct {
	r      *bufio.Reader
	header Header
	item   []byte
	offset int64 // of the next item
}

// NewReader reads the header: ErrNotBundle when r holds something else,
// an error wrapping evidence.ErrVersion for a later format.
func NewReader(r io.Reader) (*Reader, error) {
	br := &Reader{r: bufio.NewReaderSize(r, 64<<10)}
	// The head of the item, of the map, key 1 and the magic: 14 bytes at most.
	if start, err := br.r.Peek(14); !bytes.Contains(start, []byte("\x01\x65"+magic)) {
		if err != nil && err != io.EOF {
			return nil, err
		}
		return nil, ErrNotBundle
	}
	b, err := br.Next()
	if err == io.ErrUnexpectedEOF {
		return nil, canon.Malformed("bundle header", "cut short")
	}
	if err != nil {
		return nil, err
	}
	var peek struct {
		Version uint64 `cbor:"2,keyasint"`
	}
	if canon.Peek(b, &peek) == nil && peek.Version != version {
		return nil, fmt.Errorf("bundle format version %d, this is version %d: %w", peek.Version, version, evidence.ErrVersion)
	}
	var w wireHeader
	if err := canon.Unmarshal("bundle header", b, &w); err != nil {
		return nil, err
	}
	h := &br.header
	*h = Header{Log: w.Log, Lo: w.Lo, Open: w.Hi == nil, Anchor: w.Anchor,
		Meta: evidence.Meta{Genesis: w.Genesis, Dictionary: w.Dictionary, Rotations: w.Rotations}}
	if w.Hi != nil {
		h.Hi = *w.Hi
	}
	if err := h.validate(); err != nil {
		return nil, err
	}
	return br, canon.Check("bundle header", b, h.wire())
}

// Header returns what the file says it holds.
func (r *Reader) Header() Header { return r.header }

// Offset is where in the file the next item starts.
func (r *Reader) Offset() int64 { return r.offset }

// Next returns the next delivery, valid until the following call; io.EOF
// after the last one, io.ErrUnexpectedEOF inside one that is cut short.
func (r *Reader) Next() ([]byte, error) {
	peek, err := r.r.Peek(9)
	if len(peek) == 0 {
		return nil, err // io.EOF, or what the file system says
	}
	major, n, size := canon.ParseHead(peek)
	if size == 0 || major != canon.Bytes || n > evidence.MaxDelivery {
		if size == 0 && len(peek) < 9 && err == io.EOF {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, canon.Malformed("bundle", "no item starts at byte %d", r.offset)
	}
	if _, err := r.r.Discard(size); err != nil {
		return nil, err
	}
	if r.item, err = readN(r.r, r.item[:0], int(n)); err != nil {
		return nil, err
	}
	r.offset += int64(size) + int64(n)
	return r.item, nil
}

// readN reads n bytes, growing dst only as fast as they arrive.
func readN(r io.Reader, dst []byte, n int) ([]byte, error) {
	for len(dst) < n {
		chunk := min(n-len(dst), 64<<10)
		at := len(dst)
		dst = append(dst, make([]byte, chunk)...)
		if _, err := io.ReadFull(r, dst[at:]); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
	return dst, nil
}
