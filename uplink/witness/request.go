package witness

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

const (
	maxBody  = 64 << 10 // bytes of an add-checkpoint body
	maxProof = 63       // hashes of a proof (tlog-witness, "add-checkpoint")
)

// request is the body of add-checkpoint.
type request struct {
	old        uint64 // size of the checkpoint the proof starts from
	proof      [][32]byte
	checkpoint []byte // signed
}

func (r request) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "old %d\n", r.old)
	for _, h := range r.proof {
		fmt.Fprintf(&b, "%s\n", base64.StdEncoding.EncodeToString(h[:]))
	}
	b.WriteString("\n")
	b.Write(r.checkpoint)
	return b.Bytes()
}

func parseRequest(body []byte) (request, error) {
	head, signed, ok := bytes.Cut(body, []byte("\n\n"))
	if !ok {
		return request{}, errors.New("expected an empty line before the checkpoint")
	}
	lines := strings.SplitN(string(head), "\n", maxProof+2)
	if len(lines) > 1+maxProof {
		return request{}, fmt.Errorf("expected at most %d proof lines", maxProof)
	}
	size, ok := strings.CutPrefix(lines[0], "old ")
	if !ok {
		return request{}, errors.New("line 1: expected old and the size of the previous checkpoint")
	}
	old, err := checkpoint.ParseSize(size)
	if err != nil {
		return request{}, fmt.Errorf("line 1: %w", err)
	}
	r := request{old: old, checkpoint: signed}
	for i, line := range lines[1:] {
		h, err := checkpoint.ParseHash(line)
		if err != nil {
			return request{}, fmt.Errorf("line %d: %w", i+2, err)
		}
		r.proof = append(r.proof, h)
	}
	return r, nil
}
