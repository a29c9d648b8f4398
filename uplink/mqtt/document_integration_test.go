//go:build integration

package mqtt

import (
	"crypto/x509"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestMosquittoOfDocument runs mosquitto with the two files docs/evidence.md
// shows: each may publish and read what its table says, and nothing else.
func TestMosquittoOfDocument(t *testing.T) {
	text, err := os.ReadFile("../../docs/evidence.md")
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(text), "\n```conf\n")
	if len(parts) != 3 {
		t.Fatalf("%d files, want 2", len(parts)-1)
	}
	conf, _, _ := strings.Cut(parts[1], "```")
	acl, _, _ := strings.Cut(parts[2], "```")

	const dir = "/etc/mosquitto/tally/"
	long := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().AddDate(10, 0, 0) }
	ca, here := newAuthority(t, "Test CA", long), t.TempDir()+"/"
	write(t, here, "acl", 0o600, []byte(acl))
	caFile := write(t, here, "ca.pem", 0o644, certPEM(ca.cert))
	issue := func(file, name string) (cert, key string) {
		k := newKey(t)
		return write(t, here, file+".pem", 0o644, certPEM(ca.issue(name, k, long))), write(t, here, file+".key", 0o600, keyPEM(t, k))
	}
	issue("broker", "broker")
	addr := startMosquitto(t, strings.ReplaceAll(strings.Replace(conf, "\nlistener 8883\n", "\n", 1), dir, here))

	const box, other = "8925918a7e3d78a9c4de55389f0ee716", "77e0c1d2b3a495867788990011223344"
	topic := func(log, kind string) string { return "tally/1/" + log[:2] + "/" + log + "/" + kind }
	users := []string{box, other, "bank-a", "bank-b"}
	sessions := map[string]*Session{}
	heard := make(chan string, 100)
	for i, name := range users {
		cert, key := issue(fmt.Sprint("client", i), name)
		cfg, err := LoadTLS(Files{CA: caFile, Cert: cert, Key: key}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		s := dial(t, Options{Broker: "mqtts://" + addr, ClientID: name, TLS: cfg})
		// Mosquitto takes any subscription, and checks what is delivered.
		if err := s.Subscribe(t.Context(), "tally/#", 1, func(topic string, b []byte) { heard <- string(b) + " -> " + name + " " + topic }); err != nil {
			t.Fatal(err)
		}
		sessions[name] = s
	}
	var want []string
	for _, from := range users {
		for _, kind := range []string{"meta", "head", "state", "d/bank-a", "d/bank-b", "re/bank-a", "rx/bank-a", "rx/bank-b", "x"} {
			to := topic(box, kind)
			if err := sessions[from].Publish(t.Context(), to, 1, false, []byte(from)); err != nil {
				t.Fatal(err)
			}
			switch {
			case from == box && slices.Contains([]string{"meta", "head", "state", "d/bank-a", "re/bank-a"}, kind):
				want = append(want, from+" -> bank-a "+to)
			case from == "bank-a" && kind == "rx/bank-a":
				want = append(want, from+" -> "+box+" "+to)
			}
		}
	}
	// Whoever may read anything gets this last.
	for _, m := range []struct{ from, to string }{{other, topic(other, "state")}, {"bank-a", topic(box, "rx/bank-a")}, {"bank-a", topic(other, "rx/bank-a")}} {
		if err := sessions[m.from].Publish(t.Context(), m.to, 1, false, []byte("last")); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	deadline := time.After(5 * time.Second)
	for last := 0; last < 3; {
		select {
		case line := <-heard:
			if strings.HasPrefix(line, "last") {
				last++
			} else {
				got = append(got, line)
			}
		case <-deadline:
			t.Fatalf("%d of 3 last messages came; before them\n%s", last, strings.Join(got, "\n"))
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("heard\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
