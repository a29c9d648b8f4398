package witness

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

func FuzzParseRequest(f *testing.F) {
	h := newHistory(f, 1)
	f.Add(h.request(0, 3).encode())
	f.Add(h.request(3, 8).encode())
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parseRequest(body)
		if err != nil {
			return
		}
		if len(r.proof) > maxProof || !bytes.Equal(r.encode(), body) {
			t.Errorf("%q was read as %+v", body, r)
		}
	})
}

// Whatever is sent, only what the log has signed and proved is cosigned.
func FuzzAddCheckpoint(f *testing.F) {
	h := newHistory(f, 1)
	f.Add(h.request(3, 8).encode())
	f.Add(h.request(3, 3).encode())
	f.Add(h.forked(1, 2).request(3, 8).encode())
	f.Add(h.request(0, 2).encode())
	w := newWitness(f, h)
	must(f, w, h.request(0, 3))
	s := w.logs[h.key.Name()]
	head, signed := s.head, s.signed
	roots := map[uint64][32]byte{}
	for _, size := range []uint64{3, 8} {
		_, roots[size] = h.prove(0, size)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s.head, s.signed = head, signed
		resp := post(w, body)
		switch resp.StatusCode {
		case http.StatusOK:
			r, err := parseRequest(body)
			if err != nil {
				t.Fatal(err)
			}
			c, err := checkpoint.Unverified(r.checkpoint)
			if err != nil {
				t.Fatal(err)
			}
			if root, known := roots[c.Size]; !known || root != c.Root {
				t.Errorf("cosigned %+v", c)
			}
			verifyLines(t, []byte(c.String()+"\n"), text(t, resp))
		case 400, 403, 404, 409, 413, 422:
		default:
			t.Errorf("status %d for %q", resp.StatusCode, body)
		}
	})
}

func FuzzAnswer(f *testing.F) {
	h := newHistory(f, 1)
	_, v := witnessKey(f)
	f.Add(200, sizeType, []byte(text(f, post(newWitness(f, h), h.request(0, 3).encode()))))
	f.Add(409, sizeType, []byte("7\n"))
	f.Add(500, "", []byte("no disk\n"))
	signed := h.signed(3)
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		c := Client{&http.Client{Transport: canned{status, kind, body}}}
		got, err := c.Cosign(t.Context(), checkpoint.Witness{Name: "w", Verifier: v, URL: "http://witness.example"}, 0, nil, signed)
		if err == nil {
			verifyLines(t, signed, got.Line)
		}
	})
}

// canned is a network of one answer.
type canned struct {
	status int
	kind   string
	body   []byte
}

func (c canned) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: c.status, Header: http.Header{"Content-Type": {c.kind}}, Request: r,
		Body: io.NopCloser(bytes.NewReader(c.body)),
	}, nil
}
