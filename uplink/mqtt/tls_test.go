package mqtt

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// authority issues certificates for tests.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newAuthority(t *testing.T, name string, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(9, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	for _, f := range change {
		f(tmpl)
	}
	a.cert = a.sign(tmpl, tmpl, &a.key.PublicKey, a.key)
	return a
}

func (a *authority) sign(tmpl, parent *x509.Certificate, pub crypto.PublicKey, key crypto.Signer) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, key)
	if err != nil {
		a.t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return c
}

// issue makes a certificate for client and server use on loopback, or what
// change makes of it.
func (a *authority) issue(name string, key crypto.Signer, change ...func(*x509.Certificate)) *x509.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: now.AddDate(0, -1, 0), NotAfter: now.AddDate(1, 0, 0),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"broker.test"},
	}
	for _, f := range change {
		f(tmpl)
	}
	return a.sign(tmpl, a.cert, key.Public(), a.key)
}

func certPEM(certs ...*x509.Certificate) []byte {
	var b []byte
	for _, c := range certs {
		b = append(b, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return b
}

func keyDER(t *testing.T, k any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func keyPEM(t *testing.T, k any) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER(t, k)})
}

func write(t *testing.T, dir, name string, mode os.FileMode, b []byte) string {
	t.Helper()
	p := filepath.Join(dir, name)
	if err := os.WriteFile(p, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(p, mode); err != nil {
		t.Fatal(err)
	}
	return p
}

// One message each, before connecting.
func TestLoadTLSFaults(t *testing.T) {
	ca, other := newAuthority(t, "Test CA"), newAuthority(t, "Other CA")
	key := newKey(t)
	leaf := ca.issue("box-1", key)
	goodCA, goodCert, goodKey := certPEM(ca.cert), certPEM(leaf), keyPEM(t, key)
	shift := func(from, to int) func(*x509.Certificate) {
		return func(c *x509.Certificate) { c.NotBefore, c.NotAfter = now.AddDate(0, 0, from), now.AddDate(0, 0, to) }
	}
	inter := &authority{t: t, key: newKey(t)}
	inter.cert = ca.sign(&x509.Certificate{SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "Inter CA"}, NotBefore: now.AddDate(-1, 0, 0),
		NotAfter: now.AddDate(1, 0, 0), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}, ca.cert, &inter.key.PublicKey, ca.key)
	deep := inter.issue("box-2", key)
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}

	for _, c := range []struct {
		name          string
		ca, cert, key []byte // nil: the good one
		keyMode       os.FileMode
		problem       Problem // "" = loads
		slot, words   string
	}{
		{name: "good"},
		{name: "chain in order", cert: certPEM(deep, inter.cert)},
		{name: "several authorities, one expired", ca: certPEM(newAuthority(t, "Old", shift(-9, -1)).cert, ca.cert)},
		{name: "SEC 1 key", key: pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})},
		{name: "key readable by the group", keyMode: 0o640},
		{name: "CA empty", ca: []byte{}, problem: FileEmpty, slot: "tls.ca", words: "empty"},
		{name: "CA not PEM", ca: []byte("hello"), problem: NotPEM, slot: "tls.ca", words: "not a PEM file"},
		{name: "CA in DER", ca: ca.cert.Raw, problem: IsDER, slot: "tls.ca", words: "DER"},
		{name: "CA is the leaf", ca: certPEM(leaf), problem: NotCA, slot: "tls.ca", words: `"CN=box-1" is not one of a certificate authority`},
		{name: "CA expired", ca: certPEM(newAuthority(t, "Old CA", shift(-9, -2)).cert), problem: Expired, slot: "tls.ca",
			words: `"CN=Old CA" expired on 2026-02-27 12:00 UTC and this box believes it is 2026-03-01 12:00 UTC`},
		{name: "CA slot holds the key", ca: goodKey, problem: Swapped, slot: "tls.ca", words: "a private key, expected a certificate"},
		{name: "certificate in key slot", key: goodCert, problem: Swapped, slot: "tls.key", words: "found CERTIFICATE"},
		{name: "key in certificate slot", cert: goodKey, problem: Swapped, slot: "tls.cert", words: "a private key"},
		{name: "certificate damaged", cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw[:40]}), problem: Damaged, slot: "tls.cert", words: "certificate 1"},
		{name: "certificate in DER", cert: leaf.Raw, problem: IsDER, slot: "tls.cert", words: "DER"},
		{name: "certificate expired", cert: certPEM(ca.issue("box-1", key, shift(-9, -1))), problem: Expired, slot: "tls.cert", words: "2026-02-28 12:00 UTC"},
		{name: "certificate not yet valid", cert: certPEM(ca.issue("box-1", key, shift(1, 9))), problem: NotYetValid, slot: "tls.cert",
			words: "valid from 2026-03-02 12:00 UTC and this box believes it is 2026-03-01"},
		{name: "server certificate", cert: certPEM(ca.issue("box-1", key, func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })),
			problem: WrongUsage, slot: "tls.cert", words: "clientAuth"},
		{name: "certificate not for signing", cert: certPEM(ca.issue("box-1", key, func(c *x509.Certificate) { c.KeyUsage = x509.KeyUsageKeyEncipherment })),
			problem: WrongUsage, slot: "tls.cert", words: "digitalSignature"},
		{name: "chain upside down", cert: certPEM(inter.cert, deep), problem: ChainOrder, slot: "tls.cert", words: `certificate 1 ("CN=Inter CA") is not signed by certificate 2 ("CN=box-2")`},
		{name: "chain of strangers", cert: certPEM(leaf, other.cert), problem: ChainOrder, slot: "tls.cert", words: "not signed by"},
		{name: "key of another certificate", key: keyPEM(t, newKey(t)), problem: KeyMismatch, slot: "tls.key", words: `does not belong to the certificate of "CN=box-1"`},
		{name: "encrypted key", key: pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), problem: KeyEncrypted, slot: "tls.key", words: "passphrase"},
		{name: "old encrypted key", key: pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte{1}}),
			problem: KeyEncrypted, slot: "tls.key", words: "passphrase"},
		{name: "key in DER", key: keyDER(t, key), problem: IsDER, slot: "tls.key", words: "a private key in DER form"},
		{name: "key damaged", key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1, 2}}), problem: Damaged, slot: "tls.key", words: "cannot be read"},
		{name: "key readable by others", keyMode: 0o644, problem: KeyReadableByOthers, slot: "tls.key", words: "0644"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			pick := func(b, good []byte) []byte {
				if b == nil {
					return good
				}
				return b
			}
			mode := c.keyMode
			if mode == 0 {
				mode = 0o600
			}
			f := Files{
				CA:   write(t, dir, "ca.pem", 0o644, pick(c.ca, goodCA)),
				Cert: write(t, dir, "cert.pem", 0o644, pick(c.cert, goodCert)),
				Key:  write(t, dir, "key.pem", mode, pick(c.key, goodKey)),
			}
			cfg, err := LoadTLS(f, now)
			if c.problem == "" {
				if err != nil || cfg.MinVersion != tls.VersionTLS12 || cfg.RootCAs == nil || len(cfg.Certificates) != 1 || cfg.InsecureSkipVerify {
					t.Fatalf("%+v, %v", cfg, err)
				}
				return
			}
			wantFault(t, err, c.problem, c.slot, c.words)
		})
	}
}

func wantFault(t *testing.T, err error, p Problem, slot, words string) {
	t.Helper()
	var f *FileError
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want a file error", err)
	}
	if f.Problem != p || f.Slot != slot || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), f.File) || f.Hint() == "" {
		t.Fatalf("got %s %s %q (hint %q), want %s %s with %q", f.Slot, f.Problem, err, f.Hint(), slot, p, words)
	}
}

func TestLoadTLSFileProblems(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "Test CA")
	key := newKey(t)
	good := write(t, dir, "cert.pem", 0o644, certPEM(ca.issue("box-1", key)))
	missing := filepath.Join(dir, "none.pem")
	for _, c := range []struct {
		f       Files
		problem Problem
		slot    string
		words   string
	}{
		{Files{CA: missing}, FileMissing, "tls.ca", "no such file"},
		{Files{CA: dir}, FileUnreadable, "tls.ca", "is a directory"},
		{Files{CA: os.DevNull}, FileUnreadable, "tls.ca", "is a device or a pipe, expected a PEM file"},
		{Files{Cert: missing, Key: missing}, FileMissing, "tls.cert", "no such file"},
		{Files{Cert: good, Key: missing}, FileMissing, "tls.key", "no such file"},
		{Files{Cert: good}, Incomplete, "tls.cert", "without a key"},
		{Files{Key: good}, Incomplete, "tls.key", "without a certificate"},
	} {
		_, err := LoadTLS(c.f, now)
		wantFault(t, err, c.problem, c.slot, c.words)
	}
	if os.Getuid() != 0 {
		_, err := LoadTLS(Files{CA: write(t, dir, "closed.pem", 0, nil)}, now)
		wantFault(t, err, FileUnreadable, "tls.ca", "permission denied")
	}
	if cfg, err := LoadTLS(Files{ServerName: "x"}, now); err != nil || cfg.RootCAs != nil || cfg.ServerName != "x" {
		t.Fatalf("without files: %+v, %v", cfg, err)
	}
}

// Two keys in one file, RSA for good measure.
func TestLoadTLSKeyBehindTheCertificate(t *testing.T) {
	dir := t.TempDir()
	ca := newAuthority(t, "Test CA")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	both := bytes.Join([][]byte{certPEM(ca.issue("box-1", key)),
		pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)})}, nil)
	p := write(t, dir, "both.pem", 0o600, both)
	if _, err := LoadTLS(Files{Cert: p, Key: p}, now); err != nil {
		t.Fatal(err)
	}
}

func FuzzLoadTLS(f *testing.F) {
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Add([]byte{0x30, 0x82, 1, 1})
	dir := f.TempDir()
	p := filepath.Join(dir, "f.pem")
	f.Fuzz(func(t *testing.T, b []byte) {
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, files := range []Files{{CA: p}, {Cert: p, Key: p}} {
			_, err := LoadTLS(files, now)
			var fault *FileError
			if err != nil && (!errors.As(err, &fault) || fault.Fix == "") {
				t.Fatalf("%v", err)
			}
		}
	})
}
