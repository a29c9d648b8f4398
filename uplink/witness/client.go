package witness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

const (
	sizeType  = "text/x.tlog.size" // of a 409 (tlog-witness, "add-checkpoint")
	maxAnswer = 16 << 10           // bytes of an answer read; an ML-DSA-44 line has 3.4 KiB
)

// Conflict says that the witness's newest checkpoint of the log has another
// size than the proof starts from: prove from that one.
type Conflict struct {
	Witness string
	Size    uint64
}

func (e *Conflict) Error() string {
	return fmt.Sprintf("witness %s knows the log at size %d", e.Witness, e.Size)
}

// Refused is an answer that is neither a cosignature nor a Conflict: 403 and
// 404 when the witness does not know the log or its key, 422 when to it the
// checkpoint does not continue the last one.
type Refused struct {
	Witness string
	Status  int    // HTTP
	Text    string // first line of what the witness said
}

func (e *Refused) Error() string {
	return fmt.Sprintf("witness %s refused the checkpoint: %d %s: %q", e.Witness, e.Status, http.StatusText(e.Status), e.Text)
}

// Client asks witnesses for cosignatures. It may be used from several
// goroutines.
type Client struct {
	HTTP *http.Client // NewClient's has limits on everything
}

// NewClient is a client that spends at most 30 s on a request, follows no
// redirect, and keeps a connection for the next.
func NewClient() *Client {
	return &Client{&http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout:    10 * time.Second,
			ResponseHeaderTimeout:  20 * time.Second,
			MaxResponseHeaderBytes: 16 << 10,
			MaxIdleConnsPerHost:    1,
			IdleConnTimeout:        2 * time.Minute,
			ForceAttemptHTTP2:      true,
		},
	}}
}

// Cosign submits a signed checkpoint to the witness at w.URL with the proof
// that it continues the one of size old, and returns the verified cosignature:
// append its line to the checkpoint. One that is there already of the same
// witness has to go, the first of a key counts.
// Other errors than *Conflict and *Refused are those of the network, or say
// that the answer does not follow the protocol.
func (c *Client) Cosign(ctx context.Context, w checkpoint.Witness, old uint64, proof [][32]byte, signed []byte) (checkpoint.Cosignature, error) {
	fail := func(err error) (checkpoint.Cosignature, error) {
		return checkpoint.Cosignature{}, fmt.Errorf("ask witness %s for a cosignature: %w", w.Name, err)
	}
	u, err := url.Parse(w.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return fail(fmt.Errorf("expected an http or https URL, found %q", w.URL))
	}
	if _, err := checkpoint.Unverified(signed); err != nil {
		return fail(err)
	}
	body := request{old, proof, signed}.encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.JoinPath("add-checkpoint").String(), bytes.NewReader(body))
	if err != nil {
		return fail(err)
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := c.HTTP.Do(req)
	if err != nil {
		return fail(err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return fail(err)
	}
	if len(answer) > maxAnswer {
		return fail(fmt.Errorf("answer of more than %d bytes", maxAnswer))
	}
	kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusOK:
		cosigned, err := cosignature(signed, answer, w.Verifier)
		if err != nil {
			return fail(err)
		}
		return cosigned, nil
	case resp.StatusCode == http.StatusConflict && kind == sizeType:
		digits, _ := strings.CutSuffix(string(answer), "\n")
		size, err := checkpoint.ParseSize(digits)
		if err != nil {
			return fail(fmt.Errorf("conflict: %w", err))
		}
		return checkpoint.Cosignature{}, &Conflict{w.Name, size}
	}
	text, _, _ := strings.Cut(string(answer[:min(len(answer), 200)]), "\n")
	return checkpoint.Cosignature{}, &Refused{w.Name, resp.StatusCode, text}
}

// cosignature is that of the witness among the lines of its answer. Signatures
// the checkpoint brings along, maybe an older one of this witness, do not count.
func cosignature(signed, answer []byte, v note.Verifier) (checkpoint.Cosignature, error) {
	for line := range bytes.Lines(answer) {
		if !bytes.HasPrefix(line, []byte("— ")) { // an empty one would make another text of the note
			return checkpoint.Cosignature{}, errors.New("its answer is not made of signature lines")
		}
	}
	text := signed[:bytes.LastIndex(signed, []byte("\n\n"))+2]
	cosigned, err := checkpoint.Cosignatures(slices.Concat(text, answer), v)
	if err != nil {
		return checkpoint.Cosignature{}, err
	}
	if len(cosigned) == 0 {
		return checkpoint.Cosignature{}, errors.New("its answer holds no cosignature of its key")
	}
	return cosigned[0], nil
}
