//go:build integration

package mqtt

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// startMosquitto runs a real broker with the given lines of configuration
// behind its listener.
func startMosquitto(t *testing.T, lines string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	conf := write(t, t.TempDir(), "mosquitto.conf", 0o600, fmt.Appendf(nil, "listener %d 127.0.0.1\nuser root\n%s", port, lines))
	cmd := exec.Command("mosquitto", "-c", conf)
	if err := cmd.Start(); err != nil {
		t.Fatalf("start mosquitto: %v", err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	addr = fmt.Sprintf("127.0.0.1:%d", port)
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("mosquitto does not listen")
	return ""
}

func TestMosquittoTLS(t *testing.T) {
	long := func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().AddDate(10, 0, 0) }
	ca, other := newAuthority(t, "Test CA", long), newAuthority(t, "Other CA", long)
	dir := t.TempDir()
	caFile := write(t, dir, "ca.pem", 0o644, certPEM(ca.cert))
	otherFile := write(t, dir, "other.pem", 0o644, certPEM(other.cert))
	key := newKey(t)
	keyFile := write(t, dir, "box.key", 0o600, keyPEM(t, key))
	certFile := write(t, dir, "box.pem", 0o644, certPEM(ca.issue("box-1", key, long)))
	strangerFile := write(t, dir, "stranger.pem", 0o644, certPEM(other.issue("box-1", key, long)))

	broker := func(name string, change func(*x509.Certificate)) string {
		k := newKey(t)
		cert := write(t, dir, name+".pem", 0o644, certPEM(ca.issue("broker", k, change)))
		priv := write(t, dir, name+".key", 0o600, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER(t, k)}))
		return startMosquitto(t, fmt.Sprintf("cafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\nallow_anonymous false\n", caFile, cert, priv))
	}
	good := broker("good", long)
	expired := broker("expired", func(c *x509.Certificate) { c.NotBefore, c.NotAfter = time.Unix(0, 0), time.Now().Add(-time.Hour) })

	for _, c := range []struct {
		name, addr string
		files      Files
		words      string // "" = connects
	}{
		{"client certificate", good, Files{CA: caFile, Cert: certFile, Key: keyFile}, ""},
		{"wrong CA", good, Files{CA: otherFile, Cert: certFile, Key: keyFile}, `signed by "CN=Test CA", which is not the certificate authority given`},
		{"broker's certificate expired", expired, Files{CA: caFile, Cert: certFile, Key: keyFile}, "this box believes it is"},
		{"no client certificate", good, Files{CA: caFile}, "the secure connection"},
		{"client certificate of a stranger", good, Files{CA: caFile, Cert: strangerFile, Key: keyFile}, "the secure connection"},
		{"wrong name", good, Files{CA: caFile, Cert: certFile, Key: keyFile, ServerName: "mq.bank.example"}, `not for "mq.bank.example"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, err := LoadTLS(c.files, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			s, err := Dial(t.Context(), Options{Broker: "mqtts://" + c.addr, ClientID: "box-1", TLS: cfg})
			if c.words != "" {
				wantReason(t, err, TLS, c.words)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan string, 1)
			if err := s.Subscribe(t.Context(), "a", 1, func(_ string, b []byte) { got <- string(b) }); err != nil {
				t.Fatal(err)
			}
			if err := s.Publish(t.Context(), "a", 1, false, []byte("x")); err != nil || <-got != "x" {
				t.Fatal(err)
			}
			if err := s.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestMosquittoPassword(t *testing.T) {
	dir := t.TempDir()
	passwords := filepath.Join(dir, "passwd")
	if out, err := exec.Command("mosquitto_passwd", "-c", "-b", passwords, "joe", "right").CombinedOutput(); err != nil {
		t.Fatalf("mosquitto_passwd: %v %s", err, out)
	}
	if err := os.Chmod(passwords, 0o600); err != nil {
		t.Fatal(err)
	}
	addr := startMosquitto(t, "allow_anonymous false\npassword_file "+passwords+"\n")
	o := Options{Broker: "mqtt://" + addr, ClientID: "box-1", Username: "joe", Password: "right"}
	s, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	// The same client id again: the broker ends the first session.
	second, err := Dial(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	<-s.Done()
	if lost, ok := s.Err().(*LostError); !ok || !lost.ByBroker() {
		t.Fatalf("taken over: %v", s.Err())
	}
	second.Close(t.Context())
	o.Password = "wrong"
	_, err = Dial(t.Context(), o)
	wantReason(t, err, NotAuthorised, "wrong user name or password")
}
