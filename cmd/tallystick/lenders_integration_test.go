//go:build integration && linux

package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tallystick/tallystick/agent/history"
	"github.com/tallystick/tallystick/drivers/sim"
	"github.com/tallystick/tallystick/uplink/evidence"
	"github.com/tallystick/tallystick/uplink/evidence/record"
	"github.com/tallystick/tallystick/uplink/verify"
)

// box is a gateway with one meter: the real binary on a site file in dir, its
// history and key in dir/box.
type box struct {
	t     *testing.T
	dir   string
	meter string   // where the simulator is
	more  string   // further lines of the site file
	banks []string // entries of lenders
}

func newBox(t *testing.T, more string) *box {
	t.Helper()
	meter, _ := meters(t, sim.TCP, "127.0.0.1:0", 7)
	return &box{t: t, dir: t.TempDir(), meter: meter, more: more}
}

func (b *box) history() string { return filepath.Join(b.dir, "box") }

func (b *box) site() string {
	b.t.Helper()
	path := filepath.Join(b.dir, "site.yaml")
	write(b.t, path, fmt.Sprintf(`site: {name: plant}
lines:
  - {name: hall-a, tcp: "%s"}
meters:
  - {name: main, line: hall-a, protocol: modbus-tcp, address: 7, profile: eastron-sdm630, interval: 1s}
lenders: [%s]
buffer: {directory: %s, sync_interval: 200ms}
window: 2s
%s`, b.meter, strings.Join(b.banks, ", "), b.history(), b.more))
	return path
}

func (b *box) run(args ...string) *process {
	b.t.Helper()
	return start(b.t, binary(b.t, "tallystick"), append([]string{"run", "--config", b.site()}, args...)...)
}

// refuses runs the box, which must not start, and returns why.
func (b *box) refuses(code int) string {
	b.t.Helper()
	_, stderr := exits(b.t, code, binary(b.t, "tallystick"), "run", "--config", b.site())
	return stderr
}

// key is what lenders pin; it is made now if need be.
func (b *box) key() string {
	b.t.Helper()
	return strings.TrimSpace(output(b.t, binary(b.t, "tallystick"), "keys", "show", "--config", b.site()))
}

// log names the history, once it has begun.
func (b *box) log() (id evidence.LogID) {
	b.t.Helper()
	eventually(b.t, 10*time.Second, "the box has begun a history", func() bool {
		h, err := history.OpenReader(b.history())
		if err != nil {
			return false
		}
		id = h.LogID()
		return h.Close() == nil
	})
	return id
}

// export writes the whole history as a bundle.
func (b *box) export(name string) string {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	output(b.t, binary(b.t, "tallystick"), "log", "export", "--config", b.site(), "-o", path)
	return path
}

// copied is the box with all that is on its disk, once more, in a directory of
// its own.
func (b *box) copied() *box {
	b.t.Helper()
	c := *b
	c.dir = b.t.TempDir()
	output(b.t, "cp", "-a", b.dir+"/.", c.dir)
	return &c
}

// creditor is a lender: the real tally-lender on a lender file in dir.
type creditor struct {
	t              *testing.T
	name, dir      string
	public, broker string // broker: the lines of a connection
}

// newCreditor makes a lender that shares the connection with its boxes, and gives
// b an entry for it.
func newCreditor(t *testing.T, name, share, broker string, b *box) *creditor {
	t.Helper()
	dir := t.TempDir()
	k := &creditor{t: t, name: name, dir: dir, broker: broker}
	k.public = strings.TrimSpace(output(t, binary(t, "tally-lender"), "keygen", filepath.Join(dir, "lender.key")))
	b.banks = append(b.banks, fmt.Sprintf("{name: %s, public_key: %s, share: [%s], %s}", name, k.public, share, broker))
	return k
}

func (k *creditor) config() string { return filepath.Join(k.dir, "lender.yaml") }

// watch follows the box with that key.
func (k *creditor) watch(key string, args ...string) *process {
	k.t.Helper()
	write(k.t, k.config(), fmt.Sprintf("{name: %s, key: lender.key, directory: archive, patience: 10s, %s, boxes: [{name: plant, key: %q}]}\n", k.name, k.broker, key))
	return start(k.t, binary(k.t, "tally-lender"), append([]string{"watch", "--config", k.config()}, args...)...)
}

// archive is what was kept of a log.
func (k *creditor) archive(log evidence.LogID) string {
	return filepath.Join(k.dir, "archive", "plant", log.String(), "archive.tally")
}

// verdict is what tally-lender verify --json says.
type verdict struct {
	Verdict  string          `json:"verdict"`
	Log      string          `json:"log"`
	Leaves   int             `json:"leaves"`
	Readings int             `json:"readings"`
	Grade    string          `json:"grade"`
	Grades   map[string]int  `json:"grade_counts"`
	Reasons  []verify.Reason `json:"reasons"`
}

func judged(t *testing.T, code int, args ...string) (v verdict) {
	t.Helper()
	stdout, _ := exits(t, code, binary(t, "tally-lender"), append([]string{"verify", "--json"}, args...)...)
	if err := json.Unmarshal([]byte(stdout), &v); err != nil {
		t.Fatalf("%s: %v", stdout, err)
	}
	return v
}

// verifiedWindow is a line of tally-lender watch, with --json or without.
var verifiedWindow = regexp.MustCompile(`"type":"window".*"verdict":"verified"| window +\d+  verified `)

func windows(watch *process) int {
	return len(verifiedWindow.FindAllString(strings.Join(watch.output(), ""), -1))
}

// confirmed waits until the lenders have printed that many windows more.
func confirmed(t *testing.T, more int, watches ...*process) {
	t.Helper()
	for _, w := range watches {
		want := windows(w) + more
		eventually(t, 30*time.Second, "the lender has further windows", func() bool { return windows(w) >= want })
	}
}

// TestIntegrationTwoLenders: one box, one broker with client certificates and
// rights by topic, two lenders with different shares. Each decodes its own and
// nothing else; put side by side, the two were shown one history.
func TestIntegrationTwoLenders(t *testing.T) {
	pki := newAuthority(t, "box", "bank-a", "bank-b", "auditor")
	port := freePort(t)
	tls := func(name string) string {
		return fmt.Sprintf("broker: mqtts://127.0.0.1:%d, tls: {ca: %s, cert: %s, key: %s}", port, pki.file("ca.pem"), pki.file(name+".pem"), pki.file(name+".key"))
	}
	b := newBox(t, "channels: [energy, power, voltage-current, timing, aggregates]\n")
	shares := map[string][]evidence.Channel{"bank-a": {evidence.Energy, evidence.Power}, "bank-b": {evidence.Timing, evidence.Aggregates}}
	bankA := newCreditor(t, "bank-a", "energy, power", tls("bank-a"), b)
	bankB := newCreditor(t, "bank-b", "timing, aggregates", tls("bank-b"), b)
	for i := range b.banks { // the box shows its own certificate
		b.banks[i] = strings.NewReplacer("bank-a.", "box.", "bank-b.", "box.").Replace(b.banks[i])
	}

	// The rights name the log, which the first start begins; it needs no broker.
	agent := b.run()
	log := b.log()
	acl := filepath.Join(t.TempDir(), "acl")
	rights := "user auditor\ntopic readwrite #\nuser box\n"
	for _, kind := range []evidence.Kind{evidence.MetaTopic, evidence.HeadTopic, evidence.StateTopic, evidence.DeliveryTopic, evidence.ReplayTopic} {
		rights += "topic write " + evidence.Topic(kind, log, "+") + "\n"
	}
	rights += "topic read " + evidence.Topic(evidence.ReceiptTopic, log, "+") + "\n"
	for name := range shares {
		rights += "user " + name + "\n"
		for _, kind := range []evidence.Kind{evidence.MetaTopic, evidence.HeadTopic, evidence.StateTopic, evidence.DeliveryTopic, evidence.ReplayTopic} {
			rights += "topic read " + evidence.TopicFilter(kind, name) + "\n"
		}
		rights += "topic write " + evidence.TopicFilter(evidence.ReceiptTopic, name) + "\n"
	}
	write(t, acl, rights)
	mosquitto(t, port, "user root", "cafile "+pki.file("ca.pem"), "certfile "+pki.file("broker.pem"), "keyfile "+pki.file("broker.key"),
		"require_certificate true", "use_identity_as_username true", "acl_file "+acl)
	client := func(name string) []string {
		return []string{"-h", "127.0.0.1", "-p", fmt.Sprint(port), "--cafile", pki.file("ca.pem"), "--cert", pki.file(name + ".pem"), "--key", pki.file(name + ".key")}
	}
	listen := func(name string) *process {
		return start(t, "mosquitto_sub", append(client(name), "-t", "#", "-F", "%t %x")...)
	}
	auditor, curious := listen("auditor"), listen("bank-b")
	eventually(t, 20*time.Second, "the box is at the broker", func() bool { return len(auditor.output()) > 0 && len(curious.output()) > 0 })

	key := b.key()
	watchA, watchB := bankA.watch(key, "--json"), bankB.watch(key, "--json")
	confirmed(t, 3, watchA, watchB)

	// What is forbidden goes nowhere: bank-b confirming for bank-a, the box
	// telling another box's log, anybody without a certificate.
	other := log
	other[0] ^= 1
	forged := evidence.Topic(evidence.ReceiptTopic, log, "bank-a")
	output(t, "mosquitto_pub", append(client("bank-b"), "-t", forged, "-m", "forged")...)
	output(t, "mosquitto_pub", append(client("box"), "-t", evidence.Topic(evidence.DeliveryTopic, other, "bank-a"), "-m", "forged")...)
	if exec.Command("mosquitto_pub", "-h", "127.0.0.1", "-p", fmt.Sprint(port), "--cafile", pki.file("ca.pem"), "-t", forged, "-m", "forged").Run() == nil {
		t.Error("the broker lets in a client without a certificate")
	}
	output(t, "mosquitto_pub", append(client("auditor"), "-t", forged, "-m", "allowed")...)
	eventually(t, 5*time.Second, "the auditor sees what is allowed", func() bool {
		return slices.Contains(auditor.output(), forged+" "+hex.EncodeToString([]byte("allowed"))+"\n")
	})

	if code := agent.stop(t); code != 0 {
		t.Fatalf("the box exited with %d", code)
	}
	if !strings.Contains(agent.stderr.String(), "E-314 a confirmation came that is not signed by this lender") {
		t.Error("the box does not say that somebody else confirms in bank-a's name")
	}
	all := readBundle(t, b.export("all.tally"))
	have := func(p *process) int { return len(objects[watched](t, p)) }
	eventually(t, 10*time.Second, "both lenders have every leaf", func() bool { return have(watchA) == len(all) && have(watchB) == len(all) })
	for _, p := range []*process{watchA, watchB, auditor, curious} {
		p.stop(t)
	}

	seen := overheard(t, auditor)
	if len(seen["forged"]) > 0 {
		t.Errorf("the broker let through what the rights forbid")
	}
	for kind := range overheard(t, curious) {
		if kind != "meta" && kind != "state" && kind != "head" && kind != "d/bank-b" {
			t.Errorf("bank-b, asking for everything, was given %s", kind)
		}
	}

	// On the wire: the same signed leaves for both, each with its own blocks.
	meta, err := evidence.ParseMeta(seen["meta"][0])
	if err != nil {
		t.Fatal(err)
	}
	dict := meta.Dictionary.Manifest.Dictionary()
	sent := map[string]map[uint64]evidence.UnverifiedDelivery{}
	for name, share := range shares {
		sent[name] = map[uint64]evidence.UnverifiedDelivery{}
		bytesSent, samples := 0, map[evidence.Channel]int{}
		for _, raw := range seen["d/"+name] {
			d, err := evidence.ParseDelivery(raw)
			if err != nil {
				t.Fatal(err)
			}
			sent[name][d.Manifest.N] = d
			bytesSent += len(raw)
			for _, blk := range d.Blocks {
				if blk.Channel == evidence.Records {
					if r, err := record.Parse(blk.Bytes); err != nil || r.For != name && r.For != "" {
						t.Errorf("leaf %d: %s was given a record for %q, %v", d.Manifest.N, name, r.For, err)
					}
					continue
				}
				if !slices.Contains(share, blk.Channel) {
					t.Errorf("leaf %d: %s was given a block of channel %s", d.Manifest.N, name, blk.Channel)
				}
				decoded, err := evidence.DecodeBlock(blk.Bytes, dict.Channels[blk.Channel])
				if err != nil {
					t.Errorf("leaf %d, channel %s: %v", d.Manifest.N, blk.Channel, err)
				}
				for i := range decoded.Meters {
					samples[blk.Channel] += decoded.Meters[i].Present()
				}
			}
		}
		if len(sent[name]) != len(all) {
			t.Errorf("%s was sent %d leaves of %d", name, len(sent[name]), len(all))
		}
		for _, ch := range share {
			// A quarter of an hour, which aggregates tell, may not end meanwhile.
			if samples[ch] == 0 && ch != evidence.Aggregates {
				t.Errorf("%s has no sample of channel %s, which is in its share", name, ch)
			}
		}
		t.Logf("%s: %d leaves, %d bytes, samples by channel %v", name, len(sent[name]), bytesSent, samples)
	}
	hidden := 0
	for n, a := range sent["bank-a"] {
		other := sent["bank-b"][n]
		if !bytes.Equal(a.Sign1, other.Sign1) {
			t.Errorf("leaf %d is not the same for both", n)
		}
		for _, blk := range a.Blocks {
			if a.Manifest.Type != evidence.WindowLeaf {
				continue
			}
			// bank-b holds the digest. Who guesses the readings right still
			// cannot tell, because the salt is not in what it has.
			digest := other.Manifest.Channels[blk.Channel].Digest
			unsalted := bytes.Clone(blk.Bytes)
			clear(unsalted[2:18])
			if blk.Digest(a.Suite()) != digest || (evidence.RawBlock{Channel: blk.Channel, Bytes: unsalted}).Digest(a.Suite()) == digest {
				t.Errorf("leaf %d, channel %s: the digest at bank-b is not that of the salted block", n, blk.Channel)
			}
			for _, whole := range seen["d/bank-b"] {
				if bytes.Contains(whole, blk.Bytes) || bytes.Contains(whole, blk.Bytes[2:18]) {
					t.Errorf("leaf %d: the block of channel %s, or its salt, is in what bank-b was sent", n, blk.Channel)
				}
			}
			hidden++
		}
	}
	if hidden < 6 {
		t.Fatalf("only %d blocks were compared", hidden)
	}

	// In the lenders' own words: values of the share, and of nothing else.
	for name, watch := range map[string]*process{"bank-a": watchA, "bank-b": watchB} {
		var share []string
		for _, ch := range shares[name] {
			for _, m := range dict.Channels[ch] {
				for _, c := range m.Columns {
					share = append(share, c.Quantity)
				}
			}
		}
		for _, l := range objects[watched](t, watch) {
			if l.Verdict != "verified" {
				t.Errorf("%s: leaf %d %s %s", name, l.N, l.Verdict, l.Reasons)
			}
			for _, v := range l.Values {
				if !slices.Contains(share, v.Quantity) {
					t.Errorf("%s decodes %s", name, v.Quantity)
				}
			}
		}
	}
	if len(energies(objects[watched](t, watchA))) == 0 {
		t.Error("bank-a sees no energy")
	}

	// Offline: both verify, with the live receipts, and agree.
	for _, k := range []*creditor{bankA, bankB} {
		v := judged(t, 0, k.archive(log), "--config", k.config())
		if v.Verdict != "verified" || v.Leaves != len(all) || v.Log != log.String() || v.Grades["D"]+v.Grades["X"] > 0 {
			t.Errorf("%s: %+v", k.name, v)
		}
	}
	_, says := exits(t, 0, binary(t, "tally-lender"), "compare", bankA.archive(log), bankB.archive(log), "--key", key)
	if want := fmt.Sprintf("the two agree on %d leaves, 0 to %d", len(all), len(all)-1); !strings.HasPrefix(says, want) {
		t.Errorf("compare says %q, want %q", says, want)
	}
}

// overheard sorts what mosquitto_sub printed by the part of the topic that
// follows the log: "d/bank-a"; what reads "forged" stands there too.
func overheard(t *testing.T, p *process) map[string][][]byte {
	t.Helper()
	heard := map[string][][]byte{}
	for _, line := range p.output() {
		topic, payload, _ := strings.Cut(strings.TrimSpace(line), " ")
		b, err := hex.DecodeString(payload)
		if err != nil {
			t.Fatal(err)
		}
		kind := strings.Join(strings.Split(topic, "/")[4:], "/")
		if string(b) == "forged" {
			kind = "forged"
		}
		heard[kind] = append(heard[kind], b)
	}
	return heard
}

// authority is a certificate authority with a broker on loopback and clients.
type authority struct{ dir string }

func (a authority) file(name string) string { return filepath.Join(a.dir, name) }

func newAuthority(t *testing.T, clients ...string) authority {
	t.Helper()
	a := authority{t.TempDir()}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature}
	}
	issue := func(file string, c, parent *x509.Certificate, signer *ecdsa.PrivateKey) *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if signer == nil {
			signer = key
		}
		der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
		if err != nil {
			t.Fatal(err)
		}
		private, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			t.Fatal(err)
		}
		write(t, a.file(file+".pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
		write(t, a.file(file+".key"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
		return key
	}
	ca := template(1, "test authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caKey := issue("ca", ca, ca, nil)
	broker := template(2, "broker")
	broker.IPAddresses, broker.ExtKeyUsage = []net.IP{net.IPv4(127, 0, 0, 1)}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	issue("broker", broker, ca, caKey)
	for i, name := range clients {
		c := template(int64(3+i), name)
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
		issue(name, c, ca, caKey)
	}
	return a
}
