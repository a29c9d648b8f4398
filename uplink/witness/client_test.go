package witness

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/tallystick/tallystick/uplink/witness/checkpoint"
)

// asked asks a server that answers as it likes.
func asked(t *testing.T, answer http.HandlerFunc) (checkpoint.Cosignature, error) {
	t.Helper()
	srv := httptest.NewServer(answer)
	defer srv.Close()
	h := newHistory(t, 1)
	_, v := witnessKey(t)
	proof, _ := h.prove(3, 7)
	return NewClient().Cosign(t.Context(), checkpoint.Witness{Name: "w1", Verifier: v, URL: srv.URL + "/below/"}, 3, proof, h.signed(7))
}

func TestClient(t *testing.T) {
	h := newHistory(t, 1)
	w := newWitness(t, h)
	must(t, w, h.request(0, 3))
	c, err := asked(t, http.StripPrefix("/below", w).ServeHTTP)
	if err != nil {
		t.Fatal(err)
	}
	verifyLines(t, h.signed(7), c.Line)
	if c.Name != "witness.example/w1" || time.Since(c.Time) > time.Minute {
		t.Errorf("%+v", c)
	}
	// It has size 7 now.
	_, err = asked(t, http.StripPrefix("/below", w).ServeHTTP)
	var conflict *Conflict
	if !errors.As(err, &conflict) || conflict.Size != 7 || err.Error() != "witness w1 knows the log at size 7" {
		t.Errorf("%v", err)
	}
	var refused *Refused
	if _, err := asked(t, http.StripPrefix("/below", newWitness(t, newHistory(t, 2))).ServeHTTP); !errors.As(err, &refused) || refused.Status != 404 || !strings.Contains(refused.Text, "is not known here") {
		t.Errorf("%v", err)
	}
}

func TestClientRefuses(t *testing.T) {
	h := newHistory(t, 1)
	stranger, _, err := checkpoint.WitnessKey("witness.example/w2", make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	cfg := config(t, newWitness(t).fs, h)
	cfg.Dir, cfg.Key = "/other", stranger
	other := open(t, cfg)
	line := text(t, post(other, h.request(0, 7).encode()))
	say := func(status int, kind, body string) http.HandlerFunc {
		return func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Type", kind)
			rw.WriteHeader(status)
			rw.Write([]byte(body))
		}
	}
	forged := strings.Replace(line, "w2", "w1", 1)
	// A cosignature of more than was asked for holds for the whole note that the
	// answer makes, and would spoil the checkpoint.
	key, _ := witnessKey(t)
	body, _, _ := strings.Cut(string(h.signed(7)), "\n\n")
	long, err := note.Sign(&note.Note{Text: body + "\n\nmore\n"}, key)
	if err != nil {
		t.Fatal(err)
	}
	stretched := strings.TrimPrefix(string(long), body+"\n\n")
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   string
	}{
		"nothing":               {say(200, "", ""), "malformed"},
		"page of a proxy":       {say(200, "text/html", "<html>\n"), "not made of signature lines"},
		"of another text":       {say(200, "", stretched), "not made of signature lines"},
		"another witness's":     {say(200, "", line), "no cosignature of its key"},
		"under its name":        {say(200, "", forged), "no cosignature of its key"},
		"without end":           {say(200, "", strings.TrimSpace(line)), "malformed"},
		"too much":              {say(200, "", strings.Repeat(line, 200)), "more than 16384 bytes"},
		"conflict of a proxy":   {say(409, "text/plain", "7\n"), "409 Conflict"},
		"conflict without size": {say(409, "text/x.tlog.size", "seven\n"), "conflict: size"},
		"conflict of size 07":   {say(409, "text/x.tlog.size", "07\n"), "conflict: size"},
		"internal error":        {say(500, "text/plain", "no \x1b[31mdisk\nsecond line\n"), `500 Internal Server Error: "no \x1b[31mdisk"`},
		"redirect":              {say(307, "", ""), "307 Temporary Redirect"},
		"elsewhere": {func(rw http.ResponseWriter, r *http.Request) {
			http.Redirect(rw, r, "http://192.0.2.1/", http.StatusTemporaryRedirect)
		}, "307"},
		"hangs up": {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "EOF"},
		"promises more and ends": {func(rw http.ResponseWriter, _ *http.Request) {
			rw.Header().Set("Content-Length", "1000")
			rw.Write([]byte(line))
		}, "unexpected EOF"},
	} {
		got, err := asked(t, c.answer)
		if err == nil {
			t.Errorf("%s: took %+v", name, got)
			continue
		}
		if !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "witness w1") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// An older cosignature on the checkpoint is not taken for the answer.
func TestClientTakesTheNewOne(t *testing.T) {
	h := newHistory(t, 1)
	key, v := witnessKey(t)
	srv := httptest.NewServer(newWitness(t, h))
	defer srv.Close()
	n, err := note.Open(h.signed(7), note.VerifierList(h.log().Key))
	if err != nil {
		t.Fatal(err)
	}
	signed, err := note.Sign(n, key)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(time.Now().Truncate(time.Second).Add(time.Second))) // cosignatures count whole seconds
	old, err := checkpoint.Cosignatures(signed, v)
	if err != nil || len(old) != 1 {
		t.Fatalf("%v, %v", old, err)
	}
	c, err := NewClient().Cosign(t.Context(), checkpoint.Witness{Name: "w1", Verifier: v, URL: srv.URL}, 0, nil, signed)
	if err != nil || !c.Time.After(old[0].Time) {
		t.Errorf("%v after %v, %v", c.Time, old[0].Time, err)
	}
}

func TestClientGivesUp(t *testing.T) {
	h := newHistory(t, 1)
	release := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer srv.Close()
	defer close(release)
	_, v := witnessKey(t)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := NewClient().Cosign(ctx, checkpoint.Witness{Name: "w1", Verifier: v, URL: srv.URL}, 0, nil, h.signed(7))
	var network *url.Error
	if !errors.Is(err, context.DeadlineExceeded) || !errors.As(err, &network) {
		t.Errorf("%v", err)
	}
	if _, err := NewClient().Cosign(t.Context(), checkpoint.Witness{Name: "w1", Verifier: v, URL: srv.URL}, 0, nil, []byte("no note")); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("no checkpoint: %v", err)
	}
	for _, bad := range []string{"", "witness.example", "ftp://witness.example", "http://", "http://\x00"} {
		if _, err := NewClient().Cosign(t.Context(), checkpoint.Witness{Name: "w1", Verifier: v, URL: bad}, 0, nil, h.signed(7)); err == nil || !strings.Contains(err.Error(), "expected an http or https URL") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}
