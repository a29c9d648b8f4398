// Package checkpoint holds the heads of logs as text: a log signs its size and
// root, witnesses add cosignatures to say they saw it grow consistently, and a
// policy says how many of them are enough. Nothing here does I/O.
//
// The forms are those of C2SP (c2sp.org): signed-note, tlog-checkpoint,
// tlog-cosignature and tlog-policy, so that any witness and any verifier of
// theirs can take part:
//
//	tallystick.org/log/5f3c9a0d5e1b7f64a2c8d90b13e6f7a1
//	1440
//	CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//
//	— tallystick.org/log/5f3c9a0d5e1b7f64a2c8d90b13e6f7a1 <log's key ID and signature>
//	— witness.example/w1 <witness's key ID, time and signature>
//
// A log signs checkpoints with an Ed25519 key of their own, not the one that
// signs its leaves. Keys are known by their verifier keys ("vkeys",
// signed-note): name+key ID+public key, of which the name is the origin.
//
// All functions may be called from several goroutines unless said otherwise;
// parsers are total and refuse what is not the one way to write it.
package checkpoint

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// MaxBytes is the size of the largest checkpoint read, all signatures
// included.
const MaxBytes = 60 << 10

// maxSize bounds tree sizes, so that a consistency proof has at most 63 hashes
// (tlog-witness).
const maxSize = 1<<63 - 1

const originPrefix = "tallystick.org/log/"

// Origin is the origin line of a box's log, which is the name of its
// checkpoint key too.
func Origin(log [16]byte) string { return originPrefix + hex.EncodeToString(log[:]) }

// Checkpoint is the head of a log (tlog-checkpoint).
type Checkpoint struct {
	Origin     string
	Size       uint64   // leaves, at most 2^63-1
	Root       [32]byte // RFC 6962 root with the log's hash
	Extensions []string // further lines; opaque, none in a log of ours
}

// String is the text that is signed.
func (c Checkpoint) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
	for _, line := range c.Extensions {
		b.WriteString(line + "\n")
	}
	return b.String()
}

// Parse reads the text of a checkpoint, without signatures.
func Parse(text string) (Checkpoint, error) {
	body, ok := strings.CutSuffix(text, "\n")
	lines := strings.Split(body, "\n")
	if !ok || len(lines) < 3 {
		return Checkpoint{}, errors.New("parse checkpoint: expected lines with origin, size and root")
	}
	for i, line := range lines {
		if line == "" {
			return Checkpoint{}, fmt.Errorf("parse checkpoint: line %d is empty", i+1)
		}
	}
	c := Checkpoint{Origin: lines[0]}
	var err error
	if c.Size, err = ParseSize(lines[1]); err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	if c.Root, err = ParseHash(lines[2]); err != nil {
		return Checkpoint{}, fmt.Errorf("parse checkpoint: %w", err)
	}
	if len(lines) > 3 {
		c.Extensions = lines[3:]
	}
	return c, nil
}

// ParseSize reads a tree size: decimal without leading zeros.
func ParseSize(s string) (uint64, error) {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n > maxSize || strconv.FormatUint(n, 10) != s {
		return 0, fmt.Errorf("size: expected a decimal number up to %d without leading zeros, found %.40q", uint64(maxSize), s)
	}
	return n, nil
}

// ParseHash reads the base64 of a hash.
func ParseHash(s string) (h [32]byte, err error) {
	b, err := base64.StdEncoding.DecodeString(s)
	if err != nil || len(b) != len(h) || base64.StdEncoding.EncodeToString(b) != s {
		return h, fmt.Errorf("hash: expected the base64 of 32 bytes, found %.60q", s)
	}
	return [32]byte(b), nil
}

// Sign is the checkpoint as a note signed by its log. The key's name must be
// the origin.
func Sign(c Checkpoint, key note.Signer) ([]byte, error) {
	if key.Name() != c.Origin {
		return nil, fmt.Errorf("sign checkpoint of %s: the key is named %s", c.Origin, key.Name())
	}
	switch again, err := Parse(c.String()); {
	case err != nil:
		return nil, fmt.Errorf("sign checkpoint of %s: %w", c.Origin, err)
	case !slices.Equal(again.Extensions, c.Extensions):
		return nil, fmt.Errorf("sign checkpoint of %s: an extension of several lines", c.Origin)
	}
	return note.Sign(&note.Note{Text: c.String()}, key)
}

// Open verifies a signed checkpoint: one of the logs given must have signed it
// and be its origin. A wrong signature of a known key spoils the whole, those
// of unknown keys are ignored (signed-note). It returns what the witnesses
// given have cosigned.
//
// The error is a *note.UnverifiedNoteError, a *note.InvalidSignatureError or
// about the form.
func Open(msg []byte, logs []note.Verifier, witnesses ...note.Verifier) (Checkpoint, []Cosignature, error) {
	n, err := openNote(msg, logs)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	c, err := Parse(n.Text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	byOrigin := func(s note.Signature) bool { return s.Name == c.Origin }
	if !slices.ContainsFunc(n.Sigs, byOrigin) {
		return Checkpoint{}, nil, fmt.Errorf("open checkpoint of %s: %w", c.Origin, &note.UnverifiedNoteError{Note: n})
	}
	cosigned, err := Cosignatures(msg, witnesses...)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	return c, cosigned, nil
}

// Unverified reads a signed checkpoint without looking at a signature: to find
// out whose keys to open it with.
func Unverified(msg []byte) (Checkpoint, error) {
	n, err := openNote(msg, nil)
	var unverified *note.UnverifiedNoteError
	if errors.As(err, &unverified) {
		n, err = unverified.Note, nil
	}
	if err != nil {
		return Checkpoint{}, err
	}
	return Parse(n.Text)
}

func openNote(msg []byte, known []note.Verifier) (*note.Note, error) {
	if len(msg) > MaxBytes {
		return nil, fmt.Errorf("open checkpoint: %d bytes, expected at most %d", len(msg), MaxBytes)
	}
	n, err := note.Open(msg, note.VerifierList(known...))
	if err != nil {
		return nil, fmt.Errorf("open checkpoint: %w", err)
	}
	return n, nil
}
