package checkpoint

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	fnote "github.com/transparency-dev/formats/note"
	"golang.org/x/mod/sumdb/note"
)

// Cosignature is a witness's signed word that at Time this was the newest
// checkpoint it knew of the log, and that all it ever knew are consistent.
type Cosignature struct {
	Name string    // of the witness's key
	ID   uint32    // of the witness's key
	Time time.Time // whole seconds by the witness's clock; after 1970, before the year 10000
	Line string    // as it stands in the note, with its newline
}

// lastTime is the last second that still has a date of four digits.
const lastTime = 253402300799

// Cosignatures are the valid cosignatures of a signed checkpoint, in its
// order, one of each witness given; the log's own signature is not looked at.
// Lines of unknown keys are ignored; a wrong one of a known key is a
// *note.InvalidSignatureError. To verify what a witness answered append its
// lines to the checkpoint.
func Cosignatures(msg []byte, witnesses ...note.Verifier) ([]Cosignature, error) {
	n, err := openNote(msg, witnesses)
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var cs []Cosignature
	for _, s := range n.Sigs {
		at, err := fnote.CoSigV1Timestamp(s)
		if err != nil || at.Unix() <= 0 || at.Unix() > lastTime {
			return nil, fmt.Errorf("cosignature of %s: time %d, expected 1 to %d (tlog-cosignature)", s.Name, at.Unix(), int64(lastTime))
		}
		cs = append(cs, Cosignature{s.Name, s.Hash, at.UTC(), fmt.Sprintf("— %s %s\n", s.Name, s.Base64)})
	}
	return cs, nil
}

// by is the cosignature of one key, nil when there is none.
func by(cs []Cosignature, v note.Verifier) *Cosignature {
	i := slices.IndexFunc(cs, func(c Cosignature) bool { return c.Name == v.Name() && c.ID == v.KeyHash() })
	if i < 0 {
		return nil
	}
	return &cs[i]
}

// Bytes are time and signature as the note holds them, behind the key ID: 72 for
// Ed25519. Nil for a line that is none.
func (c Cosignature) Bytes() []byte {
	fields := strings.Fields(c.Line)
	if len(fields) != 3 {
		return nil
	}
	b, err := base64.StdEncoding.DecodeString(fields[2])
	if err != nil || len(b) < 4+8 {
		return nil
	}
	return b[4:]
}
