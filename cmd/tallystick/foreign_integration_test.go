//go:build integration

package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/drivers"
	"github.com/tallystick/tallystick/drivers/profile"
)

// TestIntegrationForeignParts runs the whole way between parts nobody here
// wrote: slaves by pymodbus (TCP) and libmodbus (a serial line made by socat),
// and mosquitto that lets in nobody without a client certificate. What the
// slaves serve, by their own arithmetic, must be what the lender verifies, digit
// for digit; what lies outside the profile's limits keeps its value and is
// marked.
func TestIntegrationForeignParts(t *testing.T) {
	dir := t.TempDir()
	tallystick, lender := binary(t, "tallystick"), binary(t, "tally-lender")

	slaves := "../../drivers/modbus/testdata/"
	tcp := freePort(t)
	ready(t, start(t, "/usr/bin/python3", slaves+"slave.py", "tcp", fmt.Sprint(tcp)))
	ours, theirs := filepath.Join(dir, "ours"), filepath.Join(dir, "theirs")
	start(t, "socat", "pty,raw,echo=0,link="+ours, "pty,raw,echo=0,link="+theirs)
	eventually(t, 5*time.Second, "socat has made the line", func() bool {
		links, _ := filepath.Glob(filepath.Join(dir, "*ours"))
		others, _ := filepath.Glob(filepath.Join(dir, "*theirs"))
		return len(links)+len(others) == 2
	})
	ready(t, start(t, compileSlave(t, slaves+"slave.c"), "rtu", theirs))

	pki := newPKI(t, dir)
	port := freePort(t)
	conf := filepath.Join(dir, "mosquitto.conf")
	write(t, conf, fmt.Sprintf("user root\nlistener %d 127.0.0.1\ncafile %s\ncertfile %s\nkeyfile %s\nrequire_certificate true\nuse_identity_as_username true\n",
		port, pki.ca, pki.server.cert, pki.server.key))
	start(t, "/usr/sbin/mosquitto", "-c", conf)
	eventually(t, 10*time.Second, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			c.Close()
		}
		return err == nil
	})

	lenderKey := strings.TrimSpace(output(t, lender, "keygen", filepath.Join(dir, "lender.key")))
	site := filepath.Join(dir, "tallystick.yaml")
	write(t, site, fmt.Sprintf(`site: {name: foreign}
lines:
  - {name: net, tcp: "127.0.0.1:%d"}
  - {name: bus, port: %s, serial: 19200 8N1}
meters:
  - {name: py-meter, line: net, protocol: modbus-tcp, address: 1, profile: acrel-adw300, interval: 1s}
  - {name: c-inputs, line: bus, address: 1, profile: waveshare-8di, interval: 1s}
lenders:
  - name: bank-a
    broker: mqtts://localhost:%d
    tls: {ca: %s, cert: %s, key: %s}
    public_key: %s
    share: [energy, power, voltage-current, reactive, frequency, timing, status]
buffer: {directory: box}
window: 2s
`, tcp, ours, port, pki.ca, pki.box.cert, pki.box.key, lenderKey))
	boxKey := strings.TrimSpace(output(t, tallystick, "key", "show", "--config", site))
	watchFile := filepath.Join(dir, "lender.yaml")
	write(t, watchFile, fmt.Sprintf("name: bank-a\nkey: lender.key\nbroker: mqtts://localhost:%d\ntls: {ca: %s, cert: %s, key: %s}\ndirectory: bank\nboxes: [{name: foreign, key: \"%s\"}]\n",
		port, pki.ca, pki.bank.cert, pki.bank.key, boxKey))

	watch := start(t, lender, "watch", "--config", watchFile, "--json")
	agent := start(t, tallystick, "run", "--config", site)
	windows := func() (ls []watched) {
		for _, l := range objects[watched](t, watch) {
			if l.Type == "window" {
				ls = append(ls, l)
			}
		}
		return ls
	}
	eventually(t, 40*time.Second, "the lender has four windows", func() bool { return len(windows()) >= 4 })
	if code := agent.stop(t); code != 0 {
		t.Fatalf("agent exited with %d", code)
	}

	want := map[string]string{}
	for meter, id := range map[string]string{"py-meter": "acrel-adw300", "c-inputs": "waveshare-8di"} {
		for _, r := range registers(t, id) {
			want[meter+" "+r.Name] = served(r).String()
		}
	}
	seen := map[string]bool{}
	suspect := 0
	for _, l := range windows() {
		if l.Verdict != "verified" {
			t.Fatalf("leaf %d: %s %s", l.N, l.Verdict, l.Reasons)
		}
		for _, v := range l.Values {
			name := v.Meter + " " + v.Quantity
			switch {
			case v.Quality != "ok" && v.Quality != "suspect":
				t.Fatalf("leaf %d: %s is %s", l.N, name, v.Quality)
			case v.Value == nil || *v.Value != want[name]:
				t.Fatalf("leaf %d: %s = %v, the slave serves %s", l.N, name, v.Value, want[name])
			}
			if v.Quality == "suspect" {
				suspect++
			}
			seen[name] = true
		}
	}
	if len(seen) != len(want) {
		t.Fatalf("%d of %d quantities arrived", len(seen), len(want))
	}
	if suspect == 0 {
		t.Error("the slave serves 5319.7 V, and nothing is marked as suspect")
	}
	t.Logf("%d quantities in %d windows, digit for digit; %d samples marked suspect", len(seen), len(windows()), suspect)
}

func ready(t *testing.T, p *process) {
	t.Helper()
	eventually(t, 20*time.Second, fmt.Sprintf("%v is ready", p.cmd.Args), func() bool {
		return strings.Contains(strings.Join(p.output(), ""), "ready")
	})
}

func compileSlave(t *testing.T, source string) string {
	t.Helper()
	flags, err := exec.Command("pkg-config", "--cflags", "--libs", "libmodbus").Output()
	if err != nil {
		flags = []byte("-I/usr/include/modbus -lmodbus")
	}
	bin := filepath.Join(t.TempDir(), "slave")
	if out, err := exec.Command("cc", append([]string{"-O1", "-o", bin, source}, strings.Fields(string(flags))...)...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	return bin
}

func registers(t *testing.T, id string) []drivers.Register {
	t.Helper()
	lib := profile.Builtin()
	p, err := lib.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	return p.Registers
}

// served is what drivers/modbus/testdata/slave.py says its tables hold.
func served(r drivers.Register) drivers.Decimal {
	a := int64(r.Address)
	word := func(a int64) int64 { return (a*2659 + 17) % 65536 }
	var raw int64
	switch r.Type {
	case drivers.Bit:
		if a*a%7 == 1 {
			raw = 1
		}
	case drivers.Uint16:
		raw = word(a)
	case drivers.Int32:
		raw = int64(int32(word(a)<<16 | word(a+1)))
	default:
		panic(fmt.Sprintf("type %d of %s", r.Type, r.Name))
	}
	return drivers.Decimal{Coef: raw, Exp: r.Exp}
}

// pki is a certificate authority and what it has signed.
type pki struct {
	ca                string
	server, box, bank pair
	key               *ecdsa.PrivateKey
	cert              *x509.Certificate
	dir               string
}

type pair struct{ cert, key string }

func newPKI(t *testing.T, dir string) *pki {
	t.Helper()
	p := &pki{dir: dir, ca: filepath.Join(dir, "ca.pem")}
	p.key, p.cert = issue(t, p.ca, "", "test CA", nil, nil, true)
	for name, dst := range map[string]*pair{"localhost": &p.server, "box": &p.box, "bank": &p.bank} {
		*dst = pair{filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")}
		issue(t, dst.cert, dst.key, name, p.key, p.cert, false)
	}
	return p
}

func issue(t *testing.T, certFile, keyFile, name string, signer *ecdsa.PrivateKey, parent *x509.Certificate, ca bool) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{name}, BasicConstraintsValid: true, IsCA: ca,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ca {
		template.KeyUsage, template.ExtKeyUsage, template.DNSNames = x509.KeyUsageCertSign, nil, nil
		signer, parent = key, template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	write(t, certFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	if keyFile != "" {
		raw, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})))
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}
