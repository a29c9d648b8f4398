//go:build linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/uplink/mqtt/mqtttest"
)

// doorman lets in who knows the password; "" is everybody.
type doorman struct {
	mqtttest.Open
	password string
	asked    atomic.Int64
}

func (d *doorman) OnConnectAuthenticate(_ *mochi.Client, p packets.Packet) bool {
	d.asked.Add(1)
	return d.password == "" || string(p.Connect.Password) == d.password
}

// selfSigned makes a certificate authority that is also a server on loopback.
func selfSigned(t *testing.T, name string) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	var p bytes.Buffer
	if err := pem.Encode(&p, &pem.Block{Type: "CERTIFICATE", Bytes: der}); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, p.String()
}

// noConsentYet is what the agent says at its start while the history holds no
// consent to bank-a.
const noConsentYet = `level=WARN msg="W-706 lender bank-a: no consent record; what the site file shares is sent" do="have the consent recorded: tallystick consent form --lender bank-a > consent.yaml, fill it in, tallystick consent grant --lender bank-a -f consent.yaml"
`

// tcpSite is goodSite with its meter behind a Modbus TCP address.
func tcpSite(address, more string) string {
	return strings.NewReplacer("port: DIR/meter", "tcp: "+address, "address: 7", "address: 7\n    protocol: modbus-tcp").Replace(goodSite) + more
}

func TestMistake13BrokerDownAtStart(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", mqtttest.Anywhere)
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().String()
	l.Close()
	address, units := meters(t, sim.TCP, mqtttest.Anywhere, 7)
	dir, path := site(t, tcpSite(address, "lenders:\n  - {name: bank-a, broker: mqtt://"+port+", share: [energy], ack: puback}\n"))

	const says, do = `E-301 lender bank-a: connect to broker mqtt://HOST:PORT: connection refused`, `nothing listens at that address: check host and port, and that the broker runs; readings are kept meanwhile`
	exit, _, stderr := command(t, dir, "check", "--online", "--config", path)
	same(t, "check --online", stderr, "tallystick: error: "+says+"\ntallystick: hint: "+do+"\n")
	documented(t, stderr)
	if exit != 3 {
		t.Errorf("exit %d, want 3", exit)
	}

	before := units[7].Requests()
	agent := background(t, "run", "--verbose", "--config", path)
	until(t, func() bool { return units[7].Requests() > before }, func() string { return "no meter is read while the broker is down" })
	agent.says("level=DEBUG msg=\"E-301") // the second attempt
	mqtttest.Broker(t, port, nil)
	agent.says("msg=connected lender=bank-a")
	agent.stop(0)
	same(t, "run", agent.warnings(dir), noConsentYet+`level=WARN msg="`+strings.Replace(says, "lender bank-a: ", "", 1)+`" lender=bank-a do="`+do+`"`+"\n")
}

func TestMistake14WrongPasswordOrCA(t *testing.T) {
	t.Parallel()
	server, theirs := selfSigned(t, "bank broker")
	_, old := selfSigned(t, "old bank broker")
	d := &doorman{password: "right"}
	address := mqtttest.Broker(t, mqtttest.Anywhere, &tls.Config{Certificates: []tls.Certificate{server}}, d)
	meter, units := meters(t, sim.TCP, mqtttest.Anywhere, 7)
	for _, c := range []struct{ name, ca, says, do string }{
		{"wrong password", theirs, `E-303 lender bank-a: connect to broker mqtts://HOST:PORT: not authorised: wrong user name or password, or no rights`,
			"compare user name, password and client certificate with what the lender gave; if they are right, the lender must allow this client its topics"},
		{"wrong CA", old, `E-304 lender bank-a: connect to broker mqtts://HOST:PORT: the broker's certificate "CN=bank broker" is signed by "CN=bank broker", which is not the certificate authority given`,
			"ask the lender for the CA file of this broker and name it in tls.ca; if the broker has not changed, somebody may be standing in between"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, path := site(t, tcpSite(meter, "lenders:\n  - {name: bank-a, broker: mqtts://"+address+", share: [energy], ack: puback,\n     username: box, password_file: password, tls: {ca: ca.pem}}\n"))
			put(t, filepath.Join(dir, "ca.pem"), c.ca)
			put(t, filepath.Join(dir, "password"), "wrong\n")
			exit, _, stderr := command(t, dir, "check", "--online", "--config", path)
			same(t, "check --online", stderr, "tallystick: error: "+c.says+"\ntallystick: hint: "+c.do+"\n")
			documented(t, stderr)
			if exit != 3 {
				t.Errorf("exit %d, want 3", exit)
			}
			exit, stdout, _ := command(t, dir, "check", "--online", "--json", "--config", path)
			if code := c.says[:5]; exit != 3 || !strings.HasPrefix(stdout, `{"valid":false,"faults":[{"file":"DIR/site.yaml","line":0,"column":0,"code":"`+code+`"`) {
				t.Errorf("check --online --json: exit %d, %s", exit, stdout)
			}
			before := units[7].Requests()
			asked := d.asked.Load()
			agent := background(t, "run", "--config", path)
			agent.says("E-30")
			until(t, func() bool { return units[7].Requests() > before }, func() string { return "no meter is read" })
			if c.ca == old && d.asked.Load() != asked {
				t.Error("the password was shown to a broker nobody knows")
			}
			// Mended while the agent runs, it needs no restart.
			put(t, filepath.Join(dir, "ca.pem"), theirs)
			put(t, filepath.Join(dir, "password"), "right\n")
			agent.says("msg=connected lender=bank-a")
			agent.stop(0)
			says := strings.ReplaceAll(strings.Replace(c.says, "lender bank-a: ", "", 1), `"`, `\"`)
			same(t, "run", agent.warnings(dir), noConsentYet+`level=WARN msg="`+says+`" lender=bank-a do="`+c.do+`"`+"\n")
			if strings.Contains(agent.stderr.String(), "wrong\n") {
				t.Error("the password is in the log")
			}
		})
	}
}
