package evidence

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/tallystick/tallystick/uplink/evidence/canon"
)

// BundleHeader opens a `.tally` file. It is not signed: what it says is
// checked against the signed leaves.
type BundleHeader struct {
	Log    LogID
	Lo, Hi uint64  // leaf indexes held, both included
	Open   bool    // Hi was not known when the header was written
	Anchor *Anchor // state of the log before leaf Lo; nil exactly when Lo is 0
	// Meta holds the dictionary in force at Lo and the rotations before it.
	Meta
}

type wireBundleHeader struct {
	Magic      string   `cbor:"1,keyasint"`
	Version    uint64   `cbor:"2,keyasint"`
	Log        LogID    `cbor:"3,keyasint"`
	Lo         uint64   `cbor:"4,keyasint"`
	Hi         *uint64  `cbor:"5,keyasint,omitempty"`
	Anchor     *Anchor  `cbor:"6,keyasint,omitempty"`
	Genesis    []byte   `cbor:"7,keyasint"`
	Dictionary []byte   `cbor:"8,keyasint"`
	Rotations  [][]byte `cbor:"9,keyasint,omitempty"`
}

const (
	bundleMagic   = "tally"
	bundleVersion = 1
)

// ErrNotBundle says a file is something else than a .tally bundle.
var ErrNotBundle = errors.New("not a Tallystick bundle (.tally)")

func (h *BundleHeader) wire() wireBundleHeader {
	w := wireBundleHeader{Magic: bundleMagic, Version: bundleVersion, Log: h.Log, Lo: h.Lo,
		Anchor: h.Anchor, Genesis: h.Genesis, Dictionary: h.Dictionary, Rotations: h.Rotations}
	if !h.Open {
		w.Hi = &h.Hi
	}
	return w
}

func (h *BundleHeader) validate() error {
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

// BundleWriter writes a bundle. Not safe for concurrent use.
type BundleWriter struct {
	w    io.Writer
	head []byte
}

// NewBundleWriter writes the header to w.
func NewBundleWriter(w io.Writer, h BundleHeader) (*BundleWriter, error) {
	if err := h.validate(); err != nil {
		return nil, err
	}
	b, err := canon.Marshal(h.wire())
	if err != nil {
		return nil, err
	}
	bw := &BundleWriter{w: w}
	return bw, bw.Append(b)
}

// AppendTo continues a bundle whose header is already written.
func AppendTo(w io.Writer) *BundleWriter { return &BundleWriter{w: w} }

// Append writes one delivery, in two Writes. The caller keeps the order.
func (w *BundleWriter) Append(delivery []byte) error {
	if len(delivery) > MaxDelivery {
		return canon.Malformed("bundle", "item of %d bytes, limit %d", len(delivery), MaxDelivery)
	}
	w.head = canon.AppendHead(w.head[:0], canon.Bytes, uint64(len(delivery)))
	if _, err := w.w.Write(w.head); err != nil {
		return err
	}
	_, err := w.w.Write(delivery)
	return err
}

// BundleReader reads a bundle from front to back, holding one item at a time.
// Not safe for concurrent use.
type BundleReader struct {
	r      *bufio.Reader
	header BundleHeader
	item   []byte
	offset int64 // of the next item
}

// NewBundleReader reads the header: ErrNotBundle when r holds something else,
// an error wrapping ErrVersion for a later format.
func NewBundleReader(r io.Reader) (*BundleReader, error) {
	br := &BundleReader{r: bufio.NewReaderSize(r, 64<<10)}
	// The head of the item, of the map, key 1 and the magic: 14 bytes at most.
	if start, err := br.r.Peek(14); !bytes.Contains(start, []byte("\x01\x65"+bundleMagic)) {
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
	if canon.Peek(b, &peek) == nil && peek.Version != bundleVersion {
		return nil, fmt.Errorf("bundle format version %d, this is version %d: %w", peek.Version, bundleVersion, ErrVersion)
	}
	var w wireBundleHeader
	if err := canon.Unmarshal("bundle header", b, &w); err != nil {
		return nil, err
	}
	h := &br.header
	*h = BundleHeader{Log: w.Log, Lo: w.Lo, Hi: deref(w.Hi), Open: w.Hi == nil, Anchor: w.Anchor,
		Meta: Meta{Genesis: w.Genesis, Dictionary: w.Dictionary, Rotations: w.Rotations}}
	if err := h.validate(); err != nil {
		return nil, err
	}
	return br, canon.Check("bundle header", b, h.wire())
}

// Header returns what the file says it holds.
func (r *BundleReader) Header() BundleHeader { return r.header }

// Offset is where in the file the next item starts.
func (r *BundleReader) Offset() int64 { return r.offset }

// Next returns the next delivery, valid until the following call; io.EOF
// after the last one, io.ErrUnexpectedEOF inside one that is cut short.
func (r *BundleReader) Next() ([]byte, error) {
	peek, err := r.r.Peek(9)
	if len(peek) == 0 {
		return nil, err // io.EOF, or what the file system says
	}
	major, n, size := canon.ParseHead(peek)
	if size == 0 || major != canon.Bytes || n > MaxDelivery {
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
